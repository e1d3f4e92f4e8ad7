//! Everything of a turn that comes before the answer's first word: intent, context, retrieval, and the
//! evidence gate. Ends with an answer that is complete already, or with what to ask the model.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use domain::agent::{Agent, Rewrite, ToolKind};
use domain::approval::ApprovalStatus;
use domain::contact::ContactDetails;
use domain::datastore::{Chunk, LiveChunk};
use domain::job::NewJob;
use domain::message::{Author, Citation, CitedPassage, Message, Outcome, ToolStatus, ToolUse};
use domain::{ApprovalId, DatastoreId, DomainError, Lang, text};
use models::builtin::{self, Intent, Passage};
use models::{AnswerFormat, ChatMessage, ChatRequest, ToolChoice, Usage, lexical};
use retrieval::{Hit, RetrievalError, SearchMode, SearchQuery, SearchResults};
use serde_json::json;
use storage::{StorageError, contacts, conversations, messages};
use tokio_util::task::AbortOnDropHandle;

use crate::approve;
use crate::citations::{as_object, without_markers};
use crate::context;
use crate::files;
use crate::neighbours;
use crate::prompt::{self, Memory};
use crate::rewrite;
use crate::run::Work;
use crate::summary;
use crate::supplied;
use crate::tools::{can_act, fields_of, handoff_text, human_settings, lead_settings};
use crate::trace::{REWRITE, Trace};
use crate::turn::KnownDatastore;
use crate::words::Words;

/// Passages that the built-in answerer takes sentences from.
const BUILTIN_PASSAGES: usize = 3;

/// What comes of the preparation.
#[derive(Debug)]
pub(crate) enum Prepared {
    /// The whole answer.
    Ready(Box<Reply>),
    /// The model is to be asked.
    Ask(Box<Asking>),
}

/// An answer that is complete but not stored.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Its text.
    pub(crate) text: String,
    /// What it cites.
    pub(crate) citations: Vec<Citation>,
    /// What of it stands in nothing it cites.
    pub(crate) unsupported: Vec<String>,
    /// The passages that it cites, as they were shown.
    pub(crate) passages: Vec<CitedPassage>,
    /// What kind it is.
    pub(crate) outcome: Outcome,
    /// What is written together with it.
    pub(crate) effects: Vec<Effect>,
    /// The tools that it used.
    pub(crate) tools: Vec<ToolUse>,
    /// The tools were used by rule; nobody was told of them yet.
    pub(crate) by_rule: bool,
    /// What was spent on the way to it.
    pub(crate) spent: Option<Usage>,
}

/// What is written together with an answer.
#[derive(Debug, PartialEq)]
pub(crate) enum Effect {
    /// The conversation goes to the people's queue.
    Handoff,
    /// The conversation is closed.
    Resolve,
    /// Something is to be done afterwards.
    Job(NewJob),
    /// A person is asked to allow a call.
    Ask(Box<approve::Request>),
    /// What a person said of a call has been answered.
    Approved(ApprovalId, ApprovalStatus),
    /// The contact gets these details, the lead these fields.
    Lead(ContactDetails, BTreeMap<String, String>),
    /// The question was not answered.
    Gap {
        /// The question, standing alone.
        question: String,
        /// What was found, 0 to 1.
        evidence: f64,
    },
}

/// What a model is asked, and what its answer may cite.
#[derive(Debug)]
pub(crate) struct Asking {
    /// The request to the provider.
    pub(crate) request: ChatRequest,
    /// The passages of the prompt, number 1 first.
    pub(crate) passages: Vec<Hit>,
    /// What the answer is to answer.
    pub(crate) answering: Answering,
    /// What was spent on the way to the prompt.
    pub(crate) spent: Option<Usage>,
    /// What is to be written together with the answer, whatever it is.
    pub(crate) follow_up: Option<Effect>,
    /// The customer's language.
    pub(crate) lang: Lang,
    /// What the customer has said, this message last.
    pub(crate) said: Vec<String>,
    /// The call that a person was asked about, when the turn goes on with it.
    pub(crate) resumed: Option<Box<approve::Resumed>>,
}

/// What an answer is to answer.
#[derive(Debug)]
pub(crate) struct Answering {
    /// The question, standing alone.
    pub(crate) question: String,
    /// What was found, 0 to 1.
    pub(crate) evidence: f64,
    /// The knowledge is silent: what is said without a tool is no answer.
    pub(crate) gated: bool,
    /// The kind of answer it will be, if it is one.
    pub(crate) outcome: Outcome,
}

/// What a message says about itself.
#[derive(Debug)]
pub(crate) struct Said {
    /// Its language, when it tells.
    pub(crate) lang: Option<Lang>,
    /// What it wants.
    pub(crate) intent: Intent,
}

impl Said {
    pub(crate) fn new(message: &str) -> Self {
        let lang = lexical::detect(message);
        Self { lang, intent: builtin::intent(message, lang.unwrap_or_default()) }
    }
}

/// What is done beside the storing of the question, since it needs nothing of what is stored. Dropping it ends it.
#[derive(Debug)]
pub(crate) enum Early {
    /// The search for a question before which nothing was said.
    Search(EarlySearch),
    /// What was said before the question.
    History(EarlyHistory),
}

/// A search under way.
pub(crate) type EarlySearch = AbortOnDropHandle<Result<SearchResults, RetrievalError>>;

/// The newest messages of a conversation on their way, oldest first.
pub(crate) type EarlyHistory = AbortOnDropHandle<Result<Vec<Message>, StorageError>>;

pub(crate) async fn prepare(
    work: &Work,
    early: Option<Early>,
    trace: &mut Trace,
) -> Result<Prepared, DomainError> {
    let Said { lang: detected, intent } = &work.said;
    let (early, history) = match early {
        Some(Early::Search(search)) => (Some(search), None),
        Some(Early::History(history)) => (None, Some(history)),
        None => (None, None),
    };
    let earlier = earlier_messages(work, history).await?;
    let lang = detected.or_else(|| spoken_before(&earlier)).unwrap_or_default();
    trace.note("language", lang.code());
    trace.step("context");
    if let Some(reply) = by_intent(work, intent, &earlier, lang) {
        return Ok(Prepared::Ready(Box::new(reply)));
    }
    if work.question.content.is_empty() && work.images.is_empty() {
        return answer_to_files(work, &earlier, lang).await;
    }
    let small_talk = matches!(intent, Intent::Greeting | Intent::Thanks | Intent::Goodbye);
    match &work.datastores {
        Some(datastores) if !small_talk => {
            answer_from(work, datastores, early, &earlier, lang, trace).await
        }
        _ => answer_freely(work, &earlier, lang, small_talk).await,
    }
}

async fn earlier_messages(
    work: &Work,
    early: Option<EarlyHistory>,
) -> Result<Vec<Message>, DomainError> {
    if work.fresh || !work.supplied.is_empty() {
        return Ok(supplied::as_messages(work.conversation.id, &work.supplied));
    }
    let (workspace, conversation) = (work.workspace(), &work.conversation);
    if let Some(early) = early
        && let Ok(Ok(mut recent)) = early.await
        && recent.last().is_some_and(|newest| newest.seq + 1 == work.question.seq)
    {
        // Nothing came in between.
        recent.retain(|message| message.seq > conversation.context_after);
        if files::have_files(&recent) {
            let mut conn = work.inner.db.read().await?;
            files::name_files(&mut conn, workspace, &mut recent).await?;
        }
        return Ok(context::before(&work.question, recent));
    }
    let mut conn = work.inner.db.read().await?;
    let (after, limit) = (conversation.context_after, context::MAX_MESSAGES);
    let mut recent = messages::recent(&mut conn, workspace, conversation.id, after, limit).await?;
    files::name_files(&mut conn, workspace, &mut recent).await?;
    Ok(context::before(&work.question, recent))
}

/// The language that the customer was last seen to write.
fn spoken_before(earlier: &[Message]) -> Option<Lang> {
    let said = earlier.iter().rev().filter(|message| message.author == Author::Customer);
    said.take(5).find_map(|message| lexical::detect(&message.content))
}

/// The answer to what is no question, by rule.
fn by_intent(work: &Work, intent: &Intent, earlier: &[Message], lang: Lang) -> Option<Reply> {
    let words = Words::of(lang);
    let own = work.provider().is_none();
    match intent {
        Intent::Human => Some(hand_off(work, words)),
        Intent::ContactDetails { email, phone } => {
            let country = work.inner.options.defaults.default_country.as_deref();
            let (email, phone) = (email.as_deref(), phone.as_deref());
            let details = checked_details(&work.agent, country, email, phone)?;
            Some(take_details(work, details, words))
        }
        Intent::Greeting if own => Some(small_talk(&words.greeting)),
        Intent::Thanks if own => Some(small_talk(&words.thanks)),
        Intent::Goodbye if own => Some(small_talk(&words.goodbye)),
        Intent::Question if accepts_offer(&work.question.content, earlier) => {
            Some(hand_off(work, words))
        }
        Intent::Question if asks_for_person(work) => Some(hand_off(work, words)),
        Intent::Greeting | Intent::Thanks | Intent::Goodbye | Intent::Question => None,
    }
}

/// Whether a message says yes to the person whom the answer before it offered.
fn accepts_offer(message: &str, earlier: &[Message]) -> bool {
    let Some(last) = earlier.last() else { return false };
    let offered = |lang| {
        let words = Words::of(lang);
        // In JSON mode the words stand in an object.
        let said = last.content.strip_suffix("\"}").unwrap_or(&last.content);
        said.ends_with(&words.offer_person) && words.says_yes(message)
    };
    last.outcome == Some(Outcome::Abstained) && Lang::KNOWN.into_iter().any(offered)
}

fn small_talk(text: &str) -> Reply {
    Reply {
        text: text.to_owned(),
        citations: Vec::new(),
        passages: Vec::new(),
        unsupported: Vec::new(),
        outcome: Outcome::Smalltalk,
        effects: Vec::new(),
        tools: Vec::new(),
        by_rule: true,
        spent: None,
    }
}

/// The use of a tool without a model.
fn used(kind: ToolKind) -> Vec<ToolUse> {
    vec![ToolUse {
        kind,
        name: kind.name().to_owned(),
        status: ToolStatus::Done,
        arguments: json!({}),
        result: String::new(),
        took: Duration::ZERO,
    }]
}

/// Whether the message is one of those that the operator set to call a person.
fn asks_for_person(work: &Work) -> bool {
    let Some(settings) = human_settings(work) else { return false };
    let message = Words::folded(&work.question.content);
    settings.words.iter().any(|phrase| Words::folded(phrase) == message)
}

fn hand_off(work: &Work, words: &Words) -> Reply {
    let Some(text) = handoff_text(work, words) else { return small_talk(&words.no_person) };
    Reply {
        outcome: Outcome::HandedOff,
        effects: vec![Effect::Handoff],
        tools: used(ToolKind::RequestHuman),
        ..small_talk(&text)
    }
}

fn take_details(work: &Work, details: ContactDetails, words: &Words) -> Reply {
    let Some(settings) = lead_settings(&work.agent) else { return small_talk(&words.no_lead) };
    let fields = fields_of(&settings, &details);
    let text = settings.message.as_deref().unwrap_or(&words.lead);
    Reply {
        outcome: Outcome::LeadCaptured,
        effects: vec![Effect::Lead(details, fields)],
        tools: used(ToolKind::LeadCapture),
        ..small_talk(text)
    }
}

/// The details that hold; `None` when none does, and the message is a question like any other.
pub(crate) fn checked_details(
    agent: &Agent,
    country: Option<&str>,
    email: Option<&str>,
    phone: Option<&str>,
) -> Option<ContactDetails> {
    let own = lead_settings(agent).and_then(|settings| settings.country);
    let country = own.as_deref().or(country);
    let details = ContactDetails {
        email: email.and_then(|address| text::email("email", address).ok()),
        phone: phone.and_then(|number| text::phone("phoneNumber", number, country).ok()),
        ..ContactDetails::default()
    };
    (!details.is_empty()).then_some(details)
}

/// Retrieval and the evidence gate.
async fn answer_from(
    work: &Work,
    datastores: &[KnownDatastore],
    early: Option<EarlySearch>,
    earlier: &[Message],
    lang: Lang,
    trace: &mut Trace,
) -> Result<Prepared, DomainError> {
    let (question, spent) = standalone(work, earlier, lang, trace).await;
    trace.note("question", question.as_str());
    if question.is_empty() {
        // Images alone that could not be put into words: there is nothing to search for.
        return answer_freely(work, earlier, lang, true).await;
    }
    let results = search(work, datastores, early, &question).await?;
    trace.step("search");
    let (threshold, origin) = threshold(work, &results);
    trace.note_search(&results, threshold, origin);
    let open = !results.hits.is_empty() && results.evidence >= threshold;
    trace.note("gate", if open { "open" } else { "closed" });
    let provider = work.provider();
    // Where the knowledge is silent a model is asked only if it can do something all the same.
    let Some((_, model)) = provider.filter(|_| open || can_act(&work.agent)) else {
        let reply = if open {
            extracted(work, question, &results, lang, trace)
        } else {
            abstain(work, question, results.evidence, lang)
        };
        return Ok(Prepared::Ready(Box::new(Reply { spent, ..reply })));
    };
    let mut hits = if open { results.hits } else { Vec::new() };
    let (told, ()) =
        tokio::join!(told(work, earlier), neighbours::join(work, &results.searched, &mut hits),);
    let Told { memory, history, follow_up } = told?;
    let mut messages = vec![prompt::grounded_system(&work.agent, &memory, lang)];
    messages.extend(history);
    let asked = prompt::grounded_question(&work.inner.ambient, &hits, &work.asked());
    messages.push(ChatMessage { images: work.images.clone(), ..asked });
    let request = request(work, model, messages);
    Ok(Prepared::Ask(Box::new(Asking {
        request,
        passages: hits,
        answering: Answering {
            question,
            evidence: results.evidence,
            gated: !open,
            outcome: Outcome::Answered,
        },
        spent,
        follow_up,
        lang,
        said: said(work, earlier),
        resumed: None,
    })))
}

/// What the customer has said, this message last.
fn said(work: &Work, earlier: &[Message]) -> Vec<String> {
    let customer = earlier.iter().filter(|message| message.author == Author::Customer);
    let mut said: Vec<String> = customer.map(|message| message.content.clone()).collect();
    said.push(work.spoken());
    said
}

async fn search(
    work: &Work,
    datastores: &[KnownDatastore],
    early: Option<EarlySearch>,
    question: &str,
) -> Result<SearchResults, DomainError> {
    // Begun for this very question: nothing was said before that could have changed it.
    if let Some(early) = early
        && let Ok(found) = early.await
    {
        return Ok(found?);
    }
    let datastores: Vec<DatastoreId> = datastores.iter().map(|datastore| datastore.id).collect();
    let query = search_query(&work.agent, &datastores, question);
    let searching = Box::pin(work.inner.retrieval.search(work.workspace(), &query));
    Ok(work.spending.meter.tally().over(searching).await?)
}

/// How an agent searches.
pub(crate) fn search_query(
    agent: &Agent,
    datastores: &[DatastoreId],
    question: &str,
) -> SearchQuery {
    SearchQuery {
        datastores: datastores.to_vec(),
        text: question.to_owned(),
        top_k: usize::try_from(agent.settings.top_k).unwrap_or(1).max(1),
        mode: SearchMode::Hybrid,
        min_score: None,
        filter: None,
        dense_weight: None,
    }
}

/// The evidence below which the agent says that it does not know, and whose it is: the agent's, else the
/// installation's, else the one that suits the datastores.
pub(crate) fn threshold(work: &Work, results: &SearchResults) -> (f64, &'static str) {
    if let Some(own) = work.agent.settings.min_evidence {
        return (own, "agent");
    }
    match work.inner.options.defaults.min_evidence {
        Some(general) => (general, "installation"),
        None => (results.threshold, results.threshold_from.as_str()),
    }
}

/// What is said without the model in the form that its answers have.
pub(crate) fn in_form(work: &Work, text: String) -> String {
    if work.agent.settings.json_mode && work.provider().is_some() {
        return as_object(&text);
    }
    text
}

/// The agent says that it does not know: in the operator's words exactly, or in the catalogue's, which
/// offer a person when the agent can call one.
pub(crate) fn abstain(work: &Work, question: String, evidence: f64, lang: Lang) -> Reply {
    let words = Words::of(lang);
    let own = work.agent.settings.unknown_answer.as_deref().filter(|text| !text.trim().is_empty());
    let text = match own {
        Some(text) => text.to_owned(),
        None if work.agent.tool(ToolKind::RequestHuman).is_some() => {
            format!("{} {}", words.unknown, words.offer_person)
        }
        None => words.unknown.clone(),
    };
    let effect = Effect::Gap { question, evidence };
    Reply { outcome: Outcome::Abstained, effects: vec![effect], ..small_talk(&text) }
}

/// The built-in answer: sentences of the passages, each with its marker.
fn extracted(
    work: &Work,
    question: String,
    results: &SearchResults,
    lang: Lang,
    trace: &mut Trace,
) -> Reply {
    let hits: Vec<&Hit> = results.hits.iter().take(BUILTIN_PASSAGES).collect();
    let headings: Vec<String> = hits.iter().map(|hit| heading(hit)).collect();
    let passages: Vec<Passage<'_>> = hits
        .iter()
        .zip(&headings)
        .map(|(hit, heading)| Passage {
            text: &hit.live.chunk.text,
            heading,
            lang: hit.live.chunk.lang,
            score: hit.score,
        })
        .collect();
    let extracts = builtin::extract(&results.question.asked, &passages);
    trace.step("extract");
    let mut text = String::new();
    let mut citations: Vec<Citation> = Vec::new();
    for extract in extracts {
        let Some(hit) = hits.get(extract.passage) else { continue };
        // Footnote numbers of the document would read as citations of this answer.
        let sentence = without_markers(&extract.sentence);
        if sentence.is_empty() {
            continue;
        }
        let marker = mark(&mut citations, hit, &extract.sentence);
        let gap = if text.is_empty() { "" } else { " " };
        let _ = write!(text, "{gap}{sentence} [{marker}]");
    }
    if text.is_empty() {
        return abstain(work, question, results.evidence, lang);
    }
    let passages = shown(&citations, &results.hits);
    Reply { citations, passages, outcome: Outcome::Answered, ..small_talk(&text) }
}

/// The number under which the answer cites `hit`; a passage cited twice keeps its number, and its quote
/// spans both sentences where that is a short stretch of it.
pub(crate) fn mark(citations: &mut Vec<Citation>, hit: &Hit, sentence: &str) -> i64 {
    let text = &hit.live.chunk.text;
    // A sentence is taken from the passage as it stands there.
    let start = text.find(sentence).unwrap_or(0);
    let place = start..(start + sentence.len()).min(text.len());
    if let Some(known) = citations.iter_mut().find(|known| known.chunk_id == hit.live.chunk.id) {
        let before = text.find(&known.quote).map(|at| at..at + known.quote.len());
        if let Some(both) = before.and_then(|before| spanning(&before, &place)) {
            text[both.clone()].clone_into(&mut known.quote);
            known.span = Some(characters(text, &both));
        }
        return known.marker;
    }
    let marker = i64::try_from(citations.len() + 1).unwrap_or(i64::MAX);
    citations.push(citation(hit, marker, place));
    marker
}

/// Longest quote that spans two sentences, in bytes.
const MAX_SPAN_BYTES: usize = 800;

fn spanning(one: &Range<usize>, other: &Range<usize>) -> Option<Range<usize>> {
    let both = one.start.min(other.start)..one.end.max(other.end);
    (both.len() <= MAX_SPAN_BYTES).then_some(both)
}

/// A citation of `hit` as it is stored; `quote` is where the words that the answer rests on stand in the
/// passage's text, in bytes.
pub(crate) fn citation(hit: &Hit, marker: i64, quote: Range<usize>) -> Citation {
    citation_of(hit, &hit.live.chunk, marker, quote)
}

/// As [`citation`], of one of the parts of the passage.
pub(crate) fn citation_of(hit: &Hit, part: &Chunk, marker: i64, quote: Range<usize>) -> Citation {
    let LiveChunk { source_name, url, .. } = &*hit.live;
    let text = &part.text;
    Citation {
        marker,
        chunk_id: part.id,
        datastore_id: part.datastore_id,
        source_id: part.source_id,
        source_version: part.version,
        source_name: source_name.clone(),
        url: url.clone(),
        page: part.page,
        span: Some(characters(text, &quote)),
        quote: text[quote].to_owned(),
        score: hit.score,
    }
}

/// The passages that are cited, as they were found.
pub(crate) fn shown(citations: &[Citation], hits: &[Hit]) -> Vec<CitedPassage> {
    let cited = |part: &&Chunk| citations.iter().any(|known| known.chunk_id == part.id);
    let mut shown: Vec<CitedPassage> = Vec::with_capacity(citations.len());
    for part in hits.iter().flat_map(Hit::parts).filter(cited) {
        // A tool may have found on its own what is joined to another passage.
        if !shown.iter().any(|known| known.chunk_id == part.id) {
            let (heading, text) = (part.heading.clone(), part.text.clone());
            shown.push(CitedPassage { chunk_id: part.id, heading, text });
        }
    }
    shown
}

/// A range of bytes of `text` in characters.
fn characters(text: &str, range: &Range<usize>) -> (i64, i64) {
    let start = text[..range.start].chars().count();
    let end = start + text[range.clone()].chars().count();
    (i64::try_from(start).unwrap_or(i64::MAX), i64::try_from(end).unwrap_or(i64::MAX))
}

pub(crate) fn heading(hit: &Hit) -> String {
    retrieval::passage_heading(&hit.live.source_name, &hit.live.chunk.heading)
}

/// Files without a word: what they are for is asked. Nothing of them is known but their names.
async fn answer_to_files(
    work: &Work,
    earlier: &[Message],
    lang: Lang,
) -> Result<Prepared, DomainError> {
    if work.provider().is_none() {
        let reply = small_talk(&Words::of(lang).files);
        return Ok(Prepared::Ready(Box::new(reply)));
    }
    answer_freely(work, earlier, lang, true).await
}

/// Without passages: the model talks by its instructions; the built-in answerer has nothing to say.
async fn answer_freely(
    work: &Work,
    earlier: &[Message],
    lang: Lang,
    small_talk: bool,
) -> Result<Prepared, DomainError> {
    let query = &work.question.content;
    let Some((_, model)) = work.provider() else {
        return Ok(Prepared::Ready(Box::new(abstain(work, query.clone(), 0.0, lang))));
    };
    let Told { memory, history, follow_up } = told(work, earlier).await?;
    let mut messages = vec![prompt::free_system(&work.agent, &memory, lang)];
    messages.extend(history);
    messages.push(ChatMessage::user_showing(work.asked(), work.images.clone()));
    Ok(Prepared::Ask(Box::new(Asking {
        request: request(work, model, messages),
        passages: Vec::new(),
        answering: Answering {
            question: query.clone(),
            evidence: 0.0,
            gated: false,
            outcome: if small_talk { Outcome::Smalltalk } else { Outcome::Answered },
        },
        spent: None,
        follow_up,
        lang,
        said: said(work, earlier),
        resumed: None,
    })))
}

/// What the model is told of what was said before.
struct Told {
    memory: Memory,
    /// The newest messages, as many as fit.
    history: Vec<ChatMessage>,
    follow_up: Option<Effect>,
}

async fn told(work: &Work, earlier: &[Message]) -> Result<Told, DomainError> {
    let budget = usize::try_from(work.agent.settings.history_tokens).unwrap_or(0);
    let history = match &work.model {
        Some(model) => model.sizes().within_budget(earlier, budget).await,
        None => Vec::new(),
    };
    let (workspace, conversation) = (work.workspace(), &work.conversation);
    let mut memory = Memory { key: prompt::fence_key(&work.inner.ambient), ..Memory::default() };
    let known = &work.agent.settings.contact_facts;
    let contact = conversation.contact_id.filter(|_| !known.is_empty());
    let left_out = budget > 0 && history.len() < earlier.len();
    if contact.is_none() && !left_out {
        return Ok(Told { memory, history, follow_up: None });
    }
    let mut conn = work.inner.db.read().await?;
    if let Some(id) = contact
        && let Some(contact) = contacts::get(&mut conn, workspace, id).await?
    {
        memory.facts = context::facts(&contact, known);
    }
    let mut follow_up = None;
    if left_out {
        let summary = conversations::summary(&mut conn, workspace, conversation.id).await?;
        let summary = summary.filter(|(_, seq)| *seq > conversation.context_after);
        let covered = summary.as_ref().map_or(0, |(_, seq)| *seq);
        memory.summary = summary.map(|(text, _)| text);
        let (agent, now) = (work.agent.id, work.inner.ambient.now());
        let job = summary::wanted(agent, conversation.id, earlier, history.len(), covered, now);
        follow_up = job.map(Effect::Job);
    }
    Ok(Told { memory, history, follow_up })
}

/// The question made to stand alone, and what that cost.
async fn standalone(
    work: &Work,
    earlier: &[Message],
    lang: Lang,
    trace: &mut Trace,
) -> (String, Option<Usage>) {
    let query = &work.question.content;
    let mut spent = None;
    let leans =
        work.agent.settings.rewrite == Rewrite::Model && context::leans(query, earlier, lang);
    // What is shown can be searched for only in words.
    if leans || !work.images.is_empty() {
        let (rewritten, usage) = Box::pin(rewrite::standalone(work, earlier)).await;
        trace.step(REWRITE);
        spent = usage;
        if let Some(question) = rewritten {
            trace.note("rewrittenBy", "model");
            return (question, spent);
        }
    }
    match context::standalone(query, earlier, lang) {
        Some(question) => {
            trace.note("rewrittenBy", "rule");
            (question, spent)
        }
        None => (query.clone(), spent),
    }
}

/// A request by the agent's settings.
pub(crate) fn request(work: &Work, model: &str, messages: Vec<ChatMessage>) -> ChatRequest {
    ChatRequest {
        model: model.to_owned(),
        messages,
        tools: Arc::default(),
        tool_choice: ToolChoice::Auto,
        temperature: work.agent.settings.temperature,
        max_tokens: Some(work.agent.settings.max_answer_tokens),
        seed: work.agent.settings.seed,
        stop: work.agent.settings.stop.clone(),
        format: work.agent.settings.json_mode.then_some(AnswerFormat::JsonObject),
    }
}
