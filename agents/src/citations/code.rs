//! Where code begins and ends in Markdown that comes character by character.

/// Follows code spans and fences: a run of backticks opens one, a run of the same length closes it (of at least the
/// same for a fence), and a span ends with its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CodeTracker {
    code: Code,
    ticks: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    None,
    Span(usize),
    Fence(usize),
}

impl CodeTracker {
    pub(super) const fn new() -> Self {
        Self { code: Code::None, ticks: 0 }
    }

    /// Takes the next character.
    pub(super) fn follow(&mut self, c: char) {
        if c == '`' {
            self.ticks += 1;
            return;
        }
        if self.ticks > 0 {
            self.code = match self.code {
                Code::None if self.ticks >= 3 => Code::Fence(self.ticks),
                Code::None => Code::Span(self.ticks),
                Code::Span(opened) if self.ticks == opened => Code::None,
                Code::Fence(opened) if self.ticks >= opened => Code::None,
                open => open,
            };
            self.ticks = 0;
        }
        if c == '\n' && matches!(self.code, Code::Span(_)) {
            self.code = Code::None;
        }
    }

    /// Whether the character just taken is outside of code.
    pub(super) fn outside(&self) -> bool {
        self.code == Code::None && self.ticks == 0
    }
}
