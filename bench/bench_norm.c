/* bench_norm.c - batch norm in training, forward and backward, against oneDNN's primitives on the same arrays' layout.
 *
 *     bench_norm [threads]        median of 15 alternating runs each; ratio: oneDNN's time over ours
 *
 * Both sides compute y, the batch's statistics, dx, dw and db from x and dy [rows, C], without and with a ReLU in the
 * same pass. Ours also moves the running averages and gives the same bits for any number of threads. The bytes a second
 * are those of the least traffic: x twice and y, then x and dy twice and dx. */
#include "base/ctx.h"
#include "bench/timing.h"
#include "kernels/kernels.h"
#include "lathe/images.h"
#include "lathe/plan.h"

#include <dnnl.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

enum { RUNS = 15, ARRAYS = 9 };
enum { X, Y, DY, DX, MEAN, VARIANCE, WB, DWB, WORKSPACE };

typedef struct shape {
    int64_t b, h, w, c;
} shape;

/* The first one warms up: in a fresh process oneDNN's first primitive of some size is many times slower. */
static const shape shapes[] = {{128, 7, 7, 16}, {8, 7, 7, 32},     {128, 28, 28, 16}, {128, 14, 14, 32},
                               {128, 7, 7, 64}, {32, 28, 28, 128}, {16, 14, 14, 512}};

/* ---- oneDNN ---- */

typedef struct theirs {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_desc_t pd[2];
    dnnl_primitive_t primitive[2];
    dnnl_memory_t memory[ARRAYS];
} theirs;

static void must(dnnl_status_t status)
{
    if (status == dnnl_success) return;
    printf("oneDNN: status %d\n", (int)status);
    exit(1);
}

static void make_memory(theirs *t, int index, const dnnl_memory_desc_t *d)
{
    must(dnnl_memory_create(&t->memory[index], d, t->engine, DNNL_MEMORY_ALLOCATE));
    void *data = NULL;
    must(dnnl_memory_get_data_handle(t->memory[index], &data));
    size_t n = dnnl_memory_desc_get_size(d) / sizeof(float);
    for (size_t i = 0; data && i < n; i++)
        ((float *)data)[i] = index == DY ? (float)(i * 104729 % 1021) / 1021 : (float)(i * 7919 % 1024) / 1024;
}

static void make_theirs(theirs *t, const shape *s, bool relu)
{
    dnnl_dims_t sizes = {s->b, s->c, s->h, s->w}, pair = {2, s->c}, channels = {s->c};
    dnnl_memory_desc_t data, wb, stat;
    dnnl_batch_normalization_desc_t forward, backward;
    unsigned flags = dnnl_use_scaleshift | (relu ? (unsigned)dnnl_fuse_norm_relu : 0);
    must(dnnl_engine_create(&t->engine, dnnl_cpu, 0));
    must(dnnl_stream_create(&t->stream, t->engine, dnnl_stream_default_flags));
    must(dnnl_memory_desc_init_by_tag(&data, 4, sizes, dnnl_f32, dnnl_nhwc));
    must(dnnl_memory_desc_init_by_tag(&wb, 2, pair, dnnl_f32, dnnl_nc));
    must(dnnl_memory_desc_init_by_tag(&stat, 1, channels, dnnl_f32, dnnl_x));
    must(dnnl_batch_normalization_forward_desc_init(&forward, dnnl_forward_training, &data, 1e-5f, flags));
    must(dnnl_primitive_desc_create(&t->pd[0], &forward, NULL, t->engine, NULL));
    must(dnnl_batch_normalization_backward_desc_init(&backward, dnnl_backward, &data, &data, 1e-5f, flags));
    must(dnnl_primitive_desc_create(&t->pd[1], &backward, NULL, t->engine, t->pd[0]));
    for (int i = 0; i < 2; i++) must(dnnl_primitive_create(&t->primitive[i], t->pd[i]));
    for (int i = X; i <= DX; i++) make_memory(t, i, &data);
    make_memory(t, MEAN, &stat);
    make_memory(t, VARIANCE, &stat);
    make_memory(t, WB, &wb);
    make_memory(t, DWB, &wb);
    make_memory(t, WORKSPACE, dnnl_primitive_desc_query_md(t->pd[0], dnnl_query_workspace_md, 0));
}

static void run_theirs(theirs *t)
{
    const dnnl_exec_arg_t forward[] = {
        {DNNL_ARG_SRC, t->memory[X]},          {DNNL_ARG_DST, t->memory[Y]},
        {DNNL_ARG_MEAN, t->memory[MEAN]},      {DNNL_ARG_VARIANCE, t->memory[VARIANCE]},
        {DNNL_ARG_SCALE_SHIFT, t->memory[WB]}, {DNNL_ARG_WORKSPACE, t->memory[WORKSPACE]}};
    const dnnl_exec_arg_t backward[] = {{DNNL_ARG_SRC, t->memory[X]},
                                        {DNNL_ARG_MEAN, t->memory[MEAN]},
                                        {DNNL_ARG_VARIANCE, t->memory[VARIANCE]},
                                        {DNNL_ARG_DIFF_DST, t->memory[DY]},
                                        {DNNL_ARG_SCALE_SHIFT, t->memory[WB]},
                                        {DNNL_ARG_WORKSPACE, t->memory[WORKSPACE]},
                                        {DNNL_ARG_DIFF_SRC, t->memory[DX]},
                                        {DNNL_ARG_DIFF_SCALE_SHIFT, t->memory[DWB]}};
    must(dnnl_primitive_execute(t->primitive[0], t->stream, LTI_COUNT(forward), forward));
    must(dnnl_primitive_execute(t->primitive[1], t->stream, LTI_COUNT(backward), backward));
    must(dnnl_stream_wait(t->stream));
}

static void free_theirs(theirs *t)
{
    for (int i = 0; i < ARRAYS; i++)
        if (t->memory[i]) dnnl_memory_destroy(t->memory[i]);
    for (int i = 0; i < 2; i++) {
        dnnl_primitive_destroy(t->primitive[i]);
        dnnl_primitive_desc_destroy(t->pd[i]);
    }
    dnnl_stream_destroy(t->stream);
    dnnl_engine_destroy(t->engine);
}

/* ---- Ours ---- */

typedef struct ours {
    lt_params *params;
    lt_plan *plan;
    lt_real *x, *dy;
} ours;

static lt_status make_ours(ours *o, lt_ctx *ctx, const shape *s, bool relu)
{
    static const char *const names[] = {"w", "b", "mean", "var"};
    const int64_t dim[] = {s->b, s->h, s->w, s->c};
    int64_t n = s->b * s->h * s->w * s->c;
    lt_graph *g = NULL;
    lt_param *p[4];
    LTI_TRY(lt_params_create(ctx, &o->params));
    for (int i = 0; i < 4; i++) LTI_TRY(lt_params_add(o->params, names[i], LT_F32, 1, &s->c, LT_WEIGHT, &p[i]));
    o->x = lti_alloc_array(ctx, (size_t)n, sizeof *o->x);
    o->dy = lti_alloc_array(ctx, (size_t)n, sizeof *o->dy);
    if (!o->x || !o->dy) return LT_ENOMEM;
    for (int64_t i = 0; i < n; i++) {
        o->x[i] = (lt_real)(i * 7919 % 1024) / 1024;
        o->dy[i] = (lt_real)(i * 104729 % 1021) / 1021;
    }
    LTI_TRY(lt_graph_create(ctx, o->params, &g));
    lt_batch_norm_config c;
    lt_batch_norm_config_init(&c);
    c.relu = relu;
    lt_t wrt[] = {lt_input(g, "x", LT_F32, 4, dim), lt_param_value(g, p[0]), lt_param_value(g, p[1])}, out[4];
    out[0] = lt_batch_norm(wrt[0], wrt[1], wrt[2], p[2], p[3], &c);
    lt_grad_seeded(out[0], lt_input(g, "dy", LT_F32, 4, dim), 3, wrt, out + 1);
    lt_status status = lt_compile(g, NULL, 4, out, &o->plan);
    lt_graph_free(g);
    LTI_TRY(status);
    LTI_TRY(lt_bind(o->plan, "x", o->x));
    return lt_bind(o->plan, "dy", o->dy);
}

static void free_ours(ours *o, lt_ctx *ctx)
{
    lt_plan_free(o->plan);
    lt_params_free(o->params);
    lti_free(ctx, o->x);
    lti_free(ctx, o->dy);
}

static void compare(lt_ctx *ctx, const shape *s, bool relu)
{
    double seconds[2][RUNS];
    ours o = {0};
    theirs t = {0};
    make_theirs(&t, s, relu);
    if (make_ours(&o, ctx, s, relu) != LT_OK) {
        puts(lt_ctx_message(ctx));
        exit(1);
    }
    double bytes = 8.0 * sizeof(float) * (double)(s->b * s->h * s->w * s->c);
    int calls = 1 + (int)(2e8 / bytes);
    for (int i = -1; i < RUNS; i++)
        for (int side = 0; side < 2; side++) {
            omp_set_num_threads(lt_threads()); /* a task of ours leaves it at 1 */
            double start = lti_seconds();
            for (int j = 0; j < calls; j++)
                if (side)
                    run_theirs(&t);
                else if (lt_run(o.plan) != LT_OK)
                    puts(lt_ctx_message(ctx));
            seconds[side][i < 0 ? 0 : i] = (lti_seconds() - start) / calls;
        }
    double mine = median(RUNS, seconds[0]), other = median(RUNS, seconds[1]);
    printf("%4dx%2dx%2dx%-4d%6s %10.1f us %6.1f GB/s   oneDNN %10.1f us   ratio %5.2f\n", (int)s->b, (int)s->h,
           (int)s->w, (int)s->c, relu ? "ReLU" : "", 1e6 * mine, 1e-9 * bytes / mine, 1e6 * other, other / mine);
    free_ours(&o, ctx);
    free_theirs(&t);
}

int main(int argc, char **argv)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    if (!ctx) return 1;
    if (argc > 1) lt_set_threads(atoi(argv[1]));
    const dnnl_version_t *v = dnnl_version();
    printf("kernels %s; oneDNN %d.%d.%d; %d threads\n", lti_isa(), v->major, v->minor, v->patch, lt_threads());
    for (int i = 0; i < LTI_COUNT(shapes); i++)
        for (int relu = 0; relu < 2; relu++) compare(ctx, &shapes[i], relu);
    lt_ctx_free(ctx);
    return 0;
}
