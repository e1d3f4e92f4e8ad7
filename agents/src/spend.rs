//! What turns cost: what they may use of the budgets, what they used, and the line in the ledger.

use std::sync::Arc;
use std::time::Instant;

use domain::agent::AgentSettings;
use domain::budget::{Budget, BudgetPeriod, BudgetScope, BudgetUnit, Payer};
use domain::conversation::Conversation;
use domain::{DomainError, ErrorKind, MessageId, Timestamp, WorkspaceId};
use models::{Catalogue, ChatRequest, FinishReason, ModelError, Usage, tokens};
use parking_lot::Mutex;
use storage::budgets::Hold;
use storage::charges::Charge;
use storage::{StorageError, Tx, budgets, charges};

/// The provider of answers that no provider was asked for.
pub(crate) const BUILTIN: &str = "builtin";
/// The provider that the installation's settings name.
pub(crate) const INSTALLATION: &str = "installation";

/// Tokens of a prompt beside history and passages.
const FRAME_TOKENS: i64 = 1_500;
/// Tokens of a passage in a prompt, at most about.
const PASSAGE_TOKENS: i64 = 500;
/// Tokens that an image costs, about: providers tell it only afterwards.
const IMAGE_TOKENS: i64 = 1_000;

/// A turn's side of the money: who is counted, what is held, what was used.
#[derive(Debug)]
pub(crate) struct Spending {
    /// Who is counted.
    pub(crate) payer: Payer,
    /// The parts of the budgets that are held for the turn.
    pub(crate) holds: Vec<Hold>,
    /// What its calls to models used.
    pub(crate) meter: Arc<Meter>,
}

/// Adds up what the calls of a turn used, and remembers each of them.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    metered: Mutex<Metered>,
    calls: Mutex<Vec<Call>>,
}

/// A call of a model that is over.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) model: String,
    pub(crate) provider: String,
    pub(crate) began: Instant,
    /// When its first event came.
    pub(crate) first: Option<Instant>,
    pub(crate) ended: Instant,
    /// `None` for one that could not be asked.
    pub(crate) usage: Option<Usage>,
    /// The provider did not count.
    pub(crate) estimated: bool,
    /// Micro-dollars; `None` without a price.
    pub(crate) cost: Option<i64>,
    pub(crate) reason: Option<FinishReason>,
    /// How it failed.
    pub(crate) error: Option<CallError>,
}

/// How a call failed.
#[derive(Debug, Clone)]
pub(crate) struct CallError {
    /// One of a few words.
    pub(crate) kind: &'static str,
    pub(crate) message: String,
}

impl From<&ModelError> for CallError {
    fn from(error: &ModelError) -> Self {
        let kind = match error {
            ModelError::Unavailable(_) => "unavailable",
            ModelError::RateLimited { .. } => "rate_limited",
            ModelError::BreakerOpen { .. } => "breaker_open",
            ModelError::Credential(_) => "credential",
            ModelError::Refused(_) => "refused",
            ModelError::Broken(_) => "broken",
        };
        Self { kind, message: error.to_string() }
    }
}

/// What the calls of a turn used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Metered {
    pub(crate) calls: i64,
    pub(crate) usage: Usage,
    /// Micro-dollars.
    pub(crate) cost: i64,
    /// Something of it the provider did not count.
    pub(crate) estimated: bool,
    /// Who was asked last.
    pub(crate) provider: Option<String>,
}

impl Meter {
    /// A call that the provider counted, or that must be estimated: by what was asked and what came of it.
    pub(crate) fn add(
        &self,
        catalogue: &Catalogue,
        provider: &str,
        model: &str,
        usage: Result<Usage, Usage>,
    ) {
        let (used, estimated) = match usage {
            Ok(counted) => (counted, false),
            Err(near) => (near, true),
        };
        let mut metered = self.metered.lock();
        metered.calls += 1;
        metered.usage = metered.usage.plus(used);
        metered.cost = metered.cost.saturating_add(catalogue.cost(model, used).unwrap_or(0));
        metered.estimated |= estimated && used != Usage::default();
        metered.provider = Some(provider.to_owned());
    }

    /// All calls so far.
    pub(crate) fn read(&self) -> Metered {
        self.metered.lock().clone()
    }

    /// Remembers a call that is over, for the trace; what it used is added by [`add`](Self::add).
    pub(crate) fn remember(&self, call: Call) {
        self.calls.lock().push(call);
    }

    /// The calls that are over, in the order of their ends.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().clone()
    }
}

/// What a call used, nearly: for providers that do not count, and for calls that were cut off before they could.
/// An answer that never began is taken to cost its prompt only when `begun`.
pub(crate) fn near(request: &ChatRequest, said: &str, begun: bool) -> Usage {
    if said.is_empty() && !begun {
        return Usage::default();
    }
    let texts = request.messages.iter().map(|message| tokens::estimate(&message.content));
    let images: usize = request.messages.iter().map(|message| message.images.len()).sum();
    let images = whole(images).saturating_mul(IMAGE_TOKENS);
    Usage {
        prompt_tokens: whole(texts.sum()).saturating_add(images),
        completion_tokens: whole(tokens::estimate(said)),
        cached_tokens: 0,
    }
}

/// The most that a turn is expected to use: tokens and micro-dollars.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Expected {
    pub(crate) tokens: i64,
    pub(crate) cost: i64,
}

impl Expected {
    /// For an answer of `model` by an agent's settings, with `said` being what the customer says; nothing without a
    /// model.
    pub(crate) fn of(
        catalogue: &Catalogue,
        model: Option<&str>,
        settings: &AgentSettings,
        said: &str,
    ) -> Self {
        let Some(model) = model else { return Self::default() };
        let prompt = FRAME_TOKENS
            + i64::from(settings.history_tokens)
            + i64::from(settings.top_k) * PASSAGE_TOKENS
            + whole(tokens::estimate(said));
        let usage = Usage {
            prompt_tokens: prompt,
            completion_tokens: i64::from(settings.max_answer_tokens),
            cached_tokens: 0,
        };
        let cost = catalogue.cost(model, usage).unwrap_or(0);
        Self { tokens: prompt + usage.completion_tokens, cost }
    }
}

/// The parts of the budgets that a turn of `payer` needs.
pub(crate) fn plan(
    budgets: &[Budget],
    payer: &Payer,
    expected: Expected,
    now: Timestamp,
) -> Vec<Hold> {
    let mut holds = Vec::new();
    for budget in budgets {
        let Some(counter) = budget.counter(payer) else { continue };
        let amount = match budget.unit {
            BudgetUnit::Answers => 1,
            BudgetUnit::Tokens => expected.tokens,
            BudgetUnit::Cost => expected.cost,
        };
        let (starts, resets) = budget.period.around(now);
        holds.push(Hold { budget: budget.clone(), counter, starts, resets, amount });
    }
    holds
}

/// Takes every part, in the transaction that stores the question; the first one that is not to be had refuses
/// the turn, and with it the transaction.
pub(crate) async fn hold(
    tx: &mut Tx,
    workspace: WorkspaceId,
    turn: MessageId,
    holds: &[Hold],
    now: Timestamp,
    until: Timestamp,
) -> Result<(), DomainError> {
    for hold in holds {
        if !budgets::hold(tx, workspace, turn, hold, now, until).await? {
            return Err(used_up(hold, now));
        }
    }
    Ok(())
}

/// A line of the ledger, and what it takes from the budgets; what else was held is free again. Once for
/// each turn, however often it is tried.
pub(crate) async fn settle(
    tx: &mut Tx,
    workspace: WorkspaceId,
    charge: &Charge,
    holds: &[Hold],
) -> Result<(), StorageError> {
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
    if holds.is_empty() {
        return Ok(());
    }
    budgets::release(tx, workspace, charge.message_id).await
}

impl Spending {
    /// The line of a turn in the ledger.
    pub(crate) fn charge(
        &self,
        conversation: &Conversation,
        answer: MessageId,
        model: &str,
        answered: bool,
        at: Timestamp,
    ) -> Charge {
        let Metered { calls, usage, cost, estimated, provider } = self.meter.read();
        Charge {
            message_id: answer,
            conversation_id: conversation.id,
            agent_id: self.payer.agent,
            api_key_id: self.payer.api_key,
            contact_id: conversation.contact_id,
            visitor_id: conversation.visitor_id.clone(),
            model: model.to_owned(),
            provider: provider.unwrap_or_else(|| BUILTIN.to_owned()),
            calls,
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            cached_tokens: usage.cached_tokens,
            cost,
            estimated,
            answered,
            at,
        }
    }

    /// Whether a model was asked.
    pub(crate) fn was_used(&self) -> bool {
        self.meter.read().calls > 0
    }

    /// Whether there is something to write down or to free although there is no answer.
    pub(crate) fn has_traces(&self) -> bool {
        !self.holds.is_empty() || self.was_used()
    }
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
    if budget.scope != BudgetScope::Visitor {
        return DomainError::new(ErrorKind::UsageLimit, "USAGE_LIMIT", message);
    }
    let refused = DomainError::new(ErrorKind::RateLimited, "RATE_LIMITED", message);
    DomainError { retry_after: Some(resets.since(now)), ..refused }
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use domain::ids::PrefixedId;
    use domain::{AgentId, BudgetId};
    use models::ChatMessage;
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
        Payer { agent, api_key: None, visitor: Some("ana".to_owned()) }
    }

    #[test]
    fn the_calls_of_a_turn_add_up_and_know_what_was_guessed() {
        let (meter, catalogue) = (Meter::default(), Catalogue::default());
        let usage = Usage { prompt_tokens: 1_000, completion_tokens: 200, cached_tokens: 0 };
        meter.add(&catalogue, INSTALLATION, "gpt-4o", Ok(usage));
        assert_eq!((meter.read().cost, meter.read().estimated), (4_500, false));
        meter.add(&catalogue, INSTALLATION, "own-model", Err(Usage::default()));
        assert!(!meter.read().estimated, "nothing was guessed");
        meter.add(&catalogue, INSTALLATION, "gpt-4o-mini", Err(usage));
        let all = meter.read();
        assert_eq!((all.calls, all.usage.prompt_tokens, all.cost), (3, 2_000, 4_770));
        assert!(all.estimated);
    }

    #[test]
    fn a_call_that_never_began_costs_nothing() {
        let request = ChatRequest {
            messages: vec![ChatMessage::user("¿Cuáles son los horarios de atención?")],
            ..ChatRequest::default()
        };
        assert_eq!(near(&request, "", false), Usage::default());
        let begun = near(&request, "", true);
        assert!(begun.prompt_tokens > 5 && begun.completion_tokens == 0);
        assert!(near(&request, "De 9 a 18.", false).completion_tokens > 3);
    }

    #[test]
    fn a_turn_holds_what_it_may_use() {
        let catalogue = Catalogue::default();
        let settings = AgentSettings::default();
        let expected = Expected::of(&catalogue, Some("gpt-4o"), &settings, "hola");
        assert!(expected.tokens > 1_024 + 2_000 && expected.cost > 10_000);
        let free = Expected::of(&catalogue, None, &settings, "hola");
        assert_eq!((free.tokens, free.cost), (0, 0));
        let budgets = vec![
            budget(BudgetScope::Workspace, BudgetUnit::Answers),
            budget(BudgetScope::ApiKey, BudgetUnit::Answers),
            budget(BudgetScope::Visitor, BudgetUnit::Tokens),
        ];
        let holds = plan(&budgets, &payer(), expected, Timestamp::from_micros(1));
        let amounts: Vec<(&str, i64)> =
            holds.iter().map(|hold| (hold.counter.as_str(), hold.amount)).collect();
        assert_eq!(amounts, [("", 1), ("ana", expected.tokens)]);
    }

    #[test]
    fn a_used_up_budget_is_named_with_the_time_that_it_begins_anew() {
        let now = Timestamp::parse_rfc3339("2026-11-20T23:00:00Z").unwrap();
        let refusal = |scope| {
            let holds =
                plan(&[budget(scope, BudgetUnit::Answers)], &payer(), Expected::default(), now);
            used_up(&holds[0], now)
        };
        let of_agent = refusal(BudgetScope::Agent);
        assert_eq!((of_agent.kind, of_agent.code), (ErrorKind::UsageLimit, "USAGE_LIMIT"));
        for part in ["daily", "5 answers", "agent_", "2026-11-21T00:00:00.000Z", "budget_"] {
            assert!(of_agent.message.contains(part), "{part} in {}", of_agent.message);
        }
        let of_visitor = refusal(BudgetScope::Visitor);
        assert_eq!(of_visitor.code, "RATE_LIMITED");
        assert_eq!(of_visitor.retry_after, Some(std::time::Duration::from_hours(1)));
    }
}
