//! What stands before and after a hit in its source: a passage that begins in the middle of a thought, or ends in one,
//! is told together with the rest of it where there is room.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use domain::datastore::{Chunk, LiveChunk};
use domain::{ChunkId, DatastoreId, WorkspaceId};
use moka::sync::Cache;

use crate::{Hit, Retrieval, RetrievalError};

/// Memory for chunks that were neighbours lately.
const BYTES: u64 = 8 << 20;
/// What one needs beside its text.
const BESIDES: usize = 400;
/// How long it is known what stands beside a chunk. The chunks of a version never change while it is live.
const KNOWN: Duration = Duration::from_mins(2);

/// What stands around a hit, as far as it is joined to it.
#[derive(Debug, Clone, Default)]
pub struct Around {
    /// The chunk before it.
    pub before: Option<Arc<Chunk>>,
    /// The chunk after it.
    pub after: Option<Arc<Chunk>>,
}

/// A chunk by its place, `None` where a source begins or ends.
#[derive(Debug)]
pub(crate) struct Neighbours(Cache<(WorkspaceId, ChunkId), Option<Arc<Chunk>>>);

impl Neighbours {
    pub(crate) fn new() -> Self {
        let bytes = |_: &(WorkspaceId, ChunkId), chunk: &Option<Arc<Chunk>>| {
            let text = chunk.as_ref().map_or(0, |chunk| chunk.text.len());
            u32::try_from(BESIDES + text).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder().max_capacity(BYTES).weigher(bytes).time_to_live(KNOWN);
        Self(cache.build())
    }
}

impl Around {
    fn is_empty(&self) -> bool {
        self.before.is_none() && self.after.is_none()
    }
}

impl Hit {
    /// The id of the chunk so many places further in the same version of the source; `None` before its beginning. There
    /// may be no such chunk.
    pub fn beside(&self, step: i64) -> Option<ChunkId> {
        let chunk = &self.live.chunk;
        let place = chunk.ordinal.checked_add(step).filter(|place| *place >= 0)?;
        Some(ChunkId::of(chunk.source_id, chunk.version, place))
    }

    /// The chunks that the passage is made of, in the order of the document.
    pub fn parts(&self) -> impl Iterator<Item = &Chunk> {
        let Around { before, after } = &self.around;
        before.as_deref().into_iter().chain([&self.live.chunk]).chain(after.as_deref())
    }

    /// The passage as one text: what its parts have in common stands in it once.
    pub fn text(&self) -> Cow<'_, str> {
        if self.around.is_empty() {
            return Cow::Borrowed(&self.live.chunk.text);
        }
        let mut text = String::new();
        let mut end = None;
        for part in self.parts() {
            let told = end.map_or(0, |end: i64| (end - part.start).max(0));
            let told = usize::try_from(told).unwrap_or(0);
            let from = part.text.char_indices().nth(told).map_or(part.text.len(), |(at, _)| at);
            if end.is_some_and(|end| end < part.start) {
                text.push_str("\n\n");
            }
            text.push_str(&part.text[from..]);
            end = end.max(Some(part.end));
        }
        Cow::Owned(text)
    }
}

impl Retrieval {
    /// The live ones of these chunks: one look-up for all that are not in memory, none for none.
    pub async fn neighbours(
        &self,
        workspace: WorkspaceId,
        datastores: &[DatastoreId],
        ids: &[ChunkId],
    ) -> Result<HashMap<ChunkId, Arc<Chunk>>, RetrievalError> {
        let known = &self.0.neighbours.0;
        let mut found = HashMap::with_capacity(ids.len());
        let mut unknown = Vec::new();
        for &id in ids {
            match known.get(&(workspace, id)) {
                Some(Some(chunk)) if datastores.contains(&chunk.datastore_id) => {
                    found.insert(id, chunk);
                }
                Some(None) => {}
                _ => unknown.push(id),
            }
        }
        if unknown.is_empty() {
            return Ok(found);
        }
        let mut conn = self.0.db.read().await?;
        let rows = storage::chunks::live(&mut conn, workspace, datastores, &unknown).await?;
        drop(conn);
        for LiveChunk { chunk, .. } in rows {
            let chunk = Arc::new(chunk);
            known.insert((workspace, chunk.id), Some(chunk.clone()));
            found.insert(chunk.id, chunk);
        }
        for id in unknown {
            if !found.contains_key(&id) {
                known.insert((workspace, id), None);
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use domain::ids::PrefixedId;
    use domain::{Lang, SourceId};
    use serde_json::Map;
    use uuid::Uuid;

    use super::*;
    use crate::ComponentScores;

    const DOCUMENT: &str = "Uno ñandú. Dos son más. Tres y ya. Cuatro al fin.";

    /// The characters from `start` to `end` as the chunk of that place.
    fn chunk(ordinal: i64, start: usize, end: usize) -> Chunk {
        let source = SourceId::from_uuid(Uuid::nil());
        Chunk {
            id: ChunkId::of(source, 1, ordinal),
            workspace_id: WorkspaceId::from_uuid(Uuid::nil()),
            datastore_id: DatastoreId::from_uuid(Uuid::nil()),
            source_id: source,
            version: 1,
            ordinal,
            text: DOCUMENT.chars().skip(start).take(end - start).collect(),
            heading: String::new(),
            page: None,
            start: i64::try_from(start).unwrap(),
            end: i64::try_from(end).unwrap(),
            tokens: 5,
            lang: Lang::Es,
        }
    }

    fn hit(chunk: Chunk, before: Option<Chunk>, after: Option<Chunk>) -> Hit {
        let live =
            LiveChunk { chunk, source_name: "x".to_owned(), url: None, metadata: Map::new() };
        let around = Around { before: before.map(Arc::new), after: after.map(Arc::new) };
        Hit { live: Arc::new(live), score: 1.0, scores: ComponentScores::default(), around }
    }

    #[test]
    fn what_parts_share_stands_in_the_text_once() {
        // The second begins with the first one's last sentence; the third follows after white space.
        let (one, two, three) = (chunk(0, 0, 23), chunk(1, 11, 34), chunk(2, 35, 49));
        assert_eq!(hit(two.clone(), None, None).text(), "Dos son más. Tres y ya.");
        let whole = hit(two.clone(), Some(one.clone()), Some(three.clone()));
        assert_eq!(whole.text(), "Uno ñandú. Dos son más. Tres y ya.\n\nCuatro al fin.");
        let ordinals: Vec<i64> = whole.parts().map(|part| part.ordinal).collect();
        assert_eq!(ordinals, [0, 1, 2]);
        assert_eq!(hit(one, None, Some(two)).text(), "Uno ñandú. Dos son más. Tres y ya.");
        // One within the other adds nothing.
        assert_eq!(
            hit(chunk(0, 0, 34), None, Some(chunk(1, 11, 23))).text(),
            "Uno ñandú. Dos son más. Tres y ya."
        );
        let first = hit(chunk(0, 0, 10), None, None);
        assert_eq!((first.beside(-1), first.beside(1)), (None, Some(id_at(1))));
    }

    fn id_at(ordinal: i64) -> ChunkId {
        ChunkId::of(SourceId::from_uuid(Uuid::nil()), 1, ordinal)
    }
}
