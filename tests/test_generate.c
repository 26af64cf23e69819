/* test_generate.c - continuations against those of Transformers (tests/golden/generate.json, written by
 * scripts/goldens_generate.py), how generations end, and the text of a reply as it comes: against a slow reading of the
 * whole. */
#include "data/utf8.h"
#include "infer/reply.h"
#include "tests/golden.h"
#include "tests/toys.h"

#include <jansson.h>

/* ---- Transformers' continuations ---- */

enum { PROMPTS = 4, MOST = 128 };

/* One model's prompts and what follows them. */
typedef struct goldens {
    int n;
    int32_t prompt[PROMPTS][MOST], ids[PROMPTS][MOST];
    lt_ids prompts[PROMPTS];
    int64_t counts[PROMPTS];
} goldens;

static int64_t read_ids(const json_t *list, int32_t *ids)
{
    int64_t n = (int64_t)json_array_size(list);
    for (int64_t i = 0; i < n && i < MOST; i++) ids[i] = (int32_t)json_integer_value(json_array_get(list, (size_t)i));
    return n;
}

static void read_goldens(const json_t *entries, goldens *g)
{
    *g = (goldens){.n = (int)json_array_size(entries)};
    for (int i = 0; i < g->n && i < PROMPTS; i++) {
        const json_t *entry = json_array_get(entries, (size_t)i);
        g->prompts[i] = (lt_ids){g->prompt[i], read_ids(json_object_get(entry, "prompt"), g->prompt[i]), MOST};
        g->counts[i] = read_ids(json_object_get(entry, "ids"), g->ids[i]);
    }
}

static lt_status make_session(lt_model *model, int64_t batch, int64_t length, lt_session **s)
{
    lt_session_options o;
    lt_session_options_init(&o);
    o.batch = batch, o.length = length;
    return lt_session_create(model, &o, s);
}

static bool same_ids(const lt_generation *r, const int32_t *ids, int64_t count)
{
    return r->ids.count == count && ts_same_bytes((size_t)count * sizeof *ids, r->ids.ids, ids);
}

static void free_results(lt_ctx *ctx, int n, lt_generation *results)
{
    for (int i = 0; i < n; i++) lt_generation_free(ctx, &results[i]);
}

static void judge_batch(lt_model *model, const char *name, const goldens *g, int64_t batch)
{
    lt_ctx *ctx = lt_params_ctx(lt_model_params(model));
    lt_session *s = NULL;
    lt_generation results[PROMPTS];
    lt_sampling how;
    lt_sampling_init(&how);
    how.max_tokens = g->counts[0], how.n_end = 0;
    if (!TS_OK(ctx, make_session(model, batch, 64, &s))) return;
    if (TS_OK(ctx, lt_generate(s, g->n, g->prompts, &how, NULL, NULL, results)))
        for (int i = 0; i < g->n; i++)
            TS_CHECK(same_ids(&results[i], g->ids[i], g->counts[i]) && !strcmp(results[i].reason, "length") &&
                         results[i].prompt_tokens == g->prompts[i].count &&
                         results[i].first_seconds <= results[i].seconds,
                     "%s: prompt %d in batches of %lld", name, i, (long long)batch);
    free_results(ctx, g->n, results);
    how.n_end = -1; /* the model's: </s> is 2 */
    if (TS_OK(ctx, lt_generate(s, g->n, g->prompts, &how, NULL, NULL, results)))
        for (int i = 0; i < g->n; i++) {
            int64_t count = 0;
            while (count < g->counts[i] && g->ids[i][count] != 2) count++;
            const char *reason = count < g->counts[i] ? "end" : "length";
            TS_CHECK(same_ids(&results[i], g->ids[i], count) && !strcmp(results[i].reason, reason),
                     "%s: prompt %d until its end: %lld ids, %s", name, i, (long long)results[i].ids.count,
                     results[i].reason);
        }
    free_results(ctx, g->n, results);
    lt_session_free(s);
}

static void families(void)
{
    json_t *all = gd_load("generate.json"), *entries;
    const char *name;
    json_object_foreach(all, name, entries)
    {
        char path[600];
        goldens g;
        lt_model *model = NULL;
        lt_ctx *ctx = lt_ctx_create(NULL);
        snprintf(path, sizeof path, "%s/families/%s", gd_directory(), name);
        if (!strcmp(name, "stories260K")) goto next;
        read_goldens(entries, &g);
        if (TS_OK(ctx, lt_model_open_frozen(ctx, path, &model)))
            for (int64_t batch = 1; batch <= 4; batch += 1 + (batch == 2)) judge_batch(model, name, &g, batch);
    next:
        lt_model_free(model);
        TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
        lt_ctx_free(ctx);
    }
    json_decref(all);
}

/* ---- A published model: text, streaming ---- */

typedef struct heard {
    lti_text text[PROMPTS];
    int calls, most; /* calls until it says no; 0: never */
    bool whole;      /* whole characters, always */
} heard;

static bool hear(void *user, int row, const char *text, int64_t bytes)
{
    heard *h = user;
    lti_text_add(&h->text[row], text, (size_t)bytes);
    h->whole = h->whole && lti_utf8_check((const unsigned char *)text, (uint64_t)bytes) == (uint64_t)bytes;
    return ++h->calls != h->most;
}

static void stories(void)
{
    enum { NEW = 64 };
    lt_ctx *ctx = lt_ctx_create(NULL);
    json_t *all = gd_load("generate.json"), *entries = json_object_get(all, "stories260K");
    lt_model *model = NULL;
    lt_session *s = NULL;
    lt_generation results[PROMPTS];
    heard h = {.whole = true};
    goldens g;
    read_goldens(entries, &g);
    for (int i = 0; i < g.n; i++) h.text[i].ctx = ctx;
    lt_sampling how;
    lt_sampling_init(&how);
    how.max_tokens = NEW;
    if (TS_OK(ctx, lt_model_open_frozen(ctx, ts_data("models/stories260K/hf"), &model)) &&
        TS_OK(ctx, make_session(model, 2, 128, &s)) &&
        TS_OK(ctx, lt_generate(s, g.n, g.prompts, &how, hear, &h, results))) {
        for (int i = 0; i < g.n; i++) {
            const char *want = gd_text(json_array_get(entries, (size_t)i), "continuation");
            TS_CHECK(same_ids(&results[i], g.ids[i], NEW), "story %d has Transformers' ids", i);
            TS_CHECK(!strcmp(results[i].text, want) && results[i].bytes == (int64_t)strlen(want), "story %d: '%s'", i,
                     results[i].text);
            TS_CHECK(!strcmp(h.text[i].data, want), "story %d as it came: '%s'", i, h.text[i].data);
        }
        free_results(ctx, g.n, results);
    }
    for (int i = 0; i < g.n; i++) lti_text_free(&h.text[i]);
    TS_CHECK(h.whole && h.calls == g.n * NEW, "%d calls", h.calls);
    lt_session_free(s);
    lt_model_free(model);
    json_decref(all);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

/* ---- A model of bytes that says anything ---- */

typedef struct rambler {
    lt_ctx *ctx;
    lt_model *model;
    lt_sampling how;
    int32_t ids[PROMPTS][8];
    lt_ids prompts[PROMPTS];
} rambler;

static void open_rambler(rambler *r)
{
    *r = (rambler){.ctx = lt_ctx_create(NULL)};
    r->model = toy_model(r->ctx, TOY_INIT, 11);
    for (int i = 0; i < PROMPTS; i++) {
        for (int k = 0; k < 8; k++) r->ids[i][k] = 97 + i + k;
        r->prompts[i] = (lt_ids){r->ids[i], 2 + 2 * i, 8};
    }
    lt_sampling_init(&r->how);
    r->how.temperature = 1, r->how.max_tokens = 40, r->how.n_end = 0;
}

static void close_rambler(rambler *r)
{
    lt_model_free(r->model);
    TS_CHECK(lt_ctx_live_bytes(r->ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(r->ctx));
    lt_ctx_free(r->ctx);
}

static bool ramble(rambler *r, int n, int64_t batch, int64_t length, lt_on_text on_text, void *user,
                   lt_generation *results)
{
    lt_session *s = NULL;
    bool ok = TS_OK(r->ctx, make_session(r->model, batch, length, &s)) &&
              TS_OK(r->ctx, lt_generate(s, n, r->prompts, &r->how, on_text, user, results));
    lt_session_free(s);
    return ok;
}

/* A row's draws are its own: in any batch, from any call. */
static void rows_are_their_own(void)
{
    rambler r;
    lt_generation first[PROMPTS], again[PROMPTS];
    open_rambler(&r);
    if (ramble(&r, PROMPTS, 4, 64, NULL, NULL, first)) {
        for (int64_t batch = 1; batch <= 4; batch++) {
            if (!ramble(&r, PROMPTS, batch, 64, NULL, NULL, again)) break;
            for (int i = 0; i < PROMPTS; i++)
                TS_CHECK(same_ids(&again[i], first[i].ids.ids, 40) && !strcmp(first[i].text, again[i].text),
                         "row %d in batches of %lld", i, (long long)batch);
            free_results(r.ctx, PROMPTS, again);
        }
        r.how.seed = 1;
        if (ramble(&r, PROMPTS, 4, 64, NULL, NULL, again)) {
            for (int i = 0; i < PROMPTS; i++)
                TS_CHECK(!same_ids(&again[i], first[i].ids.ids, 40), "row %d of another seed", i);
            free_results(r.ctx, PROMPTS, again);
        }
        free_results(r.ctx, PROMPTS, first);
    }
    close_rambler(&r);
}

static void ends(void)
{
    rambler r;
    lt_generation whole, part;
    open_rambler(&r);
    if (!ramble(&r, 1, 1, 64, NULL, NULL, &whole)) return;
    TS_CHECK(whole.ids.count == 40 && whole.prompt_tokens == 2, "%lld ids", (long long)whole.ids.count);
    if (ramble(&r, 1, 1, 10, NULL, NULL, &part)) /* 2 of 10 are the prompt's; the last id needs no place */
        TS_CHECK(same_ids(&part, whole.ids.ids, 9) && !strcmp(part.reason, "context"), "%lld ids, %s",
                 (long long)part.ids.count, part.reason);
    lt_generation_free(r.ctx, &part);
    heard h = {.most = 5, .text = {{.ctx = r.ctx}}};
    if (ramble(&r, 1, 1, 64, hear, &h, &part))
        TS_CHECK(same_ids(&part, whole.ids.ids, 5) && !strcmp(part.reason, "asked"), "%lld ids, %s",
                 (long long)part.ids.count, part.reason);
    lt_generation_free(r.ctx, &part);
    r.how.n_end = 2, r.how.end[0] = 300, r.how.end[1] = whole.ids.ids[7];
    if (ramble(&r, 1, 1, 64, NULL, NULL, &part))
        TS_CHECK(part.ids.count <= 7 && !strcmp(part.reason, "end"), "%lld ids, %s", (long long)part.ids.count,
                 part.reason);
    lt_generation_free(r.ctx, &part);
    r.how.n_end = 0, r.how.n_stop = 1;
    for (int64_t k = 0; k + 3 <= whole.bytes; k++) { /* every three bytes that begin and end a character */
        char stop[4] = {0};
        memcpy(stop, whole.text + k, 3);
        if (lti_utf8_check((const unsigned char *)stop, strlen(stop)) != 3) continue;
        r.how.stop = (const char *const[]){stop};
        if (!ramble(&r, 1, 1, 64, NULL, NULL, &part)) break;
        int64_t at = strstr(whole.text, stop) - whole.text;
        TS_CHECK(part.bytes == at && !strncmp(part.text, whole.text, (size_t)at) && !strcmp(part.reason, "stop") &&
                     same_ids(&part, whole.ids.ids, part.ids.count),
                 "stop text at %lld: %lld bytes, %s", (long long)at, (long long)part.bytes, part.reason);
        lt_generation_free(r.ctx, &part);
    }
    lti_text_free(&h.text[0]);
    lt_generation_free(r.ctx, &whole);
    close_rambler(&r);
}

static void refused(void)
{
    rambler r;
    lt_session *s = NULL;
    lt_generation results[PROMPTS];
    memset(results, 0x55, sizeof results);
    open_rambler(&r);
    TS_OK(r.ctx, make_session(r.model, 1, 12, &s));
    r.prompts[3].count = 0;
    TS_REFUSED(r.ctx, lt_generate(s, PROMPTS, r.prompts, &r.how, NULL, NULL, results), LT_EINVAL, "prompt 3 is empty");
    for (int i = 0; i < PROMPTS; i++)
        TS_CHECK(!results[i].text && !results[i].ids.ids && !results[i].reason, "nothing is left in result %d", i);
    TS_REFUSED(r.ctx, lt_generate(s, -1, r.prompts, &r.how, NULL, NULL, results), LT_EINVAL, "-1 prompts");
    TS_OK(r.ctx, lt_generate(s, 0, r.prompts, &r.how, NULL, NULL, results));
    r.how.top_p = 7;
    TS_REFUSED(r.ctx, lt_generate(s, 1, r.prompts, &r.how, NULL, NULL, results), LT_EINVAL, "top_p is 7");
    lt_session_free(s);
    close_rambler(&r);
}

static lt_status generate_something(lt_ctx *ctx, void *arg)
{
    (void)arg;
    lt_model *model = NULL;
    lt_session *s = NULL;
    lt_generation results[3] = {{.bytes = 0}};
    int32_t ids[] = {97, 98, 99};
    lt_ids prompts[3] = {{ids, 3, 3}, {ids, 1, 3}, {ids, 2, 3}};
    lt_sampling how;
    lt_sampling_init(&how);
    how.max_tokens = 4, how.temperature = 1, how.repetition_penalty = 1.1, how.n_stop = 1;
    how.stop = (const char *const[]){"never to be said"};
    lt_status status = lt_model_create(ctx, "llama:layers=1,dim=16,hidden=16,heads=2,context=16", NULL, 1, &model);
    if (status == LT_OK) status = make_session(model, 2, 16, &s);
    if (status == LT_OK) status = lt_generate(s, 3, prompts, &how, NULL, NULL, results);
    TS_CHECK(status == LT_OK || (!results[0].text && !results[2].ids.ids), "nothing is left after a failure");
    free_results(ctx, 3, results);
    lt_session_free(s);
    lt_model_free(model);
    return status;
}

static void memory_runs_out(void)
{
    ts_every_allocation_fails("a generation", generate_something, NULL);
}

int lti_suite_generate(void)
{
    const ts_test tests[] = {{"Transformers' continuations", families},
                             {"rows are their own", rows_are_their_own},
                             {"ends", ends},
                             {"what is refused", refused},
                             {"memory runs out", memory_runs_out}};
    return ts_suite("generate", LTI_COUNT(tests), tests) || toy_one_thread("generate") ||
           ts_add_with_data(CU_get_suite("generate"), "a published model", "models/stories260K/hf/config.json",
                            stories);
}
