//! Turns that go on when their reader leaves, and can be rejoined on any process.
//!
//! The process that runs such a turn keeps what its readers are told in a [`log`], from which each reader reads by its
//! own position, so that a slow one holds up neither the turn nor the others. The same log is written to the database
//! in batches ([`record`]), where readers on other processes follow it ([`follow`]).

mod follow;
mod join;
mod log;
mod record;

pub use follow::Follow;
pub use join::Joined;
pub use storage::streams::StreamEvent;

pub(crate) use join::{events_of, join, joined_from_start};
pub(crate) use log::Log;
pub(crate) use record::record;

use crate::turn::{Turn, TurnEvent};

/// An event in the words of a surface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// What kind of event.
    pub kind: &'static str,
    /// The event itself.
    pub data: String,
}

/// Puts events into the words of a surface. What it makes is kept as it is, so that each reader is told the same.
pub type Render = fn(TurnEvent) -> Rendered;

/// A turn that was begun so that it can be rejoined.
#[derive(Debug)]
pub enum Resumable {
    /// It goes on, whether it is followed or not.
    Following(Follow),
    /// There is nothing to wait for: its events are known.
    Told(Turn),
}
