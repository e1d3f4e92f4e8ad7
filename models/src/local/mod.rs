//! Models that run in this process, from a folder as sentence-transformers saves them: BERT, `RoBERTa` and
//! XLM-R on the processor, with candle.
//!
//! Nothing is computed on the threads that answer requests (`workers`). Texts of a batch are not padded
//! (`encoder`), so their lengths cost nothing but themselves.

mod embedder;
mod encoder;
mod folder;
mod kernels;
mod reranker;
mod weights;
mod workers;

pub use embedder::LocalEmbedder;
pub use folder::FolderError;
pub use reranker::LocalReranker;

/// What a setting begins with that names a folder in place of a provider's model.
pub const PREFIX: &str = "local:";

/// The folder that a setting such as `local:/models/e5` names; `None` when it names a provider's model.
pub fn folder_of(setting: &str) -> Option<&std::path::Path> {
    setting.strip_prefix(PREFIX).map(std::path::Path::new)
}
