/* unicode_steps.c - normalizer steps that work on characters: normal forms, case, accents, BERT's cleaning.
 *
 * Decomposition and composition of a character are utf8proc's; the canonical order is made here, because utf8proc
 * sorts it by swapping neighbours, which is quadratic in a run of marks: a megabyte of them must pass. Text is taken
 * in stretches around what is not ASCII, which composes with nothing before it. */
#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/unicode_classes.h"
#include "data/utf8.h"

#include <string.h>
#include <utf8proc.h>

static void add_point(lti_text *out, uint32_t point)
{
    unsigned char bytes[4];
    int64_t n = utf8proc_encode_char((int32_t)point, bytes);
    lti_text_add(out, (char *)bytes, (size_t)n);
}

/* ---- Normal forms ---- */

static int class_of(int32_t point)
{
    int class = utf8proc_get_property(point)->combining_class;
    return class && lti_is_newer_mark((uint32_t)point) ? 0 : class;
}

/* Appends the whole decomposition of a character to an array of int32_t. */
static void decompose(lti_text *points, uint32_t point, bool compatible)
{
    int32_t parts[64] = {(int32_t)point};
    int64_t n = 1;
    if (!lti_is_undivided(point)) {
        int last = 0;
        utf8proc_option_t form = UTF8PROC_DECOMPOSE | (compatible ? UTF8PROC_COMPAT : 0);
        n = utf8proc_decompose_char((int32_t)point, parts, LTI_COUNT(parts), form, &last);
    }
    if (n > 0 && n <= LTI_COUNT(parts)) lti_text_add(points, (char *)parts, (size_t)n * sizeof *parts);
}

/* Sorts a run of marks by class, equal ones as they came: by insertion, or a long run by counting. */
static lt_status order_run(lt_ctx *ctx, int32_t *run, size_t count)
{
    if (count <= 32) {
        for (size_t i = 1; i < count; i++) {
            int32_t point = run[i];
            size_t at = i;
            for (; at > 0 && class_of(run[at - 1]) > class_of(point); at--) run[at] = run[at - 1];
            run[at] = point;
        }
        return LT_OK;
    }
    int32_t *sorted = lti_alloc_array(ctx, count, sizeof *sorted);
    if (!sorted) return LT_ENOMEM;
    size_t start[257] = {0};
    for (size_t i = 0; i < count; i++) start[class_of(run[i]) + 1]++;
    for (int c = 0; c < 256; c++) start[c + 1] += start[c];
    for (size_t i = 0; i < count; i++) sorted[start[class_of(run[i])]++] = run[i];
    memcpy(run, sorted, count * sizeof *run);
    lti_free(ctx, sorted);
    return LT_OK;
}

static lt_status order(lt_ctx *ctx, int32_t *points, size_t count)
{
    for (size_t i = 0; i < count;) {
        size_t begin = i;
        while (i < count && class_of(points[i]) > 0) i++;
        if (i - begin > 1) LTI_TRY(order_run(ctx, points + begin, i - begin));
        i += i == begin;
    }
    return LT_OK;
}

/* Composes and writes what stands between newer marks: for the peers those are letters that nothing passes. */
static void write_composed(int32_t *points, int64_t count, lti_text *out)
{
    for (int64_t i = 0; i < count;) {
        int64_t begin = i;
        while (i < count && !(points[i] >= 0x300 && lti_is_newer_mark((uint32_t)points[i]))) i++;
        int64_t n = i - begin;
        if (n) n = utf8proc_normalize_utf32(points + begin, n, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
        for (int64_t k = 0; k < n; k++) add_point(out, (uint32_t)points[begin + k]);
        if (i < count) add_point(out, (uint32_t)points[i++]);
    }
}

static lt_status form_stretch(const lti_step *step, const char *text, size_t length, lti_text *points, lti_text *out)
{
    points->length = 0;
    for (size_t at = 0; at < length;) {
        int n = lti_utf8_length((const unsigned char *)text + at, length - at);
        decompose(points, lti_utf8_point((const unsigned char *)text + at, n), step->compatible);
        at += (size_t)n;
    }
    if (points->failed) return LT_ENOMEM;
    int32_t *list = (int32_t *)(void *)points->data;
    int64_t count = (int64_t)(points->length / sizeof *list);
    LTI_TRY(order(out->ctx, list, (size_t)count));
    if (step->kind == LTI_COMPOSE)
        write_composed(list, count, out);
    else
        for (int64_t i = 0; i < count; i++) add_point(out, (uint32_t)list[i]);
    return LT_OK;
}

static lt_status normal_form(const lti_step *step, const char *text, size_t length, lti_text *out)
{
    lti_text points = {.ctx = out->ctx};
    lt_status status = LT_OK;
    for (size_t at = 0; at < length && status == LT_OK;) {
        size_t begin = at;
        while (at < length && !(text[at] & 0x80)) at++;
        size_t plain = at == length || at == begin ? at : at - 1; /* the last letter may take an accent */
        lti_text_add(out, text + begin, plain - begin);
        while (at < length && text[at] & 0x80) at++;
        if (at > plain) status = form_stretch(step, text + plain, at - plain, &points, out);
    }
    lti_text_free(&points);
    return status;
}

/* ---- Character by character ---- */

static void lower(lti_text *out, uint32_t point)
{
    add_point(out, point == 0x130 ? 'i' : (uint32_t)utf8proc_tolower((int32_t)point));
    if (point == 0x130) add_point(out, 0x307); /* the one letter whose small form is two characters */
}

static void step_on(lti_step_kind kind, uint32_t point, lti_text *out)
{
    switch (kind) {
    case LTI_LOWERCASE: lower(out, point); break;
    case LTI_DROP_MARKS:
        if (!lti_is_mark(point)) add_point(out, point);
        break;
    case LTI_DROP_ACCENTS:
        if (!lti_is_accent(point)) add_point(out, point);
        break;
    case LTI_CLEAN:
        if (!lti_is_unclean(point)) add_point(out, lti_is_white(point) ? ' ' : point);
        break;
    default: /* LTI_SPACE_CHINESE */
        if (lti_is_chinese(point)) add_point(out, ' ');
        add_point(out, point);
        if (lti_is_chinese(point)) add_point(out, ' ');
    }
}

/* Printable ASCII passes all of these steps as it is, but for its case. */
static size_t plain_run(lti_step_kind kind, const char *text, size_t length)
{
    size_t n = 0;
    while (n < length && text[n] >= ' ' && text[n] < 0x7F &&
           !(kind == LTI_LOWERCASE && text[n] >= 'A' && text[n] <= 'Z'))
        n++;
    return n;
}

static void characters(lti_step_kind kind, const char *text, size_t length, lti_text *out)
{
    for (size_t at = 0; at < length;) {
        size_t plain = plain_run(kind, text + at, length - at);
        lti_text_add(out, text + at, plain);
        at += plain;
        if (at == length) break;
        int n = lti_utf8_length((const unsigned char *)text + at, length - at);
        step_on(kind, lti_utf8_point((const unsigned char *)text + at, n), out);
        at += (size_t)n;
    }
}

static void trim(const lti_step *step, const char *text, size_t length, lti_text *out)
{
    const unsigned char *bytes = (const unsigned char *)text;
    size_t begin = 0, end = length;
    while (step->left && begin < end) {
        int n = lti_utf8_length(bytes + begin, end - begin);
        if (!lti_is_white(lti_utf8_point(bytes + begin, n))) break;
        begin += (size_t)n;
    }
    while (step->right && begin < end) {
        size_t at = end - 1;
        while (at > begin && (bytes[at] & 0xC0) == 0x80) at--;
        if (!lti_is_white(lti_utf8_point(bytes + at, (int)(end - at)))) break;
        end = at;
    }
    lti_text_add(out, text + begin, end - begin);
}

lt_status lti_unicode_step(const lti_step *step, const char *text, size_t length, lti_text *out)
{
    if (step->kind == LTI_DECOMPOSE || step->kind == LTI_COMPOSE) return normal_form(step, text, length, out);
    if (step->kind == LTI_TRIM)
        trim(step, text, length, out);
    else
        characters(step->kind, text, length, out);
    return LT_OK;
}
