//! Where addresses have their queries in text that comes character by character: brackets there are no markers.

/// How much of an address was read: `:`, `:/`, `://`, and its query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Address {
    None,
    Colon,
    Slash,
    Open,
    Query,
}

impl Address {
    /// Takes the next character.
    pub(super) fn follow(&mut self, c: char) {
        *self = match (*self, c) {
            (Self::Open, '?' | '#') => Self::Query,
            (open @ (Self::Open | Self::Query), _)
                if !c.is_whitespace() && !matches!(c, ')' | '>' | '"') =>
            {
                open
            }
            (Self::Colon, '/') => Self::Slash,
            (Self::Slash, '/') => Self::Open,
            (_, ':') => Self::Colon,
            _ => Self::None,
        };
    }
}
