//! Embedders: texts in, dense vectors out.

use async_trait::async_trait;

use crate::ModelError;

/// Something that turns texts into vectors. An open set.
#[async_trait]
pub trait Embedder: Send + Sync + std::fmt::Debug {
    /// Model and dimension; vectors of different spaces never meet.
    fn space(&self) -> &EmbeddingSpace;

    /// One vector for each text, in order, of unit length.
    async fn embed(
        &self,
        texts: &[String],
        purpose: EmbedPurpose,
    ) -> Result<Vec<Vec<f32>>, ModelError>;
}

/// A model and its dimension.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EmbeddingSpace {
    /// The model's name.
    pub model: String,
    /// Components of each vector.
    pub dimension: usize,
}

impl std::fmt::Display for EmbeddingSpace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.model, self.dimension)
    }
}

/// What a text is embedded for; some models want to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmbedPurpose {
    /// A question.
    Query,
    /// A passage to be found.
    Passage,
}
