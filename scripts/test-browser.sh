#!/usr/bin/env bash
# Makes a browser ready for tests and prints two lines: the folder with playwright-core, and the browser's path:
#   scripts/test-browser.sh
# playwright-core is pinned and installed once, outside the clone: in VOCERO_TEST_CLIENTS, or ~/.cache/vocero/test-clients.
# The browser is Chromium: VOCERO_TEST_BROWSER, or what is installed; where there is none and apt can be used, it is installed.
set -euo pipefail

# The newest that runs on Node 20.
playwright=1.58.2

browser=${VOCERO_TEST_BROWSER:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}
if [ -z "$browser" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
        {
            apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends chromium
        } >&2
        browser=$(command -v chromium || true)
    fi
    if [ -z "$browser" ]; then
        echo "Chromium is needed for the tests in a browser; install it with: sudo apt-get install -y chromium" >&2
        exit 1
    fi
fi
command -v npm > /dev/null || {
    echo "npm is needed for the tests in a browser; install it with: sudo apt-get install -y npm" >&2
    exit 1
}

cache=${VOCERO_TEST_CLIENTS:-${XDG_CACHE_HOME:-$HOME/.cache}/vocero/test-clients}
folder=$cache/playwright$playwright
if [ ! -d "$folder" ]; then
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/installing.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    echo '{"name": "vocero-test-browser", "private": true}' > "$work/package.json"
    npm install --prefix "$work" --silent --no-audit --no-fund --ignore-scripts "playwright-core@$playwright" >&2
    # Another run may have been quicker: then its folder stays. A rename is all or nothing.
    mv -T "$work" "$folder" 2> /dev/null || [ -d "$folder" ]
fi
echo "$folder"
echo "$browser"
