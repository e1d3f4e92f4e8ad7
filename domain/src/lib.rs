#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

pub mod agent;
pub mod agent_version;
pub mod ambient;
pub mod api_key;
pub mod approval;
pub mod article;
pub mod attachment;
pub mod budget;
pub mod canned_reply;
pub mod contact;
pub mod conversation;
pub mod datastore;
pub mod error;
pub mod eval;
pub mod gap;
pub mod gate;
pub mod ids;
pub mod job;
pub mod lang;
pub mod lead;
pub mod message;
pub mod note;
pub mod origin;
pub mod principal;
pub mod settings;
pub mod text;
pub mod time;
pub mod tool;
pub mod user;
pub mod vault;
pub mod widget;
pub mod workspace;

pub use ambient::{
    Ambient, Clock, Entropy, ManualClock, SeededEntropy, SystemClock, SystemEntropy,
};
pub use error::{DomainError, ErrorKind};
pub use ids::{
    AgentId, ApiKeyId, ApprovalId, ArticleId, AttachmentId, AuditEntryId, BlobId, BudgetId,
    CannedReplyId, CategoryId, ChunkId, ContactId, ConversationId, DatastoreId, EvalDatasetId,
    EvalRunId, EventId, GapId, JobId, LeadId, MessageId, NoteId, ProjectId, ProviderId,
    PublicationId, SessionId, SourceId, UserId, VisitorId, WorkspaceId,
};
pub use lang::Lang;
pub use principal::{Action, Actor, Principal, Role, Scope};
pub use time::Timestamp;
pub use vault::{SecretPlace, Vault, VaultError};
