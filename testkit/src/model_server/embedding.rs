//! Embeddings by hashing words: repeatable, and alike for texts that share words.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// How the server embeds.
#[derive(Debug, Clone)]
pub struct EmbeddingBehaviour {
    /// Components of a vector.
    pub dimension: usize,
    /// Whether `data` is listed last text first; `index` still tells the place.
    pub reversed: bool,
    /// Whether `encoding_format: base64` is heeded; if not, numbers are answered whatever is asked.
    pub base64: bool,
}

impl Default for EmbeddingBehaviour {
    fn default() -> Self {
        Self { dimension: 64, reversed: false, base64: true }
    }
}

/// The vector of a text: each lower-cased word adds 1 to one component (FNV-1a of it), plus a constant in the
/// first so that no text is without direction. Not of unit length, as with some real models.
pub fn hash_embedding(text: &str, dimension: usize) -> Vec<f32> {
    let mut vector = vec![0.0; dimension];
    if dimension > 0 {
        vector[0] = 0.5;
    }
    for word in text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty())
    {
        let hash = word.to_lowercase().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let place = usize::try_from(hash % dimension.max(1) as u64).unwrap_or(0);
        vector[place] += 1.0;
    }
    vector
}

/// The body that answers an embeddings request.
pub(super) fn respond(request: &Value, behaviour: &EmbeddingBehaviour) -> Value {
    let texts: Vec<&str> = match &request["input"] {
        Value::String(text) => vec![text.as_str()],
        Value::Array(texts) => texts.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let asked = request["dimensions"].as_u64().and_then(|asked| usize::try_from(asked).ok());
    let dimension = asked.unwrap_or(behaviour.dimension);
    let encoded = behaviour.base64 && request["encoding_format"] == "base64";
    let mut data: Vec<Value> = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let vector = hash_embedding(text, dimension);
        let embedding = if encoded { json!(base64_of(&vector)) } else { json!(vector) };
        data.push(json!({"object": "embedding", "index": index, "embedding": embedding}));
    }
    if behaviour.reversed {
        data.reverse();
    }
    let words: usize = texts.iter().map(|text| text.split_whitespace().count()).sum();
    json!({
        "object": "list", "data": data, "model": request["model"],
        "usage": {"prompt_tokens": words, "total_tokens": words},
    })
}

fn base64_of(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_words_give_the_same_vector() {
        assert_eq!(hash_embedding("Hola Mundo", 16), hash_embedding("mundo, hola", 16));
        assert_ne!(hash_embedding("hola", 16), hash_embedding("adiós", 16));
    }
}
