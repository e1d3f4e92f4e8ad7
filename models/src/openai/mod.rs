//! Any OpenAI-compatible server: OpenAI, Azure, Ollama, vLLM, `OpenRouter` and the like.
//!
//! Requests are written in async-openai's types. Its client is not used: it builds the whole of each frame for every token, hides
//! `Retry-After` from the caller, gives a stream no time-out of its own, and lets a line of a stream grow without
//! bound. Ours keeps one HTTP client for the life of the process and reads frames into what is used of them.
//!
//! A call is tried again, with back-off, only until the model has begun to answer, and only where that can help:
//! no connection, 429, 408, 409, 425, 5xx. A breaker leaves a provider alone that keeps failing. Dropping a call or
//! its stream closes the connection at once.

mod answer;
mod attempts;
mod breaker;
mod catalogue;
mod delta;
mod embeddings;
mod judge;
mod provider;
mod request;
mod rerank;
mod sse;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use domain::Ambient;
use domain::settings::ModelSettings;
use secrecy::SecretString;
use tracing::{Instrument, field};
use url::Url;

use crate::{ChatModel, ChatRequest, ChatStream, ModelError};
use answer::{Begun, Running, Telling};
use attempts::{Attempts, Failure};
use breaker::Permit;
use catalogue::Catalogue;
use provider::{CallFailure, Provider};
use request::{Dialect, Dialects};

pub use attempts::{Pause, TimerPause};
pub use embeddings::OpenAiEmbedder;
pub use judge::Judge;
pub use rerank::HttpReranker;

/// Where a provider is and how it is spoken to.
#[derive(Clone)]
pub struct OpenAiOptions {
    /// Its address up to and including `/v1`; for Azure the resource's or a deployment's address.
    pub base_url: Url,
    /// Its key; servers of one's own often have none.
    pub key: Option<SecretString>,
    /// Azure's `api-version`; its presence chooses Azure-style requests.
    pub azure_api_version: Option<String>,
    /// The default chat model; `allowed_models` need not name it.
    pub chat_model: Option<String>,
    /// Models that agents may name; empty means what the provider lists.
    pub allowed_models: Vec<String>,
    /// Time to connect.
    pub connect_timeout: Duration,
    /// Time until the model begins to answer, connecting included.
    pub first_token_timeout: Duration,
    /// Time from one frame of an answer to the next.
    pub idle_timeout: Duration,
    /// Tries before the model begins to answer, at least 1.
    pub max_attempts: u32,
    /// Waits between two tries.
    pub pause: Arc<dyn Pause>,
    /// Says where the provider may be, when its address came from a user; `None` for an operator's.
    pub judge: Option<Arc<dyn Judge>>,
}

impl OpenAiOptions {
    /// The options that the settings describe; `None` when neither a key nor an address is set.
    pub fn from_settings(settings: &ModelSettings) -> Option<Self> {
        let base_url = match (&settings.openai_base_url, &settings.openai_api_key) {
            (Some(url), _) => Url::clone(url),
            (None, Some(_)) => Url::parse("https://api.openai.com/v1").ok()?,
            (None, None) => return None,
        };
        Some(Self {
            base_url,
            key: settings.openai_api_key.clone(),
            azure_api_version: settings.azure_api_version.clone(),
            chat_model: settings.chat_model.clone(),
            allowed_models: settings.allowed_models.clone(),
            connect_timeout: settings.connect_timeout,
            first_token_timeout: settings.first_token_timeout,
            idle_timeout: settings.idle_timeout,
            max_attempts: settings.max_attempts,
            pause: Arc::new(TimerPause),
            judge: None,
        })
    }
}

impl fmt::Debug for OpenAiOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiOptions")
            .field("host", &self.base_url.host_str())
            .field("chat_model", &self.chat_model)
            .finish_non_exhaustive()
    }
}

/// A provider. Cheap to clone; make one for the life of the process, since its connections are worth keeping.
#[derive(Clone)]
pub struct OpenAi {
    provider: Arc<Provider>,
    catalogue: Arc<Catalogue>,
    dialects: Arc<Dialects>,
    first_token_timeout: Duration,
    idle_timeout: Duration,
}

impl OpenAi {
    /// Sets a provider up; asks it nothing yet.
    pub fn new(options: &OpenAiOptions, ambient: &Ambient) -> Result<Self, ModelError> {
        let provider = Arc::new(Provider::new(options, ambient)?);
        let dialect = Dialect::new(provider.knows_completion_tokens());
        Ok(Self {
            catalogue: Arc::new(Catalogue::new(options)),
            dialects: Arc::new(Dialects::new(dialect)),
            first_token_timeout: options.first_token_timeout,
            idle_timeout: options.idle_timeout,
            provider,
        })
    }

    /// An embedder for `model`; asks for one vector to learn its dimension.
    pub async fn embedder(&self, model: &str) -> Result<OpenAiEmbedder, ModelError> {
        let patience = self.first_token_timeout.saturating_add(self.idle_timeout);
        OpenAiEmbedder::probe(self.provider.clone(), model, patience).await
    }

    /// An embedder for `model` whose dimension is known; asks nothing yet.
    pub fn embedder_of_dimension(&self, model: &str, dimension: usize) -> OpenAiEmbedder {
        let patience = self.first_token_timeout.saturating_add(self.idle_timeout);
        OpenAiEmbedder::of_dimension(self.provider.clone(), model, dimension, patience)
    }

    /// The names that the provider lists, which it is asked for now; `None` when it has no list.
    pub async fn list(&self) -> Result<Option<Vec<String>>, ModelError> {
        catalogue::ask(&self.provider).await
    }

    /// A reranker that asks `model`; asks nothing yet.
    pub fn reranker(&self, model: &str) -> HttpReranker {
        HttpReranker::new(self.provider.clone(), model)
    }

    /// Asks until the model has begun to answer, or until there is no point in asking on.
    async fn start(
        &self,
        request: &ChatRequest,
        telling: &mut Telling,
    ) -> Result<(Begun, Permit), ModelError> {
        let url = self.provider.address("chat/completions", &request.model);
        let first = self.dialects.of(&request.model);
        let mut dialect = first;
        let mut body = request::body(request, dialect)?;
        let mut attempts = Attempts::new(&self.provider);
        loop {
            let mut permit = attempts.begin()?;
            let failed = match self.attempt(url.clone(), body.clone()).await {
                Ok(begun) => {
                    permit.begun();
                    if dialect != first {
                        self.dialects.remember(&request.model, dialect);
                    }
                    telling.first_event(attempts.number());
                    return Ok((begun, permit));
                }
                Err(failed) => failed,
            };
            if let Some(next) = dialect.after(first, request, &failed) {
                permit.succeeded();
                attempts.uncount();
                dialect = next;
                body = request::body(request, dialect)?;
            } else {
                telling.attempt(attempts.number());
                attempts.failed(permit, failed.failure).await?;
            }
        }
    }

    /// One try, until the model has begun to answer.
    async fn attempt(&self, url: Url, body: Bytes) -> Result<Begun, CallFailure> {
        let asking = async {
            let response = self.provider.post(url, "text/event-stream", body).await?;
            let begun = Begun::read(self.provider.clone(), response, self.idle_timeout).await;
            begun.map_err(CallFailure::from)
        };
        let in_time = tokio::time::timeout(self.first_token_timeout, asking).await;
        in_time.unwrap_or_else(|_| {
            let seconds = self.first_token_timeout.as_secs_f32();
            let reason = format!("no answer began within {seconds} seconds");
            Err(Failure::lasting(ModelError::Unavailable(reason)).into())
        })
    }
}

#[async_trait]
impl ChatModel for OpenAi {
    async fn chat(&self, request: ChatRequest) -> Result<ChatStream, ModelError> {
        let span = tracing::info_span!(
            "llm.chat",
            model = %request.model,
            attempt = field::Empty,
            first_token_ms = field::Empty,
            prompt_tokens = field::Empty,
            completion_tokens = field::Empty,
            outcome = field::Empty,
            total_ms = field::Empty,
        );
        let mut telling = Telling::new(span.clone(), &request.model);
        match self.start(&request, &mut telling).instrument(span).await {
            Ok((begun, permit)) => Ok(Running::new(begun, permit, telling).into_stream()),
            Err(error) => {
                telling.failed(&error);
                Err(error)
            }
        }
    }

    async fn knows(&self, model: &str) -> Result<bool, ModelError> {
        self.catalogue.knows(&self.provider, model).await
    }
}

impl fmt::Debug for OpenAi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAi").field("provider", &self.provider).finish_non_exhaustive()
    }
}
