//! Embedders: texts in, dense vectors out.

use async_trait::async_trait;

use crate::ModelError;

/// Something that turns texts into vectors. An open set.
#[async_trait]
pub trait Embedder: Send + Sync + std::fmt::Debug {
    /// Model and dimension; vectors of different spaces never meet.
    fn space(&self) -> &EmbeddingSpace;

    /// Whether its calls cost money: whoever has used up a budget does without them.
    fn is_paid(&self) -> bool {
        false
    }

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

/// Brings a vector to unit length; `false` when it has none or holds what is no number.
pub(crate) fn normalise(vector: &mut [f32]) -> bool {
    let norm = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    if !norm.is_finite() || norm == 0.0 {
        return false;
    }
    for x in vector {
        #[expect(clippy::cast_possible_truncation, reason = "at most 1 in size")]
        let scaled = (f64::from(*x) / norm) as f32;
        *x = scaled;
    }
    true
}

/// Words that a model was trained to see before a text, which an OpenAI-compatible server does not add by itself.
/// From the model cards of `intfloat/multilingual-e5-*` and `nomic-ai/nomic-embed-text-*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefixes {
    pub(crate) query: &'static str,
    pub(crate) passage: &'static str,
}

impl Prefixes {
    pub(crate) fn of(model: &str) -> Self {
        let model = model.to_ascii_lowercase();
        // The instruct kind of E5 takes a sentence of instructions instead, on the query only.
        let is_e5 = model.rsplit('/').next().is_some_and(|name| {
            name.split(['-', '_', ':']).any(|part| part == "e5") && !name.contains("instruct")
        });
        if is_e5 {
            return Self { query: "query: ", passage: "passage: " };
        }
        if model.contains("nomic-embed-text") {
            return Self { query: "search_query: ", passage: "search_document: " };
        }
        Self { query: "", passage: "" }
    }

    /// The text as it is sent. A blank text is refused by OpenAI as empty input; a full stop stands in for it.
    pub(crate) fn apply(self, text: &str, purpose: EmbedPurpose) -> String {
        let prefix = match purpose {
            EmbedPurpose::Query => self.query,
            EmbedPurpose::Passage => self.passage,
        };
        let text = if text.trim().is_empty() { "." } else { text };
        format!("{prefix}{text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_without_direction_is_not_normalised() {
        assert!(!normalise(&mut [0.0, 0.0]));
        assert!(!normalise(&mut [f32::NAN, 1.0]));
        let mut vector = [3.0, 4.0];
        assert!(normalise(&mut vector));
        assert!((vector[0] - 0.6).abs() < 1e-6 && (vector[1] - 0.8).abs() < 1e-6, "{vector:?}");
    }

    #[test]
    fn models_that_want_prefixes_get_them() {
        for model in ["intfloat/multilingual-e5-small", "e5-large:latest"] {
            assert_eq!(Prefixes::of(model).query, "query: ", "{model}");
        }
        for model in ["text-embedding-3-small", "multilingual-e5-large-instruct", "bge-m3"] {
            assert_eq!(Prefixes::of(model).query, "", "{model}");
        }
        assert_eq!(
            Prefixes::of("nomic-embed-text:v1.5").apply("x", EmbedPurpose::Passage),
            "search_document: x"
        );
    }
}
