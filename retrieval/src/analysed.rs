//! Passages that were compared with questions lately, kept analysed: analysing one again for each question would
//! cost more than all the rest of a search.

use std::sync::Arc;

use domain::ChunkId;
use domain::datastore::LiveChunk;
use models::builtin::{AnalysedPassage, Asked};
use moka::sync::Cache;

use crate::fusion::Compared;
use crate::passage_heading;
use crate::search::Rows;

/// Memory that they may take: some 10,000 passages of 1 kB.
const BYTES: u64 = 32 << 20;
/// What the cache itself takes for an entry, about.
const OVERHEAD: usize = 200;

/// A cache of analysed passages. A chunk's text never changes; what its source is called may.
#[derive(Debug)]
pub struct AnalysedPassages(Cache<ChunkId, Arc<Kept>>);

#[derive(Debug)]
struct Kept {
    heading: Box<str>,
    passage: AnalysedPassage,
}

impl AnalysedPassages {
    pub fn new() -> Self {
        let bytes = |_: &ChunkId, kept: &Arc<Kept>| {
            let bytes = kept.passage.bytes() + kept.heading.len() + OVERHEAD;
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(BYTES).weigher(bytes).build())
    }

    /// How close each passage is to the question.
    pub fn compare(&self, asked: &Asked, rows: &Rows) -> Compared {
        rows.values()
            .map(|live| {
                let kept = self.get(live);
                (live.chunk.id, asked.closeness(&kept.passage, &live.chunk.text))
            })
            .collect()
    }

    fn get(&self, live: &LiveChunk) -> Arc<Kept> {
        let heading = passage_heading(&live.source_name, &live.chunk.heading);
        if let Some(kept) = self.0.get(&live.chunk.id)
            && *kept.heading == heading
        {
            return kept;
        }
        let passage = AnalysedPassage::new(&heading, &live.chunk.text, live.chunk.lang);
        let kept = Arc::new(Kept { heading: heading.into_boxed_str(), passage });
        self.0.insert(live.chunk.id, Arc::clone(&kept));
        kept
    }
}
