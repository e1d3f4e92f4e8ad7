//! What turns cost: what they may use of the budgets, what they used, and the line in the ledger.

use std::sync::Arc;
use std::time::Instant;

use domain::agent::AgentSettings;
use domain::budget::{Payer, Purpose};
use domain::conversation::Conversation;
use domain::{MessageId, Timestamp};
use models::{Catalogue, ChatRequest, FinishReason, ModelError, Tally, Usage, tokens};
use parking_lot::Mutex;
use storage::budgets::Hold;
use storage::charges::Charge;
use storage::spending::Amounts;

/// The provider of answers that no provider was asked for.
pub(crate) const BUILTIN: &str = "builtin";
/// The provider that the installation's settings name.
pub(crate) const INSTALLATION: &str = "installation";

/// Tokens of a prompt beside history and passages.
const FRAME_TOKENS: i64 = 1_500;
/// Tokens of a passage in a prompt, at most about.
const PASSAGE_TOKENS: i64 = 500;
/// Tokens that an image costs, about: providers tell it only afterwards.
pub(crate) const IMAGE_TOKENS: i64 = 1_000;

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
    /// What its searches used.
    tally: Tally,
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

    /// What searches of the turn are done over.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Adds what searches used until now.
    pub(crate) fn take_searches(&self, catalogue: &Catalogue) {
        let Some(bill) = self.tally.take(catalogue) else { return };
        let mut metered = self.metered.lock();
        metered.calls += bill.calls;
        metered.usage = metered.usage.plus(bill.usage);
        metered.cost = metered.cost.saturating_add(bill.cost);
        metered.estimated |= bill.estimated;
        metered.provider.get_or_insert_with(|| INSTALLATION.to_owned());
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

/// The most that an answer of `model` by an agent's settings is expected to use, with `said` being what the customer
/// says; of tokens and cost nothing without a model.
pub(crate) fn expected(
    catalogue: &Catalogue,
    model: Option<&str>,
    settings: &AgentSettings,
    said: &str,
) -> Amounts {
    let Some(model) = model else { return Amounts { answers: 1, ..Amounts::default() } };
    let prompt = FRAME_TOKENS
        + i64::from(settings.history_tokens)
        + i64::from(settings.top_k) * PASSAGE_TOKENS
        + whole(tokens::estimate(said));
    let usage = Usage {
        prompt_tokens: prompt,
        completion_tokens: i64::from(settings.max_answer_tokens),
        cached_tokens: 0,
    };
    Amounts { answers: 1, ..amounts(catalogue, model, usage) }
}

/// What that much of a model comes to.
pub(crate) fn amounts(catalogue: &Catalogue, model: &str, usage: Usage) -> Amounts {
    let tokens = usage.prompt_tokens.saturating_add(usage.completion_tokens);
    Amounts { answers: 0, tokens, cost: catalogue.cost(model, usage).unwrap_or(0) }
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
            purpose: Purpose::Answer,
            conversation_id: Some(conversation.id),
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

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use models::ChatMessage;

    use super::*;

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
    fn a_turn_is_expected_to_use_its_limits() {
        let catalogue = Catalogue::default();
        let settings = AgentSettings::default();
        let expects = |model| expected(&catalogue, model, &settings, "hola");
        let paid = expects(Some("gpt-4o"));
        assert!(paid.tokens > 1_024 + 2_000 && paid.cost > 10_000 && paid.answers == 1);
        assert_eq!(expects(None), Amounts { answers: 1, tokens: 0, cost: 0 });
    }
}
