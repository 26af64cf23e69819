/* test_gemm_stored.c - products whose second factor is decoded on the way, beyond what test_gemm.c sweeps: a first factor
 * in bf16 before a lattice, f16 or int8 codes with scales, and the types of activations. Judged by a double loop over
 * what the bytes decode to; every provider, 1 and 3 threads bit by bit. */
#include "base/half.h"
#include "kernels/gemm.h"
#include "kernels/lattice/lattice.h"
#include "tests/testing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const providers[] = {"onednn", "openblas", "ref"};
static const lt_dtype types[] = {LT_Q8_0, LT_Q4_0, LT_Q8_1, LT_Q8_K, LT_F16, LT_I8};
static const lti_gemm_shape shapes[] = {
    {.m = 40, .n = 256, .k = 61},
    {.m = 37, .n = 70, .k = 256, .tb = true},
    {.m = 5, .n = 33, .k = 512, .tb = true},
    {.m = 300, .n = 512, .k = 33, .ta = true, .accumulate = true},
    {.m = 20, .n = 256, .k = 2100, .ta = true},
    {.m = 33, .n = 40, .k = 2304, .tb = true, .accumulate = true},
    {.m = 33, .n = 256, .k = 40, .serial = true},
};

enum { MOST = 2304 * 256 };
static lt_real a[MOST], b[MOST], scale[2304], c[2][300 * 512], start[300 * 512];
static uint16_t rounded[MOST];
static uint8_t bytes[MOST * 4];

/* Random blocks with scales near 0.01; b becomes what they stand for. */
static void make_b(lt_dtype type, int64_t rows, int64_t columns)
{
    int64_t n = rows * columns, block = lt_dtype_block(type), size = (int64_t)lt_dtype_bytes(type);
    for (int64_t i = 0; i < n / block * size; i++) bytes[i] = (uint8_t)(ts_uniform("bytes", i) * 256);
    for (int64_t i = 0; i < n / block && block > 1; i++) {
        float d = 0.01f * (float)(1 + i % 7);
        uint16_t half = lti_f32_to_f16(d);
        memcpy(bytes + i * size, type == LT_Q8_K ? (const void *)&d : &half, type == LT_Q8_K ? 4 : 2);
    }
    for (int64_t i = 0; i < n && type == LT_F16; i++) {
        uint16_t half = lti_f32_to_f16((float)ts_normal("b", i));
        memcpy(bytes + 2 * i, &half, 2);
    }
    for (int64_t r = 0; r < rows; r++) {
        scale[r] = (lt_real)(0.01 * (double)(1 + r % 5));
        for (int64_t i = r * columns; i < (r + 1) * columns && type == LT_I8; i++) b[i] = (int8_t)bytes[i] * scale[r];
    }
    if (type != LT_I8) lti_dequantize(type, n, bytes, b);
}

static void make_a(lt_dtype type, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        a[i] = (lt_real)ts_normal("a", i);
        rounded[i] = lti_f32_to_bf16((float)a[i]);
        if (type == LT_BF16) a[i] = lti_bf16_to_f32(rounded[i]);
    }
}

static bool run(lt_ctx *ctx, const lti_gemm_shape *s, lt_real *out)
{
    lti_gemm *gemm = NULL;
    if (!TS_OK(ctx, lti_gemm_create(ctx, s, &gemm))) return false;
    void *scratch = aligned_alloc(64, (lti_gemm_scratch(gemm) + 127) / 64 * 64);
    memcpy(out, start, (size_t)(s->m * s->n) * sizeof *out);
    const void *first = s->a_type == LT_BF16 ? (const void *)rounded : a;
    bool ok = TS_OK(ctx, lti_gemm_run_scaled(gemm, first, bytes, s->b_type == LT_I8 ? scale : NULL, out, scratch));
    free(scratch);
    lti_gemm_free(ctx, gemm);
    return ok;
}

/* The largest difference from a double loop, in parts of the sum of magnitudes. */
static double off(const lti_gemm_shape *s, const lt_real *got)
{
    double most = 0;
    for (int64_t i = 0; i < s->m; i++)
        for (int64_t j = 0; j < s->n; j++) {
            double sum = s->accumulate ? (double)start[i * s->n + j] : 0, size = fabs(sum);
            for (int64_t l = 0; l < s->k; l++) {
                double x = (double)a[s->ta ? l * s->m + i : i * s->k + l];
                x *= (double)b[s->tb ? j * s->k + l : l * s->n + j];
                sum += x;
                size += fabs(x);
            }
            double d = fabs((double)got[i * s->n + j] - sum) / (size + 1e-30);
            if (!(d <= most)) most = d;
        }
    return most;
}

static void check(lt_ctx *ctx, const lti_gemm_shape *s)
{
    make_a(s->a_type, s->m * s->k);
    make_b(s->b_type, s->tb ? s->n : s->k, s->tb ? s->k : s->n);
    ts_fill_normal("start", s->m * s->n, 1, start);
    for (int p = 0; p < LTI_COUNT(providers); p++) {
        if (!lti_gemm_force(providers[p])) continue;
        bool narrow = s->a_type == LT_BF16 && lti_gemm_native_bf16(); /* b is rounded to 8 bits, too */
        lt_set_threads(1);
        if (!run(ctx, s, c[0])) break;
        lt_set_threads(3);
        run(ctx, s, c[1]);
        double d = off(s, c[0]);
        TS_CHECK(d < (narrow ? 4e-3 : ts_tolerance(1e-13, 2e-6)), "%s, %s x %s, m=%d n=%d k=%d: off by %g",
                 providers[p], lt_dtype_name(s->a_type), lt_dtype_name(s->b_type), (int)s->m, (int)s->n, (int)s->k, d);
        TS_CHECK(ts_same_bytes((size_t)(s->m * s->n) * sizeof **c, c[0], c[1]), "%s: threads change bits",
                 providers[p]);
    }
    lti_gemm_force(NULL);
}

static void products(void)
{
    int before = lt_threads();
    lt_ctx *ctx = lt_ctx_create(NULL);
    for (int i = 0; i < LTI_COUNT(shapes) * LTI_COUNT(types) * 2; i++) {
        lti_gemm_shape s = shapes[i / 2 % LTI_COUNT(shapes)];
        s.b_type = types[i / 2 / LTI_COUNT(shapes)];
        s.a_type = i % 2 ? LT_BF16 : LT_F32;
        check(ctx, &s);
    }
    lt_set_threads(before);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

int lti_suite_gemm_stored(void)
{
    return ts_suite("gemm_stored", 1, (ts_test[]){{"products", products}});
}
