/* text_steps.c - the normalizer and decoder steps on text, and which file does the rest. */
#include "data/tokenizer/tokenizer.h"
#include "data/utf8.h"

#include <string.h>

void lti_steps_free(lt_ctx *ctx, lti_steps *steps)
{
    for (int i = 0; i < steps->count; i++) {
        lti_free(ctx, steps->list[i].pattern);
        lti_free(ctx, steps->list[i].content);
        lti_regex_free(steps->list[i].regex);
    }
    *steps = (lti_steps){0};
}

static void replace(const char *pattern, size_t n, const char *content, size_t count, const char *text, size_t length,
                    size_t limit, lti_text *out)
{
    const char *at = text, *end = text + length, *hit;
    while (at < end && out->length <= limit && (hit = memmem(at, (size_t)(end - at), pattern, n))) {
        lti_text_add(out, at, (size_t)(hit - at));
        lti_text_add(out, content, count);
        at = hit + n;
    }
    lti_text_add(out, at, (size_t)(end - at));
}

/* A decoder may meet a token that is half a character: no pattern is sought there. */
static lt_status replace_regex(const lti_step *step, const char *text, size_t length, size_t limit, lti_text *out)
{
    lti_walk walk;
    bool more, is_match;
    int64_t begin, end;
    if (lti_utf8_check((const unsigned char *)text, length) < length) return lti_text_add(out, text, length), LT_OK;
    lti_walk_start(&walk, step->regex, text, (int64_t)length);
    while (out->length <= limit) {
        LTI_TRY(lti_walk_next(&walk, &more, &is_match, &begin, &end));
        if (!more) break;
        if (is_match)
            lti_text_add(out, step->content, step->content_length);
        else
            lti_text_add(out, text + begin, (size_t)(end - begin));
    }
    return LT_OK;
}

static void strip(const lti_step *step, const char *text, size_t length, lti_text *out)
{
    size_t n = step->content_length;
    for (int32_t i = 0; i < step->left && length >= n && memcmp(text, step->content, n) == 0; i++) {
        text += n;
        length -= n;
    }
    for (int32_t i = 0; i < step->right && length >= n && memcmp(text + length - n, step->content, n) == 0; i++)
        length -= n;
    lti_text_add(out, text, length);
}

/* Takes back the blanks that splitting English put around signs and clitics, as Transformers does. */
static void clean_up(lti_text *text)
{
    static const char *const rules[][2] = {{" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
                                           {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
                                           {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    for (int i = 0; i < LTI_COUNT(rules); i++) {
        size_t n = strlen(rules[i][0]), count = strlen(rules[i][1]), kept = 0;
        for (size_t at = 0; at < text->length;) { /* no rule grows its text */
            bool hit = text->length - at >= n && memcmp(text->data + at, rules[i][0], n) == 0;
            if (hit) memcpy(text->data + kept, rules[i][1], count);
            if (!hit) text->data[kept] = text->data[at];
            kept += hit ? count : 1;
            at += hit ? n : 1;
        }
        text->length = kept;
    }
}

static void join_word(const lti_step *step, const char *text, size_t length, bool first, lti_text *out)
{
    size_t n = step->content_length;
    bool continues = length >= n && memcmp(text, step->content, n) == 0;
    if (!first && !continues) lti_text_add(out, " ", 1);
    if (first || !continues) n = 0;
    lti_text_add(out, text + n, length - n);
    if (step->cleanup && !out->failed) clean_up(out);
}

lt_status lti_step_apply(const lti_step *step, const char *text, size_t length, bool first, size_t limit, lti_text *out)
{
    const char *content = step->content;
    size_t n = step->content_length;
    out->length = 0;
    out->failed = false; /* an earlier call may have run out of memory */
    switch (step->kind) {
    case LTI_PREPEND:
        if (length) lti_text_add(out, content, n);
        lti_text_add(out, text, length);
        break;
    case LTI_REPLACE:
        if (step->regex)
            LTI_TRY(replace_regex(step, text, length, limit, out));
        else
            replace(step->pattern, step->pattern_length, content, n, text, length, limit, out);
        break;
    case LTI_STRIP: strip(step, text, length, out); break;
    case LTI_METASPACE: replace(content, n, " ", first && step->drops_first ? 0 : 1, text, length, limit, out); break;
    case LTI_WORD_PIECE: join_word(step, text, length, first, out); break;
    case LTI_BYTES:
    case LTI_FUSE: lti_text_add(out, text, length); break;
    default: LTI_TRY(lti_unicode_step(step, text, length, out));
    }
    if (out->failed) return LT_ENOMEM;
    if (out->length <= limit) return LT_OK;
    return lti_fail(out->ctx, LT_ELIMIT,
                    "tokenizer: its steps make more than %zu bytes of a short text; is tokenizer.json damaged?", limit);
}
