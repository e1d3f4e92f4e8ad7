#!/usr/bin/env bash
# Tests /api/v2 and /v1 against their own descriptions with schemathesis, with and without a key or a token:
#   scripts/schemathesis.sh
# Starts a server of its own at a free port, in a temporary folder, and stops it afterwards. Fails on any server
# error and on any route that answers without a key.
# VOCERO_BIN: the binary (default: built here). SCHEMATHESIS_EXAMPLES: cases for each operation (default 20).
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
venv=$target/schemathesis
if [ ! -x "$venv/bin/schemathesis" ]; then
    command -v python3 > /dev/null || { echo "python3 is needed for schemathesis" >&2; exit 1; }
    python3 -m venv "$venv" || {
        echo "cannot make a virtual environment; install it with: sudo apt-get install python3-venv" >&2
        exit 1
    }
    "$venv/bin/pip" install --quiet 'schemathesis==4.32.*'
fi

binary=${VOCERO_BIN:-}
if [ -z "$binary" ]; then
    cargo build --locked --package server
    binary=$target/debug/vocero
fi

folder=$(mktemp -d "${TMPDIR:-/tmp}/vocero-schemathesis.XXXXXX")
server=
clean_up() {
    trap - EXIT INT TERM
    if [ -n "$server" ]; then
        kill "$server" 2> /dev/null || true
        wait "$server" 2> /dev/null || true
    fi
    rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

export VOCERO_DATA_DIR=$folder/data VOCERO_LISTEN=127.0.0.1:0 VOCERO_RATE_LIMIT=0
unset DATABASE_URL QDRANT_URL OPENAI_API_KEY OPENAI_BASE_URL
"$binary" init --json > "$folder/init"
field() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$folder/init" "$1"; }
key=$(field apiKey)
# Ids that are there, so that more than 404 is seen; what deletes gets none of them.
cat > "$folder/schemathesis.toml" << END
[parameters]
agentId = "$(field agentId)"
datastoreId = "$(field datastoreId)"

[[operations]]
include-operation-id = "deleteAgent"
parameters = { agentId = "agent_00000000000000000000000000000000" }

[[operations]]
include-operation-id = "deleteDatastore"
parameters = { datastoreId = "ds_00000000000000000000000000000000" }
END
"$binary" serve > "$folder/out" 2> "$folder/log" &
server=$!
url=
for _ in $(seq 300); do
    url=$(sed -n 's/.* listens on \(http:[^ ]*\).*/\1/p' "$folder/out" | head -n 1)
    [ -n "$url" ] && break
    kill -0 "$server" 2> /dev/null || { cat "$folder/log" >&2; exit 1; }
    sleep 0.1
done
[ -n "$url" ] || { echo "the server does not say where it listens" >&2; exit 1; }

check() {
    document=$1
    shift
    # The stateful phase would revoke the key that it works with.
    "$venv/bin/schemathesis" --config-file "$folder/schemathesis.toml" run "$url/openapi/$document.json" \
        --phases examples,coverage,fuzzing --checks not_a_server_error,ignored_auth \
        --max-examples "${SCHEMATHESIS_EXAMPLES:-20}" --seed 1 --request-timeout 30 \
        --continue-on-failure --warnings off "$@"
}

# A provider that is made here is one that nobody answers at, and from then on every answer is a 503 that says so. What
# is wrong in a provider is tested in api/tests.
echo "/api/v2 with a key:"
check v2 --header "Authorization: Bearer $key" --exclude-operation-id createProvider
echo "/api/v2 without a key:"
check v2
# Signing out would end the session that the rest is asked in.
signed_in=$(curl -fsS "$url/v1/auth/register" -H 'Content-Type: application/json' \
    -d '{"name": "Andrea", "email": "andrea@ejemplo.com", "password": "tres tristes tigres"}')
of_signed_in() { python3 -c 'import json, sys; print(eval("json.load(sys.stdin)" + sys.argv[1]))' "$1" <<< "$signed_in"; }
token=$(of_signed_in '["token"]')
sed -i "s/^\[parameters\]/[parameters]\nworkspaceId = \"$(of_signed_in '["workspace"]["id"]')\"/" "$folder/schemathesis.toml"
echo "/v1 with a token:"
check v1 --header "Authorization: Bearer $token" --exclude-operation-id logout --exclude-operation-id logoutEverywhere
echo "/v1 without a token:"
check v1
kill -0 "$server" || { echo "the server died" >&2; tail -n 50 "$folder/log" >&2; exit 1; }
