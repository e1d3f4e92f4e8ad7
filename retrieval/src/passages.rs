//! Passages found lately: their rows, and what comparing them with questions takes, kept in memory. Reading and
//! analysing them again for each question would cost more than all the rest of a search.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use domain::ChunkId;
use domain::datastore::LiveChunk;
use models::builtin::{AnalysedPassage, Asked, Closeness};
use moka::sync::Cache;

use crate::passage_heading;

/// Memory that they may take: some 6,000 passages of 1 kB.
const BYTES: u64 = 32 << 20;
/// What a passage is taken to need: for each byte of its text (itself, its folded letters, eight bytes a word)
/// and besides.
const PER_BYTE: usize = 4;
const BESIDES: usize = 1_000;
/// How long a row counts as current while its datastore stays as it is. What such a row says of its source, its
/// name for one, may change without that.
const CURRENT: Duration = Duration::from_mins(2);

/// The passages that were found lately. A row is current as long as its datastore has the revision that it had
/// when the row was read: whatever makes passages live or takes them away raises it.
#[derive(Debug)]
pub(crate) struct Passages(Cache<ChunkId, Arc<Kept>>);

/// A live chunk and its analysis.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) live: Arc<LiveChunk>,
    /// Of its datastore when it was read.
    revision: i64,
    heading: String,
    analysed: Arc<OnceLock<AnalysedPassage>>,
}

/// Live chunks by id.
pub(crate) type Rows = HashMap<ChunkId, Arc<Kept>>;

impl Passages {
    pub(crate) fn new() -> Self {
        let bytes = |_: &ChunkId, kept: &Arc<Kept>| {
            let bytes = BESIDES + PER_BYTE * kept.live.chunk.text.len();
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder().max_capacity(BYTES).weigher(bytes).time_to_live(CURRENT);
        Self(cache.build())
    }

    /// The chunk, when it is known and `current` for its datastore: `current` tells the revision that a
    /// datastore asked has now.
    pub(crate) fn get(
        &self,
        id: ChunkId,
        current: impl Fn(&LiveChunk) -> Option<i64>,
    ) -> Option<Arc<Kept>> {
        self.0.get(&id).filter(|kept| current(&kept.live) == Some(kept.revision))
    }

    /// Keeps a chunk that was read when its datastore had at least this revision.
    pub(crate) fn keep(&self, live: LiveChunk, revision: i64) -> Arc<Kept> {
        let heading = passage_heading(&live.source_name, &live.chunk.heading);
        // The text of a chunk never changes; its source may have got another name.
        let before = self.0.get(&live.chunk.id).filter(|before| before.heading == heading);
        let analysed = before.map(|before| Arc::clone(&before.analysed)).unwrap_or_default();
        let id = live.chunk.id;
        let kept = Arc::new(Kept { live: Arc::new(live), revision, heading, analysed });
        self.0.insert(id, Arc::clone(&kept));
        kept
    }
}

impl Kept {
    /// How close the passage is to a question.
    pub(crate) fn closeness(&self, asked: &Asked) -> Closeness {
        let chunk = &self.live.chunk;
        let analyse = || AnalysedPassage::new(&self.heading, &chunk.text, chunk.lang);
        asked.closeness(self.analysed.get_or_init(analyse), &chunk.text)
    }
}
