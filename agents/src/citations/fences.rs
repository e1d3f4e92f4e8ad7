//! Where fenced code stands in Markdown that comes character by character.

/// Follows fenced code (`CommonMark` 0.31, 4.5) in a text as it is written, and in doubt says that there is none.
///
/// What is in a fence is shown as it stands, so nothing needs to be taken from it; a text that a reader's program sees outside
/// while this says inside would carry data out. So a fence is believed only where every reader agrees about it: where
/// lists, quotes, HTML or formulas could make one of them see it otherwise, no later fence of the text is believed.
/// Spans of code are not followed: whether one is closed is known too late.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fences {
    open: Option<Fence>,
    line: Line,
    believed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fence {
    mark: char,
    length: usize,
    indent: usize,
}

/// What was read of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// Nothing but this many spaces.
    Indent(usize),
    /// What may be signs of lists and quotes, or spaces that are too many for a fence.
    Lead { ticks: usize },
    /// A run of the marks of a fence.
    Run(Fence),
    /// What follows a run of at least three, outside a fence.
    Info(Fence),
    /// Spaces after a run that closes the open fence.
    Closing,
    /// Anything else.
    Plain,
}

impl Fences {
    pub(super) const fn new() -> Self {
        Self { open: None, line: Line::Indent(0), believed: true }
    }

    /// Whether the last character written stands in a fence for every reader.
    pub(super) fn inside(&self) -> bool {
        self.open.is_some()
    }

    /// What would be known after these characters.
    pub(super) fn after(mut self, text: impl Iterator<Item = char>) -> Self {
        text.for_each(|c| self.follow(c));
        self
    }

    /// Whether nothing but a line's end can change what is known.
    pub(super) fn in_midst_of_line(&self) -> bool {
        self.line == Line::Plain
    }

    /// Takes the next character that is written.
    pub(super) fn follow(&mut self, c: char) {
        if !self.believed {
            return;
        }
        if c == '\n' {
            self.end_line();
            return;
        }
        self.line = match self.line {
            Line::Indent(spaces) => self.begin(spaces, c),
            Line::Lead { ticks } => self.lead(ticks, c),
            Line::Run(run) if c == run.mark => Line::Run(Fence { length: run.length + 1, ..run }),
            Line::Run(run) => self.after_run(run, c),
            // A fence of backticks has none behind it, else it is a span of code.
            Line::Info(run) if c == '`' && run.mark == '`' => Line::Plain,
            Line::Closing => self.after_closing(c),
            other => other,
        };
    }

    fn begin(&mut self, spaces: usize, c: char) -> Line {
        if c == ' ' {
            return Line::Indent(spaces + 1);
        }
        if c == '\t' {
            return Line::Indent(spaces + 4);
        }
        // A list may have ended here and its fence with it, or not.
        if self.open.is_some_and(|open| spaces < open.indent) {
            self.doubt();
            return Line::Plain;
        }
        match c {
            '`' | '~' if spaces <= 3 => Line::Run(Fence { mark: c, length: 1, indent: spaces }),
            // Enough spaces for code by indentation, or for a fence in a list.
            '`' | '~' if self.open.is_none_or(|open| open.indent > 0) => Line::Lead { ticks: 1 },
            _ if self.open.is_some() => Line::Plain,
            _ => self.lead(0, c),
        }
    }

    /// Outside a fence, before the first word of a line.
    fn lead(&mut self, ticks: usize, c: char) -> Line {
        match c {
            '`' | '~' if ticks >= 2 => {
                self.doubt();
                Line::Plain
            }
            '`' | '~' => Line::Lead { ticks: ticks + 1 },
            // A block of HTML or a formula, in which there are no fences.
            '<' | '$' => {
                self.doubt();
                Line::Plain
            }
            ' ' | '\t' | '>' | '-' | '*' | '+' | ':' | '.' | ')' => Line::Lead { ticks: 0 },
            _ if c.is_ascii_digit() => Line::Lead { ticks: 0 },
            _ => Line::Plain,
        }
    }

    fn after_run(&mut self, run: Fence, c: char) -> Line {
        match self.open {
            Some(open) if closes(open, run) => self.after_closing(c),
            None if run.length >= 3 => Line::Info(run),
            _ => Line::Plain,
        }
    }

    fn after_closing(&mut self, c: char) -> Line {
        if c == '\t' {
            // Closed by the newer texts of `CommonMark`, and not by the older ones.
            self.doubt();
        }
        if c == ' ' { Line::Closing } else { Line::Plain }
    }

    fn end_line(&mut self) {
        match (self.line, self.open) {
            (Line::Run(run) | Line::Info(run), None) if run.length >= 3 => self.open = Some(run),
            (Line::Run(run), Some(open)) if closes(open, run) => self.open = None,
            (Line::Closing, _) => self.open = None,
            _ => {}
        }
        self.line = Line::Indent(0);
    }

    fn doubt(&mut self) {
        self.believed = false;
        self.open = None;
        self.line = Line::Plain;
    }
}

fn closes(open: Fence, run: Fence) -> bool {
    run.mark == open.mark && run.length >= open.length
}
