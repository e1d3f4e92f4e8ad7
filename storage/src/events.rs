//! The outbox: every change that others care about, in the transaction that makes it, with a rising sequence.

use domain::{EventId, Timestamp, WorkspaceId};
use serde_json::Value;

use crate::{Conn, Result, Tx};

/// An event of the outbox.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Rising; a reader remembers the last one it has seen.
    pub seq: i64,
    /// Its id, for receivers that must not act twice.
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

/// Adds an event.
pub async fn insert(
    tx: &mut Tx,
    workspace: WorkspaceId,
    kind: &'static str,
    subject: &str,
    payload: &Value,
    now: Timestamp,
) -> Result<()> {
    todo!()
}

/// Events of a workspace above `after`, in order, leaving out those that a transaction still under way could precede.
pub async fn list(
    conn: &mut Conn,
    workspace: WorkspaceId,
    after: i64,
    limit: i64,
) -> Result<Vec<Event>> {
    todo!()
}

/// Removes events older than `before`, at most `limit`; how many.
pub async fn delete_older(tx: &mut Tx, before: Timestamp, limit: i64) -> Result<i64> {
    todo!()
}
