//! The course of a turn, in a task of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::agent::{Agent, ToolKind, Unsupported};
use domain::conversation::Conversation;
use domain::message::{Citation, Message, MessageState, Outcome, ToolStatus, ToolUse};
use domain::{DomainError, ErrorKind, Lang, MessageId, WorkspaceId};
use models::{ChatModel, ChatRequest, Image, ModelError, Usage, builtin};
use retrieval::{Around, Hit};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::approve;
use crate::begin::{self, AskedOf, Reading};
use crate::citations::quote_for;
use crate::claim::{Claimed, claim};
use crate::files::{self, TurnFile};
use crate::keep::{Kept, give_back, keep};
use crate::model::TurnModel;
use crate::prepare::{self, Answering, Asking, Early, Effect, Prepared, Reply, Said};
use crate::prompt;
use crate::queue::Place;
use crate::rounds::{Over, Talk};
use crate::running::{Cut, Registration};
use crate::speak::{Held, Speaker, Spoken, send};
use crate::spend::Spending;
use crate::supplied::Earlier;
use crate::support::{self, Ground};
use crate::tools::{Toolbox, mcp};
use crate::trace::{EndedTurn, Trace, TurnTrace, reason_name};
use crate::turn::{Answer, Inner, KnownDatastore, ToolStep, TurnEvent, TurnSource};
use crate::words::Words;

/// How long a reader may take to accept what is left once the answer is stored.
const LAST_WORDS: Duration = Duration::from_mins(1);

/// A turn under way.
pub(crate) struct Work {
    pub(crate) inner: Arc<Inner>,
    pub(crate) agent: Agent,
    /// The configuration that it is.
    pub(crate) asked_of: AskedOf,
    /// Where the agent may search; `None` when it has no datastore tool.
    pub(crate) datastores: Option<Vec<KnownDatastore>>,
    pub(crate) said: Said,
    /// The search that runs already.
    pub(crate) early: Option<Early>,
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
    /// What the customer shows beside the message.
    pub(crate) images: Vec<Image>,
    /// The files that came with it.
    pub(crate) files: Vec<TurnFile>,
    /// Nothing was said before.
    pub(crate) fresh: bool,
    /// What the caller says was said before.
    pub(crate) supplied: Vec<Earlier>,
    /// The message was stored by an earlier request.
    pub(crate) repeated: bool,
    pub(crate) began: Instant,
    /// The model that answers; `None` means the built-in answerer.
    pub(crate) model: Option<TurnModel>,
    /// Who pays, and what it comes to.
    pub(crate) spending: Spending,
}

impl Work {
    pub(crate) fn workspace(&self) -> WorkspaceId {
        self.agent.workspace_id
    }

    /// The customer's message as the model is told it.
    pub(crate) fn asked(&self) -> String {
        files::asked(&self.question.content, &self.files)
    }

    /// The customer's message with the names of its files.
    pub(crate) fn spoken(&self) -> String {
        let names = self.files.iter().map(|file| file.name.as_str());
        files::spoken(&self.question.content, names)
    }

    /// The model and the name to ask it under; `None` when the built-in answerer answers. Calls through it are
    /// counted.
    pub(crate) fn provider(&self) -> Option<(&dyn ChatModel, &str)> {
        let model = self.model.as_ref()?;
        Some((model, model.first_name()))
    }
}

/// What is still to be told once a turn is over.
struct Telling {
    tools: Vec<ToolUse>,
    sources: Vec<Citation>,
    text: String,
    last: Option<TurnEvent>,
}

impl Telling {
    fn of(last: Option<TurnEvent>) -> Self {
        Self { tools: Vec::new(), sources: Vec::new(), text: String::new(), last }
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
    let trace = Trace::of(&work);
    let telling = course(&mut work, trace.clone()).await;
    let ended = ended(&work, &telling, trace);
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
    observe(&inner, ended);
}

/// Tells the observer, if there is one, of a turn that is over.
fn observe(inner: &Inner, ended: Option<EndedTurn>) {
    if let (Some(observer), Some(ended)) = (&inner.options.observer, ended) {
        observer.turn_ended(ended);
    }
}

/// What an observer is told, if there is one.
fn ended(work: &Work, telling: &Telling, mut trace: Trace) -> Option<EndedTurn> {
    work.inner.options.observer.as_ref()?;
    let (answer, error) = match &telling.last {
        Some(TurnEvent::Done(answer)) => (Some(answer.text.clone()), None),
        Some(TurnEvent::Error(error)) => (None, Some(error.code)),
        _ => (None, None),
    };
    match TurnTrace::read(trace.ended(telling.name())) {
        Ok(trace) => Some(EndedTurn { trace, answer, error }),
        Err(error) => {
            tracing::error!(%error, "a trace does not read");
            None
        }
    }
}

async fn tell<C: Future<Output = Cut>>(
    events: &mpsc::Sender<TurnEvent>,
    reading: Reading,
    telling: Telling,
    mut over: std::pin::Pin<&mut C>,
) -> Result<(), Cut> {
    if reading == Reading::Stream {
        for tool in telling.tools {
            send(events, TurnEvent::Tool(ToolStep::of(tool)), over.as_mut()).await?;
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

async fn course(work: &mut Work, mut trace: Trace) -> Telling {
    // Short phases are boxed: what they need is not carried along while the model writes.
    if !work.locked
        && let Some(telling) = Box::pin(wait(work)).await
    {
        trace.step("wait");
        return telling;
    }
    trace.step("wait");
    let early = work.early.take();
    let work = &*work;
    let deadline = tokio::time::Instant::now() + work.inner.options.defaults.turn_timeout;
    let cut = until_cut(work, deadline);
    tokio::pin!(cut);
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
        Ok(Prepared::Ready(mut reply)) => {
            let spent = reply.spent;
            reply.text = prepare::in_form(work, reply.text);
            Box::pin(tell_ready(work, *reply, spent, trace)).await
        }
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

/// Goes on with a turn that waited for a person's word; how it ended.
pub(crate) async fn go_on(mut work: Work, asking: Asking) -> Option<TurnEvent> {
    let mut trace = Trace::of(&work);
    if let Some(telling) = Box::pin(wait(&mut work)).await {
        return telling.last;
    }
    trace.step("wait");
    let work = &work;
    let deadline = tokio::time::Instant::now() + work.inner.options.defaults.turn_timeout;
    let cut = until_cut(work, deadline);
    tokio::pin!(cut);
    let telling = ask(work, asking, trace.clone(), cut).await;
    metrics::counter!("vocero_turns_total", "end" => telling.name()).increment(1);
    observe(&work.inner, ended(work, &telling, trace));
    telling.last
}

/// Talks with the model, passes its answer on, stores it.
async fn ask<C: Future<Output = Cut>>(
    work: &Work,
    asking: Asking,
    mut trace: Trace,
    mut cut: std::pin::Pin<&mut C>,
) -> Telling {
    let Some((chat, model)) = work.provider() else {
        give_back(work).await;
        return Telling::error(internal());
    };
    let Inner { running, db, ambient, tracker, .. } = &*work.inner;
    running.keep_lease(&work.registration, db, ambient, tracker);
    trace.note("model", model);
    let Asking { request, passages, spent, follow_up, lang, said, answering, resumed } = asking;
    trace.note("promptTokensEstimate", estimate(&request, &passages));
    trace.step("prompt");
    let rule = work.agent.settings.unsupported;
    // What may be asked again or withheld is judged before it is sent.
    let judged = answering.gated || rule != Unsupported::Flag || resumed.is_some();
    let held = match (work.agent.settings.json_mode, judged) {
        (true, _) => Held::ForJson,
        (false, true) => Held::ForJudgement,
        (false, false) => Held::Not,
    };
    let mut speaker = Speaker::new(&work.events, work.reading, passages, held);
    speaker.spoken.usage = spent;
    let mut heard = said.clone();
    heard.extend(resumed.iter().flat_map(|resumed| resumed.told.clone()));
    let servers = tokio::select! {
        biased;
        reason = cut.as_mut() => return Box::pin(cut_unanswered(work, reason)).await,
        servers = Box::pin(mcp::servers(work, &mut trace)) => servers,
    };
    let mut toolbox = Toolbox::new(work, said, servers);
    toolbox.effects.extend(follow_up);
    let mut talk = Talk::new(work, request, Words::of(lang), toolbox, speaker);
    if resumed.is_none() {
        Box::pin(talk.fit(&mut trace)).await;
    }
    if let Some(resumed) = resumed
        && let Err(over) = talk.take_up(&resumed, &mut trace, cut.as_mut()).await
    {
        return Box::pin(end_silent(work, over)).await;
    }
    let mut over = talk.run(chat, &mut trace, cut.as_mut()).await;
    if talk.speaker.spoken.is_no_object() && matches!(over, Over::Finished) {
        trace.note("retriedFor", vec!["no JSON object"]);
        let finding = prompt::NO_OBJECT.to_owned();
        over = talk.again(chat, finding, &mut trace, cut.as_mut()).await;
    }
    if talk.speaker.spoken.is_no_object() && matches!(over, Over::Finished) {
        let error = "the model's answer is no JSON object, which the agent's `jsonMode` asks for";
        over = Over::Failed(ModelError::Broken(error.to_owned()));
    }
    trace.note_passages(&talk.speaker.passages);
    let mut unsupported = unsupported_in(work, &talk, &over, &heard);
    if rule == Unsupported::Retry && !unsupported.is_empty() && matches!(over, Over::Finished) {
        trace.note("retriedFor", unsupported.clone());
        let finding = prompt::unsupported(&unsupported);
        over = talk.again(chat, finding, &mut trace, cut.as_mut()).await;
        unsupported = unsupported_in(work, &talk, &over, &heard);
    }
    note_fallbacks(&mut trace, work);
    note_speech(&mut trace, &talk.speaker.spoken, &over);
    trace.note("unsupported", unsupported.clone());
    let ended = Ended { talk, over, unsupported, held: held != Held::Not, lang };
    Box::pin(conclude(work, answering, ended, trace)).await
}

/// A talk that is over.
struct Ended<'a> {
    talk: Talk<'a>,
    over: Over,
    /// What of the text stands in nothing that it may rest on.
    unsupported: Vec<String>,
    /// Nothing of the text was sent yet.
    held: bool,
    lang: Lang,
}

/// Makes an answer of what was said, or says that there is none.
async fn conclude(
    work: &Work,
    answering: Answering,
    ended: Ended<'_>,
    mut trace: Trace,
) -> Telling {
    let asked = match &ended.over {
        Over::Waiting(waiting) => {
            let Talk { toolbox, speaker, .. } = &ended.talk;
            let passages = &speaker.passages;
            Some(approve::request(work, waiting, &answering, toolbox, passages, ended.lang))
        }
        _ => None,
    };
    let Answering { question, evidence, gated, outcome } = answering;
    let Ended { talk: Talk { toolbox, speaker, .. }, over, unsupported, held, lang } = ended;
    let Speaker { spoken, passages, .. } = speaker;
    let unknown = spoken.filter.met_sentinel() && spoken.filter.uses().is_empty();
    let finished = matches!(over, Over::Finished);
    let rule = work.agent.settings.unsupported;
    let withheld = rule == Unsupported::Withhold && !unsupported.is_empty();
    if withheld {
        trace.note("withheld", spoken.text.as_str());
    }
    let nothing = withheld || spoken.text.is_empty() || (gated && !may_be_said(&spoken, &toolbox));
    if finished && nothing {
        // It said that it does not know, nothing at all, or what no passage holds.
        let mut reply = prepare::abstain(work, question, evidence, lang);
        reply.text = prepare::in_form(work, reply.text);
        reply.tools = toolbox.uses;
        reply.by_rule = false;
        reply.effects.extend(toolbox.effects);
        return Box::pin(tell_ready(work, reply, spoken.usage, trace)).await;
    }
    if spoken.text.is_empty() || (held && matches!(over, Over::Cut(_) | Over::Failed(_))) {
        return Box::pin(end_silent(work, over)).await;
    }
    let citations = cited(&spoken, &passages);
    let mut effects = toolbox.effects;
    let outcome = if matches!(over, Over::HandedOff) {
        Outcome::HandedOff
    } else if let Some(asked) = asked {
        effects.push(Effect::Ask(Box::new(asked)));
        Outcome::AwaitingApproval
    } else if finished && unknown {
        effects.push(Effect::Gap { question, evidence });
        Outcome::Abstained
    } else if toolbox.lead && citations.is_empty() {
        Outcome::LeadCaptured
    } else {
        outcome
    };
    let shown = prepare::shown(&citations, &passages);
    drop(passages);
    let usage = spoken.usage;
    let reply = Reply {
        text: spoken.text,
        citations,
        passages: shown,
        unsupported,
        outcome,
        effects,
        tools: toolbox.uses,
        by_rule: false,
        spent: None,
    };
    if held {
        return Box::pin(tell_ready(work, reply, usage, trace)).await;
    }
    Box::pin(end_spoken(work, reply, over, usage, trace)).await
}

/// What of an answer stands in nothing that it may rest on: the passages that it cites with what stands above
/// them, what the customer said, the operator's own words, what tools told. An answer that could cite nothing
/// is not judged, nor is one that hands over to a person.
fn unsupported_in(work: &Work, talk: &Talk<'_>, over: &Over, said: &[String]) -> Vec<String> {
    let Speaker { spoken, passages, .. } = &talk.speaker;
    let is_answer = !matches!(over, Over::HandedOff | Over::Waiting(_));
    if passages.is_empty() || spoken.text.is_empty() || !is_answer {
        return Vec::new();
    }
    let mut ground = Ground::default();
    for citation in cited(spoken, passages) {
        let place = usize::try_from(citation.marker).unwrap_or_default();
        let Some(hit) = place.checked_sub(1).and_then(|place| passages.get(place)) else {
            continue;
        };
        ground.add(&hit.live.source_name);
        for part in hit.parts() {
            ground.add(&part.text);
            ground.add(&part.heading);
        }
    }
    for text in said {
        ground.add(text);
    }
    let agent = &work.agent;
    for text in [&agent.system_prompt, &agent.purpose, &agent.description] {
        ground.add(text);
    }
    let told = talk.toolbox.uses.iter();
    // What a search found counts where it is cited.
    for used in told.filter(|used| used.kind != ToolKind::Datastore) {
        ground.add(&used.result);
    }
    support::unsupported(spoken.prose(), &ground)
}

/// Whether what a model said where the knowledge is silent may stand: a tool did something, a search found
/// something that it cites, or it asks the customer for what a tool needs.
fn may_be_said(spoken: &Spoken, toolbox: &Toolbox<'_>) -> bool {
    let acted = toolbox
        .uses
        .iter()
        .any(|used| used.status == ToolStatus::Done && used.kind != ToolKind::Datastore);
    acted || !spoken.filter.uses().is_empty() || spoken.prose().trim_end().ends_with('?')
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

fn note_speech(trace: &mut Trace, spoken: &Spoken, over: &Over) {
    if let Some(first) = spoken.first_token {
        let waited = trace.note_first_token(first);
        metrics::histogram!("vocero_turn_first_token_seconds").record(waited.as_secs_f64());
    }
    if let Some(reason) = spoken.reason {
        trace.note("finishReason", reason_name(reason));
    }
    if let Over::Failed(error) = over {
        trace.note("modelError", error.to_string());
    }
    trace.note("removedMarkers", spoken.filter.removed().to_vec());
    trace.note("saidUnknown", spoken.filter.met_sentinel());
    trace.note("citesNothing", !spoken.text.is_empty() && spoken.filter.uses().is_empty());
}

/// The models that could not be asked, and who answered in their place.
fn note_fallbacks(trace: &mut Trace, work: &Work) {
    let Some(model) = &work.model else { return };
    let failed = model.failed();
    if failed.is_empty() {
        return;
    }
    let failed: Vec<Value> =
        failed.iter().map(|(model, reason)| json!({"model": model, "error": reason})).collect();
    trace.note("fallbacks", failed);
    trace.note("answeredBy", model.name());
}

/// The passages that the text cites, in order of first use, each with the words that it rests on.
fn cited(spoken: &Spoken, passages: &[Hit]) -> Vec<Citation> {
    let uses = spoken.filter.uses().iter().filter(|used| used.at < spoken.prose().len());
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
        let marker = i64::try_from(passage).unwrap_or(i64::MAX);
        let (mut quoted, mut most) = (&hit.live.chunk, f64::NEG_INFINITY);
        let mut quote = 0..0;
        // Of what is one passage to the model the part is cited that the words stand in; of equals the hit itself.
        let Around { before, after } = &hit.around;
        let around = before.iter().chain(after).map(AsRef::as_ref);
        for part in [&hit.live.chunk].into_iter().chain(around) {
            let (range, support) = quote_for(&part.text, spoken.prose(), &places);
            if support > most {
                (quoted, quote, most) = (part, range, support);
            }
        }
        citations.push(prepare::citation_of(hit, quoted, marker, quote));
    }
    citations
}

/// An answer that is complete before its first word: it is stored, then told, so that nothing of it is
/// seen when a person has taken the conversation meanwhile.
async fn tell_ready(work: &Work, reply: Reply, usage: Option<Usage>, trace: Trace) -> Telling {
    let state = MessageState::Complete;
    let shown = to_be_stored(work, &reply, state, trace);
    let kept = Box::pin(keep(work, &reply, state, usage, shown)).await;
    match kept {
        Ok(Kept::Stored(conversation)) => Telling {
            tools: untold(&reply),
            sources: reply.citations.clone(),
            text: reply.text.clone(),
            last: Some(done(work, &conversation, reply, MessageState::Complete)),
        },
        Ok(Kept::TakenOver(conversation)) => nobody_answers(work, &conversation),
        Ok(Kept::Lost) => Telling::error(lost()),
        Err(error) => Telling::error(error),
    }
}

/// The trace as it is stored; `None` where none are kept.
fn to_be_stored(
    work: &Work,
    reply: &Reply,
    state: MessageState,
    mut trace: Trace,
) -> Option<Value> {
    trace.note("outcome", reply.outcome.name());
    trace.note("state", state.name());
    trace.note_cited(&reply.citations);
    let whole = trace.to_be_stored();
    (work.inner.options.defaults.trace_retention_days > 0).then_some(whole)
}

/// Stores what the model said and tells how it ended.
async fn end_spoken(
    work: &Work,
    reply: Reply,
    over: Over,
    usage: Option<Usage>,
    trace: Trace,
) -> Telling {
    let state = match &over {
        Over::Finished | Over::HandedOff | Over::Waiting(_) => MessageState::Complete,
        Over::Failed(_) | Over::Cut(Cut::TimedOut) => MessageState::Failed,
        Over::Cut(_) => MessageState::Interrupted,
    };
    let shown = to_be_stored(work, &reply, state, trace);
    let kept = Box::pin(keep(work, &reply, state, usage, shown)).await;
    let conversation = match kept {
        Ok(Kept::Stored(conversation)) => conversation,
        Ok(Kept::TakenOver(conversation)) if work.reading == Reading::Whole => {
            return nobody_answers(work, &conversation);
        }
        Ok(Kept::TakenOver(_)) => return Telling::error(taken_over()),
        Ok(Kept::Lost) => return Telling::error(lost()),
        Err(error) => return Telling::error(error),
    };
    match over {
        Over::Finished | Over::HandedOff | Over::Waiting(_) | Over::Cut(Cut::Stopped) => {
            Telling::only(done(work, &conversation, reply, state))
        }
        Over::Failed(error) => Telling::error(error.into()),
        Over::Cut(reason) => Telling::of(cut_event(reason)),
    }
}

/// The model said nothing that could be stored.
async fn end_silent(work: &Work, over: Over) -> Telling {
    match over {
        Over::Cut(reason) => cut_unanswered(work, reason).await,
        Over::Failed(error) => {
            tracing::warn!(%error, "the model gave no answer");
            give_back(work).await;
            Telling::error(error.into())
        }
        Over::Finished | Over::HandedOff | Over::Waiting(_) => Telling::error(internal()),
    }
}

/// The turn ends before there is a word of an answer: only the customer's message stays.
async fn cut_unanswered(work: &Work, reason: Cut) -> Telling {
    give_back(work).await;
    if reason == Cut::Stopped {
        let mut answer = no_answer(&work.conversation, work.question.id, &model_of(work));
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
    let answer = no_answer(conversation, work.question.id, &model_of(work));
    Telling::only(TurnEvent::Done(Box::new(answer)))
}

/// The stored answer of an earlier request.
async fn tell_again(work: &Work, reply: Message) -> Telling {
    let answer = async {
        let mut conn = work.inner.db.read().await?;
        begin::answer_of(&mut conn, &work.conversation, reply).await
    };
    let answer = match answer.await {
        Ok(answer) => answer,
        Err(error) => return Telling::error(error.into()),
    };
    Telling {
        tools: answer.tools.clone(),
        sources: answer.citations.clone(),
        text: answer.text.clone(),
        last: Some(TurnEvent::Done(Box::new(answer))),
    }
}

/// The tools that were used by rule: a model's calls were told while it made them.
fn untold(reply: &Reply) -> Vec<ToolUse> {
    if reply.by_rule { reply.tools.clone() } else { Vec::new() }
}

fn done(work: &Work, conversation: &Conversation, reply: Reply, state: MessageState) -> TurnEvent {
    TurnEvent::Done(Box::new(Answer {
        conversation: conversation.id,
        message: work.answer,
        text: reply.text,
        citations: reply.citations,
        tools: reply.tools,
        unsupported: reply.unsupported,
        outcome: Some(reply.outcome),
        handler: conversation.handler,
        state,
        status: conversation.status,
        model: model_of(work),
    }))
}

/// What is told when nobody answers here: no text, and the customer's message for the id.
pub(crate) fn no_answer(conversation: &Conversation, question: MessageId, model: &str) -> Answer {
    Answer {
        conversation: conversation.id,
        message: question,
        text: String::new(),
        citations: Vec::new(),
        tools: Vec::new(),
        unsupported: Vec::new(),
        outcome: None,
        handler: conversation.handler,
        state: MessageState::Complete,
        status: conversation.status,
        model: model.to_owned(),
    }
}

/// The model that answered, or would have.
pub(crate) fn model_of(work: &Work) -> String {
    work.model.as_ref().map_or_else(|| builtin::MODEL_NAME.to_owned(), TurnModel::name)
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

pub(crate) fn internal() -> DomainError {
    DomainError::new(ErrorKind::Internal, "INTERNAL", "something went wrong on our side")
}
