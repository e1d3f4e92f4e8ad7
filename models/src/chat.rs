//! Chat models: messages in, a stream of events out.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures::Stream;
use serde_json::Value;

use crate::ModelError;

/// Something that answers a chat. An open set: providers, the scripted one of tests.
#[async_trait]
pub trait ChatModel: Send + Sync + fmt::Debug {
    /// Starts an answer. Tries again (with back-off) only before the first event. Dropping the stream, or
    /// this future, ends the call to the provider.
    async fn chat(&self, request: ChatRequest) -> Result<ChatStream, ModelError>;

    /// Whether the provider knows a model of that name; asked when an agent is saved, answered from a
    /// cached list.
    async fn knows(&self, model: &str) -> Result<bool, ModelError>;
}

/// The events of an answer; the last one is `Finished`, or an error.
pub type ChatStream = Pin<Box<dyn Stream<Item = Result<ChatEvent, ModelError>> + Send>>;

/// What a model is asked.
#[derive(Debug, Clone, Default)]
pub struct ChatRequest {
    /// The model's name.
    pub model: String,
    /// The conversation so far, system message first.
    pub messages: Vec<ChatMessage>,
    /// Tools that it may call, shared by the requests of a turn.
    pub tools: Arc<[ToolSpec]>,
    /// Whether it may call them now.
    pub tool_choice: ToolChoice,
    /// 0 to 2; `None` is the provider's default.
    pub temperature: Option<f64>,
    /// Most tokens of the answer.
    pub max_tokens: Option<u32>,
    /// The same seed and request give nearly the same answer, where the provider can; best effort.
    pub seed: Option<i64>,
    /// Texts that end the answer before they are said; providers take up to 4.
    pub stop: Vec<String>,
    /// The form of the answer; `None` means free text.
    pub format: Option<AnswerFormat>,
}

/// A form that the answer is held to by the provider.
#[derive(Debug, Clone, PartialEq)]
pub enum AnswerFormat {
    /// One JSON object. Providers want the word JSON somewhere in the messages.
    JsonObject,
    /// One JSON value that follows a schema.
    JsonSchema {
        /// A name for it: letters, digits, `_` and `-`, at most 64.
        name: String,
        /// JSON Schema.
        schema: Value,
    },
}

/// An image of a user's message: an http(s) address that the provider fetches, or a `data:` URI. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Image(Arc<str>);

impl Image {
    /// Checked by the caller; providers take PNG, JPEG, WebP and GIF.
    pub fn new(address: impl Into<Arc<str>>) -> Self {
        Self(address.into())
    }

    /// The address.
    pub fn address(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Image {
    /// A `data:` URI can be megabytes of somebody's picture.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.0.split(':').next().unwrap_or_default();
        write!(f, "Image({scheme}, {} bytes)", self.0.len())
    }
}

/// Whether a model may call tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ToolChoice {
    /// As it sees fit.
    #[default]
    Auto,
    /// Not any more: it must answer. The tools are named all the same, since earlier messages call them.
    Never,
}

/// One message of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatMessage {
    /// Who says it.
    pub role: ChatRole,
    /// What is said. Shared by the copies of a request: prompts are long and copied for each try.
    pub content: Arc<str>,
    /// What a user shows beside it; only for models that see.
    pub images: Vec<Image>,
    /// The tools that an assistant's message calls.
    pub tool_calls: Vec<ToolCall>,
    /// For a tool's message: the id of the call that it answers.
    pub answers: Option<String>,
}

impl ChatMessage {
    /// The operator's instructions.
    pub fn system(content: impl Into<Arc<str>>) -> Self {
        Self::said(ChatRole::System, content)
    }

    /// What the customer says.
    pub fn user(content: impl Into<Arc<str>>) -> Self {
        Self::said(ChatRole::User, content)
    }

    /// What the customer says and shows.
    pub fn user_showing(content: impl Into<Arc<str>>, images: Vec<Image>) -> Self {
        Self { images, ..Self::said(ChatRole::User, content) }
    }

    /// What the model said.
    pub fn assistant(content: impl Into<Arc<str>>) -> Self {
        Self::said(ChatRole::Assistant, content)
    }

    /// What the model said before it called tools, often nothing. Each call wants an answer
    /// ([`ChatMessage::tool`]) before the next message of anyone else.
    pub fn tool_calls(content: impl Into<Arc<str>>, calls: Vec<ToolCall>) -> Self {
        Self { tool_calls: calls, ..Self::said(ChatRole::Assistant, content) }
    }

    /// What a tool answered, or why it failed.
    pub fn tool(call_id: impl Into<String>, content: impl Into<Arc<str>>) -> Self {
        Self { answers: Some(call_id.into()), ..Self::said(ChatRole::Tool, content) }
    }

    fn said(role: ChatRole, content: impl Into<Arc<str>>) -> Self {
        Self {
            role,
            content: content.into(),
            images: Vec::new(),
            tool_calls: Vec::new(),
            answers: None,
        }
    }
}

/// Who says a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChatRole {
    /// The operator's instructions.
    System,
    /// The customer.
    User,
    /// The model.
    Assistant,
    /// A tool that the model called.
    Tool,
}

/// A tool call that the model made, as it is told back to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// The provider's id of the call.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// Its arguments, as the model wrote them.
    pub arguments: String,
}

/// A tool that a model may call.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolSpec {
    /// Its name.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// JSON Schema of its arguments.
    pub parameters: Value,
}

/// One event of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum ChatEvent {
    /// A piece of text.
    Token(String),
    /// A whole tool call.
    ToolCall {
        /// The provider's id of the call.
        id: String,
        /// The tool's name.
        name: String,
        /// Its arguments, as the model wrote them: JSON text, not yet checked.
        arguments: String,
    },
    /// The end.
    Finished {
        /// Why it ended.
        reason: FinishReason,
        /// Tokens, when the provider counts them.
        usage: Option<Usage>,
    },
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// It was complete.
    Stop,
    /// The token limit was reached.
    Length,
    /// Tools are to be run.
    ToolCalls,
    /// The provider withheld it.
    ContentFilter,
}

/// Tokens, as the provider counted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Of the prompt.
    pub prompt_tokens: i64,
    /// Of the answer.
    pub completion_tokens: i64,
    /// Those of the prompt that the provider had kept from an earlier one; part of `prompt_tokens`.
    pub cached_tokens: i64,
}

impl Usage {
    /// The tokens of two calls together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            prompt_tokens: self.prompt_tokens.saturating_add(other.prompt_tokens),
            completion_tokens: self.completion_tokens.saturating_add(other.completion_tokens),
            cached_tokens: self.cached_tokens.saturating_add(other.cached_tokens),
        }
    }
}
