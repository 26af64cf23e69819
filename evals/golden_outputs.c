/* golden_outputs.c - prompts continued greedily, compared with goldens, or written as such.
 *
 * Each prompt is continued alone, in a batch of one: rows of a batch differ from the same rows alone by rounding, and a
 * golden must not change because another prompt was added. Goldens are written under a temporary name that is opened
 * before the first text: a directory that cannot be written to costs no hour, and a file under its name is whole.
 *
 * Which token a difference belongs to is found by giving the ids to a reply once more, as the session did: what an id
 * adds to a text depends on the one before. */
#include "evals/golden_outputs.h"

#include "base/clock.h"
#include "base/text.h"
#include "data/files.h"
#include "infer/reply.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_TOKENS = 128, LONGEST = 4096, BUCKET = 256, SHOWN_PROMPT = 200 };

typedef struct share {
    int64_t of, yes;
} share;

typedef struct golden_run {
    lt_ctx *ctx;
    lt_model *model;
    const lt_golden_options *o;
    lti_golden_set set;
    lt_session *session;
    int64_t max_tokens;
    char model_hash[33];
    lti_text quant;   /* what quantizes it, in words */
    lti_writer *file; /* of `write`; NULL */
    json_t *rows;
    share exact, contains, regex, passed;
    int64_t tokens, diverged, divergence_sum;
} golden_run;

void lt_golden_options_init(lt_golden_options *options)
{
    *options = (lt_golden_options){.size = sizeof *options};
}

static lt_status no_memory(const golden_run *r)
{
    return lti_fail(r->ctx, LT_ENOMEM, "out of memory for the report on golden outputs");
}

/* Of names, types, shapes and bytes of all tensors, as they are in memory: a file read another way hashes otherwise. */
static lt_status hash_model(golden_run *r)
{
    const lt_params *params = lt_model_params(r->model);
    lti_text list = {.ctx = r->ctx};
    for (int i = 0; i < lt_params_count(params); i++) {
        const lt_param *p = lt_params_at(params, i);
        char hex[33];
        if (lt_param_role(p) != LT_WEIGHT) continue;
        lti_hash_bytes(lt_param_read(p), lt_param_bytes(p), hex);
        lti_text_format(&list, "%s %s %s", lt_param_name(p), lt_dtype_name(lt_param_type(p)), hex);
        for (int d = 0; d < lt_param_rank(p); d++) lti_text_format(&list, " %" PRId64, lt_param_shape(p)[d]);
        lti_text_add(&list, "\n", 1);
    }
    lti_hash_bytes(list.data ? list.data : "", list.length, r->model_hash);
    bool failed = list.failed;
    lti_text_free(&list);
    return failed ? LT_ENOMEM : LT_OK;
}

/* Words that differ where numbers would: "q4_k_m, activations runtime". Older files have the first of them alone. */
static lt_status name_quant(golden_run *r)
{
    const lt_quant_policy *p = r->o->quant;
    char word[LT_SCHEME_TEXT];
    lti_text *text = &r->quant;
    lti_text_format(text, "%s", p ? lt_quant_policy_name(p, word) : "none");
    if (p && !p->mix && !lt_scheme_is_float(&p->embedding))
        lti_text_format(text, ", embedding %s", lt_scheme_name(&p->embedding, word));
    if (p && p->activations) lti_text_format(text, ", activations %s", lt_activations_name(p->activations));
    if (p && p->scale) lti_text_format(text, ", scales %s", lt_scale_rule_name(p->scale));
    if (p && p->targets) lti_text_format(text, ", of %s", p->targets);
    for (int i = 0; p && i < p->n_rules; i++)
        lti_text_format(text, ", %s=%s", p->rules[i].pattern, lt_scheme_name(&p->rules[i].scheme, word));
    return text->failed ? LT_ENOMEM : LT_OK;
}

/* ---- Settings ---- */

/* The option, or what the goldens were written with. */
static lt_status choose_tokens(golden_run *r)
{
    const json_t *sampling = r->set.header ? json_object_get(r->set.header, "sampling") : NULL;
    const json_t *most = json_object_get(sampling, "max_tokens");
    r->max_tokens = r->o->max_tokens ? r->o->max_tokens : DEFAULT_TOKENS;
    if (!json_is_integer(most)) return LT_OK;
    int64_t golden = json_integer_value(most);
    if (r->o->max_tokens && golden != r->o->max_tokens)
        return lti_fail(r->ctx, LT_EINVAL,
                        "%s was written with %" PRId64 " new tokens at most, %" PRId64
                        " are asked for: every longer text would differ; leave max_tokens out",
                        r->o->golden, golden, r->o->max_tokens);
    if (golden < 1 || golden > 1 << 24)
        return lti_fail(r->ctx, LT_EFORMAT, "%s:1: sampling.max_tokens is %" PRId64, r->o->golden, golden);
    r->max_tokens = golden;
    return LT_OK;
}

static int64_t tokens_of(const golden_run *r, const lti_prompt *p)
{
    return p->max_tokens ? p->max_tokens : r->max_tokens;
}

/* The cache holds the longest text there can be, and no more. */
static lt_status open_session(golden_run *r, int64_t context)
{
    lt_session_options how;
    lt_session_options_init(&how);
    how.quant = r->o->quant;
    for (int64_t i = 0; i < r->set.prompt_count; i++) {
        const lti_prompt *p = &r->set.prompts[i];
        int64_t length = p->ids.count + tokens_of(r, p);
        if (length > how.length) how.length = length;
    }
    how.length = (how.length + BUCKET - 1) / BUCKET * BUCKET;
    if (how.length > context) how.length = context;
    return lt_session_create(r->model, &how, &r->session);
}

/* ---- One prompt ---- */

static bool go_on(void *user, int row, const char *text, int64_t bytes)
{
    const golden_run *r = user;
    return !(r->o->stop && *r->o->stop);
}

static lt_status generate(golden_run *r, const lti_prompt *p, lt_sampling *how, lt_generation *got)
{
    lt_sampling_init(how);
    how->max_tokens = tokens_of(r, p);
    how->n_stop = p->n_stop;
    how->stop = p->stop;
    how->n_end = lt_model_end_ids(r->model, how->end);
    int32_t turn = r->o->chat && json_object_get(p->row, "messages") ? lt_chat_end(r->o->chat) : -1;
    if (turn >= 0) how->end[how->n_end++] = turn;
    LTI_TRY(lt_generate(r->session, 1, &p->ids, how, go_on, r, got));
    if (strcmp(got->reason, "asked") != 0) return LT_OK;
    lt_generation_free(r->ctx, got);
    return lti_fail(r->ctx, LT_EINTERRUPTED, "golden outputs: asked to stop");
}

/* Where in the text each id begins, to be freed. */
static lt_status find_starts(golden_run *r, const lti_prompt *p, const lt_sampling *how, const lt_generation *got,
                             int64_t **starts)
{
    lti_reply reply = {0};
    bool stopped;
    *starts = NULL;
    lt_status status = lti_reply_open(r->ctx, lt_model_tokenizer(r->model), how, &p->ids, got->ids.count + 1, &reply);
    for (int64_t i = 0; i < got->ids.count && status == LT_OK; i++)
        status = lti_reply_add(&reply, got->ids.ids[i], &stopped);
    if (status == LT_OK) {
        *starts = reply.starts;
        reply.starts = NULL;
    }
    lti_reply_close(&reply);
    return status;
}

static void count(share *s, int verdict)
{
    s->of += verdict >= 0;
    s->yes += verdict > 0;
}

static lt_status judge(golden_run *r, const lti_prompt *p, const lt_sampling *how, const lt_generation *got,
                       json_t *row)
{
    int64_t *starts;
    lti_verdict v;
    LTI_TRY(find_starts(r, p, how, got, &starts));
    lt_status status = lti_golden_judge(r->ctx, &r->set.goldens[p->golden], got, starts, row, &v);
    lti_free(r->ctx, starts);
    if (status != LT_OK) return status;
    count(&r->exact, v.exact);
    count(&r->contains, v.contains);
    count(&r->regex, v.regex);
    count(&r->passed, v.passed);
    r->diverged += v.token >= 0;
    r->divergence_sum += v.token >= 0 ? v.token : 0;
    return LT_OK;
}

/* {"id", "prompt" or "messages", "output", "tokens", "reason"}: a golden row. */
static lt_status write_row(golden_run *r, const lti_prompt *p, const lt_generation *got)
{
    static const char *const keys[] = {"id", "prompt", "messages"};
    json_t *row = json_object();
    for (int i = 0; i < LTI_COUNT(keys); i++) {
        json_t *value = json_object_get(p->row, keys[i]);
        if (value) json_object_set(row, keys[i], value);
    }
    json_object_set_new(row, "output", json_stringn(got->text, (size_t)got->bytes));
    json_object_set_new(row, "tokens", json_integer(got->ids.count));
    json_object_set_new(row, "reason", json_string(got->reason));
    char *text = json_object_size(row) >= 4 ? json_dumps(row, JSON_COMPACT) : NULL;
    lt_status status = text ? lti_writer_add(r->file, text, strlen(text)) : no_memory(r);
    if (status == LT_OK) status = lti_writer_add(r->file, "\n", 1);
    free(text);
    json_decref(row);
    return status;
}

/* The id, or the beginning of the text: what a reader knows a row by. */
static void name_row(const lti_prompt *p, json_t *row)
{
    json_t *id = json_object_get(p->row, "id"), *prompt = json_object_get(p->row, "prompt");
    if (id) {
        json_object_set(row, "id", id);
    } else if (prompt) {
        const char *text = json_string_value(prompt);
        size_t n = json_string_length(prompt);
        if (n > SHOWN_PROMPT)
            for (n = SHOWN_PROMPT; ((unsigned char)text[n] & 0xC0) == 0x80;) n--;
        json_object_set_new(row, "prompt", json_stringn(text, n));
    } else {
        json_object_set_new(row, "line", json_integer(p->line));
    }
}

static lt_status run_prompt(golden_run *r, const lti_prompt *p)
{
    lt_sampling how;
    lt_generation got;
    LTI_TRY(generate(r, p, &how, &got));
    json_t *row = json_object();
    name_row(p, row);
    lt_status status = p->golden >= 0 ? judge(r, p, &how, &got, row) : LT_OK;
    if (status == LT_OK) {
        json_object_set_new(row, "output", json_stringn(got.text, (size_t)got.bytes));
        json_object_set_new(row, "tokens", json_integer(got.ids.count));
        json_object_set_new(row, "reason", json_string(got.reason));
        r->tokens += got.ids.count;
        if (r->file) status = write_row(r, p, &got);
    }
    lt_generation_free(r->ctx, &got);
    bool kept = json_array_append_new(r->rows, row) == 0;
    return status == LT_OK && !kept ? no_memory(r) : status;
}

/* ---- The file of goldens ---- */

static lt_status write_header(golden_run *r)
{
    lti_text line = {.ctx = r->ctx};
    lti_text_format(&line, "{\"lathe_golden\": 1, \"model\": ");
    lti_text_json(&line, r->o->model_name ? r->o->model_name : lt_model_family(r->model));
    lti_text_format(&line, ", \"model_hash\": \"%s\", \"tokenizer_hash\": \"%s\", \"quant\": ", r->model_hash,
                    lt_tokenizer_hash(lt_model_tokenizer(r->model)));
    lti_text_json(&line, r->quant.data);
    lti_text_format(&line, ", \"sampling\": {\"temperature\": 0, \"max_tokens\": %" PRId64 "}, \"lathe\": \"%s\"}\n",
                    r->max_tokens, lt_version());
    lt_status status = line.failed ? LT_ENOMEM : lti_writer_add(r->file, line.data, line.length);
    lti_text_free(&line);
    return status;
}

/* ---- The report ---- */

static json_t *share_json(share s)
{
    return s.of ? json_real((double)s.yes / (double)s.of) : json_null();
}

static json_t *source_json(const golden_run *r)
{
    if (!r->set.header) return json_null();
    json_t *source = json_deep_copy(r->set.header);
    const char *model = json_string_value(json_object_get(source, "model_hash"));
    const char *tokenizer = json_string_value(json_object_get(source, "tokenizer_hash"));
    const char *quant = json_string_value(json_object_get(source, "quant"));
    const char *mine = lt_tokenizer_hash(lt_model_tokenizer(r->model));
    bool same = model && strcmp(model, r->model_hash) == 0 && quant && strcmp(quant, r->quant.data) == 0;
    json_object_set_new(source, "same_model", json_boolean(same));
    json_object_set_new(source, "same_tokenizer", json_boolean(tokenizer && strcmp(tokenizer, mine) == 0));
    return source;
}

static lt_status make_report(golden_run *r, double seconds, char **report)
{
    json_int_t prompts = (json_int_t)r->set.prompt_count, items = (json_int_t)r->passed.of;
    json_t *mean = r->diverged ? json_real((double)r->divergence_sum / (double)r->diverged) : json_null();
    json_t *top = json_pack("{s:I, s:I, s:I, s:I, s:f, s:o, s:o, s:o, s:o, s:I, s:o, s:o, s:O}", "prompts", prompts,
                            "items", items, "unchecked", prompts - items, "tokens", (json_int_t)r->tokens, "seconds",
                            seconds, "exact", share_json(r->exact), "contains", share_json(r->contains), "regex",
                            share_json(r->regex), "passed", share_json(r->passed), "diverged", (json_int_t)r->diverged,
                            "first_divergence_mean", mean, "source", source_json(r), "rows", r->rows);
    char *text = top ? json_dumps(top, JSON_INDENT(2) | JSON_REAL_PRECISION(12)) : NULL;
    *report = text ? lti_strdup(r->ctx, text) : NULL;
    free(text);
    json_decref(top);
    return *report ? LT_OK : no_memory(r);
}

static lt_status run_all(golden_run *r, char **report)
{
    int64_t context = lt_model_context(r->model), n = 0;
    if (context > LONGEST) context = LONGEST;
    LTI_TRY(lti_golden_set_read(r->ctx, r->o, lt_model_tokenizer(r->model), context - 1, &r->set));
    LTI_TRY(choose_tokens(r));
    LTI_TRY(open_session(r, context));
    if (r->o->write || r->set.header) LTI_TRY(hash_model(r));
    if (r->o->write || r->set.header) LTI_TRY(name_quant(r));
    if (r->o->write) {
        LTI_TRY(lti_writer_open(r->ctx, r->o->write, &r->file));
        LTI_TRY(write_header(r));
    }
    double start = lti_seconds();
    for (; n < r->set.prompt_count; n++) {
        if (r->o->on_progress) r->o->on_progress(r->o->user, "golden outputs", n, r->set.prompt_count);
        lt_status status = run_prompt(r, &r->set.prompts[n]);
        if (status != LT_OK) return lti_fail_in(r->ctx, "%s:%" PRId64, r->o->prompts, r->set.prompts[n].line);
    }
    double seconds = lti_seconds() - start;
    if (r->o->on_progress) r->o->on_progress(r->o->user, "golden outputs", n, n);
    LTI_TRY(make_report(r, seconds, report));
    lt_status status = r->file ? lti_writer_commit(r->file, NULL) : LT_OK;
    r->file = NULL;
    if (status == LT_OK) return LT_OK;
    lti_free(r->ctx, *report);
    *report = NULL;
    return status;
}

static lt_status check(lt_ctx *ctx, lt_model *model, const lt_golden_options *o)
{
    if (o->size != sizeof *o) return lti_fail(ctx, LT_EINVAL, "golden outputs: call lt_golden_options_init first");
    if (lt_params_ctx(lt_model_params(model)) != ctx)
        return lti_fail(ctx, LT_EINVAL, "golden outputs: the context is to be the model's");
    if (!o->prompts) return lti_fail(ctx, LT_EINVAL, "golden outputs: no file of prompts");
    if (!o->golden && !o->write)
        return lti_fail(ctx, LT_EINVAL, "golden outputs: neither goldens to compare with nor a file to write");
    if (o->max_tokens < 0 || o->max_tokens > 1 << 24)
        return lti_fail(ctx, LT_EINVAL, "golden outputs: max_tokens is %" PRId64, o->max_tokens);
    if (lt_model_reads(model) != LT_DATA_TOKENS)
        return lti_fail(ctx, LT_EUNSUPPORTED, "golden outputs: the model is %s (%s), which continues no text",
                        lt_model_is_transformer(model) ? "an encoder" : "a classifier", lt_model_family(model));
    return LT_OK;
}

lt_status lt_golden_run(lt_ctx *ctx, lt_model *model, const lt_golden_options *options, char **report)
{
    *report = NULL;
    LTI_TRY(check(ctx, model, options));
    golden_run r = {.ctx = ctx, .model = model, .o = options, .rows = json_array(), .quant = {.ctx = ctx}};
    lt_status status = r.rows ? run_all(&r, report) : no_memory(&r);
    lt_session_free(r.session);
    lti_golden_set_free(&r.set);
    lti_text_free(&r.quant);
    lti_writer_discard(r.file);
    json_decref(r.rows);
    return status;
}
