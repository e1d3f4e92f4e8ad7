//! What was said before, told by the caller instead of read from the database.

use domain::ids::PrefixedId;
use domain::message::{Author, Message, MessageKind, MessageState};
use domain::{ConversationId, MessageId, Timestamp};

use crate::context::MAX_MESSAGES;

/// An earlier message that the caller supplies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earlier {
    /// Who wrote it.
    pub author: Author,
    /// What it says.
    pub text: String,
}

/// The newest of the supplied messages, as those of the database are: at most [`MAX_MESSAGES`]. They carry no
/// outcome and no citations, so that nobody can make up an answer of the agent's that has effects now.
pub(crate) fn as_messages(conversation: ConversationId, supplied: &[Earlier]) -> Vec<Message> {
    let most = usize::try_from(MAX_MESSAGES).unwrap_or(usize::MAX);
    let newest = &supplied[supplied.len().saturating_sub(most)..];
    let mut messages = Vec::with_capacity(newest.len());
    for (seq, earlier) in (1..).zip(newest) {
        messages.push(Message {
            // Stored nowhere: nothing refers to it.
            id: MessageId::from_uuid(conversation.uuid()),
            conversation_id: conversation,
            seq,
            author: earlier.author,
            operator: None,
            kind: MessageKind::Text,
            content: earlier.text.clone(),
            state: MessageState::Complete,
            outcome: None,
            model: None,
            reply_to: None,
            prompt_tokens: None,
            completion_tokens: None,
            unsupported: Vec::new(),
            answered_from: None,
            created_at: Timestamp::from_micros(0),
        });
    }
    messages
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_newest_messages_are_taken_in_their_order() {
        let supplied: Vec<Earlier> =
            (0..100).map(|n| Earlier { author: Author::Customer, text: n.to_string() }).collect();
        let messages = as_messages(ConversationId::from_uuid(Uuid::nil()), &supplied);
        let texts: Vec<&str> = messages.iter().map(|message| &*message.content).collect();
        assert_eq!((texts.len(), texts[0], texts[59]), (60, "40", "99"));
        assert!(as_messages(ConversationId::from_uuid(Uuid::nil()), &[]).is_empty());
    }
}
