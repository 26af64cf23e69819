/* rng.c - Philox4x32-10. Constants and rounds as in the paper; checked against Random123's known answers. */
#include "base/rng.h"

#include <math.h>

uint32_t lti_rng_stream(const char *name)
{
    uint64_t h = 14695981039346656037u;
    for (const unsigned char *p = (const unsigned char *)name; *p; p++) h = (h ^ *p) * 1099511628211u;
    return (uint32_t)(h ^ h >> 32);
}

void lti_philox(const lti_rng *rng, uint64_t index, uint32_t out[4])
{
    uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32), c2 = rng->step, c3 = rng->stream;
    uint32_t k0 = (uint32_t)rng->seed, k1 = (uint32_t)(rng->seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

uint32_t lti_rng_word(const lti_rng *rng, uint64_t index)
{
    uint32_t block[4];
    lti_philox(rng, index / 4, block);
    return block[index % 4];
}

double lti_rng_uniform(const lti_rng *rng, uint64_t index)
{
    return lti_rng_word(rng, index) * 0x1p-32;
}

double lti_rng_normal(const lti_rng *rng, uint64_t index)
{
    uint32_t block[4];
    lti_philox(rng, index / 2, block);
    const uint32_t *word = block + 2 * (index % 2);
    double u = 1.0 - word[0] * 0x1p-32; /* (0, 1]: the logarithm is finite */
    double v = word[1] * 0x1p-32;
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

void lti_rng_shuffle(const lti_rng *rng, int64_t n, int64_t *order)
{
    for (int64_t i = 0; i < n; i++) order[i] = i;
    for (int64_t i = n - 1; i > 0; i--) {
        uint64_t word = (uint64_t)lti_rng_word(rng, 2 * (uint64_t)i) << 32 | lti_rng_word(rng, 2 * (uint64_t)i + 1);
        int64_t j = (int64_t)((unsigned __int128)word * (uint64_t)(i + 1) >> 64);
        int64_t t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
}
