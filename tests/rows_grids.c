/* rows_grids.c - rows of the ops behind lt_fake_quant: values, masks, the proximal map, damping, freezing.
 *
 * Rounding has no derivative, so inputs are fixed here and a row of a gradient records the gradient itself as its value;
 * test_fake_quant.c judges every rule. arg: kind, bits, group (0: tensor, -1: channel), rule, gradient; flags 1:
 * asymmetric, 2: full range. */
#include "tests/op_rows.h"

#include "autograd/ops/freeze_codes.h"
#include "autograd/ops/lattice_clip.h"
#include "kernels/lattice/lattice.h"
#include "kernels/lattice/nested_scales.h"
#include "tests/oracle_grids.h"

#include <math.h>
#include <stdlib.h>

extern const lti_op lti_op_grid_scales;

static lt_scheme scheme_of(const ts_case *c)
{
    lt_scheme s = {.kind = (lt_scheme_kind)c->arg[0],
                   .bits = (int)c->arg[1],
                   .asymmetric = c->flags & 1,
                   .full_range = c->flags & 2};
    s.per = c->arg[2] > 0 ? LT_PER_GROUP : c->arg[2] < 0 ? LT_PER_CHANNEL : LT_PER_TENSOR;
    s.group = c->arg[2] > 0 ? c->arg[2] : 0;
    return s;
}

static ts_grid grid_of(const ts_case *c, const ts_tensor *x)
{
    ts_grid g = {.scheme = scheme_of(c), .rule = (lt_scale_rule)c->arg[3], .gradient = (lt_round_gradient)c->arg[4]};
    g.rows = x->dim[0], g.columns = x->count / x->dim[0];
    if (g.scheme.per == LT_PER_GROUP) g.columns = x->dim[x->rank - 1], g.rows = x->count / g.columns;
    return g;
}

static lt_t quantized(const ts_case *c, lt_t x)
{
    lt_scheme s = scheme_of(c);
    lt_fake_quant_config config;
    lt_fake_quant_config_init(&config);
    config.scale = (lt_scale_rule)c->arg[3], config.gradient = (lt_round_gradient)c->arg[4];
    config.learned = config.offset = lt_nil(x.graph);
    return lt_fake_quant(x, &s, &config);
}

/* The gradient of <dy, y> as a value. */
static lt_t gradient(lt_t y, lt_t dy, lt_t x)
{
    lt_t dx;
    lt_grad_seeded(y, dy, 1, &x, &dx);
    return dx;
}

static lt_t on_lattice(const ts_case *c, lt_t x)
{
    lt_scheme s = lt_scheme_of((lt_dtype)c->arg[0]);
    lt_fake_quant_config config;
    lt_fake_quant_config_init(&config);
    config.gradient = (lt_round_gradient)c->arg[4];
    return lt_fake_quant(x, &s, &config);
}

BUILD(grid_scales, quantized(c, x[0]))
BUILD(fake_quant, quantized(c, x[0]))
BUILD(fake_quant_grad, gradient(quantized(c, x[0]), x[1], x[0]))
BUILD(grid_prox, quantized(c, x[0]))
BUILD(lattice_clip, on_lattice(c, x[0]))
BUILD(lattice_clip_grad, gradient(on_lattice(c, x[0]), x[1], x[0]))
BUILD(double_scales,
      lt_dequantize(lti_quantize_type(x[0], &(lt_scheme){.type = (lt_dtype)c->arg[0], .double_scales = true})))
BUILD(requantize, lt_dequantize(lti_requantize(x[0], lt_quantize(x[1], (lt_dtype)c->arg[0]))))
BUILD(weight_damping, gradient(lti_weight_damping(quantized(c, x[0]), x[0], x[2]), x[1], x[0]))

/* Codes start as 0, which no code of 4 bits is: all have flipped after one update, and are held. */
static lt_t build_freeze_codes(lt_graph *g, const ts_case *c, const lt_t *x)
{
    lt_params *params = lt_graph_params(g);
    lt_param *w = lt_params_find(params, "p0"), *codes, *flips;
    lt_scheme s = scheme_of(c);
    lti_grid_attr attr = lti_grid_attr_of(&s, LT_SCALE_DYNAMIC);
    (void)x;
    if (lt_params_add(params, "codes", LT_I8, lt_param_rank(w), lt_param_shape(w), LT_STATE, &codes) != LT_OK ||
        lt_params_add(params, "flips", LT_F32, lt_param_rank(w), lt_param_shape(w), LT_STATE, &flips) != LT_OK)
        return lti_graph_fail(g, LT_ENOMEM, "out of memory");
    lt_t v = lt_param_value(g, w), scale = lti_emit(&lti_op_grid_scales, 1, &v, &attr, sizeof attr);
    return lti_freeze_codes(w, codes, flips, scale, lt_nil(g), &attr, 0.005);
}

static void ts_formula_grid_values(const ts_case *c, const ts_tensor *x, ts_tensor *y)
{
    ts_grid g = grid_of(c, &x[0]);
    ts_make(y, x[0].rank, x[0].dim);
    ts_grid_values(&g, x[0].v, y->v);
}

static void ts_formula_grid_gradient(const ts_case *c, const ts_tensor *x, ts_tensor *y)
{
    ts_grid g = grid_of(c, &x[0]);
    ts_make(y, x[0].rank, x[0].dim);
    ts_grid_gradients(&g, x[0].v, x[1].v, y->v, NULL, NULL);
}

/* dy + 2 number (x - y) */
static void ts_formula_grid_damped(const ts_case *c, const ts_tensor *x, ts_tensor *y)
{
    ts_formula_grid_values(c, x, y);
    for (int64_t i = 0; i < y->count; i++) y->v[i] = x[1].v[i] + 2 * x[2].v[0] * (x[0].v[i] - y->v[i]);
}

/* Blocks as GGUF has them, there and back. */
static void ts_formula_grid_blocks(const ts_case *c, const ts_tensor *x, ts_tensor *y)
{
    lt_dtype type = (lt_dtype)c->arg[0];
    ts_make(y, x[0].rank, x[0].dim);
    void *blocks = calloc((size_t)(x[0].count / lt_dtype_block(type)), lt_dtype_bytes(type));
    if (!blocks) abort();
    ts_quantize(type, x[0].count, x[0].v, blocks);
    ts_decode(type, x[0].count, blocks, y->v);
    free(blocks);
}

/* The numbers of the kernels, which test_lattice_encoders.c judges: here it is about the op. */
static void ts_formula_double_scales(const ts_case *c, const ts_tensor *x, ts_tensor *y)
{
    lt_dtype type = (lt_dtype)c->arg[0];
    int64_t n = x[0].count;
    lt_real *v = calloc((size_t)n, sizeof *v);
    void *blocks = calloc((size_t)(n / 64), lt_dtype_bytes(type));
    if (!v || !blocks) abort();
    ts_make(y, x[0].rank, x[0].dim);
    for (int64_t i = 0; i < n; i++) v[i] = (lt_real)x[0].v[i];
    lti_quantize(type, n, v, blocks);
    lti_double_scales(n / 64, blocks);
    lti_dequantize(type, n, blocks, v);
    for (int64_t i = 0; i < n; i++) y->v[i] = (double)v[i];
    free(v);
    free(blocks);
}

/* x[0] on the scales of x[1]; the re-coder's own judge is test_lattice_k.c. */
static void ts_formula_requantized(const ts_case *c, const ts_tensor *x, ts_tensor *y)
{
    lt_dtype type = (lt_dtype)c->arg[0];
    int64_t n = x[0].count;
    lt_real *v = calloc((size_t)n, sizeof *v);
    void *blocks = calloc((size_t)(n / 256), lt_dtype_bytes(type));
    if (!v || !blocks) abort();
    ts_make(y, x[0].rank, x[0].dim);
    for (int k = 1; k >= 0; k--) {
        for (int64_t i = 0; i < n; i++) v[i] = (lt_real)x[k].v[i];
        (k ? lti_quantize : lti_recode)(type, n, v, blocks);
    }
    lti_dequantize(type, n, blocks, v);
    for (int64_t i = 0; i < n; i++) y->v[i] = (double)v[i];
    free(v);
    free(blocks);
}

/* Q4_0 alone: its reach is -8 d .. 7 d, and d follows from the value that is largest. */
static void ts_formula_grid_clipped(const ts_case *c, const ts_tensor *x, ts_tensor *y)
{
    ts_formula_grid_blocks(c, x, y);
    for (int64_t b = 0; b < y->count; b += 32) {
        double *v = y->v + b, d = 0;
        for (int i = 0; i < 32; i++)
            if (fabs(v[i]) > 8 * fabs(d)) d = v[i] / -8;
        double more = c->arg[4] == LT_ROUND_CLIP_CODE ? fabs(d) / 2 : 0;
        double low = fmin(-8 * d, 7 * d) - more, high = fmax(-8 * d, 7 * d) + more;
        for (int i = 0; i < 32; i++) v[i] = x[0].v[b + i] < low || x[0].v[b + i] > high ? 0 : x[1].v[b + i];
    }
}

#define INT LT_SCHEME_INT
#define TERNARY LT_SCHEME_TERNARY
CASES(values) = {{1, {FIXED(3, 44)}, {INT, 4, 32}},
                 {1, {FIXED(3, 5)}, {INT, 8, -1}, .flags = 1},
                 {1, {FIXED(2, 3, 7)}, {INT, 3, 0}, .flags = 2},
                 {1, {FIXED(2, 3, 7)}, {INT, 2, -1, LT_SCALE_MSE}},
                 {1, {FIXED(4, 33)}, {TERNARY, 0, 0}},
                 {1, {FIXED(4, 33)}, {TERNARY, 0, 16, LT_SCALE_MSE}},
                 {1, {FIXED(300, 257)}, {INT, 4, 32, LT_SCALE_MSE}, .flags = 1},
                 {1, {FIXED(300, 457)}, {TERNARY, 0, 0}},
                 {1, {FIXED(300, 457)}, {INT, 5, 0, LT_SCALE_MSE}},
                 {1, {FIXED(2, 70001)}, {INT, 8, -1}}};
CASES(masks) = {{2, {FIXED(3, 44), FIXED(3, 44)}, {INT, 4, 32, LT_SCALE_MSE, LT_ROUND_CLIP_X}},
                {2, {FIXED(3, 44), FIXED(3, 44)}, {INT, 3, -1, LT_SCALE_MSE, LT_ROUND_CLIP_CODE}, .flags = 1},
                {2, {FIXED(300, 257), FIXED(300, 257)}, {TERNARY, 0, 0, LT_SCALE_DYNAMIC, LT_ROUND_CLIP_X}},
                {2, {FIXED(300, 257), FIXED(300, 257)}, {INT, 4, 32, 0, LT_ROUND_CLIP_CODE}, .flags = 2}};
CASES(prox) = {{1, {FIXED(3, 44)}, {INT, 4, 32, 0, LT_ROUND_PROX}},
               {1, {FIXED(300, 257)}, {INT, 4, -1, 0, LT_ROUND_PROX}}};
CASES(clip) = {{1, {FIXED(3, 64)}, {LT_Q4_0, 0, 0, 0, LT_ROUND_CLIP_X}},
               {1, {FIXED(9, 32)}, {LT_Q8_0, 0, 0, 0, LT_ROUND_CLIP_CODE}}};
CASES(clip_grad) = {{2, {FIXED(3, 64), FIXED(3, 64)}, {LT_Q4_0, 0, 0, 0, LT_ROUND_CLIP_X}},
                    {2, {FIXED(300, 64), FIXED(300, 64)}, {LT_Q4_0, 0, 0, 0, LT_ROUND_CLIP_CODE}}};
CASES(doubled) = {{1, {FIXED(3, 64)}, {LT_NF4}}, {1, {FIXED(300, 128)}, {LT_FP4}}};
CASES(recoded) = {{2, {FIXED(2, 256), FIXED(2, 256)}, {LT_Q4_K}}, {2, {FIXED(70, 512), FIXED(70, 512)}, {LT_Q3_K}}};
CASES(damping) = {{3, {FIXED(3, 44), FIXED(3, 44), NUMBER(0.25)}, {INT, 4, 32}},
                  {3, {FIXED(300, 257), FIXED(300, 257), NUMBER(2)}, {INT, 4, 32}}};
CASES(freeze) = {{1, {PARAM(3, 44)}, {INT, 4, 32}}, {1, {PARAM(300, 257)}, {INT, 4, 32}}};

const ts_row ts_rows_grids[] = {
    ROW(grid_scales, grid_values, values),
    ROW(fake_quant, grid_values, values),
    ROW(fake_quant_grad, grid_gradient, masks),
    ROW(grid_prox, identity, prox), /* at the start of a run */
    ROW(lattice_clip, grid_blocks, clip),
    ROW(lattice_clip_grad, grid_clipped, clip_grad),
    ROW(double_scales, double_scales, doubled),
    ROW(requantize, requantized, recoded),
    ROW(weight_damping, grid_damped, damping),
    ROW(freeze_codes, grid_values, freeze, .writes = true),
    {0},
};
