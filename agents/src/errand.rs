//! What an agent's models are asked outside of turns, and searches that are no turn's: held, counted and settled as
//! turns are.

use std::sync::Arc;
use std::time::Duration;

use domain::budget::{Payer, Purpose};
use domain::{AgentId, ApiKeyId, ConversationId, DomainError, WorkspaceId};
use futures::StreamExt;
use models::{
    Bill, ChatEvent, ChatModel, ChatRequest, EmbedPurpose, FinishReason, ModelError, Tally, Usage,
    tokens,
};
use retrieval::{SearchQuery, SearchResults};
use storage::spending::{self, Amounts, Held, Spent};
use tokio_util::sync::CancellationToken;

use crate::model::{Candidate, TurnModel};
use crate::spend::{BUILTIN, INSTALLATION, Meter, Metered, amounts, near};
use crate::turn::{Agents, Inner};

/// How much longer than it may take something is held.
const MARGIN: Duration = Duration::from_mins(2);

/// Texts that an embedder gets at once.
const BATCH: usize = 64;

/// Who asks, and what for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Errand {
    pub(crate) workspace: WorkspaceId,
    /// The agent that it is done for; `None` when it is done for the workspace.
    pub(crate) agent: Option<AgentId>,
    pub(crate) purpose: Purpose,
    /// The conversation that it is about.
    pub(crate) conversation: Option<ConversationId>,
    /// The key that wants it; `None` for what a job does by itself.
    pub(crate) api_key: Option<ApiKeyId>,
}

/// What a model said.
#[derive(Debug)]
pub(crate) struct Said {
    /// The whole text.
    pub(crate) text: String,
    /// Why it ended.
    pub(crate) reason: FinishReason,
    /// What all calls for it used.
    pub(crate) usage: Usage,
}

/// The whole text that the first of the models says that can be asked; `None` when it takes longer than a turn may, or
/// nobody is there to be asked. Dropping the future ends the call; what it used is written down all the same.
///
/// Errors: `USAGE_LIMIT` when a budget is used up, with the time until it begins anew; the provider's.
pub(crate) async fn ask(
    inner: &Arc<Inner>,
    errand: Errand,
    candidates: Vec<Candidate>,
    request: ChatRequest,
) -> Result<Option<Said>, DomainError> {
    let meter = Arc::new(Meter::default());
    let catalogue = inner.options.catalogue.clone();
    let Some(model) = TurnModel::new(candidates, catalogue.clone(), meter.clone()) else {
        return Ok(None);
    };
    let Errand { workspace, agent, purpose, conversation, api_key } = errand;
    let payer = Payer { agent, api_key, visitor: None };
    let mut most = near(&request, "", true);
    most.completion_tokens = i64::from(request.max_tokens.unwrap_or_default());
    let expected = amounts(&catalogue, model.first_name(), most);
    let who = (purpose, payer, conversation);
    let held = inner.begin_errand(workspace, who, expected).await?;
    let request = ChatRequest { model: model.first_name().to_owned(), ..request };
    let given_up = CancellationToken::new();
    let going = go(inner.clone(), model, meter, held, request, given_up.clone());
    let task = inner.tracker.spawn(going);
    let _ends_with_its_caller = given_up.drop_guard();
    match task.await {
        Ok(said) => Ok(said?),
        Err(_) => Ok(None),
    }
}

async fn go(
    inner: Arc<Inner>,
    model: TurnModel,
    meter: Arc<Meter>,
    held: Held,
    request: ChatRequest,
    given_up: CancellationToken,
) -> Result<Option<Said>, ModelError> {
    let limit: Duration = inner.options.defaults.turn_timeout;
    let said = tokio::select! {
        biased;
        () = given_up.cancelled() => Ok(None),
        () = inner.stop.cancelled() => Ok(None),
        said = tokio::time::timeout(limit, whole(&model, request)) => {
            said.map_or(Ok(None), |said| said.map(Some))
        }
    };
    let Metered { calls, usage, cost, estimated, provider } = meter.read();
    let provider = provider.unwrap_or_else(|| BUILTIN.to_owned());
    let bill = Bill { calls, model: model.name(), usage, cost, estimated };
    inner.end_errand(held, Some(bill), provider).await;
    Ok(said?.map(|(text, reason)| Said { text, reason, usage }))
}

/// A whole answer to a request without tools.
async fn whole(
    model: &TurnModel,
    request: ChatRequest,
) -> Result<(String, FinishReason), ModelError> {
    let mut stream = model.chat(request).await?;
    let mut said = String::new();
    while let Some(event) = stream.next().await {
        match event? {
            ChatEvent::Token(piece) => said.push_str(&piece),
            ChatEvent::ToolCall { .. } => {}
            ChatEvent::Finished { reason, .. } => return Ok((said, reason)),
        }
    }
    Err(ModelError::Broken("the stream ended without an end".to_owned()))
}

impl Inner {
    async fn begin_errand(
        &self,
        workspace: WorkspaceId,
        who: (Purpose, Payer, Option<ConversationId>),
        expected: Amounts,
    ) -> Result<Held, DomainError> {
        let patience = self.options.defaults.turn_timeout + MARGIN;
        spending::begin(&self.db, &self.ambient, workspace, who, expected, patience).await
    }

    async fn end_errand(&self, held: Held, bill: Option<Bill>, provider: String) {
        let spent = bill.map(|bill| Spent {
            model: bill.model,
            provider,
            calls: bill.calls,
            prompt_tokens: bill.usage.prompt_tokens,
            completion_tokens: bill.usage.completion_tokens,
            cached_tokens: bill.usage.cached_tokens,
            cost: bill.cost,
            estimated: bill.estimated,
        });
        let ended = spending::end(&self.db, &self.ambient, held, spent.unwrap_or_default());
        if let Err(error) = ended.await {
            tracing::warn!(%error, "what was used could not be written down; its holds end by themselves");
        }
    }

    /// Does `work`, which may ask the installation's embedder and reranker, in the name of `payer`. `asked` is about what
    /// is sent to models; `None` when none of them costs anything.
    pub(crate) async fn paid<T>(
        self: &Arc<Self>,
        workspace: WorkspaceId,
        (purpose, payer): (Purpose, Payer),
        asked: Option<(String, usize)>,
        work: impl Future<Output = T>,
    ) -> Result<T, DomainError> {
        let Some((model, asked)) = asked else { return Ok(work.await) };
        let prompt_tokens = i64::try_from(asked).unwrap_or(i64::MAX);
        let catalogue = &self.options.catalogue;
        let usage = Usage { prompt_tokens, ..Usage::default() };
        let expected = amounts(catalogue, &model, usage);
        let held = self.begin_errand(workspace, (purpose, payer, None), expected).await?;
        let tally = Tally::default();
        let settling = Settling { inner: self.clone(), tally: tally.clone(), held: Some(held) };
        let done = tally.over(work).await;
        settling.finish().await;
        Ok(done)
    }

    /// What a search asks models about; `None` when none of them costs anything.
    pub(crate) fn asked_by(&self, query: &SearchQuery) -> Option<(String, usize)> {
        let model = self.retrieval.paid_model()?;
        Some((model, tokens::estimate(&query.text)))
    }
}

/// Writes down what a tally has, also when it is dropped: nobody waits for the work any more.
struct Settling {
    inner: Arc<Inner>,
    tally: Tally,
    held: Option<Held>,
}

impl Settling {
    async fn finish(mut self) {
        let Some(held) = self.held.take() else { return };
        let bill = self.tally.take(&self.inner.options.catalogue);
        self.inner.end_errand(held, bill, INSTALLATION.to_owned()).await;
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        let (inner, tally) = (self.inner.clone(), self.tally.clone());
        let tracker = inner.tracker.clone();
        tracker.spawn(async move {
            let bill = tally.take(&inner.options.catalogue);
            inner.end_errand(held, bill, INSTALLATION.to_owned()).await;
        });
    }
}

impl Agents {
    /// A search that is no turn's. What it asks of models that cost something is counted to the workspace and to `api_key`.
    ///
    /// Errors: 402 `USAGE_LIMIT` when such a model would be asked and a budget is used up; those of the search.
    pub async fn search(
        &self,
        workspace: WorkspaceId,
        query: &SearchQuery,
        api_key: Option<ApiKeyId>,
    ) -> Result<SearchResults, DomainError> {
        let inner = &self.inner;
        let who = (Purpose::Search, Payer { api_key, ..Payer::default() });
        let search = Box::pin(inner.retrieval.search(workspace, query));
        Ok(inner.paid(workspace, who, inner.asked_by(query), search).await??)
    }

    /// The vectors of texts by the installation's embedder, in order; `None` without one. Counted to the workspace and to
    /// `api_key` where the embedder costs something.
    ///
    /// Errors: 402 `USAGE_LIMIT` when a budget is used up; the provider's.
    pub async fn embed(
        &self,
        workspace: WorkspaceId,
        texts: &[String],
        purpose: EmbedPurpose,
        api_key: Option<ApiKeyId>,
    ) -> Result<Option<Vec<Vec<f32>>>, DomainError> {
        let inner = &self.inner;
        let Some(embedder) = inner.retrieval.embedder() else { return Ok(None) };
        let asked = embedder.is_paid().then(|| {
            let sizes = texts.iter().map(|text| tokens::estimate(text));
            (embedder.space().model.clone(), sizes.sum())
        });
        let who = (Purpose::Embedding, Payer { api_key, ..Payer::default() });
        let work = async {
            let mut vectors = Vec::with_capacity(texts.len());
            for batch in texts.chunks(BATCH) {
                vectors.extend(embedder.embed(batch, purpose).await?);
            }
            Ok::<_, ModelError>(vectors)
        };
        Ok(Some(inner.paid(workspace, who, asked, work).await??))
    }
}
