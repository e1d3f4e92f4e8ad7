//! Removing what customers said and who they are, wherever it is: rows that go with a conversation go by their references;
//! here is what does not, and what is to be known before.

mod evals;
mod find;
mod people;

use domain::{ConversationId, WorkspaceId};

pub use self::find::{
    conversations_of, is_busy, old_contacts, old_conversations, questions, uploads_of, visitors_of,
};
pub use self::people::contact;
use crate::sql::{Dialects, Id, with_list};
use crate::{Result, Tx};

/// The kind of the job that removes files, by `{"blobs": […]}`.
pub const PURGE: &str = "ingest.purge";

/// Removes conversations with all that was said in them and all that quotes it: gaps and the questions of their groups, cases
/// of evaluations, events, entries of the audit log. What they cost stays in the ledger, without whom. The
/// vectors of their questions are the caller's to remove (see [`questions`]). How many there were.
pub async fn conversations(
    tx: &mut Tx,
    workspace: WorkspaceId,
    conversations: &[ConversationId],
) -> Result<i64> {
    if conversations.is_empty() {
        return Ok(0);
    }
    evals::forget(tx, workspace, conversations).await?;
    delete_events(tx, workspace, conversations).await?;
    blank_audit(tx, workspace, conversations).await?;
    blank_charges(tx, workspace, conversations).await?;
    let groups: Vec<(String,)> = tx
        .statement(with_list!(
            "SELECT DISTINCT group_id
            FROM gaps
            WHERE workspace_id = $1
                AND group_id IS NOT NULL
                AND ", "conversation_id" in "$2"; ""
        ))
        .bind(Id(workspace))
        .list(conversations)
        .all()
        .await?;
    let removed = tx
        .statement(with_list!(
            "DELETE FROM conversations
            WHERE workspace_id = $1
                AND ", "id" in "$2"; ""
        ))
        .bind(Id(workspace))
        .list(conversations)
        .execute()
        .await?;
    let groups: Vec<String> = groups.into_iter().map(|(id,)| id).collect();
    forget_questions(tx, workspace, &groups).await?;
    Ok(removed)
}

/// Groups of gaps without gaps go; others are called by a question that is left.
async fn forget_questions(tx: &mut Tx, workspace: WorkspaceId, groups: &[String]) -> Result<()> {
    tx.statement(with_list!(
        "DELETE FROM gap_groups
        WHERE workspace_id = $1
            AND NOT EXISTS (SELECT 1 FROM gaps WHERE gaps.group_id = gap_groups.id)
            AND ", "id" in "$2"; ""
    ))
    .bind(Id(workspace))
    .list(groups)
    .execute()
    .await?;
    tx.statement(with_list!(
        "UPDATE gap_groups
        SET
            question = (
                SELECT gaps.question
                FROM gaps
                WHERE gaps.group_id = gap_groups.id
                ORDER BY gaps.id
                LIMIT 1
            ),
            answer = NULL
        WHERE workspace_id = $1
            AND ", "id" in "$2"; ""
    ))
    .bind(Id(workspace))
    .list(groups)
    .execute()
    .await?;
    Ok(())
}

/// Events are kept longer than what they tell of may be.
async fn delete_events(
    tx: &mut Tx,
    workspace: WorkspaceId,
    conversations: &[ConversationId],
) -> Result<()> {
    tx.statement(Dialects {
        sqlite: "DELETE FROM events
            WHERE workspace_id = $1
                AND (
                    subject IN (SELECT value FROM json_each($2))
                    OR payload->>'conversationId' IN (SELECT value FROM json_each($2))
                )",
        postgres: "DELETE FROM events
            WHERE workspace_id = $1
                AND (
                    subject = ANY($2)
                    OR CAST(payload AS JSON)->>'conversationId' = ANY($2)
                )",
    })
    .bind(Id(workspace))
    .list(conversations)
    .execute()
    .await?;
    Ok(())
}

/// What it cost stays, with whom goes: not every visitor is known as a contact.
async fn blank_charges(
    tx: &mut Tx,
    workspace: WorkspaceId,
    conversations: &[ConversationId],
) -> Result<()> {
    tx.statement(with_list!(
        "UPDATE charges
        SET
            contact_id = NULL,
            visitor_id = NULL
        WHERE workspace_id = $1
            AND ", "conversation_id" in "$2"; ""
    ))
    .bind(Id(workspace))
    .list(conversations)
    .execute()
    .await?;
    Ok(())
}

/// That something was done stays, what it was goes.
async fn blank_audit(
    tx: &mut Tx,
    workspace: WorkspaceId,
    conversations: &[ConversationId],
) -> Result<()> {
    tx.statement(Dialects {
        sqlite: "UPDATE audit_entries
            SET
                before = NULL,
                after = NULL
            WHERE workspace_id = $1
                AND (
                    subject IN (SELECT value FROM json_each($2))
                    OR subject IN (
                        SELECT messages.id
                        FROM messages
                        WHERE messages.conversation_id IN (SELECT value FROM json_each($2))
                    )
                    OR subject IN (
                        SELECT conversation_notes.id
                        FROM conversation_notes
                        WHERE conversation_notes.conversation_id IN (SELECT value FROM json_each($2))
                    )
                )",
        postgres: "UPDATE audit_entries
            SET
                before = NULL,
                after = NULL
            WHERE workspace_id = $1
                AND (
                    subject = ANY($2)
                    OR subject IN (
                        SELECT messages.id
                        FROM messages
                        WHERE messages.conversation_id = ANY($2)
                    )
                    OR subject IN (
                        SELECT conversation_notes.id
                        FROM conversation_notes
                        WHERE conversation_notes.conversation_id = ANY($2)
                    )
                )",
    })
    .bind(Id(workspace))
    .list(conversations)
    .execute()
    .await?;
    Ok(())
}
