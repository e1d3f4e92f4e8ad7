//! The model providers of workspaces: what is stored of them, made into models that can be asked.
//!
//! A workspace's own providers go before the installation's. Their addresses come from users, so each one is judged when
//! it is connected to, as every other address of theirs is.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::agent::Agent;
use domain::settings::ModelSettings;
use domain::vault::{SecretPlace, Vault};
use domain::{Ambient, DomainError, ProviderId, Timestamp, WorkspaceId};
use models::openai::{Judge, OpenAi, OpenAiOptions, TimerPause};
use models::{ChatModel, ChatRequest, ChatStream, ModelError, builtin};
use storage::providers::{self, Provider};
use storage::{Conn, StorageError};
use url::Url;

use crate::model::Candidate;
use crate::spend::INSTALLATION;
use crate::turn::{AgentsOptions, Inner};

/// How long another process's change of the providers goes unnoticed.
const LIST_FRESH: Duration = Duration::from_secs(5);

/// How long a provider's connections are kept after their last use.
const CLIENT_IDLE: Duration = Duration::from_mins(10);

/// Workspaces and providers that are remembered.
const MAX_KNOWN: u64 = 1_000;

/// The providers that were used lately.
pub(crate) struct Providers {
    /// Of each workspace, in the order that they are asked.
    lists: moka::sync::Cache<WorkspaceId, Arc<[OwnProvider]>>,
    /// A changed provider is another one, so that its old address and key are not used again.
    clients: moka::sync::Cache<(ProviderId, Timestamp), Arc<dyn ChatModel>>,
    vault: Vault,
    fetch: fetch::Client,
    settings: ModelSettings,
    ambient: Ambient,
}

/// A provider of a workspace that can be asked.
#[derive(Debug, Clone)]
pub(crate) struct OwnProvider {
    id: ProviderId,
    models: Vec<String>,
    chat: Arc<dyn ChatModel>,
}

impl fmt::Debug for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Providers")
            .field("lists", &self.lists.entry_count())
            .finish_non_exhaustive()
    }
}

impl Providers {
    pub(crate) fn new(options: &AgentsOptions, ambient: &Ambient) -> Self {
        Self {
            lists: moka::sync::Cache::builder()
                .max_capacity(MAX_KNOWN)
                .time_to_live(LIST_FRESH)
                .build(),
            clients: moka::sync::Cache::builder()
                .max_capacity(MAX_KNOWN)
                .time_to_idle(CLIENT_IDLE)
                .build(),
            vault: options.vault.clone(),
            fetch: options.fetch.clone(),
            settings: options.models.clone(),
            ambient: ambient.clone(),
        }
    }

    /// The providers of a workspace, in the order that they are asked.
    async fn of(
        &self,
        conn: &mut Conn,
        workspace: WorkspaceId,
    ) -> Result<Arc<[OwnProvider]>, StorageError> {
        if let Some(known) = self.lists.get(&workspace) {
            return Ok(known);
        }
        let stored = providers::list(conn, workspace).await?;
        let list: Arc<[OwnProvider]> =
            stored.into_iter().map(|provider| self.own(workspace, provider)).collect();
        self.lists.insert(workspace, list.clone());
        Ok(list)
    }

    fn own(&self, workspace: WorkspaceId, provider: Provider) -> OwnProvider {
        let key = (provider.id, provider.updated_at);
        let chat = self.clients.get_with(key, || match self.connect(workspace, &provider) {
            Ok(client) => Arc::new(client) as Arc<dyn ChatModel>,
            Err(error) => {
                tracing::warn!(provider = %provider.id, %error, "a workspace's provider cannot be used");
                Arc::new(Unusable(error))
            }
        });
        OwnProvider { id: provider.id, models: provider.models, chat }
    }

    /// The client of a provider; asks it nothing yet.
    pub(crate) fn connect(
        &self,
        workspace: WorkspaceId,
        provider: &Provider,
    ) -> Result<OpenAi, ModelError> {
        // The resolver never sees literal addresses; they are judged here.
        let base_url = fetch::check_url(&provider.base_url, self.fetch.settings())
            .map_err(|error| ModelError::Refused(error.message))?;
        let row = provider.id.to_string();
        let place = SecretPlace { workspace, table: "providers", column: "api_key", row: &row };
        let key = provider.api_key.as_ref().map(|sealed| self.vault.open(place, sealed));
        let key = key.transpose().map_err(|error| {
            ModelError::Credential(format!(
                "its stored key cannot be opened: {error}; set it again"
            ))
        })?;
        let options = OpenAiOptions {
            base_url,
            key,
            azure_api_version: provider.azure_api_version.clone(),
            chat_model: None,
            allowed_models: provider.models.clone(),
            connect_timeout: self.settings.connect_timeout,
            first_token_timeout: self.settings.first_token_timeout,
            idle_timeout: self.settings.idle_timeout,
            max_attempts: self.settings.max_attempts,
            pause: Arc::new(TimerPause),
            judge: Some(Arc::new(Guard(self.fetch.clone()))),
        };
        OpenAi::new(&options, &self.ambient)
    }

    /// Forgets what is known of a workspace: its providers were changed.
    pub(crate) fn forget(&self, workspace: WorkspaceId) {
        self.lists.invalidate(&workspace);
    }
}

impl Inner {
    /// The models that may answer for an agent, first choice first; none when the built-in answerer answers: there is
    /// no provider, or the agent names the built-in one. A name is asked for at the workspace's providers that answer to
    /// it, then at the installation's.
    pub(crate) async fn candidates(
        &self,
        conn: &mut Conn,
        agent: &Agent,
    ) -> Result<Vec<Candidate>, StorageError> {
        let own = self.providers.of(conn, agent.workspace_id).await?;
        let Some(first) = self.first_model(&own, agent.model_name.as_deref()) else {
            return Ok(Vec::new());
        };
        let mut names: Vec<&str> = vec![first];
        for name in &agent.settings.fallback_models {
            if name != builtin::MODEL_NAME && !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        Ok(names.into_iter().flat_map(|name| self.places_of(&own, name)).collect())
    }

    /// Where the workspace's model of that name can be asked (`None`: the one of agents that name none); nowhere without a
    /// provider.
    pub(crate) async fn candidates_of(
        &self,
        conn: &mut Conn,
        workspace: WorkspaceId,
        name: Option<&str>,
    ) -> Result<Vec<Candidate>, StorageError> {
        let own = self.providers.of(conn, workspace).await?;
        let name = self.first_model(&own, name).map(str::to_owned);
        Ok(name.map(|name| self.places_of(&own, &name)).unwrap_or_default())
    }

    /// The name of the model that answers first; `None` when it is the built-in answerer.
    fn first_model<'a>(
        &'a self,
        own: &'a [OwnProvider],
        named: Option<&'a str>,
    ) -> Option<&'a str> {
        let named = named.filter(|name| !name.is_empty());
        let default = || {
            let of_workspace = own.iter().find_map(|provider| provider.models.first());
            of_workspace.or(self.options.default_model.as_ref()).map(String::as_str)
        };
        named.or_else(default).filter(|name| *name != builtin::MODEL_NAME)
    }

    /// Where a model can be asked.
    fn places_of(&self, own: &[OwnProvider], name: &str) -> Vec<Candidate> {
        let at = |chat: &Arc<dyn ChatModel>, provider: String| Candidate {
            chat: chat.clone(),
            name: name.to_owned(),
            provider,
        };
        let answers = |provider: &&OwnProvider| provider.models.iter().any(|known| known == name);
        let mut places: Vec<Candidate> = own
            .iter()
            .filter(answers)
            .map(|provider| at(&provider.chat, provider.id.to_string()))
            .collect();
        // One whose models are the workspace's own is not asked for at a stranger's.
        if let Some(chat) = self.options.chat.as_ref().filter(|_| places.is_empty()) {
            places.push(at(chat, INSTALLATION.to_owned()));
        }
        places
    }

    /// The model that answers for an agent of the workspace that names none.
    pub(crate) async fn default_model(
        &self,
        conn: &mut Conn,
        workspace: WorkspaceId,
    ) -> Result<String, StorageError> {
        let own = self.providers.of(conn, workspace).await?;
        Ok(self.first_model(&own, None).unwrap_or(builtin::MODEL_NAME).to_owned())
    }

    /// Whether agents of a workspace may name `model`; see [`crate::Agents::check_model`].
    pub(crate) async fn check_model(
        &self,
        workspace: WorkspaceId,
        model: &str,
    ) -> Result<(), DomainError> {
        let mut conn = self.db.read().await?;
        let own = self.providers.of(&mut conn, workspace).await?;
        drop(conn);
        let known = own.iter().any(|provider| provider.models.iter().any(|known| known == model));
        if model == builtin::MODEL_NAME || known {
            return Ok(());
        }
        match &self.options.chat {
            Some(chat) if chat.knows(model).await? => return Ok(()),
            // For the day that there is a provider.
            None if own.is_empty() => return Ok(()),
            Some(_) | None => {}
        }
        let words = format!(
            "`modelName` {model} is not known to the model provider; choose one it lists, or add it to a provider of the workspace"
        );
        Err(DomainError::invalid("modelName", words))
    }
}

/// Judges where a provider is by the rules for every address that users supply.
#[derive(Debug)]
struct Guard(fetch::Client);

#[async_trait]
impl Judge for Guard {
    async fn addresses(&self, url: &Url) -> Result<Vec<SocketAddr>, String> {
        let target = self.0.judge(url).await.map_err(|error| error.message)?;
        Ok(target.addresses().to_vec())
    }
}

/// A provider that cannot be set up: whoever asks it is told why.
#[derive(Debug)]
struct Unusable(ModelError);

#[async_trait]
impl ChatModel for Unusable {
    async fn chat(&self, _: ChatRequest) -> Result<ChatStream, ModelError> {
        Err(self.0.clone())
    }

    async fn knows(&self, _: &str) -> Result<bool, ModelError> {
        Err(self.0.clone())
    }
}
