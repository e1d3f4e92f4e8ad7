//! Who changed what: the audit log, to read and to take away.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use domain::Action;
use futures::stream;
use serde::Serialize;
use storage::audit::{self, AuditFilter, AuditRecord};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::audit_query::AuditQuery;
use super::paging::{List, Meta};
use crate::auth::Caller;
use crate::csv;
use crate::error::{ApiError, ApiResult};
use crate::extract::{Json, Query};
use crate::routes::Routes;
use crate::state::AppState;

/// Entries that an export reads at once.
const BATCH: i64 = 500;

pub(super) fn routes() -> Routes {
    Routes::new().panel(Action::ReadAudit, routes!(list)).panel(Action::ReadAudit, routes!(export))
}

/// Somebody who changed something.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AuditActor {
    /// `user`, `api-key`, `visitor` or `system`.
    #[schema(example = "user")]
    kind: String,
    /// Their id; null for the server itself.
    id: Option<String>,
    /// Their name, while they are there.
    name: Option<String>,
}

/// A change.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AuditEntry {
    #[schema(pattern = "^audit_[0-9a-f]{32}$")]
    id: String,
    actor: AuditActor,
    /// The kind of thing and what happened to it.
    #[schema(example = "member.updated")]
    action: String,
    /// The id of what it was done to.
    subject: String,
    /// What it was; null for what was made. Never a secret.
    before: Option<serde_json::Value>,
    /// What it is; null for what is gone. Never a secret.
    after: Option<serde_json::Value>,
    /// The client's address.
    address: Option<String>,
    /// The client's own name for itself.
    user_agent: String,
    /// RFC 3339.
    #[schema(format = DateTime)]
    at: String,
}

/// List changes
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/v1/audit",
    tag = "Audit log",
    operation_id = "listAuditEntries",
    params(AuditQuery),
    responses((status = 200, description = "A page of changes.", body = List<AuditEntry>)),
)]
#[tracing::instrument(name = "handler.v1.audit.list", skip_all)]
async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<AuditQuery>,
) -> ApiResult<Json<List<AuditEntry>>> {
    let filter = query.filter()?;
    let (page, take) = query.page()?;
    let newest_first = query.newest_first()?;
    let (workspace, skip) = (caller.workspace(), (page - 1) * take);
    let mut conn = state.db.read().await?;
    let found = if newest_first {
        audit::list(&mut conn, workspace, &filter, skip, take).await?
    } else {
        audit::list_oldest(&mut conn, workspace, &filter, skip, take).await?
    };
    let item_count = audit::count(&mut conn, workspace, &filter).await?;
    let size = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
    let data = found.into_iter().map(AuditEntry::from).collect();
    Ok(Json(List { data, meta: Meta::of(size(page), size(take), size(item_count)) }))
}

/// Take the log away
///
/// As CSV (RFC 4180), oldest first; `before` and `after` as JSON. `page`, `take` and `order` are not heeded.
#[utoipa::path(
    get,
    path = "/v1/audit/export",
    tag = "Audit log",
    operation_id = "exportAuditEntries",
    params(AuditQuery),
    responses((status = 200, description = "Every change that fits.", content_type = "text/csv", body = String)),
)]
#[tracing::instrument(name = "handler.v1.audit.export", skip_all)]
async fn export(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<AuditQuery>,
) -> ApiResult<Response> {
    let mut filter = query.filter()?;
    // What happens while it is read would shift the rows.
    let now = state.ambient.now();
    filter.to = Some(filter.to.map_or(now, |to| to.min(now)));
    let workspace = caller.workspace();
    // A failure of the database is answered, as long as nothing was sent.
    let first = batch(&state, workspace, &filter, 0).await?;
    let rest = stream::try_unfold((Some(first), 0), move |(ready, skip)| {
        let (state, filter) = (state.clone(), filter.clone());
        async move {
            let entries = match ready {
                Some(entries) => entries,
                None => batch(&state, workspace, &filter, skip).await.map_err(broken)?,
            };
            if entries.is_empty() {
                return Ok(None);
            }
            let table = csv::table(entries.iter().map(row));
            Ok::<_, std::io::Error>(Some((table, (None, skip + BATCH))))
        }
    });
    let head = stream::once(async { Ok(csv::table([HEAD.map(str::to_owned).to_vec()])) });
    let body = Body::from_stream(futures::StreamExt::chain(head, rest));
    let mut response = csv::response("audit.csv", Vec::new());
    *response.body_mut() = body;
    Ok(response)
}

const HEAD: [&str; 11] = [
    "at",
    "actorKind",
    "actorId",
    "actorName",
    "action",
    "subject",
    "before",
    "after",
    "address",
    "userAgent",
    "id",
];

async fn batch(
    state: &AppState,
    workspace: domain::WorkspaceId,
    filter: &AuditFilter,
    skip: i64,
) -> ApiResult<Vec<AuditRecord>> {
    let mut conn = state.db.read().await?;
    Ok(audit::list_oldest(&mut conn, workspace, filter, skip, BATCH).await?)
}

#[expect(clippy::needless_pass_by_value, reason = "an adapter for map_err")]
fn broken(error: ApiError) -> std::io::Error {
    std::io::Error::other(error.domain().clone())
}

fn row(entry: &AuditRecord) -> Vec<String> {
    let json = |value: &Option<serde_json::Value>| {
        value.as_ref().map(serde_json::Value::to_string).unwrap_or_default()
    };
    vec![
        entry.at.to_rfc3339(),
        entry.actor_kind.clone(),
        entry.actor_id.clone().unwrap_or_default(),
        entry.actor_name.clone().unwrap_or_default(),
        entry.action.clone(),
        entry.subject.clone(),
        json(&entry.before),
        json(&entry.after),
        entry.address.clone().unwrap_or_default(),
        entry.user_agent.clone(),
        entry.id.to_string(),
    ]
}

impl From<AuditRecord> for AuditEntry {
    fn from(found: AuditRecord) -> Self {
        let actor =
            AuditActor { kind: found.actor_kind, id: found.actor_id, name: found.actor_name };
        Self {
            id: found.id.to_string(),
            actor,
            action: found.action,
            subject: found.subject,
            before: found.before,
            after: found.after,
            address: found.address,
            user_agent: found.user_agent,
            at: found.at.to_rfc3339(),
        }
    }
}
