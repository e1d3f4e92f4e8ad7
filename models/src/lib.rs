#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

pub mod builtin;
pub mod catalogue;
pub mod chat;
pub mod embed;
mod error;
pub mod lexical;
pub mod local;
pub mod openai;
mod rerank;
mod tally;
pub mod tokens;

pub use catalogue::Catalogue;
pub use chat::{
    AnswerFormat, ChatEvent, ChatMessage, ChatModel, ChatRequest, ChatRole, ChatStream,
    FinishReason, Image, ToolCall, ToolChoice, ToolSpec, Usage,
};
pub use embed::{EmbedPurpose, Embedder, EmbeddingSpace};
pub use error::ModelError;
pub use rerank::{ChatReranker, Reranker};
pub use tally::{Bill, Tally};
