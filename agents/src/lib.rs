#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod again;
mod approve;
mod assist;
mod begin;
mod citations;
mod claim;
mod context;
mod erase;
mod errand;
mod files;
mod fit;
mod forget;
mod gaps;
mod images;
mod inbox;
mod keep;
mod left;
mod likeness;
mod meaning;
mod model;
mod neighbours;
mod paid;
mod prepare;
mod prompt;
mod providers;
mod publish;
mod queue;
mod reseal;
mod rewrite;
mod rounds;
mod run;
mod running;
mod speak;
mod spend;
mod streams;
mod summary;
mod supplied;
mod support;
mod tools;
mod trace;
mod turn;
mod words;

pub use approve::Decision;
pub use assist::{Rewriting, Rewritten, Suggestion, Summarized};
pub use citations::markers;
pub use files::SentFile;
pub use gaps::Rechecked;
pub use images::{MAX_IMAGES, SeenImage};
pub use inbox::wake_up;
pub use left::Left;
pub use paid::PaidModel;
pub use publish::{
    Candidate, Missing, MissingKind, publish_in, stale_draft, stale_version, without_missing,
};
pub use reseal::{SealedSecrets, count_secrets, reseal_secrets};
pub use streams::{Follow, Joined, Render, Rendered, Resumable, StreamEvent};
pub use supplied::Earlier;
pub use support::unsupported_claims;
pub use trace::{
    EndedTurn, TraceCall, TraceFallback, TraceHit, TraceNeighbour, TracePhase, TraceStep,
    TraceTool, TurnObserver, TurnTrace,
};
pub use turn::{
    Agents, AgentsOptions, Answer, ToolPhase, ToolStep, Turn, TurnEvent, TurnRequest, TurnSource,
};
