#!/usr/bin/env bash
# Holds the built-in pipeline to the floors of evals/suite.toml and to the baselines of evals/baselines:
#   scripts/eval.sh [argument of `vocero eval suite`…]
# Writes a folder for each set into target/eval, with report.html. VOCERO_EVAL_DATA: folder of the sets that are not part of
# the repository; without it they are named and not run. VOCERO_BIN: the binary (default: built here, optimised).
set -euo pipefail
cd "$(dirname "$0")/.."

binary=${VOCERO_BIN:-}
if [ -z "$binary" ]; then
    cargo build --locked --release --package server
    binary=${CARGO_TARGET_DIR:-target}/release/vocero
fi
# Nothing that is set on this machine may change what is measured.
unset DATABASE_URL QDRANT_URL OPENAI_API_KEY OPENAI_BASE_URL VOCERO_EMBEDDING_MODEL VOCERO_RERANK_MODEL
exec "$binary" eval suite "$@"
