/* lattice_codes.c - what codes mean apart from scales, by decoding blocks whose scales have been replaced.
 *
 * A table says where the scales of each type lie and which bytes make every scale 1 and every minimum 0. Decoded with
 * those, a block gives its codes; decoded with its own scales and all codes at one end, it gives its reach. The decoders
 * stay the only place that knows the layouts. */
#include "autograd/ops/lattice_codes.h"

#include "kernels/lattice/lattice.h"

#include <math.h>
#include <string.h>

enum { MOST_PATCHES = 6, MOST_BYTES = 320 };

typedef struct patch {
    uint16_t at, count;
    uint8_t value;
} patch;

typedef struct layout {
    lt_dtype type;
    uint8_t low, high; /* code bytes of the least and of the largest code; which is which depends on the scale's sign */
    int levels;
    patch patches[MOST_PATCHES]; /* the bytes of scales */
} layout;

#define HALF_ONE(at)                                                                                                   \
    {at, 1, 0},                                                                                                        \
    {                                                                                                                  \
        at + 1, 1, 0x3C                                                                                                \
    }
#define FLOAT_127                                                                                                      \
    {0, 2, 0}, {2, 1, 0xFE},                                                                                           \
    {                                                                                                                  \
        3, 1, 0x42                                                                                                     \
    }

static const layout layouts[] = {
    {LT_Q4_0, 0, 0xFF, 16, {HALF_ONE(0)}},
    {LT_Q4_1, 0, 0xFF, 16, {HALF_ONE(0), {2, 2, 0}}},
    {LT_Q5_0, 0, 0xFF, 32, {HALF_ONE(0)}},
    {LT_Q5_1, 0, 0xFF, 32, {HALF_ONE(0), {2, 2, 0}}},
    {LT_Q8_0, 0x81, 0x7F, 255, {HALF_ONE(0)}},
    {LT_Q2_K, 0, 0xFF, 4, {{0, 16, 1}, HALF_ONE(80), {82, 2, 0}}},
    {LT_Q3_K, 0, 0xFF, 8, {{96, 8, 0x11}, {104, 4, 0xAA}, HALF_ONE(108)}},
    {LT_Q4_K, 0, 0xFF, 16, {HALF_ONE(0), {2, 2, 0}, {4, 4, 1}, {8, 4, 0}, {12, 4, 1}}},
    {LT_Q5_K, 0, 0xFF, 32, {HALF_ONE(0), {2, 2, 0}, {4, 4, 1}, {8, 4, 0}, {12, 4, 1}}},
    {LT_Q6_K, 0, 0xFF, 64, {{192, 16, 1}, HALF_ONE(208)}},
    {LT_IQ4_NL, 0, 0xFF, 16, {HALF_ONE(0)}},
    {LT_MXFP4, 0xFF, 0x77, 16, {{0, 1, 128}}},
    {LT_TQ1_0, 0, 0xFF, 3, {HALF_ONE(52)}},
    {LT_TQ2_0, 0, 0xAA, 3, {HALF_ONE(64)}},
    {LT_NF4, 0, 0xFF, 16, {FLOAT_127}},
    {LT_FP4, 0xBB, 0x33, 16, {FLOAT_127}},
};

static const layout *layout_of(lt_dtype type)
{
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++)
        if (layouts[i].type == type) return &layouts[i];
    return NULL;
}

bool lti_lattice_codes(lt_dtype type, int64_t n, const void *blocks, int8_t *codes)
{
    const layout *l = layout_of(type);
    size_t bytes = lt_dtype_bytes(type);
    int64_t size = lt_dtype_block(type);
    uint8_t block[MOST_BYTES];
    lt_real value[LTI_MOST_BLOCK];
    if (!l) return false;
    for (int64_t b = 0; b < n / size; b++) {
        memcpy(block, (const uint8_t *)blocks + (size_t)b * bytes, bytes);
        for (const patch *p = l->patches; p < l->patches + MOST_PATCHES && p->count; p++)
            memset(block + p->at, p->value, p->count);
        lti_dequantize(type, size, block, value);
        for (int64_t i = 0; i < size; i++) codes[b * size + i] = (int8_t)lrint((double)value[i]);
    }
    return true;
}

/* The block with its own scales and every byte of codes `fill`. */
static void decode_end(const layout *l, const uint8_t *block, uint8_t fill, lt_real *value)
{
    uint8_t end[MOST_BYTES];
    memset(end, fill, lt_dtype_bytes(l->type));
    for (const patch *p = l->patches; p < l->patches + MOST_PATCHES && p->count; p++)
        memcpy(end + p->at, block + p->at, p->count);
    lti_dequantize(l->type, lt_dtype_block(l->type), end, value);
}

lt_real lti_lattice_reach(lt_dtype type, const void *block, lt_real *least, lt_real *most)
{
    const layout *l = layout_of(type);
    lt_real width = 0;
    if (!l) return -1;
    decode_end(l, block, l->low, least);
    decode_end(l, block, l->high, most);
    for (int64_t i = 0; i < lt_dtype_block(type); i++) {
        lt_real a = least[i], b = most[i];
        least[i] = b < a ? b : a;
        most[i] = b < a ? a : b;
        if (most[i] - least[i] > width) width = most[i] - least[i];
    }
    return width / (lt_real)(2 * (l->levels - 1));
}
