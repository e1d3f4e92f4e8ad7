//! Questions that the knowledge could not answer.

/// Why a question counts as not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// The agent said that it does not know.
    Abstained,
    /// The customer did not like the answer.
    Disliked,
}

impl GapReason {
    /// Every reason.
    pub const ALL: [Self; 2] = [Self::Abstained, Self::Disliked];

    /// As stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Abstained => "abstained",
            Self::Disliked => "disliked",
        }
    }
}

/// Where a group of such questions stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GapStatus {
    /// Not answered yet.
    Open,
    /// Asked again, the agent answered.
    Closed,
    /// Somebody decided that it need not be answered; questions alike are counted here.
    Dismissed,
}

impl GapStatus {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Open, Self::Closed, Self::Dismissed];

    /// As stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Dismissed => "dismissed",
        }
    }
}
