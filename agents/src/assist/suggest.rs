//! A reply that an operator may send: found and written as the agent's own answers are.

use std::sync::Arc;

use domain::agent::Agent;
use domain::budget::{Payer, Purpose};
use domain::message::{Author, Citation, Message};
use domain::{ApiKeyId, ConversationId, DatastoreId, DomainError, Lang, WorkspaceId};
use models::builtin::{self, Passage};
use models::{ChatMessage, ChatRequest, lexical};
use retrieval::{Hit, SearchResults};
use storage::{agents, conversations, messages};

use super::{errand, no_conversation, too_slow};
use crate::citations::{CitationFilter, quote_for, without_markers};
use crate::context;
use crate::errand::ask;
use crate::files;
use crate::fit::Sizes;
use crate::model::Candidate;
use crate::prompt::{self, Memory};
use crate::support::{Ground, unsupported};
use crate::turn::{Agents, Inner};
use crate::{begin, prepare};

/// Passages that the built-in answerer takes sentences from, as in a turn.
const BUILTIN_PASSAGES: usize = 3;

/// What is left of the confidence in a reply that states what nothing supports.
const DOUBT: f64 = 0.5;

/// A reply that an operator may send, or why there is none.
#[derive(Debug, Clone, PartialEq)]
pub struct Suggestion {
    /// The reply, without markers; `None` when the knowledge does not hold one.
    pub text: Option<String>,
    /// What it rests on, in the order of first use.
    pub citations: Vec<Citation>,
    /// The evidence that was found, 0 to 1; halved for a reply with `unsupported` in it.
    pub confidence: f64,
    /// Why there is no reply: `NO_KNOWLEDGE` (the agent has no datastore), `NO_EVIDENCE` (what was found is too little),
    /// `NOT_ANSWERED` (what was found does not answer it).
    pub reason: Option<&'static str>,
    /// Numbers, prices, hours and the like of the reply that stand in nothing it rests on.
    pub unsupported: Vec<String>,
    /// The model that wrote it; `builtin-extractive` for sentences of the documents.
    pub model: String,
}

/// What the reply is for.
struct Case {
    agent: Agent,
    conversation: ConversationId,
    question: String,
    earlier: Vec<Message>,
    summary: Option<String>,
    datastores: Option<Vec<DatastoreId>>,
    candidates: Vec<Candidate>,
    api_key: Option<ApiKeyId>,
}

impl Agents {
    /// A reply to the newest message of the customer, or to `last_message`, by the conversation's agent and out of its
    /// knowledge; whoever has the conversation, and whether or not it is closed. Nothing is stored, nothing is sent.
    ///
    /// Errors: 404 `conversation not found`; 400 `lastMessage` when the customer has said nothing; 402 `USAGE_LIMIT`; those
    /// of the search and of the provider.
    pub async fn suggest_reply(
        &self,
        workspace: WorkspaceId,
        conversation: ConversationId,
        last_message: Option<String>,
        api_key: Option<ApiKeyId>,
    ) -> Result<Suggestion, DomainError> {
        let inner = &self.inner;
        let case = look_up(inner, workspace, conversation, last_message, api_key).await?;
        let Some(datastores) = case.datastores.as_ref().filter(|known| !known.is_empty()) else {
            return Ok(none("NO_KNOWLEDGE", 0.0));
        };
        let lang = lexical::detect(&case.question).unwrap_or_default();
        let question = context::standalone(&case.question, &case.earlier, lang);
        let question = question.unwrap_or_else(|| case.question.clone());
        let query = prepare::search_query(&case.agent, datastores, &question);
        let payer = Payer { agent: Some(case.agent.id), api_key, visitor: None };
        let search = Box::pin(inner.retrieval.search(workspace, &query));
        let who = (Purpose::Assist, payer);
        let results = inner.paid(workspace, who, inner.asked_by(&query), search).await??;
        let threshold = case.agent.settings.min_evidence.or(inner.options.defaults.min_evidence);
        if results.hits.is_empty() || results.evidence < threshold.unwrap_or(results.threshold) {
            return Ok(none("NO_EVIDENCE", results.evidence));
        }
        if case.candidates.is_empty() {
            return Ok(extracted(&case, &results));
        }
        written(inner, &case, &results, lang).await
    }
}

async fn look_up(
    inner: &Inner,
    workspace: WorkspaceId,
    id: ConversationId,
    last_message: Option<String>,
    api_key: Option<ApiKeyId>,
) -> Result<Case, DomainError> {
    let mut conn = inner.db.read().await?;
    let found = conversations::get(&mut conn, workspace, id).await?;
    let conversation = found.ok_or_else(no_conversation)?;
    let agent = agents::get(&mut conn, workspace, conversation.agent_id).await?;
    let agent = agent.ok_or_else(no_conversation)?;
    let after = conversation.context_after;
    let mut recent =
        messages::recent(&mut conn, workspace, id, after, context::MAX_MESSAGES).await?;
    files::name_files(&mut conn, workspace, &mut recent).await?;
    let (question, earlier) = match last_message {
        Some(text) => (text, recent),
        None => newest_question(recent)?,
    };
    let summary = conversations::summary(&mut conn, workspace, id).await?;
    let datastores = begin::datastores_of(&mut conn, &agent).await?;
    let candidates = inner.candidates(&mut conn, &agent).await?;
    Ok(Case {
        conversation: id,
        question,
        earlier: earlier.into_iter().filter(|message| !message.content.is_empty()).collect(),
        summary: summary.filter(|(_, seq)| *seq > after).map(|(text, _)| text),
        datastores: datastores.map(|known| known.iter().map(|datastore| datastore.id).collect()),
        candidates,
        api_key,
        agent: plain(agent),
    })
}

/// The agent as it writes for an operator: it does nothing, and its text is for people.
fn plain(agent: Agent) -> Agent {
    let mut agent = agent;
    let knowledge =
        |tool: &domain::agent::AgentTool| tool.kind == domain::agent::ToolKind::Datastore;
    agent.tools.retain(knowledge);
    agent.settings.json_mode = false;
    agent
}

/// What the customer said last, and all that was said before.
fn newest_question(recent: Vec<Message>) -> Result<(String, Vec<Message>), DomainError> {
    let mut earlier = recent;
    let at = earlier.iter().rposition(|message| message.author == Author::Customer);
    let Some(at) = at else {
        let message = "`lastMessage` must be given: the customer has said nothing yet";
        return Err(DomainError::invalid("lastMessage", message));
    };
    let question = earlier.remove(at);
    earlier.truncate(at);
    Ok((question.content, earlier))
}

fn none(reason: &'static str, confidence: f64) -> Suggestion {
    Suggestion {
        text: None,
        citations: Vec::new(),
        confidence,
        reason: Some(reason),
        unsupported: Vec::new(),
        model: builtin::MODEL_NAME.to_owned(),
    }
}

/// Sentences of the passages, where no model is to be asked.
fn extracted(case: &Case, results: &SearchResults) -> Suggestion {
    let hits: Vec<&Hit> = results.hits.iter().take(BUILTIN_PASSAGES).collect();
    let headings: Vec<String> = hits.iter().map(|hit| prepare::heading(hit)).collect();
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
    let (mut said, mut citations) = (Vec::new(), Vec::new());
    for extract in builtin::extract(&results.question.asked, &passages) {
        let Some(hit) = hits.get(extract.passage) else { continue };
        let sentence = without_markers(&extract.sentence);
        if !sentence.is_empty() {
            prepare::mark(&mut citations, hit, &extract.sentence);
            said.push(sentence);
        }
    }
    finished(case, &said.join(" "), citations, results, builtin::MODEL_NAME.to_owned())
}

/// A model's reply.
async fn written(
    inner: &Arc<Inner>,
    case: &Case,
    results: &SearchResults,
    lang: Lang,
) -> Result<Suggestion, DomainError> {
    let agent = &case.agent;
    let names = case.candidates.iter().map(|candidate| candidate.name.as_str());
    let sizes = Sizes::of(&inner.options.catalogue, names);
    let budget = usize::try_from(agent.settings.history_tokens).unwrap_or(0);
    let mut memory = Memory { key: prompt::fence_key(&inner.ambient), ..Memory::default() };
    memory.summary.clone_from(&case.summary);
    let mut messages: Vec<ChatMessage> = vec![prompt::grounded_system(agent, &memory, lang)];
    messages.extend(sizes.within_budget(&case.earlier, budget).await);
    messages.push(prompt::grounded_question(&inner.ambient, &results.hits, &case.question));
    let request = ChatRequest {
        messages,
        temperature: agent.settings.temperature,
        max_tokens: Some(agent.settings.max_answer_tokens),
        seed: agent.settings.seed,
        stop: agent.settings.stop.clone(),
        ..ChatRequest::default()
    };
    let model = case.candidates.first().map(|first| first.name.clone()).unwrap_or_default();
    let errand = errand(agent.workspace_id, agent.id, case.conversation, case.api_key);
    let said = ask(inner, errand, case.candidates.clone(), request).await?.ok_or_else(too_slow)?;
    let mut filter = CitationFilter::new(results.hits.len());
    let mut text = filter.push(said.text).unwrap_or_default();
    text.extend(filter.finish());
    if filter.uses().is_empty() {
        return Ok(Suggestion { model, ..none("NOT_ANSWERED", results.evidence) });
    }
    let citations = cited(&filter, &text, &results.hits);
    Ok(finished(case, &without_markers(&text), citations, results, model))
}

/// The passages that a reply rests on, with the words that it takes from them.
fn cited(filter: &CitationFilter, text: &str, hits: &[Hit]) -> Vec<Citation> {
    let mut citations: Vec<Citation> = Vec::new();
    for used in filter.uses() {
        let Some(hit) = hits.get(used.passage - 1) else { continue };
        let marker = i64::try_from(used.passage).unwrap_or(i64::MAX);
        if citations.iter().any(|known| known.marker == marker) {
            continue;
        }
        let places: Vec<usize> =
            filter.uses().iter().filter(|u| u.passage == used.passage).map(|u| u.at).collect();
        let (quote, _) = quote_for(&hit.live.chunk.text, text, &places);
        citations.push(prepare::citation(hit, marker, quote));
    }
    citations
}

fn finished(
    case: &Case,
    text: &str,
    citations: Vec<Citation>,
    results: &SearchResults,
    model: String,
) -> Suggestion {
    let text = domain::text::sanitize(text.trim());
    if text.is_empty() {
        return Suggestion { model, ..none("NOT_ANSWERED", results.evidence) };
    }
    let mut ground = Ground::default();
    for passage in prepare::shown(&citations, &results.hits) {
        ground.add(&passage.text);
    }
    ground.add(&case.question);
    ground.add(&case.agent.system_prompt);
    for message in case.earlier.iter().filter(|message| message.author == Author::Customer) {
        ground.add(&message.content);
    }
    let unsupported = unsupported(&text, &ground);
    let doubt = if unsupported.is_empty() { 1.0 } else { DOUBT };
    let confidence = (results.evidence * doubt).clamp(0.0, 1.0);
    Suggestion { text: Some(text), citations, confidence, reason: None, unsupported, model }
}
