//! The analyser that search and the built-in answerer share.
