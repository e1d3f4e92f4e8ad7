//! Budgets.

use axum::extract::State;
use domain::budget::{self, Budget, MAX_BUDGETS};
use domain::{Action, AgentId, ApiKeyId, BudgetId, DomainError, VisitorId};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use storage::{Conn, StorageError, agents, api_keys, budgets};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::words::{BudgetPeriod, BudgetScope, BudgetUnit};
use crate::auth::{Caller, Changed};
use crate::error::{ApiError, ApiResult, ErrorEnvelope};
use crate::extract::{Id, Json};
use crate::paging::Page;
use crate::routes::Routes;
use crate::state::AppState;

/// Largest limit: a million dollars, or as many tokens or answers.
const MAX_LIMIT: i64 = 1_000_000_000_000;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route(Action::ReadUsage, routes!(list))
        .route(Action::ManageBudgets, routes!(create))
        .route(Action::ManageBudgets, routes!(update))
        .route(Action::ManageBudgets, routes!(delete))
}

/// A limit of what may be used in a day or a month.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Budget)]
struct BudgetView {
    #[schema(pattern = "^budget_[0-9a-f]{32}$")]
    id: String,
    scope: BudgetScope,
    /// The one agent, key or visitor that it is for; null means each one for itself, or the workspace.
    subject: Option<String>,
    unit: BudgetUnit,
    period: BudgetPeriod,
    /// What may be used in a period; micro-dollars for cost.
    #[schema(minimum = 1)]
    limit: i64,
    /// What is used in the present period; null where each one is counted for itself.
    used: Option<i64>,
    /// When the next period begins. RFC 3339.
    #[schema(format = DateTime, example = "2026-12-01T00:00:00.000Z")]
    resets_at: String,
    /// RFC 3339.
    #[schema(format = DateTime, example = "2026-11-20T10:00:00.000Z")]
    created_at: String,
}

/// A new budget.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NewBudget {
    scope: BudgetScope,
    /// The id of an agent or a key, or a visitor's name; absent means each one for itself, or the workspace.
    #[schema(max_length = 200)]
    subject: Option<String>,
    unit: BudgetUnit,
    period: BudgetPeriod,
    /// Micro-dollars for cost.
    #[schema(minimum = 1, maximum = 1_000_000_000_000_i64, example = 5_000_000)]
    limit: i64,
}

/// Changes of a budget; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct BudgetChanges {
    /// Holds in the present period already.
    #[schema(minimum = 1, maximum = 1_000_000_000_000_i64, nullable = false)]
    limit: Option<i64>,
}

/// List budgets
///
/// All of them, oldest first; a workspace has at most 100.
#[utoipa::path(
    get,
    path = "/api/v2/budgets",
    tag = "Usage",
    operation_id = "listBudgets",
    responses((status = 200, description = "Every budget.", body = Page<BudgetView>)),
)]
#[tracing::instrument(name = "handler.v2.budgets.list", skip_all)]
async fn list(State(state): State<AppState>, caller: Caller) -> ApiResult<Json<Page<BudgetView>>> {
    let mut conn = state.db.read().await?;
    let found = budgets::list(&mut conn, caller.workspace()).await?;
    let mut data = Vec::with_capacity(found.len());
    for budget in found {
        data.push(view(&state, &mut conn, budget).await?);
    }
    Ok(Json(Page { data, next_cursor: None }))
}

/// Create a budget
///
/// Used up, a visitor's budget answers chats with 429, any other with 402 `USAGE_LIMIT`. Events
/// `budget.reached` tell of 50, 80 and 100 per cent.
#[utoipa::path(
    post,
    path = "/api/v2/budgets",
    tag = "Usage",
    operation_id = "createBudget",
    request_body = NewBudget,
    responses(
        (status = 201, description = "The budget.", body = BudgetView),
        (status = 404, description = "The agent or key is not there.", body = ErrorEnvelope),
        (status = 409, description = "There is one of the same scope, subject, unit and period, or there are too many.", body = ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v2.budgets.create", skip_all)]
async fn create(
    State(state): State<AppState>,
    caller: Caller,
    Json(new): Json<NewBudget>,
) -> ApiResult<(StatusCode, Json<BudgetView>)> {
    let limit = read_limit(new.limit)?;
    let subject = match new.subject {
        Some(subject) => Some(read_subject(&state, &caller, new.scope, subject).await?),
        None => None,
    };
    let budget = Budget {
        id: state.ambient.new_id(),
        workspace_id: caller.workspace(),
        scope: new.scope.into(),
        subject,
        unit: new.unit.into(),
        period: new.period.into(),
        limit,
        created_at: state.ambient.now(),
    };
    let mut tx = state.db.write().await?;
    let stored = match budgets::insert(&mut tx, caller.workspace(), &budget).await {
        Err(StorageError::Conflict(_)) => return Err(taken().into()),
        stored => stored?,
    };
    if !stored {
        return Err(too_many().into());
    }
    let made = Changed::to(told(&budget));
    caller.audit(&mut tx, &state.ambient, "budget.created", budget.id, made).await?;
    tx.commit().await?;
    let mut conn = state.db.read().await?;
    Ok((StatusCode::CREATED, Json(view(&state, &mut conn, budget).await?)))
}

/// Change a budget
#[utoipa::path(
    put,
    path = "/api/v2/budgets/{budgetId}",
    tag = "Usage",
    operation_id = "updateBudget",
    params(("budgetId" = String, Path)),
    request_body = BudgetChanges,
    responses((status = 200, description = "The budget.", body = BudgetView)),
)]
#[tracing::instrument(name = "handler.v2.budgets.update", skip_all)]
async fn update(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<BudgetId>,
    Json(changes): Json<BudgetChanges>,
) -> ApiResult<Json<BudgetView>> {
    let workspace = caller.workspace();
    let limit = changes.limit.map(read_limit).transpose()?;
    let mut tx = state.db.write().await?;
    let absent = || DomainError::not_found("budget");
    let before = budgets::get(&mut tx, workspace, id).await?.ok_or_else(absent)?;
    if let Some(limit) = limit {
        budgets::set_limit(&mut tx, workspace, id, limit).await?;
    }
    let budget = budgets::get(&mut tx, workspace, id).await?.ok_or_else(absent)?;
    if budget.limit != before.limit {
        let sides = Changed::between(told(&before), told(&budget));
        caller.audit(&mut tx, &state.ambient, "budget.updated", id, sides).await?;
    }
    tx.commit().await?;
    let mut conn = state.db.read().await?;
    Ok(Json(view(&state, &mut conn, budget).await?))
}

/// Delete a budget
#[utoipa::path(
    delete,
    path = "/api/v2/budgets/{budgetId}",
    tag = "Usage",
    operation_id = "deleteBudget",
    params(("budgetId" = String, Path)),
    responses((status = 204, description = "It limits nothing any more.")),
)]
#[tracing::instrument(name = "handler.v2.budgets.delete", skip_all)]
async fn delete(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<BudgetId>,
) -> ApiResult<StatusCode> {
    let mut tx = state.db.write().await?;
    let absent = || DomainError::not_found("budget");
    let found = budgets::get(&mut tx, caller.workspace(), id).await?.ok_or_else(absent)?;
    if !budgets::delete(&mut tx, caller.workspace(), id).await? {
        return Err(absent().into());
    }
    let gone = Changed::from(told(&found));
    caller.audit(&mut tx, &state.ambient, "budget.deleted", id, gone).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What the audit log says of a budget.
fn told(budget: &Budget) -> serde_json::Value {
    serde_json::json!({
        "scope": budget.scope.name(),
        "unit": budget.unit.name(),
        "period": budget.period.name(),
        "limit": budget.limit,
    })
}

fn read_limit(limit: i64) -> ApiResult<i64> {
    if !(1..=MAX_LIMIT).contains(&limit) {
        let message = format!("`limit` must be a whole number from 1 to {MAX_LIMIT}");
        return Err(ApiError::invalid("limit", message));
    }
    Ok(limit)
}

/// Ids in bodies are checked like ids in paths: what is not the caller's is not there.
async fn read_subject(
    state: &AppState,
    caller: &Caller,
    scope: BudgetScope,
    subject: String,
) -> ApiResult<String> {
    let workspace = caller.workspace();
    let mut conn = state.db.read().await?;
    let (there, what) = match scope {
        BudgetScope::Workspace => {
            let message = "`subject` is not for the scope workspace; leave it out";
            return Err(ApiError::invalid("subject", message));
        }
        BudgetScope::Visitor => {
            let message = "`subject` must be a visitor's name of 1 to 200 characters";
            let visitor = VisitorId::parse(&subject);
            return match visitor {
                Some(_) => Ok(subject),
                None => Err(ApiError::invalid("subject", message)),
            };
        }
        BudgetScope::Agent => match subject.parse::<AgentId>() {
            Ok(id) => (agents::get(&mut conn, workspace, id).await?.is_some(), "agent"),
            Err(_) => (false, "agent"),
        },
        BudgetScope::ApiKey => match subject.parse::<ApiKeyId>() {
            Ok(id) => (api_keys::get(&mut conn, workspace, id).await?.is_some(), "API key"),
            Err(_) => (false, "API key"),
        },
    };
    if !there {
        return Err(DomainError::not_found(what).at("subject").into());
    }
    Ok(subject)
}

fn taken() -> DomainError {
    DomainError::conflict(
        "CONFLICT",
        "there is a budget of this scope, subject, unit and period already; change its limit",
    )
}

fn too_many() -> DomainError {
    let message = format!("a workspace has at most {MAX_BUDGETS} budgets; delete one first");
    DomainError::conflict("CONFLICT", message)
}

async fn view(state: &AppState, conn: &mut Conn, budget: Budget) -> ApiResult<BudgetView> {
    let (starts, resets) = budget.period.around(state.ambient.now());
    let counter = match budget.scope {
        budget::BudgetScope::Workspace => Some(""),
        _ => budget.subject.as_deref(),
    };
    let used = match counter {
        Some(counter) => {
            Some(budgets::used(conn, budget.workspace_id, budget.id, counter, starts).await?)
        }
        None => None,
    };
    Ok(BudgetView {
        id: budget.id.to_string(),
        scope: budget.scope.into(),
        subject: budget.subject,
        unit: budget.unit.into(),
        period: budget.period.into(),
        limit: budget.limit,
        used,
        resets_at: resets.to_rfc3339(),
        created_at: budget.created_at.to_rfc3339(),
    })
}
