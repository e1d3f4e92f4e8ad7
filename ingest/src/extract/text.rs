//! Plain text and Markdown.

use super::{Document, ExtractError, Format, Input, encoding, finish};

/// Decodes and cleans. The title of Markdown is its first line when that is a heading of level one.
pub(super) fn extract(input: Input<'_>) -> Result<Document, ExtractError> {
    let text = encoding::decode(input.bytes, input.charset)?;
    let title = match input.format {
        Format::Markdown => text.trim_start().strip_prefix("# ").and_then(|t| t.lines().next()),
        _ => None,
    };
    finish::document(input.format, title, &text)
}
