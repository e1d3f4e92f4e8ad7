//! Everything of a turn that comes before the answer's first word: intent, context, retrieval, and the
//! evidence gate. Ends with an answer that is complete already, or with what to ask the model.

use std::fmt::Write;

use domain::agent::{Agent, ToolKind};
use domain::contact::ContactDetails;
use domain::message::{Author, Citation, Message, Outcome};
use domain::{DatastoreId, DomainError, Lang, text};
use models::builtin::{self, Intent, Passage};
use models::{ChatMessage, ChatRequest, lexical};
use retrieval::{Hit, RetrievalError, SearchMode, SearchQuery, SearchResults};
use storage::messages;
use tokio_util::task::AbortOnDropHandle;

use crate::citations::without_markers;
use crate::context;
use crate::prompt;
use crate::run::Work;
use crate::trace::Trace;
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
    /// What kind it is.
    pub(crate) outcome: Outcome,
    /// What is written together with it.
    pub(crate) effect: Effect,
}

/// What is written together with an answer.
#[derive(Debug, PartialEq)]
pub(crate) enum Effect {
    /// Nothing.
    None,
    /// The conversation goes to the people's queue.
    Handoff,
    /// The contact gets these details.
    Lead(ContactDetails),
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
    /// The question, standing alone.
    pub(crate) question: String,
    /// What was found, 0 to 1.
    pub(crate) evidence: f64,
    /// The kind of answer it will be, if it is one.
    pub(crate) outcome: Outcome,
    /// The customer's language.
    pub(crate) lang: Lang,
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

/// A search under way.
pub(crate) type EarlySearch = AbortOnDropHandle<Result<SearchResults, RetrievalError>>;

pub(crate) async fn prepare(
    work: &Work,
    early: Option<EarlySearch>,
    trace: &mut Trace,
) -> Result<Prepared, DomainError> {
    let Said { lang: detected, intent } = &work.said;
    let earlier = earlier_messages(work).await?;
    let lang = detected.or_else(|| spoken_before(&earlier)).unwrap_or_default();
    trace.note("language", lang.code());
    trace.step("context");
    if let Some(reply) = by_intent(work, intent, &earlier, lang) {
        return Ok(Prepared::Ready(Box::new(reply)));
    }
    let small_talk = matches!(intent, Intent::Greeting | Intent::Thanks | Intent::Goodbye);
    match &work.datastores {
        Some(datastores) if !small_talk => {
            answer_from(work, datastores, early, &earlier, lang, trace).await
        }
        _ => Ok(answer_freely(work, &earlier, lang, small_talk)),
    }
}

async fn earlier_messages(work: &Work) -> Result<Vec<Message>, DomainError> {
    if work.fresh {
        return Ok(Vec::new());
    }
    let (workspace, conversation) = (work.workspace(), &work.conversation);
    let mut conn = work.inner.db.read().await?;
    let (after, limit) = (conversation.context_after, context::MAX_MESSAGES);
    let recent = messages::recent(&mut conn, workspace, conversation.id, after, limit).await?;
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
    let own = work.inner.provider(&work.agent).is_none();
    match intent {
        Intent::Human => Some(hand_off(work, words)),
        Intent::ContactDetails { email, phone } => {
            let details = checked_details(work, email.as_deref(), phone.as_deref())?;
            Some(take_details(work, details, words))
        }
        Intent::Greeting if own => Some(small_talk(&words.greeting)),
        Intent::Thanks if own => Some(small_talk(&words.thanks)),
        Intent::Goodbye if own => Some(small_talk(&words.goodbye)),
        Intent::Question if accepts_offer(&work.question.content, earlier) => {
            Some(hand_off(work, words))
        }
        Intent::Greeting | Intent::Thanks | Intent::Goodbye | Intent::Question => None,
    }
}

/// Whether a message says yes to the person whom the answer before it offered.
fn accepts_offer(message: &str, earlier: &[Message]) -> bool {
    let Some(last) = earlier.last() else { return false };
    let offered = |lang| {
        let words = Words::of(lang);
        last.content.ends_with(&words.offer_person) && words.says_yes(message)
    };
    last.outcome == Some(Outcome::Abstained) && Lang::KNOWN.into_iter().any(offered)
}

fn small_talk(text: &str) -> Reply {
    Reply {
        text: text.to_owned(),
        citations: Vec::new(),
        outcome: Outcome::Smalltalk,
        effect: Effect::None,
    }
}

fn hand_off(work: &Work, words: &Words) -> Reply {
    if work.agent.tool(ToolKind::RequestHuman).is_none() {
        return small_talk(&words.no_person);
    }
    let text = configured(work, ToolKind::RequestHuman).unwrap_or(&words.handoff);
    Reply { outcome: Outcome::HandedOff, effect: Effect::Handoff, ..small_talk(text) }
}

fn take_details(work: &Work, details: ContactDetails, words: &Words) -> Reply {
    if work.agent.tool(ToolKind::LeadCapture).is_none() {
        return small_talk(&words.no_lead);
    }
    let text = configured(work, ToolKind::LeadCapture).unwrap_or(&words.lead);
    Reply { outcome: Outcome::LeadCaptured, effect: Effect::Lead(details), ..small_talk(text) }
}

/// The words that the operator gave a tool: its setting `message`.
fn configured(work: &Work, tool: ToolKind) -> Option<&str> {
    let words = work.agent.tool(tool)?.settings.get("message")?.as_str()?;
    (!words.trim().is_empty()).then_some(words)
}

/// The details that hold; `None` when none does, and the message is a question like any other.
fn checked_details(
    work: &Work,
    email: Option<&str>,
    phone: Option<&str>,
) -> Option<ContactDetails> {
    let country = work.inner.options.defaults.default_country.as_deref();
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
    datastores: &[DatastoreId],
    early: Option<EarlySearch>,
    earlier: &[Message],
    lang: Lang,
    trace: &mut Trace,
) -> Result<Prepared, DomainError> {
    let query = &work.question.content;
    let rewritten = context::standalone(query, earlier, lang);
    let question = rewritten.unwrap_or_else(|| query.clone());
    trace.note("question", question.as_str());
    let results = search(work, datastores, early, &question).await?;
    trace.step("retrieve");
    let (threshold, origin) = threshold(work, &results);
    trace.note_search(&results, threshold, origin);
    if results.hits.is_empty() || results.evidence < threshold {
        trace.note("gate", "closed");
        let evidence = results.evidence;
        return Ok(Prepared::Ready(Box::new(abstain(work, question, evidence, lang))));
    }
    trace.note("gate", "open");
    let Some((_, model)) = work.inner.provider(&work.agent) else {
        return Ok(Prepared::Ready(Box::new(extracted(work, question, &results, lang, trace))));
    };
    let passages: Vec<&_> = results.hits.iter().map(|hit| &hit.live).collect();
    let mut messages = vec![prompt::grounded_system(&work.agent, lang)];
    messages.extend(history(work, earlier));
    messages.push(prompt::grounded_question(&work.inner.ambient, &passages, query));
    let request = request(work, model, messages);
    Ok(Prepared::Ask(Box::new(Asking {
        request,
        passages: results.hits,
        question,
        evidence: results.evidence,
        outcome: Outcome::Answered,
        lang,
    })))
}

async fn search(
    work: &Work,
    datastores: &[DatastoreId],
    early: Option<EarlySearch>,
    question: &str,
) -> Result<SearchResults, DomainError> {
    // Begun for this very question: nothing was said before that could have changed it.
    if let Some(early) = early
        && let Ok(found) = early.await
    {
        return Ok(found?);
    }
    let query = search_query(&work.agent, datastores, question);
    Ok(work.inner.retrieval.search(work.workspace(), &query).await?)
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
    }
}

/// The evidence below which the agent says that it does not know, and whose it is: the agent's, else the
/// installation's, else the one that suits the datastores.
fn threshold(work: &Work, results: &SearchResults) -> (f64, &'static str) {
    if let Some(own) = work.agent.settings.min_evidence {
        return (own, "agent");
    }
    match work.inner.options.defaults.min_evidence {
        Some(general) => (general, "installation"),
        None => (results.threshold, results.threshold_from.as_str()),
    }
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
    Reply { outcome: Outcome::Abstained, effect, ..small_talk(&text) }
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
    Reply { citations, outcome: Outcome::Answered, ..small_talk(&text) }
}

/// The number under which the answer cites `hit`; a passage cited twice keeps its number, and its quote
/// spans both sentences where that is a short stretch of it.
fn mark(citations: &mut Vec<Citation>, hit: &Hit, sentence: &str) -> i64 {
    let chunk = &hit.live.chunk;
    if let Some(known) = citations.iter_mut().find(|citation| citation.chunk_id == chunk.id) {
        if let Some(both) = spanning(&chunk.text, &known.quote, sentence) {
            known.quote = both.to_owned();
        }
        return known.marker;
    }
    let marker = i64::try_from(citations.len() + 1).unwrap_or(i64::MAX);
    citations.push(citation(hit, marker, sentence.to_owned()));
    marker
}

/// Longest quote that spans two sentences, in bytes.
const MAX_SPAN_BYTES: usize = 800;

fn spanning<'a>(text: &'a str, one: &str, other: &str) -> Option<&'a str> {
    let (a, b) = (text.find(one)?, text.find(other)?);
    let (start, end) = (a.min(b), (a + one.len()).max(b + other.len()));
    (end - start <= MAX_SPAN_BYTES).then(|| &text[start..end])
}

/// A citation of `hit` as it is stored.
pub(crate) fn citation(hit: &Hit, marker: i64, quote: String) -> Citation {
    let live = &hit.live;
    Citation {
        marker,
        chunk_id: live.chunk.id,
        datastore_id: live.chunk.datastore_id,
        source_id: live.chunk.source_id,
        source_version: live.chunk.version,
        source_name: live.source_name.clone(),
        url: live.url.clone(),
        page: live.chunk.page,
        quote,
        score: hit.score,
    }
}

fn heading(hit: &Hit) -> String {
    retrieval::passage_heading(&hit.live.source_name, &hit.live.chunk.heading)
}

/// Without passages: the model talks by its instructions; the built-in answerer has nothing to say.
fn answer_freely(work: &Work, earlier: &[Message], lang: Lang, small_talk: bool) -> Prepared {
    let query = &work.question.content;
    let Some((_, model)) = work.inner.provider(&work.agent) else {
        return Prepared::Ready(Box::new(abstain(work, query.clone(), 0.0, lang)));
    };
    let mut messages = vec![prompt::free_system(&work.agent, lang)];
    messages.extend(history(work, earlier));
    messages.push(ChatMessage::user(query.as_str()));
    Prepared::Ask(Box::new(Asking {
        request: request(work, model, messages),
        passages: Vec::new(),
        question: query.clone(),
        evidence: 0.0,
        outcome: if small_talk { Outcome::Smalltalk } else { Outcome::Answered },
        lang,
    }))
}

fn history(work: &Work, earlier: &[Message]) -> Vec<ChatMessage> {
    let budget = usize::try_from(work.agent.settings.history_tokens).unwrap_or(0);
    context::within_budget(earlier, budget)
}

fn request(work: &Work, model: &str, messages: Vec<ChatMessage>) -> ChatRequest {
    ChatRequest {
        model: model.to_owned(),
        messages,
        tools: Vec::new(),
        temperature: work.agent.settings.temperature,
        max_tokens: Some(work.agent.settings.max_answer_tokens),
    }
}
