/* scheme.c - the words for grids, and what they weigh.
 *
 * A word is a name and qualifiers, "int4:g32,asym"; between them stands ':' or ',', so that a word without commas can be
 * written where a list has them. What is printed is the one shortest spelling, defaults left out. */
#include "lathe/scheme.h"
#include "base/ctx.h"

#include <limits.h>
#include <string.h>

#define SCHEME_WORDS                                                                                                   \
    "f32, f16, bf16, a block type (q4_0 .. tq2_0, mxfp4, nf4, nf4:dq, fp4), "                                          \
    "intN[:gG|channel|tensor][,asym][,full][,half] with N 2 to 8, ternary[:gG|channel|tensor][,half], "                \
    "fp8[:e5m2][,channel|tensor]"

enum { MOST_GROUP = 1 << 24 };

lt_scheme lt_scheme_of(lt_dtype type)
{
    return (lt_scheme){.kind = LT_SCHEME_TYPE, .type = type};
}

bool lt_scheme_is_float(const lt_scheme *s)
{
    return s->kind == LT_SCHEME_TYPE && s->type == LT_F32;
}

bool lt_scheme_same(const lt_scheme *a, const lt_scheme *b)
{
    return a->kind == b->kind && a->type == b->type && a->bits == b->bits && a->asymmetric == b->asymmetric &&
           a->full_range == b->full_range && a->e5m2 == b->e5m2 && a->double_scales == b->double_scales &&
           a->half_scales == b->half_scales && a->per == b->per && a->group == b->group;
}

/* ---- Reading ---- */

/* One qualifier at a time, cut out of the text; `per` is set once. */
typedef struct reader {
    lt_scheme s;
    bool has_per;
} reader;

static bool take_flag(bool *flag)
{
    bool first = !*flag;
    *flag = true;
    return first;
}

static bool take_per(reader *r, lt_granularity per, int64_t group)
{
    bool first = !r->has_per;
    r->has_per = true;
    r->s.per = per;
    r->s.group = group;
    return first;
}

/* "32" of "g32"; 0 when it is no size of a group. */
static int64_t group_size(const char *digits)
{
    int64_t n = 0;
    for (const char *c = digits; *c; c++) {
        if (*c < '0' || *c > '9' || (n = 10 * n + (*c - '0')) > MOST_GROUP) return 0;
    }
    return n;
}

/* False: the qualifier says nothing about this kind of grid, or was given before. */
static bool take(reader *r, const char *word)
{
    lt_scheme *s = &r->s;
    bool type = s->kind == LT_SCHEME_TYPE, integer = s->kind == LT_SCHEME_INT;
    if (type) return (s->type == LT_NF4 || s->type == LT_FP4) && !strcmp(word, "dq") && take_flag(&s->double_scales);
    if (!strcmp(word, "tensor")) return take_per(r, LT_PER_TENSOR, 0);
    if (!strcmp(word, "channel")) return take_per(r, LT_PER_CHANNEL, 0);
    if (s->kind == LT_SCHEME_FP8) return !strcmp(word, "e5m2") && take_flag(&s->e5m2);
    if (word[0] == 'g') return group_size(word + 1) > 0 && take_per(r, LT_PER_GROUP, group_size(word + 1));
    if (integer && !strcmp(word, "asym")) return !s->full_range && take_flag(&s->asymmetric);
    if (integer && !strcmp(word, "full")) return !s->asymmetric && take_flag(&s->full_range);
    if (!strcmp(word, "half")) return take_flag(&s->half_scales);
    return false;
}

/* The part before the qualifiers. */
static bool take_name(lt_scheme *s, const char *name)
{
    if (!strcmp(name, "ternary")) {
        *s = (lt_scheme){.kind = LT_SCHEME_TERNARY, .per = LT_PER_TENSOR};
        return true;
    }
    if (!strcmp(name, "fp8")) {
        *s = (lt_scheme){.kind = LT_SCHEME_FP8, .per = LT_PER_CHANNEL};
        return true;
    }
    if (!strncmp(name, "int", 3) && name[3] >= '2' && name[3] <= '8' && !name[4]) {
        *s = (lt_scheme){.kind = LT_SCHEME_INT, .bits = name[3] - '0', .per = LT_PER_CHANNEL};
        return true;
    }
    *s = lt_scheme_of(LT_F32);
    if (!lt_dtype_parse(name, &s->type)) return false;
    bool activations = s->type == LT_Q8_1 || s->type == LT_Q8_K; /* grids of integer products alone */
    return !activations && s->type != LT_I8 && s->type != LT_I32;
}

lt_status lt_scheme_parse(lt_ctx *ctx, const char *text, lt_scheme *scheme)
{
    char word[LT_SCHEME_TEXT];
    reader r = {0};
    *scheme = lt_scheme_of(LT_F32);
    for (const char *at = text;; at++) {
        size_t n = strcspn(at, ":,");
        if (n >= sizeof word) break;
        memcpy(word, at, n);
        word[n] = 0;
        bool taken = at == text ? take_name(&r.s, word) : take(&r, word);
        if (!taken) {
            return lti_fail(ctx, LT_EINVAL, "'%s' is no grid for numbers: '%s' is not understood there; known are %s",
                            text, word, SCHEME_WORDS);
        }
        at += n;
        if (*at) continue;
        *scheme = r.s;
        return LT_OK;
    }
    return lti_fail(ctx, LT_EINVAL, "'%.60s..' is no grid for numbers; known are %s", text, SCHEME_WORDS);
}

/* ---- Writing ---- */

typedef struct writer {
    char *text;
    size_t length;
    bool qualified;
} writer;

static void write_text(writer *w, const char *text)
{
    size_t n = strlen(text);
    if (w->length + n >= LT_SCHEME_TEXT) return;
    memcpy(w->text + w->length, text, n + 1);
    w->length += n;
}

static void qualify(writer *w, const char *word)
{
    write_text(w, w->qualified ? "," : ":");
    write_text(w, word);
    w->qualified = true;
}

static void write_per(writer *w, const lt_scheme *s, lt_granularity usual)
{
    char word[24], *digit = word + sizeof word - 1;
    if (s->per == LT_PER_GROUP) {
        *digit = 0;
        for (uint64_t n = s->group > 0 ? (uint64_t)s->group : 0; n; n /= 10) *--digit = (char)('0' + n % 10);
        *--digit = 'g';
        qualify(w, digit);
    } else if (s->per != usual) {
        qualify(w, s->per == LT_PER_TENSOR ? "tensor" : "channel");
    }
}

const char *lt_scheme_name(const lt_scheme *s, char *name)
{
    writer w = {.text = name};
    char integer[] = {'i', 'n', 't', (char)('0' + s->bits % 10), 0};
    switch (s->kind) {
    case LT_SCHEME_INT:
        write_text(&w, integer);
        write_per(&w, s, LT_PER_CHANNEL);
        if (s->asymmetric) qualify(&w, "asym");
        if (s->full_range) qualify(&w, "full");
        if (s->half_scales) qualify(&w, "half");
        break;
    case LT_SCHEME_TERNARY:
        write_text(&w, "ternary");
        write_per(&w, s, LT_PER_TENSOR);
        if (s->half_scales) qualify(&w, "half");
        break;
    case LT_SCHEME_FP8:
        write_text(&w, "fp8");
        if (s->e5m2) qualify(&w, "e5m2");
        write_per(&w, s, LT_PER_CHANNEL);
        break;
    default:
        write_text(&w, lt_dtype_name(s->type));
        if (s->double_scales) qualify(&w, "dq");
        break;
    }
    return name;
}

/* ---- Weighing ---- */

/* count x bits in whole bytes. */
static size_t packed(uint64_t count, unsigned bits)
{
    return (size_t)(count / 8 * bits + (count % 8 * bits + 7) / 8);
}

static size_t type_bytes(const lt_scheme *s, uint64_t n, int64_t columns)
{
    uint64_t block = (uint64_t)lt_dtype_block(s->type), blocks = n / block;
    if (columns % (int64_t)block) return 0;
    if (s->double_scales)
        return n / 2 + blocks + 4 * ((blocks + 255) / 256) + 4; /* codes, scales, their scales, offset */
    return s->type == LT_F32 ? 4 * n : blocks * lt_dtype_bytes(s->type);
}

size_t lt_scheme_bytes(const lt_scheme *s, int64_t rows, int64_t columns)
{
    uint64_t n;
    if (rows < 1 || columns < 1 || __builtin_mul_overflow((uint64_t)rows, (uint64_t)columns, &n) || n > INT64_MAX / 16)
        return 0;
    if (s->kind == LT_SCHEME_TYPE) return type_bytes(s, n, columns);
    uint64_t scales = s->per == LT_PER_TENSOR ? 1 : (uint64_t)rows;
    if (s->per == LT_PER_GROUP) {
        if (s->group < 1) return 0;
        scales *= (uint64_t)((columns - 1) / s->group + 1);
    }
    unsigned bits = s->kind == LT_SCHEME_INT ? (unsigned)s->bits : s->kind == LT_SCHEME_TERNARY ? 2 : 8;
    return (size_t)rows * packed((uint64_t)columns, bits) + scales * (s->half_scales ? 2 : sizeof(lt_real)) +
           (s->asymmetric ? packed(scales, bits) : 0);
}
