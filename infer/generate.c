/* generate.c - prompts to texts: batches of rows that end together, each by its own reason.
 *
 * A row that has ended keeps its place until the last one of its batch does, and is fed its last id again: the time
 * of a step is mostly that of reading the weights, which rows share, and caches would have to be moved to leave one
 * out. All memory a generation needs is there before its first id, but for the text itself. */
#include "base/clock.h"
#include "infer/reply.h"
#include "infer/sampler.h"
#include "infer/session.h"

#include <string.h>

typedef struct reply_row {
    lt_ids all; /* the prompt's, then the new ones */
    lti_reply reply;
    const char *reason; /* NULL while it goes on */
    double first_seconds, seconds;
} reply_row;

typedef struct generating {
    lt_session *session;
    const lt_sampling *how;
    lt_on_text on_text;
    void *user;
    lti_sampler sampler;
    int32_t end[16];
    int n_end;
    int base, n; /* the batch: prompts base .. base + n - 1 */
    const lt_ids *prompts;
    reply_row *rows; /* [n] */
    int32_t *ids;    /* [n]: the last of each row */
    double start;
} generating;

void lt_generation_free(lt_ctx *ctx, lt_generation *g)
{
    lt_ids_free(ctx, &g->ids);
    lti_free(ctx, g->text);
    *g = (lt_generation){0};
}

/* ---- One row ---- */

static lt_status open_row(generating *g, int b)
{
    lt_ctx *ctx = g->session->ctx;
    reply_row *row = &g->rows[b];
    const lt_ids *prompt = &g->prompts[g->base + b];
    int64_t most = g->session->length - prompt->count + 1; /* the last id needs no place in the cache */
    if (g->how->max_tokens < most) most = g->how->max_tokens;
    row->all.capacity = prompt->count + most;
    row->all.ids = lti_alloc_array(ctx, (size_t)row->all.capacity, sizeof *row->all.ids);
    if (!row->all.ids) return LT_ENOMEM;
    memcpy(row->all.ids, prompt->ids, (size_t)prompt->count * sizeof *prompt->ids);
    row->all.count = prompt->count;
    return lti_reply_open(ctx, lt_model_tokenizer(g->session->model), g->how, prompt, most, &row->reply);
}

static bool give_text(generating *g, int b, bool ended)
{
    int64_t bytes;
    const char *text = lti_reply_take(&g->rows[b].reply, ended, &bytes);
    return !g->on_text || g->on_text(g->user, g->base + b, text, bytes);
}

static bool ends_text(const generating *g, int32_t id)
{
    for (int i = 0; i < g->n_end; i++)
        if (g->end[i] == id) return true;
    return false;
}

/* Takes the next id of a row. */
static lt_status take(generating *g, int b, int32_t id)
{
    reply_row *row = &g->rows[b];
    double now = lti_seconds() - g->start;
    bool stopped = false;
    g->ids[b] = id;
    row->seconds = now;
    if (row->all.count == g->prompts[g->base + b].count) row->first_seconds = now;
    if (ends_text(g, id)) {
        row->reason = "end";
    } else {
        row->all.ids[row->all.count++] = id;
        LTI_TRY(lti_reply_add(&row->reply, id, &stopped));
        if (stopped)
            row->reason = "stop";
        else if (row->all.count - g->prompts[g->base + b].count == g->how->max_tokens)
            row->reason = "length";
        else if (lt_session_room(g->session) == 0)
            row->reason = "context";
    }
    bool ended = row->reason != NULL;
    if (ended) LTI_TRY(lti_reply_end(&row->reply));
    if (!give_text(g, b, ended) && !ended) {
        row->reason = "asked";
        return lti_reply_end(&row->reply);
    }
    return LT_OK;
}

static lt_status close_row(generating *g, int b, lt_generation *result)
{
    lt_ctx *ctx = g->session->ctx;
    reply_row *row = &g->rows[b];
    int64_t prompt = g->prompts[g->base + b].count, count = row->reply.count;
    *result = (lt_generation){.bytes = (int64_t)row->reply.text.length,
                              .prompt_tokens = prompt,
                              .reason = row->reason,
                              .first_seconds = row->first_seconds,
                              .seconds = row->seconds};
    result->ids.ids = lti_alloc_array(ctx, (size_t)count, sizeof *result->ids.ids);
    if (!result->ids.ids) return LT_ENOMEM;
    memcpy(result->ids.ids, row->all.ids + prompt, (size_t)count * sizeof *result->ids.ids);
    result->ids.count = result->ids.capacity = count;
    result->text = row->reply.text.data;
    row->reply.text.data = NULL;
    return LT_OK;
}

/* ---- One batch ---- */

static lt_status run_batch(generating *g)
{
    const lt_real *logits;
    int64_t V = lt_model_vocab(g->session->model);
    LTI_TRY(lt_session_prefill(g->session, g->n, g->prompts + g->base, &logits));
    for (int64_t token = 0;; token++) {
        int live = 0;
        for (int b = 0; b < g->n; b++) {
            if (g->rows[b].reason) continue;
            int32_t id = lti_sampler_draw(&g->sampler, logits + b * V, &g->rows[b].all, g->base + b, token);
            LTI_TRY(take(g, b, id));
            live += !g->rows[b].reason;
        }
        if (!live) return LT_OK;
        LTI_TRY(lt_session_step(g->session, g->ids, &logits));
    }
}

static lt_status generate_batch(generating *g, lt_generation *results)
{
    lt_ctx *ctx = g->session->ctx;
    lt_status status = LT_OK;
    g->start = lti_seconds();
    g->rows = lti_alloc_array(ctx, (size_t)g->n, sizeof *g->rows);
    g->ids = lti_alloc_array(ctx, (size_t)g->n, sizeof *g->ids);
    if (!g->rows || !g->ids) status = LT_ENOMEM;
    for (int b = 0; b < g->n && status == LT_OK; b++) status = open_row(g, b);
    if (status == LT_OK) status = run_batch(g);
    for (int b = 0; b < g->n && status == LT_OK; b++) status = close_row(g, b, &results[b]);
    for (int b = 0; g->rows && b < g->n; b++) {
        lt_ids_free(ctx, &g->rows[b].all);
        lti_reply_close(&g->rows[b].reply);
    }
    lti_free(ctx, g->rows);
    lti_free(ctx, g->ids);
    return status;
}

/* ---- All of them ---- */

static lt_status generate_all(generating *g, int n, lt_generation *results)
{
    lt_status status = LT_OK;
    for (; g->base < n && status == LT_OK; g->base += g->n) {
        g->n = n - g->base < g->session->batch ? n - g->base : (int)g->session->batch;
        status = generate_batch(g, results + g->base);
    }
    for (int i = 0; i < n && status != LT_OK; i++) lt_generation_free(g->session->ctx, &results[i]);
    return status;
}

lt_status lt_generate(lt_session *session, int n, const lt_ids *prompts, const lt_sampling *sampling,
                      lt_on_text on_text, void *user, lt_generation *results)
{
    lt_sampling defaults;
    lt_sampling_init(&defaults);
    generating g = {.session = session, .how = sampling ? sampling : &defaults, .prompts = prompts};
    g.on_text = on_text;
    g.user = user;
    for (int i = 0; i < n; i++) results[i] = (lt_generation){0};
    LTI_TRY(lti_sampling_check(session->ctx, g.how));
    if (n < 0) return lti_fail(session->ctx, LT_EINVAL, "generate: %d prompts", n);
    LTI_TRY(lti_session_check(session, n, prompts)); /* all of them, before hours go into the first */
    g.n_end = g.how->n_end;
    memcpy(g.end, g.how->end, sizeof g.end);
    if (g.n_end < 0) g.n_end = lt_model_end_ids(session->model, g.end);
    LTI_TRY(lti_sampler_open(session->ctx, g.how, lt_model_vocab(session->model), &g.sampler));
    lt_status status = generate_all(&g, n, results);
    lti_sampler_close(&g.sampler);
    return status;
}
