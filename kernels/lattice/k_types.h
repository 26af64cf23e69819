/* k_types.h - the K types as encoders see them: 256 numbers in sub-blocks of 16 or 32, each with a scale and perhaps a
 * minimum of few bits, those with one or two f16 scales a block: y = step code - minimum.
 *
 * An encoder goes through four stages, and only the first differs in speed by an order of magnitude from the others:
 * fit (a float scale and minimum for each sub-block: a search), put (round these into the block), steps (read back what
 * the block now says) and code (round every number to that). SIMD replaces fit and code, and shares put, steps, pack and
 * unpack, which is why they are reached through this table and are not static in each type's file.
 *
 * The canon is float arithmetic without contraction in a fixed order, the one GGUF writers use when they are compiled
 * so. What they leave open is fixed here: lti_nearest, and a NaN makes d a NaN (0x7E00) with all else zero. */
#ifndef LTI_K_TYPES_H
#define LTI_K_TYPES_H

#include "kernels/kernels.h"
#include "kernels/lattice/blocks.h"

#include <float.h>
#include <math.h>

/* Scales tried around most / (max - min): (from + by i + most) / (max - min) for i = 0 .. steps. */
typedef struct lti_k_search {
    float from, by;
    int steps, absolute; /* absolute: the error is |e|, not e^2 */
} lti_k_search;

typedef struct lti_k_type {
    int size, bytes;    /* of a sub-block in elements, of a block in bytes */
    int least, most;    /* codes are least .. most, kept in bytes as code - least */
    int d_at;           /* where in a block d is */
    float spread;       /* weighted: an element weighs importance sqrt(spread mean x^2 + x^2); 0: its importance */
    lti_k_search plain; /* unused where least < 0 */
    /* A sub-block's scale; *minimum >= 0; codes as the search saw them: they stay where the scale rounds to 0. */
    float (*fit)(const struct lti_k_type *type, const float *x, float *minimum, uint8_t *codes);
    /* Scales and minima into the block. 0: so small that the block is to be zeros, codes included. */
    int (*put)(const float *scale, const float *minimum, uint8_t *block);
    int (*put_weighted)(const float *scale, const float *minimum, const float *weight, uint8_t *block);
    void (*steps)(const uint8_t *block, float step[16], float minimum[16]);
    void (*pack)(const uint8_t codes[256], uint8_t *block);
    void (*unpack)(const uint8_t *block, uint8_t codes[256]);
} lti_k_type;

extern const lti_k_type lti_q2_k, lti_q3_k, lti_q4_k, lti_q5_k, lti_q6_k;

/* The search of the weighted encoders of types with minima. */
static const lti_k_search lti_k_weighted_search = {-0.9f, 0.05f, 36, 0};

/* The nearest whole number, halves to even, at most 2^22 in magnitude; of infinity and NaN 0. */
static inline int lti_nearest(float v)
{
    if (!(fabsf(v) <= FLT_MAX)) return 0;
    return (int)lrintf(v > 0x1p22f ? 0x1p22f : v < -0x1p22f ? -0x1p22f : v);
}

static inline int lti_nearest_within(float v, int least, int most)
{
    int code = lti_nearest(v);
    return code < least ? least : code > most ? most : code;
}

static inline void lti_put_half(uint8_t *at, float x)
{
    uint16_t half = lti_f32_to_f16(x);
    memcpy(at, &half, sizeof half);
}

/* k_search.c. Scale and minimum for n numbers with weights w: the least squares over the scales of `search`. */
float lti_k_fit_minimum(int n, int most, const float *x, const float *w, const lti_k_search *search, float *minimum,
                        uint8_t *codes);
/* A scale without minimum, codes -most .. most - 1, kept + most: its sign follows the element of largest magnitude. */
float lti_k_fit_extreme(int n, int most, const float *x, const float *w, uint8_t *codes);
/* Another: the codes of the largest magnitude's scale, each changed alone as long as the error falls. */
float lti_k_fit_turns(int n, int most, const float *x, uint8_t *codes);
/* Scales (or minima), none below 0, with weights w: a scale for them and their codes 0 .. most. */
float lti_k_fit_scales(int n, int most, const float *x, const float *w, uint8_t *codes);

/* k_pack.c. Four codes of two bits a byte: Q2_K, and the low bits of Q3_K. */
void lti_k_pack_pairs(const uint8_t codes[256], uint8_t bytes[64]);
void lti_k_unpack_pairs(const uint8_t bytes[64], uint8_t codes[256]);
/* Q4_K and Q5_K: the parts they share. */
void lti_k_pack_low(const uint8_t codes[256], uint8_t bytes[128]);
void lti_k_unpack_low(const uint8_t bytes[128], uint8_t codes[256]);
int lti_k_put_six(const float *scale, const float *minimum, uint8_t *block);
int lti_k_put_six_weighted(const float *scale, const float *minimum, const float *weight, uint8_t *block);
void lti_k_steps_six(const uint8_t *block, float step[16], float minimum[16]);
/* Weights of Q4_K's and Q5_K's plain search. */
float lti_k_fit_six(const lti_k_type *type, const float *x, float *minimum, uint8_t *codes);

/* k_encode.c. The three kernels of every K type; importance may be NULL. */
void lti_k_encode(const lti_k_type *type, int64_t n, const R *x, const R *importance, uint8_t *blocks);
void lti_k_recode(const lti_k_type *type, int64_t n, const R *x, uint8_t *blocks);
/* The weights of a whole block; the sum of each sub-block. */
void lti_k_weights(const lti_k_type *type, const float x[256], const float *importance, float w[256], float sums[16]);
/* New codes for the steps the block has; where a step is 0 they stay. */
void lti_k_code(const lti_k_type *type, const float x[256], const uint8_t *block, uint8_t codes[256]);

/* A type's three kernels that encode, in plain C. */
#define LTI_K_REF_ENCODERS(type)                                                                                       \
    void lti_k_quantize_##type##_ref(int64_t n, const R *x, void *blocks)                                              \
    {                                                                                                                  \
        lti_k_encode(&lti_##type, n, x, NULL, blocks);                                                                 \
    }                                                                                                                  \
    void lti_k_quantize_weighted_##type##_ref(int64_t n, const R *x, const R *importance, void *blocks)                \
    {                                                                                                                  \
        lti_k_encode(&lti_##type, n, x, importance, blocks);                                                           \
    }                                                                                                                  \
    void lti_k_recode_##type##_ref(int64_t n, const R *x, void *blocks)                                                \
    {                                                                                                                  \
        lti_k_recode(&lti_##type, n, x, blocks);                                                                       \
    }

#endif
