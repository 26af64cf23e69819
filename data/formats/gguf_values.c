/* gguf_values.c - the values of keys as numbers, whichever of the eleven types somebody's converter chose.
 *
 * Other programs write the same key as u32, i32, u64 or even f32 for a whole number of seconds; a reader that wants one
 * type exactly refuses good files. Kinds stay apart, though: no float is a whole number, no bool is either. */
#include "data/formats/gguf_file.h"

#include <string.h>

/* What a stored number is: one of the three is set. */
typedef struct number {
    enum { NONE, WHOLE, LARGE, REAL, TRUTH } kind; /* large: a u64 past INT64_MAX */
    int64_t whole;
    uint64_t large;
    double real;
} number;

#define LOAD(type, field, value_kind)                                                                                  \
    do {                                                                                                               \
        type value;                                                                                                    \
        memcpy(&value, at, sizeof value);                                                                              \
        return (number){.kind = value_kind, .field = value};                                                           \
    } while (0)

static number number_at(lt_gguf_type type, const uint8_t *at)
{
    uint64_t large;
    switch (type) {
    case LT_GGUF_U8: LOAD(uint8_t, whole, WHOLE);
    case LT_GGUF_I8: LOAD(int8_t, whole, WHOLE);
    case LT_GGUF_U16: LOAD(uint16_t, whole, WHOLE);
    case LT_GGUF_I16: LOAD(int16_t, whole, WHOLE);
    case LT_GGUF_U32: LOAD(uint32_t, whole, WHOLE);
    case LT_GGUF_I32: LOAD(int32_t, whole, WHOLE);
    case LT_GGUF_I64: LOAD(int64_t, whole, WHOLE);
    case LT_GGUF_F32: LOAD(float, real, REAL);
    case LT_GGUF_F64: LOAD(double, real, REAL);
    case LT_GGUF_BOOL: return (number){.kind = TRUTH, .whole = *at != 0};
    case LT_GGUF_U64:
        memcpy(&large, at, sizeof large);
        return large > INT64_MAX ? (number){.kind = LARGE, .large = large}
                                 : (number){.kind = WHOLE, .whole = (int64_t)large};
    default: return (number){.kind = NONE};
    }
}

static number item_of(const lt_gguf_pair *pair, int64_t index)
{
    if (!pair || index < 0 || index >= pair->count || !pair->data) return (number){.kind = NONE};
    lt_gguf_type type = pair->type == LT_GGUF_ARRAY ? pair->item : pair->type;
    return number_at(type, (const uint8_t *)pair->data + (size_t)index * lti_gguf_number_bytes(type));
}

static number single(const lt_gguf *g, const char *key)
{
    const lt_gguf_pair *pair = lt_gguf_get(g, key);
    return pair && pair->type != LT_GGUF_ARRAY ? item_of(pair, 0) : (number){.kind = NONE};
}

static bool as_real(number n, double *value)
{
    if (n.kind != WHOLE && n.kind != LARGE && n.kind != REAL) return false;
    *value = n.kind == WHOLE ? (double)n.whole : n.kind == LARGE ? (double)n.large : n.real;
    return true;
}

bool lt_gguf_uint(const lt_gguf *g, const char *key, uint64_t *value)
{
    number n = single(g, key);
    if (n.kind != LARGE && (n.kind != WHOLE || n.whole < 0)) return false;
    *value = n.kind == LARGE ? n.large : (uint64_t)n.whole;
    return true;
}

bool lt_gguf_real(const lt_gguf *g, const char *key, double *value)
{
    return as_real(single(g, key), value);
}

bool lt_gguf_bool(const lt_gguf *g, const char *key, bool *value)
{
    number n = single(g, key);
    if (n.kind != TRUTH) return false;
    *value = n.whole != 0;
    return true;
}

bool lt_gguf_text(const lt_gguf *g, const char *key, lt_gguf_string *value)
{
    const lt_gguf_pair *pair = lt_gguf_get(g, key);
    if (!pair || pair->type != LT_GGUF_STRING) return false;
    *value = pair->strings[0];
    return true;
}

bool lt_gguf_item_real(const lt_gguf_pair *pair, int64_t index, double *value)
{
    return as_real(item_of(pair, index), value);
}

bool lt_gguf_item_int(const lt_gguf_pair *pair, int64_t index, int64_t *value)
{
    number n = item_of(pair, index);
    if (n.kind != WHOLE && n.kind != TRUTH) return false;
    *value = n.whole;
    return true;
}
