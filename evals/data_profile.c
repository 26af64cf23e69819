/* data_profile.c - data as a tokenizer sees them, in a sketch that fits into a report.
 *
 * Drift of data shows before drift of results: texts of another kind are cut into more tokens a byte, into tokens that
 * are single bytes, into other tokens. The sketch is the 256 most frequent ids with their counts, the number of tokens
 * and of ids that occur: of ordinary text those 256 are half of all tokens or more.
 *
 * For the divergence of two sketches an id that only one of them lists gets, in the other, the mean count of the ids
 * that are not listed there, which is zero when all are; what remains is one class of its own. Half a token is added to
 * every class, as Krichevsky and Trofimov estimate: a class that one side lacks must not make the number infinite.
 * Rejected: the whole histogram (a megabyte of report for a large vocabulary) and the lists' common ids alone, by which
 * two languages with no id in common would look the same. */
#include "evals/baseline.h"

#include "data/utf8.h"
#include "evals/source.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEEPEST = 64 }; /* of a row's arrays and objects */

typedef struct profile {
    lt_ctx *ctx;
    lt_tokenizer *tok;
    int32_t vocab;
    int64_t *counts; /* [vocab] */
    int64_t documents, tokens;
    char hash[33];
    lt_ids work;
} profile;

/* ---- Counting ---- */

static lt_status count_text(profile *p, const char *text, int64_t bytes)
{
    p->work.count = 0;
    LTI_TRY(lt_tokenizer_encode(p->tok, text, bytes, 0, &p->work));
    for (int64_t i = 0; i < p->work.count; i++) p->counts[p->work.ids[i]]++;
    p->tokens += p->work.count;
    return LT_OK;
}

static lt_status count_strings(profile *p, const json_t *value, int depth)
{
    const char *key;
    json_t *item;
    size_t i;
    if (depth > DEEPEST) return LT_OK;
    if (json_is_string(value)) return count_text(p, json_string_value(value), (int64_t)json_string_length(value));
    json_array_foreach(value, i, item) LTI_TRY(count_strings(p, item, depth + 1));
    json_object_foreach((json_t *)value, key, item) LTI_TRY(count_strings(p, item, depth + 1));
    return LT_OK;
}

/* Whether a row is fit for what reads it is said elsewhere: one that is no object here counts as its text. */
static lt_status count_document(profile *p, const lti_source *source, int64_t index)
{
    const lti_document *d = &source->docs[index];
    json_t *row = NULL;
    char reason[LTI_REASON];
    if (source->layout == LTI_LAYOUT_JSON) LTI_TRY(lti_source_object(source, index, &row, reason));
    lt_status status =
        row ? count_strings(p, row, 0) : count_text(p, (const char *)source->map.data + d->begin, d->end - d->begin);
    json_decref(row);
    return status == LT_OK ? LT_OK : lti_fail_in(p->ctx, "%s:%" PRId64, source->path, d->line);
}

static lt_status count_source(profile *p, const lti_source *source)
{
    lti_text hashes = {.ctx = p->ctx};
    for (int64_t i = 0; i < source->count; i++) {
        lt_status status = count_document(p, source, i);
        lti_text_add(&hashes, (const char *)&source->docs[i].hash, sizeof source->docs[i].hash);
        if (status == LT_OK && hashes.failed) status = LT_ENOMEM;
        if (status == LT_OK) continue;
        lti_text_free(&hashes);
        return status;
    }
    p->documents = source->count;
    lti_hash_bytes(hashes.data, hashes.length, p->hash);
    lti_text_free(&hashes);
    return LT_OK;
}

/* ---- What the counts say ---- */

/* A byte that stands for itself: "<0x0A>", or a token that is no whole character. */
static bool is_byte(const char *token, int64_t bytes)
{
    unsigned byte;
    char end;
    char text[8] = "";
    if (bytes == 6) {
        memcpy(text, token, 6);
        if (sscanf(text, "<0x%2X%c", &byte, &end) == 2 && end == '>') return true;
    }
    return lti_utf8_check((const unsigned char *)token, (uint64_t)bytes) < (uint64_t)bytes;
}

/* Bytes an id adds within a text. */
static lt_status bytes_of(profile *p, int32_t id, int64_t *bytes)
{
    char *text;
    *bytes = 0;
    LTI_TRY(lt_tokenizer_decode(p->tok, (int32_t[]){id, id}, 2, 0, &text, bytes));
    lt_buffer_free(p->ctx, text);
    int64_t both = *bytes;
    LTI_TRY(lt_tokenizer_decode(p->tok, &id, 1, 0, &text, bytes));
    lt_buffer_free(p->ctx, text);
    *bytes = both - *bytes;
    return LT_OK;
}

/* The most frequent ids, "id:count ..."; equals in order of their ids. */
static void list_top(const profile *p, lti_text *top)
{
    int64_t last = INT64_MAX;
    int32_t from = 0;
    for (int n = 0; n < LTI_PROFILE_TOP; n++) {
        int32_t best = -1;
        for (int32_t id = 0; id < p->vocab; id++) {
            bool after = p->counts[id] < last || (p->counts[id] == last && id >= from);
            if (p->counts[id] && after && (best < 0 || p->counts[id] > p->counts[best])) best = id;
        }
        if (best < 0) return;
        lti_text_format(top, "%s%d:%" PRId64, n ? " " : "", best, p->counts[best]);
        last = p->counts[best];
        from = best + 1;
    }
}

static json_t *ratio(double a, double b)
{
    return b != 0 ? json_real(a / b) : json_null();
}

static lt_status write_profile(profile *p, char **json)
{
    int64_t distinct = 0, unknown = 0, single = 0, bytes = 0, shown = 0;
    for (int32_t id = 0; id < p->vocab; id++) {
        int64_t n = p->counts[id], length, spelled = 0;
        if (!n) continue;
        const char *token = lt_tokenizer_token(p->tok, id, &spelled);
        LTI_TRY(bytes_of(p, id, &length));
        distinct++;
        bytes += n * length;
        shown += length ? n : 0;
        if (id == lt_tokenizer_unknown(p->tok)) unknown += n;
        if (token && !lt_tokenizer_is_special(p->tok, id) && is_byte(token, spelled)) single += n;
    }
    double tokens = (double)p->tokens;
    lti_text top = {.ctx = p->ctx};
    list_top(p, &top);
    json_t *o = json_pack("{s:s, s:I, s:I, s:o, s:o, s:I, s:o, s:o, s:o, s:s}", "hash", p->hash, "documents",
                          (json_int_t)p->documents, "tokens", (json_int_t)p->tokens, "tokens_per_document",
                          ratio(tokens, (double)p->documents), "bytes_per_token", ratio((double)bytes, (double)shown),
                          "distinct", (json_int_t)distinct, "vocabulary_coverage",
                          ratio((double)distinct, (double)p->vocab), "unknown_share", ratio((double)unknown, tokens),
                          "byte_share", ratio((double)single, tokens), "top", top.data ? top.data : "");
    char *text = o ? json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;
    *json = text ? lti_strdup(p->ctx, text) : NULL;
    bool failed = top.failed || !*json;
    free(text);
    json_decref(o);
    lti_text_free(&top);
    return failed ? lti_fail(p->ctx, LT_ENOMEM, "out of memory for the profile of data") : LT_OK;
}

lt_status lt_data_profile(lt_ctx *ctx, const char *path, lt_tokenizer *tokenizer, const lt_dataset_options *rows,
                          int64_t limit, char **json)
{
    *json = NULL;
    profile p = {.ctx = ctx, .tok = tokenizer, .vocab = lt_tokenizer_vocab_size(tokenizer)};
    lt_dataset_options defaults;
    lti_source source;
    if (limit < 0) return lti_fail(ctx, LT_EINVAL, "a profile of %" PRId64 " documents", limit);
    lt_dataset_options_init(&defaults);
    lt_status status = lti_source_open(ctx, path, rows ? rows : &defaults, limit, false, &source);
    if (status == LT_OK) {
        p.counts = lti_alloc_array(ctx, (size_t)p.vocab, sizeof *p.counts);
        status = p.counts ? count_source(&p, &source) : LT_ENOMEM;
    }
    if (status == LT_OK) status = write_profile(&p, json);
    lti_source_close(&source);
    lt_ids_free(ctx, &p.work);
    lti_free(ctx, p.counts);
    return status;
}

/* ---- Two sketches ---- */

typedef struct sketch {
    int n;
    int32_t ids[LTI_PROFILE_TOP];
    double counts[LTI_PROFILE_TOP];
    double tokens, unlisted; /* unlisted: mean count of an id that occurs and is not listed */
} sketch;

/* False when it is none. */
static bool read_sketch(const json_t *from, sketch *s)
{
    const char *at = json_string_value(json_object_get(from, "top"));
    double listed = 0, distinct = json_number_value(json_object_get(from, "distinct"));
    *s = (sketch){.tokens = json_number_value(json_object_get(from, "tokens"))};
    while (at && *at && s->n < LTI_PROFILE_TOP) {
        char *end;
        long id = strtol(at, &end, 10);
        if (end == at || *end != ':' || id < 0 || id > INT32_MAX) return false;
        at = end + 1;
        long long count = strtoll(at, &end, 10);
        if (end == at || count < 1) return false;
        s->ids[s->n] = (int32_t)id;
        s->counts[s->n++] = (double)count;
        listed += (double)count;
        at = end + (*end == ' ');
    }
    if (s->n == 0 || !(s->tokens >= listed)) return false;
    s->unlisted = distinct > s->n ? (s->tokens - listed) / (distinct - s->n) : 0;
    return true;
}

static double count_in(const sketch *s, int32_t id)
{
    for (int i = 0; i < s->n; i++)
        if (s->ids[i] == id) return s->counts[i];
    return s->unlisted;
}

static bool listed_in(const sketch *s, int32_t id)
{
    for (int i = 0; i < s->n; i++)
        if (s->ids[i] == id) return true;
    return false;
}

static double positive(double x)
{
    return x > 0 ? x : 0;
}

lt_status lti_profile_kl(lt_ctx *ctx, const json_t *old_profile, const json_t *new_profile, bool *known, double *kl)
{
    sketch *s = lti_alloc_array(ctx, 2, sizeof *s); /* old, new */
    if (!s) return LT_ENOMEM;
    *known = read_sketch(old_profile, &s[0]) && read_sketch(new_profile, &s[1]);
    double rest[2] = {s[0].tokens, s[1].tokens}, total[2], sum = 0;
    int classes = 1;
    for (int side = 0; side < 2; side++)
        for (int i = 0; i < s[side].n; i++) {
            int32_t id = s[side].ids[i];
            if (side == 1 && listed_in(&s[0], id)) continue;
            rest[0] -= count_in(&s[0], id);
            rest[1] -= count_in(&s[1], id);
            classes++;
        }
    for (int k = 0; k < 2; k++) { /* counts that were estimated may pass what there is */
        total[k] = s[k].tokens - rest[k] + positive(rest[k]) + 0.5 * classes;
        rest[k] = (positive(rest[k]) + 0.5) / total[k];
    }
    for (int side = 0; side < 2; side++)
        for (int i = 0; i < s[side].n; i++) {
            int32_t id = s[side].ids[i];
            if (side == 1 && listed_in(&s[0], id)) continue;
            double q = (count_in(&s[0], id) + 0.5) / total[0], p = (count_in(&s[1], id) + 0.5) / total[1];
            sum += p * log(p / q);
        }
    *kl = positive(sum + rest[1] * log(rest[1] / rest[0]));
    lti_free(ctx, s);
    return LT_OK;
}
