/* gptq.c - rounding column by column: what a column's rounding has lost, the columns after it make up for.
 *
 * With H the sum of x x' over a layer's inputs, the error of a row is d H d', d = w - w^. Frantar et al. (GPTQ, 2023) walk
 * along the columns; what column j loses is spread over the columns k behind it,
 *
 *     w_k -= (w_j - w^_j) U_jk / U_jj,  H^-1 = U' U, U upper,
 *
 * which is the best the columns that are left can do. U is the inverse of the upper factor of H itself, H = V V', so one
 * Cholesky factorization, of H with rows and columns in reversed order, and the inverse of a triangle make it; H^-1 is
 * never formed. The corrections of a block of columns reach the columns behind it as one product. (The walk can be written
 * with V alone, as QuIP does, but then columns that are not reached yet are not what they are expected to be, and scales
 * would be made of the wrong numbers.)
 *
 * Scales are those of the numbers as they stand, corrections included, when their first column's turn comes; a group of
 * scales never begins in the middle of a block of columns. With act_order columns come in falling order of H_kk, and
 * scales (which belong to neighbours) are made of the uncorrected weights before the walk. Columns that nothing ever
 * came through (H_kk = 0) are rounded alone. */
#include "autograd/ops/lattice_convert.h"
#include "kernels/gemm.h"
#include "kernels/lattice/lattice.h"
#include "qat/rounding.h"

#include <math.h>
#include <stdlib.h>

enum { BLOCK = 128, MOST_DAMPINGS = 6 };

typedef struct walk {
    const lti_rounding *r;
    bool lattice, early;        /* early: scales are made before the walk */
    lti_grid_attr attr;         /* of integer grids */
    int64_t fit, unit, per_row; /* columns whose scales are made at once; that share one; scales a row */
    size_t row_bytes;
    int64_t *order;   /* [K]: the column at each place */
    lt_real *feed;    /* [K, K] by place: U_jk / U_jj */
    lt_real *now;     /* [rows, K] by place: the weights with corrections */
    lt_real *lost;    /* [rows, width] of the block of columns at hand */
    lt_real *squares; /* [K] by column: what an error there counts */
    lti_grid *grids;  /* [rows, per_row] */
    int64_t first, last, width;
} walk;

bool lti_gptq_knows(const lt_scheme *s)
{
    if (s->kind == LT_SCHEME_TYPE) return lti_lattice_is_affine(s->type);
    return s->kind == LT_SCHEME_INT || s->kind == LT_SCHEME_TERNARY;
}

/* ---- The factor ---- */

typedef struct place {
    double key;
    int64_t column;
} place;

static int falling(const void *a, const void *b)
{
    const place *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? 1 : -1;
    return x->column < y->column ? -1 : 1;
}

static lt_status make_order(walk *g, const lti_inputs *in, bool by_size)
{
    int64_t K = in->columns;
    place *places = lti_alloc_array(g->r->ctx, (size_t)K + 1, sizeof *places);
    if (!places) return LT_ENOMEM;
    for (int64_t i = 0; i < K; i++) places[i] = (place){in->gram[i * K + i], i};
    if (by_size) qsort(places, (size_t)K, sizeof *places, falling);
    for (int64_t i = 0; i < K; i++) g->order[i] = places[i].column;
    lti_free(g->r->ctx, places);
    return LT_OK;
}

/* The damped H, rows and columns by place and reversed. */
static void fill_reversed(const walk *g, const lti_inputs *in, double damping, double *a)
{
    int64_t K = in->columns;
    double mean = 0;
    for (int64_t i = 0; i < K; i++) mean += in->gram[i * K + i] / (double)K;
    for (int64_t i = 0; i < K; i++) {
        const double *row = in->gram + g->order[K - 1 - i] * K;
        for (int64_t k = 0; k <= i; k++) a[i * K + k] = row[g->order[K - 1 - k]];
        if (a[i * K + i] == 0) a[i * K + i] = 1;
        a[i * K + i] += damping * mean;
    }
}

/* feed from the inverse of the reversed H's factor */
static void fill_feed(const walk *g, const double *inverse)
{
    int64_t K = g->r->columns;
    for (int64_t j = 0; j < K; j++)
        for (int64_t k = j + 1; k < K; k++) {
            const double *row = inverse + (K - 1 - j) * K;
            g->feed[j * K + k] = (lt_real)(row[K - 1 - k] / row[K - 1 - j]);
        }
}

static lt_status factor(walk *g, const lti_inputs *in, double damping)
{
    lt_ctx *ctx = g->r->ctx;
    size_t K = (size_t)in->columns;
    double *a = lti_alloc_array(ctx, K * K + 1, sizeof *a);
    bool good = false;
    for (int i = 0; i < MOST_DAMPINGS && a && !good; i++, damping = damping > 0 ? 10 * damping : 1e-4) {
        fill_reversed(g, in, damping, a);
        good = lti_cholesky(in->columns, a) && lti_invert_lower(in->columns, a);
    }
    if (good) fill_feed(g, a);
    bool room = a;
    lti_free(ctx, a);
    if (good || !room) return good ? LT_OK : LT_ENOMEM;
    return lti_fail(
        ctx, LT_EINVAL,
        "gptq: '%s': what the layer reads is not finite, or far from it; check the calibration data and the "
        "model's weights",
        g->r->name);
}

/* ---- Scales ---- */

static void fit_lattice(const walk *g, int64_t row, int64_t index, const lt_real *x)
{
    lt_dtype type = g->r->scheme.type;
    uint8_t *block = (uint8_t *)g->r->codes + (size_t)row * g->row_bytes + (size_t)index * lt_dtype_bytes(type);
    if (lti_can_quantize_weighted(type))
        lti_quantize_weighted(type, g->fit, 1, x, g->squares + index * g->fit, block);
    else
        lti_quantize(type, g->fit, x, block);
    lti_lattice_grids(type, block, g->grids + row * g->per_row + index * (g->fit / g->unit));
}

static void fit_integers(const walk *g, int64_t row, int64_t index, const lt_real *x)
{
    lt_real scale, offset;
    int64_t at = index * g->fit, left = g->r->columns - at;
    lti_search_scale(&g->attr, left < g->fit ? left : g->fit, x, g->squares + at, &scale, &offset);
    g->grids[row * g->per_row + index] = lti_grid_make(&g->attr, scale, offset);
}

static void fit_early(void *arg, int64_t row, int thread)
{
    const walk *g = arg;
    (void)thread;
    for (int64_t at = 0; at < g->r->columns; at += g->fit)
        (g->lattice ? fit_lattice : fit_integers)(g, row, at / g->fit, g->r->w + row * g->r->columns + at);
}

/* One scale for all rows. */
static lt_status fit_tensor(const walk *g)
{
    const lti_rounding *r = g->r;
    lt_real scale, offset = 0;
    lti_groups groups = lti_groups_of(&g->attr, 2, (int64_t[]){r->rows, r->columns});
    void *scratch = lti_alloc(r->ctx, lti_scales_scratch(&g->attr, &groups));
    if (!scratch) return LT_ENOMEM;
    lti_scales_from(&g->attr, &groups, r->w, &scale, g->attr.asymmetric ? &offset : NULL, scratch);
    for (int64_t i = 0; i < r->rows; i++) g->grids[i] = lti_grid_make(&g->attr, scale, offset);
    lti_free(r->ctx, scratch);
    return LT_OK;
}

/* ---- The walk ---- */

static lt_real nearest(const lti_grid *g, lt_real x)
{
    lt_real code = (lt_real)rint((double)((x - g->offset) * g->inverse));
    code = code < g->lo ? g->lo : code > g->hi ? g->hi : code;
    return code * g->scale + g->base;
}

static void walk_row(void *arg, int64_t row, int thread)
{
    const walk *g = arg;
    int64_t K = g->r->columns;
    lt_real *now = g->now + row * K, *lost = g->lost + row * g->width, *values = g->r->values + row * K;
    (void)thread;
    for (int64_t j = g->first; j < g->last; j++) {
        int64_t column = g->order[j];
        if (!g->early && j % g->fit == 0) (g->lattice ? fit_lattice : fit_integers)(g, row, j / g->fit, now + j);
        values[column] = nearest(g->grids + row * g->per_row + column / g->unit, now[j]);
        lt_real d = values[column] - now[j];
        const lt_real *feed = g->feed + j * K;
        lost[j - g->first] = d;
        for (int64_t k = j + 1; k < g->last; k++) now[k] += d * feed[k];
    }
}

/* now[.., last ..] += lost feed[first .. last, last ..] */
static lt_status correct_rest(const walk *g)
{
    lt_ctx *ctx = g->r->ctx;
    int64_t K = g->r->columns;
    lti_gemm *gemm;
    lti_gemm_shape shape = {.m = g->r->rows, .n = K - g->last, .k = g->last - g->first, .accumulate = true};
    shape.lda = g->width, shape.ldb = shape.ldc = K;
    if (shape.n == 0) return LT_OK;
    LTI_TRY(lti_gemm_create(ctx, &shape, &gemm));
    void *scratch = lti_alloc(ctx, lti_gemm_scratch(gemm));
    lt_status status = scratch ? LT_OK : LT_ENOMEM;
    if (status == LT_OK)
        status = lti_gemm_run(gemm, g->lost, g->feed + g->first * K + g->last, g->now + g->last, scratch);
    lti_free(ctx, scratch);
    lti_gemm_free(ctx, gemm);
    return status;
}

static void pack_row(void *arg, int64_t row, int thread)
{
    const walk *g = arg;
    lt_dtype type = g->r->scheme.type;
    uint8_t *block = (uint8_t *)g->r->codes + (size_t)row * g->row_bytes;
    (void)thread;
    for (int64_t at = 0; at < g->r->columns; at += g->fit, block += lt_dtype_bytes(type))
        lti_lattice_pack(type, g->r->values + row * g->r->columns + at, g->grids + row * g->per_row + at / g->unit,
                         block);
}

static lt_status walk_columns(walk *g)
{
    const lti_rounding *r = g->r;
    if (g->attr.per == LT_PER_TENSOR && !g->lattice)
        LTI_TRY(fit_tensor(g));
    else if (g->early)
        lti_par(r->rows, fit_early, g);
    for (g->first = 0; g->first < r->columns; g->first = g->last) {
        g->last = g->first + g->width < r->columns ? g->first + g->width : r->columns;
        lti_par(r->rows, walk_row, g);
        LTI_TRY(correct_rest(g));
    }
    if (!g->lattice) return LT_OK;
    lti_par(r->rows, pack_row, g);
    lti_decode(r->rows * r->columns, r->scheme.type, r->codes, r->values);
    return LT_OK;
}

/* ---- The whole ---- */

static walk new_walk(const lti_rounding *r, const lti_gptq_options *o)
{
    walk g = {.r = r, .lattice = r->scheme.kind == LT_SCHEME_TYPE, .early = o->act_order};
    int64_t K = r->columns;
    if (g.lattice) {
        g.fit = lt_dtype_block(r->scheme.type);
        g.unit = lti_lattice_unit(r->scheme.type);
        g.row_bytes = (size_t)(K / g.fit) * lt_dtype_bytes(r->scheme.type);
    } else {
        g.attr = lti_grid_attr_of(&r->scheme, LT_SCALE_MSE);
        g.fit = g.unit = r->scheme.per == LT_PER_GROUP && r->scheme.group < K ? r->scheme.group : K;
        g.early = g.early || r->scheme.per != LT_PER_GROUP;
    }
    g.per_row = K ? (K - 1) / g.unit + 1 : 0;
    g.width = g.early ? BLOCK : g.fit >= BLOCK ? g.fit : BLOCK / g.fit * g.fit;
    return g;
}

static lt_status reserve(walk *g)
{
    lt_ctx *ctx = g->r->ctx;
    size_t K = (size_t)g->r->columns, rows = (size_t)g->r->rows;
    g->order = lti_alloc_array(ctx, K + 1, sizeof *g->order);
    g->feed = lti_alloc_array(ctx, K * K + 1, sizeof *g->feed);
    g->now = lti_alloc_array(ctx, rows * K + 1, sizeof *g->now);
    g->lost = lti_alloc_array(ctx, rows * (size_t)g->width + 1, sizeof *g->lost);
    g->squares = lti_alloc_array(ctx, K + 1, sizeof *g->squares);
    g->grids = lti_alloc_array(ctx, rows * (size_t)g->per_row + 1, sizeof *g->grids);
    return g->order && g->feed && g->now && g->lost && g->squares && g->grids ? LT_OK : LT_ENOMEM;
}

static void release(walk *g)
{
    void *all[] = {g->order, g->feed, g->now, g->lost, g->squares, g->grids};
    for (int i = 0; i < LTI_COUNT(all); i++) lti_free(g->r->ctx, all[i]);
}

static void fill(walk *g, const lti_inputs *in)
{
    int64_t K = in->columns, rows = g->r->rows;
    double largest = 0;
    for (int64_t k = 0; k < K; k++) largest = fmax(largest, in->gram[k * (K + 1)]);
    for (int64_t k = 0; k < K; k++)
        g->squares[k] = (lt_real)(largest > 0 ? fmax(in->gram[k * (K + 1)] / largest, 1e-8) : 1);
    for (int64_t row = 0; row < rows; row++)
        for (int64_t k = 0; k < K; k++) g->now[row * K + k] = g->r->w[row * K + g->order[k]];
}

lt_status lti_round_gptq(const lti_rounding *r, const lti_inputs *in, const lti_gptq_options *o, lt_real *start)
{
    walk g = new_walk(r, o);
    int64_t K = r->columns;
    lt_status status = reserve(&g);
    if (status == LT_OK) status = make_order(&g, in, o->act_order);
    if (status == LT_OK) status = factor(&g, in, o->damping);
    if (status == LT_OK) {
        fill(&g, in);
        status = walk_columns(&g);
    }
    for (int64_t i = 0; i < r->rows * K && start && status == LT_OK; i++) start[i / K * K + g.order[i % K]] = g.now[i];
    release(&g);
    return status;
}
