/* bench_rnn.c - a training step of one LSTM layer (forward, and the gradients of x, weights and biases) beside oneDNN's
 * own LSTM primitives, f32, vanilla.
 *
 *     bench_rnn [threads]        median of 9 alternating runs each, after two that are not counted
 *
 * oneDNN gets its weights in the layouts that it asks for, and they are not laid out again within a step: that is left
 * out of its time, as is its workspace's allocation. Ours packs W_hh within the step. Both get the same numbers, and
 * the largest difference between the outputs is printed. oneDNN 3 has other constructors: see CMakeLists.txt. */
#include "base/ctx.h"
#include "bench/timing.h"
#include "kernels/kernels.h"
#include "lathe/ops.h"
#include "lathe/plan.h"
#include "lathe/recurrent.h"

#include <dnnl.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RUNS = 9, WARM = 2, MOST_ARGS = 24 };

typedef struct shape {
    int64_t B, T, I, H;
} shape;

static const shape shapes[] = {{32, 128, 256, 256}, {64, 64, 512, 512}, {16, 32, 64, 64},
                               {32, 64, 128, 128},  {8, 128, 256, 256}, {128, 64, 256, 256}};

/* Numbers of both sides: x [B, T, I], weights [4H, I], [4H, H], bias [4H], dy [B, T, H]. */
typedef struct numbers {
    float *x, *w_ih, *w_hh, *b, *dy;
} numbers;

static float *draw(int64_t n, double scale, uint64_t seed)
{
    float *x = malloc((size_t)n * sizeof *x);
    lti_rng rng = {.seed = seed};
    if (!x) abort();
    for (int64_t i = 0; i < n; i++) x[i] = (float)(scale * lti_rng_normal(&rng, (uint64_t)i));
    return x;
}

/* ---- lathe ---- */

static lt_plan *our_plan(lt_ctx *ctx, lt_graph *g, const shape *s)
{
    lt_t in[4] = {lt_input(g, "x", LT_F32, 3, (int64_t[]){s->B, s->T, s->I}),
                  lt_input(g, "w_ih", LT_F32, 2, (int64_t[]){4 * s->H, s->I}),
                  lt_input(g, "w_hh", LT_F32, 2, (int64_t[]){4 * s->H, s->H}),
                  lt_input(g, "b", LT_F32, 1, (int64_t[]){4 * s->H})};
    lt_t dy = lt_input(g, "dy", LT_F32, 3, (int64_t[]){s->B, s->T, s->H}), out[5], nil = lt_nil(g);
    out[0] = lt_lstm(in[0], in[1], in[2], in[3], nil, nil, nil).y;
    lt_grad_seeded(out[0], dy, 4, in, out + 1);
    lt_plan *plan = NULL;
    if (lt_compile(g, NULL, 5, out, &plan) != LT_OK) puts(lt_ctx_message(ctx));
    return plan;
}

static lt_plan *bind_ours(lt_plan *plan, const numbers *n)
{
    if (!plan) exit(1);
    if (lt_bind(plan, "x", n->x) || lt_bind(plan, "w_ih", n->w_ih) || lt_bind(plan, "w_hh", n->w_hh) ||
        lt_bind(plan, "b", n->b) || lt_bind(plan, "dy", n->dy))
        exit(1);
    return plan;
}

/* ---- oneDNN ---- */

static void must(dnnl_status_t status, const char *what)
{
    if (status == dnnl_success) return;
    printf("oneDNN: %s fails with %d\n", what, (int)status);
    exit(1);
}
#define MUST(call) must((call), #call)

typedef struct theirs {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t forward, backward;
    dnnl_primitive_desc_t fpd, bpd;
    int n_forward, n_backward;
    dnnl_exec_arg_t fargs[MOST_ARGS], bargs[MOST_ARGS];
    dnnl_memory_t dst;
} theirs;

static dnnl_memory_t memory_of(theirs *t, const dnnl_memory_desc_t *md, const void *data)
{
    dnnl_memory_t m;
    MUST(dnnl_memory_create(&m, md, t->engine, DNNL_MEMORY_ALLOCATE));
    void *to;
    MUST(dnnl_memory_get_data_handle(m, &to));
    if (data)
        memcpy(to, data, dnnl_memory_desc_get_size(md));
    else
        memset(to, 0, dnnl_memory_desc_get_size(md));
    return m;
}

/* `from`, in the layout that the primitive asks for. */
static dnnl_memory_t laid_out(theirs *t, dnnl_memory_t from, const dnnl_memory_desc_t *md)
{
    const dnnl_memory_desc_t *have;
    MUST(dnnl_memory_get_memory_desc(from, &have));
    if (dnnl_memory_desc_equal(have, md)) return from;
    dnnl_memory_t to;
    dnnl_primitive_desc_t pd;
    dnnl_primitive_t reorder;
    MUST(dnnl_memory_create(&to, md, t->engine, DNNL_MEMORY_ALLOCATE));
    MUST(dnnl_reorder_primitive_desc_create(&pd, have, t->engine, md, t->engine, NULL));
    MUST(dnnl_primitive_create(&reorder, pd));
    MUST(dnnl_primitive_execute(reorder, t->stream, 2, (dnnl_exec_arg_t[]){{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}}));
    dnnl_primitive_destroy(reorder);
    dnnl_primitive_desc_destroy(pd);
    return to;
}

static dnnl_memory_desc_t describe(int rank, const dnnl_dims_t dims, dnnl_format_tag_t tag)
{
    dnnl_memory_desc_t md;
    MUST(dnnl_memory_desc_init_by_tag(&md, rank, dims, dnnl_f32, tag));
    return md;
}

/* [T, B, C] of numbers that lie as [B, T, C]. */
static dnnl_memory_desc_t batch_first(int64_t B, int64_t T, int64_t C)
{
    dnnl_memory_desc_t md;
    MUST(dnnl_memory_desc_init_by_strides(&md, 3, (dnnl_dims_t){T, B, C}, dnnl_f32, (dnnl_dims_t){C, T * C, 1}));
    return md;
}

static void add_arg(dnnl_exec_arg_t *args, int *n, int kind, dnnl_memory_t memory)
{
    args[(*n)++] = (dnnl_exec_arg_t){kind, memory};
}

static void make_primitives(theirs *t, const shape *s)
{
    dnnl_memory_desc_t src = batch_first(s->B, s->T, s->I), dst = batch_first(s->B, s->T, s->H);
    dnnl_memory_desc_t w = describe(5, (dnnl_dims_t){1, 1, s->I, 4, s->H}, dnnl_format_tag_any);
    dnnl_memory_desc_t u = describe(5, (dnnl_dims_t){1, 1, s->H, 4, s->H}, dnnl_format_tag_any);
    dnnl_memory_desc_t b = describe(4, (dnnl_dims_t){1, 1, 4, s->H}, dnnl_ldgo);
    dnnl_rnn_desc_t f, r;
    MUST(dnnl_lstm_forward_desc_init(&f, dnnl_forward_training, dnnl_unidirectional_left2right, &src, NULL, NULL, &w,
                                     &u, &b, &dst, NULL, NULL, 0));
    MUST(dnnl_primitive_desc_create(&t->fpd, &f, NULL, t->engine, NULL));
    MUST(dnnl_lstm_backward_desc_init(&r, dnnl_backward, dnnl_unidirectional_left2right, &src, NULL, NULL, &w, &u, &b,
                                      &dst, NULL, NULL, &src, NULL, NULL, &w, &u, &b, &dst, NULL, NULL, 0));
    MUST(dnnl_primitive_desc_create(&t->bpd, &r, NULL, t->engine, t->fpd));
    MUST(dnnl_primitive_create(&t->forward, t->fpd));
    MUST(dnnl_primitive_create(&t->backward, t->bpd));
}

/* The weight [4H, n] as [1, 1, n, 4, H], then in both primitives' layouts. */
static void add_weight(theirs *t, const shape *s, int64_t n, const float *w, int kind, int diff, int index)
{
    dnnl_memory_desc_t plain = describe(5, (dnnl_dims_t){1, 1, n, 4, s->H}, dnnl_ldgoi);
    dnnl_memory_t m = memory_of(t, &plain, w);
    const dnnl_memory_desc_t *f = dnnl_primitive_desc_query_md(t->fpd, dnnl_query_weights_md, index);
    const dnnl_memory_desc_t *b = dnnl_primitive_desc_query_md(t->bpd, dnnl_query_weights_md, index);
    const dnnl_memory_desc_t *d = dnnl_primitive_desc_query_md(t->bpd, dnnl_query_diff_weights_md, index);
    add_arg(t->fargs, &t->n_forward, kind, laid_out(t, m, f));
    add_arg(t->bargs, &t->n_backward, kind, laid_out(t, m, b));
    add_arg(t->bargs, &t->n_backward, diff, memory_of(t, d, NULL));
}

static theirs *make_theirs(const shape *s, const numbers *n)
{
    theirs *t = calloc(1, sizeof *t);
    if (!t) abort();
    MUST(dnnl_engine_create(&t->engine, dnnl_cpu, 0));
    MUST(dnnl_stream_create(&t->stream, t->engine, dnnl_stream_default_flags));
    make_primitives(t, s);
    dnnl_memory_desc_t src = batch_first(s->B, s->T, s->I), dst = batch_first(s->B, s->T, s->H);
    dnnl_memory_desc_t bias = describe(4, (dnnl_dims_t){1, 1, 4, s->H}, dnnl_ldgo);
    const struct {
        int kind;
        const dnnl_memory_desc_t *md;
        const void *data;
        bool forward;
    } arrays[] = {{DNNL_ARG_SRC_LAYER, &src, n->x, true},
                  {DNNL_ARG_BIAS, &bias, n->b, true},
                  {DNNL_ARG_DST_LAYER, &dst, NULL, true},
                  {DNNL_ARG_WORKSPACE, dnnl_primitive_desc_query_md(t->fpd, dnnl_query_workspace_md, 0), NULL, true},
                  {DNNL_ARG_DIFF_SRC_LAYER, &src, NULL, false},
                  {DNNL_ARG_DIFF_BIAS, &bias, NULL, false},
                  {DNNL_ARG_DIFF_DST_LAYER, &dst, n->dy, false}};
    for (int i = 0; i < LTI_COUNT(arrays); i++) {
        dnnl_memory_t m = memory_of(t, arrays[i].md, arrays[i].data);
        if (arrays[i].forward) add_arg(t->fargs, &t->n_forward, arrays[i].kind, m);
        add_arg(t->bargs, &t->n_backward, arrays[i].kind, m);
        if (arrays[i].kind == DNNL_ARG_DST_LAYER) t->dst = m;
    }
    add_weight(t, s, s->I, n->w_ih, DNNL_ARG_WEIGHTS_LAYER, DNNL_ARG_DIFF_WEIGHTS_LAYER, 0);
    add_weight(t, s, s->H, n->w_hh, DNNL_ARG_WEIGHTS_ITER, DNNL_ARG_DIFF_WEIGHTS_ITER, 1);
    return t;
}

/* The gradients of weights and bias are added to: they start from 0, as a training step's do. */
static void run_theirs(theirs *t)
{
    for (int i = 0; i < t->n_backward; i++) {
        int kind = t->bargs[i].arg;
        const dnnl_memory_desc_t *md;
        void *data;
        if (kind != DNNL_ARG_DIFF_WEIGHTS_LAYER && kind != DNNL_ARG_DIFF_WEIGHTS_ITER && kind != DNNL_ARG_DIFF_BIAS)
            continue;
        MUST(dnnl_memory_get_memory_desc(t->bargs[i].memory, &md));
        MUST(dnnl_memory_get_data_handle(t->bargs[i].memory, &data));
        memset(data, 0, dnnl_memory_desc_get_size(md));
    }
    MUST(dnnl_primitive_execute(t->forward, t->stream, t->n_forward, t->fargs));
    MUST(dnnl_primitive_execute(t->backward, t->stream, t->n_backward, t->bargs));
    MUST(dnnl_stream_wait(t->stream));
}

/* ---- Both ---- */

static double difference(theirs *t, const float *y, int64_t count)
{
    void *data;
    double worst = 0;
    MUST(dnnl_memory_get_data_handle(t->dst, &data));
    for (int64_t i = 0; i < count; i++) worst = fmax(worst, fabs((double)((float *)data)[i] - (double)y[i]));
    return worst;
}

static void compare(lt_ctx *ctx, const shape *s)
{
    const double scale = 1 / sqrt((double)s->H);
    numbers n = {draw(s->B * s->T * s->I, 1, 1), draw(4 * s->H * s->I, scale, 2), draw(4 * s->H * s->H, scale, 3),
                 draw(4 * s->H, scale, 4), draw(s->B * s->T * s->H, 1, 5)};
    lt_graph *g;
    if (lt_graph_create(ctx, NULL, &g) != LT_OK) exit(1);
    lt_plan *plan = bind_ours(our_plan(ctx, g, s), &n);
    theirs *t = make_theirs(s, &n);
    double ours[RUNS], other[RUNS];
    for (int i = -WARM; i < RUNS; i++) {
        double start = lti_seconds();
        if (lt_run(plan) != LT_OK) puts(lt_ctx_message(ctx));
        double middle = lti_seconds();
        omp_set_num_threads(lt_threads()); /* a task of ours left it at 1 */
        double again = lti_seconds();
        run_theirs(t);
        double end = lti_seconds();
        ours[i < 0 ? 0 : i] = middle - start;
        other[i < 0 ? 0 : i] = end - again;
    }
    double mine = median(RUNS, ours), others = median(RUNS, other);
    double work = 12.0 * (double)(s->B * s->T) * 4 * (double)s->H * (double)(s->I + s->H) / 2;
    printf("%4lld %4lld %5lld %5lld %10.2f %10.2f %8.2f %10.0f %10.1e\n", (long long)s->B, (long long)s->T,
           (long long)s->I, (long long)s->H, 1e3 * mine, 1e3 * others, others / mine, 1e-9 * work / mine,
           difference(t, lt_result(plan, 0), s->B * s->T * s->H));
    lt_plan_free(plan);
    lt_graph_free(g);
    free(n.x), free(n.w_ih), free(n.w_hh), free(n.b), free(n.dy);
}

int main(int argc, char **argv)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    if (!ctx) return 1;
    if (argc > 1) lt_set_threads(atoi(argv[1]));
    printf("%s; %d threads; milliseconds a training step\n", lt_kernels_in_use(), lt_threads());
    printf("   B    T     I     H      lathe     oneDNN    ratio    GFLOP/s    differ\n");
    for (int i = 0; i < LTI_COUNT(shapes); i++) compare(ctx, &shapes[i]);
    lt_ctx_free(ctx);
    return 0;
}
