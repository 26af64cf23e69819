/* test_conv.c - convolution: every provider against naive double loops, its three products; 1 against more threads bit
 * by bit; errors and failing allocations. Pooling where values are equal or NaN; the layer with its hooks.
 *
 * The sweep (rows_images.c) judges the ops; here the providers that it does not choose are judged too. */
#include "kernels/conv.h"
#include "lathe/nn.h"
#include "tests/testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const providers[] = {"onednn", "depthwise", "ref"};
static const char *const kinds[] = {"forward", "gradient of x", "gradient of w"};

/* b h w i, o kh kw groups, strides, pads, dilations: the outputs follow. */
#define SHAPE(b, h, w, i, o, kh, kw, g, ...)                                                                           \
    {                                                                                                                  \
        b, h, w, i, o, kh, kw, g, __VA_ARGS__                                                                          \
    }
static const int64_t shapes[][14] = {
    SHAPE(3, 7, 9, 1, 16, 3, 3, 1, 1, 1, 1, 1, 1, 1),    SHAPE(5, 9, 8, 1, 20, 3, 3, 1, 2, 2, 1, 1, 1, 1),
    SHAPE(2, 8, 8, 3, 7, 5, 4, 1, 1, 2, 2, 1, 1, 1),     SHAPE(9, 12, 12, 16, 16, 3, 3, 1, 1, 1, 1, 1, 1, 1),
    SHAPE(4, 7, 7, 33, 17, 3, 3, 1, 2, 2, 1, 1, 1, 1),   SHAPE(2, 11, 10, 32, 48, 3, 3, 1, 1, 1, 2, 2, 2, 2),
    SHAPE(2, 9, 9, 12, 8, 3, 3, 4, 1, 1, 1, 1, 1, 1),    SHAPE(2, 6, 5, 32, 64, 3, 3, 2, 2, 1, 1, 0, 1, 1),
    SHAPE(3, 8, 7, 21, 21, 3, 3, 21, 1, 1, 1, 1, 1, 1),  SHAPE(3, 8, 7, 32, 32, 3, 3, 32, 2, 2, 1, 1, 1, 1),
    SHAPE(2, 9, 9, 18, 18, 5, 3, 18, 1, 2, 2, 1, 1, 2),  SHAPE(2, 6, 6, 8, 24, 3, 3, 8, 1, 1, 1, 1, 1, 1),
    SHAPE(3, 5, 6, 40, 24, 1, 1, 1, 1, 1, 0, 0, 1, 1),   SHAPE(3, 5, 6, 16, 32, 1, 1, 1, 2, 2, 0, 0, 1, 1),
    SHAPE(2, 4, 4, 6, 6, 1, 1, 2, 1, 1, 1, 0, 1, 1),     SHAPE(67, 14, 14, 8, 8, 3, 3, 1, 1, 1, 1, 1, 1, 1),
    SHAPE(2, 40, 41, 16, 16, 3, 3, 1, 1, 1, 1, 1, 1, 1), /* several strips */
    SHAPE(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1),     SHAPE(45, 14, 14, 24, 24, 3, 3, 24, 1, 1, 1, 1, 1, 1),
};

static lti_conv_shape shape_of(const int64_t *n)
{
    lti_conv_shape s = {.b = n[0], .h = n[1], .w = n[2], .i = n[3], .o = n[4], .kh = n[5], .kw = n[6], .groups = n[7]};
    for (int k = 0; k < 2; k++) s.stride[k] = n[8 + k], s.pad[k] = n[10 + k], s.dilation[k] = n[12 + k];
    s.oh = lti_conv_outputs(&s, 0, s.h);
    s.ow = lti_conv_outputs(&s, 1, s.w);
    return s;
}

/* x, w, dy and the three results; `want` of the kind under test. */
typedef struct operands {
    int64_t count[3]; /* of x, w, y */
    lt_real *v[3], *out;
    double *want[3]; /* by kind: y, dx, dw */
} operands;

/* What kind k computes: y, x or w. */
static int result_of(int kind)
{
    return kind == LTI_CONV_FORWARD ? 2 : kind == LTI_CONV_DATA ? 0 : 1;
}

/* Each product of a pixel and a weight goes to y, dx and dw. */
static void judge(const lti_conv_shape *s, operands *o)
{
    int64_t ig = s->i / s->groups, og = s->o / s->groups, at = 0;
    for (int64_t b = 0; b < s->b; b++)
        for (int64_t p = 0; p < s->oh * s->ow; p++)
            for (int64_t f = 0; f < s->o; f++, at++)
                for (int64_t t = 0; t < s->kh * s->kw; t++) {
                    int64_t iy = p / s->ow * s->stride[0] - s->pad[0] + t / s->kw * s->dilation[0];
                    int64_t ix = p % s->ow * s->stride[1] - s->pad[1] + t % s->kw * s->dilation[1];
                    if (iy < 0 || iy >= s->h || ix < 0 || ix >= s->w) continue;
                    for (int64_t i = 0; i < ig; i++) {
                        int64_t x = ((b * s->h + iy) * s->w + ix) * s->i + f / og * ig + i;
                        int64_t w = (f * ig + i) * s->kh * s->kw + t;
                        double dy = (double)o->v[2][at];
                        o->want[LTI_CONV_FORWARD][at] += (double)o->v[0][x] * (double)o->v[1][w];
                        o->want[LTI_CONV_DATA][x] += dy * (double)o->v[1][w];
                        o->want[LTI_CONV_WEIGHT][w] += dy * (double)o->v[0][x];
                    }
                }
}

static void *room(int64_t count, size_t size)
{
    void *p = calloc((size_t)count + 1, size);
    if (!p) abort();
    return p;
}

static void make_operands(const lti_conv_shape *s, operands *o)
{
    const char *const names[] = {"x", "w", "dy"};
    o->count[0] = s->b * s->h * s->w * s->i;
    o->count[1] = s->o * (s->i / s->groups) * s->kh * s->kw;
    o->count[2] = s->b * s->oh * s->ow * s->o;
    int64_t most = 0;
    for (int k = 0; k < 3; k++) {
        o->v[k] = room(o->count[k], sizeof(lt_real));
        ts_fill_normal(names[k], o->count[k], 1, o->v[k]);
        o->want[k] = room(o->count[result_of(k)], sizeof(double));
        most = o->count[k] > most ? o->count[k] : most;
    }
    o->out = room(most, sizeof(lt_real));
    judge(s, o);
}

static void drop_operands(operands *o)
{
    for (int k = 0; k < 3; k++) free(o->v[k]), free(o->want[k]);
    free(o->out);
}

/* Runs twice on one handle, the second time from other addresses. false: not by this provider, or failed. */
static bool convolve(lt_ctx *ctx, const lti_conv_shape *s, int kind, const operands *o, const char *provider)
{
    lti_conv *conv = NULL;
    int result = result_of(kind), a = kind == LTI_CONV_DATA ? 2 : 0, b = kind == LTI_CONV_WEIGHT ? 2 : 1;
    size_t bytes = (size_t)o->count[result] * sizeof(lt_real);
    bool ok = TS_OK(ctx, lti_conv_create(ctx, s, kind, &conv));
    if (ok && strcmp(lti_conv_provider(conv), provider)) {
        lti_conv_free(ctx, conv);
        return false;
    }
    void *scratch = ok ? lti_alloc(ctx, lti_conv_scratch(conv)) : NULL;
    lt_real *first = room(o->count[result], sizeof *first), *other = room(o->count[a], sizeof *other);
    memcpy(other, o->v[a], (size_t)o->count[a] * sizeof *other);
    if (scratch) memset(scratch, 0xff, lti_conv_scratch(conv)); /* NaN: nothing may be expected of it */
    ok = ok && TS_OK(ctx, lti_conv_run(conv, other, o->v[b], first, scratch));
    memset(o->out, 0xff, bytes);
    ok = ok && TS_OK(ctx, lti_conv_run(conv, o->v[a], o->v[b], o->out, scratch));
    TS_CHECK(!ok || ts_same_bytes(bytes, first, o->out), "%s: a second run gives other bits", kinds[kind]);
    free(first);
    free(other);
    lti_free(ctx, scratch);
    lti_conv_free(ctx, conv);
    return ok;
}

/* Every shape, kind and provider that takes it. */
static void each(void (*body)(lt_ctx *ctx, const lti_conv_shape *s, int kind, operands *o, const char *provider,
                              const char *what))
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    for (int i = 0; i < LTI_COUNT(shapes); i++) {
        lti_conv_shape s = shape_of(shapes[i]);
        operands o;
        make_operands(&s, &o);
        for (int p = 0; p < LTI_COUNT(providers); p++)
            for (int kind = 0; kind < 3; kind++) {
                char what[128];
                if (!lti_conv_force(providers[p])) continue;
                snprintf(what, sizeof what, "%s, shape %d, %s", providers[p], i, kinds[kind]);
                body(ctx, &s, kind, &o, providers[p], what);
            }
        drop_operands(&o);
    }
    lti_conv_force(NULL);
    lt_ctx_free(ctx);
}

static void against_oracle(lt_ctx *ctx, const lti_conv_shape *s, int kind, operands *o, const char *provider,
                           const char *what)
{
    if (!convolve(ctx, s, kind, o, provider)) return;
    double far = ts_distance(o->count[result_of(kind)], o->out, o->want[kind]);
    TS_CHECK(far < ts_tolerance(1e-13, 3e-6), "%s: off by %g", what, far);
}

static void against_threads(lt_ctx *ctx, const lti_conv_shape *s, int kind, operands *o, const char *provider,
                            const char *what)
{
    int before = lt_threads();
    size_t bytes = (size_t)o->count[result_of(kind)] * sizeof(lt_real);
    lt_real *one = room(o->count[result_of(kind)], sizeof *one);
    lt_set_threads(1);
    bool ok = convolve(ctx, s, kind, o, provider);
    memcpy(one, o->out, bytes);
    for (int threads = 2; ok && threads <= 5; threads += 3) {
        lt_set_threads(threads);
        ok = convolve(ctx, s, kind, o, provider);
        TS_CHECK(ts_same_bytes(bytes, one, o->out), "%s: 1 and %d threads give different bits", what, threads);
    }
    free(one);
    lt_set_threads(before);
}

static void oracle(void)
{
    each(against_oracle);
}

static void threads(void)
{
    each(against_threads);
}

typedef struct attempt {
    lti_conv_shape shape;
    lti_conv_kind kind;
} attempt;

static lt_status create_and_free(lt_ctx *ctx, void *arg)
{
    const attempt *a = arg;
    lti_conv *conv = NULL;
    LTI_TRY(lti_conv_create(ctx, &a->shape, a->kind, &conv));
    lti_conv_free(ctx, conv);
    return LT_OK;
}

static void providers_fail(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lti_conv_shape s = shape_of(shapes[15]);
    lti_conv *conv = NULL;
    s.oh++;
    TS_CHECK(lti_conv_create(ctx, &s, LTI_CONV_FORWARD, &conv) == LT_EINVAL && !conv, "sizes that do not fit");
    TS_CHECK(!lti_conv_force("nonsense") && lti_conv_force("ref") && lti_conv_force(NULL), "force");
    s = shape_of(shapes[0]);
    s.b = 0;
    lt_real w[16 * 9] = {1};
    if (TS_OK(ctx, lti_conv_create(ctx, &s, LTI_CONV_WEIGHT, &conv)))
        TS_CHECK(lti_conv_run(conv, NULL, NULL, w, NULL) == LT_OK && w[0] == 0, "an empty batch gives no gradient");
    lti_conv_free(ctx, conv);
    lt_ctx_free(ctx);
    for (int p = 0; p < LTI_COUNT(providers); p++)
        for (int kind = 0; kind < 3; kind++) {
            attempt a = {shape_of(shapes[p == 1 ? 18 : 15]), (lti_conv_kind)kind};
            if (lti_conv_force(providers[p])) ts_every_allocation_fails(providers[p], create_and_free, &a);
        }
    lti_conv_force(NULL);
}

/* ---- Ops ---- */

static void expect(const char *what, lt_t y, ts_bed *bed)
{
    const char *message = lt_graph_message(bed->g);
    TS_CHECK(lt_is_nil(y) && lt_graph_status(bed->g) == LT_EINVAL && strstr(message, what), "'%s', not '%s'", message,
             what);
    ts_bed_again(bed);
}

static lt_t image(ts_bed *bed, int64_t h, int64_t w, int64_t c)
{
    return lt_input(bed->g, "x", LT_F32, 4, (int64_t[]){2, h, w, c});
}

static lt_t filters(ts_bed *bed, int64_t o, int64_t i, int64_t k)
{
    return lt_input(bed->g, "w", LT_F32, 4, (int64_t[]){o, i, k, k});
}

static void errors(void)
{
    ts_bed bed;
    lt_conv_config c;
    lt_pool_config p;
    if (!ts_bed_make(&bed)) return;
    expect("conv2d: x [2,5,5,3] with w [4,2,3,3]", lt_conv2d(image(&bed, 5, 5, 3), filters(&bed, 4, 2, 3), NULL), &bed);
    expect("larger than the padded image", lt_conv2d(image(&bed, 2, 5, 3), filters(&bed, 4, 3, 3), NULL), &bed);
    expect("[B,H,W,I]", lt_conv2d(lt_input(bed.g, "x", LT_F32, 1, (int64_t[]){3}), filters(&bed, 4, 3, 3), NULL), &bed);
    lt_conv_config_init(&c);
    c.groups = 2;
    expect("2 groups", lt_conv2d(image(&bed, 5, 5, 4), filters(&bed, 3, 2, 3), &c), &bed);
    c.stride[1] = 0;
    expect("conv2d: stride", lt_conv2d(image(&bed, 5, 5, 4), filters(&bed, 4, 2, 3), &c), &bed);
    c.size = 3;
    expect("lt_conv_config_init", lt_conv2d(image(&bed, 5, 5, 4), filters(&bed, 4, 2, 3), &c), &bed);
    lt_pool_config_init(&p);
    expect("max_pool2d: x [2,1,5,3]: windows of [2,2]", lt_max_pool2d(image(&bed, 1, 5, 3), &p), &bed);
    p.pad[0] = 2;
    expect("avg_pool2d: pad", lt_avg_pool2d(image(&bed, 5, 5, 3), &p), &bed);
    p.kernel[1] = 0, p.pad[0] = 0;
    expect("kernel is to be", lt_avg_pool2d(image(&bed, 5, 5, 3), &p), &bed);
    expect("[B,..,C]", lt_global_avg_pool(lt_input(bed.g, "x", LT_F32, 1, (int64_t[]){3})), &bed);
    ts_bed_drop(&bed);
}

/* One image of one channel: y of a pooling by 2 x 2, and dx for dy = 1, 2, .. */
static void pooled(int64_t h, int64_t w, const lt_real *values, int64_t stride, lt_real *y, lt_real *dx)
{
    ts_bed bed;
    lt_pool_config c;
    lt_plan *plan = NULL;
    if (!ts_bed_make(&bed)) return;
    lt_pool_config_init(&c);
    c.stride[0] = c.stride[1] = stride;
    lt_param *p = ts_weight(&bed, "x", 1, 4, (int64_t[]){1, h, w, 1});
    memcpy(lt_param_data(p), values, (size_t)(h * w) * sizeof *values);
    lt_t x = lt_param_value(bed.g, p), out[2] = {lt_max_pool2d(x, &c)};
    lt_t dy = lt_input(bed.g, "dy", LT_F32, 4, lt_shape(out[0]));
    int64_t n = lt_count(out[0]);
    lt_grad_seeded(out[0], dy, 1, &x, &out[1]);
    lt_real ramp[16];
    for (int i = 0; i < 16; i++) ramp[i] = (lt_real)(i + 1);
    if (TS_OK(bed.ctx, ts_compile(bed.g, TS_PLANNED, 2, out, &plan)) && TS_OK(bed.ctx, lt_bind(plan, "dy", ramp)) &&
        TS_OK(bed.ctx, lt_run(plan))) {
        memcpy(y, lt_result(plan, 0), (size_t)n * sizeof *y);
        memcpy(dx, lt_result(plan, 1), (size_t)(h * w) * sizeof *dx);
    }
    lt_plan_free(plan);
    ts_bed_drop(&bed);
}

/* torch.nn.functional.max_pool2d gives these, 2.13. */
static void equal_and_nan(void)
{
    const lt_real flat[9] = {5, 5, 5, 5, 5, 5, 5, 5, 5}, low[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
    const lt_real nan[4] = {1, NAN, 7, NAN};
    lt_real y[4] = {0}, dx[9] = {0};
    pooled(3, 3, flat, 1, y, dx);
    const lt_real want[9] = {1, 2, 0, 3, 4, 0, 0, 0, 0};
    TS_CHECK(ts_same_bytes(sizeof want, dx, want), "of equal ones the first: %g %g %g %g", (double)dx[0], (double)dx[1],
             (double)dx[3], (double)dx[4]);
    pooled(2, 2, low, 2, y, dx);
    TS_CHECK(y[0] == low[0] && dx[0] == 1 && dx[1] == 0, "all are -infinity: the first");
    pooled(2, 2, nan, 2, y, dx);
    TS_CHECK(isnan(y[0]) && dx[0] == 0 && dx[1] == 0 && dx[2] == 0 && dx[3] == 1, "the last NaN: %g %g %g %g",
             (double)dx[0], (double)dx[1], (double)dx[2], (double)dx[3]);
}

static lt_t twice(lt_t v, const lt_site *site, void *config)
{
    (void)site;
    (void)config;
    return lt_scale(v, 2);
}

static lt_t plus_one(lt_t x_raw, lt_t x_in, lt_t w, lt_t y, const lt_site *site, void *config)
{
    (void)x_raw, (void)x_in, (void)w, (void)config;
    TS_CHECK(site->kind == LT_SITE_CONV && !strcmp(site->name, "net.conv"), "the site is %s", site->name);
    return lt_shift(y, 1);
}

/* 2 x with 2 w, plus 1, plus the bias, which no hook doubles. */
static void layer(void)
{
    ts_bed bed;
    lt_real hooked[2 * 3 * 3 * 4], plain[2 * 3 * 3 * 4];
    lt_conv_config c;
    if (!ts_bed_make(&bed)) return;
    lt_conv_config_init(&c);
    c.pad[0] = c.pad[1] = 1;
    lt_param *x = ts_weight(&bed, "x", 1, 4, (int64_t[]){2, 3, 3, 3});
    ts_weight(&bed, "net.conv.weight", 1, 4, (int64_t[]){4, 3, 3, 3});
    lt_param *bias = ts_weight(&bed, "net.conv.bias", 1, 1, (int64_t[]){4});
    for (int pass = 0; pass < 2; pass++) {
        lt_attachment a = {.size = sizeof a, .pattern = "net.conv*", .kinds = LT_SITE_CONV};
        a.weight = twice, a.input = twice, a.output = plus_one;
        if (pass == 0) lt_attach(bed.g, &a);
        lt_scope(bed.g, "net");
        lt_t y = lt_nn_conv2d(lt_param_value(bed.g, x), "conv", &c);
        lt_scope_end(bed.g);
        ts_value(bed.ctx, y, LTI_COUNT(plain), pass ? plain : hooked);
        ts_bed_again(&bed);
    }
    const lt_real *b = lt_param_data(bias);
    double far = 0;
    for (int i = 0; i < LTI_COUNT(plain); i++)
        far = fmax(far, fabs((double)hooked[i] - 4 * (double)(plain[i] - b[i % 4]) - 1 - (double)b[i % 4]));
    TS_CHECK(far < ts_tolerance(1e-12, 1e-4), "hooks of a convolution: off by %g", far);
    lt_nn_conv2d(lt_param_value(bed.g, x), "absent", &c);
    TS_CHECK(strstr(lt_graph_message(bed.g), "absent.weight"), "a missing weight: %s", lt_graph_message(bed.g));
    ts_bed_drop(&bed);
}

int lti_suite_conv(void)
{
    const ts_test tests[] = {{"oracle", oracle},
                             {"threads", threads},
                             {"providers fail", providers_fail},
                             {"errors", errors},
                             {"equal and NaN", equal_and_nan},
                             {"layer", layer}};
    return ts_suite("conv", LTI_COUNT(tests), tests);
}
