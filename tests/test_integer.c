/* test_integer.c - products in integers, each pair of types on every instruction set, against a naive product in double
 * of what both operands decode to: with ragged tiles, operands at any address, c added to, one thread and several; sums
 * that are exact because the scales are; what cannot be multiplied. Activations as int8, and products with each lattice,
 * against what llama.cpp's own library makes of the same bytes (tests/golden/activations.json,
 * scripts/goldens_activations.py). */
#include "base/half.h"
#include "base/par.h"
#include "kernels/integer.h"
#include "kernels/kernels.h"
#include "kernels/lattice/lattice.h"
#include "tests/golden.h"
#include "tests/lattice_blocks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const sets[] = {"ref", "avx2", "avx512"};

/* Operands of one product, as bytes (one off any alignment) and as numbers. */
typedef struct operands {
    lti_igemm_shape s;
    char *a, *b;
    lt_real *a_scale, *b_scale;
    double *x, *w; /* [m, k], [n, k] */
} operands;

static void *make(int64_t count, size_t size)
{
    void *p = calloc((size_t)count + 1, size);
    if (!p) abort();
    return p;
}

static void drop(operands *o)
{
    void *all[] = {o->a - 1, o->b - 1, o->a_scale, o->b_scale, o->x, o->w};
    for (int i = 0; i < LTI_COUNT(all); i++) free(all[i]);
}

static int64_t row_bytes(lt_dtype type, int64_t k)
{
    return k / lt_dtype_block(type) * (int64_t)lt_dtype_bytes(type);
}

static float half_at(const char *p)
{
    uint16_t half;
    memcpy(&half, p, sizeof half);
    return lti_f16_to_f32(half);
}

/* The block of element l of row i of a. */
static const char *block_of_a(const operands *o, int64_t i, int64_t l)
{
    return o->a + i * row_bytes(o->s.a_type, o->s.k) +
           row_bytes(o->s.a_type, l / lt_dtype_block(o->s.a_type) * lt_dtype_block(o->s.a_type));
}

static double decode_a(const operands *o, int64_t i, int64_t l)
{
    lt_dtype type = o->s.a_type;
    const char *block = block_of_a(o, i, l);
    float d = type == LT_I8 ? 0 : half_at(block);
    if (type == LT_Q8_K) memcpy(&d, block, sizeof d);
    int header = type == LT_I8 ? 0 : type == LT_Q8_0 ? 2 : 4;
    return (int8_t)block[header + l % lt_dtype_block(type)] * (type == LT_I8 ? (double)o->a_scale[i] : (double)d);
}

static int lattice_index(lt_dtype type)
{
    for (int t = 0; t < TS_LATTICES; t++)
        if (ts_lattices[t].type == type) return t;
    return -1;
}

/* Random weights, and activations of normal numbers. */
static operands make_operands(int64_t m, int64_t n, int64_t k, lt_dtype a_type, lt_dtype b_type)
{
    operands o = {.s = {.m = m, .n = n, .k = k, .a_type = a_type, .b_type = b_type}};
    lt_real *x = make(m * k, sizeof *x), *w = make(k, sizeof *w);
    o.a = (char *)make(m * row_bytes(a_type, k) + 1, 1) + 1;
    o.b = (char *)make(n * row_bytes(b_type, k) + 1, 1) + 1;
    o.a_scale = make(m, sizeof *o.a_scale), o.b_scale = make(n, sizeof *o.b_scale);
    o.x = make(m * k, sizeof *o.x), o.w = make(n * k, sizeof *o.w);
    ts_fill_normal("activations", m * k, 1, x);
    lti_quantize_activations(a_type, m, k, x, o.a, o.a_scale);
    for (int64_t j = 0; j < n; j++) o.b_scale[j] = (lt_real)(0.01 + ts_uniform("scales", j));
    for (int64_t i = 0; b_type == LT_I8 && i < n * k; i++) o.b[i] = (char)(256 * ts_uniform("codes", i) - 128);
    if (b_type != LT_I8)
        ts_make_moderate_blocks(lattice_index(b_type), n * (k / lt_dtype_block(b_type)), (uint8_t *)o.b);
    for (int64_t i = 0; i < m * k; i++) o.x[i] = decode_a(&o, i / k, i % k);
    for (int64_t j = 0; j < n; j++) {
        if (b_type != LT_I8) lti_dequantize(b_type, k, o.b + j * row_bytes(b_type, k), w);
        for (int64_t l = 0; l < k; l++)
            o.w[j * k + l] = b_type == LT_I8 ? (int8_t)o.b[j * k + l] * (double)o.b_scale[j] : (double)w[l];
    }
    free(x);
    free(w);
    return o;
}

/* What the sums that Q8_1 blocks bring, rounded to halves, differ from their own, times the minima of b. */
static double rounded_sums(const operands *o, int64_t i, int64_t j)
{
    double total = 0;
    for (int64_t l = 0; o->s.a_type == LT_Q8_1 && l < o->s.k; l += 32) {
        double sum = half_at(block_of_a(o, i, l) + 2);
        for (int t = 0; t < 32; t++) sum -= o->x[i * o->s.k + l + t];
        total += sum * half_at(o->b + (j * (o->s.k / 32) + l / 32) * (int64_t)lt_dtype_bytes(o->s.b_type) + 2);
    }
    return total;
}

/* The largest error relative to the sum of magnitudes. `c` has what was there before subtracted. */
static double error_of(const operands *o, const lt_real *c, double before)
{
    double worst = 0;
    int64_t n = o->s.n, k = o->s.k;
    for (int64_t i = 0; i < o->s.m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = rounded_sums(o, i, j), size = fabs(before) + 1e-30;
            for (int64_t l = 0; l < k; l++) {
                double p = o->x[i * k + l] * o->w[j * k + l];
                sum += p;
                size += fabs(p);
            }
            double error = fabs((double)c[i * n + j] - before - sum) / size;
            worst = error > worst || error != error ? error : worst;
        }
    return worst;
}

/* Runs the product with a set of kernels (NULL: those in use). */
static void multiply(const operands *o, const lti_kernels *kernels, bool add, lt_real *c)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lti_igemm_shape s = o->s;
    lti_igemm *gemm;
    s.accumulate = add;
    if (TS_OK(ctx, lti_igemm_create(ctx, &s, &gemm))) {
        void *scratch = lti_alloc(ctx, lti_igemm_scratch(gemm));
        if (kernels) lti_igemm_use(gemm, kernels);
        TS_OK(ctx, lti_igemm_run(gemm, o->a, o->a_scale, o->b, o->b_scale, c, scratch));
        lti_free(ctx, scratch);
    }
    lti_igemm_free(ctx, gemm);
    lt_ctx_free(ctx);
}

static void try_product(int64_t m, int64_t n, int64_t k, lt_dtype a_type, lt_dtype b_type)
{
    operands o = make_operands(m, n, k, a_type, b_type);
    for (int i = 0; i < 3; i++) {
        const lti_kernels *kernels = lti_kernels_of(sets[i]);
        for (int add = 0; kernels && add < 2; add++) {
            lt_real *c = make(m * n, sizeof *c);
            for (int64_t e = 0; e <= m * n; e++) c[e] = 3;
            multiply(&o, kernels, add, c);
            double error = error_of(&o, c, add ? 3 : 0);
            double most = ts_tolerance(b_type == LT_I8 ? 1e-14 : 1e-7, 1e-6); /* lattices decode to floats */
            TS_CHECK(error < most, "%s %s x %s, %lld x %lld x %lld%s: off by %g", sets[i], lt_dtype_name(a_type),
                     lt_dtype_name(b_type), (long long)m, (long long)n, (long long)k, add ? " added" : "", error);
            TS_CHECK(c[m * n] == 3, "%s %s: writes past the end", sets[i], lt_dtype_name(b_type));
            free(c);
        }
    }
    drop(&o);
}

/* Each pair at sizes with and without ragged tiles. */
static void pairs(void)
{
    for (int t = 0; t < TS_LATTICES; t++) {
        lt_dtype b = ts_lattices[t].type, a = lti_activation_type(b);
        if (a == LT_F32) continue;
        int64_t block = lt_dtype_block(b);
        try_product(13, 45, 3 * block, a, b);
        try_product(6, 32, block, a, b);
        try_product(1, 33, 2 * block, a, b);
        try_product(7, 1, block, LT_I8, b);
        try_product(12, 70, 2 * block, LT_I8, b);
    }
}

static void codes(void)
{
    const int64_t sizes[][3] = {{13, 45, 77}, {1, 1, 1},   {6, 32, 64},  {7, 33, 3},
                                {2, 5, 31},   {5, 31, 33}, {3, 2, 70001}};
    for (int i = 0; i < LTI_COUNT(sizes); i++) try_product(sizes[i][0], sizes[i][1], sizes[i][2], LT_I8, LT_I8);
}

/* With scales of 1 and codes at their ends, products are whole numbers and exact on every set. */
static void exact(void)
{
    enum { M = 7, N = 34, K = 512 };
    operands o = make_operands(M, N, K, LT_I8, LT_I8);
    for (int i = 0; i < M * K; i++) o.a[i] = (char)(i % 3 ? -128 : i % 5 ? 127 : i);
    for (int i = 0; i < N * K; i++) o.b[i] = (char)(i % 7 < 5 ? -128 : i % 2 ? 127 : i);
    for (int i = 0; i < M; i++) o.a_scale[i] = 1;
    for (int j = 0; j < N; j++) o.b_scale[j] = 1;
    for (int set = 0; set < 3; set++) {
        lt_real c[M * N];
        int wrong = 0;
        if (!lti_kernels_of(sets[set])) continue;
        multiply(&o, lti_kernels_of(sets[set]), false, c);
        for (int e = 0; e < M * N; e++) {
            int32_t sum = 0;
            for (int l = 0; l < K; l++) sum += (int8_t)o.a[e / N * K + l] * (int8_t)o.b[e % N * K + l];
            wrong += c[e] != (lt_real)sum;
        }
        TS_CHECK(wrong == 0, "%s: %d of %d whole sums are wrong", sets[set], wrong, M * N);
    }
    drop(&o);
}

/* One thread and several, and a row alone or among others: the same bits. */
static void same_bits(void)
{
    enum { M = 203, N = 100, K = 256 };
    const lt_dtype types[][2] = {{LT_Q8_0, LT_Q4_0}, {LT_Q8_K, LT_Q4_K}, {LT_I8, LT_I8}, {LT_Q8_1, LT_Q5_1}};
    static lt_real one[M * N], many[M * N];
    int threads = lt_threads();
    lti_par_beyond(true);
    for (int t = 0; t < LTI_COUNT(types); t++) {
        operands o = make_operands(M, N, K, types[t][0], types[t][1]);
        lt_set_threads(1);
        multiply(&o, NULL, false, one);
        lt_set_threads(5);
        multiply(&o, NULL, false, many);
        TS_CHECK(ts_same_bytes(sizeof one, one, many), "%s: threads change bits", lt_dtype_name(types[t][1]));
        int64_t row = 77;
        operands alone = o;
        alone.s.m = 1;
        alone.a = o.a + row * row_bytes(types[t][0], K);
        alone.a_scale = o.a_scale + row;
        multiply(&alone, NULL, false, many);
        TS_CHECK(ts_same_bytes(N * sizeof *one, one + row * N, many), "%s: neighbours change bits",
                 lt_dtype_name(types[t][1]));
        drop(&o);
    }
    lt_set_threads(threads);
    lti_par_beyond(false);
}

static lt_status create(lt_ctx *ctx, lti_igemm_shape s)
{
    lti_igemm *gemm;
    lt_status status = lti_igemm_create(ctx, &s, &gemm);
    lti_igemm_free(ctx, gemm);
    return status;
}

static lt_status create_one(lt_ctx *ctx, void *arg)
{
    (void)arg;
    return create(ctx, (lti_igemm_shape){4, 4, 32, LT_Q8_0, LT_Q4_0, false});
}

static void refused(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    const lti_igemm_shape wrong[] = {
        {4, 4, 33, LT_Q8_0, LT_Q4_0, false}, {4, 4, 32, LT_Q8_1, LT_Q4_0, false},
        {4, 4, 64, LT_F32, LT_Q4_0, false},  {4, -4, 32, LT_Q8_0, LT_Q4_0, false},
        {4, 4, 64, LT_Q8_0, LT_I8, false},   {4, 4, 128, LT_I8, LT_Q4_K, false},
        {4, 4, 64, LT_Q8_0, LT_NF4, false},  {INT64_MAX, 4, 32, LT_I8, LT_I8, false},
    };
    for (int i = 0; i < LTI_COUNT(wrong); i++)
        TS_CHECK(create(ctx, wrong[i]) == LT_EINVAL && *lt_ctx_message(ctx), "shape %d is not refused", i);
    TS_CHECK(create(ctx, (lti_igemm_shape){1 << 30, 4, INT64_C(1) << 39, LT_I8, LT_I8, false}) == LT_EINVAL, "vast");
    TS_CHECK(!lti_igemm_takes(LT_F32, LT_F32) && !lti_igemm_takes(LT_I8, LT_F32) && !lti_igemm_takes(LT_F32, LT_NF4),
             "types without integers");
    ts_every_allocation_fails("integer product", create_one, NULL);
    operands o = make_operands(3, 4, 0, LT_I8, LT_I8);
    lt_real c[12] = {5, 5, 5, 5};
    multiply(&o, NULL, true, c);
    TS_CHECK(c[0] == 5, "an empty sum adds nothing");
    multiply(&o, NULL, false, c);
    TS_CHECK(c[0] == 0 && c[3] == 0, "an empty sum is 0");
    drop(&o);
    lt_ctx_free(ctx);
}

/* ---- Beside llama.cpp ---- */

enum { N = 65536, ROW = 1024 };
static R values[N];
static unsigned char blocks[N / 256 * 292]; /* Q8_K is the largest */

static uint64_t fnv(const void *bytes, size_t count)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < count; i++) h = (h ^ ((const unsigned char *)bytes)[i]) * 1099511628211u;
    return h;
}

/* As scripts/goldens_activations.py: numbers of many sizes, then ties. */
static void generate(void)
{
    uint32_t s = 1;
    for (int i = 0; i < N; i++) {
        s = s * 1664525u + 1013904223u;
        float u = (float)(int32_t)s * 0x1p-31f, tie = ((float)(s >> 23) - 256) * 0.5f;
        values[i] = i < N / 2 ? u * u * u * 0.1f : i % 32 == 0 || tie > 127 ? 127 : tie < -127 ? -127 : tie;
    }
}

static void runtime_blocks(void)
{
    json_t *golden = gd_load("activations.json");
    const json_t *hashes = json_object_get(golden, "blocks");
    const lt_dtype types[] = {LT_Q8_0, LT_Q8_1, LT_Q8_K};
    generate();
    for (int i = 0; golden && i < 9; i++) {
        const lti_kernels *k = lti_kernels_of(sets[i / 3]);
        lt_dtype type = types[i % 3];
        if (!k) continue;
        if (type == LT_Q8_0) k->quantize_activations_q8_0(N, values, blocks);
        if (type == LT_Q8_1) k->quantize_activations_q8_1(N, values, blocks);
        if (type == LT_Q8_K) k->quantize_activations_q8_k(N, values, blocks);
        uint64_t got = fnv(blocks, (size_t)row_bytes(type, N));
        TS_CHECK(got == strtoull(gd_text(hashes, lt_dtype_name(type)), NULL, 16),
                 "%s %s: other bytes than llama.cpp's (%016llx)", sets[i / 3], lt_dtype_name(type),
                 (unsigned long long)got);
    }
    json_decref(golden);
}

static void runtime_products(void)
{
    json_t *golden = gd_load("activations.json");
    const json_t *products = json_object_get(golden, "products");
    static char weights[ROW / 32 * 40];
    generate();
    for (int t = 0; golden && t < TS_LATTICES; t++) {
        lt_dtype type = ts_lattices[t].type;
        if (lti_activation_type(type) == LT_F32) continue;
        operands o = {.s = {1, 1, ROW, lti_activation_type(type), type, false}, .a = (char *)blocks, .b = weights};
        lt_real c;
        ts_make_moderate_blocks(t, ROW / lt_dtype_block(type), (uint8_t *)weights);
        lti_quantize_activations(o.s.a_type, 1, ROW, values, blocks, NULL);
        multiply(&o, NULL, false, &c);
        gd_near((double)c, gd_number(products, lt_dtype_name(type)), 1e-5, "%s", lt_dtype_name(type));
    }
    json_decref(golden);
}

/* LT_I8: the scale, ends, and what becomes of NaN; rows by several threads. */
static void codes_of_rows(void)
{
    lt_real x[3 * 40], scale[3];
    int8_t q[3 * 40];
    for (int i = 0; i < 3 * 40; i++) x[i] = (lt_real)ts_normal("row", i);
    x[3] = -9, x[40] = (lt_real)NAN;
    memset(x + 80, 0, 40 * sizeof *x);
    lti_quantize_activations(LT_I8, 3, 40, x, q, scale);
    TS_CHECK(q[3] == -127 && scale[0] == (lt_real)9 / 127, "the largest is -127, scale %g", (double)scale[0]);
    for (int i = 0; i < 40; i++) {
        double want = rint((double)(x[i] * (127 / (lt_real)9)));
        TS_CHECK(q[i] == want, "code %d is %d, not %g", i, q[i], want);
        TS_CHECK(q[40 + i] == 0 && q[80 + i] == 0, "codes of NaN and of zeros");
    }
    TS_CHECK(isnan((double)scale[1]) && scale[2] == 0, "scales of NaN and of zeros");
}

int lti_suite_integer(void)
{
    const ts_test tests[] = {
        {"pairs", pairs},
        {"codes", codes},
        {"exact", exact},
        {"same bits", same_bits},
        {"refused", refused},
        {"runtime blocks", runtime_blocks},
        {"runtime products", runtime_products},
        {"codes of rows", codes_of_rows},
    };
    return ts_suite("integer", LTI_COUNT(tests), tests);
}
