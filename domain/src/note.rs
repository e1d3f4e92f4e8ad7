//! Notes: what members tell each other about a conversation. They never reach a customer, a channel or a model.

use crate::{ConversationId, NoteId, Timestamp, UserId};

/// A note on a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Its id.
    pub id: NoteId,
    /// What it is about.
    pub conversation_id: ConversationId,
    /// Who wrote it; `None` once their account is gone.
    pub author: Option<NoteAuthor>,
    /// What it says.
    pub content: String,
    /// Whom it calls, in the order of their ids.
    pub mentions: Vec<UserId>,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// Who wrote a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteAuthor {
    /// Who.
    pub id: UserId,
    /// Their name now.
    pub name: String,
}

/// A note that calls a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// The note.
    pub note: Note,
    /// When the member read it; `None` until then.
    pub read_at: Option<Timestamp>,
}
