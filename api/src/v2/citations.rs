//! What an answer cites, opened.

use std::collections::HashMap;

use axum::extract::State;
use domain::datastore::Chunk;
use domain::message::{Citation, CitedPassage};
use domain::{Action, ChunkId, DomainError, MessageId, SourceId};
use serde::Serialize;
use storage::{Conn, chunks, citations, messages, sources};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::chat::CitedSource;
use super::chunks::ChunkView;
use crate::auth::Caller;
use crate::error::ApiResult;
use crate::extract::{Id, Json};
use crate::routes::Routes;
use crate::state::AppState;

pub(super) fn routes() -> Routes {
    Routes::new().route(Action::ReadConversations, routes!(list))
}

/// What an answer cites.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct OpenCitations {
    #[schema(pattern = "^msg_[0-9a-f]{32}$")]
    message_id: String,
    /// In order of first use.
    data: Vec<OpenCitation>,
}

/// A citation with the passage behind it, as it was shown.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct OpenCitation {
    #[serde(flatten)]
    cited: CitedSource,
    /// How the text of the answer writes it.
    #[schema(example = "[1]")]
    marker: String,
    /// The version of the source that was cited.
    version: i64,
    /// Headings above the passage, outermost first.
    heading: Option<String>,
    /// The passage, as it was shown. Null only for answers of versions of Vocero that did not keep it, once
    /// their source is gone.
    passage: Option<String>,
    /// Where the quote stands in the passage.
    highlight: Option<Highlight>,
    /// The passage before it, while that version of the source is there.
    before: Option<ChunkView>,
    /// The passage after it, while that version of the source is there.
    after: Option<ChunkView>,
    /// Whether questions are answered from that version of the source now.
    current: bool,
}

/// Where a quote stands in its passage, in characters (Unicode scalar values).
#[derive(Debug, Serialize, ToSchema)]
struct Highlight {
    #[schema(minimum = 0)]
    start: i64,
    /// Excluded.
    end: i64,
}

/// What is there of the knowledge that citations came from.
struct Knowledge {
    shown: HashMap<ChunkId, CitedPassage>,
    live_versions: HashMap<SourceId, i64>,
}

/// Open the citations of an answer
///
/// Quote, passage and place are those that were shown, whatever became of the source since.
#[utoipa::path(
    get,
    path = "/api/v2/messages/{messageId}/citations",
    tag = "Messages",
    operation_id = "listCitations",
    params(("messageId" = String, Path)),
    responses((status = 200, description = "The citations.", body = OpenCitations)),
)]
#[tracing::instrument(name = "handler.v2.messages.citations", skip_all)]
async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<MessageId>,
) -> ApiResult<Json<OpenCitations>> {
    let workspace = caller.workspace();
    let mut conn = state.db.read().await?;
    let message = messages::get(&mut conn, workspace, id).await?;
    message.ok_or_else(|| DomainError::not_found("message"))?;
    let cited = citations::of_messages(&mut conn, workspace, &[id]).await?;
    let cited: Vec<Citation> = cited.into_iter().map(|(_, citation)| citation).collect();
    let knowledge = Knowledge::behind(&mut conn, &caller, &cited).await?;
    let mut data = Vec::with_capacity(cited.len());
    for citation in cited {
        data.push(open(&mut conn, &caller, citation, &knowledge).await?);
    }
    Ok(Json(OpenCitations { message_id: id.to_string(), data }))
}

impl Knowledge {
    async fn behind(conn: &mut Conn, caller: &Caller, cited: &[Citation]) -> ApiResult<Self> {
        let workspace = caller.workspace();
        let chunks: Vec<ChunkId> = cited.iter().map(|citation| citation.chunk_id).collect();
        let shown = citations::passages(conn, workspace, &chunks).await?;
        let mut ids: Vec<SourceId> = cited.iter().map(|citation| citation.source_id).collect();
        ids.sort_unstable();
        ids.dedup();
        let found = sources::get_many(conn, workspace, &ids).await?;
        Ok(Self {
            shown: shown.into_iter().map(|passage| (passage.chunk_id, passage)).collect(),
            live_versions: found.iter().map(|source| (source.id, source.live_version)).collect(),
        })
    }
}

async fn open(
    conn: &mut Conn,
    caller: &Caller,
    citation: Citation,
    knowledge: &Knowledge,
) -> ApiResult<OpenCitation> {
    let workspace = caller.workspace();
    let chunk = chunks::get(conn, workspace, citation.chunk_id).await?;
    let (mut before, mut after) = (None, None);
    if let Some(chunk) = &chunk {
        let place = chunk.ordinal;
        let (source, version) = (chunk.source_id, chunk.version);
        let around = chunks::of_version(conn, workspace, source, version, place - 2, 3).await?;
        for neighbour in around {
            match neighbour.ordinal {
                at if at == place - 1 => before = Some(neighbour.into()),
                at if at == place + 1 => after = Some(neighbour.into()),
                _ => {}
            }
        }
    }
    let live = knowledge.live_versions.get(&citation.source_id).copied();
    let current = chunk.is_some() && live == Some(citation.source_version);
    let shown = knowledge.shown.get(&citation.chunk_id).cloned();
    let shown = shown.or_else(|| chunk.map(as_shown));
    let span = citation.span.or_else(|| find(&shown.as_ref()?.text, &citation.quote));
    let (heading, passage) = shown.map(|shown| (shown.heading, shown.text)).unzip();
    Ok(OpenCitation {
        marker: format!("[{}]", citation.marker),
        version: citation.source_version,
        cited: citation.into(),
        heading,
        highlight: span.map(|(start, end)| Highlight { start, end }),
        passage,
        before,
        after,
        current,
    })
}

/// What an answer that was stored without its passages has shown.
fn as_shown(chunk: Chunk) -> CitedPassage {
    CitedPassage { chunk_id: chunk.id, heading: chunk.heading, text: chunk.text }
}

fn find(text: &str, quote: &str) -> Option<(i64, i64)> {
    let at = text.find(quote)?;
    let start = i64::try_from(text[..at].chars().count()).ok()?;
    let length = i64::try_from(quote.chars().count()).ok()?;
    Some((start, start + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_is_found_in_characters() {
        assert_eq!(find("Sí: 9 a 18 ñ", "9 a 18"), Some((4, 10)));
        assert_eq!(find("Sí", "no"), None);
    }
}
