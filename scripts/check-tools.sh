#!/usr/bin/env bash
# Says which of the named tools are missing, each with the command that installs it.
set -euo pipefail

install_with_apt() { # package…
  if [ "$(id -u)" = 0 ]; then echo "apt-get install -y $*"; else echo "sudo apt-get install -y $*"; fi
}

remedy() { # tool
  case "$1" in
    cargo) echo "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- --default-toolchain 1.95.0" ;;
    cc) install_with_apt build-essential ;;
    curl) install_with_apt curl ;;
    node) install_with_apt nodejs ;;
    python3) install_with_apt python3 python3-venv ;;
    *) echo "install $1 with your system's package manager" ;;
  esac
}

missing=0
for tool in "$@"; do
  if ! command -v "$tool" >/dev/null 2>&1; then
    echo "missing: $tool. Install it with:  $(remedy "$tool")" >&2
    missing=1
  fi
done
if [ "$missing" = 1 ]; then exit 1; fi

# rust-toolchain.toml names the compiler; rustup fetches it by itself, other installations must be new enough.
required=1.95
found=$(rustc --version | awk '{print $2}')
if [ "$(printf '%s\n%s\n' "$required" "$found" | sort -V | head -n 1)" != "$required" ]; then
  echo "rustc $found is too old; $required or newer is needed. Install it with:  rustup toolchain install 1.95.0" >&2
  exit 1
fi
