//! Every function of the crate, on both databases.

mod knowledge;
mod support;
