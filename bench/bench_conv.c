/* bench_conv.c - images a second, forward and both gradients, of each convolution provider on the layers of small
 * networks.
 *
 *     bench_conv [threads [batch]]        the best call of each, after a first that is not counted
 *
 * The last column is ours to oneDNN called on the whole batch with threads of its own, in the layouts that it prefers,
 * with no reorders: more than 1 is faster. It says what chunks, channels last and kernels of our own cost or bring. */
#include "base/clock.h"
#include "base/ctx.h"
#include "base/rng.h"
#include "kernels/conv.h"
#include "kernels/kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined LT_WITH_ONEDNN
#include <dnnl.h>
#include <omp.h>
#endif

/* size, channels in and out, kernel, stride, groups */
static const int64_t layers[][6] = {
    {28, 1, 16, 3, 1, 1},  {28, 16, 16, 3, 1, 1},  {28, 16, 32, 3, 2, 1},  {14, 32, 32, 3, 1, 1},
    {14, 32, 64, 3, 2, 1}, {7, 64, 64, 3, 1, 1},   {14, 64, 64, 1, 1, 1},  {28, 16, 32, 1, 2, 1},
    {28, 32, 32, 3, 1, 4}, {28, 32, 32, 3, 1, 32}, {28, 32, 32, 3, 2, 32}, {14, 64, 64, 3, 1, 64},
};
static const char *const providers[] = {NULL, "onednn", "depthwise", "ref"};
#define SECONDS 0.15 /* of each measurement */

static lti_conv_shape shape_of(const int64_t *n, int64_t batch)
{
    lti_conv_shape s = {.b = batch, .h = n[0], .w = n[0], .i = n[1], .o = n[2], .kh = n[3], .kw = n[3], .groups = n[5]};
    for (int k = 0; k < 2; k++) s.stride[k] = n[4], s.pad[k] = n[3] / 2, s.dilation[k] = 1;
    s.oh = lti_conv_outputs(&s, 0, s.h);
    s.ow = lti_conv_outputs(&s, 1, s.w);
    return s;
}

static lt_real *numbers(lt_ctx *ctx, int64_t n)
{
    lti_rng rng = {.seed = 1};
    lt_real *x = lti_alloc_array(ctx, (size_t)n, sizeof *x);
    for (int64_t i = 0; x && i < n; i++) x[i] = (lt_real)lti_rng_uniform(&rng, (uint64_t)i);
    return x;
}

/* The least seconds of a call: what others do on the machine matters little. */
static double best_of(void (*call)(void *arg), void *arg)
{
    double best = 1e9;
    call(arg);
    for (double begin = lti_seconds(), start = begin, end; start - begin < SECONDS; start = end) {
        call(arg);
        end = lti_seconds();
        if (end - start < best) best = end - start;
    }
    return best;
}

typedef struct product {
    lt_ctx *ctx;
    lti_conv *conv;
    const lt_real *a, *b;
    lt_real *c;
    void *scratch;
} product;

static void run_product(void *arg)
{
    product *p = arg;
    if (lti_conv_run(p->conv, p->a, p->b, p->c, p->scratch) != LT_OK) puts(lt_ctx_message(p->ctx));
}

/* Seconds of the three products; negative when the provider does not take the layer. */
static double measure(lt_ctx *ctx, const lti_conv_shape *s, const char *provider, double seconds[3])
{
    lt_real *x = numbers(ctx, s->b * s->h * s->w * s->i), *y = numbers(ctx, s->b * s->oh * s->ow * s->o);
    lt_real *w = numbers(ctx, s->o * s->i / s->groups * s->kh * s->kw), *dx = numbers(ctx, s->b * s->h * s->w * s->i);
    double total = x && y && w && dx ? 0 : -1;
    lti_conv_force(provider);
    for (int kind = 0; kind < 3 && total >= 0; kind++) {
        product p = {ctx, NULL, kind == LTI_CONV_DATA ? y : x, kind == LTI_CONV_WEIGHT ? y : w, NULL, NULL};
        p.c = kind == LTI_CONV_FORWARD ? y : kind == LTI_CONV_DATA ? dx : w;
        bool made = lti_conv_create(ctx, s, (lti_conv_kind)kind, &p.conv) == LT_OK;
        if (made && (!provider || !strcmp(lti_conv_provider(p.conv), provider)) &&
            (p.scratch = lti_alloc(ctx, lti_conv_scratch(p.conv))))
            total += seconds[kind] = best_of(run_product, &p);
        else
            total = -1;
        lti_free(ctx, p.scratch);
        lti_conv_free(ctx, p.conv);
    }
    lti_conv_force(NULL);
    lti_free(ctx, x);
    lti_free(ctx, y);
    lti_free(ctx, w);
    lti_free(ctx, dx);
    return total;
}

#if defined LT_WITH_ONEDNN && DNNL_VERSION_MAJOR < 3
/* ---- oneDNN alone ---- */

typedef struct alone {
    dnnl_primitive_t primitive;
    dnnl_stream_t stream;
    dnnl_exec_arg_t args[3];
} alone;

static void run_alone(void *arg)
{
    alone *a = arg;
    if (dnnl_primitive_execute(a->primitive, a->stream, 3, a->args) != dnnl_success) puts("oneDNN failed");
}

/* One product; -1 when anything fails (what was made then stays: the program ends soon). */
static double alone_seconds(const lti_conv_shape *s, int kind)
{
    dnnl_engine_t engine;
    alone a;
    dnnl_dims_t xs = {s->b, s->i, s->h, s->w}, ys = {s->b, s->o, s->oh, s->ow}, stride, none = {0, 0}, pad;
    dnnl_dims_t ws = {s->groups, s->o / s->groups, s->i / s->groups, s->kh, s->kw};
    dnnl_memory_desc_t x, w, y;
    dnnl_convolution_desc_t forward, op;
    dnnl_primitive_desc_t hint, pd;
    bool grouped = s->groups > 1;
    if (!grouped) ws[0] = s->o, ws[1] = s->i, ws[2] = s->kh, ws[3] = s->kw;
    for (int k = 0; k < 2; k++) stride[k] = s->stride[k], pad[k] = s->pad[k];
    if (dnnl_engine_create(&engine, dnnl_cpu, 0) || dnnl_stream_create(&a.stream, engine, 0) ||
        dnnl_memory_desc_init_by_tag(&x, 4, xs, dnnl_f32, dnnl_format_tag_any) ||
        dnnl_memory_desc_init_by_tag(&y, 4, ys, dnnl_f32, dnnl_format_tag_any) ||
        dnnl_memory_desc_init_by_tag(&w, 4 + grouped, ws, dnnl_f32, dnnl_format_tag_any) ||
        dnnl_dilated_convolution_forward_desc_init(&forward, dnnl_forward_training, dnnl_convolution_direct, &x, &w,
                                                   NULL, &y, stride, none, pad, pad) ||
        dnnl_primitive_desc_create(&hint, &forward, NULL, engine, NULL))
        return -1;
    pd = hint;
    if (kind == LTI_CONV_DATA && (dnnl_dilated_convolution_backward_data_desc_init(&op, dnnl_convolution_direct, &x, &w,
                                                                                   &y, stride, none, pad, pad) ||
                                  dnnl_primitive_desc_create(&pd, &op, NULL, engine, hint)))
        return -1;
    if (kind == LTI_CONV_WEIGHT && (dnnl_dilated_convolution_backward_weights_desc_init(
                                        &op, dnnl_convolution_direct, &x, &w, NULL, &y, stride, none, pad, pad) ||
                                    dnnl_primitive_desc_create(&pd, &op, NULL, engine, hint)))
        return -1;
    static const struct {
        int argument;
        dnnl_query_t query;
    } of[3][3] = {{{DNNL_ARG_SRC, dnnl_query_src_md},
                   {DNNL_ARG_WEIGHTS, dnnl_query_weights_md},
                   {DNNL_ARG_DST, dnnl_query_dst_md}},
                  {{DNNL_ARG_DIFF_SRC, dnnl_query_diff_src_md},
                   {DNNL_ARG_WEIGHTS, dnnl_query_weights_md},
                   {DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md}},
                  {{DNNL_ARG_SRC, dnnl_query_src_md},
                   {DNNL_ARG_DIFF_WEIGHTS, dnnl_query_diff_weights_md},
                   {DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md}}};
    if (dnnl_primitive_create(&a.primitive, pd)) return -1;
    for (int i = 0; i < 3; i++) {
        a.args[i].arg = of[kind][i].argument;
        const dnnl_memory_desc_t *d = dnnl_primitive_desc_query_md(pd, of[kind][i].query, 0);
        void *data;
        if (dnnl_memory_create(&a.args[i].memory, d, engine, DNNL_MEMORY_ALLOCATE) ||
            dnnl_memory_get_data_handle(a.args[i].memory, &data))
            return -1;
        for (size_t j = 0; j < dnnl_memory_desc_get_size(d) / sizeof(float); j++) ((float *)data)[j] = 0.5f;
    }
    double best = best_of(run_alone, &a);
    for (int i = 0; i < 3; i++) dnnl_memory_destroy(a.args[i].memory);
    dnnl_primitive_destroy(a.primitive);
    if (pd != hint) dnnl_primitive_desc_destroy(pd);
    dnnl_primitive_desc_destroy(hint);
    dnnl_stream_destroy(a.stream);
    dnnl_engine_destroy(engine);
    return best;
}

static double alone_total(const lti_conv_shape *s)
{
    double total = 0;
    omp_set_num_threads(lt_threads());
    for (int kind = 0; kind < 3 && total >= 0; kind++) {
        double t = alone_seconds(s, kind);
        total = t < 0 ? -1 : total + t;
    }
    return total;
}
#else
static double alone_total(const lti_conv_shape *s)
{
    (void)s;
    return -1;
}
#endif

int main(int argc, char **argv)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    if (!ctx) return 1;
    if (argc > 1) lt_set_threads(atoi(argv[1]));
    int64_t batch = argc > 2 ? atoi(argv[2]) : 128;
    printf("%s, %d threads, batch %lld: thousands of images/s (forward, gradient of x, of w in us)\n%-24s", lti_isa(),
           lt_threads(), (long long)batch, "layer");
    for (int p = 0; p < LTI_COUNT(providers); p++) printf("%-26s", providers[p] ? providers[p] : "chosen");
    puts("to oneDNN's threads");
    for (int i = 0; i < LTI_COUNT(layers); i++) {
        const int64_t *n = layers[i];
        lti_conv_shape s = shape_of(n, batch);
        double chosen = -1;
        printf("%2dx%-2d %2d->%-2d %dx%d /%d g%-3d", (int)n[0], (int)n[0], (int)n[1], (int)n[2], (int)n[3], (int)n[3],
               (int)n[4], (int)n[5]);
        for (int p = 0; p < LTI_COUNT(providers); p++) {
            double part[3], total = measure(ctx, &s, providers[p], part);
            if (p == 0) chosen = total;
            if (total < 0)
                printf("%-26s", "-");
            else
                printf("%6.0f (%5.0f %5.0f %5.0f) ", 1e-3 * (double)batch / total, 1e6 * part[0], 1e6 * part[1],
                       1e6 * part[2]);
            fflush(stdout);
        }
        double threads = alone_total(&s);
        printf(threads > 0 ? "%8.2f\n" : "       -\n", threads / chosen);
    }
    lt_ctx_free(ctx);
    return 0;
}
