//! Citations that hold: markers checked while the answer streams, quotes taken verbatim from the passages.

mod address;
mod code;
mod fences;
mod filter;
mod json;
mod markers;
mod media;
mod quote;
#[cfg(test)]
mod tests;

pub(crate) use filter::{CitationFilter, SENTINEL, without_markers};
pub(crate) use json::{as_object, read_answer};
pub use markers::markers;
pub(crate) use quote::{preview, quote_for};
