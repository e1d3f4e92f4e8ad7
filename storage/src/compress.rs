//! Texts are stored compressed with zstd.

use std::cell::RefCell;

use zstd::bulk::{Compressor, Decompressor};

use crate::{Result, StorageError};

/// The level that zstd itself recommends for general use.
const LEVEL: i32 = 3;
/// Nothing that is stored is larger: texts extracted from a file are cut well below (20 MiB), uploads too.
const MOST_BYTES: u64 = 256 * 1024 * 1024;

thread_local! {
    /// Kept for each thread, since making one takes longer than compressing a short text.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// The bytes, compressed; their size is kept in the frame.
pub(crate) fn compress(column: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    let compressed = COMPRESSOR.with_borrow_mut(|kept| match kept {
        Some(compressor) => compressor.compress(bytes),
        None => kept.insert(Compressor::new(LEVEL)?).compress(bytes),
    });
    compressed.map_err(|error| StorageError::decode(column, &error))
}

/// What was compressed.
pub(crate) fn decompress(column: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    let size = zstd::zstd_safe::get_frame_content_size(bytes)
        .ok()
        .flatten()
        .filter(|&size| size <= MOST_BYTES)
        .and_then(|size| usize::try_from(size).ok())
        .ok_or_else(|| StorageError::decode(column, "not a compressed text"))?;
    let text = DECOMPRESSOR.with_borrow_mut(|kept| match kept {
        Some(decompressor) => decompressor.decompress(bytes, size),
        None => kept.insert(Decompressor::new()?).decompress(bytes, size),
    });
    text.map_err(|error| StorageError::decode(column, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compressed_reads_back_and_damage_is_told() {
        let text = "horario de atención ".repeat(1_000).into_bytes();
        let small = compress("x", &text).unwrap();
        assert!(small.len() < text.len() / 10);
        assert_eq!(decompress("x", &small).unwrap(), text);
        assert_eq!(decompress("x", &compress("x", b"").unwrap()).unwrap(), b"");
        assert!(decompress("x", b"not compressed at all").is_err());
        assert!(decompress("x", &small[..small.len() - 1]).is_err());
    }
}
