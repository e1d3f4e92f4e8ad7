//! What a reader's program would load by itself never leaves: images and elements with an address of their own. A document
//! that makes a model write `![](https://…?what=it-knows)` would otherwise carry data out (CVE-2025-32711).

use super::fences::Fences;

/// Longest text of an image and longest name of an element that is waited for, in bytes.
const MAX_HELD: usize = 400;

/// Elements of HTML that load something or change how the rest is shown.
const ELEMENTS: [&str; 18] = [
    "img", "image", "picture", "source", "video", "audio", "track", "iframe", "frame", "object",
    "embed", "svg", "style", "link", "script", "base", "meta", "input",
];

/// Writes text without its images: of `![text](address)`, `![text][name]` and `![text]` the text stays, of `<img …>` and
/// its kind nothing does, and any other element with attributes, which may load something by its style, is made
/// text (`< div …`). What stands in fenced code stays as it is. It is the last to touch a text, so what it has written is
/// what a reader gets, and how the text is cut into pieces makes no difference.
#[derive(Debug)]
pub(super) struct MediaFilter {
    state: State,
    held: String,
    /// White space, which goes out only when text follows.
    space: String,
    begun: bool,
    fences: Fences,
    tail: Tail,
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
    /// After the name of an element that goes on when it has no attributes.
    AfterName,
    /// In an element that is dropped.
    Dropped,
}

/// How what is written ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    Bang,
    Opening,
    Other,
}

impl MediaFilter {
    pub(super) const fn new() -> Self {
        Self {
            state: State::Text,
            held: String::new(),
            space: String::new(),
            begun: false,
            fences: Fences::new(),
            tail: Tail::Other,
        }
    }

    /// Whether a piece may be written as it is, without this filter.
    pub(super) fn passes_whole(&self, piece: &str) -> bool {
        self.state == State::Text
            && self.tail == Tail::Other
            && self.space.is_empty()
            && self.fences.in_midst_of_line()
            && !piece.contains(['!', '<', '\n', '\r'])
    }

    /// The text is over: writes what was held back and is text after all.
    pub(super) fn finish(&mut self, out: &mut String) {
        match std::mem::replace(&mut self.state, State::Text) {
            State::Bang => self.write('!', out),
            State::Element | State::AfterName => self.write_opening("<", out),
            State::Alt => self.write_alt(out),
            State::Text | State::AfterAlt | State::Target(_) | State::Dropped => {}
        }
        self.held.clear();
    }

    /// Takes the next character of the text.
    pub(super) fn step(&mut self, c: char, out: &mut String) {
        match self.state {
            State::Text => self.text(c, out),
            State::Bang if c == '[' => self.state = State::Alt,
            State::Bang => {
                self.write('!', out);
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
            State::AfterName => self.after_name(c, out),
            State::Dropped => {
                if c == '>' {
                    self.state = State::Text;
                }
            }
        }
    }

    /// Makes ready for a marker, which is never the beginning of an image; whether one may be written here.
    pub(super) fn make_way(&mut self, out: &mut String) -> bool {
        if matches!(self.state, State::Target(_) | State::Dropped) {
            return false;
        }
        if matches!(self.state, State::Element | State::AfterName) {
            self.state = State::Text;
            self.write_opening("< ", out);
        }
        self.finish(out);
        if self.tail == Tail::Bang && !self.would_keep('[') {
            self.write(' ', out);
        }
        self.flush_space(out);
        true
    }

    /// Keeps a bracket apart from an exclamation mark with which it did not stand.
    pub(super) fn keep_apart(&mut self, out: &mut String) {
        if self.state == State::Bang {
            self.step(' ', out);
        }
    }

    /// Writes a character as it is.
    pub(super) fn write(&mut self, c: char, out: &mut String) {
        if c.is_whitespace() {
            self.space.push(c);
            self.tail = Tail::Other;
            return;
        }
        self.flush_space(out);
        self.tail = match c {
            '!' => Tail::Bang,
            '<' => Tail::Opening,
            _ => Tail::Other,
        };
        self.fences.follow(c);
        out.push(c);
    }

    fn flush_space(&mut self, out: &mut String) {
        if self.begun {
            self.space.chars().for_each(|c| self.fences.follow(c));
            out.push_str(&self.space);
        }
        self.space.clear();
        self.begun = true;
    }

    /// Whether this character, written next, stands in fenced code.
    fn would_keep(&self, c: char) -> bool {
        (self.fences.inside() || !self.space.is_empty())
            && self.fences.after(self.space.chars().chain([c])).inside()
    }

    fn text(&mut self, c: char, out: &mut String) {
        if self.would_keep(c) {
            self.write(c, out);
            return;
        }
        match c {
            '!' => self.state = State::Bang,
            '<' => self.state = State::Element,
            _ => self.write_apart(c, out),
        }
    }

    /// Writes a character; what was dropped before it must not make it a part of an image or of an element.
    fn write_apart(&mut self, c: char, out: &mut String) {
        let joins = match self.tail {
            Tail::Bang => c == '[',
            Tail::Opening => c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?'),
            Tail::Other => false,
        };
        if joins {
            self.write(' ', out);
        }
        self.write(c, out);
    }

    fn alt(&mut self, c: char, out: &mut String) {
        if c == ']' {
            if is_number(&self.held) {
                // What looks like a citation but is none, as in «¡Abierto![9-18]».
                self.write('!', out);
                self.write(' ', out);
                self.write('[', out);
                self.write_alt(out);
                self.write(']', out);
                self.state = State::Text;
            } else {
                self.write_alt(out);
                self.state = State::AfterAlt;
            }
        } else if self.held.len() >= MAX_HELD {
            self.write_alt(out);
            self.back_to_text(c, out);
        } else {
            self.held.push(c);
        }
    }

    /// The text of an image, without what could begin another one.
    fn write_alt(&mut self, out: &mut String) {
        for c in std::mem::take(&mut self.held).chars().filter(|&c| c != '<') {
            self.write_apart(c, out);
        }
    }

    fn element(&mut self, c: char, out: &mut String) {
        if self.held.is_empty() && !c.is_ascii_alphabetic() && c != '/' {
            // No element, as in `3 < 4`; a comment would hide what follows.
            self.write_opening(if matches!(c, '!' | '?') { "< " } else { "<" }, out);
            self.back_to_text(c, out);
        } else if c == '>' {
            self.end_element(out);
        } else if loads(&self.held) && (c.is_whitespace() || c == '/') {
            self.held.clear();
            self.state = State::Dropped;
        } else if c.is_whitespace() {
            self.held.push(c);
            self.state = State::AfterName;
        } else if matches!(c, '<' | '!') || self.held.len() >= MAX_HELD {
            self.write_opening("< ", out);
            self.back_to_text(c, out);
        } else {
            self.held.push(c);
        }
    }

    fn after_name(&mut self, c: char, out: &mut String) {
        if c == '>' {
            self.end_element(out);
        } else if (c == '/' || c.is_whitespace()) && self.held.len() < MAX_HELD {
            self.held.push(c);
        } else {
            self.write_opening("< ", out);
            self.back_to_text(c, out);
        }
    }

    /// Lets through elements without attributes and addresses.
    fn end_element(&mut self, out: &mut String) {
        self.state = State::Text;
        let name = self.held.trim_matches(|c: char| c == '/' || c.is_whitespace());
        if loads(name) {
            self.held.clear();
            return;
        }
        let bare = name.bytes().all(|b| b.is_ascii_alphanumeric());
        let harmless = bare || is_address(name);
        self.write_opening(if harmless { "<" } else { "< " }, out);
        self.write('>', out);
    }

    fn write_opening(&mut self, opening: &str, out: &mut String) {
        let held = std::mem::take(&mut self.held);
        for c in opening.chars().chain(held.chars()) {
            self.write(c, out);
        }
    }

    fn back_to_text(&mut self, c: char, out: &mut String) {
        self.state = State::Text;
        self.text(c, out);
    }
}

fn loads(name: &str) -> bool {
    ELEMENTS.contains(&name.trim_start_matches('/').to_ascii_lowercase().as_str())
}

/// Whether `<…>` is an address that no program takes for an element with attributes of use: those begin after white
/// space or a slash and have an equals sign. In a query without slashes they could only be called `?…`; quotes there would
/// make what follows the element a part of it.
fn is_address(name: &str) -> bool {
    let (place, query) = name.split_once('?').unwrap_or((name, ""));
    let address = place.contains("://") || place.contains('@') || place.starts_with("tel:");
    let plain = |text: &str, without: &[char]| {
        !text.contains(|c: char| c.is_whitespace() || without.contains(&c))
    };
    address && plain(place, &['=']) && plain(query, &['/', '"', '\'', '`'])
}

fn is_number(held: &str) -> bool {
    let numeric = |c: char| c.is_ascii_digit() || matches!(c, ',' | ';' | ' ' | '-' | '–' | '^');
    held.contains(|c: char| c.is_ascii_digit()) && held.chars().all(numeric)
}
