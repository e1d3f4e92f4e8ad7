//! Knowledge: datastores, the sources in them, and the chunks that sources are cut into.

use serde_json::{Map, Value};

use crate::{BlobId, ChunkId, DatastoreId, Lang, SourceId, Timestamp, WorkspaceId};

/// A collection of knowledge.
#[derive(Debug, Clone, PartialEq)]
pub struct Datastore {
    /// Its id.
    pub id: DatastoreId,
    /// The workspace that owns it.
    pub workspace_id: WorkspaceId,
    /// Shown to people.
    pub name: String,
    /// Shown to people.
    pub description: String,
    /// The language of its content when it is not told by the content; `None` lets each chunk decide.
    pub language: Option<Lang>,
    /// Whether it is the one that the workspace was born with.
    pub is_default: bool,
    /// Whether the server keeps it by itself: the articles of the knowledge base.
    pub is_system: bool,
    /// Rises with every change of its live chunks; derived data carries the revision it was made at.
    pub revision: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its name, description or language last changed.
    pub updated_at: Timestamp,
}

/// A file, URL or text in a datastore.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Its id.
    pub id: SourceId,
    /// The workspace that owns it.
    pub workspace_id: WorkspaceId,
    /// The datastore it is in.
    pub datastore_id: DatastoreId,
    /// Shown to people and cited: a title or a file name. Data only, never a path.
    pub name: String,
    /// Where its bytes come from.
    pub origin: SourceOrigin,
    /// Where its ingestion stands.
    pub status: SourceStatus,
    /// The stage at work while `Running`.
    pub stage: Option<IngestStage>,
    /// Progress of the whole ingestion, 0 to 100, while `Running`.
    pub percent: Option<i64>,
    /// Why it failed, in words that a person understands.
    pub failure: Option<SourceFailure>,
    /// Something a person should know although it is ready: `needs_ocr`.
    pub warning: Option<String>,
    /// The content type that was found, by content and extension together.
    pub mime: Option<String>,
    /// Bytes of the content as received.
    pub bytes: i64,
    /// The language that most of it is in.
    pub language: Option<Lang>,
    /// SHA-256 (hexadecimal) of the content of the live version.
    pub content_hash: Option<String>,
    /// The version that questions are answered from; 0 when none is live yet.
    pub live_version: i64,
    /// The newest version that was begun, from 1.
    pub version: i64,
    /// Chunks of the live version.
    pub chunks: i64,
    /// Given by the owner; usable in filters. Strings, numbers, booleans and lists of strings.
    pub metadata: Map<String, Value>,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Source {
    /// One that nobody has worked at yet: of its first version, with no content that was read.
    pub fn pending(
        id: SourceId,
        (workspace_id, datastore_id): (WorkspaceId, DatastoreId),
        (name, origin): (String, SourceOrigin),
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            workspace_id,
            datastore_id,
            name,
            origin,
            status: SourceStatus::Pending,
            stage: None,
            percent: None,
            failure: None,
            warning: None,
            mime: None,
            bytes: 0,
            language: None,
            content_hash: None,
            live_version: 0,
            version: 1,
            chunks: 0,
            metadata: Map::new(),
            created_at: now,
            updated_at: now,
        }
    }
}

/// Where the bytes of a source come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceOrigin {
    /// An uploaded file, kept as a blob.
    File {
        /// The stored file.
        blob: BlobId,
    },
    /// A page or file on the web.
    Url {
        /// The address as the owner gave it, normalised.
        url: String,
    },
    /// Text given in the request, kept in the database.
    Text,
}

impl SourceOrigin {
    /// The type as stored and shown.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::File { .. } => "file",
            Self::Url { .. } => "url",
            Self::Text => "text",
        }
    }
}

/// Where the ingestion of a source stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceStatus {
    /// Accepted, waiting for a worker.
    Pending,
    /// At work.
    Running,
    /// Answers come from it.
    Ready,
    /// Could not be ingested; an older live version, where there is one, goes on answering.
    Failed,
    /// Stopped by its owner.
    Cancelled,
}

impl SourceStatus {
    /// Every status.
    pub const ALL: [Self; 5] =
        [Self::Pending, Self::Running, Self::Ready, Self::Failed, Self::Cancelled];

    /// As stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The stages of ingestion, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IngestStage {
    /// Bytes are read from the blob, the database or the web.
    Fetch,
    /// Bytes become text with structure.
    Extract,
    /// Text becomes chunks.
    Chunk,
    /// Chunks get dense vectors, where an embedder is configured.
    Embed,
    /// Chunks enter the index and the version goes live.
    Index,
}

impl IngestStage {
    /// Every stage, in order.
    pub const ALL: [Self; 5] = [Self::Fetch, Self::Extract, Self::Chunk, Self::Embed, Self::Index];

    /// As stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Extract => "extract",
            Self::Chunk => "chunk",
            Self::Embed => "embed",
            Self::Index => "index",
        }
    }
}

/// Why a source could not be ingested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFailure {
    /// `UPPER_SNAKE`, stable: `NEEDS_OCR`, `ENCRYPTED`, `UNREADABLE`, `FETCH_REFUSED`, `TOO_LARGE`, `EMPTY`…
    pub code: String,
    /// A sentence for a person, with the remedy.
    pub message: String,
}

/// A passage of one version of a source.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// UUIDv5 of source, version and ordinal.
    pub id: ChunkId,
    /// The workspace that owns it.
    pub workspace_id: WorkspaceId,
    /// The datastore it is in.
    pub datastore_id: DatastoreId,
    /// The source it was cut from.
    pub source_id: SourceId,
    /// The version of the source that it was cut from.
    pub version: i64,
    /// Its place in the document, from 0.
    pub ordinal: i64,
    /// The passage, verbatim from the extracted text.
    pub text: String,
    /// Headings above it, outermost first, joined by ` › `; empty when there are none.
    pub heading: String,
    /// The page it starts on, from 1, where the format has pages.
    pub page: Option<i64>,
    /// Where it starts in the extracted text, in characters (Unicode scalar values).
    pub start: i64,
    /// Where it ends (excluded), in characters.
    pub end: i64,
    /// Its size in tokens (`o200k_base`).
    pub tokens: i64,
    /// The language it is in.
    pub lang: Lang,
}

/// A chunk together with what is shown of its source: what a search result is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveChunk {
    /// The passage.
    pub chunk: Chunk,
    /// The name of its source.
    pub source_name: String,
    /// The address of its source, when it came from the web.
    pub url: Option<String>,
    /// The metadata of its source.
    pub metadata: Map<String, Value>,
}
