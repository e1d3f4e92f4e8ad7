//! What an agent's models are asked outside of turns: held, counted and settled as turns are.

use std::sync::Arc;
use std::time::Duration;

use domain::agent::Agent;
use domain::budget::{Payer, Purpose};
use domain::{ApiKeyId, ConversationId, DomainError, MessageId};
use models::{ChatRequest, ModelError};
use storage::budgets::Hold;
use storage::charges::Charge;
use storage::{StorageError, budgets, spending};
use tokio_util::sync::CancellationToken;

use crate::begin;
use crate::model::{Candidate, TurnModel};
use crate::rewrite::whole;
use crate::spend::{BUILTIN, Meter, amounts, near};
use crate::turn::Inner;

/// Who asks, and what for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Errand<'a> {
    pub(crate) agent: &'a Agent,
    pub(crate) purpose: Purpose,
    /// The conversation that it is about.
    pub(crate) conversation: Option<ConversationId>,
    /// The key that wants it; `None` for what a job does by itself.
    pub(crate) api_key: Option<ApiKeyId>,
}

/// An errand under way; settled whatever becomes of it.
struct Running {
    inner: Arc<Inner>,
    model: TurnModel,
    meter: Arc<Meter>,
    holds: Vec<Hold>,
    /// As it will be written down, but for what was used.
    charge: Charge,
}

/// The whole text that the first of the models says that can be asked; `None` when it takes longer than a turn may, or
/// nobody is there to be asked. Dropping the future ends the call; what it used is written down all the same.
///
/// Errors: `USAGE_LIMIT` when a budget is used up, with the time until it begins anew; the provider's.
pub(crate) async fn ask(
    inner: &Arc<Inner>,
    errand: Errand<'_>,
    candidates: Vec<Candidate>,
    request: ChatRequest,
) -> Result<Option<String>, DomainError> {
    let meter = Arc::new(Meter::default());
    let catalogue = inner.options.catalogue.clone();
    let Some(model) = TurnModel::new(candidates, catalogue.clone(), meter.clone()) else {
        return Ok(None);
    };
    let Errand { agent, purpose, conversation, api_key } = errand;
    let payer = Payer { agent: Some(agent.id), api_key, visitor: None };
    let mut most = near(&request, "", true);
    most.completion_tokens = i64::from(request.max_tokens.unwrap_or_default());
    let expected = amounts(&catalogue, model.first_name(), most);
    let mut conn = inner.db.read().await?;
    let budgets = budgets::list(&mut conn, agent.workspace_id).await?;
    drop(conn);
    let now = inner.ambient.now();
    let holds = spending::plan(&budgets, &payer, expected, now);
    let id: MessageId = inner.ambient.new_id();
    begin::hold_for(inner, agent.workspace_id, id, &holds).await?;
    let charge = Charge {
        message_id: id,
        purpose,
        conversation_id: conversation,
        agent_id: payer.agent,
        api_key_id: payer.api_key,
        contact_id: None,
        visitor_id: None,
        model: String::new(),
        provider: String::new(),
        calls: 0,
        prompt_tokens: 0,
        completion_tokens: 0,
        cached_tokens: 0,
        cost: 0,
        estimated: false,
        answered: false,
        at: now,
    };
    let request = ChatRequest { model: model.first_name().to_owned(), ..request };
    let running = Running { inner: inner.clone(), model, meter, holds, charge };
    let given_up = CancellationToken::new();
    let task = inner.tracker.spawn(running.go(agent.clone(), request, given_up.clone()));
    let _ends_with_its_caller = given_up.drop_guard();
    match task.await {
        Ok(said) => Ok(said?),
        Err(_) => Ok(None),
    }
}

impl Running {
    async fn go(
        self,
        agent: Agent,
        request: ChatRequest,
        given_up: CancellationToken,
    ) -> Result<Option<String>, ModelError> {
        let limit: Duration = self.inner.options.defaults.turn_timeout;
        let said = tokio::select! {
            biased;
            () = given_up.cancelled() => Ok(None),
            () = self.inner.stop.cancelled() => Ok(None),
            said = tokio::time::timeout(limit, whole(&self.model, request)) => {
                said.map_or(Ok(None), |said| said.map(|(text, _)| Some(text)))
            }
        };
        if let Err(error) = self.settle(&agent).await {
            tracing::warn!(%error, "what a job used could not be written down; its holds end by themselves");
        }
        said
    }

    async fn settle(self, agent: &Agent) -> Result<(), StorageError> {
        let Self { inner, model, meter, holds, charge } = self;
        let used = meter.read();
        if used.calls == 0 && holds.is_empty() {
            return Ok(());
        }
        let mut tx = inner.db.write().await?;
        if used.calls == 0 {
            budgets::release(&mut tx, agent.workspace_id, charge.message_id).await?;
            return tx.commit().await;
        }
        let charge = Charge {
            model: model.name(),
            provider: used.provider.unwrap_or_else(|| BUILTIN.to_owned()),
            calls: used.calls,
            prompt_tokens: used.usage.prompt_tokens,
            completion_tokens: used.usage.completion_tokens,
            cached_tokens: used.usage.cached_tokens,
            cost: used.cost,
            estimated: used.estimated,
            at: inner.ambient.now(),
            ..charge
        };
        spending::settle(&mut tx, agent.workspace_id, &charge, &holds).await?;
        tx.commit().await
    }
}
