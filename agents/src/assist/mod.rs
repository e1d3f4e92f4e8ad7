//! What operators ask for: a suggested reply, the summary of a conversation, a text written anew. Nothing is sent and
//! nothing is stored but the line in the ledger.

mod rewrite;
mod suggest;
mod summarize;

pub use rewrite::{Rewriting, Rewritten};
pub use suggest::Suggestion;
pub use summarize::Summarized;

use domain::budget::Purpose;
use domain::{AgentId, ApiKeyId, ConversationId, DomainError, WorkspaceId};

use crate::errand::Errand;

/// An errand for an operator.
fn errand(
    workspace: WorkspaceId,
    agent: AgentId,
    conversation: ConversationId,
    api_key: Option<ApiKeyId>,
) -> Errand {
    Errand {
        workspace,
        agent: Some(agent),
        purpose: Purpose::Assist,
        conversation: Some(conversation),
        api_key,
    }
}

/// A model was asked and nothing came.
fn too_slow() -> DomainError {
    DomainError::unavailable(
        "MODEL_UNAVAILABLE",
        "the model did not answer within the time of a turn; try again shortly",
        std::time::Duration::from_secs(5),
    )
}

/// Absent, or another workspace's.
fn no_conversation() -> DomainError {
    DomainError::not_found("conversation")
}
