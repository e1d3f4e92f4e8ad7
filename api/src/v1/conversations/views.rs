//! What the panel shows of messages.

use std::collections::HashMap;

use domain::attachment::Attachment;
use domain::message::{Citation, Message, ShownImage};
use domain::{MessageId, WorkspaceId};
use serde::Serialize;
use storage::{Conn, attachments, citations, messages};
use utoipa::ToSchema;

use super::words::{MessageAuthor, MessageOutcome, MessageRating, MessageState, MessageType};
use crate::error::ApiResult;

/// A message.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ConversationMessage)]
pub(super) struct MessageView {
    #[schema(pattern = "^msg_[0-9a-f]{32}$")]
    pub id: String,
    #[schema(pattern = "^conv_[0-9a-f]{32}$")]
    pub conversation_id: String,
    /// Its place in the conversation, from 1.
    #[schema(minimum = 1)]
    pub seq: i64,
    pub author: AuthorView,
    #[serde(rename = "type")]
    pub kind: MessageType,
    /// What it says; may be empty where files say it.
    #[schema(example = "Hola, soy Andrea, te ayudo con esto.")]
    pub content: String,
    pub state: MessageState,
    /// The files that it shows.
    pub attachments: Vec<AttachmentView>,
    /// Images that were shown to the agent and are not kept. Absent when there was none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub images: Vec<ShownImageView>,
    /// Of an answer: what kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub outcome: Option<MessageOutcome>,
    /// Of an answer: the model that wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub model: Option<String>,
    /// Of an answer: the message that it replies to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, pattern = "^msg_[0-9a-f]{32}$")]
    pub reply_to: Option<String>,
    /// Of an answer: the passages that it cites. Absent when there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub sources: Vec<SourceView>,
    /// Of an answer: what the customer thinks of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub feedback: Option<FeedbackView>,
    /// RFC 3339.
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// Who wrote a message.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ConversationMessageAuthor)]
pub(super) struct AuthorView {
    #[serde(rename = "type")]
    pub kind: MessageAuthor,
    /// Of an operator whose account is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, pattern = "^user_[0-9a-f]{32}$")]
    pub user_id: Option<String>,
    /// Of an operator whose account is there: the name that customers see.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "Andrea")]
    pub name: Option<String>,
}

/// A file.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Attachment)]
pub(super) struct AttachmentView {
    #[schema(pattern = "^att_[0-9a-f]{32}$")]
    pub id: String,
    #[schema(example = "foto.png")]
    pub name: String,
    #[schema(example = "image/png")]
    pub media_type: String,
    #[schema(minimum = 1)]
    pub bytes: i64,
    /// Where it is saved from, with the credential of a member.
    #[schema(example = "/v1/attachments/att_0199f0c4a5b07cc09f5a3f1d2b4c6e8a")]
    pub url: String,
}

/// An image that was shown and is not kept.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ConversationShownImage)]
pub(super) struct ShownImageView {
    #[schema(example = "image/png")]
    media_type: String,
    bytes: i64,
}

/// A passage that an answer cites.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ConversationMessageSource)]
pub(super) struct SourceView {
    /// The number in `[n]`.
    index: i64,
    /// The name of the source.
    source: String,
    #[schema(pattern = "^ds_[0-9a-f]{32}$")]
    datasource_id: String,
    #[schema(pattern = "^chunk_[0-9a-f]{32}$")]
    chunk_id: String,
    /// The address of the source, when it came from the web.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    page: Option<i64>,
    /// The words that the answer rests on, verbatim.
    quote: String,
    /// 0 to 1, higher is better.
    score: f64,
}

/// What a customer thinks of an answer.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ConversationMessageFeedback)]
pub(super) struct FeedbackView {
    pub rating: MessageRating,
    pub comment: Option<String>,
}

/// Messages with everything that belongs to them.
pub(super) async fn whole(
    conn: &mut Conn,
    workspace: WorkspaceId,
    found: Vec<Message>,
) -> ApiResult<Vec<MessageView>> {
    let ids: Vec<MessageId> = found.iter().map(|message| message.id).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut cited: HashMap<MessageId, Vec<SourceView>> = HashMap::new();
    for (message, citation) in citations::of_messages(conn, workspace, &ids).await? {
        cited.entry(message).or_default().push(citation.into());
    }
    let mut files: HashMap<MessageId, Vec<AttachmentView>> = HashMap::new();
    for (message, attachment) in attachments::of_messages(conn, workspace, &ids).await? {
        files.entry(message).or_default().push(attachment.into());
    }
    let mut images: HashMap<MessageId, Vec<ShownImage>> =
        messages::images(conn, workspace, &ids).await?.into_iter().collect();
    let mut rated: HashMap<MessageId, FeedbackView> = HashMap::new();
    for (message, rating, comment) in messages::feedbacks(conn, workspace, &ids).await? {
        rated.insert(message, FeedbackView { rating: rating.into(), comment });
    }
    let views = found.into_iter().map(|message| {
        let id = message.id;
        let images = images.remove(&id).unwrap_or_default();
        MessageView {
            sources: cited.remove(&id).unwrap_or_default(),
            attachments: files.remove(&id).unwrap_or_default(),
            images: images.into_iter().map(ShownImageView::from).collect(),
            feedback: rated.remove(&id),
            ..message.into()
        }
    });
    Ok(views.collect())
}

impl From<Message> for MessageView {
    fn from(message: Message) -> Self {
        let (user_id, name) =
            message.operator.map(|operator| (operator.id.to_string(), operator.name)).unzip();
        Self {
            id: message.id.to_string(),
            conversation_id: message.conversation_id.to_string(),
            seq: message.seq,
            author: AuthorView { kind: message.author.into(), user_id, name },
            kind: message.kind.into(),
            content: message.content,
            state: message.state.into(),
            attachments: Vec::new(),
            images: Vec::new(),
            outcome: message.outcome.map(Into::into),
            model: message.model,
            reply_to: message.reply_to.map(|id| id.to_string()),
            sources: Vec::new(),
            feedback: None,
            created_at: message.created_at.to_rfc3339(),
        }
    }
}

impl From<Attachment> for AttachmentView {
    fn from(attachment: Attachment) -> Self {
        Self {
            url: format!("/v1/attachments/{}", attachment.id),
            id: attachment.id.to_string(),
            name: attachment.name,
            media_type: attachment.media_type,
            bytes: attachment.bytes,
        }
    }
}

impl From<ShownImage> for ShownImageView {
    fn from(image: ShownImage) -> Self {
        Self { media_type: image.media_type, bytes: image.bytes }
    }
}

impl From<Citation> for SourceView {
    fn from(citation: Citation) -> Self {
        Self {
            index: citation.marker,
            source: citation.source_name,
            datasource_id: citation.datastore_id.to_string(),
            chunk_id: citation.chunk_id.to_string(),
            url: citation.url,
            page: citation.page,
            quote: citation.quote,
            score: citation.score,
        }
    }
}
