//! Counting tokens.

/// Tokens of a text in `o200k_base`, the encoding of current OpenAI models; close enough for others.
pub fn count(text: &str) -> usize {
    tiktoken_rs::o200k_base_singleton().encode_ordinary(text).len()
}
