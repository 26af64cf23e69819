/* lattice_streams.h - the numbers on which encoders of lattices are compared with other hands, which include this file
 * too (scripts/goldens_lattices_k.c): the same floats everywhere, from a linear congruential generator. */
#ifndef TS_LATTICE_STREAMS_H
#define TS_LATTICE_STREAMS_H

#include <stdint.h>

/* (-1, 1) */
static inline float ts_stream_next(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(int32_t)*state * 0x1p-31f;
}

/* Numbers of many sizes up to 0.1. */
static inline void ts_stream_plain(int64_t n, uint32_t *state, float *x)
{
    for (int64_t i = 0; i < n; i++) {
        float u = ts_stream_next(state);
        x[i] = u * u * u * 0.1f;
    }
}

/* Importance: up to 2, hardly any 0. */
static inline void ts_stream_importance(int64_t n, uint32_t *state, float *x)
{
    for (int64_t i = 0; i < n; i++) {
        float u = ts_stream_next(state);
        x[i] = u * u * 2;
    }
}

/* Runs of 16, 32, .. numbers of odd kinds; n a multiple of 16. */
static inline void ts_stream_odd(int64_t n, uint32_t *state, float *x)
{
    int kind = 0;
    for (int64_t i = 0; i < n; i++) {
        if (i % 16 == 0 && ts_stream_next(state) < 0.5f) kind = (int)((ts_stream_next(state) + 1) * 6);
        float u = ts_stream_next(state);
        switch (kind) {
        case 0: x[i] = 0; break;
        case 1: x[i] = u < 0 ? -u : u; break;                      /* one-sided */
        case 2: x[i] = (u < 0 ? u : -u) - 1; break;                /* and far from 0 */
        case 3: x[i] = (float)(int)(u * 32) * 0.0625f; break;      /* ties */
        case 4: x[i] = u * 1e-41f; break;                          /* denormal */
        case 5: x[i] = i % 16 == 7 ? u * 1000 : u * 0.01f; break;  /* one outlier */
        case 6: x[i] = -0.3f; break;                               /* constant */
        case 7: x[i] = u * 1e-6f; break;                           /* nothing beside its neighbours */
        case 8: x[i] = (float)(int)(u * 2) * 0.0437f; break;       /* ternary, most of it 0 */
        case 9: x[i] = u * 2e-16f * (i % 2 ? 10.0f : 1.0f); break; /* about what counts as nothing */
        default: x[i] = u * u * u; break;
        }
    }
}

#endif
