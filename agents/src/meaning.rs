//! How alike two questions are in meaning, by the dense vectors of the installation's embedder: beyond what words and
//! the lexicon tell.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use domain::{GapId, Timestamp, WorkspaceId};
use models::EmbedPurpose;
use moka::sync::Cache;
use retrieval::text_hash;
use storage::embeddings::{self, TextHash};
use storage::{Conn, StorageError, Tx};

use crate::turn::Inner;

/// How long an embedder is waited for. A gap does without.
const PATIENCE: Duration = Duration::from_secs(3);

/// Questions from which on it is known how alike those are that ask something else.
const ENOUGH: usize = 5;

/// How far from what is usual towards being the same two questions must be to ask the same; and the cosine while nobody
/// knows what is usual.
const TOWARDS: f64 = 0.75;
const ALIKE: f64 = 0.9;

/// Memory that vectors of questions may take.
const BYTES: u64 = 16 << 20;

/// The vectors of questions, as far as they were compared lately.
#[derive(Debug)]
pub(crate) struct Vectors(Cache<(WorkspaceId, TextHash), Arc<[f32]>>);

impl Default for Vectors {
    fn default() -> Self {
        let bytes = |_: &(WorkspaceId, TextHash), vector: &Arc<[f32]>| {
            u32::try_from(size_of_val(&**vector) + 150).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(BYTES).weigher(bytes).build())
    }
}

impl Vectors {
    /// Those of questions that have one.
    async fn of(
        &self,
        conn: &mut Conn,
        (workspace, space): (WorkspaceId, &str),
        known: &[(GapId, String)],
    ) -> Result<Vec<(GapId, Arc<[f32]>)>, StorageError> {
        let mut found = Vec::with_capacity(known.len());
        let mut unknown: HashMap<TextHash, GapId> = HashMap::new();
        for (id, question) in known {
            let hash = hash_of(question);
            match self.0.get(&(workspace, hash)) {
                Some(vector) => found.push((*id, vector)),
                None => drop(unknown.insert(hash, *id)),
            }
        }
        if unknown.is_empty() {
            return Ok(found);
        }
        let hashes: Vec<TextHash> = unknown.keys().copied().collect();
        for (hash, vector) in embeddings::get_many(conn, workspace, space, &hashes).await? {
            let vector: Arc<[f32]> = vector.into();
            self.0.insert((workspace, hash), vector.clone());
            found.extend(unknown.get(&hash).map(|id| (*id, vector)));
        }
        Ok(found)
    }
}

/// The vector of a question, and where it is kept.
#[derive(Debug, Clone)]
pub(crate) struct Meaning {
    space: String,
    hash: TextHash,
    vector: Vec<f32>,
}

/// A question as it is put to the embedder's store, apart from passages of the same words.
pub(crate) fn hash_of(question: &str) -> TextHash {
    text_hash(&format!("question\n{question}"))
}

/// What a question means; `None` without an embedder, or when it does not answer in time.
pub(crate) async fn meaning_of(inner: &Inner, question: &str) -> Option<Meaning> {
    let embedder = inner.retrieval.embedder()?;
    let (space, hash) = (embedder.space().to_string(), hash_of(question));
    // Its turn has searched for it a moment ago.
    if let Some(vector) = inner.retrieval.question_vector(question) {
        return Some(Meaning { space, hash, vector });
    }
    let texts = [question.to_owned()];
    let embedding = embedder.embed(&texts, EmbedPurpose::Query);
    let vector = match tokio::time::timeout(PATIENCE, embedding).await {
        Ok(Ok(vectors)) => vectors.into_iter().next()?,
        Ok(Err(error)) => {
            tracing::warn!(%error, "a question without an answer is grouped by its words alone");
            return None;
        }
        Err(_) => {
            tracing::warn!(
                "a question without an answer is grouped by its words alone: the embedder is slow"
            );
            return None;
        }
    };
    Some(Meaning { space, hash, vector })
}

/// The one of `known` that means the same, the most alike one when there are several.
pub(crate) async fn same_meaning(
    conn: &mut Conn,
    workspace: WorkspaceId,
    before: &Vectors,
    meaning: &Meaning,
    known: &[(GapId, String)],
) -> Result<Option<GapId>, StorageError> {
    let vectors = before.of(conn, (workspace, &meaning.space), known).await?;
    let cosines: Vec<(GapId, f64)> =
        vectors.iter().map(|(id, vector)| (*id, cosine(&meaning.vector, vector))).collect();
    Ok(nearest(&cosines))
}

/// Keeps the vector of a question that begins a group.
pub(crate) async fn keep(
    tx: &mut Tx,
    workspace: WorkspaceId,
    meaning: &Meaning,
    now: Timestamp,
) -> Result<(), StorageError> {
    let Meaning { space, hash, vector } = meaning;
    embeddings::insert_many(tx, workspace, space, &[(*hash, vector.clone())], now).await
}

/// The nearest question, if it is near. Models spread their cosines differently: what is usual among other questions
/// tells where nearness begins.
fn nearest(cosines: &[(GapId, f64)]) -> Option<GapId> {
    let (id, best) = cosines.iter().copied().max_by(|one, other| one.1.total_cmp(&other.1))?;
    let mut all: Vec<f64> = cosines.iter().map(|(_, cosine)| *cosine).collect();
    all.sort_by(f64::total_cmp);
    let needed = if all.len() < ENOUGH {
        ALIKE
    } else {
        let usual = all[all.len() / 2];
        usual + TOWARDS * (1.0 - usual)
    };
    (best >= needed).then_some(id)
}

fn cosine(one: &[f32], other: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let lengths = (dot(one, one) * dot(other, other)).sqrt();
    if lengths > 0.0 { dot(one, other) / lengths } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use domain::Ambient;

    use super::*;

    fn found(cosines: &[f64]) -> Option<usize> {
        let ambient = Ambient::system();
        let cosines: Vec<(GapId, f64)> =
            cosines.iter().map(|cosine| (ambient.new_id(), *cosine)).collect();
        let id = nearest(&cosines)?;
        cosines.iter().position(|(known, _)| *known == id)
    }

    #[test]
    fn what_is_near_depends_on_what_is_usual() {
        assert_eq!(found(&[]), None);
        assert_eq!(found(&[0.85, 0.1]), None, "too few to tell");
        assert_eq!(found(&[0.1, 0.91]), Some(1));
        assert_eq!(found(&[0.1, 0.2, 0.1, 0.85, 0.0]), Some(3));
        assert_eq!(found(&[0.7, 0.75, 0.72, 0.85, 0.7]), None, "all are alike to this model");
        assert_eq!(found(&[0.7, 0.75, 0.72, 0.95, 0.7]), Some(3));
    }

    #[test]
    fn vectors_of_any_length_are_compared() {
        assert!((cosine(&[3.0, 0.0], &[0.5, 0.0]) - 1.0).abs() < 1e-9);
        assert!(cosine(&[0.0, 0.0], &[1.0, 0.0]).abs() < 1e-9);
    }
}
