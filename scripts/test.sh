#!/bin/bash
# Sets up, builds the release, asan and double variants and runs every test in each. CC chooses the compiler.
# The last lines are the totals over the variants and PASS or FAIL. LT_TOTALS=FILE keeps the lines for .ci/run.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/setup.sh || exit 1
totals=${LT_TOTALS:-$(mktemp)}
: >"$totals"
. scripts/builds.sh

# Each compiler has its own trees: a CMake cache keeps the compiler it was made with.
tag=${CC:+$(basename "$CC")-}
failed=0
variant "${tag}release" release || failed=1
variant "${tag}asan" asan "-DCMAKE_C_FLAGS_RELWITHDEBINFO=-O1 -g1" || failed=1
LEFT_OUT='example_|hdf5_broken' variant "${tag}double" double || failed=1

step done
print_totals || failed=1
[ -n "${LT_TOTALS:-}" ] || rm -f "$totals"
[ $failed -eq 0 ] && echo PASS || echo FAIL
exit $failed
