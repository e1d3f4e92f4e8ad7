//! The course of a turn, in a task of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::agent::{Agent, ToolKind};
use domain::conversation::Conversation;
use domain::message::{Citation, Message, MessageState, Outcome};
use domain::{DatastoreId, DomainError, ErrorKind, MessageId, WorkspaceId};
use models::{ChatRequest, Usage};
use retrieval::Hit;
use storage::messages;
use tokio::sync::mpsc;

use crate::begin::{self, Reading};
use crate::citations::quote_for;
use crate::claim::{Claimed, claim};
use crate::keep::{Kept, give_back, keep};
use crate::prepare::{self, Asking, EarlySearch, Effect, Prepared, Reply, Said};
use crate::queue::Place;
use crate::running::{Cut, Registration};
use crate::speak::{End, Listener, Spoken, send, speak};
use crate::trace::Trace;
use crate::turn::{Answer, Inner, TurnEvent, TurnSource};

/// How long a reader may take to accept what is left once the answer is stored.
const LAST_WORDS: Duration = Duration::from_mins(1);

/// A turn under way.
pub(crate) struct Work {
    pub(crate) inner: Arc<Inner>,
    pub(crate) agent: Agent,
    /// Where the agent may search; `None` when it has no datastore tool.
    pub(crate) datastores: Option<Vec<DatastoreId>>,
    pub(crate) said: Said,
    /// The search that runs already.
    pub(crate) early: Option<EarlySearch>,
    pub(crate) conversation: Conversation,
    /// The customer's message.
    pub(crate) question: Message,
    /// The id that the answer will have.
    pub(crate) answer: MessageId,
    pub(crate) place: Place,
    pub(crate) registration: Registration,
    pub(crate) events: mpsc::Sender<TurnEvent>,
    pub(crate) reading: Reading,
    /// Whether the lease in the database is held.
    pub(crate) locked: bool,
    /// Nothing was said before.
    pub(crate) fresh: bool,
    /// The message was stored by an earlier request.
    pub(crate) repeated: bool,
    pub(crate) began: Instant,
}

impl Work {
    pub(crate) fn workspace(&self) -> WorkspaceId {
        self.agent.workspace_id
    }
}

/// What is still to be told once a turn is over.
struct Telling {
    tool: Option<ToolKind>,
    sources: Vec<Citation>,
    text: String,
    last: Option<TurnEvent>,
}

impl Telling {
    fn of(last: Option<TurnEvent>) -> Self {
        Self { tool: None, sources: Vec::new(), text: String::new(), last }
    }

    fn only(last: TurnEvent) -> Self {
        Self::of(Some(last))
    }

    /// How the turn ended, for metrics.
    fn name(&self) -> &'static str {
        match &self.last {
            None => "left",
            Some(TurnEvent::Error(error)) => error.code,
            Some(TurnEvent::Done(answer)) => answer.outcome.map_or("silent", Outcome::name),
            Some(TurnEvent::Tool(_) | TurnEvent::Source(_) | TurnEvent::Token(_)) => "open",
        }
    }

    fn error(error: DomainError) -> Self {
        Self::only(TurnEvent::Error(error))
    }
}

pub(crate) async fn run(mut work: Work) {
    let telling = course(&mut work).await;
    let Work { inner, place, registration, events, reading, began, .. } = work;
    metrics::counter!("vocero_turns_total", "end" => telling.name()).increment(1);
    metrics::histogram!("vocero_turn_seconds").record(began.elapsed().as_secs_f64());
    // A slow reader of the last words holds up nobody.
    drop(registration);
    drop(place);
    let over = async {
        tokio::select! {
            () = inner.stop.cancelled() => {}
            () = tokio::time::sleep(LAST_WORDS) => {}
        }
        Cut::ClientGone
    };
    tokio::pin!(over);
    // Nobody left to tell is fine: everything is stored.
    let _ = tell(&events, reading, telling, over).await;
}

async fn tell<C: Future<Output = Cut>>(
    events: &mpsc::Sender<TurnEvent>,
    reading: Reading,
    telling: Telling,
    mut over: std::pin::Pin<&mut C>,
) -> Result<(), Cut> {
    if reading == Reading::Stream {
        if let Some(tool) = telling.tool {
            send(events, TurnEvent::Tool(tool), over.as_mut()).await?;
        }
        for citation in telling.sources {
            let source = Box::new(TurnSource { citation });
            send(events, TurnEvent::Source(source), over.as_mut()).await?;
        }
        for word in telling.text.split_inclusive(' ') {
            send(events, TurnEvent::Token(word.to_owned()), over.as_mut()).await?;
        }
    }
    match telling.last {
        Some(last) => send(events, last, over).await,
        None => Ok(()),
    }
}

async fn course(work: &mut Work) -> Telling {
    // Short phases are boxed: what they need is not carried along while the model writes.
    if !work.locked
        && let Some(telling) = Box::pin(wait(work)).await
    {
        return telling;
    }
    let early = work.early.take();
    let work = &*work;
    let deadline = tokio::time::Instant::now() + work.inner.options.defaults.turn_timeout;
    let cut = until_cut(work, deadline);
    tokio::pin!(cut);
    let mut trace = Trace::since(work.began);
    let prepared = tokio::select! {
        biased;
        reason = &mut cut => return Box::pin(cut_unanswered(work, reason)).await,
        prepared = Box::pin(prepare::prepare(work, early, &mut trace)) => prepared,
    };
    match prepared {
        Err(error) => {
            give_back(work).await;
            Telling::error(error)
        }
        Ok(Prepared::Ready(reply)) => Box::pin(tell_ready(work, *reply, None, trace)).await,
        Ok(Prepared::Ask(asking)) => ask(work, *asking, trace, cut).await,
    }
}

/// Waits for the turn's time; what to tell when it comes to nothing.
async fn wait(work: &mut Work) -> Option<Telling> {
    let limit = tokio::time::Instant::now() + work.inner.options.defaults.turn_timeout;
    let (events, cancel) = (work.events.clone(), work.registration.token());
    let claimed = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(None),
        () = events.closed() => Err(Some(Cut::ClientGone)),
        () = tokio::time::sleep_until(limit) => Err(Some(Cut::TimedOut)),
        claimed = claim(work) => Ok(claimed),
    };
    match claimed {
        Ok(Ok(Claimed::Free)) => None,
        Ok(Ok(Claimed::Person(conversation))) => {
            give_back(work).await;
            Some(nobody_answers(work, &conversation))
        }
        Ok(Ok(Claimed::Answered(reply))) => {
            give_back(work).await;
            Some(tell_again(work, *reply).await)
        }
        Ok(Err(error)) => {
            give_back(work).await;
            Some(Telling::error(error))
        }
        Err(Some(Cut::TimedOut)) => {
            give_back(work).await;
            Some(Telling::error(begin::busy()))
        }
        Err(reason) => {
            let reason = reason.unwrap_or_else(|| work.registration.reason());
            Some(cut_unanswered(work, reason).await)
        }
    }
}

async fn until_cut(work: &Work, deadline: tokio::time::Instant) -> Cut {
    tokio::select! {
        biased;
        reason = work.registration.cancelled() => reason,
        () = work.events.closed() => Cut::ClientGone,
        () = tokio::time::sleep_until(deadline) => Cut::TimedOut,
    }
}

/// Asks the model, passes its answer on, stores it.
async fn ask<C: Future<Output = Cut>>(
    work: &Work,
    asking: Asking,
    mut trace: Trace,
    cut: std::pin::Pin<&mut C>,
) -> Telling {
    let Some((chat, model)) = work.inner.provider(&work.agent) else {
        give_back(work).await;
        return Telling::error(internal());
    };
    let Inner { running, db, ambient, tracker, .. } = &*work.inner;
    running.keep_lease(&work.registration, db, ambient, tracker);
    trace.note("model", model);
    let Asking { request, passages, question, evidence, outcome, lang } = asking;
    trace.note("promptTokensEstimate", estimate(&request, &passages));
    trace.step("prompt");
    let listener = Listener { events: &work.events, reading: work.reading, passages: &passages };
    let spoken = speak(chat, request, listener, cut).await;
    note_speech(&mut trace, &spoken);
    let unknown = spoken.filter.met_sentinel() && spoken.filter.uses().is_empty();
    let over = matches!(spoken.end, End::Finished);
    if over && spoken.text.is_empty() {
        // It said that it does not know, or nothing at all.
        let reply = prepare::abstain(work, question, evidence, lang);
        return Box::pin(tell_ready(work, reply, spoken.usage, trace)).await;
    }
    if spoken.text.is_empty() {
        return Box::pin(end_silent(work, spoken.end)).await;
    }
    let citations = cited(&spoken, &passages);
    let (outcome, effect) = if over && unknown {
        (Outcome::Abstained, Effect::Gap { question, evidence })
    } else {
        (outcome, Effect::None)
    };
    drop(passages);
    let usage = spoken.usage;
    let reply = Reply { text: spoken.text, citations, outcome, effect };
    Box::pin(end_spoken(work, reply, spoken.end, usage, trace)).await
}

/// Tokens of a prompt, nearly: those of the passages are known, the rest is taken at four bytes each.
fn estimate(request: &ChatRequest, passages: &[Hit]) -> usize {
    let bytes: usize = request.messages.iter().map(|message| message.content.len()).sum();
    let known = passages.iter().map(|hit| &hit.live.chunk);
    let (passage_bytes, passage_tokens) = known.fold((0, 0), |(bytes, tokens), chunk| {
        (bytes + chunk.text.len(), tokens + usize::try_from(chunk.tokens).unwrap_or(0))
    });
    passage_tokens + bytes.saturating_sub(passage_bytes) / 4
}

fn note_speech(trace: &mut Trace, spoken: &Spoken) {
    trace.step("model");
    trace.note_usage(spoken.usage);
    if let Some(first) = spoken.first_token {
        let waited = trace.note_first_token(first);
        metrics::histogram!("vocero_turn_first_token_seconds").record(waited.as_secs_f64());
    }
    if let Some(reason) = spoken.reason {
        trace.note("finishReason", format!("{reason:?}").to_lowercase());
    }
    if let End::Failed(error) = &spoken.end {
        trace.note("modelError", error.to_string());
    }
    trace.note("removedMarkers", spoken.filter.removed().to_vec());
    trace.note("saidUnknown", spoken.filter.met_sentinel());
    trace.note("citesNothing", !spoken.text.is_empty() && spoken.filter.uses().is_empty());
}

/// The passages that the text cites, in order of first use, each with the words that it rests on.
fn cited(spoken: &Spoken, passages: &[Hit]) -> Vec<Citation> {
    let uses = spoken.filter.uses().iter().filter(|used| used.at < spoken.text.len());
    let mut order: Vec<(usize, Vec<usize>)> = Vec::new();
    for used in uses {
        match order.iter_mut().find(|(passage, _)| *passage == used.passage) {
            Some((_, places)) => places.push(used.at),
            None => order.push((used.passage, vec![used.at])),
        }
    }
    let mut citations = Vec::with_capacity(order.len());
    for (passage, places) in order {
        let Some(hit) = passages.get(passage - 1) else { continue };
        let quote = quote_for(&hit.live.chunk.text, &spoken.text, &places).to_owned();
        let marker = i64::try_from(passage).unwrap_or(i64::MAX);
        citations.push(prepare::citation(hit, marker, quote));
    }
    citations
}

/// An answer that is complete before its first word: it is stored, then told, so that nothing of it is
/// seen when a person has taken the conversation meanwhile.
async fn tell_ready(work: &Work, reply: Reply, usage: Option<Usage>, mut trace: Trace) -> Telling {
    trace.note("outcome", reply.outcome.name());
    let kept = Box::pin(keep(work, &reply, MessageState::Complete, usage, trace.finish())).await;
    match kept {
        Ok(Kept::Stored(conversation)) => Telling {
            tool: tool_of(Some(reply.outcome)),
            sources: reply.citations.clone(),
            text: reply.text.clone(),
            last: Some(done(work, &conversation, reply, MessageState::Complete)),
        },
        Ok(Kept::TakenOver(conversation)) => nobody_answers(work, &conversation),
        Ok(Kept::Lost) => Telling::error(lost()),
        Err(error) => Telling::error(error),
    }
}

/// Stores what the model said and tells how it ended.
async fn end_spoken(
    work: &Work,
    reply: Reply,
    end: End,
    usage: Option<Usage>,
    mut trace: Trace,
) -> Telling {
    let state = match &end {
        End::Finished => MessageState::Complete,
        End::Failed(_) | End::Cut(Cut::TimedOut) => MessageState::Failed,
        End::Cut(_) => MessageState::Interrupted,
    };
    trace.note("outcome", reply.outcome.name());
    trace.note("state", state.name());
    let kept = Box::pin(keep(work, &reply, state, usage, trace.finish())).await;
    let conversation = match kept {
        Ok(Kept::Stored(conversation)) => conversation,
        Ok(Kept::TakenOver(conversation)) if work.reading == Reading::Whole => {
            return nobody_answers(work, &conversation);
        }
        Ok(Kept::TakenOver(_)) => return Telling::error(taken_over()),
        Ok(Kept::Lost) => return Telling::error(lost()),
        Err(error) => return Telling::error(error),
    };
    match end {
        End::Finished | End::Cut(Cut::Stopped) => {
            Telling::only(done(work, &conversation, reply, state))
        }
        End::Failed(error) => Telling::error(error.into()),
        End::Cut(reason) => Telling::of(cut_event(reason)),
    }
}

/// The model said nothing that could be stored.
async fn end_silent(work: &Work, end: End) -> Telling {
    match end {
        End::Cut(reason) => cut_unanswered(work, reason).await,
        End::Failed(error) => {
            tracing::warn!(%error, "the model gave no answer");
            give_back(work).await;
            Telling::error(error.into())
        }
        End::Finished => Telling::error(internal()),
    }
}

/// The turn ends before there is a word of an answer: only the customer's message stays.
async fn cut_unanswered(work: &Work, reason: Cut) -> Telling {
    give_back(work).await;
    if reason == Cut::Stopped {
        let mut answer = no_answer(&work.conversation, work.question.id, model_of(work));
        answer.state = MessageState::Interrupted;
        return Telling::only(TurnEvent::Done(Box::new(answer)));
    }
    Telling::of(cut_event(reason))
}

fn cut_event(reason: Cut) -> Option<TurnEvent> {
    let error = match reason {
        Cut::ClientGone | Cut::Stopped => return None,
        Cut::Shutdown => shutting_down(),
        Cut::TimedOut => timed_out(),
        Cut::LeaseLost => lost(),
    };
    Some(TurnEvent::Error(error))
}

fn nobody_answers(work: &Work, conversation: &Conversation) -> Telling {
    let answer = no_answer(conversation, work.question.id, model_of(work));
    Telling::only(TurnEvent::Done(Box::new(answer)))
}

/// The stored answer of an earlier request.
async fn tell_again(work: &Work, reply: Message) -> Telling {
    let cited = async {
        let mut conn = work.inner.db.read().await?;
        messages::citations(&mut conn, work.workspace(), &[reply.id]).await
    };
    let citations: Vec<Citation> = match cited.await {
        Ok(cited) => cited.into_iter().map(|(_, citation)| citation).collect(),
        Err(error) => return Telling::error(error.into()),
    };
    let answer = begin::answer_of(&work.conversation, reply, citations);
    Telling {
        tool: tool_of(answer.outcome),
        sources: answer.citations.clone(),
        text: answer.text.clone(),
        last: Some(TurnEvent::Done(Box::new(answer))),
    }
}

/// The tool that an answer of this kind comes from.
pub(crate) fn tool_of(outcome: Option<Outcome>) -> Option<ToolKind> {
    match outcome? {
        Outcome::HandedOff => Some(ToolKind::RequestHuman),
        Outcome::LeadCaptured => Some(ToolKind::LeadCapture),
        Outcome::Answered | Outcome::Smalltalk | Outcome::Abstained => None,
    }
}

fn done(work: &Work, conversation: &Conversation, reply: Reply, state: MessageState) -> TurnEvent {
    TurnEvent::Done(Box::new(Answer {
        conversation: conversation.id,
        message: work.answer,
        text: reply.text,
        citations: reply.citations,
        outcome: Some(reply.outcome),
        handler: conversation.handler,
        state,
        status: conversation.status,
        model: model_of(work).to_owned(),
    }))
}

/// What is told when nobody answers here: no text, and the customer's message for the id.
pub(crate) fn no_answer(conversation: &Conversation, question: MessageId, model: &str) -> Answer {
    Answer {
        conversation: conversation.id,
        message: question,
        text: String::new(),
        citations: Vec::new(),
        outcome: None,
        handler: conversation.handler,
        state: MessageState::Complete,
        status: conversation.status,
        model: model.to_owned(),
    }
}

fn model_of(work: &Work) -> &str {
    work.inner.model_name(&work.agent)
}

pub(crate) fn shutting_down() -> DomainError {
    DomainError::unavailable(
        "SHUTTING_DOWN",
        "the server is shutting down; try again shortly",
        Duration::from_secs(5),
    )
}

fn timed_out() -> DomainError {
    DomainError::unavailable(
        "TURN_TIMEOUT",
        "the answer took too long and was ended; ask again, or raise `agents.turn_timeout`",
        Duration::from_secs(1),
    )
}

fn taken_over() -> DomainError {
    DomainError::conflict(
        "TAKEN_OVER",
        "a person took the conversation over; what was written so far does not count",
    )
}

fn lost() -> DomainError {
    DomainError::conflict(
        "CONFLICT",
        "another process took this turn over; read the conversation again",
    )
}

fn internal() -> DomainError {
    DomainError::new(ErrorKind::Internal, "INTERNAL", "something went wrong on our side")
}
