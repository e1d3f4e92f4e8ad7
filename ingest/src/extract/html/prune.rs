//! One linear pass over a page's tokens, before any tree is built: what is never content goes, nesting is
//! bounded, attributes are few. Trees built from the result are small and shallow whatever came in.

use std::cell::RefCell;

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{
    BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
};

/// Elements that may be open inside of each other; deeper tags are dropped, their text stays.
const MAX_DEPTH: usize = 256;

/// Elements whose content is never read.
const SKIPPED: [&str; 20] = [
    "script", "style", "noscript", "template", "svg", "math", "iframe", "object", "embed",
    "applet", "audio", "video", "canvas", "select", "datalist", "nav", "footer", "dialog",
    "noembed", "noframes",
];

/// Elements without content.
const VOID: [&str; 14] = [
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source",
    "track", "wbr",
];

/// Void elements that say something about the text.
const KEPT_VOID: [&str; 3] = ["br", "hr", "wbr"];

/// Inline formatting; tree builders repeat open ones in every block, so they are dropped altogether.
const FORMATTING: [&str; 17] = [
    "a", "b", "big", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u",
    "span", "mark", "abbr", "button",
];

/// Parts of the class names and ids of what a visitor unfolds.
const UNFOLDING: [&str; 7] =
    ["accordion", "collaps", "panel", "faq", "answer", "respuesta", "tab-"];

/// The page without what is never content.
pub(super) fn prune(html: &str) -> String {
    let sink = Pruner { state: RefCell::new(State::default()) };
    let tokenizer = Tokenizer::new(sink, TokenizerOpts::default());
    let input = BufferQueue::default();
    input.push_back(StrTendril::from_slice(html));
    let _ = tokenizer.feed(&input);
    tokenizer.end();
    tokenizer.sink.state.take().out
}

#[derive(Default)]
struct State {
    out: String,
    /// Names of open elements that were written.
    open: Vec<String>,
    /// The element whose content is being left out, and how many of its name are open in it.
    skipping: Option<(String, usize)>,
}

struct Pruner {
    state: RefCell<State>,
}

impl TokenSink for Pruner {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut state = self.state.borrow_mut();
        match token {
            Token::TagToken(tag) => state.tag(&tag),
            Token::CharacterTokens(text) => {
                if state.skipping.is_none() {
                    push_escaped(&mut state.out, &text);
                }
                TokenSinkResult::Continue
            }
            _ => TokenSinkResult::Continue,
        }
    }
}

impl State {
    fn tag(&mut self, tag: &Tag) -> TokenSinkResult<()> {
        let name: &str = &tag.name;
        match tag.kind {
            TagKind::StartTag => {
                self.start(tag, name);
                raw_content(name)
            }
            TagKind::EndTag => {
                self.end(name);
                TokenSinkResult::Continue
            }
        }
    }

    fn start(&mut self, tag: &Tag, name: &str) {
        if let Some((skipped, depth)) = &mut self.skipping {
            if skipped == name && !tag.self_closing {
                *depth += 1;
            }
            return;
        }
        if VOID.contains(&name) {
            if KEPT_VOID.contains(&name) {
                self.out.push('<');
                self.out.push_str(name);
                self.out.push('>');
            }
            return;
        }
        if SKIPPED.contains(&name) || is_hidden(tag) {
            if !(tag.self_closing && (name == "svg" || name == "math")) {
                self.skipping = Some((name.to_owned(), 1));
            }
            return;
        }
        if FORMATTING.contains(&name) {
            return;
        }
        self.close_implied(name);
        if self.open.len() >= MAX_DEPTH
            || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        {
            self.out.push(' ');
            return;
        }
        self.open.push(name.to_owned());
        self.out.push('<');
        self.out.push_str(name);
        self.attributes(tag);
        self.out.push('>');
    }

    /// Classes and ids tell Readability what is frame; spans tell the shape of tables.
    fn attributes(&mut self, tag: &Tag) {
        for attribute in &tag.attrs {
            let name: &str = &attribute.name.local;
            if matches!(name, "class" | "id" | "role" | "colspan" | "start")
                && attribute.value.len() < 500
            {
                self.out.push(' ');
                self.out.push_str(name);
                self.out.push_str("=\"");
                push_escaped(&mut self.out, &attribute.value);
                self.out.push('"');
            }
        }
    }

    /// Elements that a start tag closes although no end tag was written (HTML Standard, 13.1.2.4).
    fn close_implied(&mut self, name: &str) {
        let closes = |open: &str| match name {
            "li" => open == "li" || open == "p",
            "tr" => matches!(open, "td" | "th" | "tr" | "p"),
            "td" | "th" => matches!(open, "td" | "th" | "p"),
            "thead" | "tbody" | "tfoot" => {
                matches!(open, "td" | "th" | "tr" | "thead" | "tbody" | "tfoot" | "p")
            }
            "dt" | "dd" => matches!(open, "dt" | "dd" | "p"),
            "option" => open == "option",
            "p" | "div" | "ul" | "ol" | "table" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6"
            | "section" | "article" | "blockquote" | "pre" | "form" | "dl" | "main" | "header"
            | "aside" | "fieldset" | "figure" | "details" => open == "p",
            _ => false,
        };
        while let Some(open) = self.open.pop_if(|open| closes(open)) {
            self.out.push_str("</");
            self.out.push_str(&open);
            self.out.push('>');
        }
    }

    fn end(&mut self, name: &str) {
        if let Some((skipped, depth)) = &mut self.skipping {
            if skipped == name {
                *depth -= 1;
                if *depth == 0 {
                    self.skipping = None;
                    self.out.push(' ');
                }
            } else if matches!(name, "body" | "html") {
                // An element that was never closed must not swallow what follows the page.
                self.skipping = None;
            }
            return;
        }
        if VOID.contains(&name) || FORMATTING.contains(&name) {
            return;
        }
        let Some(position) = self.open.iter().rposition(|open| open == name) else { return };
        for open in self.open.drain(position..).rev() {
            self.out.push_str("</");
            self.out.push_str(&open);
            self.out.push('>');
        }
    }
}

/// The tokenizer must be told where tags are not tags.
fn raw_content(name: &str) -> TokenSinkResult<()> {
    match name {
        "script" => TokenSinkResult::RawData(RawKind::ScriptData),
        "style" | "iframe" | "noembed" | "noframes" | "xmp" => {
            TokenSinkResult::RawData(RawKind::Rawtext)
        }
        "title" | "textarea" => TokenSinkResult::RawData(RawKind::Rcdata),
        _ => TokenSinkResult::Continue,
    }
}

/// Frame by its role, or hidden. What a visitor unfolds (answers of a FAQ, tabs) is hidden at first and
/// still content.
fn is_hidden(tag: &Tag) -> bool {
    let mut is_hidden = false;
    let mut unfolds = false;
    for attribute in &tag.attrs {
        let name: &str = &attribute.name.local;
        let value = attribute.value.to_ascii_lowercase();
        match name {
            "hidden" => is_hidden = true,
            "aria-hidden" => is_hidden |= value == "true",
            "style" => is_hidden |= value.replace(' ', "").contains("display:none"),
            "role"
                if ["navigation", "contentinfo", "search", "menu", "menubar"]
                    .contains(&&*value) =>
            {
                return true;
            }
            "role" => unfolds |= value == "region" || value == "tabpanel",
            "class" | "id" => {
                unfolds |= UNFOLDING.iter().any(|word| value.contains(word));
            }
            _ => {}
        }
    }
    is_hidden && !unfolds
}

fn push_escaped(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\0' => {}
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_is_bounded_and_text_is_kept() {
        let deep = format!("{}centro{}", "<div>".repeat(100_000), "</div>".repeat(100_000));
        let pruned = prune(&deep);
        assert!(pruned.contains("centro"));
        assert_eq!(pruned.matches("<div>").count(), MAX_DEPTH);
    }

    #[test]
    fn unclosed_items_do_not_nest() {
        let list = format!("<ul>{}</ul>", "<li>uno<p>dos".repeat(1000));
        assert_eq!(prune(&list).matches("<li>").count(), 1000);
    }

    #[test]
    fn scripts_and_hidden_parts_are_left_out() {
        let page = "<body><script>'</p><p>no'</script><div hidden><div>no</div></div><p>sí<br>a &amp; b</body>";
        assert_eq!(prune(page), "<body>  <p>sí<br>a &amp; b</p></body>");
    }
}
