//! Shared by the tests of extraction.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use ingest::extract::{self, Document, ExtractError, Format};
use ingest::worker::ParserPool;
use zip::write::SimpleFileOptions;

/// The parser program: an example of this crate, which cargo builds along with the tests.
pub fn parser_program() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let profile = test.parent().and_then(|deps| deps.parent()).expect("target/<profile>/deps");
    let program = profile.join("examples").join("parse_worker");
    assert!(
        program.is_file(),
        "{} is missing; build it: cargo build --examples",
        program.display()
    );
    program
}

/// A pool over the real program.
pub fn pool() -> ParserPool {
    ParserPool::new(parser_program(), Duration::from_secs(30))
}

/// Detects and extracts as the pipeline does.
pub async fn ingest(
    pool: &ParserPool,
    name: &str,
    bytes: impl Into<Bytes>,
) -> Result<Document, ExtractError> {
    let bytes = bytes.into();
    let format = extract::detect(name, &bytes)?;
    pool.extract(format, name, bytes).await
}

/// As `ingest`, for formats whose bytes are known.
pub async fn extract_as(format: Format, bytes: impl Into<Bytes>) -> Result<Document, ExtractError> {
    pool().extract(format, "test", bytes.into()).await
}

/// A zip archive of the given parts.
pub fn package(parts: &[(&str, &str)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in parts {
        zip.start_file(*name, SimpleFileOptions::default()).expect("start a part");
        zip.write_all(content.as_bytes()).expect("write a part");
    }
    zip.finish().expect("finish the package").into_inner()
}
