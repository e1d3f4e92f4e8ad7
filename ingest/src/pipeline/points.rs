//! Passages as rows and as points of the index.

use std::collections::HashMap;

use domain::datastore::{Chunk, Datastore, Source};
use domain::settings::IngestSettings;
use domain::{ChunkId, Lang};
use retrieval::{IndexPoint, embedded_text, passage_heading, text_hash};
use storage::embeddings::TextHash;

use super::halt::Halt;
use super::work::to_i64;
use crate::chunk::{ChunkOptions, chunk};
use crate::extract::Document;

/// Cuts the document of a version into chunks. The same document gives the same chunks with the same ids.
pub fn cut(
    source: &Source,
    version: i64,
    datastore: &Datastore,
    document: &Document,
    settings: &IngestSettings,
) -> Result<Vec<Chunk>, Halt> {
    let options = ChunkOptions {
        max_tokens: settings.chunk_tokens,
        overlap: settings.chunk_overlap,
        default_lang: datastore.language,
    };
    let passages = chunk(document, &options);
    if passages.is_empty() {
        return Err(Halt::failed(
            "EMPTY",
            "there is no text to learn from; add something with text in it",
        ));
    }
    let rows = passages.into_iter().enumerate().map(|(ordinal, passage)| {
        let ordinal = to_i64(ordinal);
        Chunk {
            id: ChunkId::of(source.id, version, ordinal),
            workspace_id: source.workspace_id,
            datastore_id: source.datastore_id,
            source_id: source.id,
            version,
            ordinal,
            text: passage.text,
            heading: passage.heading,
            page: passage.page,
            start: passage.start,
            end: passage.end,
            tokens: passage.tokens,
            lang: passage.lang,
        }
    });
    Ok(rows.collect())
}

/// What a chunk is embedded as.
pub fn text_to_embed(source: &Source, chunk: &Chunk) -> String {
    embedded_text(&passage_heading(&source.name, &chunk.heading), &chunk.text)
}

/// The chunk as the index takes it; dense when its vector is among `vectors`.
pub fn point(source: &Source, chunk: &Chunk, vectors: &HashMap<TextHash, Vec<f32>>) -> IndexPoint {
    let dense = if vectors.is_empty() {
        None
    } else {
        vectors.get(&text_hash(&text_to_embed(source, chunk))).cloned()
    };
    IndexPoint {
        id: chunk.id,
        workspace: chunk.workspace_id,
        datastore: chunk.datastore_id,
        source: chunk.source_id,
        version: chunk.version,
        lang: chunk.lang,
        heading: passage_heading(&source.name, &chunk.heading),
        text: chunk.text.clone(),
        dense,
        metadata: source.metadata.clone(),
    }
}

/// The language that most of the text is in, by tokens.
pub fn main_language(chunks: &[Chunk]) -> Option<Lang> {
    let mut tokens: HashMap<Lang, i64> = HashMap::new();
    for chunk in chunks {
        *tokens.entry(chunk.lang).or_default() += chunk.tokens.max(1);
    }
    // Of equals the one with the smaller code, so that the answer is always the same.
    tokens
        .into_iter()
        .max_by_key(|&(lang, count)| (count, std::cmp::Reverse(lang.code())))
        .map(|(lang, _)| lang)
}
