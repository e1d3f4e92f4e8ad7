//! Texts written anew.

use agents::Rewriting;
use axum::extract::State;
use domain::text;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};
use crate::extract::Json;
use crate::state::AppState;
use crate::v1::end_users::known_language;

/// Most characters of a text.
const MAX_TEXT: usize = 10_000;

/// How a text is written anew.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::v1) enum Style {
    /// In fewer words.
    Shorter,
    /// Warmer.
    Friendlier,
    /// As one writes to strangers.
    Formal,
    /// Without mistakes.
    Fix,
    /// In `language`.
    Translate,
}

/// A text to be written anew.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::v1) struct RewriteWanted {
    #[schema(min_length = 1, max_length = 10_000)]
    text: String,
    style: Style,
    /// Of `translate`: `es`, `en` or `pt`.
    #[schema(example = "pt")]
    language: Option<String>,
}

/// A text that was written anew.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RewrittenText)]
pub(in crate::v1) struct RewriteView {
    text: String,
    /// The model that wrote it.
    model: String,
    /// Numbers, prices, hours and the like that the old text does not have: check them.
    unsupported: Vec<String>,
}

/// Write a text anew
///
/// Shorter, friendlier, more formal, without mistakes, or in another language. Needs a language model.
#[utoipa::path(
    post,
    path = "/v1/ai/rewrite",
    tag = "AI help",
    operation_id = "rewriteText",
    request_body = RewriteWanted,
    responses(
        (status = 200, description = "The new text.", body = RewriteView),
        (status = 402, description = "A budget is used up.", body = crate::error::ErrorEnvelope),
        (status = 409, description = "`NOT_CONFIGURED`: there is no language model.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.ai.rewrite", skip_all)]
pub(super) async fn rewrite(
    State(state): State<AppState>,
    caller: Caller,
    Json(wanted): Json<RewriteWanted>,
) -> ApiResult<Json<RewriteView>> {
    let given = text::required("text", &wanted.text, MAX_TEXT)?;
    let how = match (wanted.style, wanted.language) {
        (Style::Translate, Some(code)) => Rewriting::Translate(known_language("language", &code)?),
        (Style::Translate, None) => {
            let message = "`language` must be es, en or pt when `style` is translate";
            return Err(ApiError::invalid("language", message));
        }
        (Style::Shorter, _) => Rewriting::Shorter,
        (Style::Friendlier, _) => Rewriting::Friendlier,
        (Style::Formal, _) => Rewriting::Formal,
        (Style::Fix, _) => Rewriting::Fix,
    };
    let (workspace, key) = (caller.workspace(), caller.api_key());
    let done = state.agents.rewrite_text(workspace, &given, how, key).await?;
    Ok(Json(RewriteView { text: done.text, model: done.model, unsupported: done.unsupported }))
}
