//! The neighbours of hits, joined to them in the prompt where there is room: an answer often stands a sentence further.

use std::collections::HashSet;

use domain::{ChunkId, DatastoreId};
use retrieval::{Around, Hit};

use crate::run::Work;

/// Tokens of a passage for which there is room in any case: documents are cut into passages of that size at most, unless
/// the installation says otherwise. With room for 500 answers are found no more often on the evaluation sets, at half as
/// many tokens again (docs/QUALITY.md).
const PASSAGE_TOKENS: i64 = 300;

/// Joins to the hits, the best first, what follows them and what stands before them in the same section, as long as all
/// passages together stay within what as many of full size take. One look-up at most, and none without room.
pub(crate) async fn join(work: &Work, datastores: &[DatastoreId], hits: &mut [Hit]) {
    let mut room = room(work.agent.settings.top_k, hits);
    let wanted = wanted(hits, room);
    if wanted.is_empty() {
        return;
    }
    let found = work.inner.retrieval.neighbours(work.workspace(), datastores, &wanted).await;
    let found = match found {
        Ok(found) => found,
        // The answer does without.
        Err(error) => {
            tracing::warn!(%error, "the neighbours of passages were not found");
            return;
        }
    };
    let mut taken = HashSet::new();
    for hit in hits {
        for step in STEPS {
            let Some(chunk) = hit.beside(step).and_then(|id| found.get(&id)) else { continue };
            let is_of_section = chunk.heading == hit.live.chunk.heading;
            if !is_of_section || chunk.tokens > room || !taken.insert(chunk.id) {
                continue;
            }
            room -= chunk.tokens;
            let Around { before, after } = &mut hit.around;
            let place = if step < 0 { before } else { after };
            *place = Some(chunk.clone());
        }
    }
}

/// What follows is worth more than what stands before.
const STEPS: [i64; 2] = [1, -1];

/// Tokens that are left for neighbours.
fn room(top_k: u32, hits: &[Hit]) -> i64 {
    let taken: i64 = hits.iter().map(|hit| hit.live.chunk.tokens).sum();
    i64::from(top_k) * PASSAGE_TOKENS - taken
}

/// The neighbours that there may be room for, taken to be as long as their hits, without those that are hits themselves.
fn wanted(hits: &[Hit], mut room: i64) -> Vec<ChunkId> {
    let mut known: HashSet<ChunkId> = hits.iter().map(|hit| hit.live.chunk.id).collect();
    let mut wanted = Vec::new();
    for hit in hits {
        for id in STEPS.into_iter().filter_map(|step| hit.beside(step)) {
            if room <= 0 {
                return wanted;
            }
            if known.insert(id) {
                wanted.push(id);
                room -= hit.live.chunk.tokens;
            }
        }
    }
    wanted
}
