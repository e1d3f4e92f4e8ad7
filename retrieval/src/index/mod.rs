//! The vector index: `Edge` in process or `Server`. It proposes chunk ids; storage disposes.

mod edge;
mod point;
mod server;

use domain::ids::PrefixedId;
use domain::{ChunkId, DatastoreId, Lang, SourceId, WorkspaceId};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::RetrievalError;

pub(crate) use edge::Edge;
pub(crate) use point::{Point, Sparse, metadata_token, passage_terms, single};
pub(crate) use server::Server;

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

/// Names of the vectors.
pub(crate) mod vector {
    pub(crate) const WORDS: &str = "words";
    pub(crate) const GRAMS: &str = "grams";
    pub(crate) const DENSE: &str = "dense";
}

/// Names of the payload fields. All but `version` and `lang` are indexed.
pub(crate) mod field {
    pub(crate) const WORKSPACE: &str = "workspace";
    pub(crate) const DATASTORE: &str = "datastore";
    pub(crate) const SOURCE: &str = "source";
    pub(crate) const VERSION: &str = "version";
    pub(crate) const LANG: &str = "lang";
    /// Every `name = value` of the metadata as one token, so that a single index serves all names.
    pub(crate) const METADATA: &str = "metadata";
}

/// Raised whenever what is stored changes its meaning (analyser, weights): the collection gets another
/// name, is found empty and is filled again from the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Of the index in process.
    Edge = 4,
    /// Of the one on a server.
    Server = 3,
}

/// The name of the collection of an embedding space (`model/dimension`), or of none.
pub(crate) fn collection_name(prefix: &str, space: Option<&str>, format: Format) -> String {
    let space = space.unwrap_or("lexical");
    let slug: String = space
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect();
    let digest = Uuid::new_v5(&Uuid::NAMESPACE_OID, space.as_bytes()).simple().to_string();
    format!("{prefix}-{slug}-{}-f{}", &digest[..8], format as u32)
}

/// What is looked up in the index, in one go.
#[derive(Debug, Clone)]
pub(crate) struct Lookup {
    pub(crate) datastores: Vec<DatastoreId>,
    /// Metadata tokens: of each list one must be there.
    pub(crate) metadata: Vec<Vec<String>>,
    pub(crate) words: Option<Sparse>,
    pub(crate) grams: Option<Sparse>,
    pub(crate) dense: Option<Vec<f32>>,
    /// Most points of each vector.
    pub(crate) limit: usize,
}

/// What each vector found, best first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    pub(crate) words: Vec<(ChunkId, f32)>,
    pub(crate) grams: Vec<(ChunkId, f32)>,
    pub(crate) dense: Vec<(ChunkId, f32)>,
}

impl Found {
    /// Leaves points out.
    pub(crate) fn forget(&mut self, ids: &[ChunkId]) {
        for hits in [&mut self.words, &mut self.grams, &mut self.dense] {
            hits.retain(|(id, _)| !ids.contains(id));
        }
    }
}

/// Where a point belongs, as its payload says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Belonging {
    pub(crate) workspace: WorkspaceId,
    pub(crate) source: SourceId,
    pub(crate) version: i64,
}

impl Belonging {
    /// From the texts of a payload; `None` when it is not one of ours.
    pub(crate) fn read(workspace: &str, source: &str, version: i64) -> Option<Self> {
        Some(Self {
            workspace: WorkspaceId::from_uuid(workspace.parse().ok()?),
            source: SourceId::from_uuid(source.parse().ok()?),
            version,
        })
    }
}

/// A page of a walk through all points.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) points: Vec<(ChunkId, Belonging)>,
    /// Where the next page begins; `None` at the end.
    pub(crate) next: Option<Uuid>,
}

/// The index, in process or on a server.
#[derive(Debug, Clone)]
pub(crate) enum Index {
    Edge(Edge),
    Server(Server),
}

impl Index {
    pub(crate) async fn upsert(&self, points: Vec<Point>) -> Result<(), RetrievalError> {
        match self {
            Self::Edge(edge) => edge.upsert(points).await,
            Self::Server(server) => server.upsert(points).await,
        }
    }

    pub(crate) async fn remove(
        &self,
        workspace: WorkspaceId,
        target: IndexTarget,
    ) -> Result<(), RetrievalError> {
        match self {
            Self::Edge(edge) => edge.remove(workspace, target).await,
            Self::Server(server) => server.remove(workspace, target).await,
        }
    }

    pub(crate) async fn find(&self, lookup: Lookup) -> Result<Found, RetrievalError> {
        match self {
            Self::Edge(edge) => edge.find(lookup).await,
            Self::Server(server) => server.find(lookup).await,
        }
    }

    /// The points from `from` on, in the order of their ids.
    pub(crate) async fn page(&self, from: Option<Uuid>) -> Result<Page, RetrievalError> {
        match self {
            Self::Edge(edge) => edge.page(from).await,
            Self::Server(server) => server.page(from).await,
        }
    }

    /// Seals what was appended, where that is ours to do.
    pub(crate) async fn optimize(&self) -> Result<(), RetrievalError> {
        match self {
            Self::Edge(edge) => edge.optimize().await,
            Self::Server(_) => Ok(()),
        }
    }

    pub(crate) async fn ping(&self) -> Result<(), RetrievalError> {
        match self {
            Self::Edge(edge) => edge.ping(),
            Self::Server(server) => server.ping().await,
        }
    }

    pub(crate) async fn close(&self) {
        if let Self::Edge(edge) = self {
            edge.close().await;
        }
    }

    /// Whether it is empty although rows may say otherwise: it is new, was lost, or was being filled.
    pub(crate) async fn is_unfilled(&self) -> Result<bool, RetrievalError> {
        match self {
            Self::Edge(edge) => Ok(edge.is_unfilled()),
            Self::Server(server) => server.is_unfilled().await,
        }
    }

    /// Notes that every row has its point.
    pub(crate) async fn mark_filled(&self) -> Result<(), RetrievalError> {
        match self {
            Self::Edge(edge) => edge.mark_filled(),
            Self::Server(server) => server.mark_filled().await,
        }
    }
}

/// How many points a walk takes at a time.
pub(crate) const PAGE: usize = 2_000;
