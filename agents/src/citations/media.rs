//! What a reader's program would load by itself never leaves: images and elements with an address of their own. A document
//! that makes a model write `![](https://…?what=it-knows)` would otherwise carry data out (CVE-2025-32711).

use std::fmt::Write;

use super::code::CodeTracker;

/// Longest text of an image and longest name of an element that is waited for, in bytes.
const MAX_HELD: usize = 400;

/// Elements of HTML that load something or change how the rest is shown.
const ELEMENTS: [&str; 17] = [
    "img", "image", "picture", "source", "video", "audio", "track", "iframe", "frame", "object",
    "embed", "svg", "style", "link", "script", "base", "meta",
];

/// Lets text through but for images: of `![text](address)`, `![text][name]` and `![text]` the text stays, of
/// `<img …>` and its kind nothing does. What stands in code stays as it is. How the text is cut into pieces makes no
/// difference.
#[derive(Debug)]
pub(super) struct MediaFilter {
    state: State,
    held: String,
    code: CodeTracker,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Text,
    /// After `!`.
    Bang,
    /// In the text of an image.
    Alt,
    /// After the text of an image.
    AfterAlt,
    /// In the address of an image, or in its name, until this character.
    Target(char),
    /// In the name of an element.
    Element,
    /// In an element that is dropped.
    Dropped,
}

impl MediaFilter {
    pub(super) const fn new() -> Self {
        Self { state: State::Text, held: String::new(), code: CodeTracker::new() }
    }

    /// What of a piece may go on.
    pub(super) fn push(&mut self, piece: String) -> String {
        if self.state == State::Text && !piece.contains(['!', '<', '`', '\n']) {
            piece.chars().for_each(|c| self.code.follow(c));
            return piece;
        }
        let mut out = String::with_capacity(piece.len());
        for c in piece.chars() {
            self.step(c, &mut out);
        }
        out
    }

    /// The text is over: what was held back and is text after all.
    pub(super) fn finish(&mut self) -> String {
        let held = std::mem::take(&mut self.held);
        match std::mem::replace(&mut self.state, State::Text) {
            State::Bang => "!".to_owned(),
            State::Element => format!("<{held}"),
            State::Alt => held,
            State::Text | State::AfterAlt | State::Target(_) | State::Dropped => String::new(),
        }
    }

    fn step(&mut self, c: char, out: &mut String) {
        match self.state {
            State::Text => self.text(c, out),
            State::Bang if c == '[' => self.state = State::Alt,
            State::Bang => {
                out.push('!');
                self.back_to_text(c, out);
            }
            State::Alt => self.alt(c, out),
            State::AfterAlt if c == '(' => self.state = State::Target(')'),
            State::AfterAlt if c == '[' => self.state = State::Target(']'),
            State::AfterAlt => self.back_to_text(c, out),
            State::Target(end) => {
                if c == end || c == '\n' {
                    self.state = State::Text;
                }
            }
            State::Element => self.element(c, out),
            State::Dropped => {
                if c == '>' {
                    self.state = State::Text;
                }
            }
        }
    }

    fn text(&mut self, c: char, out: &mut String) {
        self.code.follow(c);
        match c {
            '!' if self.code.outside() => self.state = State::Bang,
            '<' if self.code.outside() => self.state = State::Element,
            _ => out.push(c),
        }
    }

    fn alt(&mut self, c: char, out: &mut String) {
        if c == ']' {
            let held = std::mem::take(&mut self.held);
            if is_marker(&held) {
                // A citation behind an exclamation mark; the filter of citations keeps the two apart.
                let _ = write!(out, "![{held}]");
                self.state = State::Text;
            } else {
                out.push_str(&held);
                self.state = State::AfterAlt;
            }
        } else if self.held.len() >= MAX_HELD {
            out.push_str(&std::mem::take(&mut self.held));
            self.back_to_text(c, out);
        } else {
            self.held.push(c);
        }
    }

    fn element(&mut self, c: char, out: &mut String) {
        let of_name = c.is_ascii_alphanumeric() || (c == '/' && self.held.is_empty());
        if of_name && self.held.len() < MAX_HELD {
            self.held.push(c);
            return;
        }
        let held = std::mem::take(&mut self.held);
        let name = held.trim_start_matches('/').to_ascii_lowercase();
        if ELEMENTS.contains(&name.as_str()) {
            self.state = if c == '>' { State::Text } else { State::Dropped };
            return;
        }
        out.push('<');
        out.push_str(&held);
        self.back_to_text(c, out);
    }

    fn back_to_text(&mut self, c: char, out: &mut String) {
        self.state = State::Text;
        self.text(c, out);
    }
}

fn is_marker(held: &str) -> bool {
    let numeric = |c: char| c.is_ascii_digit() || matches!(c, ',' | ';' | ' ' | '-' | '–' | '^');
    held.contains(|c: char| c.is_ascii_digit()) && held.chars().all(numeric)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filtered(pieces: &[&str]) -> String {
        let mut filter = MediaFilter::new();
        let mut text: String =
            pieces.iter().map(|piece| filter.push((*piece).to_owned())).collect();
        text.push_str(&filter.finish());
        text
    }

    #[test]
    fn images_go_and_their_texts_stay() {
        for (said, left) in [
            ("a ![foto](https://x.example/?q=1) b", "a foto b"),
            ("a ![foto][r] b", "a foto b"),
            ("a ![foto] b", "a foto b"),
            ("a ![](x", "a "),
            ("a <IMG src='https://x.example'> b</iframe>", "a  b"),
            ("a <img\nsrc=x", "a "),
            ("¡Hola! 3 < 4, a<b> <b>c</b> <3 !", "¡Hola! 3 < 4, a<b> <b>c</b> <3 !"),
            ("`vec![1]` y ```\n![a](b) <img>\n```", "`vec![1]` y ```\n![a](b) <img>\n```"),
            ("¡Hola![1] y ![2, 3](x)", "¡Hola![1] y ![2, 3](x)"),
            ("[enlace](https://x.example)", "[enlace](https://x.example)"),
        ] {
            assert_eq!(filtered(&[said]), left, "{said}");
        }
    }

    proptest! {
        #[test]
        fn no_image_is_left_however_the_text_is_cut(
            pieces in prop::collection::vec("[!\\[\\]()<>/img`\n a-c]{0,6}", 0..12),
        ) {
            let whole = pieces.concat();
            let cut: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let left = filtered(&cut);
            prop_assert_eq!(&left, &filtered(&[&whole]));
            if !whole.contains('`') {
                prop_assert!(!left.contains("!["), "{}", left);
                prop_assert!(!left.to_lowercase().contains("<img"), "{}", left);
            }
        }
    }
}
