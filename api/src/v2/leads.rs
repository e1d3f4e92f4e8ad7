//! Leads: what customers left so that somebody can get back to them.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::lead::Lead;
use domain::{Action, AgentId, LeadId, WorkspaceId};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use storage::leads;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use crate::auth::Caller;
use crate::csv;
use crate::error::{ApiError, ApiResult};
use crate::extract::{Json, Query};
use crate::paging::{Page, Paging};
use crate::routes::Routes;
use crate::state::AppState;

/// Leads read for a table at a time.
const BATCH: i64 = 500;

/// Most leads of a table.
const MOST: usize = 50_000;

pub(super) fn routes() -> Routes {
    Routes::new().route(Action::ReadConversations, routes!(list))
}

/// What a customer left in a conversation.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Lead)]
struct LeadView {
    #[schema(pattern = "^lead_[0-9a-f]{32}$")]
    id: String,
    /// The agent that noted it.
    #[schema(pattern = "^agent_[0-9a-f]{32}$")]
    agent_id: String,
    #[schema(pattern = "^conv_[0-9a-f]{32}$")]
    conversation_id: String,
    /// The customer, when an e-mail address or a phone number was among it.
    #[schema(pattern = "^contact_[0-9a-f]{32}$")]
    contact_id: Option<String>,
    /// What was left, by the names of the agent's fields.
    #[schema(example = json!({"name": "Ana", "email": "ana@ejemplo.com"}))]
    fields: BTreeMap<String, String>,
    /// RFC 3339.
    #[schema(format = DateTime, example = "2024-01-21T10:00:00.000Z")]
    created_at: String,
    /// RFC 3339.
    #[schema(format = DateTime, example = "2024-01-21T10:00:00.000Z")]
    updated_at: String,
}

/// Which leads.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
struct LeadQuery {
    /// Only those that this agent noted.
    #[param(value_type = String, required = false)]
    agent_id: Option<String>,
    /// `csv` for a table of all of them.
    #[param(value_type = String, required = false)]
    format: Option<String>,
    /// Entries of the page.
    #[param(value_type = i64, minimum = 1, maximum = 100, default = 20, required = false)]
    limit: Option<String>,
    /// The `nextCursor` of the page before.
    #[param(value_type = String, required = false)]
    cursor: Option<String>,
}

/// List leads
///
/// Newest first. With `format=csv`, or `Accept: text/csv`, all of them as a table with a column for each field.
#[utoipa::path(
    get,
    path = "/api/v2/leads",
    tag = "Leads",
    operation_id = "listLeads",
    params(LeadQuery),
    responses((status = 200, description = "A page of leads, or the table.", content((Page<LeadView> = "application/json"), (String = "text/csv")))),
)]
#[tracing::instrument(name = "handler.v2.leads.list", skip_all)]
async fn list(
    State(state): State<AppState>,
    caller: Caller,
    headers: HeaderMap,
    Query(query): Query<LeadQuery>,
) -> ApiResult<Response> {
    let paging = Paging::<LeadId>::parse(query.limit.as_deref(), query.cursor.as_deref())?;
    let workspace = caller.workspace();
    let table = match query.format.as_deref() {
        None => csv::wanted(&headers),
        Some("csv") => true,
        Some("json") => false,
        Some(_) => return Err(ApiError::invalid("format", "`format` must be json or csv")),
    };
    let agent = match query.agent_id.as_deref().map(str::parse::<AgentId>) {
        None => None,
        Some(Ok(agent)) => Some(agent),
        // A malformed id is nobody's: it finds nothing.
        Some(Err(_)) if table => return Ok(csv::response("leads.csv", csv::table([columns(&[])]))),
        Some(Err(_)) => {
            return Ok(Json(paging.page(Vec::new(), |lead: &Lead| lead.id, LeadView::from))
                .into_response());
        }
    };
    if table {
        let leads = all(&state, workspace, agent).await?;
        return Ok(csv::response("leads.csv", as_table(&leads)));
    }
    let mut conn = state.db.read().await?;
    let found = leads::list(&mut conn, workspace, agent, paging.after, paging.one_more()).await?;
    let page: Page<LeadView> = paging.page(found, |lead| lead.id, LeadView::from);
    Ok(Json(page).into_response())
}

/// Every lead up to a bound, newest first. No connection is held between two reads.
async fn all(
    state: &AppState,
    workspace: WorkspaceId,
    agent: Option<AgentId>,
) -> ApiResult<Vec<Lead>> {
    let mut found: Vec<Lead> = Vec::new();
    loop {
        let before = found.last().map(|lead| lead.id);
        let mut conn = state.db.read().await?;
        let batch = leads::list(&mut conn, workspace, agent, before, BATCH).await?;
        drop(conn);
        let last = batch.len() < usize::try_from(BATCH).unwrap_or(usize::MAX);
        found.extend(batch);
        if last || found.len() >= MOST {
            return Ok(found);
        }
    }
}

fn as_table(leads: &[Lead]) -> Vec<u8> {
    let names: BTreeSet<&str> =
        leads.iter().flat_map(|lead| lead.fields.keys().map(String::as_str)).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let row = |lead: &Lead| {
        let mut row = vec![
            lead.id.to_string(),
            lead.created_at.to_rfc3339(),
            lead.updated_at.to_rfc3339(),
            lead.agent_id.to_string(),
            lead.conversation_id.to_string(),
            lead.contact_id.map(|id| id.to_string()).unwrap_or_default(),
        ];
        row.extend(names.iter().map(|name| lead.fields.get(*name).cloned().unwrap_or_default()));
        row
    };
    csv::table(std::iter::once(columns(&names)).chain(leads.iter().map(row)))
}

fn columns(names: &[&str]) -> Vec<String> {
    let general = ["id", "createdAt", "updatedAt", "agentId", "conversationId", "contactId"];
    general.iter().chain(names).map(|name| (*name).to_owned()).collect()
}

impl From<Lead> for LeadView {
    fn from(lead: Lead) -> Self {
        Self {
            id: lead.id.to_string(),
            agent_id: lead.agent_id.to_string(),
            conversation_id: lead.conversation_id.to_string(),
            contact_id: lead.contact_id.map(|id| id.to_string()),
            fields: lead.fields,
            created_at: lead.created_at.to_rfc3339(),
            updated_at: lead.updated_at.to_rfc3339(),
        }
    }
}
