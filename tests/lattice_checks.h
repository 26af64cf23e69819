/* lattice_checks.h - what the suites of lattices share: hashes of bytes made elsewhere, and that importance counts. */
#ifndef TS_LATTICE_CHECKS_H
#define TS_LATTICE_CHECKS_H

#include "kernels/kernels.h"
#include "kernels/lattice/lattice.h"
#include "tests/lattice_streams.h"
#include "tests/testing.h"

/* FNV-1a, as the programs in scripts/ have it; goes on from `h`. */
static inline uint64_t ts_fnv_on(uint64_t h, const void *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) h = (h ^ ((const unsigned char *)bytes)[i]) * 1099511628211u;
    return h;
}

static inline uint64_t ts_fnv(const void *bytes, size_t count)
{
    return ts_fnv_on(14695981039346656037u, bytes, count);
}

/* The hash of numbers as floats, in either build. */
static inline uint64_t ts_fnv_floats(int64_t n, const R *x)
{
    uint64_t h = ts_fnv(NULL, 0);
    for (int64_t i = 0; i < n; i++) {
        float y = (float)x[i];
        h = ts_fnv_on(h, &y, sizeof y);
    }
    return h;
}

/* n values of the plain stream, and the importance of a row of them. */
static inline void ts_important_rows(int64_t n, int64_t columns, R *values, R *importance)
{
    uint32_t state = 9;
    float x;
    for (int64_t i = 0; i < columns; i++) ts_stream_importance(1, &state, &x), importance[i] = (R)x;
    for (int64_t i = 0; i < n; i++) ts_stream_plain(1, &state, &x), values[i] = (R)x;
}

/* What counts more is met better; the dispatch takes rows. `blocks` keeps those with importance. */
static inline void ts_importance_counts(lt_dtype type, int64_t n, int64_t columns, const R *values, const R *importance,
                                        R *decoded, uint8_t *blocks)
{
    double error[2] = {0};
    for (int with = 0; with < 2; with++) {
        if (with)
            lti_quantize_weighted(type, columns, n / columns, values, importance, blocks);
        else
            lti_quantize(type, n, values, blocks);
        lti_dequantize(type, n, blocks, decoded);
        for (int64_t i = 0; i < n; i++) {
            double e = (double)(decoded[i] - values[i]);
            error[with] += e * e * (double)importance[i % columns];
        }
    }
    TS_CHECK(error[1] < error[0] * 0.99, "%s: weighted error %g, without importance %g", lt_dtype_name(type), error[1],
             error[0]);
}

#endif
