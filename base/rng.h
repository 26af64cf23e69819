/* rng.h - counter-based random numbers: Philox4x32-10 (Salmon et al., SC 2011).
 *
 * A number depends only on (seed, stream, step, index): no state to save, any order, any thread. The stream is the
 * hash of a name, so that attaching something to a model does not change another site's dropout. */
#ifndef LTI_RNG_H
#define LTI_RNG_H

#include <stdint.h>

typedef struct lti_rng {
    uint64_t seed;   /* the key */
    uint32_t stream; /* counter word 3 */
    uint32_t step;   /* counter word 2 */
} lti_rng;

/* FNV-1a, folded to 32 bits: the stream of a name. */
uint32_t lti_rng_stream(const char *name);

/* The 4 words of block `index` (counter words 0 and 1). */
void lti_philox(const lti_rng *rng, uint64_t index, uint32_t out[4]);

/* Word number `index` of the stream: out[index % 4] of block index / 4. */
uint32_t lti_rng_word(const lti_rng *rng, uint64_t index);
double lti_rng_uniform(const lti_rng *rng, uint64_t index); /* [0, 1), 32 bits */
double lti_rng_normal(const lti_rng *rng, uint64_t index);  /* Box-Muller on words 2*index, 2*index + 1 */

/* Fills order[0 .. n) with a permutation of 0 .. n-1 that depends on rng alone (Fisher-Yates). */
void lti_rng_shuffle(const lti_rng *rng, int64_t n, int64_t *order);

#endif
