#!/bin/bash
# Side by side with PyTorch on this machine: the same training step, in turn (A B A B ...), medians and ratios.
#
#   bench/compare.sh [--pairs 5] [--markdown] [--lathe build/release/lathe] [--peer ../shared/peers/torch_step.py] [CASE ...]
#
# CASE: tiny-full, smollm2-full, smollm2-bf16 (default: these three), tiny-qat, smollm2-qat. The peer is a script that
# prints one JSON line with tokens_per_second and peak_rss_bytes for `MODE --shape S --batch B --seq T --steps N
# --threads K`. It runs in a venv made once (VENV, default build/peers) with the CPU build of torch, and transformers;
# its compiled modes need g++.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
pairs=5 lathe=build/release/lathe peer=../shared/peers/torch_step.py venv=${VENV:-build/peers}
cases=() more=()
while [ $# -gt 0 ]; do
    case $1 in
    --pairs) pairs=$2; shift 2 ;;
    --markdown) more+=(--markdown); shift ;;
    --lathe) lathe=$2; shift 2 ;;
    --peer) peer=$2; shift 2 ;;
    -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "compare.sh: unknown option $1; see --help" >&2; exit 2 ;;
    *) cases+=("$1"); shift ;;
    esac
done
[ ${#cases[@]} -gt 0 ] || cases=(tiny-full smollm2-full smollm2-bf16)
[ -x "$lathe" ] || { echo "compare.sh: no program at $lathe; build it first (cmake --preset release)" >&2; exit 2; }
[ -f "$peer" ] || { echo "compare.sh: no peer at $peer; give --peer SCRIPT" >&2; exit 2; }
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet torch==2.13.0 transformers
fi
threads=$(nproc)
exec python3 bench/pairs.py --pairs "$pairs" --threads "$threads" --lathe "$lathe" --peer "$venv/bin/python $peer" \
    ${more[@]+"${more[@]}"} "${cases[@]}"
