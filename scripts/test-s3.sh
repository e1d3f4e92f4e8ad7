#!/usr/bin/env bash
# Runs a command with an S3-compatible server (moto, in memory) beside it:
#   scripts/test-s3.sh cargo test --workspace
# The command gets VOCERO_TEST_S3_URL, the address of a bucket, the AWS_… variables that lead to it, and
# VOCERO_REQUIRE_S3=1. The server listens on loopback only, at a free port, and is gone afterwards.
set -euo pipefail

if [ $# -eq 0 ]; then
    echo "usage: $0 <command> [argument…]" >&2
    exit 2
fi

target=${CARGO_TARGET_DIR:-$(cd "$(dirname "$0")/.." && pwd)/target}
venv=$target/moto
if [ ! -x "$venv/bin/moto_server" ]; then
    command -v python3 > /dev/null || { echo "python3 is needed for the S3 server of the tests" >&2; exit 1; }
    echo "installing moto for the tests (once)" >&2
    python3 -m venv "$venv" || {
        echo "cannot make a virtual environment; install it with: sudo apt-get install python3-venv" >&2
        exit 1
    }
    "$venv/bin/pip" install --quiet 'moto[s3]==5.*' 'flask==3.*' 'flask-cors==6.*'
fi

log=$(mktemp "${TMPDIR:-/tmp}/vocero-s3.XXXXXX")
server=
command_pid=
clean_up() {
    trap - EXIT INT TERM HUP
    for pid in $command_pid $server; do
        kill "$pid" 2> /dev/null || true
        wait "$pid" 2> /dev/null || true
    done
    rm -f "$log"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

endpoint=
for _attempt in 1 2 3 4 5; do
    # Somebody else may take the port between here and the start, hence the attempts.
    port=$((20000 + RANDOM % 20000))
    "$venv/bin/moto_server" -H 127.0.0.1 -p "$port" > "$log" 2>&1 &
    server=$!
    for _ in $(seq 100); do
        kill -0 "$server" 2> /dev/null || break
        # Making the bucket is the proof that it is there.
        if curl -sf --noproxy '*' -X PUT "http://127.0.0.1:$port/vocero" > /dev/null; then
            endpoint=http://127.0.0.1:$port
            break 2
        fi
        sleep 0.2
    done
    kill "$server" 2> /dev/null || true
done
if [ -z "$endpoint" ]; then
    cat "$log" >&2
    exit 1
fi

export VOCERO_TEST_S3_URL=s3://vocero/tests VOCERO_REQUIRE_S3=1
export AWS_ENDPOINT=$endpoint AWS_ALLOW_HTTP=true AWS_DEFAULT_REGION=us-east-1
export AWS_ACCESS_KEY_ID=vocero-tests AWS_SECRET_ACCESS_KEY=planted-aws-secret-3d5f0b7a
"$@" <&0 &
command_pid=$!
status=0
wait "$command_pid" || status=$?
command_pid=
exit "$status"
