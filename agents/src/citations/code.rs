//! Where code begins and ends in Markdown that comes character by character.

/// Follows code spans and fences: a run of backticks opens one, a run of the same length closes it (of at least the
/// same for a fence), and a span ends with its line. Three tildes or more at the beginning of a line are a fence, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CodeTracker {
    code: Code,
    /// The run under way: what of, and how long it is.
    mark: char,
    ticks: usize,
    /// Nothing but white space and the marks of a quotation stand on this line so far.
    at_line_start: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    None,
    Span(usize),
    Fence(char, usize),
}

impl CodeTracker {
    pub(super) const fn new() -> Self {
        Self { code: Code::None, mark: '`', ticks: 0, at_line_start: true }
    }

    /// Takes the next character.
    pub(super) fn follow(&mut self, c: char) {
        if self.ticks > 0 && c == self.mark {
            self.ticks += 1;
            return;
        }
        if self.ticks > 0 {
            self.end_run();
        }
        if c == '`' || (c == '~' && self.at_line_start) {
            (self.mark, self.ticks) = (c, 1);
        }
        if c == '\n' && matches!(self.code, Code::Span(_)) {
            self.code = Code::None;
        }
        self.at_line_start = c == '\n' || (self.at_line_start && (c.is_whitespace() || c == '>'));
    }

    /// Takes a piece without backticks and line breaks.
    pub(super) fn pass(&mut self, piece: &str) {
        self.at_line_start &= piece.chars().all(char::is_whitespace);
    }

    /// Whether the character just taken is outside of code.
    pub(super) fn outside(&self) -> bool {
        self.code == Code::None && self.ticks == 0
    }

    /// Whether it stands in a span, or in what began like one.
    pub(super) fn in_span(&self) -> bool {
        matches!(self.code, Code::Span(_))
    }

    /// Whether the character to come ends a span that nothing closed.
    pub(super) fn breaks_off(&self, next: char) -> bool {
        let closing = |opened| self.ticks == opened && self.mark == '`';
        next == '\n' && matches!(self.code, Code::Span(opened) if !closing(opened))
    }

    fn end_run(&mut self) {
        let (mark, ticks) = (self.mark, std::mem::take(&mut self.ticks));
        self.code = match self.code {
            Code::None if ticks >= 3 => Code::Fence(mark, ticks),
            Code::None if mark == '`' => Code::Span(ticks),
            Code::Span(opened) if mark == '`' && ticks == opened => Code::None,
            Code::Fence(opened, length) if mark == opened && ticks >= length => Code::None,
            open => open,
        };
    }
}
