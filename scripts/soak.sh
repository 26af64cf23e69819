#!/bin/bash
# soak.sh - long campaigns: every parser under libFuzzer, encoders on many numbers, runs that are killed and resumed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    cat <<'TEXT'
usage: scripts/soak.sh [--seconds N] [--only NAME]... [--numbers N] [--kills N] [--build DIR] [--help]

Builds tests/fuzz with clang -fsanitize=fuzzer,address,undefined in DIR and runs each target, one after the other.
Then encoders of lattices, without and with importance, meet many numbers of each type, odd ones among them: AVX2 and
AVX-512 are to make the bytes of plain C. Then tests/kill_resume.py, when it is there, kills and resumes training runs.
Both are of the release build.

  --seconds N   for each target (default 600; 28800 is a night on one core)
  --only NAME   this target alone (config, csv, ...; "lattices" are the encoders, "kill" is tests/kill_resume.py); may be
                given several times
  --numbers N   for the encoders of each type (default 1e8, some five minutes; 0: not at all)
  --kills N     how often tests/kill_resume.py kills a run (default 100; 0: not at all)
  --build DIR   default build/fuzz
  --help        this text

CLANG is the compiler (clang-14). What a campaign finds out is kept in DIR/found/NAME, and the next one goes on
from there. An input that crashes, leaks, takes over 20 s or 1 GiB lies in DIR/crash/NAME-*; after the fix it
belongs into tests/fuzz/corpus/NAME as bad-*, ok-* or any-*, where every build replays it:

  DIR/tests/fuzz_NAME DIR/crash/NAME-crash-...                         once more
  DIR/tests/fuzz_NAME -minimize_crash=1 -max_total_time=60 FILE        smaller

The exit status is 0 when nothing was found, 1 when something was, 2 for a wrong option.
TEXT
}

seconds=600 numbers=1e8 kills=100 only=() dir=build/fuzz
while [ $# -gt 0 ]; do
    case $1 in
    --seconds | --only | --numbers | --kills | --build)
        [ $# -ge 2 ] || { usage >&2; exit 2; }
        case $1 in
        --seconds) seconds=$2 ;;
        --only) only+=("$2") ;;
        --numbers) numbers=$2 ;;
        --kills) kills=$2 ;;
        --build) dir=$2 ;;
        esac
        shift
        ;;
    --help | -h) usage; exit 0 ;;
    *) echo "soak.sh: unknown option $1" >&2; usage >&2; exit 2 ;;
    esac
    shift
done
[[ $seconds =~ ^[1-9][0-9]*$ ]] || { echo "soak.sh: --seconds needs a whole number from 1, not '$seconds'" >&2; exit 2; }
[[ $numbers =~ ^(0|[1-9][0-9]*(e[0-9])?)$ ]] || { echo "soak.sh: --numbers needs a number as 1000 or 1e8, not '$numbers'" >&2; exit 2; }
[[ $kills =~ ^[0-9]+$ ]] || { echo "soak.sh: --kills needs a whole number, not '$kills'" >&2; exit 2; }

wanted() {
    [ ${#only[@]} -eq 0 ] && return 0
    local name
    for name in "${only[@]}"; do [ "$name" = "$1" ] && return 0; done
    return 1
}
for name in "${only[@]}"; do
    case $name in kill | lattices) continue ;; esac
    [ -f "tests/fuzz/fuzz_$name.c" ] || { echo "soak.sh: no target '$name'" >&2; exit 2; }
done

build() { # DIRECTORY TARGET CMAKE-OPTION...
    local dir=$1 target=$2
    shift 2
    mkdir -p "$dir"
    cmake -S . -B "$dir" -Wno-dev "$@" >"$dir/configure.log" 2>&1 || { cat "$dir/configure.log"; return 1; }
    cmake --build "$dir" -j "$(nproc)" --target "$target" >"$dir/build.log" 2>&1 || { tail -n 40 "$dir/build.log"; return 1; }
}

fuzz() { # NAME
    local name=$1 log=$dir/log/$1 status=0
    mkdir -p "$dir/found/$name" "$TMPDIR"
    "$dir/tests/fuzz_$name" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=1024 -malloc_limit_mb=256 \
        -max_len=16384 -print_final_stats=1 -dict=tests/fuzz/words.dict \
        -artifact_prefix="$dir/crash/$name-" \
        "$dir/found/$name" "tests/fuzz/corpus/$name" >"$log" 2>&1 || status=1
    rm -rf "$TMPDIR"
    awk -v name="$name" -v status=$status '
        / cov: / { for (i = 1; i < NF; i++) { if ($i == "cov:") cov = $(i + 1); if ($i == "corp:") corpus = $(i + 1) } }
        /^stat::number_of_executed_units:/ { runs = $2 }
        /^stat::peak_rss_mb:/ { rss = $2 }
        END { printf "%-12s %12d runs  %6d edges  %10s seeds  %5d MB  %s\n", name, runs, cov, corpus, rss,
              status ? "FOUND SOMETHING" : "clean" }' "$log"
    [ $status -eq 0 ] || grep -E -m 8 'ERROR|SUMMARY|runtime error|fuzz/[a-z_]+\.c:[0-9]+: |Test unit written' "$log"
    return $status
}

failed=0
scratch=${TMPDIR:-/tmp}
[ -n "${TMPDIR:-}" ] || [ ! -w /dev/shm ] || scratch=/dev/shm # the targets write many small files
export TMPDIR=$scratch/lathe-soak-$$
mkdir -p "$dir/log" "$dir/crash"
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
TMPDIR=/tmp build "$dir" fuzzers -DCMAKE_C_COMPILER="${CLANG:-clang-14}" -DLT_SANITIZE=ON -DLT_FUZZ=ON \
    -DCMAKE_BUILD_TYPE=RelWithDebInfo "-DCMAKE_C_FLAGS_RELWITHDEBINFO=-O1 -g1" || exit 1
for source in tests/fuzz/fuzz_*.c; do
    name=$(basename "$source" .c)
    name=${name#fuzz_}
    if wanted "$name"; then fuzz "$name" || failed=1; fi
done
unset TMPDIR
if [ "$numbers" != 0 ] && wanted lattices; then
    build build/release lathe_tests -DCMAKE_BUILD_TYPE=Release || exit 1
    for suite in lattice_encoders lattice_k; do # side by side, one thread each
        LATHE_SOAK=$numbers build/release/tests/lathe_tests "$suite" >"$dir/log/$suite" 2>&1 &
    done
    for job in $(jobs -p); do wait "$job" || failed=1; done
    tail -n 12 "$dir/log/lattice_encoders" "$dir/log/lattice_k"
fi
if [ "$kills" -gt 0 ] && wanted kill && [ -f tests/kill_resume.py ]; then
    if build build/release lathe -DCMAKE_BUILD_TYPE=Release; then
        python3 tests/kill_resume.py --lathe build/release/lathe --kills "$kills" || failed=1
    else
        failed=1
    fi
fi
[ $failed -eq 0 ] && echo PASS || echo FAIL
exit $failed
