//! Texts in, vectors of the installation's embedder out.

use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::{Action, DomainError, ErrorKind, text};
use models::{EmbedPurpose, tokens};
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

use super::answer::Usage;
use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};
use crate::extract::Json as Body;
use crate::routes::Routes;
use crate::state::AppState;

/// Most texts of a request, as at `OpenAI`.
const MOST_TEXTS: usize = 2_048;
/// Longest text, in characters: four for each of the 8,192 tokens that are taken at `OpenAI`.
const MOST_CHARS: usize = 32_768;

pub(super) fn routes() -> Routes {
    Routes::new().route(Action::ReadKnowledge, routes!(create))
}

#[derive(Debug, Deserialize)]
struct EmbeddingRequest {
    model: String,
    input: Input,
    encoding_format: Option<Encoding>,
    dimensions: Option<usize>,
    /// Ours: some embedders want to be told.
    input_type: Option<InputType>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a text or a list of texts; lists of tokens are not taken")]
enum Input {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    Float,
    Base64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum InputType {
    Query,
    Passage,
}

#[derive(Debug, Serialize)]
struct EmbeddingList {
    object: &'static str,
    data: Vec<Entry>,
    model: String,
    usage: Usage,
}

#[derive(Debug, Serialize)]
struct Entry {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Vector {
    Floats(Vec<f32>),
    /// Little-endian 32-bit floats.
    Base64(String),
}

/// Embeds texts
#[utoipa::path(post, path = "/openai/v1/embeddings")]
#[tracing::instrument(name = "handler.openai.embeddings.create", skip_all)]
async fn create(
    State(state): State<AppState>,
    caller: Caller,
    Body(request): Body<EmbeddingRequest>,
) -> ApiResult<Body<EmbeddingList>> {
    let embedder = state.retrieval.embedder().ok_or_else(no_embedder)?;
    let space = embedder.space().clone();
    if request.model != space.model {
        let message =
            format!("the `model` of this installation's embeddings is {}; name it", space.model);
        let error = DomainError::new(ErrorKind::NotFound, "MODEL_NOT_FOUND", message);
        return Err(error.at("model").into());
    }
    if request.dimensions.is_some_and(|dimensions| dimensions != space.dimension) {
        let message =
            format!("`dimensions` can only be {}; leave it out or send that", space.dimension);
        return Err(ApiError::invalid("dimensions", message));
    }
    let texts = request.input.check()?;
    let purpose = match request.input_type {
        Some(InputType::Query) => EmbedPurpose::Query,
        Some(InputType::Passage) | None => EmbedPurpose::Passage,
    };
    let encoding = request.encoding_format.unwrap_or(Encoding::Float);
    let (workspace, key) = (caller.workspace(), caller.api_key());
    let vectors = state.agents.embed(workspace, &texts, purpose, key).await?;
    let mut data = Vec::with_capacity(texts.len());
    for vector in vectors.unwrap_or_default() {
        let embedding = Vector::encoded(vector, encoding);
        data.push(Entry { object: "embedding", index: data.len(), embedding });
    }
    let counted: usize = texts.iter().map(|text| tokens::estimate(text)).sum();
    let usage = Usage::of_prompt(i64::try_from(counted).unwrap_or(i64::MAX));
    Ok(Body(EmbeddingList { object: "list", data, model: space.model, usage }))
}

fn no_embedder() -> DomainError {
    let message = "this installation has no embedder; the operator sets one with \
                   VOCERO_EMBEDDING_MODEL";
    DomainError::new(ErrorKind::Invalid, "NOT_CONFIGURED", message)
}

impl Input {
    fn check(self) -> ApiResult<Vec<String>> {
        let texts = match self {
            Self::One(text) => return Ok(vec![text::required("input", &text, MOST_CHARS)?]),
            Self::Many(texts) => texts,
        };
        if texts.is_empty() || texts.len() > MOST_TEXTS {
            let message = format!("`input` must have 1 to {MOST_TEXTS} texts");
            return Err(ApiError::invalid("input", message));
        }
        let mut checked = Vec::with_capacity(texts.len());
        for (place, text) in texts.iter().enumerate() {
            checked.push(text::required(&format!("input[{place}]"), text, MOST_CHARS)?);
        }
        Ok(checked)
    }
}

impl Vector {
    fn encoded(vector: Vec<f32>, encoding: Encoding) -> Self {
        match encoding {
            Encoding::Float => Self::Floats(vector),
            Encoding::Base64 => {
                let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
                Self::Base64(STANDARD.encode(bytes))
            }
        }
    }
}
