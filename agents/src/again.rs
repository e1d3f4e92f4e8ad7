//! A question asked again outside of any conversation: whether the knowledge answers it now.

use std::sync::Arc;

use domain::agent::Agent;
use domain::budget::{Payer, Purpose};
use domain::{ApiKeyId, DatastoreId, DomainError};
use models::builtin::{self, Passage};
use models::{AnswerFormat, ChatRequest, lexical};
use retrieval::{Hit, SearchResults};

use crate::citations::{CitationFilter, read_answer};
use crate::errand::{self, Errand};
use crate::prepare;
use crate::prompt;
use crate::turn::Inner;

/// By whom and when a question is asked again.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asking {
    /// The key that wants it; `None` for a job.
    pub(crate) api_key: Option<ApiKeyId>,
    /// A model is asked only when the evidence is above this, so that what stays unanswered costs nothing each time
    /// that something else is learnt.
    pub(crate) better_than: Option<f64>,
}

/// Passages that the built-in answerer takes sentences from, as in a turn.
const BUILTIN_PASSAGES: usize = 3;

/// The evidence that is found for `question`, 0 to 1, and the answer when there is one: evidence above the
/// agent's threshold, and a text that cites a passage.
///
/// Errors: `USAGE_LIMIT` when a budget is used up; those of the provider and of the search.
pub(crate) async fn try_answer(
    inner: &Arc<Inner>,
    agent: &Agent,
    datastores: &[DatastoreId],
    question: &str,
    asking: Asking,
) -> Result<(f64, Option<String>), DomainError> {
    if datastores.is_empty() {
        return Ok((0.0, None));
    }
    let query = prepare::search_query(agent, datastores, question);
    let payer = Payer { agent: Some(agent.id), api_key: asking.api_key, visitor: None };
    let (workspace, asked) = (agent.workspace_id, inner.asked_by(&query));
    let search = Box::pin(inner.retrieval.search(workspace, &query));
    let results = inner.paid(workspace, (Purpose::Recheck, payer), asked, search).await??;
    let threshold = agent.settings.min_evidence.or(inner.options.defaults.min_evidence);
    let evidence = results.evidence;
    if results.hits.is_empty() || evidence < threshold.unwrap_or(results.threshold) {
        return Ok((evidence, None));
    }
    let mut conn = inner.db.read().await?;
    let candidates = inner.candidates(&mut conn, agent).await?;
    drop(conn);
    if candidates.is_empty() {
        return Ok((evidence, extracted(&results)));
    }
    if asking.better_than.is_some_and(|known| evidence <= known) {
        return Ok((evidence, None));
    }
    let request = request(inner, agent, &results, question);
    let api_key = asking.api_key;
    let errand = Errand {
        workspace,
        agent: Some(agent.id),
        purpose: Purpose::Recheck,
        conversation: None,
        api_key,
    };
    let said = errand::ask(inner, errand, candidates, request).await?;
    let (hits, json) = (results.hits.len(), agent.settings.json_mode);
    let answer =
        said.and_then(
            |said| {
                if json { object_in(&said.text, hits) } else { answer_in(said.text, hits) }
            },
        );
    Ok((evidence, answer))
}

fn extracted(results: &SearchResults) -> Option<String> {
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
    let extracts = builtin::extract(&results.question.asked, &passages);
    let sentences: Vec<String> = extracts.into_iter().map(|extract| extract.sentence).collect();
    (!sentences.is_empty()).then(|| sentences.join(" "))
}

fn request(inner: &Inner, agent: &Agent, results: &SearchResults, question: &str) -> ChatRequest {
    let lang = lexical::detect(question).unwrap_or_default();
    ChatRequest {
        messages: vec![
            prompt::grounded_system(agent, &prompt::Memory::default(), lang),
            prompt::grounded_question(&inner.ambient, &results.hits, question),
        ],
        temperature: agent.settings.temperature,
        max_tokens: Some(agent.settings.max_answer_tokens),
        seed: agent.settings.seed,
        stop: agent.settings.stop.clone(),
        format: agent.settings.json_mode.then_some(AnswerFormat::JsonObject),
        ..ChatRequest::default()
    }
}

/// What a model said, when it cites a passage and does not say that it does not know.
fn answer_in(said: String, passages: usize) -> Option<String> {
    let mut filter = CitationFilter::new(passages);
    let mut text = filter.push(said).unwrap_or_default();
    text.extend(filter.finish());
    let answers = !filter.met_sentinel() && !filter.uses().is_empty();
    answers.then_some(text)
}

/// As [`answer_in`], of a model in JSON mode.
fn object_in(said: &str, passages: usize) -> Option<String> {
    let answer = read_answer(said, passages)?;
    let answers = !answer.text.is_empty() && !answer.uses.is_empty();
    answers.then_some(answer.text)
}
