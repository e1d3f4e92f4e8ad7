#!/usr/bin/env bash
# Fuzzes the parsers, each for FUZZ_SECONDS (60): `make fuzz`, or `./scripts/fuzz.sh html sse`.
# Begins with the seeds of the repository; what it finds stays in target/fuzz/<target>.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! cargo +nightly --version > /dev/null 2>&1; then
    echo "fuzzing needs a nightly compiler. Install it with:  rustup toolchain install nightly" >&2
    exit 1
fi
if ! cargo +nightly fuzz --version > /dev/null 2>&1; then
    echo "fuzzing needs cargo-fuzz. Install it with:  cargo install --locked cargo-fuzz" >&2
    exit 1
fi
if [ $# -eq 0 ]; then set -- html docx csv chunker sse; fi

target=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
for name in "$@"; do
    mkdir -p "$target/$name/corpus" "$target/$name/found"
    echo "$name: ${FUZZ_SECONDS:-60} seconds"
    # The crates are without unsafe code of ours: the address sanitizer would only make it slower.
    CARGO_TARGET_DIR="$target/build" cargo +nightly fuzz run --sanitizer none "$name" \
        "$target/$name/corpus" "fuzz/seeds/$name" -- \
        -max_total_time="${FUZZ_SECONDS:-60}" -timeout=10 -rss_limit_mb=1024 -max_len=16384 \
        -artifact_prefix="$target/$name/found/" -print_final_stats=1
done
