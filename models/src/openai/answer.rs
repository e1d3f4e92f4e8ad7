//! An answer on its way: bytes of a response in, events out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::CONTENT_TYPE;
use reqwest::Response;
use tracing::Span;

use super::attempts::Failure;
use super::breaker::Permit;
use super::delta::{Assembler, Trouble};
use super::provider::Provider;
use crate::{ChatEvent, ChatStream, ModelError, Usage};

/// How long the end of the body is waited for after `[DONE]`, so that the connection can be used again.
const LAST_BYTES: Duration = Duration::from_millis(100);
/// How long a count of tokens or `[DONE]` is waited for after the finish reason.
const AFTER_FINISH: Duration = Duration::from_secs(2);
/// No limit of its own.
const UNTIL_BEGUN: Duration = Duration::from_hours(24);
/// Largest answer that comes as one JSON object, in bytes.
const MAX_WHOLE: usize = 8 << 20;

/// An answer that the model has begun.
pub(super) struct Begun {
    provider: Arc<Provider>,
    response: Response,
    idle: Duration,
    assembler: Assembler,
    ended: bool,
}

impl Begun {
    /// Reads a response until the model has begun to answer. A failure before that may be tried again.
    pub async fn read(
        provider: Arc<Provider>,
        response: Response,
        idle: Duration,
    ) -> Result<Self, Failure> {
        // A server that cannot stream, or does not want to, answers with the completion itself.
        let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let whole = kind.is_some_and(|kind| kind.contains("json") && !kind.contains("stream"));
        // The caller limits the time until the answer begins; between frames the limit is another.
        let mut begun = Self {
            provider,
            response,
            idle: UNTIL_BEGUN,
            assembler: Assembler::default(),
            ended: false,
        };
        if whole {
            begun.read_whole().await.map_err(Failure::passing)?;
        }
        while !begun.assembler.is_at_work() && !begun.assembler.has_ready() {
            if let Some(trouble) = begun.assembler.trouble() {
                return Err(Failure::passing(match trouble {
                    Trouble::Malformed(reason) => ModelError::Broken(reason),
                    Trouble::Reported(reason) => {
                        ModelError::Unavailable(begun.provider.clean(&reason))
                    }
                }));
            }
            begun.read_more().await.map_err(Failure::passing)?;
        }
        begun.idle = idle;
        Ok(begun)
    }

    /// The next event; `None` after the last.
    async fn next(&mut self) -> Option<Result<ChatEvent, ModelError>> {
        loop {
            if let Some(event) = self.assembler.next() {
                return Some(Ok(event));
            }
            if let Some(trouble) = self.assembler.trouble() {
                self.ended = true;
                let (Trouble::Malformed(reason) | Trouble::Reported(reason)) = trouble;
                return Some(Err(ModelError::Broken(self.provider.clean(&reason))));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.read_more().await {
                self.ended = true;
                return Some(Err(error));
            }
        }
    }

    /// Reads bytes until a frame is complete or the answer has ended; at its end the last events are made.
    async fn read_more(&mut self) -> Result<(), ModelError> {
        let frames = self.assembler.frames();
        let patience =
            if self.assembler.may_end() { AFTER_FINISH.min(self.idle) } else { self.idle };
        // Comments that keep a connection alive are no sign of a living model: they do not move the deadline.
        let deadline = tokio::time::Instant::now() + patience;
        while self.assembler.frames() == frames && !self.assembler.in_trouble() && !self.ended {
            let reason = match tokio::time::timeout_at(deadline, self.response.chunk()).await {
                Ok(Ok(Some(bytes))) => {
                    self.assembler.push(&bytes);
                    continue;
                }
                Ok(Ok(None)) => {
                    self.assembler.end();
                    "the stream ended without a finish reason".to_owned()
                }
                Ok(Err(error)) => self.provider.describe(error),
                Err(_) => format!("nothing came for {} seconds", patience.as_secs_f32()),
            };
            self.ended = true;
            if !self.assembler.may_end() {
                return Err(ModelError::Broken(reason));
            }
        }
        if self.assembler.is_done() && !self.ended {
            self.ended = true;
            self.drain().await;
        }
        if self.ended {
            self.assembler.conclude();
        }
        Ok(())
    }

    /// Reads past the end of the body, which returns the connection to the pool.
    async fn drain(&mut self) {
        let rest = async { while let Ok(Some(_)) = self.response.chunk().await {} };
        tokio::time::timeout(LAST_BYTES, rest).await.ok();
    }

    async fn read_whole(&mut self) -> Result<(), ModelError> {
        let body = self.provider.read_body(&mut self.response, MAX_WHOLE).await?;
        self.assembler.take_whole(&body);
        self.ended = true;
        self.assembler.conclude();
        Ok(())
    }
}

/// A begun answer with everything that is told about it at its end.
pub(super) struct Running {
    answer: Begun,
    permit: Option<Permit>,
    telling: Telling,
}

impl Running {
    pub fn new(answer: Begun, permit: Permit, telling: Telling) -> Self {
        Self { answer, permit: Some(permit), telling }
    }

    /// The events as a stream. Dropping it ends the call.
    pub fn into_stream(mut self) -> ChatStream {
        Box::pin(async_stream::stream! {
            while let Some(event) = self.next().await {
                yield event;
            }
        })
    }

    async fn next(&mut self) -> Option<Result<ChatEvent, ModelError>> {
        let next = self.answer.next().await;
        match &next {
            Some(Ok(ChatEvent::Finished { usage, .. })) => {
                self.telling.finished(*usage);
                if let Some(permit) = self.permit.take() {
                    permit.succeeded();
                }
            }
            Some(Err(error)) => {
                self.telling.failed(error);
                if let Some(permit) = self.permit.take() {
                    permit.failed();
                }
            }
            _ => {}
        }
        next
    }
}

/// What logs and metrics say of a call, once, when it ends: also when its stream is dropped.
pub(super) struct Telling {
    span: Span,
    model: String,
    begun: Instant,
    outcome: &'static str,
}

impl Telling {
    pub fn new(span: Span, model: &str) -> Self {
        Self { span, model: model.to_owned(), begun: Instant::now(), outcome: "left" }
    }

    /// The model has begun to answer.
    pub fn first_event(&self, attempt: u32) {
        let waited = self.begun.elapsed();
        self.attempt(attempt);
        self.span.record("first_token_ms", millis(waited));
        metrics::histogram!("vocero_model_first_token_seconds", "model" => self.model.clone())
            .record(waited);
    }

    /// The number of the try that failed last.
    pub fn attempt(&self, attempt: u32) {
        self.span.record("attempt", attempt);
    }

    fn finished(&mut self, usage: Option<Usage>) {
        self.outcome = "finished";
        let Some(usage) = usage else {
            return;
        };
        self.span.record("prompt_tokens", usage.prompt_tokens);
        self.span.record("completion_tokens", usage.completion_tokens);
        for (direction, tokens) in
            [("prompt", usage.prompt_tokens), ("completion", usage.completion_tokens)]
        {
            let labels = [("model", self.model.clone()), ("direction", direction.to_owned())];
            metrics::counter!("vocero_model_tokens_total", &labels)
                .increment(u64::try_from(tokens).unwrap_or(0));
        }
    }

    /// It failed, before or after it had begun.
    pub fn failed(&mut self, error: &ModelError) {
        self.outcome = match error {
            ModelError::Credential(_) => "credential",
            ModelError::Refused(_) => "refused",
            ModelError::RateLimited { .. } => "rate-limited",
            ModelError::Unavailable(_) => "unavailable",
            ModelError::Broken(_) => "broken",
            ModelError::BreakerOpen { .. } => "breaker-open",
        };
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        self.span.record("outcome", self.outcome);
        self.span.record("total_ms", millis(took));
        let labels = [("model", self.model.clone()), ("outcome", self.outcome.to_owned())];
        metrics::counter!("vocero_model_calls_total", &labels).increment(1);
        metrics::histogram!("vocero_model_call_seconds", "model" => self.model.clone())
            .record(took);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
