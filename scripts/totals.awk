# Reads ctest's LastTest.log and prints "name tests failed". A block is one ctest entry; those with a CUnit summary
# count its tests, the others count as one test. A crash before the summary is one failed test.
/^[0-9]+\/[0-9]+ Testing: / { counted = 0; bad = 0 }
/^[0-9]+ suites, [0-9]+ tests, [0-9]+ failed,/ { counted = 1; tests += $3; failed += $5; bad = $5 }
/^Test Passed\.$/ { if (!counted) tests++; counted = 1; blocks++ }
/^Test Failed\.$|^Test timed out/ {
    if (!counted) tests++
    if (bad == 0) failed++
    counted = 1
    blocks++
}
END { print name, tests + 0, failed + 0; exit blocks == 0 }
