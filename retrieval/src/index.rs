//! The vector index: `Edge` in process or `Server`.

use domain::{ChunkId, DatastoreId, Lang, SourceId, WorkspaceId};
use serde_json::{Map, Value};

/// A passage as the index takes it.
#[derive(Debug, Clone)]
pub struct IndexPoint {
    /// The chunk.
    pub id: ChunkId,
    /// Its tenant.
    pub workspace: WorkspaceId,
    /// Its datastore.
    pub datastore: DatastoreId,
    /// Its source.
    pub source: SourceId,
    /// The version of the source.
    pub version: i64,
    /// The language to analyse it in.
    pub lang: Lang,
    /// Title and heading path, indexed with the text.
    pub heading: String,
    /// The passage.
    pub text: String,
    /// Unit vector, when an embedder is configured.
    pub dense: Option<Vec<f32>>,
    /// Metadata of the source, for filters.
    pub metadata: Map<String, Value>,
}

/// What to remove from the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexTarget {
    /// Every version of a source but one.
    OtherVersions {
        /// The source.
        source: SourceId,
        /// The version that stays.
        keep: i64,
    },
    /// One version of a source. Safe while a newer version is on its way, which `OtherVersions` is not.
    Version {
        /// The source.
        source: SourceId,
        /// The version that goes.
        version: i64,
    },
    /// A source.
    Source(SourceId),
    /// A datastore.
    Datastore(DatastoreId),
    /// A workspace.
    Workspace,
}
