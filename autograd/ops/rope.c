/* rope.c - rotary position embedding of x [B, T, H, D] (Su et al., 2021).
 *
 *     a_ti = (first + t) f_i,  (y_p, y_q) = m (x_p cos a - x_q sin a, x_q cos a + x_p sin a)
 *
 * for the pairs (p, q) = (i, i + D/2), or (2i, 2i + 1) when interleaved. The map is a rotation times m (yarn's factor,
 * 1 elsewhere), so its transpose is m times the rotation by -a: dx = the same op with the opposite sign. The
 * frequencies, f_i = theta^(-2i/D) unless they are scaled, are rope_frequencies.c's.
 *
 * The angles are a value of their own, rope_table: [T, D] = m {cos, sin} of D/2 angles each. Every layer's queries and
 * keys, forward and backward, need the same table; as equal nodes they are one, made once a run. Angles are computed in
 * double: in float, position 2000 already costs four digits. Without `first` they are made in prepare. */
#include "autograd/node.h"
#include "autograd/ops/rope_frequencies.h"
#include "autograd/ops/rows.h"

#include <math.h>
#include <string.h>

extern const lti_op lti_op_rope, lti_op_rope_table;

typedef struct table_attr {
    int64_t T, D;
    double amplitude;
    double frequency[]; /* [D/2] */
} table_attr;

typedef struct rope_attr {
    int32_t halves, sign;
} rope_attr;

typedef struct rope_job {
    const lti_step *step;
    int64_t rows, tasks;
} rope_job;

static bool table_shape(lti_shaper *s)
{
    const table_attr *attr = s->attr;
    if (s->n_in == 1 && s->in[0]->rank != 0) return lti_shape_fail(s, "`first` is to be a single number");
    lti_value_set(&s->out[0], LT_F32, 2, (int64_t[]){attr->T, attr->D});
    return true;
}

static void table_fill(const table_attr *attr, double first, lt_real *table)
{
    int64_t half = attr->D / 2;
    for (int64_t i = 0; i < half; i++) {
        for (int64_t t = 0; t < attr->T; t++) {
            double angle = (first + (double)t) * attr->frequency[i];
            table[t * attr->D + i] = (lt_real)(attr->amplitude * cos(angle));
            table[t * attr->D + half + i] = (lt_real)(attr->amplitude * sin(angle));
        }
    }
}

static lt_status table_prepare(lti_step *step)
{
    const table_attr *attr = step->attr;
    if (step->n_in == 1) return LT_OK;
    step->state = lti_alloc_array(step->ctx, (size_t)step->out[0].count, sizeof(lt_real));
    if (!step->state) return LT_ENOMEM;
    table_fill(attr, 0, step->state);
    return LT_OK;
}

static lt_status table_run(lti_step *step)
{
    if (step->state)
        memcpy(step->out[0].data, step->state, (size_t)step->out[0].count * sizeof(lt_real));
    else
        table_fill(step->attr, (double)lti_number(&step->in[0]), step->out[0].data);
    return LT_OK;
}

static bool rope_shape(lti_shaper *s)
{
    if (!lti_f32_inputs(s, 0, 1)) return false;
    lti_value_set(&s->out[0], LT_F32, s->in[0]->rank, s->in[0]->dim);
    return true;
}

static void rope_vjp(lti_vjp *v)
{
    if (lt_is_nil(v->dy[0]) || !v->need[0]) return;
    rope_attr attr = *(const rope_attr *)v->attr;
    attr.sign = -attr.sign;
    v->dx[0] = lti_emit(&lti_op_rope, 2, (lt_t[]){v->dy[0], v->in[1]}, &attr, sizeof attr);
}

static void rope_task(void *arg, int64_t task, int thread)
{
    const rope_job *job = arg;
    const rope_attr *attr = job->step->attr;
    const lti_arg *x = &job->step->in[0];
    int64_t T = x->dim[1], H = x->dim[2], D = x->dim[3], begin, end;
    lti_row_range(job->rows, job->tasks, task, &begin, &end);
    for (int64_t r = begin; r < end; r++) {
        const lt_real *table = (const lt_real *)job->step->in[1].data + r % T * D;
        lti_k()->rope(H, D, attr->halves, table, table + D / 2, (lt_real)attr->sign,
                      (const lt_real *)x->data + r * H * D, (lt_real *)job->step->out[0].data + r * H * D);
    }
}

static lt_status rope_run(lti_step *step)
{
    const lti_arg *x = &step->in[0];
    rope_job job = {.step = step, .rows = x->dim[0] * x->dim[1]};
    job.tasks = lti_row_tasks(job.rows, x->dim[2] * x->dim[3], 256);
    lti_par(job.tasks, rope_task, &job);
    return LT_OK;
}

const lti_op lti_op_rope_table = {
    .name = "rope_table",
    .min_in = 0,
    .max_in = 1,
    .n_out = 1,
    .flags = LTI_KEEP,
    .shape = table_shape,
    .prepare = table_prepare,
    .run = table_run,
    .release = lti_state_free,
};

const lti_op lti_op_rope = {
    .name = "rope",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .in_place = {1},
    .shape = rope_shape,
    .vjp = rope_vjp,
    .run = rope_run,
};

void lt_rope_config_init(lt_rope_config *config)
{
    *config = (lt_rope_config){.size = sizeof *config, .theta = 10000};
}

static lt_t rope_table(lt_t x, lt_t first, const lt_rope_config *config)
{
    int64_t D = lt_dim(x, 3);
    size_t size = sizeof(table_attr) + (size_t)(D / 2) * sizeof(double);
    table_attr *table = lti_graph_alloc(x.graph, size);
    if (!table) return lt_nil(x.graph);
    table->T = lt_dim(x, 1);
    table->D = D;
    lti_rope_frequencies(config, D, table->frequency, &table->amplitude);
    return lti_emit_params(x.graph, &lti_op_rope_table, lt_is_nil(first) ? 0 : 1, &first, table, size, 0, NULL);
}

lt_t lt_rope(lt_t x, lt_t first, const lt_rope_config *config)
{
    lt_rope_config defaults;
    lt_rope_config_init(&defaults);
    if (!config) config = &defaults;
    if (lt_is_nil(x)) return lt_nil(x.graph);
    if (lt_rank(x) != 4 || lt_dim(x, 3) < 2 || lt_dim(x, 3) % 2)
        return lti_graph_fail(x.graph, LT_EINVAL,
                              "rope: x has rank %d and a last axis of %lld; it is to be [B, T, H, D] with even D",
                              lt_rank(x), (long long)lt_dim(x, -1));
    if (config->size != sizeof *config)
        return lti_graph_fail(x.graph, LT_EINVAL, "rope: call lt_rope_config_init first");
    char why[LTI_ROPE_TEXT];
    if (lti_rope_problem(config, lt_dim(x, 3), why)) return lti_graph_fail(x.graph, LT_EINVAL, "rope: %s", why);
    lt_t angles = rope_table(x, first, config);
    rope_attr attr = {.halves = !config->interleaved, .sign = 1};
    return lti_emit(&lti_op_rope, 2, (lt_t[]){x, angles}, &attr, sizeof attr);
}
