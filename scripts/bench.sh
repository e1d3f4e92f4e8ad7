#!/usr/bin/env bash
# Builds the optimised binary and the load generator, then runs the scenarios named (all when none is).
# `make bench`, or `./scripts/bench.sh query streams`.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}

cargo build --locked --release --package server --package bench
echo "machine: $(nproc) cores, $(awk '/MemTotal/ {printf "%.0f GB", $2 / 1e6}' /proc/meminfo), $(uname -sr)"
exec "$target/release/bench" run --vocero "$target/release/vocero" --out "$target/bench" "$@"
