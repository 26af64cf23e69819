#!/bin/bash
# Generation side by side with llama.cpp on this machine: the same GGUF file, prompt and number of new tokens, greedy,
# in turn (A B A B ...), medians and ratios.
#
#   bench/compare_generation.sh --model FILE.gguf [--pairs 5] [--tokens 128] [--prompt-tokens 32] [--threads N]
#                               [--lathe build/release/lathe] [--python PYTHON]
#
# llama.cpp is the one inside llama-cpp-python, called without what that adds to a token. Both sides read the prompt
# first, unmeasured, and then time only the new tokens, each the most likely one. PYTHON must have llama_cpp and numpy;
# without --python a venv is made once (VENV, default build/peers) with the package built from source.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
model= pairs=5 tokens=128 prompt=32 threads=$(nproc) lathe=build/release/lathe python=
while [ $# -gt 0 ]; do
    case $1 in
    --model) model=$2; shift 2 ;;
    --pairs) pairs=$2; shift 2 ;;
    --tokens) tokens=$2; shift 2 ;;
    --prompt-tokens) prompt=$2; shift 2 ;;
    --threads) threads=$2; shift 2 ;;
    --lathe) lathe=$2; shift 2 ;;
    --python) python=$2; shift 2 ;;
    -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "compare_generation.sh: unknown option $1; see --help" >&2; exit 2 ;;
    esac
done
[ -f "$model" ] || { echo "compare_generation.sh: no model at '$model'; give --model FILE.gguf" >&2; exit 2; }
[ -x "$lathe" ] || { echo "compare_generation.sh: no program at $lathe; build it first" >&2; exit 2; }
if [ -z "$python" ]; then
    venv=${VENV:-build/peers} python=${VENV:-build/peers}/bin/python
    [ -x "$python" ] || python3 -m venv "$venv"
    "$python" -c 'import llama_cpp' 2>/dev/null || "$venv/bin/pip" install --quiet llama-cpp-python numpy
fi
peer=$(mktemp --suffix=.py)
trap 'rm -f "$peer"' EXIT
cat >"$peer" <<'PEER'
import json, sys, time
import llama_cpp as ll
import numpy as np
path, prompt, tokens, threads = sys.argv[1], *map(int, sys.argv[2:])
room = prompt + tokens + 8
llm = ll.Llama(path, n_ctx=room, n_batch=room, n_ubatch=room, n_threads=threads, n_threads_batch=threads, verbose=False)
context, vocab = llm._ctx.ctx, llm.n_vocab()

def step(ids):
    array = (ll.llama_token * len(ids))(*ids)  # the batch holds its address alone
    assert ll.llama_decode(context, ll.llama_batch_get_one(array, len(ids))) == 0
    return int(np.argmax(np.ctypeslib.as_array(ll.llama_get_logits_ith(context, -1), shape=(vocab,))))

last = step([(17 + 131 * i) % vocab for i in range(prompt)])
last = step([last])
seconds = []
for _ in range(tokens):
    start = time.perf_counter()
    last = step([last])
    seconds.append(time.perf_counter() - start)
print(json.dumps({"tokens_per_second": tokens / sum(seconds), "ms_per_token_p50": 1e3 * float(np.median(seconds))}))
PEER
grep -m1 "model name" /proc/cpuinfo | sed 's/.*: //' || true
python3 - "$pairs" "$threads" "$tokens" "$prompt" "$model" "$lathe" "$python" "$peer" <<'PAIRS'
import json, statistics, subprocess, sys
pairs, threads, tokens, prompt = map(int, sys.argv[1:5])
model, lathe, python, peer = sys.argv[5:]


def measure(command):
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        sys.exit("%s: exit %d\n%s" % (" ".join(command), run.returncode, run.stderr))
    return json.loads(run.stdout)


def spread(values):
    return "%8.1f (%.1f to %.1f)" % (statistics.median(values), min(values), max(values))


ours, theirs = [], []
for _ in range(pairs):
    ours.append(measure([lathe, "bench", "--model", model, "--prompt-tokens", str(prompt), "--tokens", str(tokens),
                         "--batch-size", "1", "--threads", str(threads), "--json"])["batches"][0])
    theirs.append(measure([python, peer, model, str(prompt), str(tokens), str(threads)]))
print("%s: %d tokens after %d, %d threads, %d pairs in turn: median (lowest to highest)"
      % (model, tokens, prompt, threads, pairs))
for key in ("tokens_per_second", "ms_per_token_p50"):
    a, b = ([run[key] for run in side] for side in (ours, theirs))
    ratios = [x / y for x, y in zip(a, b)]
    print("%-18s lathe %s  llama.cpp %s  ratio %.2f (%.2f to %.2f)"
          % (key, spread(a), spread(b), statistics.median(ratios), min(ratios), max(ratios)))
PAIRS
