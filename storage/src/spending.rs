//! Budgets and the ledger together: what is held before models are used, and what is written down afterwards.

use std::time::Duration;

use domain::budget::{Budget, BudgetPeriod, BudgetScope, BudgetUnit, Payer, Purpose};
use domain::{Ambient, ConversationId, DomainError, ErrorKind, MessageId, Timestamp, WorkspaceId};

use crate::budgets::{self, Hold};
use crate::charges::{self, Charge};
use crate::{Db, Result, Tx};

/// The most that something is expected to use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Answers to customers; what is none takes nothing from budgets of answers.
    pub answers: i64,
    /// Tokens of prompts and answers.
    pub tokens: i64,
    /// Micro-dollars (US).
    pub cost: i64,
}

/// The parts of the budgets that a use by `payer` needs.
pub fn plan(budgets: &[Budget], payer: &Payer, expected: Amounts, now: Timestamp) -> Vec<Hold> {
    let mut holds = Vec::new();
    for budget in budgets {
        let Some(counter) = budget.counter(payer) else { continue };
        let amount = match budget.unit {
            BudgetUnit::Answers if expected.answers == 0 => continue,
            BudgetUnit::Answers => expected.answers,
            BudgetUnit::Tokens => expected.tokens,
            BudgetUnit::Cost => expected.cost,
        };
        let (starts, resets) = budget.period.around(now);
        holds.push(Hold { budget: budget.clone(), counter, starts, resets, amount });
    }
    holds
}

/// Takes every part until `until`, under the id that the charge will have; the first one that is not to be had
/// refuses all: the transaction must not be committed then.
///
/// Errors: 402 `USAGE_LIMIT`, for a visitor's budget 429 `RATE_LIMITED`, naming the budget and when it begins anew.
pub async fn hold_all(
    tx: &mut Tx,
    workspace: WorkspaceId,
    charge: MessageId,
    holds: &[Hold],
    now: Timestamp,
    until: Timestamp,
) -> Result<(), DomainError> {
    for hold in holds {
        if !budgets::hold(tx, workspace, charge, hold, now, until).await? {
            return Err(used_up(hold, now));
        }
    }
    Ok(())
}

/// Writes a line of the ledger, and takes it from the budgets; what else was held is free again. Once for each
/// charge, however often it is tried.
pub async fn settle(
    tx: &mut Tx,
    workspace: WorkspaceId,
    charge: &Charge,
    holds: &[Hold],
) -> Result<()> {
    if holds.is_empty() {
        return charges::note(tx, workspace, charge).await;
    }
    if charges::insert(tx, workspace, charge).await? {
        for hold in holds {
            let spent = match hold.budget.unit {
                BudgetUnit::Answers => i64::from(charge.answered),
                BudgetUnit::Tokens => charge.prompt_tokens.saturating_add(charge.completion_tokens),
                BudgetUnit::Cost => charge.cost,
            };
            if spent > 0 {
                budgets::settle(tx, workspace, hold, spent, charge.at).await?;
            }
        }
    }
    budgets::release(tx, workspace, charge.message_id).await
}

/// Something that is no turn: its part of the budgets is held.
#[derive(Debug)]
#[must_use = "what is held is free again only after `end`, or when its time is over"]
pub struct Held {
    workspace: WorkspaceId,
    charge: MessageId,
    purpose: Purpose,
    payer: Payer,
    conversation: Option<ConversationId>,
    holds: Vec<Hold>,
}

/// What something used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spent {
    /// The model that was asked last.
    pub model: String,
    /// `installation`, or the id of a provider of the workspace.
    pub provider: String,
    /// Calls to models; nothing is written down without one.
    pub calls: i64,
    /// Tokens of the prompts.
    pub prompt_tokens: i64,
    /// Tokens of the answers.
    pub completion_tokens: i64,
    /// Those of the prompts that the provider had kept.
    pub cached_tokens: i64,
    /// Micro-dollars (US).
    pub cost: i64,
    /// The provider did not count, or was cut off before it could.
    pub estimated: bool,
}

/// Holds what something that is no turn needs of the budgets of `payer`, for `patience` at most, in a transaction of its
/// own; without a budget there is none. With `conversation` when it is about one.
///
/// Errors: as [`hold_all`].
pub async fn begin(
    db: &Db,
    ambient: &Ambient,
    workspace: WorkspaceId,
    (purpose, payer, conversation): (Purpose, Payer, Option<ConversationId>),
    expected: Amounts,
    patience: Duration,
) -> Result<Held, DomainError> {
    let mut conn = db.read().await?;
    let all = budgets::list(&mut conn, workspace).await?;
    drop(conn);
    let (now, charge) = (ambient.now(), ambient.new_id());
    let holds = plan(&all, &payer, expected, now);
    if !holds.is_empty() {
        let mut tx = db.write().await?;
        hold_all(&mut tx, workspace, charge, &holds, now, now.plus(patience)).await?;
        tx.commit().await?;
    }
    Ok(Held { workspace, charge, purpose, payer, conversation, holds })
}

/// Writes down what it used, and frees what is left of its holds.
pub async fn end(db: &Db, ambient: &Ambient, held: Held, spent: Spent) -> Result<()> {
    let Held { workspace, charge, purpose, payer, conversation, holds } = held;
    if spent.calls == 0 && holds.is_empty() {
        return Ok(());
    }
    let mut tx = db.write().await?;
    if spent.calls == 0 {
        budgets::release(&mut tx, workspace, charge).await?;
        return tx.commit().await;
    }
    let charge = Charge {
        message_id: charge,
        purpose,
        conversation_id: conversation,
        agent_id: payer.agent,
        api_key_id: payer.api_key,
        contact_id: None,
        visitor_id: None,
        model: spent.model,
        provider: spent.provider,
        calls: spent.calls,
        prompt_tokens: spent.prompt_tokens,
        completion_tokens: spent.completion_tokens,
        cached_tokens: spent.cached_tokens,
        cost: spent.cost,
        estimated: spent.estimated,
        answered: false,
        at: ambient.now(),
    };
    settle(&mut tx, workspace, &charge, &holds).await?;
    tx.commit().await
}

/// Says which budget is used up and until when: 429 for a visitor's, who may come back, 402 for the others.
fn used_up(hold: &Hold, now: Timestamp) -> DomainError {
    let Hold { budget, counter, resets, .. } = hold;
    let period = match budget.period {
        BudgetPeriod::Day => "daily",
        BudgetPeriod::Month => "monthly",
    };
    let limit = budget.limit;
    let amount = match budget.unit {
        BudgetUnit::Tokens => format!("{limit} tokens"),
        BudgetUnit::Answers => format!("{limit} answers"),
        BudgetUnit::Cost => format!("{limit} micro-dollars"),
    };
    let whose = match budget.scope {
        BudgetScope::Workspace => "the workspace".to_owned(),
        BudgetScope::Agent => format!("the agent {counter}"),
        BudgetScope::ApiKey => format!("the API key {counter}"),
        BudgetScope::Visitor => "this visitor".to_owned(),
    };
    let message = format!(
        "the {period} budget of {amount} of {whose} is used up, answers under way included; it begins anew at {}, \
        or raise `limit` of {}",
        resets.to_rfc3339(),
        budget.id
    );
    let refused = if budget.scope == BudgetScope::Visitor {
        DomainError::new(ErrorKind::RateLimited, "RATE_LIMITED", message)
    } else {
        DomainError::new(ErrorKind::UsageLimit, "USAGE_LIMIT", message)
    };
    DomainError { retry_after: Some(resets.since(now)), ..refused }
}

#[cfg(test)]
mod tests {
    use domain::ids::PrefixedId;
    use domain::{AgentId, BudgetId};
    use uuid::Uuid;

    use super::*;

    fn budget(scope: BudgetScope, unit: BudgetUnit) -> Budget {
        Budget {
            id: BudgetId::from_uuid(Uuid::from_u128(3)),
            workspace_id: WorkspaceId::from_uuid(Uuid::from_u128(4)),
            scope,
            subject: None,
            unit,
            period: BudgetPeriod::Day,
            limit: 5,
            created_at: Timestamp::from_micros(0),
        }
    }

    fn payer() -> Payer {
        let agent = AgentId::from_uuid(Uuid::from_u128(1));
        Payer { agent: Some(agent), api_key: None, visitor: Some("ana".to_owned()) }
    }

    const TURN: Amounts = Amounts { answers: 1, tokens: 3_000, cost: 20 };

    #[test]
    fn what_is_no_answer_takes_nothing_from_budgets_of_answers() {
        let budgets = vec![
            budget(BudgetScope::Workspace, BudgetUnit::Answers),
            budget(BudgetScope::ApiKey, BudgetUnit::Answers),
            budget(BudgetScope::Visitor, BudgetUnit::Tokens),
            budget(BudgetScope::Workspace, BudgetUnit::Cost),
        ];
        let amounts = |payer: &Payer, expected| -> Vec<(String, i64)> {
            let holds = plan(&budgets, payer, expected, Timestamp::from_micros(1));
            holds.into_iter().map(|hold| (hold.counter, hold.amount)).collect()
        };
        let counted = |counter: &str, amount| (counter.to_owned(), amount);
        let of_turn = [counted("", 1), counted("ana", 3_000), counted("", 20)];
        assert_eq!(amounts(&payer(), TURN), of_turn);
        let job = Amounts { answers: 0, ..TURN };
        assert_eq!(amounts(&Payer::default(), job), [counted("", 20)]);
    }

    #[test]
    fn a_used_up_budget_is_named_with_the_time_that_it_begins_anew() {
        let now = Timestamp::parse_rfc3339("2026-11-20T23:00:00Z").unwrap();
        let refusal = |scope| {
            let holds = plan(&[budget(scope, BudgetUnit::Answers)], &payer(), TURN, now);
            used_up(&holds[0], now)
        };
        let of_agent = refusal(BudgetScope::Agent);
        assert_eq!((of_agent.kind, of_agent.code), (ErrorKind::UsageLimit, "USAGE_LIMIT"));
        for part in ["daily", "5 answers", "agent_", "2026-11-21T00:00:00.000Z", "budget_"] {
            assert!(of_agent.message.contains(part), "{part} in {}", of_agent.message);
        }
        let of_visitor = refusal(BudgetScope::Visitor);
        assert_eq!(of_visitor.code, "RATE_LIMITED");
        for refused in [of_agent, of_visitor] {
            assert_eq!(refused.retry_after, Some(Duration::from_hours(1)));
        }
    }
}
