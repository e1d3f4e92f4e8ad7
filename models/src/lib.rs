#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

pub mod builtin;
pub mod chat;
pub mod embed;
mod error;
pub mod lexical;
pub mod openai;
pub mod tokens;

pub use chat::{
    ChatEvent, ChatMessage, ChatModel, ChatRequest, ChatRole, ChatStream, FinishReason, ToolCall,
    ToolSpec, Usage,
};
pub use embed::{EmbedPurpose, Embedder, EmbeddingSpace};
pub use error::ModelError;
