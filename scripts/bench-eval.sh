#!/usr/bin/env bash
# Measures evaluation: 1,000 cases of the repository's sets, put to the built-in agent in process:
#   scripts/bench-eval.sh
# Prints seconds, seconds of the harness alone (scoring, intervals, reports) and peak resident memory. Goals: 10 s, 1 ms a case,
# 300 MB on 2 cores. VOCERO_BIN: the binary (default: built here, optimised).
set -euo pipefail
cd "$(dirname "$0")/.."

binary=${VOCERO_BIN:-}
if [ -z "$binary" ]; then
    cargo build --locked --release --package server
    binary=${CARGO_TARGET_DIR:-target}/release/vocero
fi
unset DATABASE_URL QDRANT_URL OPENAI_API_KEY OPENAI_BASE_URL VOCERO_EMBEDDING_MODEL VOCERO_RERANK_MODEL
folder=$(mktemp -d "${TMPDIR:-/tmp}/vocero-bench-eval.XXXXXX")
trap 'rm -rf "$folder"' EXIT

python3 - "$binary" "$folder" << 'END'
import json, pathlib, resource, subprocess, sys, time

binary, folder = sys.argv[1], pathlib.Path(sys.argv[2])
corpus, cases = [], []
for name in ["tienda-es", "clinica-es", "pousada-pt", "cowork-en"]:
    subprocess.run([binary, "eval", "import", "--from", "folder", f"evals/data/{name}", folder / name], check=True, stdout=subprocess.DEVNULL)
    read = lambda file: [json.loads(line) for line in (folder / name / file).read_text("utf-8").splitlines()]
    rename = lambda id: f"{name}/{id}"
    corpus += [{**passage, "id": rename(passage["id"])} for passage in read("corpus.jsonl")]
    for case in read("cases.jsonl"):
        relevant = [rename(one) for one in case.get("relevant", [])]
        cases.append({**case, **({"relevant": relevant} if relevant else {})})
whole = [{**cases[n % len(cases)], "id": f"c{n}"} for n in range(1000)]
(folder / "thousand").mkdir()
write = lambda file, rows: (folder / "thousand" / file).write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
write("corpus.jsonl", corpus)
write("cases.jsonl", whole)
began = time.monotonic()
out = subprocess.run([binary, "eval", "run", folder / "thousand", "--builtin", "--out", folder / "out", "--json"], check=True, capture_output=True)
seconds = time.monotonic() - began
told = json.loads(out.stdout)
memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
harness = told["seconds"]["reporting"]
print(f"{told['cases']} cases over {len(corpus)} passages: {seconds:.2f} s in all, {told['seconds']['asking']:.2f} s asking; "
      f"harness {harness:.2f} s, {harness * 1000 / told['cases']:.2f} ms a case; {memory:.0f} MB resident at most")
END
