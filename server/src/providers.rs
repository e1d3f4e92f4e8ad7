//! The models that the settings name.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use domain::Ambient;
use domain::settings::ModelSettings;
use models::openai::{OpenAi, OpenAiOptions};
use models::{ChatModel, Embedder};
use serde::{Deserialize, Serialize};

use crate::home::{Home, write_private};

/// The chat model when a provider is configured and no model is named.
pub const DEFAULT_CHAT_MODEL: &str = "gpt-4o-mini";

/// Models of a provider; none without one.
#[derive(Debug, Clone, Default)]
pub struct Models {
    /// Answers.
    pub chat: Option<Arc<dyn ChatModel>>,
    /// Embeds.
    pub embedder: Option<Arc<dyn Embedder>>,
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

/// Builds the models. The first time that an embedding model is used its provider is asked for the
/// dimension.
pub async fn build(
    settings: &ModelSettings,
    ambient: &Ambient,
    home: &Home,
) -> anyhow::Result<Models> {
    let Some(options) = OpenAiOptions::from_settings(settings) else {
        return Ok(Models::default());
    };
    let provider = OpenAi::new(&options, ambient)?;
    let embedder = match &settings.embedding_model {
        Some(model) => Some(embedder(&provider, &options, model, home).await?),
        None => None,
    };
    Ok(Models { chat: Some(Arc::new(provider)), embedder })
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
