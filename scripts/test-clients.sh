#!/usr/bin/env bash
# Installs the client libraries that tests run against a server, and prints the folder that holds them:
#   scripts/test-clients.sh
# Pinned; installed once, outside the clone: in VOCERO_TEST_CLIENTS, or ~/.cache/vocero/test-clients. Needs python3,
# npm and, the first time, PyPI and npm's registry.
set -euo pipefail

openai_python=3.52.0
# The newest that runs on Node 20.
openai_javascript=6.49.0
mcp_javascript=1.32.2
# As well: the newest that runs on Node 20.
eventsource=4.1.1

cache=${VOCERO_TEST_CLIENTS:-${XDG_CACHE_HOME:-$HOME/.cache}/vocero/test-clients}
python=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])') || {
    echo "python3 is needed for the tests with OpenAI's client; install it with: sudo apt-get install -y python3 python3-venv" >&2
    exit 1
}
folder=$cache/python$python-openai$openai_python-openaijs$openai_javascript-mcpjs$mcp_javascript-eventsource$eventsource
if [ -d "$folder" ]; then
    echo "$folder"
    exit 0
fi
command -v npm > /dev/null || {
    echo "npm is needed for the tests with JavaScript clients; install it with: sudo apt-get install -y npm" >&2
    exit 1
}

mkdir -p "$cache"
work=$(mktemp -d "$cache/installing.XXXXXX")
trap 'rm -rf "$work"' EXIT
{
    # The virtual environment is there for its pip only: a folder of packages can be moved, an environment cannot.
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check --target "$work/python" "openai==$openai_python"
    rm -rf "$work/venv"
    echo '{"name": "vocero-test-clients", "private": true}' > "$work/package.json"
    npm install --prefix "$work" --silent --no-audit --no-fund --ignore-scripts \
        "openai@$openai_javascript" "@modelcontextprotocol/sdk@$mcp_javascript" \
        "eventsource@$eventsource"
} >&2
# Another run may have been quicker: then its folder stays. A rename is all or nothing.
mv -T "$work" "$folder" 2> /dev/null || [ -d "$folder" ]
echo "$folder"
