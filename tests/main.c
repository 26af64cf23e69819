/* main.c - runs the suites: all of them, or the one named by the argument.
 *
 * Run from the project's root (some suites read ops.def and test data). LT_TEST_SEED changes the random numbers. */
#include "base/par.h"
#include "tests/testing.h"

#include <CUnit/Basic.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int (*add)(void);
} suites[] = {
#define LTI_SUITE(name) {#name, lti_suite_##name},
#include "suites.h"
#undef LTI_SUITE
};

int main(int argc, char **argv)
{
    if (CU_initialize_registry() != CUE_SUCCESS) return 2;
    lti_par_beyond(true); /* three threads on one core show as much as on three */
    unsigned added = 0, broken = 0;
    for (size_t i = 0; i < sizeof suites / sizeof suites[0]; i++) {
        if (argc > 1 && strcmp(argv[1], suites[i].name) != 0) continue;
        added++;
        if (suites[i].add() != 0) {
            printf("suite %s failed to register: %s\n", suites[i].name, CU_get_error_msg());
            broken++;
        }
    }
    if (added == 0) printf("no suite called %s\n", argc > 1 ? argv[1] : "anything");
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned tests = CU_get_number_of_tests_run(), failed = CU_get_number_of_tests_failed();
    unsigned asserts = CU_get_number_of_asserts(), wrong = CU_get_number_of_failures();
    printf("\nseed %llu (LT_TEST_SEED), lt_real %s\n", (unsigned long long)ts_seed(),
           sizeof(lt_real) == 8 ? "double" : "float");
    printf("%u suites, %u tests, %u failed, %u checks, %u failures\n", added, tests, failed, asserts, wrong);
    CU_cleanup_registry();
    return added == 0 || tests == 0 || broken || failed || wrong;
}
