//! Typed, prefixed, time-ordered ids: `agent_019a…`. A wrong kind does not compile, and an id read in a
//! log says what it names. The UUID inside is version 7, except for chunks (version 5, so that
//! repeating an ingest stage repeats nothing).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::Timestamp;

/// Text that is not an id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {kind} id: it starts with `{prefix}` followed by 32 hexadecimal digits")]
pub struct InvalidId {
    /// What the id names, for people: `agent`.
    pub kind: &'static str,
    /// The expected prefix, with its underscore.
    pub prefix: &'static str,
}

/// An id with a prefix and a UUID. Implemented by the types of this module only.
pub trait PrefixedId: Copy + fmt::Display + FromStr<Err = InvalidId> {
    /// The prefix, with its underscore: `agent_`.
    const PREFIX: &'static str;
    /// What the id names, for people.
    const KIND: &'static str;
    /// Wraps a UUID.
    fn from_uuid(uuid: Uuid) -> Self;
    /// The UUID inside.
    fn uuid(self) -> Uuid;
}

macro_rules! prefixed_ids {
    ($($(#[$doc:meta])* $name:ident, $prefix:literal, $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl PrefixedId for $name {
            const PREFIX: &'static str = $prefix;
            const KIND: &'static str = $kind;
            fn from_uuid(uuid: Uuid) -> Self { Self(uuid) }
            fn uuid(self) -> Uuid { self.0 }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $prefix, self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse($prefix, $kind, text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

prefixed_ids! {
    /// The tenant, owner of everything.
    WorkspaceId, "ws_", "workspace";
    /// A site or app with a widget and a site key.
    ProjectId, "proj_", "project";
    /// The AI that answers from knowledge.
    AgentId, "agent_", "agent";
    /// A collection of knowledge.
    DatastoreId, "ds_", "datastore";
    /// A file, URL or text in a datastore.
    SourceId, "src_", "source";
    /// A passage of one version of a source.
    ChunkId, "chunk_", "chunk";
    /// A customer.
    ContactId, "contact_", "contact";
    /// A conversation.
    ConversationId, "conv_", "conversation";
    /// One message of a conversation.
    MessageId, "msg_", "message";
    /// An API key; the key itself is never an id.
    ApiKeyId, "key_", "API key";
    /// A durable job.
    JobId, "job_", "job";
    /// A stored file.
    BlobId, "blob_", "blob";
    /// An event of the outbox.
    EventId, "evt_", "event";
    /// A question that the knowledge could not answer.
    GapId, "gap_", "gap";
    /// What a customer left of contact details and answers.
    LeadId, "lead_", "lead";
    /// A call of a tool that waits for a person's word.
    ApprovalId, "appr_", "approval";
    /// A limit of what may be used of the models.
    BudgetId, "budget_", "budget";
    /// A dataset of questions that answers are evaluated with.
    EvalDatasetId, "evalset_", "evaluation dataset";
    /// A dataset put to an agent or a datastore.
    EvalRunId, "evalrun_", "evaluation run";
    /// A model provider of a workspace.
    ProviderId, "prov_", "provider";
    /// A version of an agent on its way to be published.
    PublicationId, "pub_", "publication";
    /// A category of the knowledge base.
    CategoryId, "cat_", "category";
    /// An article of the knowledge base.
    ArticleId, "art_", "article";
    /// A person who signs in.
    UserId, "user_", "user";
    /// One place that a person is signed in at.
    SessionId, "sess_", "session";
    /// An entry of the audit log.
    AuditEntryId, "audit_", "audit entry";
    /// A file that somebody sends in a conversation.
    AttachmentId, "att_", "attachment";
    /// What members tell each other about a conversation.
    NoteId, "note_", "note";
    /// A text that operators answer with again and again.
    CannedReplyId, "canned_", "canned reply";
}

fn parse(prefix: &'static str, kind: &'static str, text: &str) -> Result<Uuid, InvalidId> {
    let invalid = InvalidId { kind, prefix };
    let digits = text.strip_prefix(prefix).ok_or(invalid.clone())?;
    let canonical = digits.len() == 32
        && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if !canonical {
        return Err(invalid);
    }
    Uuid::try_parse(digits).map_err(|_| invalid)
}

impl ChunkId {
    /// The id of the passage at `ordinal` of one version of a source; the same for the same input, so
    /// that a stage that runs twice writes the same rows and points.
    pub fn of(source: SourceId, version: i64, ordinal: i64) -> Self {
        let name = format!("{version}/{ordinal}");
        Self(Uuid::new_v5(&source.0, name.as_bytes()))
    }
}

impl MessageId {
    /// No id that was made at `at` or later is below it: what is older is found by the id alone.
    pub fn earliest(at: Timestamp) -> Self {
        let millis = u64::try_from(at.micros().max(0) / 1_000).unwrap_or(0);
        Self(Uuid::from_u64_pair((millis << 16) | 0x7000, 1 << 63))
    }
}

/// A caller's own, opaque name for a visitor, scoped to the workspace: 1 to 200 characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VisitorId(String);

impl VisitorId {
    /// The most characters that a visitor id may have.
    pub const MAX_CHARS: usize = 200;

    /// Accepts 1 to 200 characters without control characters.
    pub fn parse(text: &str) -> Option<Self> {
        let chars = text.chars().count();
        let fits = (1..=Self::MAX_CHARS).contains(&chars) && !text.chars().any(char::is_control);
        fits.then(|| Self(text.to_owned()))
    }

    /// The text as the caller gave it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VisitorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_prints_and_parses_back() {
        let id = AgentId::from_uuid(Uuid::from_u128(7));
        assert_eq!(id.to_string(), "agent_00000000000000000000000000000007");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn another_kind_or_spelling_is_refused() {
        for text in [
            "",
            "agent_",
            "conv_00000000000000000000000000000007",
            "agent_0000000000000000000000000000000G",
            "agent_0000000000000000000000000000000A",
            "agent_00000000-0000-0000-0000-000000000007",
        ] {
            assert!(text.parse::<AgentId>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_same_place_is_the_same_chunk() {
        let source = SourceId::from_uuid(Uuid::from_u128(1));
        assert_eq!(ChunkId::of(source, 1, 2), ChunkId::of(source, 1, 2));
        assert_ne!(ChunkId::of(source, 1, 2), ChunkId::of(source, 2, 2));
        assert_ne!(ChunkId::of(source, 1, 2), ChunkId::of(source, 1, 3));
    }
}
