//! Any OpenAI-compatible chat endpoint: a model asked without us, for comparison.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use futures::StreamExt;
use models::tokens::estimate;
use models::{Catalogue, ChatEvent, ChatMessage, ChatModel, ChatRequest, FinishReason, Usage};
use serde_json::json;

use super::{ANSWER_TOKENS, Estimate, Target, TargetInfo, asks_back, ms};
use crate::dataset::{Case, Role};
use crate::observation::{Failure, Observation, Outcome};
use crate::refusal;

/// Asks a model; it finds and cites nothing.
#[derive(Debug, Clone)]
pub struct ChatTarget {
    model: Arc<dyn ChatModel>,
    name: String,
    system: Option<String>,
    catalogue: Catalogue,
}

impl ChatTarget {
    /// A model by its name, with instructions of one's own.
    pub fn new(
        model: Arc<dyn ChatModel>,
        name: impl Into<String>,
        system: Option<String>,
        catalogue: Catalogue,
    ) -> Self {
        Self { model, name: name.into(), system, catalogue }
    }

    fn request(&self, case: &Case) -> ChatRequest {
        let mut messages: Vec<ChatMessage> = Vec::new();
        messages.extend(self.system.as_deref().map(ChatMessage::system));
        messages.extend(case.history.iter().map(|said| match said.role {
            Role::User => ChatMessage::user(said.text.as_str()),
            Role::Assistant => ChatMessage::assistant(said.text.as_str()),
        }));
        messages.push(ChatMessage::user(case.input.as_str()));
        ChatRequest {
            model: self.name.clone(),
            messages,
            temperature: Some(0.0),
            ..ChatRequest::default()
        }
    }
}

#[async_trait]
impl Target for ChatTarget {
    fn info(&self) -> TargetInfo {
        let config = json!({ "model": self.name, "system": self.system });
        TargetInfo { kind: "chat".to_owned(), name: self.name.clone(), config }
    }

    async fn ask(&self, case: &Case) -> Result<Observation, Failure> {
        let failed = |error: models::ModelError| Failure::new("MODEL", error.to_string());
        let started = Instant::now();
        let mut stream = self.model.chat(self.request(case)).await.map_err(failed)?;
        let mut observation = Observation { model: Some(self.name.clone()), ..Default::default() };
        let mut withheld = false;
        while let Some(event) = stream.next().await {
            match event.map_err(failed)? {
                ChatEvent::Token(text) => {
                    observation.first_token_ms.get_or_insert_with(|| ms(started.elapsed()));
                    observation.answer.push_str(&text);
                }
                ChatEvent::ToolCall { .. } => {}
                ChatEvent::Finished { reason, usage } => {
                    withheld = reason == FinishReason::ContentFilter;
                    if let Some(usage) = usage {
                        observation.prompt_tokens = Some(usage.prompt_tokens);
                        observation.completion_tokens = Some(usage.completion_tokens);
                        observation.cost = self.catalogue.cost(&self.name, usage);
                    }
                }
            }
        }
        observation.total_ms = Some(ms(started.elapsed()));
        observation.outcome = match observation.answer.trim() {
            _ if withheld => Outcome::Refused,
            "" => Outcome::Silent,
            text if refusal::declines(text) => Outcome::Refused,
            text if refusal::does_not_know(text) => Outcome::Abstained,
            text if asks_back(text) => Outcome::Clarified,
            _ => Outcome::Answered,
        };
        Ok(observation)
    }

    fn estimate(&self, case: &Case) -> Estimate {
        let tokens = |text: &str| i64::try_from(estimate(text)).unwrap_or(i64::MAX);
        let history: i64 = case.history.iter().map(|said| tokens(&said.text)).sum();
        let system = self.system.as_deref().map_or(0, tokens);
        let prompt_tokens = system + history + tokens(&case.input);
        let usage = Usage { prompt_tokens, completion_tokens: ANSWER_TOKENS, cached_tokens: 0 };
        let cost = self.catalogue.cost(&self.name, usage);
        Estimate { prompt_tokens, completion_tokens: ANSWER_TOKENS, cost }
    }
}
