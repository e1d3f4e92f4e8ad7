//! What the guarded client sends, and what it refuses.

mod client;
mod guard;
