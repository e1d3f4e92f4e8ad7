//! Behaviour of the `vocero` binary: real processes, sockets and files.

mod backup;
mod bucket;
mod commands;
mod crash;
mod evals;
mod first_start;
mod handoff;
mod house;
mod lifecycle;
mod models;
mod processes;
mod secrets;
mod settings;
mod telemetry;
mod turns;
mod vocero;
