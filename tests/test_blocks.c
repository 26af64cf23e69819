/* test_blocks.c - bytes of quantized values against the GGUF layout, and the oracle's own 16-bit formats. */
#include "tests/oracle_ops.h"

#include <math.h>

/* Bytes of blocks, not only values: zeros, ties of the extreme, scales that vanish or do not fit in 16 bits. */
static void quantized_bytes(void)
{
    enum { ROWS = 8, C = 64 };
    static double x[ROWS * C];
    for (int i = 0; i < ROWS * C; i++) {
        double size[ROWS] = {1, 0, 1e-7, 1e-9, 6e4, 1, 1e-3, 30};
        x[i] = (lt_real)(size[i / C] * ts_normal("blocks", i));
        if (i / C == 5) x[i] = (i % 5 - 2) * 0.5; /* several elements share the largest size, with both signs */
    }
    static lt_real real[ROWS * C];
    static unsigned char want[ROWS * C * 2];
    for (int i = 0; i < ROWS * C; i++) real[i] = (lt_real)x[i];
    const lt_dtype types[] = {LT_Q4_0, LT_Q8_0};
    for (int t = 0; t < 2; t++) {
        lt_ctx *ctx = lt_ctx_create(NULL);
        lt_graph *g = NULL;
        lt_plan *plan = NULL;
        if (TS_OK(ctx, lt_graph_create(ctx, NULL, &g))) {
            lt_t y = lt_quantize(lt_input(g, "x", LT_F32, 2, (int64_t[]){ROWS, C}), types[t]);
            if (TS_OK(ctx, ts_compile(g, TS_PLANNED, 1, &y, &plan)) && TS_OK(ctx, lt_bind(plan, "x", real)) &&
                TS_OK(ctx, lt_run(plan))) {
                size_t block = lt_dtype_bytes(types[t]);
                ts_quantize(types[t], ROWS * C, x, want);
                for (size_t b = 0; b < ROWS * C / 32; b++)
                    TS_CHECK(ts_same_bytes(block, (const char *)lt_result(plan, 0) + b * block, want + b * block),
                             "quantize %s: block %zu has other bytes than GGUF's", lt_dtype_name(types[t]), b);
            }
        }
        lt_plan_free(plan);
        lt_graph_free(g);
        lt_ctx_free(ctx);
    }
}

/* The oracle's conversions, against numbers anyone can check by hand. */
static void half_floats(void)
{
    TS_CHECK(ts_to_f16(1) == 0x3c00 && ts_to_f16(-2) == 0xc000, "1 and -2 as f16");
    TS_CHECK(ts_to_f16(65504) == 0x7bff && ts_to_f16(65520) == 0x7c00, "the largest f16 and what rounds to infinity");
    TS_CHECK(ts_to_f16(0x1p-24f) == 1 && ts_to_f16(0x1p-25f) == 0, "the smallest f16, and half of it (a tie to even)");
    TS_CHECK(ts_to_f16(2049) == ts_to_f16(2048) && ts_to_f16(2051) == ts_to_f16(2052), "ties go to even");
    TS_CHECK(ts_to_bf16(1) == 0x3f80 && ts_from_bf16(0xbf80) == -1, "1 and -1 as bf16");
    TS_CHECK(ts_to_bf16(257) == ts_to_bf16(256) && ts_to_bf16(259) == ts_to_bf16(260), "bf16 ties go to even");
    for (int i = 0; i < 0x7c00; i++)
        if (ts_to_f16((float)ts_from_f16((uint16_t)i)) != i) TS_CHECK(false, "f16 %#x does not come back", (unsigned)i);
    TS_CHECK(isnan(ts_from_f16(ts_to_f16(NAN))), "NaN stays NaN");
}

int lti_suite_blocks(void)
{
    const ts_test tests[] = {{"half floats", half_floats}, {"quantized bytes", quantized_bytes}};
    return ts_suite("blocks", LTI_COUNT(tests), tests);
}
