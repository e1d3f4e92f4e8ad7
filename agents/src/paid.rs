//! A workspace's model for what is neither a turn nor about an agent: each call is held, counted and settled.

use std::sync::Arc;

use async_trait::async_trait;
use domain::budget::Purpose;
use domain::{ApiKeyId, DomainError, WorkspaceId};
use models::{ChatEvent, ChatModel, ChatRequest, ChatStream, ModelError};

use crate::errand::{self, Errand};
use crate::model::Candidate;
use crate::turn::{Agents, Inner};

/// A model of a workspace, every call of which is in the ledger and held to the budgets.
#[derive(Debug, Clone)]
pub struct PaidModel {
    inner: Arc<Inner>,
    candidates: Vec<Candidate>,
    errand: Errand,
}

impl Agents {
    /// The workspace's model of that name, or (`None`) the one of agents that name none, for calls that are counted under
    /// `purpose` to the workspace and to `api_key`. `None` when nobody is there to be asked: the built-in answerer is no
    /// model.
    pub async fn paid_model(
        &self,
        workspace: WorkspaceId,
        name: Option<&str>,
        purpose: Purpose,
        api_key: Option<ApiKeyId>,
    ) -> Result<Option<PaidModel>, DomainError> {
        let inner = &self.inner;
        let mut conn = inner.db.read().await?;
        let candidates = inner.candidates_of(&mut conn, workspace, name).await?;
        drop(conn);
        let errand = Errand { workspace, agent: None, purpose, conversation: None, api_key };
        let model = PaidModel { inner: inner.clone(), candidates, errand };
        Ok((!model.candidates.is_empty()).then_some(model))
    }
}

impl PaidModel {
    /// The name that it is asked under.
    pub fn name(&self) -> &str {
        self.candidates.first().map_or("", |first| &first.name)
    }

    /// The whole text that it says; `None` when it takes longer than a turn may.
    ///
    /// Errors: `USAGE_LIMIT` when a budget is used up, with the time until it begins anew; the provider's.
    pub async fn ask(&self, request: ChatRequest) -> Result<Option<String>, DomainError> {
        let said = errand::ask(&self.inner, self.errand, self.candidates.clone(), request).await?;
        Ok(said.map(|said| said.text))
    }
}

#[async_trait]
impl ChatModel for PaidModel {
    /// The whole text at once: what is not read to its end could not be settled.
    async fn chat(&self, request: ChatRequest) -> Result<ChatStream, ModelError> {
        let said = errand::ask(&self.inner, self.errand, self.candidates.clone(), request).await;
        let said = said.map_err(|error| ModelError::Unavailable(error.message))?;
        let said = said.ok_or_else(|| {
            ModelError::Unavailable("nothing came within the time of a turn".to_owned())
        })?;
        let events = [
            ChatEvent::Token(said.text),
            ChatEvent::Finished { reason: said.reason, usage: Some(said.usage) },
        ];
        Ok(Box::pin(futures::stream::iter(events.map(Ok))))
    }

    async fn knows(&self, model: &str) -> Result<bool, ModelError> {
        Ok(model == self.name())
    }
}
