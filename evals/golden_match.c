/* golden_match.c - a text held against its golden: equality, first difference, phrases, a pattern.
 *
 * Patterns come from files and texts from models, so a pattern runs in PCRE2's interpreter under limits of matching,
 * depth and heap: one that backtracks without end is a failed row with a reason, neither a hang nor the end of an
 * evaluation that took an hour. Patterns without meaning are found while reading, before anything is generated.
 *
 * A difference is told at the border of a character, as what is shown of it has to be one. */
#include "evals/golden_outputs.h"

#include "data/utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <string.h>

enum {
    MATCH_LIMIT = 1000000,
    DEPTH_LIMIT = 100000,
    HEAP_LIMIT = 65536, /* KiB */
    PATTERN_LIMIT = 65536,
    SHOWN = 30 /* characters of a difference */
};

/* ---- Patterns ---- */

struct lti_pattern {
    lt_ctx *ctx;
    bool out_of_memory; /* an allocation failed, whatever PCRE2 made of it */
    pcre2_general_context *general;
    pcre2_code *code;
    pcre2_match_context *limits;
    pcre2_match_data *data;
};

static void *pattern_alloc(size_t bytes, void *user)
{
    lti_pattern *p = user;
    void *memory = lti_alloc(p->ctx, bytes);
    p->out_of_memory |= !memory;
    return memory;
}

static void pattern_release(void *memory, void *user)
{
    lti_free(((lti_pattern *)user)->ctx, memory);
}

void lti_pattern_free(lti_pattern *p)
{
    if (!p) return;
    pcre2_match_data_free(p->data);
    pcre2_match_context_free(p->limits);
    pcre2_code_free(p->code);
    pcre2_general_context_free(p->general);
    lti_free(p->ctx, p);
}

static void compile(lti_pattern *p, const char *source, size_t bytes, char *reason, size_t room)
{
    int error = 0;
    size_t at = 0;
    unsigned char why[96] = "";
    p->general = pcre2_general_context_create(pattern_alloc, pattern_release, p);
    pcre2_compile_context *how = p->general ? pcre2_compile_context_create(p->general) : NULL;
    if (!how) return;
    pcre2_set_max_pattern_length(how, PATTERN_LIMIT);
    p->code =
        pcre2_compile((PCRE2_SPTR)source, bytes, PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &at, how);
    pcre2_compile_context_free(how);
    if (p->code) {
        p->data = pcre2_match_data_create(1, p->general);
        p->limits = pcre2_match_context_create(p->general);
    } else if (!p->out_of_memory) {
        pcre2_get_error_message(error, why, sizeof why);
        snprintf(reason, room, "'regex' is no pattern: %s at its byte %zu", (char *)why, at);
    }
    if (!p->limits) return;
    pcre2_set_match_limit(p->limits, MATCH_LIMIT);
    pcre2_set_depth_limit(p->limits, DEPTH_LIMIT);
    pcre2_set_heap_limit(p->limits, HEAP_LIMIT);
}

lt_status lti_pattern_compile(lt_ctx *ctx, const char *source, size_t bytes, lti_pattern **pattern, char *reason,
                              size_t room)
{
    *pattern = NULL;
    *reason = 0;
    lti_pattern *p = lti_alloc(ctx, sizeof *p);
    if (!p) return LT_ENOMEM;
    p->ctx = ctx;
    compile(p, source, bytes, reason, room);
    lt_status status = p->out_of_memory ? lti_fail(ctx, LT_ENOMEM, "out of memory for the pattern of a golden") : LT_OK;
    if (status == LT_OK && !*reason)
        *pattern = p;
    else
        lti_pattern_free(p);
    return status;
}

lt_status lti_pattern_find(lti_pattern *p, const char *text, size_t bytes, bool *found, const char **error)
{
    int n = pcre2_match(p->code, (PCRE2_SPTR)text, bytes, 0, PCRE2_NO_UTF_CHECK, p->data, p->limits);
    *found = n >= 0;
    *error = NULL;
    if (p->out_of_memory) return lti_fail(p->ctx, LT_ENOMEM, "out of memory while a pattern is looked for");
    if (n == PCRE2_ERROR_RECURSELOOP)
        *error = "the pattern calls itself without end";
    else if (n < 0 && n != PCRE2_ERROR_NOMATCH)
        *error = "the pattern passes the limits of matching: it backtracks too much";
    return LT_OK;
}

/* ---- Differences ---- */

static bool inside_character(char c)
{
    return ((unsigned char)c & 0xC0) == 0x80;
}

/* Both texts end with a NUL behind their bytes. */
lti_divergence lti_diverge(const char *expected, int64_t expected_bytes, const char *got, int64_t got_bytes)
{
    int64_t at = 0, shorter = expected_bytes < got_bytes ? expected_bytes : got_bytes;
    int64_t longer = expected_bytes + got_bytes - shorter;
    while (at < shorter && expected[at] == got[at]) at++;
    if (at == longer) return (lti_divergence){.byte = -1};
    while (at > 0 && (inside_character(expected[at]) || inside_character(got[at]))) at--;
    return (lti_divergence){.byte = at, .share = (double)(longer - at) / (double)longer};
}

/* The first characters of valid UTF-8. */
static json_t *beginning(const char *text, int64_t bytes)
{
    size_t left = (size_t)bytes, n = 0;
    for (int i = 0; i < SHOWN && n < left; i++) {
        int length = lti_utf8_length((const unsigned char *)text + n, left - n);
        n += length ? (size_t)length : 1;
    }
    return json_stringn(text, n);
}

/* ---- Verdicts ---- */

/* Phrases of a field (one, or an array of them) whose presence is not as wanted; NULL when the field is absent. */
static json_t *phrases_amiss(const lti_golden *golden, const char *key, const lt_generation *got, bool wanted)
{
    json_t *field = json_object_get(golden->row, key), *list = field ? json_array() : NULL;
    size_t count = json_is_array(field) ? json_array_size(field) : field ? 1 : 0;
    for (size_t i = 0; i < count; i++) {
        json_t *phrase = json_is_array(field) ? json_array_get(field, i) : field;
        const void *at = memmem(got->text, (size_t)got->bytes, json_string_value(phrase), json_string_length(phrase));
        if ((at != NULL) != wanted) json_array_append(list, phrase);
    }
    return list;
}

static void judge_phrases(const lti_golden *golden, const lt_generation *got, json_t *row, lti_verdict *v)
{
    json_t *missing = phrases_amiss(golden, "must_contain", got, true);
    json_t *unwanted = phrases_amiss(golden, "must_not_contain", got, false);
    if (!missing && !unwanted) return;
    v->contains = json_array_size(missing) + json_array_size(unwanted) == 0;
    json_object_set_new(row, "contains", json_boolean(v->contains));
    if (missing) json_object_set_new(row, "missing", missing);
    if (unwanted) json_object_set_new(row, "unwanted", unwanted);
}

static void judge_text(const lti_golden *golden, const lt_generation *got, const int64_t *starts, json_t *row,
                       lti_verdict *v)
{
    lti_divergence d = lti_diverge(golden->output, golden->bytes, got->text, got->bytes);
    v->exact = d.byte < 0;
    v->passed = d.share <= golden->max_divergence;
    json_object_set_new(row, "exact", json_boolean(v->exact));
    json_object_set_new(row, "divergence", json_real(d.share));
    if (v->exact) return;
    /* the id the byte belongs to; behind the last one when what came is only too short */
    int64_t token = got->ids.count;
    while (token > 0 && d.byte < got->bytes && starts[token - 1] > d.byte) token--;
    v->token = d.byte < got->bytes && token > 0 ? token - 1 : token;
    json_object_set_new(row, "first_divergence",
                        json_pack("{s:I, s:I, s:o, s:o}", "token", (json_int_t)v->token, "byte", (json_int_t)d.byte,
                                  "expected", beginning(golden->output + d.byte, golden->bytes - d.byte), "got",
                                  beginning(got->text + d.byte, got->bytes - d.byte)));
}

lt_status lti_golden_judge(lt_ctx *ctx, const lti_golden *golden, const lt_generation *got, const int64_t *starts,
                           json_t *row, lti_verdict *v)
{
    bool found;
    const char *error;
    *v = (lti_verdict){.exact = -1, .contains = -1, .regex = -1, .passed = true, .token = -1};
    if (golden->output) judge_text(golden, got, starts, row, v);
    judge_phrases(golden, got, row, v);
    if (golden->regex) {
        LTI_TRY(lti_pattern_find(golden->regex, got->text, (size_t)got->bytes, &found, &error));
        v->regex = found;
        json_object_set_new(row, "regex", json_boolean(found));
        if (error) json_object_set_new(row, "regex_error", json_string(error));
    }
    v->passed = v->passed && v->contains != 0 && v->regex != 0;
    json_object_set_new(row, "passed", json_boolean(v->passed));
    return LT_OK;
}
