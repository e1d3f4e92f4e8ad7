//! Dense vectors of passages, never computed twice for the same text.

use std::collections::HashMap;
use std::time::Duration;

use domain::budget::{Payer, Purpose};
use domain::{Ambient, ErrorKind, WorkspaceId};
use models::{Catalogue, EmbedPurpose, Embedder, Tally, Usage, tokens};
use storage::Db;
use storage::embeddings::TextHash;
use storage::spending::{self, Amounts, Held, Spent};
use tokio_util::task::TaskTracker;

use super::Core;
use super::halt::Halt;

/// How long what a request may cost is held, should the process die meanwhile.
const HELD: Duration = Duration::from_mins(10);

/// Texts in one request to the embedder.
pub const GROUP: usize = 32;

/// The vectors of those texts, by [`retrieval::text_hash`]: the stored ones, and for the others the
/// embedder's, which are stored. Empty without an embedder.
pub async fn vectors(
    core: &Core,
    workspace: WorkspaceId,
    texts: &[String],
) -> Result<HashMap<TextHash, Vec<f32>>, Halt> {
    let Some(embedder) = core.retrieval.embedder() else { return Ok(HashMap::new()) };
    let space = embedder.space().to_string();
    let by_hash: HashMap<TextHash, &String> =
        texts.iter().map(|text| (retrieval::text_hash(text), text)).collect();
    let hashes: Vec<TextHash> = by_hash.keys().copied().collect();
    let mut conn = core.db.read().await?;
    let mut vectors = storage::embeddings::get_many(&mut conn, workspace, &space, &hashes).await?;
    drop(conn);

    let missing: Vec<TextHash> =
        hashes.into_iter().filter(|hash| !vectors.contains_key(hash)).collect();
    for group in missing.chunks(GROUP) {
        let texts: Vec<String> = group.iter().map(|hash| by_hash[hash].clone()).collect();
        let answers = if embedder.is_paid() {
            paid(core, workspace, &**embedder, &texts).await?
        } else {
            embedder.embed(&texts, EmbedPurpose::Passage).await?
        };
        if answers.len() != group.len() {
            return Err(Halt::retry(
                "MODEL_UNAVAILABLE",
                "the embedder did not answer for every passage; retry later",
            ));
        }
        let fresh: Vec<(TextHash, Vec<f32>)> = group.iter().copied().zip(answers).collect();
        let mut tx = core.db.write().await?;
        let now = core.ambient.now();
        storage::embeddings::insert_many(&mut tx, workspace, &space, &fresh, now).await?;
        tx.commit().await?;
        vectors.extend(fresh);
    }
    Ok(vectors)
}

/// As the embedder answers, which costs the workspace something. Dropping the future ends the call; what it used is
/// written down all the same.
async fn paid(
    core: &Core,
    workspace: WorkspaceId,
    embedder: &dyn Embedder,
    texts: &[String],
) -> Result<Vec<Vec<f32>>, Halt> {
    let Core { db, ambient, catalogue, settling, .. } = core;
    let asked: usize = texts.iter().map(|text| tokens::estimate(text)).sum();
    let tokens = i64::try_from(asked).unwrap_or(i64::MAX);
    let usage = Usage { prompt_tokens: tokens, ..Usage::default() };
    let cost = catalogue.cost(&embedder.space().model, usage).unwrap_or(0);
    let expected = Amounts { answers: 0, tokens, cost };
    let who = (Purpose::Ingest, Payer::default(), None);
    let held = spending::begin(db, ambient, workspace, who, expected, HELD).await;
    let held = held.map_err(|error| match error.kind {
        ErrorKind::UsageLimit => Halt::failed(error.code, error.message),
        _ => Halt::retry("STORAGE_UNAVAILABLE", error.message),
    })?;
    let tally = Tally::default();
    let bill = Bill {
        db: db.clone(),
        ambient: ambient.clone(),
        catalogue: catalogue.clone(),
        tally: tally.clone(),
    };
    let settling = Settling { open: Some((bill, held)), tasks: settling.clone() };
    let answers = tally.over(embedder.embed(texts, EmbedPurpose::Passage)).await;
    settling.finish().await?;
    Ok(answers?)
}

/// What a call used, once it is over.
struct Bill {
    db: Db,
    ambient: Ambient,
    catalogue: Catalogue,
    tally: Tally,
}

impl Bill {
    async fn settle(self, held: Held) -> storage::Result<()> {
        let spent = self.tally.take(&self.catalogue).map(|bill| Spent {
            model: bill.model,
            provider: "installation".to_owned(),
            calls: bill.calls,
            prompt_tokens: bill.usage.prompt_tokens,
            completion_tokens: bill.usage.completion_tokens,
            cached_tokens: bill.usage.cached_tokens,
            cost: bill.cost,
            estimated: bill.estimated,
        });
        spending::end(&self.db, &self.ambient, held, spent.unwrap_or_default()).await
    }
}

/// Settles also when it is dropped. Made before the call, so that it is dropped after it, when the call is counted.
struct Settling {
    open: Option<(Bill, Held)>,
    tasks: TaskTracker,
}

impl Settling {
    async fn finish(mut self) -> storage::Result<()> {
        match self.open.take() {
            Some((bill, held)) => bill.settle(held).await,
            None => Ok(()),
        }
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        let Some((bill, held)) = self.open.take() else { return };
        self.tasks.spawn(async move {
            if let Err(error) = bill.settle(held).await {
                tracing::warn!(%error, "what was used could not be written down; its holds end by themselves");
            }
        });
    }
}
