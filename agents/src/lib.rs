#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod turn;

pub use turn::{Agents, AgentsOptions, Answer, Turn, TurnEvent, TurnRequest, TurnSource};
