//! Turns that go on when their reader leaves: who runs them, and what their readers are told.
//!
//! What is told is opaque here. It is kept for a while after the turn; the row of the turn stays, so that a late
//! reader is known to ask for a turn that there was.

use domain::{AgentId, ConversationId, MessageId, Timestamp, WorkspaceId};
use sqlx::FromRow;

use crate::sql::{Id, Json, Micros};
use crate::{Conn, Result, StorageError, Tx, Wakeup};

/// What a reader is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamEvent {
    /// Rising within the turn, from 1.
    pub id: i64,
    /// What kind of event.
    pub kind: String,
    /// The event itself, in the words of whoever told it.
    pub data: String,
}

/// A turn that is about to begin.
#[derive(Debug, Clone, Copy)]
pub struct NewStream<'a> {
    /// The id that the answer will have.
    pub message: MessageId,
    /// Its conversation.
    pub conversation: ConversationId,
    /// The message that is answered.
    pub question: MessageId,
    /// The process that runs the turn.
    pub owner: &'a str,
    /// Until when that process is taken to live.
    pub live_until: Timestamp,
}

/// A turn that goes on when its reader leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnStream {
    /// The id of the answer.
    pub message: MessageId,
    /// Its conversation.
    pub conversation: ConversationId,
    /// How far it is.
    pub state: StreamState,
    /// Until when its process is taken to live; when it ended, once it has.
    pub live_until: Timestamp,
    /// The id of the newest event that was stored; 0 before the first.
    pub last_event: i64,
}

/// How far a turn is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamState {
    /// Under way, while its process lives.
    Open,
    /// Over: its last event is stored.
    Ended,
    /// Its events are gone.
    Swept,
}

/// Events of one turn, to be stored together.
#[derive(Debug, Clone, Copy)]
pub struct StreamBatch<'a> {
    /// The turn, by its answer.
    pub message: MessageId,
    /// In the order of their ids; at least one.
    pub events: &'a [StreamEvent],
    /// Whether the last one is the turn's last.
    pub ended: bool,
}

/// Id, kind and data of an event.
type StoredEvent = (i64, String, String);

#[derive(FromRow)]
struct StreamRow {
    message_id: Id<MessageId>,
    conversation_id: Id<ConversationId>,
    state: String,
    live_until: Micros,
    last_event: i64,
}

macro_rules! select_streams {
    ($rest:literal) => {
        concat!(
            "SELECT
                turn_streams.message_id,
                turn_streams.conversation_id,
                turn_streams.state,
                turn_streams.live_until,
                turn_streams.last_event
            FROM turn_streams ",
            $rest
        )
    };
}

/// Notes a turn before it begins.
pub async fn insert(tx: &mut Tx, workspace: WorkspaceId, stream: &NewStream<'_>) -> Result<()> {
    tx.statement(
        "INSERT INTO turn_streams (
            message_id,
            workspace_id,
            conversation_id,
            question_id,
            state,
            owner,
            live_until,
            last_event
        )
        VALUES ($1, $2, $3, $4, 'open', $5, $6, 0)",
    )
    .bind(Id(stream.message))
    .bind(Id(workspace))
    .bind(Id(stream.conversation))
    .bind(Id(stream.question))
    .bind(stream.owner)
    .bind(Micros(stream.live_until))
    .later()
    .await
}

/// The turn of that agent that writes, or wrote, `message`.
pub async fn get(
    conn: &mut Conn,
    workspace: WorkspaceId,
    agent: AgentId,
    message: MessageId,
) -> Result<Option<TurnStream>> {
    let row: Option<StreamRow> = conn
        .statement(select_streams!(
            "JOIN conversations
                ON conversations.id = turn_streams.conversation_id
            WHERE turn_streams.workspace_id = $1
                AND turn_streams.message_id = $3
                AND conversations.workspace_id = $1
                AND conversations.agent_id = $2"
        ))
        .bind(Id(workspace))
        .bind(Id(agent))
        .bind(Id(message))
        .optional()
        .await?;
    row.map(StreamRow::into_stream).transpose()
}

/// The newest turn that answers `question`.
pub async fn of_question(
    conn: &mut Conn,
    workspace: WorkspaceId,
    question: MessageId,
) -> Result<Option<TurnStream>> {
    let row: Option<StreamRow> = conn
        .statement(select_streams!(
            "WHERE workspace_id = $1
                AND question_id = $2
            ORDER BY message_id DESC
            LIMIT 1"
        ))
        .bind(Id(workspace))
        .bind(Id(question))
        .optional()
        .await?;
    row.map(StreamRow::into_stream).transpose()
}

/// Stores events of a turn that `owner` runs, which is known to live until `live_until` thereby; a turn that they end
/// has ended then. `false`, and nothing is stored, when the turn is over already or another's.
pub async fn append(
    tx: &mut Tx,
    workspace: WorkspaceId,
    batch: &StreamBatch<'_>,
    owner: &str,
    live_until: Timestamp,
) -> Result<bool> {
    let (Some(first), Some(last)) = (batch.events.first(), batch.events.last()) else {
        return Ok(true);
    };
    let stored = tx
        .statement(
            "UPDATE turn_streams
            SET
                state = $4,
                live_until = $5,
                last_event = $6
            WHERE workspace_id = $1
                AND message_id = $2
                AND owner = $3
                AND state = 'open'",
        )
        .bind(Id(workspace))
        .bind(Id(batch.message))
        .bind(owner)
        .bind(if batch.ended { "ended" } else { "open" })
        .bind(Micros(live_until))
        .bind(last.id)
        .changed()
        .await?;
    if !stored {
        return Ok(false);
    }
    insert_events(tx, workspace, batch.message, (first.id, last.id), batch.events).await?;
    Ok(true)
}

/// Ends a turn whose process was taken to live until `now` at most; `false` when it lives, or the turn is over.
pub async fn lose(
    tx: &mut Tx,
    workspace: WorkspaceId,
    message: MessageId,
    end: &StreamEvent,
    now: Timestamp,
) -> Result<bool> {
    let lost = tx
        .statement(
            "UPDATE turn_streams
            SET
                state = 'ended',
                live_until = $3,
                last_event = $4
            WHERE workspace_id = $1
                AND message_id = $2
                AND state = 'open'
                AND live_until <= $3",
        )
        .bind(Id(workspace))
        .bind(Id(message))
        .bind(Micros(now))
        .bind(end.id)
        .changed()
        .await?;
    if lost {
        let events = std::slice::from_ref(end);
        insert_events(tx, workspace, message, (end.id, end.id), events).await?;
    }
    Ok(lost)
}

/// Events after `after`, in order, of at most `batches` batches.
pub async fn events(
    conn: &mut Conn,
    workspace: WorkspaceId,
    message: MessageId,
    after: i64,
    batches: i64,
) -> Result<Vec<StreamEvent>> {
    let rows: Vec<(Json<Vec<StoredEvent>>,)> = conn
        .statement(
            "SELECT events
            FROM turn_events
            WHERE workspace_id = $1
                AND message_id = $2
                AND last_event > $3
            ORDER BY first_event
            LIMIT $4",
        )
        .bind(Id(workspace))
        .bind(Id(message))
        .bind(after)
        .bind(batches)
        .all()
        .await?;
    let all = rows.into_iter().flat_map(|(Json(events),)| events);
    let new = all.filter(|(id, ..)| *id > after);
    Ok(new.map(|(id, kind, data)| StreamEvent { id, kind, data }).collect())
}

/// The process goes on living: its turns under way are taken to live until `until`.
pub async fn prolong(tx: &mut Tx, owner: &str, until: Timestamp) -> Result<()> {
    tx.statement(
        "UPDATE turn_streams
        SET live_until = $2
        WHERE owner = $1
            AND state = 'open'",
    )
    .bind(owner)
    .bind(Micros(until))
    .execute()
    .await?;
    Ok(())
}

/// The process is gone: its turns under way are taken to have lived until `now`.
pub async fn abandon(tx: &mut Tx, owner: &str, now: Timestamp) -> Result<()> {
    tx.statement(
        "UPDATE turn_streams
        SET live_until = $2
        WHERE owner = $1
            AND state = 'open'
            AND live_until > $2",
    )
    .bind(owner)
    .bind(Micros(now))
    .execute()
    .await?;
    tx.wake(Wakeup::Streams);
    Ok(())
}

/// Asks for the end of the turn that writes `message`, also while it waits for its time, and wakes up whoever runs
/// it; `false` when no turn under way of that agent does.
pub async fn want_stop(
    tx: &mut Tx,
    workspace: WorkspaceId,
    agent: AgentId,
    message: MessageId,
    now: Timestamp,
) -> Result<bool> {
    let found = tx
        .statement(
            "UPDATE turn_streams
            SET stop_at = $4
            WHERE workspace_id = $1
                AND message_id = $3
                AND state = 'open'
                AND live_until > $4
                AND EXISTS (
                    SELECT 1
                    FROM conversations
                    WHERE conversations.workspace_id = $1
                        AND conversations.id = turn_streams.conversation_id
                        AND conversations.agent_id = $2
                )",
        )
        .bind(Id(workspace))
        .bind(Id(agent))
        .bind(Id(message))
        .bind(Micros(now))
        .changed()
        .await?;
    if found {
        tx.wake(Wakeup::Stops);
    }
    Ok(found)
}

/// The answers whose end somebody asked for, of the turns under way that `owner` runs.
pub async fn stops_wanted(conn: &mut Conn, owner: &str) -> Result<Vec<(WorkspaceId, MessageId)>> {
    let rows: Vec<(Id<WorkspaceId>, Id<MessageId>)> = conn
        .statement(
            "SELECT
                workspace_id,
                message_id
            FROM turn_streams
            WHERE owner = $1
                AND state = 'open'
                AND stop_at IS NOT NULL",
        )
        .bind(owner)
        .all()
        .await?;
    Ok(rows.into_iter().map(|(workspace, message)| (workspace.0, message.0)).collect())
}

/// Removes the events of turns that ended, or whose process was last known to live, before `before`; of at most
/// `limit` turns; how many.
pub async fn sweep(tx: &mut Tx, before: Timestamp, limit: i64) -> Result<i64> {
    tx.statement(
        "DELETE FROM turn_events
        WHERE message_id IN (
            SELECT message_id
            FROM turn_streams
            WHERE live_until < $1
                AND state <> 'swept'
            ORDER BY live_until, message_id
            LIMIT $2
        )",
    )
    .bind(Micros(before))
    .bind(limit)
    .execute()
    .await?;
    tx.statement(
        "UPDATE turn_streams
        SET state = 'swept'
        WHERE message_id IN (
            SELECT message_id
            FROM turn_streams
            WHERE live_until < $1
                AND state <> 'swept'
            ORDER BY live_until, message_id
            LIMIT $2
        )",
    )
    .bind(Micros(before))
    .bind(limit)
    .execute()
    .await
}

async fn insert_events(
    tx: &mut Tx,
    workspace: WorkspaceId,
    message: MessageId,
    (first, last): (i64, i64),
    events: &[StreamEvent],
) -> Result<()> {
    let rows: Vec<_> = events.iter().map(|event| (event.id, &event.kind, &event.data)).collect();
    tx.wake(Wakeup::Streams);
    tx.statement(
        "INSERT INTO turn_events (
            message_id,
            workspace_id,
            first_event,
            last_event,
            events
        )
        VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(Id(message))
    .bind(Id(workspace))
    .bind(first)
    .bind(last)
    .json(&rows)
    .later()
    .await
}

impl StreamRow {
    fn into_stream(self) -> Result<TurnStream> {
        let state = match self.state.as_str() {
            "open" => StreamState::Open,
            "ended" => StreamState::Ended,
            "swept" => StreamState::Swept,
            other => return Err(StorageError::decode("turn_streams.state", &other)),
        };
        Ok(TurnStream {
            message: self.message_id.0,
            conversation: self.conversation_id.0,
            state,
            live_until: self.live_until.0,
            last_event: self.last_event,
        })
    }
}
