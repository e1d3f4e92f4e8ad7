//! Conversations.

use domain::conversation::{Channel, Conversation, ConversationStatus, Handler, Transition, apply};
use domain::inbox::{By, Happening};
use domain::message::Message;
use domain::{
    AgentId, ContactId, ConversationId, MessageId, ProjectId, Timestamp, VisitorId, WorkspaceId,
};
use serde_json::json;
use sqlx::FromRow;

use crate::messages::{self, NewMessage};
use crate::sql::{Dialects, Id, Micros, Name, Statement, with_list};
use crate::{Conn, Result, StorageError, Tx, Wakeup, events, inbox};

/// Which conversations to list.
#[derive(Debug, Clone, Default)]
pub struct ConversationFilter {
    /// Only with this agent.
    pub agent: Option<AgentId>,
    /// Only in this status.
    pub status: Option<ConversationStatus>,
}

#[derive(FromRow)]
struct ConversationRow {
    id: Id<ConversationId>,
    workspace_id: Id<WorkspaceId>,
    agent_id: Id<AgentId>,
    channel: Name<Channel>,
    project_id: Option<Id<ProjectId>>,
    visitor_id: Option<String>,
    contact_id: Option<Id<ContactId>>,
    status: Name<ConversationStatus>,
    handler: Name<Handler>,
    title: String,
    messages_count: i64,
    last_seq: i64,
    context_after: i64,
    created_at: Micros,
    updated_at: Micros,
    closed_at: Option<Micros>,
}

macro_rules! conversation_columns {
    () => {
        "
            id,
            workspace_id,
            agent_id,
            channel,
            project_id,
            visitor_id,
            contact_id,
            status,
            handler,
            title,
            messages_count,
            last_seq,
            context_after,
            created_at,
            updated_at,
            closed_at"
    };
}

macro_rules! select_conversations {
    ($rest:literal) => {
        concat!("SELECT", conversation_columns!(), " FROM conversations ", $rest)
    };
}

/// A turn of a conversation, taken.
#[derive(Debug, Clone, Copy)]
pub struct TurnLock<'a> {
    /// The process that answers.
    pub owner: &'a str,
    /// The answer that it writes.
    pub answer: MessageId,
    /// When others may take the turn.
    pub until: Timestamp,
}

/// Stores a new conversation and its `conversation.created` event, with its turn taken where one is given.
/// `Conflict` when the workspace has no such agent.
pub async fn insert(
    tx: &mut Tx,
    conversation: &Conversation,
    turn: Option<&TurnLock<'_>>,
) -> Result<()> {
    let insertion = insertion(tx, conversation, turn).then(" RETURNING id");
    let stored: Option<(Id<ConversationId>,)> = insertion.optional().await?;
    if stored.is_none() {
        return Err(StorageError::without_parent());
    }
    inbox::add_words(tx, conversation.workspace_id, conversation.id, &conversation.title).await?;
    let by = By::Customer;
    tell(tx, conversation, "conversation.created", by, conversation.created_at).await
}

/// As [`insert`] and then [`messages::insert`] of its first message, which it gives with its sequence number. Nothing of it waits
/// for an answer of the database: `Conflict` comes from here, or from a later statement of the transaction or its commit.
pub async fn begin(
    tx: &mut Tx,
    conversation: &Conversation,
    turn: Option<&TurnLock<'_>>,
    message: &NewMessage,
    now: Timestamp,
) -> Result<Message> {
    let (workspace, id) = (conversation.workspace_id, conversation.id);
    let begun = Conversation { messages_count: 1, ..conversation.clone() };
    // Without such an agent there is no row that the message could belong to.
    insertion(tx, &begun, turn).later().await?;
    let texts = [conversation.title.as_str(), message.message.content.as_str()];
    inbox::add_all_words(tx, workspace, id, &texts).await?;
    tell(tx, conversation, "conversation.created", By::Customer, conversation.created_at).await?;
    messages::insert_first(tx, workspace, message, now).await
}

/// What stores a conversation whose agent is there, with as many messages as it says.
fn insertion<'c>(
    conn: &'c mut Conn,
    conversation: &Conversation,
    turn: Option<&TurnLock<'_>>,
) -> Statement<'c> {
    conn.statement(
        "INSERT INTO conversations (
            id,
            workspace_id,
            agent_id,
            channel,
            visitor_id,
            contact_id,
            status,
            handler,
            title,
            messages_count,
            last_seq,
            context_after,
            created_at,
            updated_at,
            closed_at,
            turn_owner,
            turn_answer,
            turn_until,
            project_id
        )
        SELECT
            $3,
            workspace_id,
            id,
            $4,
            $5,
            $6,
            $7,
            $8,
            $9,
            $10,
            $10,
            $11,
            $12,
            $13,
            $14,
            $15,
            $16,
            $17,
            $18
        FROM agents
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(conversation.workspace_id))
    .bind(Id(conversation.agent_id))
    .bind(Id(conversation.id))
    .bind(Name(conversation.channel))
    .bind(conversation.visitor_id.as_ref().map(VisitorId::as_str))
    .bind(conversation.contact_id.map(Id))
    .bind(Name(conversation.status))
    .bind(Name(conversation.handler))
    .bind(&conversation.title)
    .bind(conversation.messages_count)
    .bind(conversation.context_after)
    .bind(Micros(conversation.created_at))
    .bind(Micros(conversation.updated_at))
    .bind(conversation.closed_at.map(Micros))
    .bind(turn.map(|turn| turn.owner))
    .bind(turn.map(|turn| Id(turn.answer)))
    .bind(turn.map(|turn| Micros(turn.until)))
    .bind(conversation.project_id.map(Id))
}

/// The conversation.
pub async fn get(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: ConversationId,
) -> Result<Option<Conversation>> {
    let row: Option<ConversationRow> = conn
        .statement(select_conversations!(
            "WHERE workspace_id = $1
                AND id = $2"
        ))
        .bind(Id(workspace))
        .bind(Id(id))
        .optional()
        .await?;
    row.map(ConversationRow::into_conversation).transpose()
}

/// Conversations, newest first, older than `before`.
pub async fn list(
    conn: &mut Conn,
    workspace: WorkspaceId,
    filter: &ConversationFilter,
    before: Option<ConversationId>,
    limit: i64,
) -> Result<Vec<Conversation>> {
    let rows: Vec<ConversationRow> = conn
        .statement(select_conversations!(
            "WHERE workspace_id = $1
                AND id < COALESCE($2, '~')"
        ))
        .bind(Id(workspace))
        .bind(before.map(Id))
        .when(" AND agent_id = ", filter.agent.map(Id))
        .when(" AND status = ", filter.status.map(Name))
        .then(" ORDER BY id DESC")
        .when(" LIMIT ", Some(limit))
        .all()
        .await?;
    rows.into_iter().map(ConversationRow::into_conversation).collect()
}

/// The conversations that a visitor began on a site, the newest first, each with the number of its newest message.
pub async fn of_visitor(
    conn: &mut Conn,
    workspace: WorkspaceId,
    project: ProjectId,
    visitor: &VisitorId,
    limit: i64,
) -> Result<Vec<(Conversation, i64)>> {
    let rows: Vec<ConversationRow> = conn
        .statement(select_conversations!(
            "WHERE workspace_id = $1
                AND project_id = $2
                AND visitor_id = $3
            ORDER BY id DESC
            LIMIT $4"
        ))
        .bind(Id(workspace))
        .bind(Id(project))
        .bind(visitor.as_str())
        .bind(limit)
        .all()
        .await?;
    let last = |row: ConversationRow| {
        let last = row.last_seq;
        Ok((row.into_conversation()?, last))
    };
    rows.into_iter().map(last).collect()
}

/// A page of the conversations of a contact, oldest first, or newest first with `descending`.
pub async fn of_contact(
    conn: &mut Conn,
    workspace: WorkspaceId,
    contact: ContactId,
    descending: bool,
    offset: i64,
    limit: i64,
) -> Result<Vec<Conversation>> {
    let text = if descending {
        select_conversations!(
            "WHERE workspace_id = $1
                AND contact_id = $2
            ORDER BY id DESC
            LIMIT $3
            OFFSET $4"
        )
    } else {
        select_conversations!(
            "WHERE workspace_id = $1
                AND contact_id = $2
            ORDER BY id
            LIMIT $3
            OFFSET $4"
        )
    };
    let rows: Vec<ConversationRow> = conn
        .statement(text)
        .bind(Id(workspace))
        .bind(Id(contact))
        .bind(limit)
        .bind(offset)
        .all()
        .await?;
    rows.into_iter().map(ConversationRow::into_conversation).collect()
}

/// How many conversations a contact has.
pub async fn count_of_contact(
    conn: &mut Conn,
    workspace: WorkspaceId,
    contact: ContactId,
) -> Result<i64> {
    let (count,): (i64,) = conn
        .statement(
            "SELECT CAST(COUNT(*) AS BIGINT)
            FROM conversations
            WHERE workspace_id = $1
                AND contact_id = $2",
        )
        .bind(Id(workspace))
        .bind(Id(contact))
        .one()
        .await?;
    Ok(count)
}

/// As [`transition_by`], done by whoever does such a thing by themselves: the agent asks for a person and closes, the
/// customer comes back.
pub async fn transition(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ConversationId,
    transition: Transition,
    now: Timestamp,
) -> Result<Option<Conversation>> {
    let by = match transition {
        Transition::RequestHuman | Transition::Close => By::Agent,
        Transition::CustomerReturns => By::Customer,
        _ => By::System,
    };
    transition_by(tx, workspace, id, (transition, by), now).await
}

/// Applies a transition (`domain::conversation::apply`) under a row lock, with its events (`conversation.updated`, and `conversation.closed` or `handoff.requested`) and its entry of what happened; the conversation afterwards, `None` when absent. One that gives the conversation back to the agent moves `context_after` to the newest message. A transition that changes nothing writes nothing and tells nobody. What enters the queue is given to a member at once where the workspace wants that.
pub async fn transition_by(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ConversationId,
    (transition, by): (Transition, By),
    now: Timestamp,
) -> Result<Option<Conversation>> {
    let Some(moved) = change(tx, workspace, id, (transition, by), now).await? else {
        return Ok(None);
    };
    let Moved { before, after } = moved;
    if before == after {
        return Ok(Some(after));
    }
    let kind = happening(transition);
    inbox::log::write(tx, workspace, id, (kind, by), &json!({}), now).await?;
    let queued = after.handler == Handler::Queue && before.handler != Handler::Queue;
    if queued && inbox::hand_out(tx, workspace, id, now).await?.is_some() {
        return get(tx, workspace, id).await;
    }
    if before.handler == Handler::Operator {
        inbox::hand_out_waiting(tx, workspace, 1, now).await?;
    }
    Ok(Some(after))
}

/// A conversation before and after a transition.
pub(crate) struct Moved {
    pub(crate) before: Conversation,
    pub(crate) after: Conversation,
}

/// As [`transition_by`], without the entry of what happened and without handing anything out.
pub(crate) async fn change(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ConversationId,
    (transition, by): (Transition, By),
    now: Timestamp,
) -> Result<Option<Moved>> {
    let Some(row) = locked(tx, workspace, id).await? else { return Ok(None) };
    let last_seq = row.last_seq;
    let before = row.into_conversation()?;
    let (status, handler) = apply(before.status, before.handler, transition);
    if (status, handler) == (before.status, before.handler) {
        return Ok(Some(Moved { after: before.clone(), before }));
    }
    let closes = status == ConversationStatus::Closed;
    let returns = before.handler != Handler::Bot && handler == Handler::Bot;
    let returns = returns || transition == Transition::CustomerReturns;
    let after = Conversation {
        status,
        handler,
        context_after: if returns { last_seq } else { before.context_after },
        closed_at: if closes { Some(now) } else { before.closed_at },
        updated_at: now,
        ..before.clone()
    };
    write_state(tx, &after).await?;
    if handler == Handler::Operator && before.handler != handler {
        stop_turn(tx, &after, now).await?;
    }
    tell(tx, &after, "conversation.updated", by, now).await?;
    if closes && before.status != status {
        tell(tx, &after, "conversation.closed", by, now).await?;
    }
    if handler == Handler::Queue && before.handler != handler {
        tell(tx, &after, "handoff.requested", by, now).await?;
    }
    Ok(Some(Moved { before, after }))
}

/// Tells of a conversation that was put back into the queue: who answers is another, and one that is not closed waits for a
/// person.
pub(crate) async fn tell_queued(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ConversationId,
    by: By,
    now: Timestamp,
) -> Result<()> {
    let Some(queued) = get(tx, workspace, id).await? else { return Ok(()) };
    tell(tx, &queued, "conversation.updated", by, now).await?;
    if queued.is_closed() {
        return Ok(());
    }
    tell(tx, &queued, "handoff.requested", by, now).await
}

/// What a transition is called among what happened.
fn happening(transition: Transition) -> Happening {
    match transition {
        Transition::RequestHuman => Happening::HandoffRequested,
        Transition::Close => Happening::Closed,
        Transition::Reopen => Happening::Reopened,
        Transition::CustomerReturns => Happening::CustomerReturned,
        Transition::MarkPending => Happening::MarkedPending,
        Transition::TakeOver => Happening::TakenOver,
        Transition::Assign => Happening::Assigned,
        Transition::HandBack => Happening::HandedBack,
    }
}

/// Takes the turn of a conversation; `false` while another process holds it, and when the conversation is absent.
/// Retaken by its own owner.
pub async fn lock_turn(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ConversationId,
    turn: &TurnLock<'_>,
    now: Timestamp,
) -> Result<bool> {
    let locking = locking(tx, workspace, id, turn, now).then(" RETURNING id");
    let row: Option<(Id<ConversationId>,)> = locking.optional().await?;
    Ok(row.is_some())
}

/// As [`lock_turn`], giving the conversation; `None` where that is `false`.
pub async fn take_turn(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ConversationId,
    turn: &TurnLock<'_>,
    now: Timestamp,
) -> Result<Option<Conversation>> {
    let locking = locking(tx, workspace, id, turn, now);
    let locking = locking.then(concat!(" RETURNING", conversation_columns!()));
    let row: Option<ConversationRow> = locking.optional().await?;
    row.map(ConversationRow::into_conversation).transpose()
}

/// What takes a turn where it is free.
fn locking<'c>(
    conn: &'c mut Conn,
    workspace: WorkspaceId,
    id: ConversationId,
    turn: &TurnLock<'_>,
    now: Timestamp,
) -> Statement<'c> {
    conn.statement(
        "UPDATE conversations
        SET
            turn_owner = $3,
            turn_answer = $4,
            turn_until = $6,
            turn_stop_at = CASE
                WHEN turn_answer = $4 THEN turn_stop_at
            END
        WHERE workspace_id = $1
            AND id = $2
            AND (
                turn_owner IS NULL
                OR turn_owner = $3
                OR turn_until <= $5
            )",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(turn.owner)
    .bind(Id(turn.answer))
    .bind(Micros(now))
    .bind(Micros(turn.until))
}

/// Gives the turn back if `owner` still holds it.
pub async fn unlock_turn(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ConversationId,
    owner: &str,
) -> Result<()> {
    tx.statement(
        "UPDATE conversations
        SET
            turn_owner = NULL,
            turn_answer = NULL,
            turn_until = NULL,
            turn_stop_at = NULL
        WHERE workspace_id = $1
            AND id = $2
            AND turn_owner = $3",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(owner)
    .later()
    .await
}

/// Asks for the end of the turn that writes `answer`, and wakes up whoever runs it; `false` when no turn under way
/// of that agent does.
pub async fn want_stop(
    tx: &mut Tx,
    workspace: WorkspaceId,
    agent: AgentId,
    answer: MessageId,
    now: Timestamp,
) -> Result<bool> {
    let found = tx
        .statement(
            "UPDATE conversations
            SET turn_stop_at = $4
            WHERE workspace_id = $1
                AND agent_id = $2
                AND turn_answer = $3
                AND turn_until > $4",
        )
        .bind(Id(workspace))
        .bind(Id(agent))
        .bind(Id(answer))
        .bind(Micros(now))
        .changed()
        .await?;
    if found {
        tx.wake(Wakeup::Stops);
    }
    Ok(found)
}

/// Asks for the end of the turn under way in a conversation that a person has taken over: its answer would not be stored.
async fn stop_turn(tx: &mut Tx, conversation: &Conversation, now: Timestamp) -> Result<()> {
    let found = tx
        .statement(
            "UPDATE conversations
            SET turn_stop_at = $3
            WHERE workspace_id = $1
                AND id = $2
                AND turn_answer IS NOT NULL
                AND turn_until > $3",
        )
        .bind(Id(conversation.workspace_id))
        .bind(Id(conversation.id))
        .bind(Micros(now))
        .changed()
        .await?;
    if found {
        tx.wake(Wakeup::Stops);
    }
    Ok(())
}

/// The answers whose end somebody asked for, of the turns that `owner` holds.
pub async fn stops_wanted(conn: &mut Conn, owner: &str) -> Result<Vec<(WorkspaceId, MessageId)>> {
    let rows: Vec<(Id<WorkspaceId>, Id<MessageId>)> = conn
        .statement(
            "SELECT
                workspace_id,
                turn_answer
            FROM conversations
            WHERE turn_owner = $1
                AND turn_stop_at IS NOT NULL
                AND turn_answer IS NOT NULL",
        )
        .bind(owner)
        .all()
        .await?;
    Ok(rows.into_iter().map(|(workspace, answer)| (workspace.0, answer.0)).collect())
}

/// Gives back every turn that `owner` holds, of whichever workspace; how many. Right only when that process is gone.
pub async fn free_turns(tx: &mut Tx, owner: &str) -> Result<i64> {
    tx.statement(
        "UPDATE conversations
        SET
            turn_owner = NULL,
            turn_answer = NULL,
            turn_until = NULL,
            turn_stop_at = NULL
        WHERE turn_owner = $1
            AND turn_answer IS NOT NULL",
    )
    .bind(owner)
    .execute()
    .await
}

/// What was said in a conversation before the messages that enter a prompt whole, and the sequence number of
/// the last message that it covers; 0 when there is none.
pub async fn summary(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: ConversationId,
) -> Result<Option<(String, i64)>> {
    let row: Option<(Option<String>, i64)> = conn
        .statement(
            "SELECT
                summary,
                summary_seq
            FROM conversations
            WHERE workspace_id = $1
                AND id = $2",
        )
        .bind(Id(workspace))
        .bind(Id(id))
        .optional()
        .await?;
    Ok(row.and_then(|(summary, seq)| Some((summary?, seq))))
}

/// Writes the summary up to message `seq`; `false` when there is one that covers as much, and when the
/// conversation is absent.
pub async fn set_summary(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ConversationId,
    summary: &str,
    seq: i64,
) -> Result<bool> {
    tx.statement(
        "UPDATE conversations
        SET
            summary = $3,
            summary_seq = $4
        WHERE workspace_id = $1
            AND id = $2
            AND summary_seq < $4",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(summary)
    .bind(seq)
    .changed()
    .await
}

/// How a customer rates a whole conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationRating {
    /// 1 to 5, 5 being best.
    pub rating: i64,
    /// What was said with it.
    pub comment: Option<String>,
}

/// Sets or (with `None`) removes the rating of a conversation, with its `feedback.received` event; `false` when the
/// conversation is absent.
pub async fn set_rating(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ConversationId,
    rating: Option<&ConversationRating>,
    now: Timestamp,
) -> Result<bool> {
    if get(tx, workspace, id).await?.is_none() {
        return Ok(false);
    }
    match rating {
        Some(rating) => write_rating(tx, workspace, id, rating, now).await?,
        None => delete_rating(tx, workspace, id).await?,
    }
    let payload = json!({
        "conversationId": id,
        "rating": rating.map(|rating| rating.rating),
    });
    events::insert(tx, workspace, "feedback.received", &id.to_string(), &payload, now).await?;
    Ok(true)
}

/// The ratings of those conversations that have one.
pub async fn ratings(
    conn: &mut Conn,
    workspace: WorkspaceId,
    conversations: &[ConversationId],
) -> Result<Vec<(ConversationId, ConversationRating)>> {
    let rows: Vec<(Id<ConversationId>, i64, Option<String>)> = conn
        .statement(with_list!(
            "SELECT
                conversation_id,
                rating,
                comment
            FROM conversation_ratings
            WHERE workspace_id = $1
                AND ",
            "conversation_id" in "$2";
            ""
        ))
        .bind(Id(workspace))
        .list(conversations)
        .all()
        .await?;
    let rated = |(Id(id), rating, comment)| (id, ConversationRating { rating, comment });
    Ok(rows.into_iter().map(rated).collect())
}

async fn write_rating(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ConversationId,
    rating: &ConversationRating,
    now: Timestamp,
) -> Result<()> {
    tx.statement(
        "INSERT INTO conversation_ratings (
            conversation_id,
            workspace_id,
            rating,
            comment,
            updated_at
        )
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (conversation_id) DO UPDATE SET
            rating = excluded.rating,
            comment = excluded.comment,
            updated_at = excluded.updated_at",
    )
    .bind(Id(id))
    .bind(Id(workspace))
    .bind(rating.rating)
    .bind(rating.comment.as_deref())
    .bind(Micros(now))
    .execute()
    .await?;
    Ok(())
}

async fn delete_rating(tx: &mut Tx, workspace: WorkspaceId, id: ConversationId) -> Result<()> {
    tx.statement(
        "DELETE FROM conversation_ratings
        WHERE workspace_id = $1
            AND conversation_id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .execute()
    .await?;
    Ok(())
}

/// Links the conversation to a contact of its workspace; another workspace's changes nothing.
pub async fn set_contact(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ConversationId,
    contact: ContactId,
) -> Result<()> {
    tx.statement(
        "UPDATE conversations
        SET contact_id = $3
        WHERE workspace_id = $1
            AND id = $2
            AND EXISTS (
                SELECT 1
                FROM contacts
                WHERE contacts.workspace_id = $1
                    AND contacts.id = $3
            )",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(Id(contact))
    .execute()
    .await?;
    Ok(())
}

/// Removes conversations not touched since `before`, at most `limit`; how many.
pub async fn delete_older(
    tx: &mut Tx,
    workspace: WorkspaceId,
    before: Timestamp,
    limit: i64,
) -> Result<i64> {
    tx.statement(
        "DELETE FROM conversations
        WHERE id IN (
            SELECT id
            FROM conversations
            WHERE workspace_id = $1
                AND updated_at < $2
            ORDER BY updated_at
            LIMIT $3
        )",
    )
    .bind(Id(workspace))
    .bind(Micros(before))
    .bind(limit)
    .execute()
    .await
}

/// Removes a conversation with everything in it; `false` when absent.
pub async fn delete(tx: &mut Tx, workspace: WorkspaceId, id: ConversationId) -> Result<bool> {
    tx.statement(
        "DELETE FROM conversations
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .changed()
    .await
}

/// The row, which nobody else changes until the transaction ends. SQLite has one writer anyway.
async fn locked(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ConversationId,
) -> Result<Option<ConversationRow>> {
    tx.statement(Dialects {
        sqlite: select_conversations!(
            "WHERE workspace_id = $1
                AND id = $2"
        ),
        postgres: select_conversations!(
            "WHERE workspace_id = $1
                AND id = $2
            FOR NO KEY UPDATE"
        ),
    })
    .bind(Id(workspace))
    .bind(Id(id))
    .optional()
    .await
}

async fn write_state(tx: &mut Tx, conversation: &Conversation) -> Result<()> {
    tx.statement(
        "UPDATE conversations
        SET
            status = $3,
            handler = $4,
            context_after = $5,
            closed_at = $6,
            updated_at = $7,
            assignee_id = CASE
                WHEN $4 = 'operator' THEN assignee_id
            END,
            snoozed_until = CASE
                WHEN $3 <> 'closed' THEN snoozed_until
            END,
            waiting_since = CASE
                WHEN $3 = 'closed' OR $4 = 'bot' THEN 9223372036854775807
                WHEN $4 = 'queue' AND waiting_since = 9223372036854775807 THEN $7
                ELSE waiting_since
            END
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(conversation.workspace_id))
    .bind(Id(conversation.id))
    .bind(Name(conversation.status))
    .bind(Name(conversation.handler))
    .bind(conversation.context_after)
    .bind(conversation.closed_at.map(Micros))
    .bind(Micros(conversation.updated_at))
    .execute()
    .await?;
    Ok(())
}

async fn tell(
    tx: &mut Tx,
    conversation: &Conversation,
    kind: &'static str,
    by: By,
    now: Timestamp,
) -> Result<()> {
    let payload = json!({
        "by": by.to_string(),
        "agentId": conversation.agent_id,
        "channel": conversation.channel.name(),
        "status": conversation.status.name(),
        "handler": conversation.handler.name(),
        "projectId": conversation.project_id,
        "visitorId": conversation.visitor_id.as_ref().map(VisitorId::as_str),
    });
    events::insert(tx, conversation.workspace_id, kind, &conversation.id.to_string(), &payload, now)
        .await
}

impl ConversationRow {
    fn into_conversation(self) -> Result<Conversation> {
        let visitor_id = match self.visitor_id {
            Some(text) => Some(
                VisitorId::parse(&text)
                    .ok_or_else(|| StorageError::decode("visitor_id", "not a visitor id"))?,
            ),
            None => None,
        };
        Ok(Conversation {
            id: self.id.0,
            workspace_id: self.workspace_id.0,
            agent_id: self.agent_id.0,
            channel: self.channel.0,
            project_id: self.project_id.map(|project| project.0),
            visitor_id,
            contact_id: self.contact_id.map(|contact| contact.0),
            status: self.status.0,
            handler: self.handler.0,
            title: self.title,
            messages_count: self.messages_count,
            context_after: self.context_after,
            created_at: self.created_at.0,
            updated_at: self.updated_at.0,
            closed_at: self.closed_at.map(|at| at.0),
        })
    }
}
