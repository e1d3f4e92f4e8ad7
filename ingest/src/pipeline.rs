//! The stages of ingestion as jobs.
