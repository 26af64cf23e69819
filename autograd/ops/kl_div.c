/* kl_div.c - distillation loss of a student against a teacher, both logits [.., V] (Hinton et al., 2015).
 *
 *     p = softmax(teacher / T),  q = softmax(student / T)
 *     loss = T^2 / R sum over rows, classes of p (log p - log q),  dstudent = dloss T / R (q - p)
 *
 * T^2 keeps the gradient's size independent of the temperature. No gradient to the teacher. A class with p = 0 adds
 * nothing, also when the teacher's logit is minus infinity. */
#include "autograd/ops/head_kind.h"
#include "autograd/ops/rows.h"

extern const lti_op lti_op_kl_div, lti_op_kl_div_grad;

typedef struct kl_attr {
    double temperature;
} kl_attr;

typedef struct kl_job {
    const lti_step *step;
    double *loss; /* [R], forward */
    lt_real scale;
} kl_job;

size_t lti_kl_scratch(int64_t V)
{
    return 3 * lti_round64((size_t)V * sizeof(lt_real));
}

/* Eight sums so that the additions do not wait for each other. */
static double expected(int64_t n, const lt_real *p, const lt_real *d)
{
    double sum[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int k = 0; k < 8; k++) sum[k] += p[i + k] > 0 ? (double)p[i + k] * (double)d[i + k] : 0;
    for (; i < n; i++) sum[0] += p[i] > 0 ? (double)p[i] * (double)d[i] : 0;
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

double lti_kl_row(int64_t V, const lt_real *student, const lt_real *teacher, double temperature, lt_real scale,
                  lt_real *dz, void *scratch)
{
    const lti_kernels *k = lti_k();
    size_t stride = lti_round64((size_t)V * sizeof(lt_real)) / sizeof(lt_real);
    lt_real *p = scratch, *q = p + stride, *d = q + stride;
    k->scale(V, (lt_real)(1 / temperature), teacher, p);
    k->log_softmax(V, p, p);
    k->scale(V, (lt_real)(1 / temperature), student, q);
    k->log_softmax(V, q, q);
    k->sub(V, p, 1, q, 1, d);
    k->exp(V, p, p);
    double loss = temperature * temperature * expected(V, p, d);
    if (!dz) return loss;
    k->exp(V, q, q);
    k->sub(V, q, 1, p, 1, dz);
    k->scale(V, (lt_real)(temperature * (double)scale), dz, dz);
    return loss;
}

static bool kl_shape(lti_shaper *s)
{
    char a[LTI_DIMS_TEXT], b[LTI_DIMS_TEXT];
    if (!lti_f32_inputs(s, 0, s->n_in)) return false;
    if (s->in[0]->rank < 1 || !lti_value_same(s->in[0], s->in[1]))
        return lti_shape_fail(s, "student %s with teacher %s; both are [.., V]", lti_dims(s->in[0], a),
                              lti_dims(s->in[1], b));
    const kl_attr *attr = s->attr;
    if (!(attr->temperature > 0)) return lti_shape_fail(s, "temperature %g; it is to be above 0", attr->temperature);
    lti_value_set(&s->out[0], LT_F32, 0, NULL);
    return true;
}

static void kl_vjp(lti_vjp *v)
{
    if (lt_is_nil(v->dy[0]) || !v->need[0]) return;
    lt_t in[] = {v->in[0], v->in[1], v->dy[0]};
    v->dx[0] = lti_emit(&lti_op_kl_div_grad, 3, in, v->attr, sizeof(kl_attr));
}

static size_t slot_bytes(const lti_step *step)
{
    return lti_kl_scratch(lti_cols(&step->in[0]));
}

/* Rows are taken in groups, so that short ones are worth a task. */
static int64_t kl_tasks(const lti_step *step)
{
    return lti_row_tasks(lti_rows(&step->in[0]), lti_cols(&step->in[0]), 256);
}

static size_t losses_bytes(const lti_step *step)
{
    return lti_round64((size_t)lti_rows(&step->in[0]) * sizeof(double));
}

static lt_status kl_prepare(lti_step *step)
{
    step->scratch_bytes = losses_bytes(step) + (size_t)lti_slots_count(kl_tasks(step)) * slot_bytes(step);
    return LT_OK;
}

static void kl_slot(void *arg, int64_t task, void *scratch)
{
    const kl_job *job = arg;
    const lti_step *step = job->step;
    const lt_real *student = step->in[0].data, *teacher = step->in[1].data;
    double temperature = ((const kl_attr *)step->attr)->temperature;
    int64_t V = lti_cols(&step->in[0]), begin, end;
    lti_row_range(lti_rows(&step->in[0]), kl_tasks(step), task, &begin, &end);
    for (int64_t r = begin; r < end; r++) {
        lt_real *dz = job->loss ? NULL : (lt_real *)step->out[0].data + r * V;
        double loss = lti_kl_row(V, student + r * V, teacher + r * V, temperature, job->scale, dz, scratch);
        if (job->loss) job->loss[r] = loss;
    }
}

static void run_rows(lti_step *step, kl_job *job)
{
    size_t losses = losses_bytes(step);
    if (slot_bytes(step) == 0) return;
    int64_t slots = (int64_t)((step->scratch_bytes - losses) / slot_bytes(step));
    lti_slots_run(kl_tasks(step), slots, slot_bytes(step), (char *)step->scratch + losses, kl_slot, job);
}

static lt_status kl_run(lti_step *step)
{
    kl_job job = {.step = step, .loss = step->scratch};
    int64_t rows = lti_rows(&step->in[0]);
    run_rows(step, &job);
    double sum = 0;
    for (int64_t r = 0; r < rows; r++) sum += job.loss[r];
    *(lt_real *)step->out[0].data = rows ? (lt_real)(sum / (double)rows) : 0;
    return LT_OK;
}

/* The gradient: student, teacher, dloss -> dstudent. */
static bool grad_shape(lti_shaper *s)
{
    lti_value_set(&s->out[0], LT_F32, s->in[0]->rank, s->in[0]->dim);
    return true;
}

static lt_status grad_run(lti_step *step)
{
    int64_t rows = lti_rows(&step->in[0]);
    kl_job job = {.step = step};
    job.scale = rows ? (lt_real)((double)lti_number(&step->in[2]) / (double)rows) : 0;
    run_rows(step, &job);
    return LT_OK;
}

const lti_op lti_op_kl_div = {
    .name = "kl_div",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .shape = kl_shape,
    .vjp = kl_vjp,
    .prepare = kl_prepare,
    .run = kl_run,
};

const lti_op lti_op_kl_div_grad = {
    .name = "kl_div_grad",
    .min_in = 3,
    .max_in = 3,
    .n_out = 1,
    .in_place = {1},
    .shape = grad_shape,
    .prepare = kl_prepare,
    .run = grad_run,
};

lt_t lt_kl_div(lt_t student, lt_t teacher, double temperature)
{
    kl_attr attr = {.temperature = temperature};
    return lti_emit(&lti_op_kl_div, 2, (lt_t[]){student, teacher}, &attr, sizeof attr);
}
