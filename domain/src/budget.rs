//! Budgets: how much may be used of the models, by whom, in which time.

use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::{AgentId, ApiKeyId, BudgetId, Timestamp, WorkspaceId};

/// A budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Its id.
    pub id: BudgetId,
    /// The workspace that it is of.
    pub workspace_id: WorkspaceId,
    /// Whom it counts.
    pub scope: BudgetScope,
    /// The one agent, key or visitor that it is for; `None` means each one for itself.
    pub subject: Option<String>,
    /// What it counts.
    pub unit: BudgetUnit,
    /// When it begins anew.
    pub period: BudgetPeriod,
    /// What may be used in a period, at least 1; micro-dollars for cost.
    pub limit: i64,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Whom the use of models is counted to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Payer {
    /// The agent that answers; `None` for what is done for the workspace.
    pub agent: Option<AgentId>,
    /// The key that asked.
    pub api_key: Option<ApiKeyId>,
    /// The visitor, by the caller's name; without one the contact, by its id.
    pub visitor: Option<String>,
}

impl Budget {
    /// The name under which a turn of `payer` is counted; `None` when the budget is not about it.
    pub fn counter(&self, payer: &Payer) -> Option<String> {
        let own = match self.scope {
            BudgetScope::Workspace => return Some(String::new()),
            BudgetScope::Agent => payer.agent.map(|agent| agent.to_string()),
            BudgetScope::ApiKey => payer.api_key.map(|key| key.to_string()),
            BudgetScope::Visitor => payer.visitor.clone(),
        };
        own.filter(|own| self.subject.as_ref().is_none_or(|subject| subject == own))
    }
}

/// Whom a budget counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BudgetScope {
    /// All of the workspace.
    Workspace,
    /// An agent.
    Agent,
    /// An API key.
    ApiKey,
    /// A visitor.
    Visitor,
}

impl BudgetScope {
    /// Every scope.
    pub const ALL: [Self; 4] = [Self::Workspace, Self::Agent, Self::ApiKey, Self::Visitor];

    /// As stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Workspace => "workspace",
            Self::Agent => "agent",
            Self::ApiKey => "apiKey",
            Self::Visitor => "visitor",
        }
    }
}

/// What a budget counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BudgetUnit {
    /// Tokens of prompts and answers.
    Tokens,
    /// Micro-dollars (US), by the catalogue's prices.
    Cost,
    /// Answers.
    Answers,
}

impl BudgetUnit {
    /// Every unit.
    pub const ALL: [Self; 3] = [Self::Tokens, Self::Cost, Self::Answers];

    /// As stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Cost => "cost",
            Self::Answers => "answers",
        }
    }
}

/// What models are used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// A turn: an answer to a customer.
    Answer,
    /// The summary of a long conversation.
    Summary,
    /// A question that could not be answered, asked again.
    Recheck,
    /// A search that is no turn's.
    Search,
    /// The passages of a source, and whether their vectors help.
    Ingest,
    /// Vectors that a caller asked for.
    Embedding,
    /// Questions made from documents, and the judge of an evaluation.
    Eval,
    /// What an operator asks for: a suggested reply, a summary, a text written anew.
    Assist,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 8] = [
        Self::Answer,
        Self::Summary,
        Self::Recheck,
        Self::Search,
        Self::Ingest,
        Self::Embedding,
        Self::Eval,
        Self::Assist,
    ];

    /// As stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Summary => "summary",
            Self::Recheck => "recheck",
            Self::Search => "search",
            Self::Ingest => "ingest",
            Self::Embedding => "embedding",
            Self::Eval => "eval",
            Self::Assist => "assist",
        }
    }
}

/// The time that a budget is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BudgetPeriod {
    /// A day of UTC.
    Day,
    /// A month of UTC.
    Month,
}

impl BudgetPeriod {
    /// Every period.
    pub const ALL: [Self; 2] = [Self::Day, Self::Month];

    /// As stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// The beginning of the period that `at` is in, and the beginning of the next one.
    pub fn around(self, at: Timestamp) -> (Timestamp, Timestamp) {
        let instant =
            jiff::Timestamp::from_microsecond(at.micros()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let today = instant.to_zoned(TimeZone::UTC).date();
        let (first, next) = match self {
            Self::Day => (today, today.tomorrow()),
            Self::Month => (today.first_of_month(), today.last_of_month().tomorrow()),
        };
        let day = Duration::from_hours(24);
        let starts = midnight(first).unwrap_or(at);
        // Only the last day of the calendar has no day after it.
        (starts, next.ok().and_then(midnight).unwrap_or(starts.plus(day)))
    }
}

/// What may be told of a budget once it is used to that part, in per cent.
pub const BUDGET_ALERTS: [i64; 3] = [50, 80, 100];

/// Most budgets of a workspace: each turn looks at all of them.
pub const MAX_BUDGETS: i64 = 100;

fn midnight(date: Date) -> Option<Timestamp> {
    let zoned = date.to_zoned(TimeZone::UTC).ok()?;
    Some(Timestamp::from_micros(zoned.timestamp().as_microsecond()))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::ids::PrefixedId;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn periods_are_days_and_months_of_utc() {
        for (period, now, starts, ends) in [
            (BudgetPeriod::Day, "2026-02-28T23:59:59.999Z", "2026-02-28", "2026-03-01"),
            (BudgetPeriod::Day, "2026-03-01T00:00:00Z", "2026-03-01", "2026-03-02"),
            (BudgetPeriod::Month, "2024-02-29T12:00:00Z", "2024-02-01", "2024-03-01"),
            (BudgetPeriod::Month, "2026-12-31T23:59:59Z", "2026-12-01", "2027-01-01"),
        ] {
            let midnight = |day: &str| at(&format!("{day}T00:00:00Z"));
            assert_eq!(period.around(at(now)), (midnight(starts), midnight(ends)), "{now}");
        }
    }

    #[test]
    fn a_budget_counts_those_whom_it_is_about() {
        let agent = AgentId::from_uuid(Uuid::from_u128(1));
        let key = ApiKeyId::from_uuid(Uuid::from_u128(2));
        let budget = |scope, subject: Option<String>| Budget {
            id: BudgetId::from_uuid(Uuid::from_u128(3)),
            workspace_id: WorkspaceId::from_uuid(Uuid::from_u128(4)),
            scope,
            subject,
            unit: BudgetUnit::Answers,
            period: BudgetPeriod::Day,
            limit: 1,
            created_at: Timestamp::from_micros(0),
        };
        let payer =
            Payer { agent: Some(agent), api_key: Some(key), visitor: Some("ana".to_owned()) };
        let counter = |scope, subject| budget(scope, subject).counter(&payer);
        assert_eq!(counter(BudgetScope::Workspace, None), Some(String::new()));
        assert_eq!(counter(BudgetScope::Agent, None), Some(agent.to_string()));
        assert_eq!(counter(BudgetScope::ApiKey, Some(key.to_string())), Some(key.to_string()));
        assert_eq!(counter(BudgetScope::Agent, Some("agent_other".to_owned())), None);
        assert_eq!(counter(BudgetScope::Visitor, None), Some("ana".to_owned()));
        let nobody = Payer::default();
        for scope in [BudgetScope::Agent, BudgetScope::ApiKey, BudgetScope::Visitor] {
            assert_eq!(budget(scope, None).counter(&nobody), None);
        }
    }
}
