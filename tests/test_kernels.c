/* test_kernels.c - every kernel of every instruction set against ref.
 *
 * The list of cases is kernels.def: a kernel without a run_<name> here does not compile. A case calls its kernel once,
 * on inputs x[] and into outputs that start out as sentinels, and states its tolerance (none: the same bits). The
 * driver calls it with ref and with the set under test and compares everything, the elements past the end included: for
 * n = 0 .. 67 and some large, aligned and one element off, on plain numbers and with NaN, infinities, denormals and
 * signed zeros sprinkled in, and once more in place where kernels.def allows it. */
#include "base/rng.h"
#include "kernels/integer.h"
#include "kernels/kernels.h"
#include "kernels/lattice/lattice.h"
#include "tests/testing.h"

#include <math.h>
#include <string.h>

enum { LARGEST = 4100, SPARE = 64, ROOM = LARGEST + SPARE + 4, INPUTS = 4, OUTPUTS = 3 };

static R inputs[INPUTS][ROOM], outputs[2][OUTPUTS][ROOM];
static uint16_t halves[ROOM], bits[2][2 * ROOM];

typedef struct point {
    int64_t n;
    const R *x[INPUTS];
    const uint16_t *half; /* 16-bit patterns */
    int turn;             /* counts the points: for cases with variants */
    double size;          /* of the largest numbers: 1, or 100 with specials */
} point;

typedef struct result {
    R *y[OUTPUTS];
    uint16_t *bits;
    double number;
    double relative, absolute; /* tolerance: absolute + relative |ref| */
    bool in_place;             /* y[0] may be x[0] */
} result;

static result *tolerance(result *o, double relative, double absolute)
{
    o->relative = relative;
    o->absolute = absolute;
    return o;
}

static void copy_in(const point *p, R *y, int input)
{
    memcpy(y, p->x[input], (size_t)p->n * sizeof *y);
}

/* turn: both rows, the first repeated, the second repeated, both. Never repeated in place. */
#define BINARY(name)                                                                                                   \
    static void run_##name(const lti_kernels *k, const point *p, result *o)                                            \
    {                                                                                                                  \
        int sa = p->x[0] == o->y[0] || p->turn % 4 < 2, sb = p->turn % 2 == 0;                                         \
        k->name(p->n, p->x[0], sa, p->x[1], sb, o->y[0]);                                                              \
        o->in_place = true;                                                                                            \
    }
BINARY(add)
BINARY(sub)
BINARY(mul)
BINARY(div)

static void run_scale(const lti_kernels *k, const point *p, result *o)
{
    k->scale(p->n, (R)1.7, p->x[0], o->y[0]);
    o->in_place = true;
}

#define UNARY(name, relative, absolute)                                                                                \
    static void run_##name(const lti_kernels *k, const point *p, result *o)                                            \
    {                                                                                                                  \
        k->name(p->n, p->x[0], o->y[0]);                                                                               \
        tolerance(o, relative, absolute)->in_place = true;                                                             \
    }
UNARY(exp, 2.5e-7, 2e-45)
UNARY(log, 0, 0)
UNARY(sqrt, 0, 0)
UNARY(relu, 0, 0)
UNARY(sigmoid, 4e-7, 1e-37)
UNARY(tanh, 4e-7, 1e-44)
UNARY(silu, 5e-7, 1e-36)
UNARY(gelu, 1e-6, 1e-37)
UNARY(gelu_tanh, 2e-6, 1e-7)
UNARY(softmax, 5e-6, 1e-37)
UNARY(log_softmax, 5e-7, 2e-6)

#define UNARY_GRAD(name, relative, absolute)                                                                           \
    static void run_##name(const lti_kernels *k, const point *p, result *o)                                            \
    {                                                                                                                  \
        k->name(p->n, p->x[0], p->x[1], o->y[0]);                                                                      \
        tolerance(o, relative, (absolute)*p->size)->in_place = true;                                                   \
    }
UNARY_GRAD(relu_grad, 0, 0)
UNARY_GRAD(sigmoid_grad, 0, 0)
UNARY_GRAD(tanh_grad, 0, 0)
UNARY_GRAD(silu_grad, 1e-6, 1e-6)
UNARY_GRAD(gelu_grad, 1e-6, 1e-6)
UNARY_GRAD(gelu_tanh_grad, 2e-6, 2e-6)
UNARY_GRAD(swiglu, 5e-7, 1e-36)

static void run_softmax_grad(const lti_kernels *k, const point *p, result *o)
{
    k->softmax_grad(p->n, p->x[0], p->x[1], o->y[0]);
    tolerance(o, 1e-6, 1e-6 * (double)(p->n + 1));
}

static void run_swiglu_grad(const lti_kernels *k, const point *p, result *o)
{
    copy_in(p, o->y[1], 1); /* du may be u */
    k->swiglu_grad(p->n, p->x[0], o->y[1], p->x[2], o->y[0], o->y[1]);
    tolerance(o, 2e-6, 2e-6 * p->size)->in_place = true;
}

static void run_sum(const lti_kernels *k, const point *p, result *o)
{
    o->number = (double)k->sum(p->n, p->x[0]);
    tolerance(o, 1e-6, 1e-6 * (double)(p->n + 1));
}

static void run_max(const lti_kernels *k, const point *p, result *o)
{
    o->number = (double)k->max(p->n, p->x[0]);
}

static void run_dot(const lti_kernels *k, const point *p, result *o)
{
    o->number = (double)k->dot(p->n, p->x[0], p->x[1]);
    tolerance(o, 1e-6, 1e-6 * (double)(p->n + 1));
}

static void run_sum_squares(const lti_kernels *k, const point *p, result *o)
{
    o->number = k->sum_squares(p->n, p->x[0]);
    tolerance(o, 1e-14, 0);
}

static void run_all_finite(const lti_kernels *k, const point *p, result *o)
{
    o->number = k->all_finite(p->n, p->x[0]);
}

static void run_rms_norm(const lti_kernels *k, const point *p, result *o)
{
    o->number = (double)k->rms_norm(p->n, p->x[0], p->x[1], (R)1e-5, o->y[0]);
    tolerance(o, 1e-6, 1e-37)->in_place = true;
}

static void run_rms_norm_grad(const lti_kernels *k, const point *p, result *o)
{
    copy_in(p, o->y[1], 3);
    k->rms_norm_grad(p->n, p->x[0], p->x[1], (R)0.7, p->x[2], o->y[0], o->y[1]);
    tolerance(o, 2e-6, 4e-6);
}

static void run_layer_norm(const lti_kernels *k, const point *p, result *o)
{
    k->layer_norm(p->n, p->x[0], p->x[1], p->x[2], (R)1e-2, o->y[0], o->y[1]);
    tolerance(o, 4e-6, 4e-6);
}

static void run_layer_norm_grad(const lti_kernels *k, const point *p, result *o)
{
    const R stats[2] = {(R)0.1, (R)0.9};
    copy_in(p, o->y[1], 3);
    copy_in(p, o->y[2], 0);
    k->layer_norm_grad(p->n, p->x[0], p->x[1], stats, p->x[2], o->y[0], o->y[1], o->y[2]);
    tolerance(o, 2e-6, 4e-6);
}

static void run_cross_entropy(const lti_kernels *k, const point *p, result *o)
{
    tolerance(o, 4e-6, 2e-6)->in_place = true;
    if (p->n == 0) return;
    o->number = k->cross_entropy(p->n, p->x[0], p->turn % p->n, (R)0.25, NULL);
    o->number += k->cross_entropy(p->n, p->x[0], p->turn % p->n, (R)0.25, o->y[0]);
}

/* Heads of dim 2 .. 40, cosines from x[1], sines from x[2]. */
static void run_rope(const lti_kernels *k, const point *p, result *o)
{
    int64_t dim = 2 + 2 * (p->turn % 20);
    k->rope(p->n / dim, dim, p->turn / 3 % 2, p->x[1], p->x[2], p->turn % 2 ? 1 : -1, p->x[0], o->y[0]);
    tolerance(o, 1e-6, 1e-6)->in_place = true;
}

static void run_adamw(const lti_kernels *k, const point *p, result *o)
{
    const lti_adamw_step c = {(R)0.9, (R)0.99, (R)1e-8, (R)0.999, (R)0.02, (R)0.6, (R)0.5};
    for (int i = 0; i < 3; i++) copy_in(p, o->y[i], i);
    for (int64_t i = 0; i < p->n; i++) o->y[2][i] = (R)fabs((double)o->y[2][i]) * (i % 3 ? 1 : (R)1e-31);
    k->adamw(p->n, o->y[0], o->y[1], o->y[2], p->x[3], &c);
}

static void run_sgd(const lti_kernels *k, const point *p, result *o)
{
    const lti_sgd_step c = {(R)0.1, (R)0.9, (R)0.01, (R)0.5, p->turn % 2};
    copy_in(p, o->y[0], 0);
    copy_in(p, o->y[1], 1);
    k->sgd(p->n, o->y[0], p->turn % 3 ? o->y[1] : NULL, p->x[2], &c);
}

static void run_lion(const lti_kernels *k, const point *p, result *o)
{
    const lti_lion_step c = {(R)0.9, (R)0.99, (R)0.02, (R)0.999, (R)0.5};
    copy_in(p, o->y[0], 0);
    copy_in(p, o->y[1], 1);
    if (p->turn % 2) memset(o->y[1], 0, (size_t)p->n * sizeof(R)); /* signs of 0 */
    k->lion(p->n, o->y[0], o->y[1], p->x[2], &c);
}

/* Three steps, so that codes are read that were written. They are compared with what lies behind them. */
static void run_adamw8(const lti_kernels *k, const point *p, result *o)
{
    static int8_t codes[2][ROOM + LTI_ADAM8_BLOCK];
    int64_t blocks = (p->n + LTI_ADAM8_BLOCK - 1) / LTI_ADAM8_BLOCK;
    copy_in(p, o->y[0], 0);
    memset(codes, 0, sizeof codes);
    memset(o->y[1], 0, (size_t)(2 * blocks) * sizeof(R));
    for (int i = 0; i < 3; i++) {
        const lti_adamw_step adamw = {(R)0.9, (R)0.99, (R)1e-8, (R)0.999, (R)0.02, (R)0.6, i ? (R)0.5 : (R)1e-3};
        const lti_adamw8_step c = {adamw, (uint32_t)(p->turn + i) * LTI_ADAM8_BETA};
        k->adamw8(p->n, o->y[0], codes[0], codes[1], o->y[1], p->x[1 + i], &c);
    }
    memcpy(o->bits, codes, sizeof codes < sizeof bits[0] ? sizeof codes : sizeof bits[0]);
}

static void run_dropout(const lti_kernels *k, const point *p, result *o)
{
    const double rates[] = {0.1, 0.5, 0, 0.999};
    const lti_rng rng = {.seed = 77 + (uint64_t)p->turn, .stream = 5, .step = 9};
    uint64_t first = p->turn % 3 ? (uint64_t)p->turn : UINT32_MAX * UINT64_C(4) - 30; /* block numbers pass 32 bits */
    k->dropout(p->n, &rng, first, rates[p->turn % 4], p->x[0], o->y[0]);
    o->in_place = true;
}

#define CONVERSION(name, from, to)                                                                                     \
    static void run_##name(const lti_kernels *k, const point *p, result *o)                                            \
    {                                                                                                                  \
        k->name(p->n, from, to);                                                                                       \
    }
CONVERSION(to_bf16, p->x[0], o->bits)
CONVERSION(from_bf16, p->half, o->y[0])
CONVERSION(to_f16, p->x[0], o->bits)
CONVERSION(from_f16, p->half, o->y[0])
CONVERSION(to_e4m3, p->x[0], (uint8_t *)o->bits)
CONVERSION(from_e4m3, (const uint8_t *)p->half, o->y[0])
CONVERSION(to_e5m2, p->x[0], (uint8_t *)o->bits)
CONVERSION(from_e5m2, (const uint8_t *)p->half, o->y[0])

static void run_from_i8(const lti_kernels *k, const point *p, result *o)
{
    k->from_i8(p->n, (const int8_t *)p->half + p->turn % 3, (R)0.37, o->y[0]);
}

/* n is cut to whole blocks; blocks begin at any byte. */
static int64_t whole(const point *p, lt_dtype type)
{
    return p->n / lt_dtype_block(type) * lt_dtype_block(type);
}

#define LTI_ENCODER(type, name)                                                                                        \
    static void run_quantize_##name(const lti_kernels *k, const point *p, result *o)                                   \
    {                                                                                                                  \
        k->quantize_##name(whole(p, type), p->x[0], o->bits);                                                          \
    }
/* Importance is |x[1]|: zeros, NaN and infinities among it. */
static void run_weighted(void (*kernel)(int64_t n, const R *x, const R *importance, void *blocks), lt_dtype type,
                         const point *p, result *o)
{
    static R importance[ROOM];
    for (int64_t i = 0; i < p->n; i++) importance[i] = (R)fabs((double)p->x[1][i]);
    kernel(whole(p, type), p->x[0], importance, o->bits);
}

#define LTI_WEIGHTED(type, name)                                                                                       \
    static void run_quantize_weighted_##name(const lti_kernels *k, const point *p, result *o)                          \
    {                                                                                                                  \
        run_weighted(k->quantize_weighted_##name, type, p, o);                                                         \
    }
/* On scales that are nobody's in odd turns: any bytes. */
#define LTI_RECODE(type, name)                                                                                         \
    static void run_recode_##name(const lti_kernels *k, const point *p, result *o)                                     \
    {                                                                                                                  \
        int64_t n = whole(p, type);                                                                                    \
        if (p->turn % 2) memcpy(o->bits, p->half, (size_t)(n / lt_dtype_block(type)) * lt_dtype_bytes(type));          \
        if (p->turn % 2 == 0) lti_kernels_of("ref")->quantize_##name(n, p->x[1], o->bits);                             \
        k->recode_##name(n, p->x[0], o->bits);                                                                         \
    }
#define LTI_LATTICE(type, name)                                                                                        \
    static void run_dequantize_##name(const lti_kernels *k, const point *p, result *o)                                 \
    {                                                                                                                  \
        k->dequantize_##name(whole(p, type), (const char *)p->half + p->turn % 3, o->y[0]);                            \
    }
#include "kernels/lattice/lattices.def"

/* Sums that overflow would depend on their order: bf16, MXFP4 and the float scales are kept small. */
static void tame(lt_dtype type, int64_t bytes, uint8_t *row)
{
    for (int64_t i = 0; type == LT_BF16 && i < bytes; i += 2)
        if ((row[i + 1] & 0x7F) != 0x7F) row[i + 1] &= 0xBF;
    for (int64_t i = 0; type == LT_MXFP4 && i < bytes; i += 17) row[i] = (uint8_t)(110 + row[i] % 32);
    for (int64_t i = 0; (type == LT_NF4 || type == LT_FP4) && i < bytes; i += 36) row[i + 3] &= 0xBF;
}

/* A few rows of the random bytes times vectors that overlap. The tolerance follows the sum of the magnitudes. */
static void run_gemv(lti_gemv kernel, lt_dtype type, const point *p, result *o)
{
    static uint8_t store[ROOM * sizeof(R) + 16];
    static R w[ROOM];
    uint8_t *b = store + p->turn % 3;
    int64_t n = whole(p, type), row = n / lt_dtype_block(type) * (int64_t)lt_dtype_bytes(type), stride = row + 3;
    int64_t most = (int64_t)sizeof halves / 2 / stride, rows = p->turn % 7 < most ? p->turn % 7 : most;
    int64_t m = p->turn % 10, ldx = 1 + p->turn % 3, ldy = rows + 1;
    memcpy(b, type == LT_F32 ? (const void *)p->x[1] : p->half, (size_t)(rows * stride));
    for (int64_t r = 0; r < rows; r++) {
        if (type == LT_F32) memcpy(b + r * stride, p->x[1] + r, (size_t)row);
        tame(type, row, b + r * stride);
        lti_dequantize(type, n, b + r * stride, w);
        for (int64_t i = 0; i < m; i++) {
            double size = 0;
            for (int64_t j = 0; j < n; j++) size += fabs((double)w[j] * (double)p->x[0][i * ldx + j]);
            if (isfinite(size)) o->absolute = fmax(o->absolute, 1e-6 * size);
        }
    }
    kernel(rows, n, b, stride, m, p->x[0], ldx, o->y[0], ldy);
}

#define LTI_LATTICE(type, name)                                                                                        \
    static void run_gemv_##name(const lti_kernels *k, const point *p, result *o)                                       \
    {                                                                                                                  \
        run_gemv(k->gemv_##name, type, p, o);                                                                          \
    }
LTI_LATTICE(LT_F32, f32)
LTI_LATTICE(LT_BF16, bf16)
LTI_LATTICE(LT_F16, f16)
#include "kernels/lattice/lattices.def"

#include "tests/kernel_cases_attention.h"
#include "tests/kernel_cases_grid.h"
#include "tests/kernel_cases_images.h"
#include "tests/kernel_cases_integer.h"
#include "tests/kernel_cases_norms.h"
#include "tests/kernel_cases_recurrent.h"

static const struct {
    const char *name;
    void (*run)(const lti_kernels *k, const point *p, result *o);
} cases[] = {
#define LTI_KERNEL(name, result_type, parameters, arguments) {#name, run_##name},
#include "kernels/kernels.def"
#undef LTI_KERNEL
};

/* ---- The driver ---- */

static void make_inputs(int turn, bool special)
{
    const R odd[] = {NAN, INFINITY, -INFINITY, (R)1e-40, (R)-3e-42, 0, (R)-0.0, 88, (R)-88.5, (R)-60, (R)1e-30, 4};
    lti_rng rng = {.seed = ts_seed(), .stream = lti_rng_stream("kernels"), .step = (uint32_t)turn};
    for (int a = 0; a < INPUTS; a++)
        for (int i = 0; i < ROOM; i++) {
            uint64_t index = (uint64_t)(a * ROOM + i);
            inputs[a][i] = (R)lti_rng_normal(&rng, index);
            uint32_t word = lti_rng_word(&rng, index + (UINT64_C(1) << 40));
            if (special && word % 16 == 0) inputs[a][i] = odd[word / 16 % (sizeof odd / sizeof odd[0])];
            halves[i] = (uint16_t)(special ? word >> 8 : (word >> 8 & 0xBFFF)); /* exponents below 2 when plain */
        }
}

static bool close_enough(double a, double b, const result *o)
{
    if (isnan(a) || isnan(b)) return isnan(a) && isnan(b);
    return a == b || fabs(a - b) <= o->absolute + o->relative * fabs(b);
}

static bool compare(const char *isa, const char *name, const point *p, bool special, const result *a, const result *b)
{
    const char *how = special ? "with NaN and infinities" : "plain";
    unsigned long long seed = ts_seed();
    if (!TS_CHECK(close_enough(a->number, b->number, b), "%s %s n=%lld turn=%d %s: returns %.9g, ref %.9g (seed %llu)",
                  name, isa, (long long)p->n, p->turn, how, a->number, b->number, seed))
        return false;
    for (int y = 0; y < OUTPUTS; y++)
        for (int64_t i = 0; i < p->n + SPARE; i++)
            if (!close_enough((double)a->y[y][i], (double)b->y[y][i], b))
                return TS_CHECK(false, "%s %s n=%lld turn=%d %s: output %d[%d] = %.9g, ref %.9g (seed %llu)", name, isa,
                                (long long)p->n, p->turn, how, y, (int)i, (double)a->y[y][i], (double)b->y[y][i], seed);
    return TS_CHECK(ts_same_bytes(sizeof bits[0], bits[0], bits[1]), "%s %s n=%lld turn=%d %s: other bytes (seed %llu)",
                    name, isa, (long long)p->n, p->turn, how, seed);
}

/* One call into fresh outputs. */
static result call(int side, const lti_kernels *k, int index, const point *at, bool in_place)
{
    point p = *at;
    result o = {.bits = bits[side]};
    int offset = p.turn % 2;
    for (int y = 0; y < OUTPUTS; y++) {
        for (int64_t i = 0; i < p.n + SPARE + 1; i++) outputs[side][y][i] = -77;
        o.y[y] = outputs[side][y] + offset;
    }
    memset(bits[side], 0x5A, sizeof bits[side]);
    if (in_place) {
        copy_in(&p, o.y[0], 0);
        p.x[0] = o.y[0];
    }
    cases[index].run(k, &p, &o);
    return o;
}

static bool try_case(const char *isa, const lti_kernels *k, int index, int64_t n, bool special)
{
    point p = {.n = n, .turn = (int)n + special, .size = special ? 100 : 1};
    p.half = halves + p.turn % 2;
    for (int i = 0; i < INPUTS; i++) p.x[i] = inputs[i] + (p.turn + i) % 2;
    for (int in_place = 0; in_place < 2; in_place++) {
        result b = call(1, lti_kernels_of("ref"), index, &p, in_place), a = call(0, k, index, &p, in_place);
        if (!compare(isa, cases[index].name, &p, special, &a, &b)) return false;
        if (!b.in_place) break;
    }
    return true;
}

static void try_all(const char *isa)
{
    const lti_kernels *k = lti_kernels_of(isa);
    const int64_t large[] = {127, 128, 640, 1024, 1153, 2200, 4100};
    bool failed[LTI_COUNT(cases)] = {false};
    for (int size = 0; k && size < 2 * (68 + LTI_COUNT(large)); size++) {
        int64_t n = size / 2 < 68 ? size / 2 : large[size / 2 - 68];
        bool special = size % 2;
        make_inputs((int)n + special, special);
        for (int i = 0; i < LTI_COUNT(cases); i++) {
            bool skip = failed[i] || (special && !strncmp(cases[i].name, "attention", 9));
            if (!skip) failed[i] = !try_case(isa, k, i, n, special);
        }
    }
}

/* e^x over its whole range, limits included. */
static void exponential(const char *isa)
{
    static R x[4096], y[4096];
    const lti_kernels *k = lti_kernels_of(isa);
    double worst = 0;
    for (int i = 0; i < 4096; i++) x[i] = (R)(-110 + 210 * ts_uniform("exp", i));
    x[0] = -INFINITY, x[1] = INFINITY, x[2] = NAN, x[3] = 0, x[4] = (R)-1e30, x[5] = (R)1e30;
    if (!k) return;
    k->exp(4096, x, y);
    TS_CHECK(y[0] == 0 && y[1] == INFINITY && isnan(y[2]) && y[3] == 1 && y[4] == 0 && y[5] == INFINITY,
             "%s: limits of exp", isa);
    for (int i = 6; i < 4096; i++) {
        double want = exp((double)x[i]), limit = ts_tolerance(1e308, 3.4e38), tiny = ts_tolerance(0, 2e-38);
        if (want < limit && want > tiny) worst = fmax(worst, fabs((double)y[i] - want) / want);
    }
    TS_CHECK(worst < ts_tolerance(1e-15, 2e-7), "%s: exp is off by %g of its value", isa, worst);
}

static void ref_set(void)
{
    try_all("ref");
    exponential("ref");
}

static void avx2_set(void)
{
    try_all("avx2");
    exponential("avx2");
}

static void avx512_set(void)
{
    try_all("avx512");
    exponential("avx512");
}

static void tables(void)
{
    TS_CHECK(lti_kernels_of("ref") != NULL && lti_kernels_of("nonsense") == NULL, "sets by name");
    TS_CHECK(lti_kernels_of(lti_isa()) == lti_k(), "the set in use is %s", lti_isa());
}

int lti_suite_kernels(void)
{
    const ts_test tests[] = {{"tables", tables}, {"ref", ref_set}, {"avx2", avx2_set}, {"avx512", avx512_set}};
    return ts_suite("kernels", LTI_COUNT(tests), tests);
}
