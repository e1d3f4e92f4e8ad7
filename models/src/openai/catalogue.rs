//! Which models a provider has.

use std::time::Duration;

use async_openai::types::models::Model;
use domain::Timestamp;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::OpenAiOptions;
use super::provider::Provider;
use crate::ModelError;

/// How long a list is believed.
const FRESH: Duration = Duration::from_mins(10);
/// How old a list must be to be asked for again because a name is not in it: a model may have been added just now.
const DOUBTFUL: Duration = Duration::from_secs(30);
/// How long a list is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest list, in bytes.
const MAX_LIST: usize = 8 << 20;

/// The names that agents may use: the operator's own list, else the provider's, kept for ten minutes. A provider without a list
/// (and Azure, whose list does not tell what is deployed) is taken to know every name.
#[derive(Debug)]
pub(super) struct Catalogue {
    default: Option<String>,
    allowed: Vec<String>,
    listed: Mutex<Option<Listed>>,
}

#[derive(Debug)]
struct Listed {
    at: Timestamp,
    /// `None`: the provider has no list.
    names: Option<Vec<String>>,
}

/// A list as servers write it; only the names matter, and not all give the rest of async-openai's [`Model`].
#[derive(Deserialize)]
struct List {
    data: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Whole(Model),
    Name { id: String },
}

impl Catalogue {
    pub fn new(options: &OpenAiOptions) -> Self {
        Self {
            default: options.chat_model.clone(),
            allowed: options.allowed_models.clone(),
            listed: Mutex::new(None),
        }
    }

    /// Whether agents may use `model`.
    pub async fn knows(&self, provider: &Provider, model: &str) -> Result<bool, ModelError> {
        if !self.allowed.is_empty() {
            let is_default = self.default.as_deref() == Some(model);
            return Ok(is_default || self.allowed.iter().any(|allowed| allowed == model));
        }
        if provider.is_azure() {
            return Ok(true);
        }
        // Held while asking, so that many questions at once ask the provider once.
        let mut listed = self.listed.lock().await;
        let now = provider.ambient.now();
        let old_enough = match &*listed {
            None => true,
            Some(list) if list.has(model) => now.since(list.at) >= FRESH,
            Some(list) => now.since(list.at) >= DOUBTFUL,
        };
        if old_enough {
            match ask(provider).await {
                Ok(names) => *listed = Some(Listed { at: now, names }),
                // An old list is better than none.
                Err(error) if listed.is_none() => return Err(error),
                Err(error) => tracing::warn!(%error, "the list of models cannot be renewed"),
            }
        }
        Ok(listed.as_ref().is_some_and(|list| list.has(model)))
    }
}

impl Listed {
    fn has(&self, model: &str) -> bool {
        let Some(names) = &self.names else {
            return true;
        };
        names.iter().any(|name| {
            // Ollama leaves `:latest` away, Gemini's list puts `models/` before each name.
            name == model
                || name.strip_suffix(":latest") == Some(model)
                || name.strip_prefix("models/") == Some(model)
        })
    }
}

/// The names that the provider lists; `None` when it has no list.
pub(super) async fn ask(provider: &Provider) -> Result<Option<Vec<String>>, ModelError> {
    let asking = async {
        let mut response = match provider.get(provider.list_address()).await {
            Ok(response) => response,
            Err(failed) => {
                return match failed.failure.error {
                    ModelError::Refused(_) => Ok(None),
                    error => Err(error),
                };
            }
        };
        let body = provider.read_body(&mut response, MAX_LIST).await?;
        let Ok(list) = serde_json::from_slice::<List>(&body) else {
            return Ok(None);
        };
        let names = list.data.into_iter().map(|entry| match entry {
            Entry::Whole(model) => model.id,
            Entry::Name { id } => id,
        });
        Ok(Some(names.collect()))
    };
    let in_time = tokio::time::timeout(PATIENCE, asking).await;
    in_time.unwrap_or_else(|_| {
        let reason = format!("no list of models within {} seconds", PATIENCE.as_secs());
        Err(ModelError::Unavailable(reason))
    })
}
