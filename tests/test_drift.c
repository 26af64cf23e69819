/* test_drift.c - reports against earlier ones, and sketches of data: values by hand. */
#include "evals/baseline.h"
#include "tests/data_files.h"

#include <math.h>

static double at(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : json_is_boolean(value) ? json_is_true(value) : NAN;
}

static void is_number(const json_t *object, const char *key, double want)
{
    double got = at(object, key);
    TS_CHECK(fabs(got - want) <= 1e-9 || (isnan(got) && isnan(want)), "%s is %.12g, not %.12g", key, got, want);
}

/* ---- Reports ---- */

static json_t *compare(ts_place *p, const char *old_text, const char *new_text)
{
    char *drift = NULL;
    ts_put_text(p, "old.json", old_text);
    if (!TS_OK(p->ctx, lt_baseline_compare(p->ctx, p->path, new_text, &drift))) return NULL;
    json_t *object = json_loads(drift, 0, NULL);
    lt_string_free(p->ctx, drift);
    return object;
}

static void drift(void)
{
    ts_place p = ts_open_place();
    json_t *d =
        compare(&p,
                "{\"perplexity\": 4.0, \"accuracy\": 0.5, \"zero\": 0, \"gone\": 1, \"kind\": \"text\","
                " \"worst\": [{\"nll\": 1}], \"intervals\": {\"perplexity\": [3.5, 4.5], \"accuracy\": [0.4, 0.6]},"
                " \"gates\": {\"x\": 1}, \"slices\": {\"a\": {\"nll\": 1, \"intervals\": {\"nll\": [0.9, 1.1]}},"
                " \"b\": {\"nll\": 2}}}",
                "{\"perplexity\": 5, \"accuracy\": 0.55, \"zero\": 3, \"new\": 1, \"kind\": \"text\","
                " \"worst\": [{\"nll\": 2}], \"intervals\": {\"perplexity\": [4.2, 5.8], \"accuracy\": [0.3, 0.7]},"
                " \"gates\": {\"x\": 2}, \"slices\": {\"a\": {\"nll\": 2, \"intervals\": {\"nll\": [1.9, 2.1]}},"
                " \"c\": {\"nll\": 2}}}");
    json_t *ppl = json_object_get(d, "perplexity"), *a = json_object_get(json_object_get(d, "slices"), "a");
    is_number(ppl, "old", 4);
    is_number(ppl, "new", 5);
    is_number(ppl, "difference", 1);
    is_number(ppl, "ratio", 1.25);
    is_number(ppl, "outside", 1);
    is_number(json_object_get(d, "accuracy"), "outside", 0);
    is_number(json_object_get(d, "zero"), "ratio", NAN);
    is_number(json_object_get(a, "nll"), "ratio", 2);
    TS_CHECK(!json_object_get(d, "gone") && !json_object_get(d, "new") && !json_object_get(d, "worst") &&
                 !json_object_get(d, "gates") && !json_object_get(d, "intervals") && !json_object_get(d, "data") &&
                 !json_object_get(json_object_get(d, "slices"), "b"),
             "only what both have");
    json_t *outside = json_object_get(d, "outside");
    TS_CHECK(json_array_size(outside) == 2 && !strcmp(json_string_value(json_array_get(outside, 1)), "slices.a.nll"),
             "%zu paths are outside", json_array_size(outside));
    json_decref(d);
    char *text;
    const char *path = ts_put_text(&p, "old.json", "{\"a\": 1}");
    TS_REFUSED(p.ctx, lt_baseline_compare(p.ctx, path, "{\"b\": 1}", &text), LT_EINVAL, "no number in common");
    path = ts_put_text(&p, "old.json", "{\"kind\": \"choice\", \"a\": 1}");
    TS_REFUSED(p.ctx, lt_baseline_compare(p.ctx, path, "{\"kind\": \"text\", \"a\": 1}", &text), LT_EINVAL,
               "of kind choice, this evaluation is of kind text");
    path = ts_put_text(&p, "old.json", "{\"a\": 1");
    TS_REFUSED(p.ctx, lt_baseline_compare(p.ctx, path, "{\"a\": 1}", &text), LT_EFORMAT, "old.json: byte");
    path = ts_put_text(&p, "old.json", "[1]");
    TS_REFUSED(p.ctx, lt_baseline_compare(p.ctx, path, "{\"a\": 1}", &text), LT_EFORMAT, "an object");
    TS_REFUSED(p.ctx, lt_baseline_compare(p.ctx, "/none.json", "{\"a\": 1}", &text), LT_EIO, "/none.json");
    ts_close_place(&p);
}

/* Sketches of two letters against formulas by hand. */
static void divergences(void)
{
    static const struct {
        const char *was, *is;
        double kl;
    } cases[] = {
        {"{\"tokens\": 8, \"distinct\": 2, \"top\": \"1:4 2:4\"}",
         "{\"tokens\": 8, \"distinct\": 2, \"top\": \"1:4 2:4\"}", 0},
        /* classes 1, 2 and the rest, half a token each: 9.5 in all */
        {"{\"tokens\": 8, \"distinct\": 2, \"top\": \"1:4 2:4\"}",
         "{\"tokens\": 8, \"distinct\": 2, \"top\": \"2:6 1:2\"}", 2.5 / 9.5 * 0 + 0},
        {"{\"tokens\": 4, \"distinct\": 1, \"top\": \"1:4\"}", "{\"tokens\": 4, \"distinct\": 1, \"top\": \"2:4\"}", 0},
        {"{\"tokens\": 10, \"distinct\": 3, \"top\": \"1:4\"}", "{\"tokens\": 10, \"distinct\": 3, \"top\": \"1:8\"}",
         0},
    };
    double want[] = {0, 6.5 / 9.5 * log(6.5 / 4.5) + 2.5 / 9.5 * log(2.5 / 4.5), 4 / 5.5 * log(9.0),
                     8.5 / 11 * log(8.5 / 4.5) + 2.5 / 11 * log(2.5 / 6.5)};
    lt_ctx *ctx = lt_ctx_create(NULL);
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        json_t *was = json_loads(cases[i].was, 0, NULL), *is = json_loads(cases[i].is, 0, NULL);
        bool known;
        double kl;
        TS_OK(ctx, lti_profile_kl(ctx, was, is, &known, &kl));
        TS_CHECK(known && fabs(kl - want[i]) < 1e-12, "case %d: %.12g, not %.12g", i, kl, want[i]);
        json_decref(was);
        json_decref(is);
    }
    static const char *const none[] = {"{}",
                                       "{\"top\": \"\"}",
                                       "{\"top\": \"1\"}",
                                       "{\"top\": \"1:x\", \"tokens\": 3}",
                                       "{\"top\": \"-1:2\", \"tokens\": 3}",
                                       "{\"top\": \"1:9\", \"tokens\": 3}",
                                       "{\"top\": 7}"};
    for (int i = 0; i < LTI_COUNT(none); i++) {
        json_t *sketch = json_loads(none[i], 0, NULL);
        bool known;
        double kl;
        TS_OK(ctx, lti_profile_kl(ctx, sketch, sketch, &known, &kl));
        TS_CHECK(!known, "%s is no sketch", none[i]);
        json_decref(sketch);
    }
    lt_ctx_free(ctx);
}

static void profiles(void)
{
    static const struct {
        const char *name, *text, *top;
        double documents, tokens, coverage, single;
        int64_t limit;
    } cases[] = {
        {"a.txt", "aab\n<|endoftext|>\nc\n<|endoftext|>\nzz", "97:2 122:2 98:1 99:1", 3, 6, 4, 0, 0},
        {"b.txt", "aab\n<|endoftext|>\nc\n<|endoftext|>\nzz", "97:2 98:1 99:1", 2, 4, 3, 0, 2},
        {"a.jsonl", "{\"query\": \"aa\", \"choices\": [\"b\", \"\\u00e9\"], \"gold\": 1}\n{\"x\": {\"y\": \"b\"}}\n",
         "97:2 98:2 169:1 195:1", 2, 6, 4, 2. / 6, 0},
        {"a.csv", "text,label\nb,1\n", "44:1 49:1 98:1", 1, 3, 3, 0, 0},
    };
    ts_place p = ts_open_place();
    lt_tokenizer *tok;
    TS_OK(p.ctx, lt_tokenizer_bytes(p.ctx, &tok));
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        char *text = NULL;
        const char *path = ts_put_text(&p, cases[i].name, cases[i].text);
        if (!TS_OK(p.ctx, lt_data_profile(p.ctx, path, tok, NULL, cases[i].limit, &text))) continue;
        json_t *o = json_loads(text, 0, NULL);
        const char *top = json_string_value(json_object_get(o, "top"));
        is_number(o, "documents", cases[i].documents);
        is_number(o, "tokens", cases[i].tokens);
        is_number(o, "tokens_per_document", cases[i].tokens / cases[i].documents);
        is_number(o, "bytes_per_token", 1);
        is_number(o, "distinct", cases[i].coverage);
        is_number(o, "unknown_share", 0);
        TS_CHECK(fabs(at(o, "vocabulary_coverage") - cases[i].coverage / 258) < 1e-9, "%s: coverage", cases[i].name);
        TS_CHECK(fabs(at(o, "byte_share") - cases[i].single) < 1e-9, "%s: bytes %g", cases[i].name,
                 at(o, "byte_share"));
        TS_CHECK(top && !strcmp(top, cases[i].top), "%s: '%s', not '%s'", cases[i].name, top, cases[i].top);
        json_decref(o);
        lt_string_free(p.ctx, text);
    }
    char *text;
    TS_REFUSED(p.ctx, lt_data_profile(p.ctx, "/none.txt", tok, NULL, 0, &text), LT_EIO, "/none.txt");
    TS_REFUSED(p.ctx, lt_data_profile(p.ctx, "/none.txt", tok, NULL, -1, &text), LT_EINVAL, "-1 documents");
    lt_tokenizer_free(tok);
    ts_close_place(&p);
}

/* ---- Memory ---- */

static lt_status drift_once(lt_ctx *ctx, void *arg)
{
    char *drift = NULL;
    lt_status status =
        lt_baseline_compare(ctx, arg, "{\"a\": 2, \"data_profile\": {\"tokens\": 3, \"top\": \"1:3\"}}", &drift);
    lt_string_free(ctx, drift);
    return status;
}

static lt_status profile_once(lt_ctx *ctx, void *arg)
{
    lt_tokenizer *tok;
    char *json = NULL;
    lt_status status = lt_tokenizer_bytes(ctx, &tok);
    if (status == LT_OK) status = lt_data_profile(ctx, arg, tok, NULL, 0, &json);
    lt_string_free(ctx, json);
    lt_tokenizer_free(tok);
    return status;
}

static void no_memory(void)
{
    ts_place p = ts_open_place();
    const char *old = ts_put_text(&p, "old.json", "{\"a\": 1, \"data_profile\": {\"tokens\": 3, \"top\": \"1:3\"}}");
    ts_every_allocation_fails("drift", drift_once, (void *)old);
    ts_every_allocation_fails("a profile", profile_once, (void *)ts_put_text(&p, "t.txt", "some text\n"));
    ts_close_place(&p);
}

int lti_suite_drift(void)
{
    return ts_suite(
        "drift", 4,
        (ts_test[]){
            {"reports", drift}, {"divergences", divergences}, {"profiles", profiles}, {"no memory", no_memory}});
}
