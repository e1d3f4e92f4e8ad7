//! The conformance suite of the index and of search, run on the index in process always and on a Qdrant
//! server when `VOCERO_TEST_QDRANT_URL` names one.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod calibration;
mod durability;
mod faq;
mod languages;
mod rerank;
mod search;
mod statistics;
mod upkeep;
mod world;
