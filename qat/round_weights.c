/* round_weights.c - rounding that looks at one number, one group or one block at a time.
 *
 * "mse" of a lattice is, block by block, the better of its two encoders where it has two: the plain one and the one that
 * searches with weights, given weights that are all alike. That is never worse than the plain one, which some searches of
 * single types are. */
#include "autograd/ops/lattice_convert.h"
#include "kernels/lattice/lattice.h"
#include "kernels/lattice/nested_scales.h"
#include "qat/rounding.h"

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

/* Columns that nothing is known of count a little: their codes are not to be left to chance. */
static lt_real *as_reals(const lti_rounding *r, const double *importance)
{
    double largest = 0;
    lt_real *h = lti_alloc_array(r->ctx, (size_t)r->columns + 1, sizeof *h);
    for (int64_t i = 0; h && importance && i < r->columns; i++)
        if (importance[i] > largest) largest = importance[i];
    for (int64_t i = 0; h && i < r->columns; i++) {
        double share = largest > 0 ? importance[i] / largest : 1;
        h[i] = (lt_real)(share > 1e-8 ? share : 1e-8);
    }
    return h;
}

lt_status lti_round_searched(const lti_rounding *r, const double *importance, bool *searched)
{
    const lt_scheme *s = &r->scheme;
    bool blocks = s->kind == LT_SCHEME_TYPE && lt_dtype_is_lattice(s->type) && lti_can_quantize_weighted(s->type);
    bool integers = s->kind == LT_SCHEME_INT || s->kind == LT_SCHEME_TERNARY;
    bool groups = s->kind == LT_SCHEME_INT && s->per != LT_PER_TENSOR;
    *searched = blocks || (importance ? groups : integers);
    if (!*searched) return lti_round_nearest(r);
    if (!blocks && !importance) return lt_scheme_apply(r->ctx, s, LT_SCALE_MSE, r->rows, r->columns, r->w, r->values);
    lt_real *h = as_reals(r, importance);
    if (!h) return LT_ENOMEM;
    lt_status status = blocks ? searched_blocks(r, h, !importance) : searched_groups(r, h);
    lti_free(r->ctx, h);
    return status;
}
