//! The workspace's glossary: what its customers also call things.

use axum::extract::State;
use domain::{Action, DomainError};
use http::StatusCode;
use models::lexical::{Lexicon, LexiconError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use storage::glossaries::{self, Glossary};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::auth::{Caller, Changed};
use crate::error::ApiResult;
use crate::extract::Json;
use crate::routes::Routes;
use crate::state::AppState;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route(Action::ReadKnowledge, routes!(get))
        .route(Action::ManageKnowledge, routes!(put))
        .route(Action::ManageKnowledge, routes!(delete))
}

/// Entries that a glossary may have.
const MOST_ENTRIES: usize = 5_000;
/// Bytes of its text.
const MOST_BYTES: usize = 500_000;

/// What a workspace's customers also call things, used beside the built-in lexicon in all its searches.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Glossary)]
struct GlossaryView {
    /// A line for each concept: its terms in one language or several.
    #[schema(example = "es: carpa, tienda de campaña | en: tent | pt: barraca")]
    text: String,
    /// How many there are.
    #[schema(minimum = 0, example = 1)]
    entry_count: i64,
    /// RFC 3339; null when there never was one.
    #[schema(format = DateTime, example = "2024-01-21T10:00:00.000Z")]
    updated_at: Option<String>,
}

/// A glossary, as text or as entries.
#[derive(Debug, Deserialize, ToSchema)]
struct NewGlossary {
    /// A line for each concept: parts for `es`, `en` and `pt` separated by `|`, terms by commas. Lines that begin with
    /// `#` are comments.
    #[schema(
        max_length = 500_000,
        example = "es: carpa, tienda de campaña | en: tent | pt: barraca"
    )]
    text: Option<String>,
    /// The concepts, instead of `text`.
    #[schema(max_items = 5_000)]
    entries: Option<Vec<NewEntry>>,
}

/// A concept.
#[derive(Debug, Deserialize, ToSchema)]
struct NewEntry {
    /// Its terms: at least two in all.
    terms: NewTerms,
}

/// What a concept is called. Another language would be lost in silence, so it is refused.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewTerms {
    /// In Spanish.
    #[serde(default)]
    #[schema(required = false, example = json!(["carpa", "tienda de campaña"]))]
    es: Vec<String>,
    /// In English.
    #[serde(default)]
    #[schema(required = false, example = json!(["tent"]))]
    en: Vec<String>,
    /// In Portuguese.
    #[serde(default)]
    #[schema(required = false, example = json!(["barraca"]))]
    pt: Vec<String>,
}

/// Get the glossary
///
/// An empty one where there is none.
#[utoipa::path(
    get,
    path = "/api/v2/glossary",
    tag = "Glossary",
    operation_id = "getGlossary",
    responses((status = 200, description = "The glossary.", body = GlossaryView)),
)]
#[tracing::instrument(name = "handler.v2.glossary.get", skip_all)]
async fn get(State(state): State<AppState>, caller: Caller) -> ApiResult<Json<GlossaryView>> {
    let mut conn = state.db.read().await?;
    let found = glossaries::get(&mut conn, caller.workspace()).await?;
    Ok(Json(found.map_or_else(GlossaryView::empty, GlossaryView::from)))
}

/// Replace the glossary
///
/// Takes `text` or `entries`. The next search uses it.
#[utoipa::path(
    put,
    path = "/api/v2/glossary",
    tag = "Glossary",
    operation_id = "replaceGlossary",
    request_body = NewGlossary,
    responses((status = 200, description = "The glossary.", body = GlossaryView)),
)]
#[tracing::instrument(name = "handler.v2.glossary.put", skip_all)]
async fn put(
    State(state): State<AppState>,
    caller: Caller,
    Json(new): Json<NewGlossary>,
) -> ApiResult<Json<GlossaryView>> {
    let (text, entries) = checked(new)?;
    let mut tx = state.db.write().await?;
    let now = state.ambient.now();
    let workspace = caller.workspace();
    let before = glossaries::get(&mut tx, workspace).await?.map_or(0, |found| found.entries);
    let stored = glossaries::put(&mut tx, caller.workspace(), &text, entries, now).await?;
    let changed = Changed::between(told(before), told(stored.entries));
    caller.audit(&mut tx, &state.ambient, "glossary.updated", workspace, changed).await?;
    tx.commit().await?;
    Ok(Json(GlossaryView::from(stored)))
}

/// Delete the glossary
#[utoipa::path(
    delete,
    path = "/api/v2/glossary",
    tag = "Glossary",
    operation_id = "deleteGlossary",
    responses((status = 204, description = "There is none.")),
)]
#[tracing::instrument(name = "handler.v2.glossary.delete", skip_all)]
async fn delete(State(state): State<AppState>, caller: Caller) -> ApiResult<StatusCode> {
    let mut tx = state.db.write().await?;
    // An emptied glossary goes on having a revision, by which readers tell that it changed.
    if glossaries::revision(&mut tx, caller.workspace()).await? > 0 {
        let workspace = caller.workspace();
        let before = glossaries::get(&mut tx, workspace).await?.map_or(0, |found| found.entries);
        glossaries::put(&mut tx, workspace, "", 0, state.ambient.now()).await?;
        let changed = Changed::from(told(before));
        caller.audit(&mut tx, &state.ambient, "glossary.deleted", workspace, changed).await?;
    }
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What the audit log says of a glossary.
fn told(entries: i64) -> Value {
    json!({"entryCount": entries})
}

impl GlossaryView {
    fn empty() -> Self {
        Self { text: String::new(), entry_count: 0, updated_at: None }
    }
}

impl From<Glossary> for GlossaryView {
    fn from(glossary: Glossary) -> Self {
        Self {
            text: glossary.content,
            entry_count: glossary.entries,
            updated_at: Some(glossary.updated_at.to_rfc3339()),
        }
    }
}

/// The lines of a new glossary and how many entries they are.
fn checked(new: NewGlossary) -> ApiResult<(String, i64)> {
    let (field, text, named) = match (new.text, new.entries) {
        (Some(text), None) => ("text", text, false),
        (None, Some(entries)) => ("entries", lines(&entries)?, true),
        _ => {
            let message =
                "`text` or `entries` must be there, one of them; send the lines or the list";
            return Err(DomainError::invalid("text", message).into());
        }
    };
    if text.len() > MOST_BYTES {
        let message = format!("`{field}` is larger than {MOST_BYTES} bytes; shorten it");
        return Err(DomainError::invalid(field, message).into());
    }
    let lexicon = Lexicon::parse(&text).map_err(|error| refused(&error, named))?;
    if lexicon.len() > MOST_ENTRIES {
        let message = format!("`{field}` has more than {MOST_ENTRIES} entries; leave some out");
        return Err(DomainError::invalid(field, message).into());
    }
    Ok((text, i64::try_from(lexicon.len()).unwrap_or(i64::MAX)))
}

/// An error names the line, or the entry that it was made from.
fn refused(error: &LexiconError, named: bool) -> DomainError {
    if named {
        let field = format!("entries[{}]", error.line - 1);
        let message = format!("`{field}`: {}", error.problem);
        return DomainError::invalid(field, message);
    }
    DomainError::invalid("text", format!("`text` line {}: {}", error.line, error.problem))
}

/// Entries as lines, one for each.
fn lines(entries: &[NewEntry]) -> ApiResult<String> {
    let mut lines = String::new();
    for (at, NewEntry { terms }) in entries.iter().enumerate() {
        let mut parts = Vec::new();
        for (code, terms) in [("es", &terms.es), ("en", &terms.en), ("pt", &terms.pt)] {
            for (number, term) in terms.iter().enumerate() {
                if term.contains([',', '|']) || term.chars().any(char::is_control) {
                    let field = format!("entries[{at}].terms.{code}[{number}]");
                    let message =
                        format!("`{field}` must be one term without commas, bars and line breaks");
                    return Err(DomainError::invalid(field, message).into());
                }
            }
            if !terms.is_empty() {
                parts.push(format!("{code}: {}", terms.join(", ")));
            }
        }
        if parts.is_empty() {
            let field = format!("entries[{at}].terms");
            let message = format!("`{field}` has no terms; give two or more in `es`, `en` or `pt`");
            return Err(DomainError::invalid(field, message).into());
        }
        lines.push_str(&parts.join(" | "));
        lines.push('\n');
    }
    Ok(lines)
}
