//! A question asked again outside of any conversation: whether the knowledge answers it now.

use domain::agent::Agent;
use domain::{DatastoreId, DomainError};
use futures::StreamExt;
use models::builtin::{self, Passage};
use models::{ChatEvent, ChatModel, ChatRequest, ModelError, lexical};
use retrieval::{Hit, SearchResults};

use crate::citations::CitationFilter;
use crate::prepare;
use crate::prompt;
use crate::turn::Inner;

/// Passages that the built-in answerer takes sentences from, as in a turn.
const BUILTIN_PASSAGES: usize = 3;

/// The evidence that is found for `question`, 0 to 1, and the answer when there is one: evidence above the
/// agent's threshold, and a text that cites a passage. A model is asked only when the evidence is above
/// `better_than`, so that what stays unanswered costs nothing each time that something else is learnt.
pub(crate) async fn try_answer(
    inner: &Inner,
    agent: &Agent,
    datastores: &[DatastoreId],
    question: &str,
    better_than: Option<f64>,
) -> Result<(f64, Option<String>), DomainError> {
    if datastores.is_empty() {
        return Ok((0.0, None));
    }
    let query = prepare::search_query(agent, datastores, question);
    let results = inner.retrieval.search(agent.workspace_id, &query).await?;
    let threshold = agent.settings.min_evidence.or(inner.options.defaults.min_evidence);
    let evidence = results.evidence;
    if results.hits.is_empty() || evidence < threshold.unwrap_or(results.threshold) {
        return Ok((evidence, None));
    }
    let mut conn = inner.db.read().await?;
    let candidates = inner.candidates(&mut conn, agent).await?;
    drop(conn);
    let Some(first) = candidates.into_iter().next() else {
        return Ok((evidence, extracted(&results)));
    };
    if better_than.is_some_and(|known| evidence <= known) {
        return Ok((evidence, None));
    }
    let request = request(inner, agent, &first.name, &results, question);
    let asked = written(&*first.chat, request, results.hits.len());
    let limit = inner.options.defaults.turn_timeout;
    let answer = match tokio::time::timeout(limit, asked).await {
        Ok(answer) => answer?,
        Err(_) => None,
    };
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

fn request(
    inner: &Inner,
    agent: &Agent,
    model: &str,
    results: &SearchResults,
    question: &str,
) -> ChatRequest {
    let lang = lexical::detect(question).unwrap_or_default();
    let passages: Vec<&_> = results.hits.iter().map(|hit| &hit.live).collect();
    ChatRequest {
        model: model.to_owned(),
        messages: vec![
            prompt::grounded_system(agent, &prompt::Memory::default(), lang),
            prompt::grounded_question(&inner.ambient, &passages, question),
        ],
        temperature: agent.settings.temperature,
        max_tokens: Some(agent.settings.max_answer_tokens),
        seed: agent.settings.seed,
        stop: agent.settings.stop.clone(),
        ..ChatRequest::default()
    }
}

/// The whole text of a model, when it cites a passage and does not say that it does not know.
async fn written(
    chat: &dyn ChatModel,
    request: ChatRequest,
    passages: usize,
) -> Result<Option<String>, ModelError> {
    let mut stream = chat.chat(request).await?;
    let mut filter = CitationFilter::new(passages);
    let mut text = String::new();
    while let Some(event) = stream.next().await {
        match event? {
            ChatEvent::Token(piece) => text.extend(filter.push(piece)),
            ChatEvent::ToolCall { .. } => {}
            ChatEvent::Finished { .. } => break,
        }
    }
    text.extend(filter.finish());
    let answers = !filter.met_sentinel() && !filter.uses().is_empty();
    Ok(answers.then_some(text))
}
