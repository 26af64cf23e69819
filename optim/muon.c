/* muon.c - Muon (Jordan et al. 2024) as a node that writes a matrix w [m, n] and its momentum u.
 *
 *     u = mu u + (1 - mu) g';   x = (1 - mu) g' + mu u;   x = x / max(|x|, 1e-7)
 *     five times, with a = x x^T (or x^T x where m > n: the smaller side): x = (p I + q a + r a^2) x
 *     w = w (1 - lr wd) - lr scale 0.2 sqrt(max(m, n)) x;   p, q, r = 3.4445, -4.7750, 2.0315
 *
 * As torch.optim.Muon with adjust_lr_fn "match_rms_adamw" (Liu et al. 2025), in the engine's own precision instead of
 * bf16. The iteration is run on the left or on the right, never transposed; the coefficient of x itself is put on the
 * small matrix's diagonal, which saves a pass over x. Inputs: gradient, lr [, clip] [, ok]. The scratch is two copies
 * of w and two of the small square; the sums of squares are added in the order of tasks. */
#include "kernels/gemm.h"
#include "optim/update_parts.h"

#include <math.h>
#include <string.h>

enum { STEPS = 5, MOST_TASKS = 256 };
static const double P = 3.4445, Q = -4.7750, RR = 2.0315;

typedef struct muon_attr {
    lti_value param;
    double momentum, weight_decay, lr_multiplier, lr_scale;
    int64_t has_clip, has_ok;
} muon_attr;

typedef struct muon_state {
    lti_gemm *gram, *square, *apply; /* [r, r] from x; its square; [m, n] from both */
    int64_t m, n, side;
    size_t x, y, gram_at, poly_at, sums, products; /* offsets in the scratch */
} muon_state;

static bool muon_shape(lti_shaper *s)
{
    const muon_attr *attr = s->attr;
    char a[LTI_DIMS_TEXT];
    if (attr->param.rank < 2)
        return lti_shape_fail(s, "a parameter %s; two axes or more are wanted", lti_dims(&attr->param, a));
    return lti_update_shape(s, &attr->param);
}

/* ---- Preparing ---- */

static void muon_release(lti_step *step)
{
    muon_state *state = step->state;
    if (!state) return;
    lti_gemm_free(step->ctx, state->gram);
    lti_gemm_free(step->ctx, state->square);
    lti_gemm_free(step->ctx, state->apply);
    lti_free(step->ctx, state);
    step->state = NULL;
}

static lt_status make_products(lt_ctx *ctx, muon_state *s)
{
    bool wide = s->m <= s->n;
    int64_t r = s->side, long_side = wide ? s->n : s->m;
    lti_gemm_shape gram = {.m = r, .n = r, .k = long_side, .ta = !wide, .tb = wide, .b_type = LT_F32};
    lti_gemm_shape square = {.m = r, .n = r, .k = r, .b_type = LT_F32};
    lti_gemm_shape apply = {.m = s->m, .n = s->n, .k = r, .b_type = LT_F32};
    LTI_TRY(lti_gemm_create(ctx, &gram, &s->gram));
    LTI_TRY(lti_gemm_create(ctx, &square, &s->square));
    return lti_gemm_create(ctx, &apply, &s->apply);
}

static size_t rounded(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static lt_status muon_prepare(lti_step *step)
{
    muon_state *s = lti_alloc(step->ctx, sizeof *s);
    if (!s) return LT_ENOMEM;
    step->state = s;
    s->m = step->in[0].dim[0];
    s->n = s->m ? step->in[0].count / s->m : 0;
    s->side = s->m < s->n ? s->m : s->n;
    lt_status status = make_products(step->ctx, s);
    if (status != LT_OK) {
        muon_release(step);
        return status;
    }
    size_t whole = rounded((size_t)step->in[0].count * sizeof(lt_real));
    size_t small = rounded((size_t)(s->side * s->side) * sizeof(lt_real)); /* no larger than `whole` */
    s->y = s->x + whole;
    s->gram_at = s->y + whole;
    s->poly_at = s->gram_at + small;
    s->sums = s->poly_at + small;
    s->products = s->sums + MOST_TASKS * sizeof(double);
    size_t most = larger(lti_gemm_scratch(s->gram), lti_gemm_scratch(s->square));
    step->scratch_bytes = s->products + larger(most, lti_gemm_scratch(s->apply));
    return LT_OK;
}

/* ---- Running ---- */

typedef struct muon_job {
    lt_real *w, *u, *x, *y, *gram, *poly;
    const lt_real *g;
    double *sums;
    int64_t n, tasks, side;
    lt_real momentum, clip, decay, change;
} muon_job;

static void momentum_task(void *arg, int64_t task, int thread)
{
    const muon_job *j = arg;
    lt_real *restrict u = j->u, *restrict x = j->x;
    const lt_real *restrict g = j->g;
    lt_real mu = j->momentum, rest = 1 - mu;
    int64_t begin, end;
    lti_par_range(j->n, j->tasks, task, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        lt_real grad = rest * (j->clip * g[i]);
        lt_real next = mu * u[i] + grad;
        u[i] = fabs((double)next) < 1e-30 ? 0 : next; /* denormals are slow and mean nothing */
        x[i] = mu * u[i] + grad;
    }
    j->sums[task] = lti_k()->sum_squares(end - begin, x + begin);
}

static void scale_task(void *arg, int64_t task, int thread)
{
    const muon_job *j = arg;
    int64_t begin, end;
    lti_par_range(j->n, j->tasks, task, &begin, &end);
    lti_k()->scale(end - begin, j->change, j->x + begin, j->x + begin);
}

static void apply_task(void *arg, int64_t task, int thread)
{
    const muon_job *j = arg;
    lt_real *restrict w = j->w;
    const lt_real *restrict x = j->x;
    int64_t begin, end;
    lti_par_range(j->n, j->tasks, task, &begin, &end);
    for (int64_t i = begin; i < end; i++) w[i] = w[i] * j->decay - j->change * x[i];
}

/* poly = p I + q gram + r poly, where poly is the square of gram. */
static void poly_task(void *arg, int64_t task, int thread)
{
    const muon_job *j = arg;
    lt_real *restrict poly = j->poly;
    const lt_real *restrict gram = j->gram;
    int64_t begin = j->side * task / j->tasks, end = j->side * (task + 1) / j->tasks;
    for (int64_t i = begin * j->side; i < end * j->side; i++) poly[i] = (lt_real)Q * gram[i] + (lt_real)RR * poly[i];
    for (int64_t i = begin; i < end; i++) poly[i * j->side + i] += (lt_real)P;
}

/* x -> x / max(|x|, 1e-7), then STEPS times the polynomial. The result is in job->x. */
static lt_status orthogonalise(const muon_state *s, muon_job *job, void *scratch)
{
    double sum = 0;
    lti_par(job->tasks, momentum_task, job);
    for (int64_t t = 0; t < job->tasks; t++) sum += job->sums[t];
    double norm = sqrt(sum);
    job->change = (lt_real)(1 / (norm < 1e-7 ? 1e-7 : norm));
    lti_par(job->tasks, scale_task, job);
    int64_t tasks = job->tasks;
    for (int i = 0; i < STEPS; i++) {
        LTI_TRY(lti_gemm_run(s->gram, job->x, job->x, job->gram, scratch));
        LTI_TRY(lti_gemm_run(s->square, job->gram, job->gram, job->poly, scratch));
        job->tasks = lti_par_tasks(job->side * job->side, 16384);
        lti_par(job->tasks, poly_task, job);
        bool wide = s->m <= s->n;
        LTI_TRY(lti_gemm_run(s->apply, wide ? job->poly : job->x, wide ? job->x : job->poly, job->y, scratch));
        lt_real *next = job->y;
        job->y = job->x;
        job->x = next;
    }
    job->tasks = tasks;
    return LT_OK;
}

static lt_status muon_run(lti_step *step)
{
    const muon_attr *attr = step->attr;
    const muon_state *s = step->state;
    if (step->in[0].count == 0) return LT_OK;
    if (attr->has_ok && lti_number(&step->in[2 + attr->has_clip]) == 0) return LT_OK;
    double lr = (double)lti_number(&step->in[1]) * attr->lr_multiplier;
    char *scratch = step->scratch;
    muon_job job = {.w = lt_param_data(step->param[0]),
                    .u = lt_param_data(step->param[1]),
                    .x = (lt_real *)(scratch + s->x),
                    .y = (lt_real *)(scratch + s->y),
                    .gram = (lt_real *)(scratch + s->gram_at),
                    .poly = (lt_real *)(scratch + s->poly_at),
                    .sums = (double *)(scratch + s->sums),
                    .g = step->in[0].data,
                    .n = step->in[0].count,
                    .tasks = lti_par_tasks(step->in[0].count, 16384),
                    .side = s->side,
                    .momentum = (lt_real)attr->momentum,
                    .clip = attr->has_clip ? lti_number(&step->in[2]) : 1,
                    .decay = (lt_real)(1 - lr * attr->weight_decay)};
    LTI_TRY(orthogonalise(s, &job, scratch + s->products));
    job.change = (lt_real)(lr * attr->lr_scale * 0.2 * sqrt((double)(s->m > s->n ? s->m : s->n)));
    lti_par(job.tasks, apply_task, &job);
    return LT_OK;
}

const lti_op lti_op_muon = {
    .name = "muon",
    .min_in = 2,
    .max_in = 4,
    .n_out = 1,
    .flags = LTI_EFFECT,
    .shape = muon_shape,
    .prepare = muon_prepare,
    .run = muon_run,
    .release = muon_release,
};

void lt_muon_config_init(lt_muon_config *config)
{
    *config = (lt_muon_config){
        .size = sizeof *config, .momentum = 0.95, .weight_decay = 0.01, .lr_multiplier = 1, .lr_scale = 1};
}

lt_t lt_muon(lt_param *w, lt_param *u, lt_t gradient, lt_t lr, lt_t clip, lt_t ok, const lt_muon_config *config)
{
    if (lt_is_nil(gradient)) return gradient;
    lt_graph *graph = gradient.graph;
    if (!w || !u) return lti_graph_fail(graph, LT_EINVAL, "muon: the parameter or its momentum is NULL");
    if (!lti_moment_fits(graph, "muon", w, u)) return lt_nil(graph);
    muon_attr attr;
    memset(&attr, 0, sizeof attr);
    lti_update_value(&attr.param, w);
    attr.momentum = config->momentum;
    attr.weight_decay = config->weight_decay;
    attr.lr_multiplier = config->lr_multiplier;
    attr.lr_scale = config->lr_scale;
    attr.has_clip = !lt_is_nil(clip);
    attr.has_ok = !lt_is_nil(ok);
    lt_t in[4] = {gradient, lr};
    int n = lti_update_inputs(in, 2, clip, ok);
    return lti_emit_params(graph, &lti_op_muon, n, in, &attr, sizeof attr, 2, (lt_param *[]){w, u});
}
