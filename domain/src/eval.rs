//! Evaluations: datasets of questions, and runs that put them to an agent or a datastore.

/// What a run puts its questions to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EvalTarget {
    /// An agent: whole turns.
    Agent,
    /// A datastore: search alone.
    Datastore,
}

impl EvalTarget {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Agent, Self::Datastore];

    /// As stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Datastore => "datastore",
        }
    }
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EvalStatus {
    /// No worker has begun it.
    Waiting,
    /// A worker asks, or will go on asking when it was interrupted.
    Running,
    /// It came to its end, or to the limit of what it may cost.
    Done,
    /// It cannot be made.
    Failed,
    /// Somebody stopped it.
    Cancelled,
}

impl EvalStatus {
    /// Every status.
    pub const ALL: [Self; 5] =
        [Self::Waiting, Self::Running, Self::Done, Self::Failed, Self::Cancelled];

    /// As stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more will come of it.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}
