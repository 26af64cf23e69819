# builds.sh - sourced by test.sh and .ci/run: builds a variant, runs its tests, sums what they say.
#
# A test is a CUnit test, or a whole ctest entry that has no CUnit summary (Python checks, examples). Every variant
# appends its line "name tests failed" to $totals, which the caller made.

jobs=$(nproc)
# Several test programs share the cores: waiting threads must sleep, not spin.
export OMP_WAIT_POLICY=passive
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:detect_stack_use_after_return=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
export CCACHE_DISABLE=1

step() { printf '\n== %s (%d s so far)\n' "$*" "$SECONDS"; }

# variant NAME PRESET [-D...]: in build/NAME. The compiler is $CC; LEFT_OUT: a pattern of tests that are not run.
variant() {
    local name=$1 preset=$2 dir=build/$1
    shift 2
    step "$name: build"
    mkdir -p "$dir"
    if ! cmake --preset "$preset" -B "$dir" -DLT_TESTS=ON -Wno-dev "$@" >"$dir/configure.log" 2>&1; then
        cat "$dir/configure.log"
        echo "$name 1 1" >>"$totals"
        return 1
    fi
    if ! cmake --build "$dir" -j "$jobs" >"$dir/build.log" 2>&1; then
        grep -E -A6 'error:|Error |undefined reference' "$dir/build.log" | head -60
        echo "$name: the build failed, see $dir/build.log"
        echo "$name 1 1" >>"$totals"
        return 1
    fi
    grep -E 'warning:' "$dir/build.log" | sort -u | head -20 || true
    step "$name: test"
    local status=0
    ctest --test-dir "$dir" -j "$jobs" --timeout 300 --output-on-failure --no-tests=error \
        ${LEFT_OUT:+-E "$LEFT_OUT"} | grep -vE '^ +Start ' || status=1
    awk -v name="$name" -f scripts/totals.awk "$dir/Testing/Temporary/LastTest.log" >>"$totals" || status=1
    return $status
}

# Prints the table of $totals; fails when something failed or nothing ran.
print_totals() {
    awk '{ printf "%-18s %6d tests  %6d passed  %4d failed\n", $1, $2, $2 - $3, $3; tests += $2; failed += $3 }
         END { printf "%-18s %6d tests  %6d passed  %4d failed\n", "TOTAL", tests, tests - failed, failed
               exit tests == 0 || failed != 0 }' "$totals"
}
