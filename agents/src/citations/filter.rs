//! The filter that a model's answer passes on its way to the client.

use super::address::Address;
use super::code::CodeTracker;
use super::json::JsonAnswer;
use super::media::MediaFilter;

/// What a model is told to answer when the passages do not hold the answer. Never reaches a client.
pub(crate) const SENTINEL: &str = "[NO_ANSWER]";

/// The sentinel without its brackets, which models forget at times.
const SENTINEL_WORD: &str = "NO_ANSWER";

/// Longest text between brackets that may still be a marker, in bytes.
const MAX_MARKER_BYTES: usize = 48;

/// Longest link target after a marker, in bytes; what is longer is text.
const MAX_TARGET_BYTES: usize = 2_048;

/// A marker that was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MarkerUse {
    /// The passage, from 1.
    pub(crate) passage: usize,
    /// Where the marker starts in the text let through, in bytes.
    pub(crate) at: usize,
}

/// Lets text through and decides about markers. A marker is `[1]`, `[1, 2]` or `[1-3]`; it is let through
/// as `[1][2]`. What names no passage is removed together with the white space before it. Nothing inside
/// code spans, code fences and query strings of addresses is a marker. A link target behind a marker
/// (`[1](https://…)`) is dropped, and so are images. White space at either end and control characters are dropped, so the
/// text let through is final: how the text was cut into pieces makes no difference to it.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about the text so far")]
pub(crate) struct CitationFilter {
    passages: usize,
    state: State,
    /// What `state` has read and not yet decided about.
    held: String,
    /// White space, and punctuation before the first word, which goes out only when text follows.
    space: String,
    /// The marker just read, while it is not known whether a link target follows.
    marker: Vec<usize>,
    /// A marker was removed and nothing but white space was let through since.
    closing_gap: bool,
    code: CodeTracker,
    media: MediaFilter,
    address: Address,
    in_word: bool,
    /// A letter or digit was let through.
    begun: bool,
    emitted: usize,
    uses: Vec<MarkerUse>,
    removed: Vec<String>,
    sentinel: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Text,
    Word,
    Bracket,
    AfterMarker,
    Target,
}

impl CitationFilter {
    /// For an answer that may cite passages 1 to `passages`.
    pub(crate) fn new(passages: usize) -> Self {
        Self {
            passages,
            state: State::Text,
            held: String::new(),
            space: String::new(),
            marker: Vec::new(),
            closing_gap: false,
            code: CodeTracker::new(),
            media: MediaFilter::new(),
            address: Address::None,
            in_word: false,
            begun: false,
            emitted: 0,
            uses: Vec::new(),
            removed: Vec::new(),
            sentinel: false,
        }
    }

    /// For an answer whose texts were filtered one by one: what is known of it is `answer`'s.
    pub(crate) fn settled(passages: usize, answer: &JsonAnswer) -> Self {
        Self {
            begun: true,
            uses: answer.uses.clone(),
            removed: answer.removed.clone(),
            sentinel: answer.sentinel,
            ..Self::new(passages)
        }
    }

    /// More passages may be cited from here on: 1 to `passages`.
    pub(crate) fn allow(&mut self, passages: usize) {
        self.passages = self.passages.max(passages);
    }

    /// Takes a piece of the answer; gives what may be sent now, if anything.
    pub(crate) fn push(&mut self, piece: String) -> Option<String> {
        if self.passes_whole(&piece) {
            self.code.pass(&piece);
            self.emitted += piece.len();
            self.in_word = piece.chars().next_back().is_some_and(char::is_alphanumeric);
            return Some(piece);
        }
        let mut out = String::with_capacity(piece.len() + self.held.len() + self.space.len());
        for c in piece.chars() {
            self.step(c, &mut out);
        }
        self.hand_out(out)
    }

    /// The answer is over; gives what was held back and is text after all.
    pub(crate) fn finish(&mut self) -> Option<String> {
        let mut out = String::new();
        match self.state {
            State::Word if self.held == SENTINEL_WORD => self.meet_sentinel(),
            State::Text | State::AfterMarker => self.settle_marker(&mut out),
            State::Word | State::Bracket => self.release(&mut out),
            State::Target => {
                self.settle_marker(&mut out);
                self.release(&mut out);
            }
        }
        self.state = State::Text;
        if !self.begun && !self.sentinel {
            let opening = std::mem::take(&mut self.space);
            opening.trim().chars().for_each(|c| self.media.step(c, &mut out));
        }
        self.space.clear();
        self.media.finish(&mut out);
        self.hand_out(out)
    }

    /// Whether the model said that it does not know.
    pub(crate) fn met_sentinel(&self) -> bool {
        self.sentinel
    }

    /// The markers let through, in order.
    pub(crate) fn uses(&self) -> &[MarkerUse] {
        &self.uses
    }

    /// The markers that named nothing, as the model wrote them.
    pub(crate) fn removed(&self) -> &[String] {
        &self.removed
    }

    /// The usual case, without a copy: plain text while nothing is held back.
    fn passes_whole(&self, piece: &str) -> bool {
        let idle = self.state == State::Text
            && self.begun
            && !self.sentinel
            && self.space.is_empty()
            && self.code.outside()
            && self.address == Address::None
            && !self.closing_gap
            && self.media.passes_whole(piece);
        let plain = |b: u8| match b {
            b'[' | b'`' | b'~' | b':' | b'N' | 0x7F | 0xC2 | 0xD8 | 0xE1..=0xE3 => false,
            _ => b >= 0x20,
        };
        idle && !piece.is_empty() && !piece.ends_with(' ') && piece.bytes().all(plain)
    }

    fn hand_out(&mut self, out: String) -> Option<String> {
        self.emitted += out.len();
        (!out.is_empty()).then_some(out)
    }

    fn step(&mut self, c: char, out: &mut String) {
        // Whatever a model adds to saying that it does not know is not worth passing on; a carriage return is the end
        // of a line to some readers only.
        if self.sentinel || c == '\r' || domain::text::is_unsafe(c) {
            return;
        }
        match self.state {
            State::Text => self.text(c, out),
            State::Word => self.word(c, out),
            State::Bracket => self.bracket(c, out),
            State::AfterMarker => self.after_marker(c, out),
            State::Target => self.target(c, out),
        }
    }

    fn text(&mut self, c: char, out: &mut String) {
        self.code.follow(c);
        // In code there are no markers, but models put the sentinel there too.
        if c == '[' && self.address != Address::Query {
            self.state = State::Bracket;
            self.held.push(c);
        } else if c == 'N' && !self.in_word {
            self.state = State::Word;
            self.held.push(c);
        } else {
            self.let_through(c, out);
        }
    }

    fn word(&mut self, c: char, out: &mut String) {
        let expected = SENTINEL_WORD.as_bytes().get(self.held.len()).copied();
        if expected.is_some_and(|b| char::from(b) == c) {
            self.held.push(c);
            return;
        }
        if expected.is_none() && !c.is_alphanumeric() && c != '_' {
            self.meet_sentinel();
        } else {
            self.release(out);
        }
        self.state = State::Text;
        self.step(c, out);
    }

    fn bracket(&mut self, c: char, out: &mut String) {
        if c != ']' {
            if self.held.len() < MAX_MARKER_BYTES && self.may_go_on(c) {
                self.held.push(c);
                return;
            }
            if &self.held[1..] == SENTINEL_WORD {
                self.meet_sentinel();
                self.state = State::Text;
                return;
            }
            self.release(out);
            self.state = State::Text;
            self.step(c, out);
            return;
        }
        if &self.held[1..] == SENTINEL_WORD {
            self.meet_sentinel();
            self.state = State::Text;
            return;
        }
        let Some(numbers) = self.code.outside().then(|| self.numbers()).flatten() else {
            self.release(out);
            self.state = State::Text;
            self.let_through(c, out);
            return;
        };
        self.held.push(c);
        self.marker.clear();
        self.marker.extend(numbers.into_iter().filter(|n| (1..=self.passages).contains(n)));
        if self.marker.is_empty() {
            self.removed.push(self.held.clone());
        }
        self.held.clear();
        self.state = State::AfterMarker;
    }

    /// Whether `c` may stand in a marker, or in the sentinel, after what is held.
    fn may_go_on(&self, c: char) -> bool {
        let inner = &self.held[1..];
        let numeric = c.is_ascii_digit() || matches!(c, ',' | ';' | ' ' | '-' | '–' | '^');
        let numeric_so_far = !inner.contains(|held: char| held.is_ascii_alphabetic());
        let spelled =
            SENTINEL_WORD.starts_with(inner) && SENTINEL_WORD[inner.len()..].starts_with(c);
        (numeric && numeric_so_far && self.code.outside()) || spelled
    }

    /// The numbers between the brackets; `None` when it is no marker but text. A range counts only when
    /// both of its ends are passages, so that `[9-18]` in opening hours stays.
    fn numbers(&self) -> Option<Vec<usize>> {
        let inner = self.held[1..].trim().trim_start_matches('^');
        let mut numbers = Vec::new();
        for part in inner.split([',', ';']) {
            let part = part.trim().trim_start_matches('^');
            if let Some((first, last)) = part.split_once(['-', '–']) {
                let (first, last) = (number(first)?, number(last)?);
                let known = 1..=self.passages;
                if first >= last || !known.contains(&first) || !known.contains(&last) {
                    return None;
                }
                numbers.extend(first..=last);
            } else {
                numbers.push(number(part)?);
            }
        }
        let mut seen = Vec::new();
        numbers.retain(|n| {
            let new = !seen.contains(n);
            seen.push(*n);
            new
        });
        Some(numbers)
    }

    fn after_marker(&mut self, c: char, out: &mut String) {
        if c == '(' {
            self.held.push(c);
            self.state = State::Target;
            return;
        }
        self.settle_marker(out);
        self.state = State::Text;
        self.step(c, out);
    }

    fn target(&mut self, c: char, out: &mut String) {
        if c == ')' && looks_like_target(&self.held[1..]) {
            self.held.clear();
            self.settle_marker(out);
            self.state = State::Text;
        } else if c.is_whitespace() || c == ')' || self.held.len() >= MAX_TARGET_BYTES {
            self.settle_marker(out);
            self.release(out);
            self.state = State::Text;
            self.step(c, out);
        } else {
            self.held.push(c);
        }
    }

    fn meet_sentinel(&mut self) {
        self.sentinel = true;
        self.held.clear();
        self.closing_gap = true;
        if !self.begun {
            self.space.clear();
        }
    }

    /// Writes the marker just read, or closes the gap that a removed one leaves.
    fn settle_marker(&mut self, out: &mut String) {
        if self.state != State::AfterMarker && self.state != State::Target {
            return;
        }
        if self.marker.is_empty() {
            self.closing_gap = true;
            return;
        }
        self.flush_space(out);
        let marker = std::mem::take(&mut self.marker);
        if !self.media.make_way(out) {
            // In the address of an image, which goes.
            self.removed.extend(marker.iter().map(|passage| format!("[{passage}]")));
            return;
        }
        for passage in marker {
            self.uses.push(MarkerUse { passage, at: self.emitted + out.len() });
            for c in format!("[{passage}]").chars() {
                self.media.write(c, out);
            }
        }
        self.in_word = false;
    }

    /// What is held is text after all.
    fn release(&mut self, out: &mut String) {
        let held = std::mem::take(&mut self.held);
        for c in held.chars() {
            self.let_through(c, out);
        }
    }

    fn let_through(&mut self, c: char, out: &mut String) {
        self.address.follow(c);
        self.in_word = c.is_alphanumeric();
        if c.is_whitespace() {
            self.hold_space(c);
            return;
        }
        if !self.begun && !c.is_alphanumeric() && "\"'*_“«‘>#-(".contains(c) {
            self.space.push(c);
            return;
        }
        let follows_close =
            matches!(c, '.' | ',' | ';' | ':' | '!' | '?' | '…' | ')' | ']' | '}' | '»' | '”');
        if self.closing_gap && follows_close && self.begun {
            self.space.clear();
        }
        if c == '[' && self.closing_gap && self.space.is_empty() {
            self.media.keep_apart(out);
        }
        self.flush_space(out);
        self.media.step(c, out);
    }

    fn hold_space(&mut self, c: char) {
        if self.closing_gap && !self.space.is_empty() {
            if c == ' ' {
                return;
            }
            if self.space == " " {
                self.space.clear();
            }
        }
        if self.begun || !self.space.is_empty() {
            self.space.push(c);
        }
    }

    fn flush_space(&mut self, out: &mut String) {
        self.space.drain(..).for_each(|c| self.media.step(c, out));
        self.closing_gap = false;
        self.begun = true;
    }
}

/// The text without any marker: what an earlier answer becomes in a later prompt.
pub(crate) fn without_markers(text: &str) -> String {
    let mut filter = CitationFilter::new(0);
    let mut clean = filter.push(text.to_owned()).unwrap_or_default();
    if let Some(rest) = filter.finish() {
        clean.push_str(&rest);
    }
    clean
}

fn number(text: &str) -> Option<usize> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(usize::MAX))
}

/// Whether the text between parentheses is where a link leads rather than a remark.
fn looks_like_target(text: &str) -> bool {
    text.contains("://") || text.starts_with(['#', '/', '.']) || text.starts_with("www.")
}
