/* ref_attention.c - the formulas of attention.h, one query or one key at a time, in plain C and double sums.
 *
 * Scores are recomputed instead of stored, so the only memory is a row of `dim` doubles. */
#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

/* Two rows of doubles for ref; eight [dim, 64] panels, three [64, 64] tiles and some rows for the SIMD sets. */
size_t lti_attention_scratch(int64_t dim)
{
    size_t rows = LTI_ATTENTION_ROWS, panel = (size_t)dim * rows;
    return (8 * panel + 3 * rows * rows + 16 * rows) * sizeof(lt_real);
}

static double product(int64_t n, const R *a, const R *b)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += (double)a[i] * (double)b[i];
    return s;
}

static void attend(const lti_attention_task *t, int64_t head, int64_t i, double *sum /* [dim] */)
{
    int64_t dim = t->dim, row = t->heads * dim, kv_row = t->kv_heads * dim, begin, end;
    int64_t group = head / (t->heads / t->kv_heads);
    const R *q = t->q + i * row + head * dim, *k = t->k + group * dim, *v = t->v + group * dim;
    double max = -INFINITY, total = 0;
    lti_attention_keys(t, i, &begin, &end);
    for (int64_t j = begin; j < end; j++) {
        double s = (double)t->scale * product(dim, q, k + j * kv_row);
        if (s > max || s != s) max = s;
    }
    memset(sum, 0, (size_t)dim * sizeof *sum);
    for (int64_t j = begin; j < end; j++) {
        double p = exp((double)t->scale * product(dim, q, k + j * kv_row) - max);
        total += p;
        for (int64_t d = 0; d < dim; d++) sum[d] += p * (double)v[j * kv_row + d];
    }
    for (int64_t d = 0; d < dim; d++) t->out[i * row + head * dim + d] = (R)(end > begin ? sum[d] / total : 0);
    t->lse[head * t->T + i] = (R)(max + log(total));
}

void lti_k_attention_ref(const lti_attention_task *t, void *scratch)
{
    for (int64_t head = t->head; head <= t->head + t->more_heads; head++)
        for (int64_t i = t->begin; i < t->end; i++) attend(t, head, i, scratch);
}

/* p_ij, and ds_ij through `ds`, for one query of one head. */
static double probability(const lti_attention_task *t, int64_t head, int64_t i, int64_t j, double *ds)
{
    int64_t dim = t->dim, row = t->heads * dim, kv_row = t->kv_heads * dim, g = head / (t->heads / t->kv_heads);
    const R *q = t->q + i * row + head * dim, *dout = t->dout + i * row + head * dim;
    const R *k = t->k + j * kv_row + g * dim, *v = t->v + j * kv_row + g * dim;
    double delta = product(dim, dout, t->o + i * row + head * dim);
    double p = exp((double)t->scale * product(dim, q, k) - (double)t->lse[head * t->T + i]);
    *ds = p * (product(dim, dout, v) - delta) * (double)t->scale;
    return p;
}

void lti_k_attention_grad_q_ref(const lti_attention_task *t, void *scratch)
{
    int64_t dim = t->dim, row = t->heads * dim, kv_row = t->kv_heads * dim, begin, end;
    const R *k = t->k + t->head / (t->heads / t->kv_heads) * dim;
    double *sum = scratch; /* [dim] */
    for (int64_t i = t->begin; i < t->end; i++) {
        memset(sum, 0, (size_t)dim * sizeof *sum);
        lti_attention_keys(t, i, &begin, &end);
        for (int64_t j = begin; j < end; j++) {
            double ds;
            (void)probability(t, t->head, i, j, &ds);
            for (int64_t d = 0; d < dim; d++) sum[d] += ds * (double)k[j * kv_row + d];
        }
        for (int64_t d = 0; d < dim; d++) t->dq[i * row + t->head * dim + d] = (R)sum[d];
    }
}

void lti_k_attention_grad_kv_ref(const lti_attention_task *t, void *scratch)
{
    int64_t dim = t->dim, row = t->heads * dim, kv_row = t->kv_heads * dim, group = t->heads / t->kv_heads;
    double *sum_k = scratch, *sum_v = sum_k + dim; /* [dim] each */
    for (int64_t j = t->begin; j < t->end; j++) {
        memset(sum_k, 0, 2 * (size_t)dim * sizeof *sum_k);
        for (int64_t head = t->head * group; head < (t->head + 1) * group; head++) {
            for (int64_t i = 0; i < t->T; i++) {
                int64_t begin, end;
                lti_attention_keys(t, i, &begin, &end);
                if (j < begin || j >= end) continue;
                const R *q = t->q + i * row + head * dim, *dout = t->dout + i * row + head * dim;
                double ds, p = probability(t, head, i, j, &ds);
                for (int64_t d = 0; d < dim; d++) {
                    sum_k[d] += ds * (double)q[d];
                    sum_v[d] += p * (double)dout[d];
                }
            }
        }
        for (int64_t d = 0; d < dim; d++) {
            t->dk[j * kv_row + t->head * dim + d] = (R)sum_k[d];
            t->dv[j * kv_row + t->head * dim + d] = (R)sum_v[d];
        }
    }
}

void lti_k_attention_grad_ref(const lti_attention_task *t, void *scratch)
{
    lti_attention_task part = *t;
    int64_t group = t->heads / t->kv_heads;
    part.begin = 0;
    part.end = t->T;
    for (part.head = t->head * group; part.head < (t->head + 1) * group; part.head++)
        lti_k_attention_grad_q_ref(&part, scratch);
    part.head = t->head;
    part.end = t->S;
    lti_k_attention_grad_kv_ref(&part, scratch);
}
