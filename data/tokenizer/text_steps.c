/* text_steps.c - the normalizer and decoder steps that work on text: prepend, replace, strip. */
#include "data/tokenizer/tokenizer.h"

#include <string.h>

void lti_steps_free(lt_ctx *ctx, lti_steps *steps)
{
    for (int i = 0; i < steps->count; i++) {
        lti_free(ctx, steps->list[i].pattern);
        lti_free(ctx, steps->list[i].content);
    }
    *steps = (lti_steps){0};
}

static void replace(const lti_step *step, const char *text, size_t length, size_t limit, lti_text *out)
{
    const char *at = text, *end = text + length, *hit;
    while (at < end && out->length <= limit &&
           (hit = memmem(at, (size_t)(end - at), step->pattern, step->pattern_length))) {
        lti_text_add(out, at, (size_t)(hit - at));
        lti_text_add(out, step->content, step->content_length);
        at = hit + step->pattern_length;
    }
    lti_text_add(out, at, (size_t)(end - at));
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

lt_status lti_step_apply(const lti_step *step, const char *text, size_t length, size_t limit, lti_text *out)
{
    out->length = 0;
    switch (step->kind) {
    case LTI_PREPEND:
        if (length) lti_text_add(out, step->content, step->content_length);
        lti_text_add(out, text, length);
        break;
    case LTI_REPLACE: replace(step, text, length, limit, out); break;
    case LTI_STRIP: strip(step, text, length, out); break;
    default: lti_text_add(out, text, length);
    }
    if (out->failed) return LT_ENOMEM;
    if (out->length <= limit) return LT_OK;
    return lti_fail(out->ctx, LT_ELIMIT,
                    "tokenizer: its steps make more than %zu bytes of a short text; is tokenizer.json damaged?", limit);
}
