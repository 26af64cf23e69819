/* lattice_blocks.h - blocks of any lattice for tests: bytes from the generator that scripts/goldens_lattices.py has,
 * too, with scales that are finite and below 2. */
#ifndef TS_LATTICE_BLOCKS_H
#define TS_LATTICE_BLOCKS_H

#include "lathe/base.h"

#include <string.h>

static const struct {
    lt_dtype type;
    int scales, at[2]; /* where a block's scales are: f16, or the upper half of a float */
} ts_lattices[] = {
    {LT_Q4_0, 1, {0}},    {LT_Q4_1, 2, {0, 2}},   {LT_Q5_0, 1, {0}},   {LT_Q5_1, 2, {0, 2}},
    {LT_Q8_0, 1, {0}},    {LT_Q2_K, 2, {80, 82}}, {LT_Q3_K, 1, {108}}, {LT_Q4_K, 2, {0, 2}},
    {LT_Q5_K, 2, {0, 2}}, {LT_Q6_K, 1, {208}},    {LT_IQ4_NL, 1, {0}}, {LT_MXFP4, 0, {0}},
    {LT_TQ1_0, 1, {52}},  {LT_TQ2_0, 1, {64}},    {LT_NF4, 1, {2}},    {LT_FP4, 1, {2}},
};

enum { TS_LATTICES = sizeof ts_lattices / sizeof ts_lattices[0] };

/* `count` blocks; the first two all zeros and all ones when `extremes`. */
static inline void ts_make_blocks(int lattice, int64_t count, bool extremes, uint8_t *blocks)
{
    size_t size = lt_dtype_bytes(ts_lattices[lattice].type);
    uint32_t s = 1;
    for (size_t i = 0; i < (size_t)count * size; i++) {
        s = s * 1664525u + 1013904223u;
        blocks[i] = (uint8_t)(s >> 24);
    }
    if (extremes && count > 1) {
        memset(blocks, 0, size);
        memset(blocks + size, 0xFF, size);
    }
    for (int64_t b = 0; b < count; b++, blocks += size)
        for (int k = 0; k < ts_lattices[lattice].scales; k++) blocks[ts_lattices[lattice].at[k] + 1] &= 0xBF;
}

/* The same for products: MXFP4's exponents, which may be anything, are brought near 127. */
static inline void ts_make_moderate_blocks(int lattice, int64_t count, uint8_t *blocks)
{
    size_t size = lt_dtype_bytes(ts_lattices[lattice].type);
    ts_make_blocks(lattice, count, false, blocks);
    for (int64_t b = 0; b < count && ts_lattices[lattice].type == LT_MXFP4; b++, blocks += size)
        blocks[0] = (uint8_t)(116 + blocks[0] % 12);
}

#endif
