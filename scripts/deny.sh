#!/usr/bin/env bash
# Licences, bans and sources of every dependency (deny.toml). Installs cargo-deny when it is missing.
# Advisories need the RustSec database from the network: `DENY_ADVISORIES=1` adds them.
set -euo pipefail

if ! cargo deny --version >/dev/null 2>&1; then
  echo "installing cargo-deny (once)" >&2
  # Its own target folder: it shares nothing with this workspace.
  CARGO_TARGET_DIR=$(mktemp -d) cargo install --locked cargo-deny --version "${CARGO_DENY_VERSION:-0.20.2}"
fi
checks=(licenses bans sources)
if [ "${DENY_ADVISORIES:-0}" = 1 ]; then checks+=(advisories); fi
cargo deny --locked check "${checks[@]}"
