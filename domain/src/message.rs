//! Messages, their citations, and how an answer came about.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent::ToolKind;
use crate::agent_version::AnsweredFrom;
use crate::{ChunkId, ConversationId, DatastoreId, MessageId, SourceId, Timestamp, UserId};

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// The conversation it is in.
    pub conversation_id: ConversationId,
    /// Its place in the conversation, from 1.
    pub seq: i64,
    /// Who wrote it.
    pub author: Author,
    /// Of an operator's: which person.
    pub operator: Option<Operator>,
    /// What it is made of.
    pub kind: MessageKind,
    /// What it says. For an interrupted answer, what was produced until then.
    pub content: String,
    /// Whether it is whole.
    pub state: MessageState,
    /// For an answer: what kind.
    pub outcome: Option<Outcome>,
    /// For an answer: the model that wrote it.
    pub model: Option<String>,
    /// The customer message that an answer replies to.
    pub reply_to: Option<MessageId>,
    /// Tokens of the prompt, as the provider counted them.
    pub prompt_tokens: Option<i64>,
    /// Tokens of the answer, as the provider counted them.
    pub completion_tokens: Option<i64>,
    /// Of an answer: the numbers, codes and the like that stand in nothing it cites, as it writes them.
    pub unsupported: Vec<String>,
    /// Of an answer: the configuration of the agent that it came from.
    pub answered_from: Option<AnsweredFrom>,
    /// When it was stored.
    pub created_at: Timestamp,
}

/// An image that a customer showed beside a message. The image itself is not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownImage {
    /// `image/png`.
    pub media_type: String,
    /// Its size.
    pub bytes: i64,
}

/// Who wrote a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Author {
    /// The customer.
    Customer,
    /// The agent.
    Agent,
    /// A person of the workspace.
    Operator,
}

impl Author {
    /// Every author.
    pub const ALL: [Self; 3] = [Self::Customer, Self::Agent, Self::Operator];

    /// As stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Agent => "agent",
            Self::Operator => "operator",
        }
    }
}

/// The person who wrote a message, as customers see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// Who.
    pub id: UserId,
    /// Their name now; ignored when a message is stored.
    pub name: String,
}

/// What a message is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MessageKind {
    /// A text, perhaps with files beside it.
    #[default]
    Text,
    /// Images, perhaps with a text beside them.
    Image,
    /// Files, perhaps with a text beside them.
    File,
}

impl MessageKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Text, Self::Image, Self::File];

    /// As stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Image => "image",
            Self::File => "file",
        }
    }
}

/// Whether a message is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageState {
    /// Whole.
    Complete,
    /// The client left or the turn was stopped; `content` is what was produced until then.
    Interrupted,
    /// The model failed; `content` is what was produced until then.
    Failed,
}

impl MessageState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Complete, Self::Interrupted, Self::Failed];

    /// As stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Interrupted => "interrupted",
            Self::Failed => "failed",
        }
    }
}

/// What kind of answer a turn ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// From the knowledge, with citations.
    Answered,
    /// Small talk, a greeting, thanks: nothing to cite.
    Smalltalk,
    /// The knowledge does not hold it; the agent said so.
    Abstained,
    /// A person was called.
    HandedOff,
    /// Contact details were noted.
    LeadCaptured,
    /// A tool's call waits for a person's word; the answer comes with it.
    AwaitingApproval,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 6] = [
        Self::Answered,
        Self::Smalltalk,
        Self::Abstained,
        Self::HandedOff,
        Self::LeadCaptured,
        Self::AwaitingApproval,
    ];

    /// As stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Smalltalk => "smalltalk",
            Self::Abstained => "abstained",
            Self::HandedOff => "handed-off",
            Self::LeadCaptured => "lead-captured",
            Self::AwaitingApproval => "awaiting-approval",
        }
    }
}

/// A passage that an answer cites. Immutable once stored: it says what was shown, whatever happens to the
/// source later.
#[derive(Debug, Clone, PartialEq)]
pub struct Citation {
    /// The number in the answer's `[n]`, from 1.
    pub marker: i64,
    /// The passage.
    pub chunk_id: ChunkId,
    /// The datastore it is in.
    pub datastore_id: DatastoreId,
    /// The source it was cut from.
    pub source_id: SourceId,
    /// The version of the source.
    pub source_version: i64,
    /// The name of the source then.
    pub source_name: String,
    /// The address of the source, when it came from the web.
    pub url: Option<String>,
    /// The page, where the format has pages.
    pub page: Option<i64>,
    /// The words of the passage that the answer rests on, verbatim.
    pub quote: String,
    /// Where those words start and end (excluded) in the passage's text, in characters. `None` for citations
    /// that were stored before this was noted.
    pub span: Option<(i64, i64)>,
    /// The passage's score, 0 to 1, higher is better.
    pub score: f64,
}

/// A tool that an answer used.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolUse {
    /// The kind of tool.
    pub kind: ToolKind,
    /// The name that the operator gave it; the kind's own where operators name none.
    pub name: String,
    /// How it went.
    pub status: ToolStatus,
    /// What it was called with, as JSON, without secrets; text when the model wrote no JSON.
    pub arguments: Value,
    /// What the model was told, cut to a bounded length.
    pub result: String,
    /// How long it took.
    pub took: Duration,
}

/// How the use of a tool went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ToolStatus {
    /// It did its work.
    Done,
    /// It did not; the model was told so.
    Failed,
    /// It waits for a person's word.
    Waiting,
}

impl ToolStatus {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Done, Self::Failed, Self::Waiting];

    /// As stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Waiting => "waiting",
        }
    }
}

/// The text of a passage that an answer cites, as it was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CitedPassage {
    /// The passage.
    pub chunk_id: ChunkId,
    /// Headings above it, outermost first, joined by ` › `; empty when there are none.
    pub heading: String,
    /// Its text.
    pub text: String,
}

/// What a customer thinks of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rating {
    /// Helpful.
    Up,
    /// Not helpful.
    Down,
}

impl Rating {
    /// Every rating.
    pub const ALL: [Self; 2] = [Self::Up, Self::Down];

    /// As stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}
