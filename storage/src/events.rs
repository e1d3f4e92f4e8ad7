//! The outbox: every change that others care about, in the transaction that makes it, with a rising sequence.
//!
//! Events are written when their transaction commits, and take their numbers under the lock of the
//! workspace's row, which is held until the commit is visible. So within a workspace numbers follow
//! commits: a reader that has seen `n` will never see a new event below `n`, and nothing needs to be held
//! back. Being the last lock a transaction takes, it cannot be part of a deadlock with the others.

use domain::ids::PrefixedId;
use domain::{EventId, Timestamp, WorkspaceId};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::FromRow;

use crate::sql::{Id, Json, Micros, with_rows};
use crate::{Conn, Result, Tx};

/// An event of the outbox.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Rising within the workspace; a reader remembers the last one it has seen.
    pub seq: i64,
    /// Its id, for receivers that must not act twice. Follows from the rest of the event.
    pub id: EventId,
    /// `conversation.created`, `message.created`, `source.ready`…
    pub kind: String,
    /// Id of what it is about.
    pub subject: String,
    /// Ids and small facts; never whole texts of others.
    pub payload: Value,
    /// When.
    pub created_at: Timestamp,
}

/// An event that its transaction has yet to write.
#[derive(Debug)]
pub(crate) struct PendingEvent {
    workspace: WorkspaceId,
    kind: &'static str,
    subject: String,
    payload: Value,
    at: Timestamp,
}

#[derive(FromRow)]
struct EventRow {
    seq: i64,
    kind: String,
    subject: String,
    payload: Json<Value>,
    created_at: Micros,
}

/// Adds an event; `commit` writes it. Lost without an error when the transaction also removes the workspace.
#[expect(clippy::unused_async, reason = "every write of this crate is awaited")]
pub async fn insert(
    tx: &mut Tx,
    workspace: WorkspaceId,
    kind: &'static str,
    subject: &str,
    payload: &Value,
    now: Timestamp,
) -> Result<()> {
    tx.push_event(PendingEvent {
        workspace,
        kind,
        subject: subject.to_owned(),
        payload: payload.clone(),
        at: now,
    });
    Ok(())
}

/// Events of a workspace above `after`, in order. An event that is committed later has a higher number
/// than every event that a reader can see before.
pub async fn list(
    conn: &mut Conn,
    workspace: WorkspaceId,
    after: i64,
    limit: i64,
) -> Result<Vec<Event>> {
    let rows: Vec<EventRow> = conn
        .statement(
            "SELECT
                seq,
                kind,
                subject,
                payload,
                created_at
            FROM events
            WHERE workspace_id = $1
                AND seq > $2
            ORDER BY seq
            LIMIT $3",
        )
        .bind(Id(workspace))
        .bind(after)
        .bind(limit)
        .all()
        .await?;
    Ok(rows.into_iter().map(|row| row.into_event(workspace)).collect())
}

/// The number of the newest event of a workspace, 0 before the first; `None` when the workspace is absent.
pub async fn newest(conn: &mut Conn, workspace: WorkspaceId) -> Result<Option<i64>> {
    let row: Option<(i64,)> = conn
        .statement(
            "SELECT event_seq
            FROM workspaces
            WHERE id = $1",
        )
        .bind(Id(workspace))
        .optional()
        .await?;
    Ok(row.map(|(seq,)| seq))
}

/// Removes events older than `before`, at most `limit`; how many.
pub async fn delete_older(tx: &mut Tx, before: Timestamp, limit: i64) -> Result<i64> {
    tx.statement(
        "DELETE FROM events
        WHERE (workspace_id, seq) IN (
            SELECT workspace_id, seq
            FROM events
            WHERE created_at < $1
            ORDER BY created_at
            LIMIT $2
        )",
    )
    .bind(Micros(before))
    .bind(limit)
    .execute()
    .await
}

/// Writes the events of a transaction that is about to commit; the workspaces that have some.
pub(crate) async fn write(conn: &mut Conn, pending: &[PendingEvent]) -> Result<Vec<WorkspaceId>> {
    let mut workspaces: Vec<WorkspaceId> = pending.iter().map(|event| event.workspace).collect();
    // Locks are taken in the same order by everyone.
    workspaces.sort_unstable();
    workspaces.dedup();
    for &workspace in &workspaces {
        let events: Vec<_> = pending.iter().filter(|e| e.workspace == workspace).collect();
        write_of(conn, workspace, &events).await?;
    }
    Ok(workspaces)
}

async fn write_of(conn: &mut Conn, workspace: WorkspaceId, events: &[&PendingEvent]) -> Result<()> {
    let count = i64::try_from(events.len()).unwrap_or(i64::MAX);
    conn.statement(
        "UPDATE workspaces
        SET event_seq = event_seq + $2
        WHERE id = $1",
    )
    .bind(Id(workspace))
    .bind(count)
    .later()
    .await?;
    let rows: Vec<Value> = (1 - count..)
        .zip(events)
        .map(|(at, e)| json!([at, e.kind, e.subject, e.payload.to_string(), e.at.micros()]))
        .collect();
    conn.statement(with_rows!(
        "INSERT INTO events (
            workspace_id,
            seq,
            kind,
            subject,
            payload,
            created_at
        )
        SELECT
            workspaces.id,
            workspaces.event_seq + CAST(value->>0 AS BIGINT),
            value->>1,
            value->>2,
            value->>3,
            CAST(value->>4 AS BIGINT)
        FROM workspaces
        CROSS JOIN ",
        "$2",
        " WHERE workspaces.id = $1"
    ))
    .bind(Id(workspace))
    .json(&rows)
    .later()
    .await
}

impl EventRow {
    fn into_event(self, workspace: WorkspaceId) -> Event {
        let Micros(created_at) = self.created_at;
        Event {
            seq: self.seq,
            id: event_id(workspace, self.seq, &self.subject, created_at),
            kind: self.kind,
            subject: self.subject,
            payload: self.payload.0,
            created_at,
        }
    }
}

/// A UUID version 7 whose random part is a digest of what makes the event unique, also after a restored
/// backup has handed out the same number again.
fn event_id(workspace: WorkspaceId, seq: i64, subject: &str, at: Timestamp) -> EventId {
    let name = format!("{workspace}/{seq}/{}/{subject}", at.micros());
    let digest: [u8; 32] = Sha256::digest(name.as_bytes()).into();
    let mut tail = [0; 10];
    tail.copy_from_slice(&digest[..10]);
    let millis = u64::try_from(at.millis()).unwrap_or(0);
    EventId::from_uuid(uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid())
}
