#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod begin;
mod citations;
mod claim;
mod context;
mod keep;
mod prepare;
mod prompt;
mod queue;
mod run;
mod running;
mod speak;
mod trace;
mod turn;
mod words;

pub use turn::{Agents, AgentsOptions, Answer, Turn, TurnEvent, TurnRequest, TurnSource};
