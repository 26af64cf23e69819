/* regex.c - the regular expressions of a tokenizer.json, run by PCRE2.
 *
 * The files are written for Oniguruma as Hugging Face's tokenizers calls it. Where the two engines read the same text
 * differently it is rewritten (`\s` becomes Unicode's 25 white spaces: PCRE2 has a 26th; `\p{L}` and `\p{N}` get the
 * code points of Unicode 15 and 16 that the tables of PCRE2 10.42 lack) or refused by name; so every `\p{L}` and
 * `\p{N}` of a tokenizer means one table. Subjects are checked to be UTF-8 before they come here.
 *
 * A pattern from a file runs under PCRE2's limits of matching, depth and heap, which grow with the text: one that
 * backtracks exponentially is an error, not a hang. One that looks at the same run of characters again from each of its
 * places (a+b|a) takes the square of the run's length, here as in the peers. The patterns that model families ship are
 * known by their text and run free: their alternatives never backtrack over more than the run of characters they then
 * take.
 *
 * Rejected: hand-written scanners a family, faster still, but each a second definition of what the file says. */
#include "data/tokenizer/regex.h"
#include "data/utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#define HEAP_LIMIT 65536 /* KiB */
#define JIT_STACK (4u << 20)

typedef struct memory {
    lt_ctx *ctx;
    bool failed;
} memory;

struct lti_regex {
    memory memory;
    char *source; /* for messages */
    pcre2_general_context *general;
    pcre2_code *code;
    pcre2_match_context *limits;
    pcre2_match_data *data;
    pcre2_jit_stack *stack;
    bool jit, ours;
};

static void *take(size_t bytes, void *user)
{
    memory *m = user;
    void *block = lti_alloc(m->ctx, bytes);
    if (!block) m->failed = true;
    return block;
}

static void give(void *block, void *user)
{
    lti_free(((memory *)user)->ctx, block);
}

void lti_regex_free(lti_regex *regex)
{
    if (!regex) return;
    pcre2_match_data_free(regex->data);
    pcre2_match_context_free(regex->limits);
    pcre2_jit_stack_free(regex->stack);
    pcre2_code_free(regex->code);
    pcre2_general_context_free(regex->general);
    lti_free(regex->memory.ctx, regex->source);
    lti_free(regex->memory.ctx, regex);
}

/* The patterns of the families: GPT-2 (of ByteLevel), Llama 3, Qwen 2. */
static bool known(const char *source, size_t length)
{
    static const char *const list[] = {LTI_PATTERN_GPT2, LTI_PATTERN_LLAMA3, LTI_PATTERN_QWEN2};
    for (int i = 0; i < LTI_COUNT(list); i++)
        if (strlen(list[i]) == length && memcmp(list[i], source, length) == 0) return true;
    return false;
}

static lt_status no_memory(lt_ctx *ctx, const char *where)
{
    return lti_fail(ctx, LT_ENOMEM, "%s: out of memory for a pattern", where);
}

/* Just-in-time code where the machine allows it; the interpreter otherwise. */
static lt_status prepare(lti_regex *regex, const char *where)
{
    regex->data = pcre2_match_data_create(1, regex->general);
    regex->limits = pcre2_match_context_create(regex->general);
    if (!regex->data || !regex->limits) return no_memory(regex->memory.ctx, where);
    pcre2_set_heap_limit(regex->limits, HEAP_LIMIT);
    regex->jit = pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE) == 0;
    if (regex->jit) regex->stack = pcre2_jit_stack_create(32 << 10, JIT_STACK, regex->general);
    if (regex->memory.failed) return no_memory(regex->memory.ctx, where);
    if (regex->stack) pcre2_jit_stack_assign(regex->limits, NULL, regex->stack);
    return LT_OK;
}

static lt_status compile(lti_regex *regex, const char *where, const char *source, size_t length)
{
    lti_text text = {.ctx = regex->memory.ctx};
    int error = 0;
    size_t at = 0;
    LTI_TRY(lti_regex_rewrite(where, source, length, &text));
    pcre2_compile_context *options = pcre2_compile_context_create(regex->general);
    if (options)
        regex->code = pcre2_compile((PCRE2_SPTR)text.data, text.length,
                                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C |
                                        PCRE2_NO_AUTO_CAPTURE | PCRE2_NO_UTF_CHECK,
                                    &error, &at, options);
    pcre2_compile_context_free(options);
    lti_text_free(&text);
    if (regex->memory.failed) return no_memory(regex->memory.ctx, where);
    if (regex->code) return prepare(regex, where);
    unsigned char why[128] = "";
    pcre2_get_error_message(error, why, sizeof why);
    return lti_fail(regex->memory.ctx, LT_EUNSUPPORTED, "%s: the pattern '%.300s' is not understood: %s", where,
                    regex->source, (char *)why);
}

lt_status lti_regex_compile(lt_ctx *ctx, const char *where, const char *source, size_t length, bool ours,
                            lti_regex **out)
{
    *out = NULL;
    lti_regex *regex = lti_alloc(ctx, sizeof *regex);
    if (!regex) return LT_ENOMEM;
    regex->memory.ctx = ctx;
    regex->ours = ours || known(source, length);
    regex->source = lti_alloc(ctx, length + 1);
    if (regex->source) {
        memcpy(regex->source, source, length);
        regex->general = pcre2_general_context_create(take, give, &regex->memory);
    }
    lt_status status = regex->general ? compile(regex, where, source, length) : no_memory(ctx, where);
    if (status == LT_OK)
        *out = regex;
    else
        lti_regex_free(regex);
    return status;
}

lt_status lti_regex_find(const lti_regex *regex, const char *text, int64_t length, int64_t from, int64_t *begin,
                         int64_t *end)
{
    /* of a file's pattern: many times what an honest one needs for a text, and soon over for one that explodes */
    if (!regex->ours) {
        int64_t limit = 16 * length + 20000;
        pcre2_set_match_limit(regex->limits, limit > 10000000 ? 10000000 : (uint32_t)limit);
    }
    int n = regex->jit ? pcre2_jit_match(regex->code, (PCRE2_SPTR)text, (size_t)length, (size_t)from,
                                         PCRE2_NO_UTF_CHECK, regex->data, regex->limits)
                       : pcre2_match(regex->code, (PCRE2_SPTR)text, (size_t)length, (size_t)from, PCRE2_NO_UTF_CHECK,
                                     regex->data, regex->limits);
    *begin = *end = -1;
    if (n >= 0) {
        size_t *found = pcre2_get_ovector_pointer(regex->data);
        *begin = (int64_t)found[0];
        *end = (int64_t)found[1];
        return LT_OK;
    }
    if (n == PCRE2_ERROR_NOMATCH) return LT_OK;
    if (n == PCRE2_ERROR_NOMEMORY) return no_memory(regex->memory.ctx, "tokenizer");
    return lti_fail(regex->memory.ctx, LT_ELIMIT,
                    "tokenizer: the pattern '%.300s' passes the limits of matching at byte %lld of a text of %lld; it "
                    "backtracks too much",
                    regex->source, (long long)from, (long long)length);
}

void lti_walk_start(lti_walk *walk, const lti_regex *pattern, const char *text, int64_t length)
{
    *walk = (lti_walk){.pattern = pattern, .text = text, .length = length, .last_match = -1};
}

/* An empty match right behind the last one does not count, so an empty pattern moves on. */
static lt_status next_match(lti_walk *walk, bool *found)
{
    *found = false;
    while (walk->from <= walk->length) {
        LTI_TRY(lti_regex_find(walk->pattern, walk->text, walk->length, walk->from, &walk->begin, &walk->end));
        if (walk->begin < 0) break;
        if (walk->begin != walk->end || walk->end != walk->last_match) {
            walk->from = walk->last_match = walk->end;
            *found = true;
            return LT_OK;
        }
        int64_t left = walk->length - walk->from;
        walk->from += left > 0 ? lti_utf8_length((const unsigned char *)walk->text + walk->from, (uint64_t)left) : 1;
    }
    walk->from = walk->length + 1;
    return LT_OK;
}

lt_status lti_walk_next(lti_walk *walk, bool *more, bool *is_match, int64_t *begin, int64_t *end)
{
    bool found = walk->waiting;
    if (!found) LTI_TRY(next_match(walk, &found));
    int64_t gap = found ? walk->begin : walk->length;
    *is_match = found && walk->done == gap;
    *more = found || walk->done < walk->length;
    *begin = walk->done;
    *end = *is_match ? walk->end : gap;
    walk->waiting = found && !*is_match;
    walk->done = *end;
    return LT_OK;
}
