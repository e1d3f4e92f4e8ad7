//! An answer in `OpenAI`'s words. What these have no room for stands in the field `vocero`.

use agents::Answer;
use domain::message::Citation;
use domain::{MessageId, WorkspaceId};
use models::tokens;
use serde::Serialize;

use crate::error::ApiResult;
use crate::state::AppState;

/// A whole answer.
#[derive(Debug, Serialize)]
pub(super) struct Completion {
    id: String,
    object: &'static str,
    created: i64,
    model: String,
    choices: [Choice; 1],
    usage: Usage,
    service_tier: Option<&'static str>,
    system_fingerprint: Option<&'static str>,
    vocero: Extension,
}

#[derive(Debug, Serialize)]
struct Choice {
    index: u8,
    message: AssistantMessage,
    logprobs: Option<()>,
    finish_reason: &'static str,
}

#[derive(Debug, Serialize)]
struct AssistantMessage {
    role: &'static str,
    content: String,
    refusal: Option<()>,
    annotations: Vec<Annotation>,
}

/// What names an answer: the same on each chunk of a stream.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) id: String,
    /// Seconds since 1970.
    pub(super) created: i64,
    /// The agent's id.
    pub(super) model: String,
}

/// Tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Usage {
    #[serde(rename = "prompt_tokens")]
    prompt: i64,
    /// None for what has no answer in tokens.
    #[serde(rename = "completion_tokens", skip_serializing_if = "Option::is_none")]
    completion: Option<i64>,
    #[serde(rename = "total_tokens")]
    total: i64,
}

/// What is ours.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Extension {
    conversation_id: String,
    message_id: String,
    /// `answered`, `smalltalk`, `abstained`, `handed-off`, `lead-captured`; null while a person has the
    /// conversation.
    outcome: Option<&'static str>,
    /// `bot`, `queue` or `operator`.
    handler: &'static str,
    /// `complete`, `interrupted` or `failed`.
    state: &'static str,
    /// The model that wrote the text.
    model: String,
    /// What the text cites, in order of first use.
    sources: Vec<Cited>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cited {
    /// The number in `[n]`.
    index: i64,
    source: String,
    score: f64,
    datasource_id: String,
    source_id: String,
    chunk_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<i64>,
    quote: String,
}

/// A place of the text and what it cites. Places are counted in characters (Unicode code points).
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Annotation {
    /// Of a page with an address.
    UrlCitation { url_citation: UrlCitation },
    /// Of a file or a text.
    FileCitation { file_citation: FileCitation },
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct UrlCitation {
    start_index: usize,
    end_index: usize,
    title: String,
    url: String,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct FileCitation {
    start_index: usize,
    end_index: usize,
    file_id: String,
    filename: String,
    quote: String,
}

impl Head {
    pub(super) fn new(state: &AppState, message: MessageId, model: String) -> Self {
        let id = message.to_string();
        let id = id.rsplit('_').next().unwrap_or_default();
        let created = state.ambient.now().micros().div_euclid(1_000_000);
        Self { id: format!("chatcmpl-{id}"), created, model }
    }
}

impl Usage {
    pub(super) fn of_prompt(prompt: i64) -> Self {
        Self { prompt, completion: None, total: prompt }
    }

    /// What the answer took: as the provider counted it; without such a count the tokens of question and
    /// answer, by estimate.
    pub(super) async fn of(
        state: &AppState,
        workspace: WorkspaceId,
        question: &str,
        answer: &Answer,
    ) -> ApiResult<Self> {
        let mut conn = state.db.read().await?;
        let stored = storage::messages::get(&mut conn, workspace, answer.message).await?;
        let counted = stored.and_then(|stored| stored.prompt_tokens.zip(stored.completion_tokens));
        let estimated = |text: &str| i64::try_from(tokens::estimate(text)).unwrap_or(i64::MAX);
        let (prompt, completion) =
            counted.unwrap_or_else(|| (estimated(question), estimated(&answer.text)));
        let total = prompt.saturating_add(completion);
        Ok(Self { prompt, completion: Some(completion), total })
    }
}

impl Completion {
    pub(super) fn new(head: Head, answer: Answer, usage: Usage) -> Self {
        let annotations = annotations(&answer.text, &answer.citations);
        let content = answer.text.clone();
        Self {
            id: head.id,
            object: "chat.completion",
            created: head.created,
            model: head.model,
            choices: [Choice {
                index: 0,
                message: AssistantMessage {
                    role: "assistant",
                    content,
                    refusal: None,
                    annotations,
                },
                logprobs: None,
                finish_reason: "stop",
            }],
            usage,
            service_tier: None,
            system_fingerprint: None,
            vocero: answer.into(),
        }
    }
}

impl From<Answer> for Extension {
    fn from(answer: Answer) -> Self {
        Self {
            conversation_id: answer.conversation.to_string(),
            message_id: answer.message.to_string(),
            outcome: answer.outcome.map(domain::message::Outcome::name),
            handler: answer.handler.name(),
            state: answer.state.name(),
            model: answer.model,
            sources: answer.citations.into_iter().map(Cited::from).collect(),
        }
    }
}

impl From<Citation> for Cited {
    fn from(citation: Citation) -> Self {
        Self {
            index: citation.marker,
            source: citation.source_name,
            score: citation.score,
            datasource_id: citation.datastore_id.to_string(),
            source_id: citation.source_id.to_string(),
            chunk_id: citation.chunk_id.to_string(),
            url: citation.url,
            page: citation.page,
            quote: citation.quote,
        }
    }
}

/// One annotation for each `[n]` of the text that names a citation. What stands in code names none.
pub(super) fn annotations(text: &str, citations: &[Citation]) -> Vec<Annotation> {
    let mut found = Vec::new();
    let (mut chars, mut counted) = (0, 0);
    for (place, number) in agents::markers(text) {
        let Some(cited) = citations.iter().find(|citation| citation.marker == number) else {
            continue;
        };
        chars += text[counted..place.start].chars().count();
        counted = place.start;
        // A number has one byte for each character.
        found.push(Annotation::new(cited, chars, chars + place.len()));
    }
    found
}

impl Annotation {
    fn new(citation: &Citation, start_index: usize, end_index: usize) -> Self {
        match &citation.url {
            Some(url) => Self::UrlCitation {
                url_citation: UrlCitation {
                    start_index,
                    end_index,
                    title: citation.source_name.clone(),
                    url: url.clone(),
                },
            },
            None => Self::FileCitation {
                file_citation: FileCitation {
                    start_index,
                    end_index,
                    file_id: citation.source_id.to_string(),
                    filename: citation.source_name.clone(),
                    quote: citation.quote.clone(),
                },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::ids::PrefixedId;
    use domain::{ChunkId, DatastoreId, SourceId};
    use uuid::Uuid;

    use super::*;

    fn citation(marker: i64, url: Option<&str>) -> Citation {
        Citation {
            marker,
            chunk_id: ChunkId::from_uuid(Uuid::nil()),
            datastore_id: DatastoreId::from_uuid(Uuid::nil()),
            source_id: SourceId::from_uuid(Uuid::nil()),
            source_version: 1,
            source_name: "FAQ".to_owned(),
            url: url.map(str::to_owned),
            page: None,
            quote: "de 9 a 18".to_owned(),
            span: None,
            score: 0.9,
        }
    }

    fn places(text: &str, citations: &[Citation]) -> Vec<(usize, usize, bool)> {
        let place = |annotation: &Annotation| match annotation {
            Annotation::UrlCitation { url_citation: c } => (c.start_index, c.end_index, true),
            Annotation::FileCitation { file_citation: c } => (c.start_index, c.end_index, false),
        };
        annotations(text, citations).iter().map(place).collect()
    }

    #[test]
    fn each_marker_is_annotated_where_it_stands_in_characters() {
        let citations = [citation(1, None), citation(12, Some("https://ejemplo.com/"))];
        let text = "Sí, señor [1]. Mañana [12][1].";
        let found = places(text, &citations);
        assert_eq!(found, [(10, 13, false), (22, 26, true), (26, 29, false)]);
        let cut = |start, end| text.chars().skip(start).take(end - start).collect::<String>();
        assert_eq!((cut(10, 13), cut(22, 26)), ("[1]".to_owned(), "[12]".to_owned()));
    }

    #[test]
    fn other_brackets_are_no_markers() {
        let citations = [citation(1, None)];
        for text in ["[2] [x] [] [1", "[[", "a[i] [+2]", "", "`a[1]`"] {
            assert_eq!(places(text, &citations), [], "{text}");
        }
        assert_eq!(places("[[1]", &citations), [(1, 4, false)]);
    }
}
