//! Files that people and customers send in conversations.

use crate::{AttachmentId, BlobId, ConversationId, MessageId, Timestamp, UserId, VisitorId};

/// A file that somebody sends: uploaded first, then shown by a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Its id.
    pub id: AttachmentId,
    /// The conversation that it is for; `None` while it waits for a visitor's first message.
    pub conversation_id: Option<ConversationId>,
    /// The message that shows it; `None` until one does.
    pub message_id: Option<MessageId>,
    /// The stored file.
    pub blob: BlobId,
    /// The name that it was sent with: data only.
    pub name: String,
    /// What its content is, from the list of accepted types: `image/png`.
    pub media_type: String,
    /// Its size.
    pub bytes: i64,
    /// Who uploaded it.
    pub uploader: Uploader,
    /// When.
    pub created_at: Timestamp,
}

/// Who uploads a file. Only they can put it into a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uploader {
    /// A person of the workspace; `None` once their account is gone.
    Operator(Option<UserId>),
    /// A customer.
    Visitor(VisitorId),
}

impl Attachment {
    /// Whether it is an image.
    pub fn is_image(&self) -> bool {
        self.media_type.starts_with("image/")
    }
}
