//! The first byte is the size of the pieces.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let [piece, stream @ ..] = bytes else { return };
    vocero_fuzz::decode(stream, usize::from(*piece));
});
