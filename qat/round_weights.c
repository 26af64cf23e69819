/* round_weights.c - rounding that looks at one number, one group or one block at a time.
 *
 * "mse" of a lattice is, block by block, the better of its two encoders where it has two: the plain one and the one that
 * searches with weights, given weights that are all alike. That is never worse than the plain one, which some searches of
 * single types are. */
#include "autograd/ops/lattice_convert.h"
#include "kernels/lattice/lattice.h"
#include "kernels/lattice/nested_scales.h"
#include "qat/rounding.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_type(const lti_rounding *r, lt_dtype type)
{
    return r->scheme.kind == LT_SCHEME_TYPE && r->scheme.type == type;
}

static int64_t count_of(const lti_rounding *r)
{
    return r->rows * r->columns;
}

static lt_status nearest_type(const lti_rounding *r)
{
    lt_dtype type = r->scheme.type;
    lti_encode(count_of(r), r->w, type, r->codes);
    if (r->scheme.double_scales) lti_double_scales(count_of(r) / lt_dtype_block(type), r->codes);
    lti_decode(count_of(r), type, r->codes, r->values);
    return LT_OK;
}

lt_status lti_round_nearest(const lti_rounding *r)
{
    if (is_type(r, LT_F32)) {
        memcpy(r->values, r->w, (size_t)count_of(r) * sizeof *r->values);
        return LT_OK;
    }
    if (r->scheme.kind == LT_SCHEME_TYPE) return nearest_type(r);
    return lt_scheme_apply(r->ctx, &r->scheme, LT_SCALE_DYNAMIC, r->rows, r->columns, r->w, r->values);
}

/* ---- Lattices ---- */

typedef struct block_job {
    const lti_rounding *r;
    const lt_real *importance;
    bool compare;
    size_t row_bytes;
    uint8_t *searched;
} block_job;

static double square_error(int64_t n, const lt_real *x, const lt_real *y)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += ((double)y[i] - (double)x[i]) * ((double)y[i] - (double)x[i]);
    return sum;
}

/* Blocks of `searched` that are nearer than those of `codes` take their place. */
static void take_better(const lti_rounding *r, const lt_real *x, const uint8_t *searched, uint8_t *codes)
{
    lt_real y[256];
    int64_t block = lt_dtype_block(r->scheme.type);
    size_t bytes = lt_dtype_bytes(r->scheme.type);
    for (int64_t i = 0; i < r->columns; i += block, searched += bytes, codes += bytes) {
        lti_dequantize(r->scheme.type, block, codes, y);
        double plain = square_error(block, x + i, y);
        lti_dequantize(r->scheme.type, block, searched, y);
        if (square_error(block, x + i, y) < plain) memcpy(codes, searched, bytes);
    }
}

static void search_row(void *arg, int64_t row, int thread)
{
    const block_job *j = arg;
    const lti_rounding *r = j->r;
    const lt_real *x = r->w + row * r->columns;
    uint8_t *codes = (uint8_t *)r->codes + (size_t)row * j->row_bytes;
    uint8_t *searched = j->compare ? j->searched + (size_t)row * j->row_bytes : codes;
    (void)thread;
    lti_quantize_weighted(r->scheme.type, r->columns, 1, x, j->importance, searched);
    if (!j->compare) return;
    lti_quantize(r->scheme.type, r->columns, x, codes);
    take_better(r, x, searched, codes);
}

static lt_status searched_blocks(const lti_rounding *r, const lt_real *importance, bool compare)
{
    block_job job = {.r = r, .importance = importance, .compare = compare};
    size_t all;
    if (!lti_dtype_size(r->scheme.type, count_of(r), &all)) return LT_EINVAL;
    job.row_bytes = r->rows ? all / (size_t)r->rows : 0;
    if (compare && !(job.searched = lti_alloc(r->ctx, all))) return LT_ENOMEM;
    lti_par(r->rows, search_row, &job);
    lti_free(r->ctx, job.searched);
    lti_decode(count_of(r), r->scheme.type, r->codes, r->values);
    return LT_OK;
}

/* ---- Grids of integers ---- */

typedef struct group_job {
    const lti_rounding *r;
    const lti_grid_attr *attr;
    lti_groups groups;
    const lt_real *importance;
    lt_real *scale, *offset;
} group_job;

static void search_group(void *arg, int64_t index, int thread)
{
    const group_job *j = arg;
    int64_t first, n = lti_group_at(&j->groups, index, &first);
    (void)thread;
    lti_search_scale(j->attr, n, j->r->w + first, j->importance + first % j->r->columns, j->scale + index,
                     j->offset + index);
}

static lt_status searched_groups(const lti_rounding *r, const lt_real *importance)
{
    lti_grid_attr attr = lti_grid_attr_of(&r->scheme, LT_SCALE_MSE);
    group_job job = {.r = r, .attr = &attr, .importance = importance};
    job.groups = lti_groups_of(&attr, 2, (int64_t[]){r->rows, r->columns});
    job.scale = lti_alloc_array(r->ctx, 2 * (size_t)job.groups.count + 1, sizeof *job.scale);
    if (!job.scale) return LT_ENOMEM;
    job.offset = job.scale + job.groups.count;
    lti_par(job.groups.count, search_group, &job);
    lti_on_grids(&attr, &job.groups, r->w, job.scale, job.offset, r->values);
    lti_free(r->ctx, job.scale);
    return LT_OK;
}

/* ---- The choice ---- */

/* Mean squares in llama-quantize's own arithmetic, an f32 sum by an f32 count, so that its bytes come out. Shares of the
 * largest were rounded once more, and other codes were picked. Only sums that the encoders' products could take out of
 * f32 are brought near 1, by a power of two, which changes no code. */
static void mean_squares(const lti_rounding *r, const lti_inputs *in, lt_real *h)
{
    double largest = 0, count = (double)(float)in->positions;
    for (int64_t i = 0; i < r->columns; i++)
        if (isfinite(in->squares[i]) && in->squares[i] > largest) largest = in->squares[i];
    int size = largest > 0 ? ilogb(largest) : 0, shift = abs(size) > 60 ? -size : 0;
    for (int64_t i = 0; i < r->columns; i++) {
        double sum = isfinite(in->squares[i]) ? ldexp(in->squares[i], shift) : 0;
        h[i] = (lt_real)(float)((double)(float)sum / count);
    }
}

/* Numbers that nothing came through count a little where all that share their scale are such: llama-quantize makes
 * zeros of them, and other texts may meet them. */
static void count_unmet(int64_t columns, int64_t unit, lt_real *h)
{
    lt_real largest = 0;
    for (int64_t i = 0; i < columns; i++) largest = h[i] > largest ? h[i] : largest;
    lt_real little = largest > 0 ? largest * (lt_real)1e-8 : 1;
    for (int64_t first = 0; first < columns; first += unit) {
        int64_t end = columns - first < unit ? columns : first + unit;
        bool met = false;
        for (int64_t i = first; i < end; i++) met |= h[i] > 0;
        for (int64_t i = first; i < end && !met; i++) h[i] = little;
    }
}

/* What a column's error costs; `in` NULL, or of nothing: all the same. */
static lt_real *importance_of(const lti_rounding *r, const lti_inputs *in)
{
    const lt_scheme *s = &r->scheme;
    int64_t unit = s->kind == LT_SCHEME_TYPE ? lti_lattice_unit(s->type) : s->group;
    lt_real *h = lti_alloc_array(r->ctx, (size_t)r->columns + 1, sizeof *h);
    if (h && in && in->positions > 0) mean_squares(r, in, h);
    if (h) count_unmet(r->columns, s->kind == LT_SCHEME_TYPE || s->per == LT_PER_GROUP ? unit : r->columns + 1, h);
    return h;
}

lt_status lti_round_searched(const lti_rounding *r, const lti_inputs *in, bool *searched)
{
    const lt_scheme *s = &r->scheme;
    bool blocks = s->kind == LT_SCHEME_TYPE && lt_dtype_is_lattice(s->type) && lti_can_quantize_weighted(s->type);
    bool integers = s->kind == LT_SCHEME_INT || s->kind == LT_SCHEME_TERNARY;
    bool groups = s->kind == LT_SCHEME_INT && s->per != LT_PER_TENSOR;
    *searched = blocks || (in ? groups : integers);
    if (!*searched) return lti_round_nearest(r);
    if (!blocks && !in) return lt_scheme_apply(r->ctx, s, LT_SCALE_MSE, r->rows, r->columns, r->w, r->values);
    lt_real *h = importance_of(r, in);
    if (!h) return LT_ENOMEM;
    lt_status status = blocks ? searched_blocks(r, h, !in) : searched_groups(r, h);
    lti_free(r->ctx, h);
    return status;
}
