/* attention.c - fused attention (Dao et al., FlashAttention, 2022): memory linear in the lengths.
 *
 *     s_ij = scale <q_i, k_j>,  p_ij = exp(s_ij - lse_i),  lse_i = log sum_j exp s_ij,  o_i = sum_j p_ij v_j
 *
 * over the keys j that query i sees: one range, what `causal`, `window` and `spans` have in common. Query head h reads
 * key/value head h / (H / G). The gradient's formulas stand in kernels/attention.h; it forms the probabilities again from
 * lse, [B, H, T], the second output, which is all that the forward keeps beside o.
 *
 * Tasks are (batch row, head, block of rows); each writes its own rows alone, so their order changes nothing. dk and dv
 * are summed over the query heads of a group inside one task. A few queries (generation) are one task for all heads of a
 * group, as long as that leaves tasks for every thread: the kernel then reads the keys once, and what it computes for a
 * head does not depend on the heads beside it. Scratch lies in slots (rows.h). */
#include "autograd/ops/attention_parts.h"
#include "autograd/ops/rows.h"

#include <math.h>

extern const lti_op lti_op_attention, lti_op_attention_grad;

typedef struct attention_attr {
    double scale;
    int64_t causal, window;
    int32_t first, spans; /* 1: there is such an input; they come last, in this order */
} attention_attr;

/* Rows of the batch times kv heads from which on the backward is one pass a kv head: the probabilities are formed once
 * instead of twice. With fewer there are not tasks enough, and dq and dk, dv are cut into blocks of rows. */
enum { WHOLE_TASKS = 8 };

typedef struct attention_job {
    lti_attention_task task;       /* what all tasks share; pointers are of batch row 0 */
    int64_t heads, blocks, length; /* what the tasks run over: sets of heads, blocks of `length` rows */
    int64_t group, set;            /* heads of a kv head (1: kv heads themselves), and how many of them a task takes */
    bool whole;                    /* a task takes all rows */
    void (*kernel)(const lti_attention_task *task, void *scratch);
} attention_job;

static size_t slot_bytes(const lti_step *step)
{
    return lti_round64(lti_attention_scratch(step->in[0].dim[3]));
}

static int64_t blocks_of(int64_t rows)
{
    return (rows + LTI_ATTENTION_ROWS - 1) / LTI_ATTENTION_ROWS;
}

static int64_t most_tasks(const lti_step *step)
{
    const int64_t *q = step->in[0].dim, *k = step->in[1].dim;
    int64_t forward = q[0] * q[2] * blocks_of(q[1]), back = k[0] * k[2] * blocks_of(k[1]);
    return forward > back ? forward : back;
}

static bool attention_shape(lti_shaper *s)
{
    char a[LTI_DIMS_TEXT], b[LTI_DIMS_TEXT], c[LTI_DIMS_TEXT];
    const attention_attr *attr = s->attr;
    const lti_value *q = s->in[0], *k = s->in[1], *v = s->in[2];
    if (!lti_f32_inputs(s, 0, 3 + attr->first)) return false;
    if (q->rank != 4 || k->rank != 4 || !lti_value_same(k, v) || q->dim[0] != k->dim[0] || q->dim[3] != k->dim[3] ||
        k->dim[2] < 1 || q->dim[2] % k->dim[2] || q->dim[3] < 1 || k->dim[1] < 1)
        return lti_shape_fail(s, "q %s, k %s, v %s; they are [B,T,H,D], [B,S,G,D], [B,S,G,D] with H a multiple of G",
                              lti_dims(q, a), lti_dims(k, b), lti_dims(v, c));
    if (attr->first && s->in[3]->rank != 0) return lti_shape_fail(s, "`first` is to be a single number");
    if (attr->spans && !lti_spans_fit(s, s->in[3 + attr->first], q->dim[0], q->dim[1])) return false;
    if (attr->causal && q->dim[1] > k->dim[1])
        return lti_shape_fail(s, "%lld queries with %lld keys: a causal query sees keys up to its own position",
                              (long long)q->dim[1], (long long)k->dim[1]);
    lti_value_set(&s->out[0], LT_F32, 4, q->dim);
    lti_value_set(&s->out[1], LT_F32, 3, (int64_t[]){q->dim[0], q->dim[2], q->dim[1]});
    return true;
}

static void attention_vjp(lti_vjp *v)
{
    if (lt_is_nil(v->dy[0]) || !(v->need[0] || v->need[1] || v->need[2])) return;
    lt_t in[8] = {v->in[0], v->in[1], v->in[2], v->out[0], v->out[1], v->dy[0]};
    for (int i = 3; i < v->n_in; i++) in[i + 3] = v->in[i];
    lt_t grad = lti_emit(&lti_op_attention_grad, v->n_in + 3, in, v->attr, sizeof(attention_attr));
    for (int i = 0; i < 3; i++)
        if (v->need[i]) v->dx[i] = lti_output(grad, i);
}

/* Fills what all tasks of the step share. `first` and the spans, when there are such, are inputs `next` and on. */
static lt_status fill_task(const lti_step *step, int next, lti_attention_task *task)
{
    const attention_attr *attr = step->attr;
    const int64_t *q = step->in[0].dim, *k = step->in[1].dim;
    *task = (lti_attention_task){.q = step->in[0].data,
                                 .k = step->in[1].data,
                                 .v = step->in[2].data,
                                 .T = q[1],
                                 .S = k[1],
                                 .heads = q[2],
                                 .kv_heads = k[2],
                                 .dim = q[3],
                                 .first = k[1] - q[1],
                                 .causal = attr->causal != 0,
                                 .window = attr->window,
                                 .spans = attr->spans ? step->in[next + attr->first].data : NULL,
                                 .scale = (lt_real)attr->scale};
    if (!task->causal || !attr->first) return LT_OK;
    double first = (double)lti_number(&step->in[next]);
    if (!(first >= 0 && first + (double)q[1] <= (double)k[1]))
        return lti_fail(step->ctx, LT_EINVAL,
                        "position %g with %lld queries and %lld keys; first + queries may not pass the "
                        "keys: set the position, or make the cache longer",
                        first, (long long)q[1], (long long)k[1]);
    task->first = (int64_t)first;
    return LT_OK;
}

static lt_real *moved(lt_real *p, int64_t by)
{
    return p ? p + by : NULL;
}

static void attention_slot(void *arg, int64_t index, void *scratch)
{
    const attention_job *job = arg;
    lti_attention_task t = job->task;
    /* Causal: late queries and early keys have most to do, and dynamic scheduling wants the long tasks first. */
    int64_t block = index / job->heads % job->blocks, b = index / job->heads / job->blocks, set = index % job->heads;
    if (job->kernel != lti_k()->attention_grad_kv) block = job->blocks - 1 - block;
    int64_t sets = (job->group + job->set - 1) / job->set, at = set % sets * job->set; /* a group's; the place in it */
    t.head = set / sets * job->group + at;
    t.more_heads = (job->group - at < job->set ? job->group - at : job->set) - 1;
    t.begin = block * LTI_ATTENTION_ROWS;
    t.end = t.begin + LTI_ATTENTION_ROWS < job->length ? t.begin + LTI_ATTENTION_ROWS : job->length;
    int64_t q = b * t.T * t.heads * t.dim, k = b * t.S * t.kv_heads * t.dim;
    t.q += q, t.k += k, t.v += k;
    if (t.spans) t.spans += b * t.T * 2;
    if (t.o) t.o += q, t.dout += q;
    t.out = moved(t.out, q);
    t.lse += b * t.heads * t.T;
    t.dq = moved(t.dq, q);
    t.dk = moved(t.dk, k);
    t.dv = moved(t.dv, k);
    job->kernel(&t, scratch);
}

static void run_job(lti_step *step, attention_job *job, int64_t slots)
{
    job->blocks = job->whole ? 1 : blocks_of(job->length);
    lti_slots_run(step->in[0].dim[0] * job->heads * job->blocks, slots, slot_bytes(step), step->scratch, attention_slot,
                  job);
}

/* Scratch: the slots, then places for outputs that the kernel writes and nobody reads. */
static size_t slots_bytes(const lti_step *step)
{
    return (size_t)lti_slots_count(most_tasks(step)) * slot_bytes(step);
}

static size_t bytes_of(const lti_arg *a)
{
    return lti_round64((size_t)a->count * sizeof(lt_real));
}

static lt_status attention_prepare(lti_step *step)
{
    step->scratch_bytes = slots_bytes(step);
    for (int k = 0; k < 2; k++)
        if (!step->out[k].data) step->scratch_bytes += bytes_of(&step->out[k]);
    return LT_OK;
}

/* How many heads of a group a forward task takes. */
static int64_t heads_of_task(const lti_attention_task *t, int64_t batch)
{
    int64_t group = t->heads / t->kv_heads, tasks = batch * t->kv_heads;
    if (t->T > LTI_ATTENTION_FEW || tasks < 1) return 1;
    int64_t pieces = (lt_threads() + tasks - 1) / tasks, set = group / pieces;
    return set < 1 ? 1 : set < LTI_ATTENTION_HEADS ? set : LTI_ATTENTION_HEADS;
}

static lt_status attention_run(lti_step *step)
{
    attention_job job = {.kernel = lti_k()->attention, .length = step->in[0].dim[1]};
    LTI_TRY(fill_task(step, 3, &job.task));
    job.group = job.task.heads / job.task.kv_heads;
    job.set = heads_of_task(&job.task, step->in[0].dim[0]);
    job.heads = job.task.kv_heads * ((job.group + job.set - 1) / job.set);
    size_t unread = 0;
    for (int k = 0; k < 2; k++)
        if (!step->out[k].data) unread += bytes_of(&step->out[k]);
    size_t slots = step->scratch_bytes - unread;
    char *spare = (char *)step->scratch + slots;
    job.task.out = step->out[0].data ? step->out[0].data : (void *)spare;
    if (!step->out[0].data) spare += bytes_of(&step->out[0]);
    job.task.lse = step->out[1].data ? step->out[1].data : (void *)spare;
    run_job(step, &job, (int64_t)(slots / slot_bytes(step)));
    return LT_OK;
}

/* The gradient: q, k, v, o, lse, do [, first] [, spans] -> dq, dk, dv. */
static bool grad_shape(lti_shaper *s)
{
    for (int i = 0; i < 3; i++) lti_value_set(&s->out[i], LT_F32, 4, s->in[i]->dim);
    return true;
}

/* dk and dv come from one kernel: when one of them is not read, it goes to scratch. */
static int unread_of_pair(const lti_step *step)
{
    bool dk = step->out[1].data, dv = step->out[2].data;
    return dk == dv ? 0 : dk ? 2 : 1;
}

static lt_status grad_prepare(lti_step *step)
{
    int unread = unread_of_pair(step);
    step->scratch_bytes = slots_bytes(step) + (unread ? bytes_of(&step->out[unread]) : 0);
    return LT_OK;
}

static lt_status grad_run(lti_step *step)
{
    attention_job job = {.kernel = lti_k()->attention_grad_q, .group = 1, .set = 1};
    LTI_TRY(fill_task(step, 6, &job.task));
    job.task.o = step->in[3].data;
    job.task.lse = step->in[4].data;
    job.task.dout = step->in[5].data;
    int unread = unread_of_pair(step);
    size_t slots = step->scratch_bytes - (unread ? bytes_of(&step->out[unread]) : 0);
    lt_real *out[3];
    for (int i = 0; i < 3; i++) out[i] = step->out[i].data;
    if (unread) out[unread] = (lt_real *)((char *)step->scratch + slots);
    job.task.dq = out[0], job.task.dk = out[1], job.task.dv = out[2];
    int64_t count = (int64_t)(slots / slot_bytes(step));
    if (out[0] && out[1] && step->in[0].dim[0] * job.task.kv_heads >= WHOLE_TASKS) {
        job.kernel = lti_k()->attention_grad;
        job.heads = job.task.kv_heads;
        job.whole = true;
        run_job(step, &job, count);
        return LT_OK;
    }
    job.heads = job.task.heads;
    job.length = job.task.T;
    if (out[0]) run_job(step, &job, count);
    job.kernel = lti_k()->attention_grad_kv;
    job.heads = job.task.kv_heads;
    job.length = job.task.S;
    if (out[1]) run_job(step, &job, count);
    return LT_OK;
}

const lti_op lti_op_attention = {
    .name = "attention",
    .min_in = 3,
    .max_in = 5,
    .n_out = 2,
    .shape = attention_shape,
    .vjp = attention_vjp,
    .prepare = attention_prepare,
    .run = attention_run,
};

const lti_op lti_op_attention_grad = {
    .name = "attention_grad",
    .min_in = 6,
    .max_in = 8,
    .n_out = 3,
    .shape = grad_shape,
    .prepare = grad_prepare,
    .run = grad_run,
};

void lt_attention_config_init(lt_attention_config *config)
{
    *config = (lt_attention_config){.size = sizeof *config, .causal = true};
}

bool lti_attention_refused(lt_graph *graph, const lt_attention_config *config)
{
    const char *why = NULL;
    if (config->size != sizeof *config)
        why = "call lt_attention_config_init first";
    else if (config->window < 0)
        why = "the window is negative; it is a number of keys, or 0 for all";
    else if (config->window > 0 && !config->causal)
        why = "a window needs causal: it ends at the query's own position. Without causal, use spans";
    if (why) lti_graph_fail(graph, LT_EINVAL, "attention: %s", why);
    return why != NULL;
}

lt_t lt_attention(lt_t q, lt_t k, lt_t v, lt_t first, const lt_attention_config *config)
{
    lt_attention_config defaults;
    lt_attention_config_init(&defaults);
    if (!config) config = &defaults;
    if (q.graph && lti_attention_refused(q.graph, config)) return lt_nil(q.graph);
    attention_attr attr = {.scale = config->scale, .causal = config->causal};
    if (config->window < lt_dim(k, 1)) attr.window = config->window; /* a longer one hides nothing */
    if (attr.scale == 0 && lt_dim(q, 3) > 0) attr.scale = 1 / sqrt((double)lt_dim(q, 3));
    lt_t in[5] = {q, k, v};
    attr.first = !lt_is_nil(first);
    attr.spans = !lt_is_nil(config->spans);
    if (attr.first) in[3] = first;
    if (attr.spans) in[3 + attr.first] = config->spans;
    return lti_emit(&lti_op_attention, 3 + attr.first + attr.spans, in, &attr, sizeof attr);
}
