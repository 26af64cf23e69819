/* test_golden_match.c - a text against its golden: the first difference by hand, patterns that are wrong or too costly. */
#include "evals/golden_outputs.h"
#include "tests/testing.h"

#include <math.h>
#include <string.h>

/* The first difference by hand, at borders of characters. */
static void borders(void)
{
    static const struct {
        const char *expected, *got;
        int64_t byte;
        double share;
    } cases[] = {
        {"", "", -1, 0},
        {"abc", "abc", -1, 0},
        {"abc", "abd", 2, 1.0 / 3},
        {"abc", "ab", 2, 1. / 3},
        {"", "xy", 0, 1},
        {"x\u00e9y", "x\u00e8y", 1, 0.75},
        {"\u20ac", "\u20ad", 0, 1},
        {"a\u00e9", "a", 1, 2. / 3},
        {"a\u00e9", "a\u20ac", 1, 0.75},
    };
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        lti_divergence d = lti_diverge(cases[i].expected, (int64_t)strlen(cases[i].expected), cases[i].got,
                                       (int64_t)strlen(cases[i].got));
        TS_CHECK(d.byte == cases[i].byte && fabs(d.share - cases[i].share) < 1e-12, "case %d: byte %lld, share %g", i,
                 (long long)d.byte, d.share);
    }
    lti_divergence d = lti_diverge("a\0b", 3, "a\0c", 3);
    TS_CHECK(d.byte == 2, "behind a NUL: %lld", (long long)d.byte);
}

/* ---- Patterns ---- */

static void patterns(void)
{
    static const struct {
        const char *pattern, *reason;
    } bad[] = {
        {"(", "missing closing parenthesis at its byte 1"},
        {"[z-a]", "range out of order"},
        {"a{2,1}", "numbers out of order"},
        {"\\C", "\\C"},
        {"(?P<n>a)(?P<n>b)", "two named"},
        {"((((((a{1000}){1000}){1000}){1000}){1000}){1000})", "too large"},
    };
    lt_ctx *ctx = lt_ctx_create(NULL);
    lti_pattern *p;
    char reason[160], text[4097];
    bool found;
    const char *error;
    for (int i = 0; i < LTI_COUNT(bad); i++) {
        TS_OK(ctx, lti_pattern_compile(ctx, bad[i].pattern, strlen(bad[i].pattern), &p, reason, sizeof reason));
        TS_CHECK(!p && strstr(reason, bad[i].reason), "%s: '%s'", bad[i].pattern, reason);
        lti_pattern_free(p);
    }
    memset(text, 'a', 4096);
    text[4095] = 'b';
    static const char *const costly[] = {"^(a+)+$", "^(?:a|aa)+$", "(.*)(.*)(.*)(.*)[xc]", "(a*)*c"};
    for (int i = 0; i < LTI_COUNT(costly); i++) {
        TS_OK(ctx, lti_pattern_compile(ctx, costly[i], strlen(costly[i]), &p, reason, sizeof reason));
        if (!TS_CHECK(p != NULL, "%s: %s", costly[i], reason)) continue;
        TS_OK(ctx, lti_pattern_find(p, text, 4096, &found, &error));
        TS_CHECK(!found, "%s is not found", costly[i]);
        bool trivial = i == 3; /* no c is there, which PCRE2 looks for first */
        TS_CHECK(trivial == !error && (!error || strstr(error, "limits of matching")), "%s: its limit", costly[i]);
        TS_OK(ctx, lti_pattern_find(p, "xaab", 4, &found, &error)); /* and is of use afterwards */
        TS_CHECK(!error, "%s: %s", costly[i], error);
        lti_pattern_free(p);
    }
    TS_OK(ctx, lti_pattern_compile(ctx, "^(?R)?a", 7, &p, reason, sizeof reason));
    TS_OK(ctx, lti_pattern_find(p, "a", 1, &found, &error));
    TS_CHECK(!found && error && strstr(error, "calls itself"), "a loop: %s", error);
    lti_pattern_free(p);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

static lt_status judge_once(lt_ctx *ctx, void *arg)
{
    lti_golden golden = {.row = arg, .output = "abd", .bytes = 3};
    lt_generation got = {.text = (char *)"aaab", .bytes = 4, .ids = {.count = 1}};
    lti_verdict v;
    char reason[160];
    lt_status status = lti_pattern_compile(ctx, "(a+)+b$", 7, &golden.regex, reason, sizeof reason);
    if (status != LT_OK) return status;
    json_t *row = json_object();
    status = lti_golden_judge(ctx, &golden, &got, (int64_t[]){0}, row, &v);
    json_decref(row);
    lti_pattern_free(golden.regex);
    return status;
}

static void no_memory(void)
{
    json_t *row = json_pack("{s:s}", "must_contain", "q");
    ts_every_allocation_fails("judging", judge_once, row);
    json_decref(row);
}

int lti_suite_golden_match(void)
{
    return ts_suite("golden_match", 3,
                    (ts_test[]){{"borders", borders}, {"patterns", patterns}, {"no memory", no_memory}});
}
