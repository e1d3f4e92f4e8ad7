//! What was used and what it cost.

use std::time::Duration;

use axum::extract::State;
use domain::{Action, Timestamp};
use serde::{Deserialize, Serialize};
use storage::charges::{self, Used};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::words::UsageGroup;
use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};
use crate::extract::{Json, Query};
use crate::routes::Routes;
use crate::state::AppState;

/// What is told when nobody says from when.
const USUAL_SPAN: Duration = Duration::from_hours(30 * 24);
const DAY: Duration = Duration::from_hours(24);
/// Most groups of an answer.
const MOST: i64 = 1_000;

pub(super) fn routes() -> Routes {
    Routes::new().route(Action::ReadUsage, routes!(get))
}

/// From when to when, and told apart by what.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
struct UsageQuery {
    /// RFC 3339, or a day of UTC from its beginning; absent means 30 days before `to`.
    #[param(value_type = String, required = false, example = "2026-11-01")]
    from: Option<String>,
    /// RFC 3339 (excluded), or a day of UTC to its end; absent means now.
    #[param(value_type = String, required = false, example = "2026-11-30")]
    to: Option<String>,
    /// `day`, `agent`, `model`, `apiKey`, `contact` or `purpose`.
    #[param(value_type = String, required = false, default = "day")]
    group_by: Option<String>,
}

/// What was used and what it cost.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Usage {
    /// RFC 3339.
    #[schema(format = DateTime, example = "2026-11-01T00:00:00.000Z")]
    from: String,
    /// RFC 3339; excluded.
    #[schema(format = DateTime, example = "2026-12-01T00:00:00.000Z")]
    to: String,
    /// All together.
    total: Sums,
    /// By group: days in order, others by cost, at most 1,000.
    data: Vec<UsageOfGroup>,
}

/// What a group used.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct UsageOfGroup {
    /// The day (`2026-11-20`), the id, the model's name, or what it was for (`answer`, `summary`, `recheck`, `search`,
    /// `ingest`, `embedding`, `eval`); null for what belongs to nobody.
    #[schema(example = "2026-11-20")]
    key: Option<String>,
    #[serde(flatten)]
    sums: Sums,
}

/// What was used.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UsageSums)]
struct Sums {
    /// Answers that were stored.
    answers: i64,
    /// Calls to models; an answer may take several, or none.
    calls: i64,
    /// Tokens of the prompts.
    prompt_tokens: i64,
    /// Tokens of the answers.
    completion_tokens: i64,
    /// Those of the prompts that the provider had kept.
    cached_tokens: i64,
    /// Micro-dollars (US), by the catalogue's prices; the provider's bill is what counts.
    cost: i64,
}

/// Usage and cost
///
/// Counted per answer when it is stored, and for what models are asked outside of answers: summaries of long
/// conversations, questions asked again, vectors, the judges of evaluations. Models without a price cost 0.
#[utoipa::path(
    get,
    path = "/api/v2/usage",
    tag = "Usage",
    operation_id = "getUsage",
    params(UsageQuery),
    responses((status = 200, description = "What was used.", body = Usage)),
)]
#[tracing::instrument(name = "handler.v2.usage.get", skip_all)]
async fn get(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<UsageQuery>,
) -> ApiResult<Json<Usage>> {
    let to = match &query.to {
        Some(text) => read_time("to", text, DAY)?,
        None => state.ambient.now(),
    };
    let from = match &query.from {
        Some(text) => read_time("from", text, Duration::ZERO)?,
        None => to.minus(USUAL_SPAN),
    };
    if from >= to {
        return Err(ApiError::invalid("from", "`from` must be before `to`"));
    }
    let group = query.group_by.as_deref().map(read_group).transpose()?;
    let group = group.unwrap_or(charges::UsageGroup::Day);
    let mut conn = state.db.read().await?;
    let workspace = caller.workspace();
    let total = charges::used(&mut conn, workspace, from, to).await?;
    let found = charges::used_by(&mut conn, workspace, from, to, group, MOST).await?;
    let data = found.into_iter().map(|mut used| {
        let key = used.key.take();
        let key =
            if group == charges::UsageGroup::Day { key.as_deref().and_then(day) } else { key };
        UsageOfGroup { key, sums: used.into() }
    });
    Ok(Json(Usage {
        from: from.to_rfc3339(),
        to: to.to_rfc3339(),
        total: total.into(),
        data: data.collect(),
    }))
}

/// An instant, or a day plus `of_a_day`.
fn read_time(field: &str, text: &str, of_a_day: Duration) -> ApiResult<Timestamp> {
    let day = || {
        let is_day = text.len() == 10;
        let midnight = is_day.then(|| Timestamp::parse_rfc3339(&format!("{text}T00:00:00Z")));
        Some(midnight??.plus(of_a_day))
    };
    Timestamp::parse_rfc3339(text).or_else(day).ok_or_else(|| {
        let message =
            format!("`{field}` must be a day like 2026-11-20 or a time like 2026-11-20T09:00:00Z");
        ApiError::invalid(field, message)
    })
}

fn read_group(text: &str) -> ApiResult<charges::UsageGroup> {
    let word = serde_json::from_value::<UsageGroup>(text.into());
    word.map(Into::into).map_err(|_| {
        let message = "`groupBy` must be day, agent, model, apiKey, contact or purpose";
        ApiError::invalid("groupBy", message)
    })
}

/// The day with a number since 1970-01-01.
fn day(number: &str) -> Option<String> {
    let number: i64 = number.parse().ok()?;
    let midnight = Timestamp::from_micros(number.checked_mul(86_400_000_000)?);
    Some(midnight.to_rfc3339().chars().take(10).collect())
}

impl From<Used> for Sums {
    fn from(used: Used) -> Self {
        Self {
            answers: used.answers,
            calls: used.calls,
            prompt_tokens: used.prompt_tokens,
            completion_tokens: used.completion_tokens,
            cached_tokens: used.cached_tokens,
            cost: used.cost,
        }
    }
}
