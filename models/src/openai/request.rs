//! A chat request as the provider wants it, in async-openai's types.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use async_openai::types::chat::{
    ChatCompletionMessageToolCall, ChatCompletionMessageToolCalls,
    ChatCompletionRequestAssistantMessage, ChatCompletionRequestAssistantMessageContent,
    ChatCompletionRequestMessage, ChatCompletionRequestMessageContentPartImage,
    ChatCompletionRequestMessageContentPartText, ChatCompletionRequestSystemMessage,
    ChatCompletionRequestToolMessage, ChatCompletionRequestUserMessage,
    ChatCompletionRequestUserMessageContent, ChatCompletionRequestUserMessageContentPart,
    ChatCompletionStreamOptions, ChatCompletionTool, ChatCompletionToolChoiceOption,
    ChatCompletionTools, CreateChatCompletionRequest, FunctionCall, FunctionObject, ImageUrl,
    ResponseFormat, ResponseFormatJsonSchema, StopConfiguration, ToolChoiceOptions,
};
use bytes::Bytes;

use super::provider::{CallFailure, ErrorBody};
use crate::{AnswerFormat, ChatMessage, ChatRequest, ChatRole, ModelError, ToolChoice, ToolSpec};

/// Most models whose dialect is remembered.
const MAX_REMEMBERED: usize = 256;

/// What a model takes, where models and servers differ.
///
/// The limit of the answer has two names. OpenAI's reasoning models refuse `max_tokens`; most compatible servers know only
/// that and pass over `max_completion_tokens`, which would take the limit away without a word. So OpenAI and Azure get the
/// new name, all others the old one, and a refusal that names the one sent is answered with the other. `stream_options`,
/// `temperature` and `seed`, which is best effort anyway, are left out when a refusal names them. `stop` and
/// `response_format` are not: an answer without them would not be the one that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option that a model takes or not")]
pub(super) struct Dialect {
    pub completion_tokens: bool,
    pub stream_options: bool,
    pub temperature: bool,
    pub seed: bool,
    pub tools: bool,
}

impl Dialect {
    pub fn new(completion_tokens: bool) -> Self {
        Self { completion_tokens, stream_options: true, temperature: true, seed: true, tools: true }
    }

    /// The dialect to try next after a refusal, if it names something that can be said differently. `first` is what
    /// the call began with: each thing is changed once.
    pub fn after(self, first: Self, request: &ChatRequest, failure: &CallFailure) -> Option<Self> {
        if !matches!(failure.failure.error, ModelError::Refused(_)) {
            return None;
        }
        let said: &ErrorBody = &failure.said;
        let limit = if self.completion_tokens { "max_completion_tokens" } else { "max_tokens" };
        let mut next = self;
        if said.names("stream_options") {
            next.stream_options = false;
        }
        if request.temperature.is_some() && said.names("temperature") {
            next.temperature = false;
        }
        if request.seed.is_some() && said.names("seed") {
            next.seed = false;
        }
        // Small models of local servers have no tools; they answer without.
        if !request.tools.is_empty() && said.names("tools") {
            next.tools = false;
        }
        if request.max_tokens.is_some()
            && self.completion_tokens == first.completion_tokens
            && said.names(limit)
        {
            next.completion_tokens = !self.completion_tokens;
        }
        (next != self).then_some(next)
    }
}

/// What is known of each model's dialect, so that a refusal is provoked once and not with every call.
#[derive(Debug)]
pub(super) struct Dialects {
    usual: Dialect,
    known: Mutex<HashMap<String, Dialect>>,
}

impl Dialects {
    pub fn new(usual: Dialect) -> Self {
        Self { usual, known: Mutex::default() }
    }

    pub fn of(&self, model: &str) -> Dialect {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(model).copied().unwrap_or(self.usual)
    }

    /// Remembers what a model took.
    pub fn remember(&self, model: &str, dialect: Dialect) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_REMEMBERED {
            known.clear();
        }
        known.insert(model.to_owned(), dialect);
    }
}

/// The body of a streamed chat completion.
pub(super) fn body(request: &ChatRequest, dialect: Dialect) -> Result<Bytes, ModelError> {
    #[expect(clippy::cast_possible_truncation, reason = "0 to 2, and the API has single precision")]
    let temperature = request.temperature.filter(|_| dialect.temperature).map(|t| t as f32);
    let usage =
        ChatCompletionStreamOptions { include_usage: Some(true), include_obfuscation: None };
    let mut body = CreateChatCompletionRequest {
        model: request.model.clone(),
        messages: request.messages.iter().map(message).collect(),
        stream: Some(true),
        stream_options: dialect.stream_options.then_some(usage),
        temperature,
        stop: (!request.stop.is_empty())
            .then(|| StopConfiguration::StringArray(request.stop.clone())),
        response_format: request.format.as_ref().map(format),
        tools: (dialect.tools && !request.tools.is_empty())
            .then(|| request.tools.iter().map(tool).collect()),
        tool_choice: (dialect.tools
            && !request.tools.is_empty()
            && request.tool_choice == ToolChoice::Never)
            .then_some(ChatCompletionToolChoiceOption::Mode(ToolChoiceOptions::None)),
        ..CreateChatCompletionRequest::default()
    };
    #[expect(deprecated, reason = "other servers honour it, and OpenAI still takes it")]
    {
        body.seed = request.seed.filter(|_| dialect.seed);
    }
    if dialect.completion_tokens {
        body.max_completion_tokens = request.max_tokens;
    } else {
        #[expect(deprecated, reason = "the only name that many compatible servers know")]
        {
            body.max_tokens = request.max_tokens;
        }
    }
    let written = serde_json::to_vec(&body);
    written
        .map(Bytes::from)
        .map_err(|error| ModelError::Refused(format!("the request cannot be written: {error}")))
}

fn message(message: &ChatMessage) -> ChatCompletionRequestMessage {
    let content = &*message.content;
    match message.role {
        ChatRole::System => {
            ChatCompletionRequestMessage::System(ChatCompletionRequestSystemMessage {
                content: content.into(),
                name: None,
            })
        }
        ChatRole::User => ChatCompletionRequestMessage::User(ChatCompletionRequestUserMessage {
            content: user_content(message),
            name: None,
        }),
        ChatRole::Tool => ChatCompletionRequestMessage::Tool(ChatCompletionRequestToolMessage {
            content: content.into(),
            tool_call_id: message.answers.clone().unwrap_or_default(),
        }),
        ChatRole::Assistant => ChatCompletionRequestMessage::Assistant(assistant(message)),
    }
}

/// A text alone stays a text: many compatible servers know nothing else.
fn user_content(message: &ChatMessage) -> ChatCompletionRequestUserMessageContent {
    let text = &*message.content;
    if message.images.is_empty() {
        return text.into();
    }
    let text = ChatCompletionRequestUserMessageContentPart::Text(
        ChatCompletionRequestMessageContentPartText {
            text: text.to_owned(),
            ..ChatCompletionRequestMessageContentPartText::default()
        },
    );
    let images = message.images.iter().map(|image| {
        ChatCompletionRequestUserMessageContentPart::ImageUrl(
            ChatCompletionRequestMessageContentPartImage {
                image_url: ImageUrl { url: image.address().to_owned(), detail: None },
                ..ChatCompletionRequestMessageContentPartImage::default()
            },
        )
    });
    ChatCompletionRequestUserMessageContent::Array([text].into_iter().chain(images).collect())
}

fn format(format: &AnswerFormat) -> ResponseFormat {
    match format {
        AnswerFormat::JsonObject => ResponseFormat::JsonObject,
        AnswerFormat::JsonSchema { name, schema } => ResponseFormat::JsonSchema {
            json_schema: ResponseFormatJsonSchema {
                description: None,
                name: name.clone(),
                schema: schema.clone(),
                strict: Some(true),
            },
        },
    }
}

fn assistant(message: &ChatMessage) -> ChatCompletionRequestAssistantMessage {
    let calls = message.tool_calls.iter().map(|call| {
        ChatCompletionMessageToolCalls::Function(ChatCompletionMessageToolCall {
            id: call.id.clone(),
            function: FunctionCall { name: call.name.clone(), arguments: call.arguments.clone() },
        })
    });
    let calls: Vec<_> = calls.collect();
    // A message that only calls tools has no content; an empty text is refused by some servers.
    let content = (calls.is_empty() || !message.content.is_empty()).then(|| {
        ChatCompletionRequestAssistantMessageContent::Text(message.content.as_ref().to_owned())
    });
    ChatCompletionRequestAssistantMessage {
        content,
        tool_calls: (!calls.is_empty()).then_some(calls),
        ..ChatCompletionRequestAssistantMessage::default()
    }
}

fn tool(spec: &ToolSpec) -> ChatCompletionTools {
    ChatCompletionTools::Function(ChatCompletionTool {
        function: FunctionObject {
            name: spec.name.clone(),
            description: Some(spec.description.clone()),
            parameters: Some(spec.parameters.clone()),
            strict: None,
        },
    })
}
