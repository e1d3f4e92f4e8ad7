//! Texts that operators answer with again and again.

use std::collections::BTreeMap;

use domain::canned_reply::CannedReply;
use domain::{CannedReplyId, Timestamp, UserId, WorkspaceId};
use sqlx::FromRow;

use crate::sql::{Dialects, Id, Json, Micros};
use crate::{Conn, Result, Tx};

#[derive(FromRow)]
struct CannedReplyRow {
    id: Id<CannedReplyId>,
    shortcut: String,
    title: String,
    contents: Json<BTreeMap<String, String>>,
    owner_id: Option<Id<UserId>>,
    created_at: Micros,
    updated_at: Micros,
}

macro_rules! select_canned_replies {
    ($rest:literal) => {
        concat!(
            "SELECT
                id,
                shortcut,
                title,
                contents,
                owner_id,
                created_at,
                updated_at
            FROM canned_replies ",
            $rest
        )
    };
}

/// Stores a reply. `Conflict` when the workspace has one of that shortcut.
pub async fn insert(tx: &mut Tx, workspace: WorkspaceId, reply: &CannedReply) -> Result<()> {
    tx.statement(
        "INSERT INTO canned_replies (
            id,
            workspace_id,
            shortcut,
            title,
            contents,
            owner_id,
            created_at,
            updated_at
        )
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(Id(reply.id))
    .bind(Id(workspace))
    .bind(&reply.shortcut)
    .bind(&reply.title)
    .bind(Json(reply.contents.clone()))
    .bind(reply.owner.map(Id))
    .bind(Micros(reply.created_at))
    .bind(Micros(reply.updated_at))
    .execute()
    .await?;
    Ok(())
}

/// The reply, if everybody has it or it is `user`'s own.
pub async fn get(
    conn: &mut Conn,
    workspace: WorkspaceId,
    user: Option<UserId>,
    id: CannedReplyId,
) -> Result<Option<CannedReply>> {
    let row: Option<CannedReplyRow> = conn
        .statement(select_canned_replies!(
            "WHERE workspace_id = $1
                AND id = $2
                AND (owner_id IS NULL OR owner_id = $3)"
        ))
        .bind(Id(workspace))
        .bind(Id(id))
        .bind(user.map(Id))
        .optional()
        .await?;
    Ok(row.map(CannedReply::from))
}

/// Keeps others from changing a reply until the transaction ends. SQLite has one writer anyway.
pub async fn hold(tx: &mut Tx, workspace: WorkspaceId, id: CannedReplyId) -> Result<()> {
    let rows: Vec<(Id<CannedReplyId>,)> = tx
        .statement(Dialects {
            sqlite: "SELECT id
            FROM canned_replies
            WHERE workspace_id = $1
                AND id = $2",
            postgres: "SELECT id
            FROM canned_replies
            WHERE workspace_id = $1
                AND id = $2
            FOR UPDATE",
        })
        .bind(Id(workspace))
        .bind(Id(id))
        .all()
        .await?;
    drop(rows);
    Ok(())
}

/// Those that everybody has and `user`'s own, by shortcut.
pub async fn list(
    conn: &mut Conn,
    workspace: WorkspaceId,
    user: Option<UserId>,
) -> Result<Vec<CannedReply>> {
    let rows: Vec<CannedReplyRow> = conn
        .statement(select_canned_replies!(
            "WHERE workspace_id = $1
                AND (owner_id IS NULL OR owner_id = $2)
            ORDER BY shortcut"
        ))
        .bind(Id(workspace))
        .bind(user.map(Id))
        .all()
        .await?;
    Ok(rows.into_iter().map(CannedReply::from).collect())
}

/// How many the workspace has, whoever's they are.
pub async fn count(conn: &mut Conn, workspace: WorkspaceId) -> Result<i64> {
    let (count,): (i64,) = conn
        .statement(
            "SELECT COUNT(*)
            FROM canned_replies
            WHERE workspace_id = $1",
        )
        .bind(Id(workspace))
        .one()
        .await?;
    Ok(count)
}

/// Writes what may change; `false` when absent. `Conflict` when the workspace has another one of that shortcut.
pub async fn update(
    tx: &mut Tx,
    workspace: WorkspaceId,
    reply: &CannedReply,
    now: Timestamp,
) -> Result<bool> {
    tx.statement(
        "UPDATE canned_replies
        SET
            shortcut = $3,
            title = $4,
            contents = $5,
            owner_id = $6,
            updated_at = $7
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(reply.id))
    .bind(&reply.shortcut)
    .bind(&reply.title)
    .bind(Json(reply.contents.clone()))
    .bind(reply.owner.map(Id))
    .bind(Micros(now))
    .changed()
    .await
}

/// Removes a reply; `false` when absent.
pub async fn delete(tx: &mut Tx, workspace: WorkspaceId, id: CannedReplyId) -> Result<bool> {
    tx.statement(
        "DELETE FROM canned_replies
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .changed()
    .await
}

impl From<CannedReplyRow> for CannedReply {
    fn from(row: CannedReplyRow) -> Self {
        Self {
            id: row.id.0,
            shortcut: row.shortcut,
            title: row.title,
            contents: row.contents.0,
            owner: row.owner_id.map(|owner| owner.0),
            created_at: row.created_at.0,
            updated_at: row.updated_at.0,
        }
    }
}
