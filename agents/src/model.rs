//! The model of a turn: the one that the agent names and those that take its place, with what their calls use.
//!
//! Every call of a turn goes through here, so that all of them are counted, whatever becomes of them: one that is
//! dropped half-way is estimated by what was asked and said until then.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use async_trait::async_trait;
use futures::Stream;
use models::{
    Catalogue, ChatEvent, ChatModel, ChatRequest, ChatStream, FinishReason, ModelError, Usage,
};
use parking_lot::Mutex;

use crate::fit::Sizes;
use crate::spend::{Call, CallError, Meter, near};

/// A model that may answer.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    /// Where it is.
    pub(crate) chat: Arc<dyn ChatModel>,
    /// The name that it is asked under.
    pub(crate) name: String,
    /// `installation`, or the id of a provider of the workspace.
    pub(crate) provider: String,
}

/// The models of a turn, first choice first; never empty.
#[derive(Debug)]
pub(crate) struct TurnModel {
    first: Candidate,
    fallbacks: Vec<Candidate>,
    catalogue: Catalogue,
    meter: Arc<Meter>,
    course: Mutex<Course>,
}

/// What became of the calls.
#[derive(Debug, Default)]
struct Course {
    /// The name of the model that answered last.
    answered: Option<String>,
    /// Models that could not be asked, and why.
    failed: Vec<(String, String)>,
}

impl TurnModel {
    /// `None` without a candidate.
    pub(crate) fn new(
        candidates: Vec<Candidate>,
        catalogue: Catalogue,
        meter: Arc<Meter>,
    ) -> Option<Self> {
        let mut candidates = candidates.into_iter();
        let first = candidates.next()?;
        let fallbacks = candidates.collect();
        Some(Self { first, fallbacks, catalogue, meter, course: Mutex::default() })
    }

    /// The model that answered, or the first choice.
    pub(crate) fn name(&self) -> String {
        self.course.lock().answered.clone().unwrap_or_else(|| self.first.name.clone())
    }

    /// The first choice.
    pub(crate) fn first_name(&self) -> &str {
        &self.first.name
    }

    /// How the models count that may be asked.
    pub(crate) fn sizes(&self) -> Sizes {
        let all = std::iter::once(&self.first).chain(&self.fallbacks);
        Sizes::of(&self.catalogue, all.map(|candidate| candidate.name.as_str()))
    }

    /// Tokens of prompt and answer that the first choice holds.
    pub(crate) fn context(&self) -> u32 {
        self.catalogue.context(&self.first.name)
    }

    /// Why a request is too large for a candidate for certain, although another one could take it.
    fn too_large(&self, candidate: &Candidate, request: &ChatRequest) -> Option<ModelError> {
        let facts = self.catalogue.facts(&candidate.name)?;
        let (asked, context) = (near(request, "", true).prompt_tokens, i64::from(facts.context));
        let answer = i64::from(request.max_tokens.unwrap_or_default());
        // By estimate, which may be a third too high.
        (asked * 3 / 4 + answer > context).then(|| {
            let why = format!("its context of {context} tokens is too small for this prompt");
            ModelError::Unavailable(why)
        })
    }

    /// Models that could not be asked, and why.
    pub(crate) fn failed(&self) -> Vec<(String, String)> {
        self.course.lock().failed.clone()
    }

    async fn ask(
        &self,
        candidate: &Candidate,
        request: &ChatRequest,
    ) -> Result<ChatStream, ModelError> {
        let request = ChatRequest { model: candidate.name.clone(), ..request.clone() };
        let began = Instant::now();
        let mut attempt = Attempt { candidate, began, meter: &self.meter, error: None };
        attempt.error = Some(given_up());
        let stream = match candidate.chat.chat(request.clone()).await {
            Ok(stream) => stream,
            Err(error) => {
                attempt.error = Some((&error).into());
                return Err(error);
            }
        };
        attempt.error = None;
        drop(attempt);
        self.course.lock().answered = Some(candidate.name.clone());
        Ok(Box::pin(Metered {
            stream,
            request,
            said: String::new(),
            provider: candidate.provider.clone(),
            catalogue: self.catalogue.clone(),
            meter: self.meter.clone(),
            counted: false,
            began,
            first: None,
            reason: None,
            error: None,
        }))
    }
}

#[async_trait]
impl ChatModel for TurnModel {
    /// Asks the first choice, and the next one only when one could not be asked: before its first event, since
    /// what was said cannot be unsaid.
    async fn chat(&self, request: ChatRequest) -> Result<ChatStream, ModelError> {
        let mut asked = self.ask(&self.first, &request).await;
        let mut last = &self.first;
        for next in &self.fallbacks {
            match &asked {
                Err(error) if another_may_do(error) => {
                    tracing::warn!(model = last.name, next = next.name, %error, "falling back");
                    self.course.lock().failed.push((last.name.clone(), error.to_string()));
                }
                _ => break,
            }
            asked = match self.too_large(next, &request) {
                Some(error) => Err(error),
                None => self.ask(next, &request).await,
            };
            last = next;
        }
        asked
    }

    async fn knows(&self, model: &str) -> Result<bool, ModelError> {
        Ok(self.first.name == model || self.fallbacks.iter().any(|next| next.name == model))
    }
}

/// A call before its first event; remembered when it comes to nothing, also by being dropped.
struct Attempt<'a> {
    candidate: &'a Candidate,
    began: Instant,
    meter: &'a Meter,
    error: Option<CallError>,
}

fn given_up() -> CallError {
    let message = "given up before its first event".to_owned();
    CallError { kind: "cancelled", message }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let Some(error) = self.error.take() else { return };
        self.meter.remember(Call {
            model: self.candidate.name.clone(),
            provider: self.candidate.provider.clone(),
            began: self.began,
            first: None,
            ended: Instant::now(),
            usage: None,
            estimated: false,
            cost: None,
            reason: None,
            error: Some(error),
        });
    }
}

/// Whether it is the provider that fails, and not the request.
fn another_may_do(error: &ModelError) -> bool {
    match error {
        ModelError::Unavailable(_)
        | ModelError::RateLimited { .. }
        | ModelError::BreakerOpen { .. } => true,
        ModelError::Credential(_) | ModelError::Refused(_) | ModelError::Broken(_) => false,
    }
}

/// An answer that is counted when it ends, also by being dropped.
struct Metered {
    stream: ChatStream,
    request: ChatRequest,
    said: String,
    provider: String,
    catalogue: Catalogue,
    meter: Arc<Meter>,
    counted: bool,
    began: Instant,
    first: Option<Instant>,
    reason: Option<FinishReason>,
    error: Option<CallError>,
}

impl Metered {
    fn count(&mut self, counted: Option<Usage>) {
        if std::mem::replace(&mut self.counted, true) {
            return;
        }
        let usage = counted.ok_or_else(|| near(&self.request, &self.said, true));
        self.meter.add(&self.catalogue, &self.provider, &self.request.model, usage);
        let used = usage.unwrap_or_else(|near| near);
        let cost = self.catalogue.cost(&self.request.model, used);
        self.meter.remember(Call {
            model: std::mem::take(&mut self.request.model),
            provider: std::mem::take(&mut self.provider),
            began: self.began,
            first: self.first,
            ended: Instant::now(),
            usage: Some(used),
            estimated: usage.is_err(),
            cost,
            reason: self.reason,
            error: self.error.take(),
        });
    }
}

impl Stream for Metered {
    type Item = Result<ChatEvent, ModelError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let event = ready!(self.stream.as_mut().poll_next(context));
        if self.first.is_none() && matches!(&event, Some(Ok(_))) {
            self.first = Some(Instant::now());
        }
        match &event {
            Some(Ok(ChatEvent::Token(piece))) => self.said.push_str(piece),
            Some(Ok(ChatEvent::ToolCall { arguments, .. })) => self.said.push_str(arguments),
            Some(Ok(ChatEvent::Finished { usage, reason })) => {
                self.reason = Some(*reason);
                let usage = *usage;
                self.count(usage);
            }
            Some(Err(error)) => self.error = Some(error.into()),
            None => {}
        }
        Poll::Ready(event)
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        self.count(None);
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use models::{ChatMessage, FinishReason};

    use super::*;
    use crate::spend::INSTALLATION;

    /// Fails, or says a word and how much that was.
    #[derive(Debug)]
    struct Scripted(Result<Option<Usage>, ModelError>);

    #[async_trait]
    impl ChatModel for Scripted {
        async fn chat(&self, request: ChatRequest) -> Result<ChatStream, ModelError> {
            let usage = self.0.clone()?;
            let reason = FinishReason::Stop;
            let events =
                [ChatEvent::Token(request.model), ChatEvent::Finished { reason, usage }].map(Ok);
            Ok(Box::pin(futures::stream::iter(events)))
        }

        async fn knows(&self, _: &str) -> Result<bool, ModelError> {
            Ok(true)
        }
    }

    fn scripted(scripts: Vec<Result<Option<Usage>, ModelError>>) -> (TurnModel, Arc<Meter>) {
        let meter = Arc::new(Meter::default());
        let names = ["gpt-4o", "gpt-4o-mini", "own"];
        let candidates = names.into_iter().zip(scripts).map(|(name, script)| Candidate {
            chat: Arc::new(Scripted(script)),
            name: name.to_owned(),
            provider: INSTALLATION.to_owned(),
        });
        let model = TurnModel::new(candidates.collect(), Catalogue::default(), meter.clone());
        (model.unwrap(), meter)
    }

    fn request() -> ChatRequest {
        ChatRequest { messages: vec![ChatMessage::user("¿Abren hoy?")], ..ChatRequest::default() }
    }

    fn down() -> Result<Option<Usage>, ModelError> {
        Err(ModelError::Unavailable("nobody there".to_owned()))
    }

    const USAGE: Usage = Usage { prompt_tokens: 1_000, completion_tokens: 200, cached_tokens: 0 };

    #[tokio::test]
    async fn the_next_model_answers_under_its_own_name_when_one_cannot_be_asked() {
        let (model, meter) = scripted(vec![down(), Ok(Some(USAGE))]);
        assert_eq!(model.name(), "gpt-4o");
        let events: Vec<_> = model.chat(request()).await.unwrap().collect().await;
        assert_eq!(events[0].as_ref().unwrap(), &ChatEvent::Token("gpt-4o-mini".to_owned()));
        assert_eq!((model.name().as_str(), model.first_name()), ("gpt-4o-mini", "gpt-4o"));
        assert_eq!(model.failed()[0].0, "gpt-4o");
        let metered = meter.read();
        assert_eq!((metered.calls, metered.cost, metered.estimated), (1, 270, false));
        model.chat(request()).await.unwrap().collect::<Vec<_>>().await;
        assert_eq!(meter.read().usage.prompt_tokens, 2_000, "calls add up");
    }

    #[tokio::test]
    async fn a_model_that_cannot_hold_the_prompt_is_passed_over() {
        let meter = Arc::new(Meter::default());
        let candidates = [("gpt-4o", down()), ("gpt-4", Ok(Some(USAGE))), ("own", Ok(Some(USAGE)))];
        let candidates = candidates.into_iter().map(|(name, script)| Candidate {
            chat: Arc::new(Scripted(script)),
            name: name.to_owned(),
            provider: INSTALLATION.to_owned(),
        });
        let model = TurnModel::new(candidates.collect(), Catalogue::default(), meter).unwrap();
        let long = ChatMessage::user("palabra ".repeat(20_000));
        let request = ChatRequest { messages: vec![long], ..ChatRequest::default() };
        model.chat(request).await.unwrap().collect::<Vec<_>>().await;
        assert_eq!(model.name(), "own", "gpt-4 holds 8,192 tokens, of `own` nothing is known");
        assert!(model.failed()[1].1.contains("too small"), "{:?}", model.failed());
    }

    #[tokio::test]
    async fn a_refused_request_or_a_broken_key_is_nobody_elses() {
        for error in [
            ModelError::Refused("no".to_owned()),
            ModelError::Credential("no".to_owned()),
            ModelError::Broken("no".to_owned()),
        ] {
            let (model, meter) = scripted(vec![Err(error), Ok(None)]);
            assert!(model.chat(request()).await.is_err());
            assert!(model.failed().is_empty());
            assert_eq!(meter.read().calls, 0);
        }
        let limited = Err(ModelError::RateLimited { retry_after: None });
        let (model, _) = scripted(vec![limited, down(), down()]);
        let error = model.chat(request()).await.map(|_| ()).unwrap_err();
        assert!(matches!(error, ModelError::Unavailable(_)));
        assert_eq!(model.failed().len(), 2);
    }

    #[tokio::test]
    async fn what_is_dropped_or_not_counted_is_estimated() {
        let (model, meter) = scripted(vec![Ok(Some(USAGE))]);
        let mut stream = model.chat(request()).await.unwrap();
        stream.next().await;
        drop(stream);
        let metered = meter.read();
        assert!(metered.estimated && metered.usage.prompt_tokens > 0 && metered.calls == 1);
        assert!((1..200).contains(&metered.usage.completion_tokens));
        let (model, meter) = scripted(vec![Ok(None)]);
        model.chat(request()).await.unwrap().collect::<Vec<_>>().await;
        assert!(meter.read().estimated && meter.read().calls == 1);
    }
}
