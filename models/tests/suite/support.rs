//! What the tests share.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use domain::ambient::{ManualClock, SeededEntropy};
use domain::{Ambient, Timestamp};
use futures::StreamExt;
use models::openai::{OpenAi, OpenAiOptions, Pause};
use models::{ChatEvent, ChatMessage, ChatModel, ChatRequest, FinishReason, ModelError};
use secrecy::SecretString;
use testkit::model_server::ModelServer;

/// The key of the tests' provider; it must never be seen anywhere but in a request.
pub const KEY: &str = "sk-planted-5f1c9a";

/// Notes the waits that are asked for and does not wait.
#[derive(Debug, Default)]
pub struct NotedPauses(Mutex<Vec<Duration>>);

impl NotedPauses {
    pub fn taken(&self) -> Vec<Duration> {
        self.0.lock().unwrap().clone()
    }
}

#[async_trait]
impl Pause for NotedPauses {
    async fn wait(&self, time: Duration) {
        self.0.lock().unwrap().push(time);
    }
}

/// A provider, the server behind it, and the hands on its clock.
pub struct Bench {
    pub server: ModelServer,
    pub model: OpenAi,
    pub clock: Arc<ManualClock>,
    pub pauses: Arc<NotedPauses>,
}

impl Bench {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With options changed from those of `options_for`.
    pub async fn with(change: impl FnOnce(&mut OpenAiOptions)) -> Self {
        let server = ModelServer::start().await.unwrap();
        let pauses = Arc::new(NotedPauses::default());
        let mut options = options_for(&server.base_url());
        options.pause = pauses.clone();
        change(&mut options);
        let now = Timestamp::parse_rfc3339("2026-01-01T00:00:00Z").unwrap();
        let clock = Arc::new(ManualClock::new(now));
        let ambient = Ambient::new(clock.clone(), Arc::new(SeededEntropy::new(7)));
        let model = OpenAi::new(&options, &ambient).unwrap();
        Self { server, model, clock, pauses }
    }

    /// Asks and reads to the end.
    pub async fn ask(&self) -> Result<Vec<ChatEvent>, ModelError> {
        let (events, error) = self.ask_and_keep().await;
        error.map_or(Ok(events), Err)
    }

    /// Asks and reads to the end; the events before an error are kept.
    pub async fn ask_and_keep(&self) -> (Vec<ChatEvent>, Option<ModelError>) {
        let mut stream = match self.model.chat(question()).await {
            Ok(stream) => stream,
            Err(error) => return (Vec::new(), Some(error)),
        };
        let mut events = Vec::new();
        while let Some(next) = stream.next().await {
            match next {
                Ok(event) => events.push(event),
                Err(error) => {
                    assert!(stream.next().await.is_none(), "an error is the last event");
                    return (events, Some(error));
                }
            }
        }
        (events, None)
    }
}

/// Generous limits: a test that reaches one has failed.
pub fn options_for(base_url: &str) -> OpenAiOptions {
    OpenAiOptions {
        base_url: base_url.parse().unwrap(),
        key: Some(SecretString::from(KEY)),
        azure_api_version: None,
        chat_model: None,
        allowed_models: Vec::new(),
        connect_timeout: Duration::from_secs(10),
        first_token_timeout: Duration::from_secs(20),
        idle_timeout: Duration::from_secs(20),
        max_attempts: 3,
        pause: Arc::new(NotedPauses::default()),
        judge: None,
    }
}

pub fn question() -> ChatRequest {
    ChatRequest {
        model: "gpt-test".to_owned(),
        messages: vec![ChatMessage::system("Sé breve."), ChatMessage::user("¿Cuándo abren?")],
        ..ChatRequest::default()
    }
}

pub fn tokens(texts: &[&str]) -> Vec<ChatEvent> {
    texts.iter().map(|text| ChatEvent::Token((*text).to_owned())).collect()
}

/// These tokens and a regular end without a count.
pub fn whole(texts: &[&str]) -> Vec<ChatEvent> {
    let mut events = tokens(texts);
    events.push(ChatEvent::Finished { reason: FinishReason::Stop, usage: None });
    events
}
