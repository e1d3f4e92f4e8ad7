//! For how long what customers said and who they are is kept.

use std::time::Duration;

use domain::job::NewJob;
use domain::{Ambient, Timestamp, WorkspaceId};
use serde_json::json;

use crate::sql::{Id, Micros};
use crate::{Conn, Result, Tx, jobs};

/// The kind of the job that looks each night what has been kept long enough, in all workspaces. It belongs to the oldest one:
/// whoever removes that wants it for the next.
pub const KIND: &str = "agents.retention";
/// Night in nearly all of the countries where Spanish and Portuguese are spoken, from Mexico to Spain: five in the morning,
/// UTC.
const NIGHT: Duration = Duration::from_hours(5);
const DAY: Duration = Duration::from_hours(24);
/// The priority of work that nobody waits for.
const LATER: i64 = 10;

/// After how many days what is removed; `None` is never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Conversations that nobody has written in since.
    pub conversation_days: Option<i64>,
    /// Contacts without conversations that have not changed since.
    pub contact_days: Option<i64>,
}

/// What a workspace has set.
pub async fn get(conn: &mut Conn, workspace: WorkspaceId) -> Result<Retention> {
    let row: Option<(Option<i64>, Option<i64>)> = conn
        .statement(
            "SELECT
                conversation_days,
                contact_days
            FROM retention
            WHERE workspace_id = $1",
        )
        .bind(Id(workspace))
        .optional()
        .await?;
    let kept = |(conversation_days, contact_days)| Retention { conversation_days, contact_days };
    Ok(row.map(kept).unwrap_or_default())
}

/// Sets it.
pub async fn set(
    tx: &mut Tx,
    workspace: WorkspaceId,
    retention: Retention,
    now: Timestamp,
) -> Result<()> {
    tx.statement(
        "INSERT INTO retention (
            workspace_id,
            conversation_days,
            contact_days,
            updated_at
        )
        VALUES ($1, $2, $3, $4)
        ON CONFLICT (workspace_id) DO UPDATE SET
            conversation_days = excluded.conversation_days,
            contact_days = excluded.contact_days,
            updated_at = excluded.updated_at",
    )
    .bind(Id(workspace))
    .bind(retention.conversation_days)
    .bind(retention.contact_days)
    .bind(Micros(now))
    .execute()
    .await?;
    Ok(())
}

/// Every workspace that has set something.
pub async fn all(conn: &mut Conn) -> Result<Vec<(WorkspaceId, Retention)>> {
    let rows: Vec<(Id<WorkspaceId>, Option<i64>, Option<i64>)> = conn
        .statement(
            "SELECT
                workspace_id,
                conversation_days,
                contact_days
            FROM retention
            WHERE conversation_days IS NOT NULL
                OR contact_days IS NOT NULL
            ORDER BY workspace_id",
        )
        .all()
        .await?;
    let kept = |(Id(workspace), conversation_days, contact_days)| {
        (workspace, Retention { conversation_days, contact_days })
    };
    Ok(rows.into_iter().map(kept).collect())
}

/// Wants the look of a night. The day names the job, so that several processes and restarts want it once.
pub async fn want(
    tx: &mut Tx,
    ambient: &Ambient,
    workspace: WorkspaceId,
    at: Timestamp,
) -> Result<()> {
    let job = NewJob {
        dedupe_key: Some(format!("day-{}", at.micros().div_euclid(micros(DAY)))),
        priority: LATER,
        ..NewJob::now(KIND, json!({}), at)
    };
    jobs::enqueue(tx, ambient, workspace, &job).await?;
    Ok(())
}

/// The beginning of the first night of another day.
pub fn next_night(now: Timestamp) -> Timestamp {
    let days = now.micros().div_euclid(micros(DAY)) + 1;
    Timestamp::from_micros(days * micros(DAY)).plus(NIGHT)
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
