/* quantize_rows.c - a weight as int8 codes with a scale a row.
 *
 *     quantize_rows:        w [N, K] -> codes [N, K], s [N]: s_n = max |w_n| / 127, code = w / s_n to nearest even
 *                           dw = dy (straight through)
 *     quantize_transposed:  w [N, K], stored as a lattice or as codes -> codes of its transpose [K, N], s [K]
 *
 * The first is kept for the backward as lattices are (quantize.c). The second is the factor of an integer product
 * dx = dy w: there scales must not change along N, so the decoded weight is put on a grid of its columns. It exists
 * in backwards alone and has no gradient. Tasks own strips of columns and decode them twice, for the scales and for
 * the codes, which costs less than a copy in f32. */
#include "autograd/ops/integer_factors.h"
#include "autograd/ops/rows.h"
#include "kernels/integer.h"
#include "kernels/lattice/lattice.h"

#include <math.h>
#include <string.h>

static bool rows_shape(lti_shaper *s)
{
    char a[LTI_DIMS_TEXT];
    const lti_value *w = s->in[0];
    if (!lti_f32_inputs(s, 0, 1)) return false;
    if (w->rank != 2 || w->dim[1] < 1) return lti_shape_fail(s, "w %s; it is to be [N, K]", lti_dims(w, a));
    lti_value_set(&s->out[0], LT_I8, 2, w->dim);
    lti_value_set(&s->out[1], LT_F32, 1, w->dim);
    return true;
}

static void rows_vjp(lti_vjp *v)
{
    if (v->need[0]) v->dx[0] = v->dy[0];
}

/* Codes and scales of a weight are made together; what nobody reads goes to scratch. */
static lt_status rows_prepare(lti_step *step)
{
    if (!step->out[0].data) step->scratch_bytes = (size_t)step->out[0].count;
    if (!step->out[1].data) step->scratch_bytes = (size_t)step->out[1].count * sizeof(lt_real);
    return LT_OK;
}

static lt_status rows_run(lti_step *step)
{
    const lti_arg *w = &step->in[0];
    void *codes = step->out[0].data ? step->out[0].data : step->scratch;
    lt_real *scale = step->out[1].data ? step->out[1].data : step->scratch;
    lti_quantize_activations(LT_I8, w->dim[0], w->dim[1], w->data, codes, scale);
    return LT_OK;
}

/* ---- The transpose ---- */

/* Columns of a strip, a multiple of every block, and how many rows are decoded before they are turned. */
enum { STRIP = 256, TURNED = 16 };

typedef struct strip_job {
    const lti_step *step;
    int8_t *codes;
    lt_real *scale;
    int64_t N, K;
} strip_job;

static bool transposed_shape(lti_shaper *s) /* in: w, and of codes their scales */
{
    char a[LTI_DIMS_TEXT];
    const lti_value *w = s->in[0];
    bool codes = w->type == LT_I8;
    if (w->rank != 2 || s->n_in != 1 + (int)codes || !(codes || lt_dtype_is_lattice(w->type)))
        return lti_shape_fail(s, "w %s %s; it is to be a lattice, or int8 codes and scales, [N, K]",
                              lt_dtype_name(w->type), lti_dims(w, a));
    lti_value_set(&s->out[0], LT_I8, 2, (int64_t[]){w->dim[1], w->dim[0]});
    lti_value_set(&s->out[1], LT_F32, 1, &w->dim[1]);
    return true;
}

/* Columns k0 .. k0 + n - 1 of row i. */
static void decode_piece(const strip_job *job, int64_t i, int64_t k0, int64_t n, lt_real *y)
{
    const lti_arg *w = &job->step->in[0];
    const char *at = (const char *)w->data + lti_bytes_of(w->type, i * job->K + k0);
    if (w->type == LT_I8)
        lti_k()->from_i8(n, (const int8_t *)at, ((const lt_real *)job->step->in[1].data)[i], y);
    else
        lti_dequantize(w->type, n, at, y);
}

static void strip_task(void *arg, int64_t task, int thread)
{
    (void)thread;
    const strip_job *job = arg;
    int64_t k0 = task * STRIP, n = job->K - k0 < STRIP ? job->K - k0 : STRIP;
    lt_real row[STRIP], top[STRIP] = {0}, inverse[STRIP];
    for (int64_t i = 0; i < job->N; i++) {
        decode_piece(job, i, k0, n, row);
        for (int64_t k = 0; k < n; k++) {
            lt_real size = row[k] < 0 ? -row[k] : row[k];
            if (size > top[k]) top[k] = size;
        }
    }
    for (int64_t k = 0; k < n; k++) {
        job->scale[k0 + k] = top[k] / 127;
        inverse[k] = top[k] > 0 ? 127 / top[k] : 0;
    }
    int8_t turned[STRIP][TURNED];
    for (int64_t i = 0; i < job->N; i += TURNED) {
        int64_t rows = job->N - i < TURNED ? job->N - i : TURNED;
        for (int64_t r = 0; r < rows; r++) {
            decode_piece(job, i + r, k0, n, row);
            for (int64_t k = 0; k < n; k++) turned[k][r] = (int8_t)lrint((double)(row[k] * inverse[k]));
        }
        for (int64_t k = 0; k < n; k++) memcpy(job->codes + (k0 + k) * job->N + i, turned[k], (size_t)rows);
    }
}

static lt_status transposed_run(lti_step *step)
{
    strip_job job = {.step = step, .N = step->in[0].dim[0], .K = step->in[0].dim[1]};
    job.codes = step->out[0].data ? step->out[0].data : step->scratch;
    job.scale = step->out[1].data ? step->out[1].data : step->scratch;
    lti_par((job.K + STRIP - 1) / STRIP, strip_task, &job);
    return LT_OK;
}

const lti_op lti_op_quantize_rows = {
    .name = "quantize_rows",
    .min_in = 1,
    .max_in = 1,
    .n_out = 2,
    .flags = LTI_KEEP,
    .shape = rows_shape,
    .vjp = rows_vjp,
    .prepare = rows_prepare,
    .run = rows_run,
};

const lti_op lti_op_quantize_transposed = {
    .name = "quantize_transposed",
    .min_in = 1,
    .max_in = 2,
    .n_out = 2,
    .shape = transposed_shape,
    .prepare = rows_prepare,
    .run = transposed_run,
};

lt_t lt_quantize_rows(lt_t w)
{
    return lti_emit(&lti_op_quantize_rows, 1, &w, NULL, 0);
}

lt_t lti_quantize_transposed(lt_t w)
{
    bool codes = lt_type(w) == LT_I8;
    lt_t in[2] = {w, codes ? lti_codes_scale(w, "quantize_transposed") : w};
    return lti_emit(&lti_op_quantize_transposed, 1 + (int)codes, in, NULL, 0);
}
