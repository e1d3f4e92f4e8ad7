//! Cases of evaluations that were made from what customers said: each has the id of the answer or the gap that it was made
//! from.

use std::collections::HashSet;

use domain::{ConversationId, WorkspaceId};
use serde_json::Value;

use crate::compress::{compress, decompress};
use crate::sql::{Id, with_list};
use crate::{Result, StorageError, Tx};

/// Removes the cases that were made from the conversations from every dataset, run and report.
pub(super) async fn forget(
    tx: &mut Tx,
    workspace: WorkspaceId,
    conversations: &[ConversationId],
) -> Result<()> {
    let (datasets,): (i64,) = tx
        .statement("SELECT CAST(COUNT(*) AS BIGINT) FROM eval_datasets WHERE workspace_id = $1")
        .bind(Id(workspace))
        .one()
        .await?;
    if datasets == 0 {
        return Ok(());
    }
    let cases = cases_of(tx, workspace, conversations).await?;
    if !forget_in_datasets(tx, workspace, &cases).await? {
        return Ok(());
    }
    let ids: Vec<&String> = cases.iter().collect();
    tx.statement(with_list!(
        "DELETE FROM eval_rows
        WHERE workspace_id = $1
            AND ", "case_id" in "$2"; ""
    ))
    .bind(Id(workspace))
    .list(&ids)
    .execute()
    .await?;
    // What judges said is kept by a hash of what they read, so that nobody can tell which is about whom.
    tx.statement("DELETE FROM eval_verdicts WHERE workspace_id = $1")
        .bind(Id(workspace))
        .execute()
        .await?;
    forget_in_reports(tx, workspace, &cases).await
}

async fn cases_of(
    tx: &mut Tx,
    workspace: WorkspaceId,
    conversations: &[ConversationId],
) -> Result<HashSet<String>> {
    let rows: Vec<(String,)> = tx
        .statement(with_list!(
            "SELECT id
            FROM messages
            WHERE workspace_id = $1
                AND ", "conversation_id" in "$2", "
            UNION ALL
            SELECT group_id
            FROM gaps
            WHERE workspace_id = $1
                AND group_id IS NOT NULL
                AND ", "conversation_id" in "$2"; ""
        ))
        .bind(Id(workspace))
        .list(conversations)
        .all()
        .await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// Whether there was one.
async fn forget_in_datasets(
    tx: &mut Tx,
    workspace: WorkspaceId,
    cases: &HashSet<String>,
) -> Result<bool> {
    let versions: Vec<(String, String, Vec<u8>)> = tx
        .statement(
            "SELECT
                dataset_id,
                version,
                content
            FROM eval_versions
            WHERE workspace_id = $1",
        )
        .bind(Id(workspace))
        .all()
        .await?;
    let mut any = false;
    for (dataset, version, content) in versions {
        let bytes = decompress("eval_versions.content", &content)?;
        let text = String::from_utf8_lossy(&bytes);
        let kept: Vec<&str> = text.lines().filter(|line| !is_among(line, cases)).collect();
        let count = kept.len();
        if count == text.lines().count() {
            continue;
        }
        any = true;
        let mut content = kept.join("\n");
        content.push('\n');
        tx.statement(
            "UPDATE eval_versions
            SET
                content = $4,
                cases = $5
            WHERE workspace_id = $1
                AND dataset_id = $2
                AND version = $3",
        )
        .bind(Id(workspace))
        .bind(dataset)
        .bind(version)
        .bind(compress("eval_versions.content", content.as_bytes())?)
        .bind(i64::try_from(count).unwrap_or(i64::MAX))
        .execute()
        .await?;
    }
    Ok(any)
}

fn is_among(line: &str, cases: &HashSet<String>) -> bool {
    let case: Value = serde_json::from_str(line).unwrap_or_default();
    case["id"].as_str().is_some_and(|id| cases.contains(id))
}

async fn forget_in_reports(
    tx: &mut Tx,
    workspace: WorkspaceId,
    cases: &HashSet<String>,
) -> Result<()> {
    let reports: Vec<(String, Vec<u8>)> = tx
        .statement(
            "SELECT id, report FROM eval_runs WHERE workspace_id = $1 AND report IS NOT NULL",
        )
        .bind(Id(workspace))
        .all()
        .await?;
    for (run, report) in reports {
        let Some(report) = without(&report, cases)? else { continue };
        tx.statement("UPDATE eval_runs SET report = $3 WHERE workspace_id = $1 AND id = $2")
            .bind(Id(workspace))
            .bind(run)
            .bind(report)
            .execute()
            .await?;
    }
    let reports: Vec<(String, i64, String, Vec<u8>)> = tx
        .statement(
            "SELECT agent_id, number, dataset_id, report FROM agent_reports WHERE workspace_id = $1",
        )
        .bind(Id(workspace))
        .all()
        .await?;
    for (agent, number, dataset, report) in reports {
        let Some(report) = without(&report, cases)? else { continue };
        tx.statement(
            "UPDATE agent_reports
            SET report = $5
            WHERE workspace_id = $1
                AND agent_id = $2
                AND number = $3
                AND dataset_id = $4",
        )
        .bind(Id(workspace))
        .bind(agent)
        .bind(number)
        .bind(dataset)
        .bind(report)
        .execute()
        .await?;
    }
    Ok(())
}

/// A compressed report without the cases; `None` when it has none of them.
fn without(report: &[u8], cases: &HashSet<String>) -> Result<Option<Vec<u8>>> {
    let bytes = decompress("report", report)?;
    let mut value: Value =
        serde_json::from_slice(&bytes).map_err(|error| StorageError::decode("report", &error))?;
    if !cut(&mut value, cases) {
        return Ok(None);
    }
    Ok(Some(compress("report", value.to_string().as_bytes())?))
}

/// Takes what is about one of the cases out of a value; whether there was any.
fn cut(value: &mut Value, cases: &HashSet<String>) -> bool {
    let about = |value: &Value| {
        ["id", "case", "caseId"]
            .iter()
            .any(|name| value[*name].as_str().is_some_and(|id| cases.contains(id)))
    };
    match value {
        Value::Array(items) => {
            let before = items.len();
            items.retain(|item| !about(item));
            let mut any = items.len() < before;
            for item in items {
                any |= cut(item, cases);
            }
            any
        }
        Value::Object(fields) => {
            let before = fields.len();
            fields.retain(|name, _| !cases.contains(name));
            let mut any = fields.len() < before;
            for field in fields.values_mut() {
                any |= cut(field, cases);
            }
            any
        }
        _ => false,
    }
}
