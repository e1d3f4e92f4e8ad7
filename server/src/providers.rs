//! The models that the settings name.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use domain::Ambient;
use domain::settings::ModelSettings;
use models::local::{self, LocalEmbedder, LocalReranker};
use models::openai::{OpenAi, OpenAiOptions};
use models::{ChatModel, ChatReranker, Embedder, Reranker};
use serde::{Deserialize, Serialize};

use crate::app::cores;
use crate::home::{Home, write_private};

/// The chat model when a provider is configured and no model is named.
pub const DEFAULT_CHAT_MODEL: &str = "gpt-4o-mini";

/// The reranker that is the chat model.
const CHAT_RERANKER: &str = "llm";

/// Models of a provider; none without one.
#[derive(Debug, Clone, Default)]
pub struct Models {
    /// Answers.
    pub chat: Option<Arc<dyn ChatModel>>,
    /// Embeds.
    pub embedder: Option<Arc<dyn Embedder>>,
    /// Reads what was found once more.
    pub reranker: Option<Arc<dyn Reranker>>,
}

/// The dimension of an embedding model, learnt once and kept in the data folder, so that a start needs no
/// provider that answers.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct Learnt {
    base_url: String,
    model: String,
    dimension: usize,
}

/// Whether the settings name a provider: a key or an address.
pub fn has_provider(settings: &ModelSettings) -> bool {
    OpenAiOptions::from_settings(settings).is_some()
}

/// The chat model alone; asks the provider nothing.
pub fn chat_model(
    settings: &ModelSettings,
    ambient: &Ambient,
) -> anyhow::Result<Option<Arc<dyn ChatModel>>> {
    let Some(options) = OpenAiOptions::from_settings(settings) else {
        return Ok(None);
    };
    Ok(Some(Arc::new(OpenAi::new(&options, ambient)?)))
}

/// Builds the models. The first time that a provider's embedding model is used the provider is asked for the
/// dimension; a local model is read from its folder.
pub async fn build(
    settings: &ModelSettings,
    ambient: &Ambient,
    home: &Home,
) -> anyhow::Result<Models> {
    let options = OpenAiOptions::from_settings(settings);
    let provider = options.as_ref().map(|options| OpenAi::new(options, ambient)).transpose()?;
    let embedder = match (&settings.embedding_model, &provider, &options) {
        (Some(model), _, _) if local::folder_of(model).is_some() => {
            Some(local_embedder(settings, model).await?)
        }
        (Some(model), Some(provider), Some(options)) => {
            Some(embedder(provider, options, model, home).await?)
        }
        _ => None,
    };
    let reranker = reranker(settings, provider.as_ref(), ambient).await?;
    let chat = provider.map(|provider| Arc::new(provider) as Arc<dyn ChatModel>);
    Ok(Models { chat, embedder, reranker })
}

/// The reranker alone: of a folder, the chat model, or a model behind an address of its own or the provider's.
async fn reranker(
    settings: &ModelSettings,
    provider: Option<&OpenAi>,
    ambient: &Ambient,
) -> anyhow::Result<Option<Arc<dyn Reranker>>> {
    let Some(model) = &settings.rerank_model else { return Ok(None) };
    if let Some(folder) = local::folder_of(model) {
        let (folder, threads) = (folder.to_owned(), local_threads(settings));
        let load = move || LocalReranker::load(&folder, threads);
        let loaded = tokio::task::spawn_blocking(load).await?;
        return Ok(Some(Arc::new(loaded.context("cannot load the model of VOCERO_RERANK_MODEL")?)));
    }
    if model == CHAT_RERANKER {
        let chat = settings.chat_model.clone().unwrap_or_else(|| DEFAULT_CHAT_MODEL.to_owned());
        let reranker = |provider: &OpenAi| {
            Arc::new(ChatReranker::new(Arc::new(provider.clone()), chat)) as Arc<dyn Reranker>
        };
        return Ok(provider.map(reranker));
    }
    if let Some(options) = rerank_options(settings) {
        return Ok(Some(Arc::new(OpenAi::new(&options, ambient)?.reranker(model))));
    }
    Ok(provider.map(|provider| Arc::new(provider.reranker(model)) as Arc<dyn Reranker>))
}

/// The reranker's own address; `None` when it is the provider's.
fn rerank_options(settings: &ModelSettings) -> Option<OpenAiOptions> {
    let own = ModelSettings {
        openai_base_url: Some(settings.rerank_url.clone()?),
        openai_api_key: settings.rerank_api_key.clone(),
        azure_api_version: None,
        ..settings.clone()
    };
    OpenAiOptions::from_settings(&own)
}

/// Whether a reranker is named and nothing is there that could be asked.
pub fn lacks_reranker(settings: &ModelSettings) -> bool {
    let Some(model) = &settings.rerank_model else { return false };
    let own_address = settings.rerank_url.is_some() && model != CHAT_RERANKER;
    local::folder_of(model).is_none() && !own_address && !has_provider(settings)
}

async fn local_embedder(
    settings: &ModelSettings,
    model: &str,
) -> anyhow::Result<Arc<dyn Embedder>> {
    let folder = local::folder_of(model).map(Path::to_owned).unwrap_or_default();
    let threads = local_threads(settings);
    let load = move || LocalEmbedder::load(&folder, threads);
    let loaded = tokio::task::spawn_blocking(load).await?;
    Ok(Arc::new(loaded.context("cannot load the model of VOCERO_EMBEDDING_MODEL")?))
}

fn local_threads(settings: &ModelSettings) -> usize {
    if settings.local_threads == 0 { cores() } else { settings.local_threads }
}

async fn embedder(
    provider: &OpenAi,
    options: &OpenAiOptions,
    model: &str,
    home: &Home,
) -> anyhow::Result<Arc<dyn Embedder>> {
    let path = learnt_file(home);
    let base_url = options.base_url.as_str();
    let known: Option<Learnt> =
        fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    if let Some(known) = known.filter(|known| known.base_url == base_url && known.model == model) {
        return Ok(Arc::new(provider.embedder_of_dimension(model, known.dimension)));
    }
    let embedder = provider.embedder(model).await.with_context(|| {
        format!("cannot learn the dimension of the embedding model {model}; check OPENAI_BASE_URL and VOCERO_EMBEDDING_MODEL")
    })?;
    let learnt = Learnt {
        base_url: base_url.to_owned(),
        model: model.to_owned(),
        dimension: embedder.space().dimension,
    };
    write_private(&path, &serde_json::to_vec(&learnt)?)?;
    Ok(Arc::new(embedder))
}

fn learnt_file(home: &Home) -> PathBuf {
    home.folder().join("embedding.json")
}
