/* test_blocks.c - values of stored types in graphs: bytes of quantized values against the GGUF layout; products,
 * look-ups and heads with a weight of every type against the same with the decoded weight, gradients included; which
 * sites take 16-bit weights as they are; and the oracle's own 16-bit formats. */
#include "lathe/attach.h"
#include "lathe/nn.h"
#include "tests/lattice_blocks.h"
#include "tests/oracle_ops.h"

#include <math.h>
#include <string.h>

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

/* ---- Weights of every type ---- */

enum { ROWS = 20, N = 37, C = 512, HALVES = 2 };

/* The weight "w" [N, C] of type t: a lattice of ts_lattices, or after those bf16 and f16. */
static lt_param *stored_weight(ts_bed *bed, int t)
{
    lt_dtype type = t < TS_LATTICES ? ts_lattices[t].type : t == TS_LATTICES ? LT_BF16 : LT_F16;
    lt_param *w = NULL;
    if (!TS_OK(bed->ctx, lt_params_add(bed->params, "w", type, 2, (int64_t[]){N, C}, LT_WEIGHT, &w))) return NULL;
    if (t < TS_LATTICES) ts_make_moderate_blocks(t, N * C / lt_dtype_block(type), lt_param_data(w));
    for (int i = 0; i < N * C && t >= TS_LATTICES; i++)
        ((uint16_t *)lt_param_data(w))[i] =
            type == LT_BF16 ? ts_to_bf16(ts_normal("w", i)) : ts_to_f16((float)ts_normal("w", i));
    lt_param_touch(w);
    return w;
}

static lt_t decoded(lt_t w)
{
    return lt_dtype_is_lattice(lt_type(w)) ? lt_dequantize(w) : lt_cast(w, LT_F32);
}

/* A loss of one kind, of x [rows, C] and the weight, as it is or decoded before. */
typedef lt_t (*use)(ts_bed *bed, lt_t x, lt_t w);

static lt_t use_product(ts_bed *bed, lt_t x, lt_t w)
{
    return lt_sum_all(lt_square(lt_shift(lt_matmul(x, w, LT_TRANSPOSE_B), 0.5)));
}

static lt_t use_rows(ts_bed *bed, lt_t x, lt_t w) /* w [N, C] in the place of [K, N] */
{
    lt_t wide = lt_slice(lt_matmul(x, w, LT_TRANSPOSE_B), 1, 0, N); /* [rows, N] */
    return lt_sum_all(lt_square(lt_matmul(wide, w, 0)));
}

static lt_t use_lookup(ts_bed *bed, lt_t x, lt_t w)
{
    lt_t index = lt_index_input(bed->g, "index", 1, (int64_t[]){lt_dim(x, 0)}, 0, N);
    return lt_sum_all(lt_mul(lt_gather(w, index), lt_square(x)));
}

static lt_t use_head(ts_bed *bed, lt_t x, lt_t w)
{
    lt_t target = lt_index_input(bed->g, "index", 1, (int64_t[]){lt_dim(x, 0)}, 0, N);
    lt_head_term term = {.kind = lt_head_cross_entropy(), .weight = 1, .input = target};
    return lt_head_loss(lt_scale(x, 0.01), w, 1, &term, lt_nil(bed->g));
}

/* The loss, dx and, where it has one, the decoded weight's gradient: `out`, as many as there are. */
static bool run_use(ts_bed *bed, use make, int64_t rows, bool decode, lt_real *out)
{
    static int32_t index[ROWS];
    lt_plan *plan = NULL;
    for (int i = 0; i < ROWS; i++) index[i] = i * 7 % N;
    if (!ts_bed_again(bed)) return false;
    lt_t x = lt_param_value(bed->g, lt_params_find(bed->params, "x")); /* [ROWS, C] */
    lt_t w = lt_param_value(bed->g, lt_params_find(bed->params, "w"));
    lt_t loss = make(bed, lt_slice(x, 0, 0, rows), decode ? decoded(w) : w), grad = lt_nil(bed->g);
    lt_grad(loss, 1, &x, &grad);
    bool ok = TS_OK(bed->ctx, ts_compile(bed->g, TS_PLANNED, 2, (lt_t[]){loss, grad}, &plan));
    if (ok && (make == use_lookup || make == use_head)) ok = TS_OK(bed->ctx, lt_bind(plan, "index", index));
    if (ok && (ok = TS_OK(bed->ctx, lt_run(plan)))) {
        memcpy(out, lt_result(plan, 0), sizeof *out);
        memcpy(out + 1, lt_result(plan, 1), ROWS * C * sizeof *out);
    }
    lt_plan_free(plan);
    return ok;
}

static void operands(void)
{
    static const struct {
        const char *name;
        use make;
    } uses[] = {{"matmul", use_product}, {"matmul by rows", use_rows}, {"gather", use_lookup}, {"head_loss", use_head}};
    static lt_real got[1 + ROWS * C], want[1 + ROWS * C];
    for (int t = 0; t < TS_LATTICES + HALVES; t++) {
        ts_bed bed;
        if (!ts_bed_make(&bed)) return;
        lt_param *w = stored_weight(&bed, t);
        ts_weight(&bed, "x", 1, 2, (int64_t[]){ROWS, C});
        for (int u = 0; w && u < LTI_COUNT(uses); u++)
            for (int64_t rows = 3; rows <= ROWS; rows += ROWS - 3) {
                if (!run_use(&bed, uses[u].make, rows, true, want) || !run_use(&bed, uses[u].make, rows, false, got))
                    continue;
                const char *type = lt_dtype_name(lt_param_type(w));
                double loss = ts_distance_real(1, got, want), dx = ts_distance_real(ROWS * C, got + 1, want + 1);
                TS_CHECK(loss < ts_tolerance(1e-12, 2e-5), "%s of %s, %d rows: off by %g", uses[u].name, type,
                         (int)rows, loss);
                TS_CHECK(dx < ts_tolerance(1e-12, 2e-5), "%s of %s, %d rows: dx off by %g", uses[u].name, type,
                         (int)rows, dx);
            }
        ts_bed_drop(&bed);
    }
}

/* ---- Sites ---- */

static lt_t seen_by_hook(lt_t w, const lt_site *site, void *config)
{
    *(lt_dtype *)config = lt_type(w);
    return lt_scale(w, 2);
}

/* A 16-bit matrix goes into its product as it is; a hook, a norm and a bias get f32. */
static void half_sites(void)
{
    ts_bed bed;
    if (!ts_bed_make(&bed)) return;
    lt_param *fc = NULL, *bias = NULL, *gain = NULL;
    int64_t square[2] = {4, 4};
    lt_status status = lt_params_add(bed.params, "fc.weight", LT_F16, 2, square, LT_WEIGHT, &fc);
    if (status == LT_OK) status = lt_params_add(bed.params, "fc.bias", LT_BF16, 1, square, LT_WEIGHT, &bias);
    if (status == LT_OK) status = lt_params_add(bed.params, "norm.weight", LT_F16, 1, square, LT_WEIGHT, &gain);
    ts_weight(&bed, "x", 1, 2, square);
    if (!TS_CHECK(status == LT_OK, "params")) return;
    for (int i = 0; i < 16; i++) ((uint16_t *)lt_param_data(fc))[i] = ts_to_f16(i % 5 == 0 ? 1 : 0); /* identity */
    for (int i = 0; i < 4; i++) ((uint16_t *)lt_param_data(bias))[i] = ts_to_bf16(i);
    for (int i = 0; i < 4; i++) ((uint16_t *)lt_param_data(gain))[i] = ts_to_f16(1);
    lt_real plain[16], hooked[16], normed[16];
    const lt_real *x = lt_param_read(lt_params_find(bed.params, "x"));
    lt_t in = lt_param_value(bed.g, lt_params_find(bed.params, "x"));
    const lt_site site = {.graph = bed.g, .name = "fc", .kind = LT_SITE_LINEAR, .param = fc};
    TS_CHECK(lt_type(lt_site_weight(&site)) == LT_F16, "a matrix without hooks is %s",
             lt_dtype_name(lt_type(lt_site_weight(&site))));
    ts_value(bed.ctx, lt_nn_linear(in, "fc"), 16, plain);
    ts_bed_again(&bed);
    ts_value(bed.ctx, lt_nn_rms_norm(lt_param_value(bed.g, lt_params_find(bed.params, "x")), "norm", 1e-5), 16, normed);
    ts_bed_again(&bed);
    lt_dtype seen = LT_DTYPE_COUNT;
    lt_attach(bed.g, &(lt_attachment){.size = sizeof(lt_attachment), .weight = seen_by_hook, .config = &seen});
    ts_value(bed.ctx, lt_nn_linear(lt_param_value(bed.g, lt_params_find(bed.params, "x")), "fc"), 16, hooked);
    TS_CHECK(seen == LT_F32, "a hook gets %s", lt_dtype_name(seen));
    TS_CHECK(isfinite(normed[0]) && normed[0] * x[0] > 0, "a norm with a gain in f16");
    for (int i = 0; i < 16; i++)
        TS_CHECK(fabs((double)(plain[i] - x[i] - (lt_real)(i % 4))) < 1e-5 &&
                     fabs((double)(hooked[i] - 2 * x[i] - (lt_real)(i % 4))) < 1e-5,
                 "element %d: %g without a hook, %g with it", i, (double)plain[i], (double)hooked[i]);
    ts_bed_drop(&bed);
}

/* What cannot be: said with what can. */
static void refusals(void)
{
    ts_bed bed;
    if (!ts_bed_make(&bed)) return;
    lt_quantize(lt_input(bed.g, "x", LT_F32, 2, (int64_t[]){2, 256}), LT_IQ4_NL);
    lt_plan *plan = NULL;
    lt_status status = ts_compile(bed.g, TS_PLANNED, 0, NULL, &plan);
    TS_CHECK(status == LT_EINVAL && strstr(lt_ctx_message(bed.ctx), "iq4_nl can be read but not made") &&
                 strstr(lt_ctx_message(bed.ctx), "q8_0"),
             "quantize to iq4_nl: %s", lt_ctx_message(bed.ctx));
    ts_bed_again(&bed);
    lt_t x = lt_input(bed.g, "x", LT_F32, 3, (int64_t[]){2, 3, 32});
    lt_matmul(x, lt_input(bed.g, "w", LT_F16, 3, (int64_t[]){2, 4, 32}), LT_TRANSPOSE_B);
    status = ts_compile(bed.g, TS_PLANNED, 0, NULL, &plan);
    TS_CHECK(status == LT_EINVAL && strstr(lt_ctx_message(bed.ctx), "two axes"), "a batch of f16: %s",
             lt_ctx_message(bed.ctx));
    ts_bed_drop(&bed);
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
    const ts_test tests[] = {{"half floats", half_floats},
                             {"quantized bytes", quantized_bytes},
                             {"operands", operands},
                             {"half sites", half_sites},
                             {"refusals", refusals}};
    return ts_suite("blocks", LTI_COUNT(tests), tests);
}
