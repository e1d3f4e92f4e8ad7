#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

pub mod agents;
pub mod api_keys;
pub mod approvals;
pub mod attachments;
pub mod audit;
pub mod blobs;
pub mod budgets;
pub mod canned_replies;
pub mod charges;
pub mod chunks;
pub mod citations;
mod compress;
pub mod contacts;
pub mod conversations;
pub mod datastores;
mod db;
pub mod embeddings;
mod error;
pub mod evals;
pub mod events;
pub mod gaps;
pub mod gates;
pub mod glossaries;
pub mod inbox;
pub mod jobs;
pub mod leads;
pub mod members;
pub mod messages;
pub mod notes;
pub mod projects;
pub mod providers;
pub mod secrets;
pub mod sessions;
pub mod sources;
pub mod spending;
mod sql;
pub mod stats;
pub mod streams;
pub mod users;
pub mod versions;
pub mod visits;
pub mod workspaces;

pub use blobs::Blobs;
pub use db::{Conn, Db, DbOptions, News, Tx, Wakeup};
pub use error::{Result, StorageError};
