//! Dense vectors of passages, never computed twice for the same text.

use std::collections::HashMap;

use domain::WorkspaceId;
use models::EmbedPurpose;
use storage::embeddings::TextHash;

use super::Core;
use super::halt::Halt;

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
        let answers = embedder.embed(&texts, EmbedPurpose::Passage).await?;
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
