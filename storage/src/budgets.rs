//! Budgets, what is used of them, and what turns under way hold of them.
//!
//! A turn holds its part before it begins and gives back what it did not use when it ends. A hold is granted
//! while what is used and held together is below the limit, under the lock of the counter's row: however many turns
//! begin at once, all but the last one granted fit. So a budget of answers is never overdrawn, and one of tokens or
//! cost by at most what one turn uses beyond what was left, as long as no turn uses more than it held.

use std::time::Duration;

use domain::budget::{BUDGET_ALERTS, Budget, BudgetPeriod, BudgetScope, BudgetUnit, MAX_BUDGETS};
use domain::{BudgetId, MessageId, Timestamp, WorkspaceId};
use serde_json::json;
use sqlx::FromRow;

use crate::sql::{Id, Micros, Name};
use crate::{Conn, Result, Tx, events};

/// How long a counter is kept after its period has begun.
const KEPT: Duration = Duration::from_hours(24 * 100);

/// A turn's part of a budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The budget.
    pub budget: Budget,
    /// Whom it is counted to (`Budget::counter`).
    pub counter: String,
    /// The beginning of the period.
    pub starts: Timestamp,
    /// The beginning of the next one.
    pub resets: Timestamp,
    /// The most that the turn is expected to use.
    pub amount: i64,
}

#[derive(FromRow)]
struct BudgetRow {
    id: Id<BudgetId>,
    workspace_id: Id<WorkspaceId>,
    scope: Name<BudgetScope>,
    subject: String,
    unit: Name<BudgetUnit>,
    period: Name<BudgetPeriod>,
    cap: i64,
    created_at: Micros,
}

macro_rules! select_budgets {
    ($rest:literal) => {
        concat!(
            "SELECT
                id,
                workspace_id,
                scope,
                subject,
                unit,
                period,
                cap,
                created_at
            FROM budgets ",
            $rest
        )
    };
}

/// Stores a new budget; `false` when the workspace has as many as it may have. `Conflict` when there is one
/// of the same scope, subject, unit and period.
pub async fn insert(tx: &mut Tx, workspace: WorkspaceId, budget: &Budget) -> Result<bool> {
    tx.statement(
        "INSERT INTO budgets (
            id,
            workspace_id,
            scope,
            subject,
            unit,
            period,
            cap,
            created_at
        )
        SELECT
            $2,
            id,
            $3,
            $4,
            $5,
            $6,
            CAST($7 AS BIGINT),
            CAST($8 AS BIGINT)
        FROM workspaces
        WHERE id = $1
            AND (SELECT COUNT(*) FROM budgets WHERE workspace_id = $1) < $9",
    )
    .bind(Id(workspace))
    .bind(Id(budget.id))
    .bind(Name(budget.scope))
    .bind(budget.subject.as_deref().unwrap_or_default())
    .bind(Name(budget.unit))
    .bind(Name(budget.period))
    .bind(budget.limit)
    .bind(Micros(budget.created_at))
    .bind(MAX_BUDGETS)
    .changed()
    .await
}

/// Every budget of a workspace, by id, which is the order that they are held in.
pub async fn list(conn: &mut Conn, workspace: WorkspaceId) -> Result<Vec<Budget>> {
    let rows: Vec<BudgetRow> = conn
        .statement(select_budgets!(
            "WHERE workspace_id = $1
            ORDER BY id"
        ))
        .bind(Id(workspace))
        .all()
        .await?;
    Ok(rows.into_iter().map(Budget::from).collect())
}

/// The budget.
pub async fn get(conn: &mut Conn, workspace: WorkspaceId, id: BudgetId) -> Result<Option<Budget>> {
    let row: Option<BudgetRow> = conn
        .statement(select_budgets!(
            "WHERE workspace_id = $1
                AND id = $2"
        ))
        .bind(Id(workspace))
        .bind(Id(id))
        .optional()
        .await?;
    Ok(row.map(Budget::from))
}

/// Changes what may be used in a period, also in the present one; `false` when absent.
pub async fn set_limit(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: BudgetId,
    limit: i64,
) -> Result<bool> {
    tx.statement(
        "UPDATE budgets
        SET cap = $3
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .bind(limit)
    .changed()
    .await
}

/// Removes a budget with what is counted of it; `false` when absent.
pub async fn delete(tx: &mut Tx, workspace: WorkspaceId, id: BudgetId) -> Result<bool> {
    tx.statement(
        "DELETE FROM budgets
        WHERE workspace_id = $1
            AND id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(id))
    .changed()
    .await
}

/// What is used of a budget under a counter in the period that begins at `starts`.
pub async fn used(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: BudgetId,
    counter: &str,
    starts: Timestamp,
) -> Result<i64> {
    let row: Option<(i64,)> = conn
        .statement(
            "SELECT used
            FROM budget_usage
            WHERE workspace_id = $1
                AND budget_id = $2
                AND counter = $3
                AND period_start = $4",
        )
        .bind(Id(workspace))
        .bind(Id(id))
        .bind(counter)
        .bind(Micros(starts))
        .optional()
        .await?;
    Ok(row.map_or(0, |(used,)| used))
}

/// Holds a turn's part until `until`; `false`, and nothing is held, when what is used and held has reached
/// the limit. `turn` is the id of the answer to be. Several holds of a transaction are taken in the
/// order of [`list`].
pub async fn hold(
    tx: &mut Tx,
    workspace: WorkspaceId,
    turn: MessageId,
    hold: &Hold,
    now: Timestamp,
    until: Timestamp,
) -> Result<bool> {
    // The row's lock is held to the end of the transaction, so the next statement sees what others did.
    let locked = tx
        .statement(
            "INSERT INTO budget_usage (
                budget_id,
                counter,
                period_start,
                workspace_id,
                used,
                alerted
            )
            SELECT id, $3, CAST($4 AS BIGINT), workspace_id, 0, 0
            FROM budgets
            WHERE workspace_id = $1
                AND id = $2
            ON CONFLICT (budget_id, counter, period_start) DO UPDATE
            SET used = budget_usage.used",
        )
        .bind(Id(workspace))
        .bind(Id(hold.budget.id))
        .bind(&hold.counter)
        .bind(Micros(hold.starts))
        .changed()
        .await?;
    if !locked {
        // It was removed just now: nothing limits the turn.
        return Ok(true);
    }
    tx.statement(
        "INSERT INTO budget_holds (
            message_id,
            budget_id,
            counter,
            period_start,
            workspace_id,
            amount,
            expires_at
        )
        SELECT $5, budgets.id, $3, budget_usage.period_start, budgets.workspace_id, CAST($6 AS BIGINT), CAST($8 AS BIGINT)
        FROM budgets
        JOIN budget_usage
            ON budget_usage.budget_id = budgets.id
        WHERE budgets.workspace_id = $1
            AND budgets.id = $2
            AND budget_usage.counter = $3
            AND budget_usage.period_start = $4
            AND budget_usage.used + (
                SELECT COALESCE(SUM(budget_holds.amount), 0)
                FROM budget_holds
                WHERE budget_holds.budget_id = $2
                    AND budget_holds.counter = $3
                    AND budget_holds.period_start = $4
                    AND budget_holds.expires_at > $7
            ) < budgets.cap",
    )
    .bind(Id(workspace))
    .bind(Id(hold.budget.id))
    .bind(&hold.counter)
    .bind(Micros(hold.starts))
    .bind(Id(turn))
    .bind(hold.amount)
    .bind(Micros(now))
    .bind(Micros(until))
    .changed()
    .await
}

/// Gives back what a turn holds and has not used.
pub async fn release(tx: &mut Tx, workspace: WorkspaceId, turn: MessageId) -> Result<()> {
    tx.statement(
        "DELETE FROM budget_holds
        WHERE workspace_id = $1
            AND message_id = $2",
    )
    .bind(Id(workspace))
    .bind(Id(turn))
    .later()
    .await
}

/// Counts what a turn used of a budget, and adds a `budget.reached` event for each of 50, 80 and 100 per cent
/// that is reached by it for the first time in the period.
pub async fn settle(
    tx: &mut Tx,
    workspace: WorkspaceId,
    hold: &Hold,
    spent: i64,
    now: Timestamp,
) -> Result<()> {
    let row: Option<(i64, i64, i64)> = tx
        .statement(
            "UPDATE budget_usage
            SET used = used + $5
            WHERE workspace_id = $1
                AND budget_id = $2
                AND counter = $3
                AND period_start = $4
            RETURNING
                used,
                alerted,
                (SELECT cap FROM budgets WHERE budgets.id = $2)",
        )
        .bind(Id(workspace))
        .bind(Id(hold.budget.id))
        .bind(&hold.counter)
        .bind(Micros(hold.starts))
        .bind(spent)
        .optional()
        .await?;
    let Some((used, alerted, limit)) = row else { return Ok(()) };
    let reached = |percent: i64| i128::from(used) * 100 >= i128::from(limit) * i128::from(percent);
    let fresh = BUDGET_ALERTS.into_iter().filter(|&at| at > alerted && reached(at));
    let fresh: Vec<i64> = fresh.collect();
    let Some(&highest) = fresh.last() else { return Ok(()) };
    tx.statement(
        "UPDATE budget_usage
        SET alerted = $5
        WHERE workspace_id = $1
            AND budget_id = $2
            AND counter = $3
            AND period_start = $4",
    )
    .bind(Id(workspace))
    .bind(Id(hold.budget.id))
    .bind(&hold.counter)
    .bind(Micros(hold.starts))
    .bind(highest)
    .execute()
    .await?;
    let budget = &hold.budget;
    for percent in fresh {
        let payload = json!({
            "scope": budget.scope.name(),
            "subject": (!hold.counter.is_empty()).then_some(&hold.counter),
            "unit": budget.unit.name(),
            "period": budget.period.name(),
            "limit": limit,
            "used": used,
            "percent": percent,
            "resetsAt": hold.resets.to_rfc3339(),
        });
        let subject = budget.id.to_string();
        events::insert(tx, workspace, "budget.reached", &subject, &payload, now).await?;
    }
    Ok(())
}

/// Removes counters of periods that are long over and holds that have ended, at most `limit` of each; how many.
pub async fn delete_older(tx: &mut Tx, now: Timestamp, limit: i64) -> Result<i64> {
    let counters = tx
        .statement(
            "DELETE FROM budget_usage
            WHERE (budget_id, counter, period_start) IN (
                SELECT budget_id, counter, period_start
                FROM budget_usage
                WHERE period_start < $1
                ORDER BY period_start
                LIMIT $2
            )",
        )
        .bind(Micros(now.minus(KEPT)))
        .bind(limit)
        .execute()
        .await?;
    let holds = tx
        .statement(
            "DELETE FROM budget_holds
            WHERE (message_id, budget_id) IN (
                SELECT message_id, budget_id
                FROM budget_holds
                WHERE expires_at <= $1
                LIMIT $2
            )",
        )
        .bind(Micros(now))
        .bind(limit)
        .execute()
        .await?;
    Ok(counters + holds)
}

impl From<BudgetRow> for Budget {
    fn from(row: BudgetRow) -> Self {
        Self {
            id: row.id.0,
            workspace_id: row.workspace_id.0,
            scope: row.scope.0,
            subject: (!row.subject.is_empty()).then_some(row.subject),
            unit: row.unit.0,
            period: row.period.0,
            limit: row.cap,
            created_at: row.created_at.0,
        }
    }
}
