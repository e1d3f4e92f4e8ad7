//! The first two bytes are the largest passage and what neighbours share.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let [size, overlap, text @ ..] = bytes else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let max_tokens = 16 + usize::from(*size);
    vocero_fuzz::cut(text, max_tokens, usize::from(*overlap) % max_tokens);
});
