/* test_imatrix_codes.c - codes by importance files: the bytes of llama-quantize, also where the sums are of odd sizes; and
 * columns that nothing came through. */
#include "qat/rounding.h"
#include "tests/data_files.h"
#include "tests/lattice_checks.h"

#include <math.h>
#include <stdlib.h>

/* The bytes that ggml's encoders make of the streams with the importance as llama-quantize passes it on: hashes of
 * test_lattice_encoders.c and test_lattice_k.c. */
static void imatrix_is_ggmls(void)
{
    enum { N = 65536, K = 1024 };
    static const struct {
        lt_dtype type;
        uint64_t hash;
    } types[] = {{LT_Q4_0, 0x25e5f397e86a2285}, {LT_Q4_1, 0xd6e800b18e29dbd1}, {LT_Q5_0, 0x01e179b7f48191e2},
                 {LT_Q5_1, 0xaf266a38c4ecaa9f}, {LT_Q2_K, 0x5402e0eeb4a36a0a}, {LT_Q3_K, 0xb136e5936cde8798},
                 {LT_Q4_K, 0x0dd5b71f76e48a45}, {LT_Q5_K, 0x1cc6950b1103ca9c}, {LT_Q6_K, 0xb879dffc49286abd}};
    /* powers of two: the mean is the same float, or as many times larger */
    static const double scales[] = {1, 4, 0x1p-40, 0x1p-130, 0x1p200};
    float *floats = calloc(N, sizeof *floats), counts[K];
    lt_real *w = calloc(N, sizeof *w), *values = calloc(N, sizeof *values);
    uint8_t *codes = calloc(N, 2);
    double squares[K];
    uint32_t state = 1;
    lt_ctx *ctx = lt_ctx_create(NULL);
    ts_stream_plain(N, &state, floats);
    ts_stream_importance(K, &state, counts);
    for (int i = 0; i < N; i++) w[i] = (lt_real)floats[i];
    for (int i = 0; i < LTI_COUNT(types) * LTI_COUNT(scales); i++) {
        lt_dtype type = types[i / LTI_COUNT(scales)].type;
        double scale = scales[i % LTI_COUNT(scales)];
        for (int k = 0; k < K; k++) squares[k] = (double)counts[k] * scale;
        lti_inputs in = {.columns = K, .positions = scale == 4 ? 4 : 1, .squares = squares};
        lti_rounding r = {.ctx = ctx, .name = "w", .scheme = lt_scheme_of(type), .rows = N / K, .columns = K};
        r.w = w, r.values = values, r.codes = codes;
        bool searched;
        TS_OK(ctx, lti_round_searched(&r, &in, &searched));
        uint64_t hash = ts_fnv(codes, (size_t)(N / lt_dtype_block(type)) * lt_dtype_bytes(type));
        TS_CHECK(hash == types[i / LTI_COUNT(scales)].hash, "%s: other bytes than ggml's, sums times %g",
                 lt_dtype_name(type), scale);
    }
    free(floats), free(w), free(values), free(codes);
    lt_ctx_free(ctx);
}

/* A unit of columns that nothing came through is rounded by its numbers, and is no row of zeros. */
static void unmet_columns(void)
{
    static const lt_dtype types[] = {LT_Q4_0, LT_Q4_1, LT_Q5_1, LT_Q2_K, LT_Q3_K, LT_Q4_K, LT_Q6_K};
    enum { K = 512 };
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_real w[K], values[K];
    double squares[K];
    uint8_t codes[2 * K];
    ts_fill_normal("unmet", K, 0.05, w);
    for (int i = 0; i < 2 * LTI_COUNT(types); i++) {
        bool nothing = i % 2, searched;
        double lost = 0, whole = 0;
        for (int k = 0; k < K; k++) squares[k] = nothing || (k >= 64 && k < 128) ? 0 : exp(ts_normal("some", k));
        lti_inputs in = {.columns = K, .positions = nothing ? 0 : 5, .squares = squares};
        lti_rounding r = {.ctx = ctx, .name = "w", .scheme = lt_scheme_of(types[i / 2]), .rows = 1, .columns = K};
        r.w = w, r.values = values, r.codes = codes;
        TS_OK(ctx, lti_round_searched(&r, &in, &searched));
        for (int k = 64; k < 128; k++) {
            lost += pow((double)values[k] - (double)w[k], 2);
            whole += pow((double)w[k], 2);
        }
        TS_CHECK(lost < 0.25 * whole, "%s: %g of %g is lost", lt_dtype_name(types[i / 2]), lost, whole);
    }
    lt_ctx_free(ctx);
}

int lti_suite_imatrix_codes(void)
{
    const ts_test tests[] = {{"imatrix is ggml's", imatrix_is_ggmls}, {"unmet columns", unmet_columns}};
    return ts_suite("imatrix_codes", LTI_COUNT(tests), tests);
}
