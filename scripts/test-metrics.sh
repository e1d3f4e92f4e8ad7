#!/usr/bin/env bash
# Installs the programs of others that the metrics of evals/ are checked against, and prints the folder that holds them:
#   scripts/test-metrics.sh
# Pinned; installed once, outside the clone: in VOCERO_TEST_CLIENTS, or ~/.cache/vocero/test-clients. Needs python3 and,
# the first time, PyPI.
set -euo pipefail

pytrec_eval=0.5.11
ranx=0.3.21

cache=${VOCERO_TEST_CLIENTS:-${XDG_CACHE_HOME:-$HOME/.cache}/vocero/test-clients}
python=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])') || {
    echo "python3 is needed for checking the metrics; install it with: sudo apt-get install -y python3 python3-venv" >&2
    exit 1
}
folder=$cache/python$python-pytrec$pytrec_eval-ranx$ranx
if [ -d "$folder" ]; then
    echo "$folder"
    exit 0
fi

mkdir -p "$cache"
work=$(mktemp -d "$cache/installing.XXXXXX")
trap 'rm -rf "$work"' EXIT
{
    # The virtual environment is there for its pip only: a folder of packages can be moved, an environment cannot.
    python3 -m venv "$work/venv" || {
        echo "cannot make a virtual environment; install it with: sudo apt-get install -y python3-venv"
        exit 1
    }
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check --target "$work/python" \
        "pytrec-eval-terrier==$pytrec_eval" "ranx==$ranx"
    rm -rf "$work/venv"
} >&2
# Another run may have been quicker: then its folder stays. A rename is all or nothing.
mv -T "$work" "$folder" 2> /dev/null || [ -d "$folder" ]
echo "$folder"
