//! Headers that say which message is meant, in requests and answers.

use domain::{ConversationId, MessageId};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::error::{ApiError, ApiResult};

/// The caller's own id of its request: `Idempotency-Key`, 1 to 200 ASCII characters.
pub(crate) fn client_id(headers: &HeaderMap) -> ApiResult<Option<String>> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| (1..=200).contains(&text.len()));
    let text = text.ok_or_else(|| {
        let message = "`Idempotency-Key` must have 1 to 200 ASCII characters";
        ApiError::invalid("Idempotency-Key", message)
    })?;
    Ok(Some(text.to_owned()))
}

/// Conversation and answer, for clients that want to stop or continue before the end.
pub(crate) fn id_headers(
    conversation: ConversationId,
    message: MessageId,
) -> [(HeaderName, HeaderValue); 2] {
    let value = |id: String| HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static(""));
    [
        (HeaderName::from_static("x-conversation-id"), value(conversation.to_string())),
        (HeaderName::from_static("x-message-id"), value(message.to_string())),
    ]
}
