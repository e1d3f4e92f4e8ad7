//! The evidence threshold of a datastore, found without anybody's labels.
//!
//! Half a sentence of a passage is put as a question to the datastore while that passage is left out. What the
//! rest has to say about it is what questions without an answer here find: the more alike the passages are, the
//! more. The threshold is the evidence that about three in four of those questions do not reach. On the
//! evaluation sets it lies near the point where 88 % of the answerable questions are answered.
//!
//! Where there is an embedder, its vectors are tested with it.
//!
//! Off the request path: it takes 500 searches, when a datastore has its first fifty passages and again when it has
//! doubled or halved and nothing comes any more: searching competes with ingesting. It is stored among the changes of the
//! statistics, so it is as durable as they are, and readers come by it the way they come by them.

mod dense;
mod pseudo;

use domain::datastore::{Chunk, Datastore, Source};
use domain::{ChunkId, DatastoreId, WorkspaceId};

use self::pseudo::{Sample, Wording, count_words, questions};
use crate::stats::{Calibration, Current, Stats, encode};
use crate::threshold::{CALIBRATED_FROM, calibrated};
use crate::{Retrieval, RetrievalError};

/// Questions that are made.
const QUESTIONS: usize = 500;
/// Passages that they are made from.
const SAMPLES: i64 = 500;
/// Questions below which nothing is concluded.
const ENOUGH: usize = 40;

/// What became of a calibration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Calibrated {
    /// Nothing is left to do.
    Done,
    /// The datastore is changing; it is looked at again.
    Later,
}

/// Whether a datastore's threshold is to be found, or found again, or its vectors are of another embedder than when
/// they were tested.
pub(crate) fn is_due(current: &Current, space: Option<u32>) -> bool {
    current.with(|stats| {
        let then = stats.calibration.map_or(0, |calibration| calibration.passages);
        let now = stats.passages;
        let tested = stats.calibration.and_then(|calibration| calibration.dense);
        let untested = space.is_some() && tested.map(|test| test.space) != space;
        now >= CALIBRATED_FROM && (then == 0 || now >= 2 * then || 2 * now <= then || untested)
    })
}

impl Retrieval {
    /// Finds the threshold of a datastore and stores it, when that is due.
    pub(crate) async fn calibrate(
        &self,
        workspace: WorkspaceId,
        datastore: DatastoreId,
    ) -> Result<Calibrated, RetrievalError> {
        let weights = self.weights(workspace, &[datastore]).await?;
        let Some(current) =
            weights.only().filter(|current| is_due(current, self.embedding_space()))
        else {
            return Ok(Calibrated::Done);
        };
        let first = current.with(|stats| stats.calibration.is_none());
        if !first && self.0.upkeep.puts_off(workspace, datastore, current.revision()) {
            return Ok(Calibrated::Later);
        }
        let row = {
            let mut conn = self.0.db.read().await?;
            storage::datastores::get(&mut conn, workspace, datastore).await?
        };
        let Some(row) = row else { return Ok(Calibrated::Done) };
        let passages = current.with(|stats| stats.passages);
        let drawn = self.draw(&row).await?;
        let samples: Vec<Sample<'_>> = drawn.iter().map(sample).collect();
        let mut evidence = Vec::with_capacity(QUESTIONS);
        for (at, question) in questions(&samples, QUESTIONS, Wording::Mixed) {
            let except = around(&drawn[at]);
            evidence.push(
                self.evidence_without(workspace, datastore, &question, weights.clone(), &except)
                    .await?,
            );
        }
        // Nothing learnt is noted too, so that it is not tried again before the datastore has changed.
        let threshold = (evidence.len() >= ENOUGH)
            .then(|| calibrated(evidence, mean_words(&samples), passages));
        tracing::info!(%datastore, passages, threshold, "the evidence threshold was calibrated");
        let dense = self.test_dense(workspace, datastore, &weights, &drawn).await?;
        let calibration = Some(Calibration::new(passages, threshold, dense));
        let change = encode(&Stats { calibration, ..Stats::default() });
        let mut tx = self.0.db.write().await?;
        storage::stats::append(&mut tx, workspace, datastore, &change).await?;
        tx.commit().await?;
        Ok(Calibrated::Done)
    }

    /// Passages spread evenly over the sources.
    async fn draw(&self, datastore: &Datastore) -> Result<Vec<Chunk>, RetrievalError> {
        let sources = self.live_sources(datastore).await?;
        let all: i64 = sources.iter().map(|source| source.chunks).sum();
        let wanted = SAMPLES.min(all);
        let mut drawn = Vec::new();
        let (mut before, mut turn) = (0, 0);
        for source in sources {
            while turn < wanted && turn * all / wanted < before + source.chunks {
                let ordinal = turn * all / wanted - before;
                turn += 1;
                let version = source.live_version;
                let mut conn = self.0.db.read().await?;
                let page = storage::chunks::of_version(
                    &mut conn,
                    datastore.workspace_id,
                    source.id,
                    version,
                    ordinal - 1,
                    1,
                );
                drawn.extend(page.await?);
            }
            before += source.chunks;
        }
        Ok(drawn)
    }

    async fn live_sources(&self, datastore: &Datastore) -> Result<Vec<Source>, RetrievalError> {
        let mut all = Vec::new();
        let mut before = None;
        loop {
            let page = self.sources(datastore, before).await?;
            let Some(last) = page.last() else { return Ok(all) };
            before = Some(last.id);
            all.extend(page.into_iter().filter(|source| source.live_version > 0));
        }
    }
}

fn sample(chunk: &Chunk) -> Sample<'_> {
    Sample { text: &chunk.text, lang: chunk.lang }
}

/// A passage and its neighbours, which may share sentences with it.
fn around(chunk: &Chunk) -> [ChunkId; 3] {
    [-1, 0, 1].map(|step| ChunkId::of(chunk.source_id, chunk.version, chunk.ordinal + step))
}

fn mean_words(samples: &[Sample<'_>]) -> f64 {
    let words: usize = samples.iter().map(|sample| count_words(sample.text)).sum();
    words as f64 / samples.len().max(1) as f64
}
