/* test_conv_int8.c - convolutions of bytes against naive sums, by each provider, and both providers bit by bit. */
#include "kernels/conv_int8.h"
#include "tests/data_files.h"

#include <math.h>

/* b h w i, o k stride groups, signed codes relu add. */
static const int64_t shapes[][12] = {
    {2, 9, 7, 1, 16, 3, 1, 1, 0, 1, 1, 0},   {3, 8, 8, 16, 16, 3, 1, 1, 0, 1, 1, 1},
    {2, 9, 9, 16, 20, 3, 2, 1, 0, 1, 1, 0},  {2, 7, 7, 32, 32, 3, 1, 1, 0, 1, 1, 2},
    {2, 7, 7, 32, 32, 3, 1, 1, 0, 0, 1, 2},  {4, 6, 5, 12, 24, 1, 2, 1, 0, 0, 0, 0},
    {2, 8, 8, 21, 21, 3, 1, 21, 0, 1, 1, 0}, {2, 9, 8, 32, 32, 3, 2, 32, 0, 1, 1, 0},
    {1, 1, 9, 64, 40, 1, 1, 1, 1, 0, 0, 2},  {1, 1, 5, 70, 10, 1, 1, 1, 1, 0, 0, 0},
    {2, 6, 6, 3, 7, 5, 1, 1, 1, 1, 0, 0},    {1, 8, 8, 6, 9, 3, 1, 3, 0, 1, 1, 1},
    {1, 3, 3, 300, 4, 3, 1, 1, 0, 0, 0, 0},
};

typedef struct bytes {
    lti_conv_int8_shape s;
    int64_t nw, nx, ny;
    int8_t *w;
    uint8_t *x, *codes;
    float *bias, *scale, *add;
} bytes;

static void *room(int64_t count, size_t size)
{
    void *p = calloc((size_t)count + 64, size);
    if (!p) abort();
    return p;
}

static bytes make_bytes(const int64_t *n)
{
    bytes a = {.s = {.conv = {.b = n[0], .h = n[1], .w = n[2], .i = n[3], .o = n[4], .kh = n[5], .kw = n[5]}}};
    lti_conv_shape *c = &a.s.conv;
    c->groups = n[7];
    for (int k = 0; k < 2; k++) c->stride[k] = n[6], c->pad[k] = n[5] / 2, c->dilation[k] = 1;
    c->oh = lti_conv_outputs(c, 0, c->h), c->ow = lti_conv_outputs(c, 1, c->w);
    a.s.is_signed = n[8], a.s.codes = n[9], a.s.relu = n[10], a.s.add = (lti_int8_add)n[11], a.s.ratio = 0.7313f;
    int64_t window = c->i / c->groups * c->kh * c->kw;
    a.nw = c->o * window, a.nx = c->b * c->h * c->w * c->i, a.ny = c->b * c->oh * c->ow * c->o;
    a.w = room(a.nw, 1), a.x = room(a.nx, 1), a.codes = room(a.ny, 1), a.add = room(a.ny, sizeof(float));
    a.bias = room(c->o, sizeof(float)), a.scale = room(c->o, sizeof(float));
    for (int64_t i = 0; i < a.nw; i++) a.w[i] = (int8_t)(255 * ts_uniform("w", i) - 127);
    for (int64_t i = 0; i < a.nx; i++) a.x[i] = (uint8_t)(256 * ts_uniform("x", i));
    for (int64_t i = 0; i < a.ny; i++)
        a.codes[i] = (uint8_t)(256 * ts_uniform("y", i)), a.add[i] = (float)ts_normal("a", i);
    for (int64_t o = 0; o < c->o; o++) {
        a.bias[o] = (float)(5000 * ts_normal("b", o));
        a.scale[o] = (float)((0.5 + ts_uniform("s", o)) * 0.01 / sqrt((double)window));
    }
    return a;
}

static void drop_bytes(bytes *a)
{
    void *all[] = {a->w, a->x, a->codes, a->add, a->bias, a->scale};
    for (int i = 0; i < LTI_COUNT(all); i++) free(all[i]);
}

/* Output `at` from the definition. */
static double naive(const bytes *a, int64_t at)
{
    const lti_conv_shape *c = &a->s.conv;
    int64_t o = at % c->o, p = at / c->o, ox = p % c->ow, oy = p / c->ow % c->oh, b = p / c->ow / c->oh;
    int64_t ig = c->i / c->groups, first = o / (c->o / c->groups) * ig, sum = 0;
    for (int64_t ky = 0; ky < c->kh; ky++)
        for (int64_t kx = 0; kx < c->kw; kx++) {
            int64_t iy = oy * c->stride[0] - c->pad[0] + ky, ix = ox * c->stride[1] - c->pad[1] + kx;
            if (iy < 0 || iy >= c->h || ix < 0 || ix >= c->w) continue;
            for (int64_t i = 0; i < ig; i++) {
                uint8_t x = a->x[((b * c->h + iy) * c->w + ix) * c->i + first + i];
                int w = a->w[((o * ig + i) * c->kh + ky) * c->kw + kx];
                sum += (int64_t)(a->s.is_signed ? (int8_t)x : x) * w;
            }
        }
    double v = ((double)sum + (double)a->bias[o]) * (double)a->scale[o];
    if (a->s.add == LTI_ADD_CODES) v += (double)a->codes[at] * (double)a->s.ratio;
    if (a->s.add == LTI_ADD_REALS) v += (double)a->add[at];
    return a->s.relu && v < 0 ? 0 : v;
}

static void judge(const bytes *a, const void *y, const char *provider, int shape)
{
    double worst = 0;
    for (int64_t i = 0; i < a->ny; i++) {
        double want = naive(a, i), got = a->s.codes ? ((const uint8_t *)y)[i] : (double)((const float *)y)[i];
        double clipped = fmin(fmax(want, 0), 255), error = fabs(got - want) / (1 + fabs(want));
        if (a->s.codes) error = got == rint(clipped) || fabs(fabs(clipped - floor(clipped)) - 0.5) < 1e-4 ? 0 : 1;
        worst = fmax(worst, error);
    }
    TS_CHECK(worst < 1e-5, "%s, shape %d: off by %g", provider, shape, worst);
}

static void run_bytes(lt_ctx *ctx, const bytes *a, const char *provider, int shape, void *y)
{
    lti_conv_int8 *conv;
    lti_conv_force(provider);
    if (a->s.codes) memcpy(y, a->codes, (size_t)a->ny);
    if (TS_OK(ctx, lti_conv_int8_create(ctx, &a->s, a->w, a->bias, a->scale, 2, &conv))) {
        void *scratch = lti_alloc(ctx, lti_conv_int8_scratch(conv));
        TS_CHECK(scratch && lti_conv_int8_run(conv, 1, a->x, a->add, y, scratch) == LT_OK, "%s, shape %d runs",
                 lti_conv_int8_provider(conv), shape);
        judge(a, y, lti_conv_int8_provider(conv), shape);
        lti_free(ctx, scratch);
        lti_conv_int8_free(ctx, conv);
    }
    lti_conv_force(NULL);
}

/* Each against the definition, and both bit by bit. */
static void convolutions(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    for (int k = 0; k < LTI_COUNT(shapes); k++) {
        bytes a = make_bytes(shapes[k]);
        size_t size = (size_t)a.ny * (a.s.codes ? 1 : sizeof(float));
        void *plain = room(a.ny, sizeof(float)), *chosen = room(a.ny, sizeof(float));
        run_bytes(ctx, &a, "ref", k, plain);
        run_bytes(ctx, &a, NULL, k, chosen);
        TS_CHECK(ts_same_bytes(size, plain, chosen), "shape %d: providers differ", k);
        free(plain);
        free(chosen);
        drop_bytes(&a);
    }
    bytes a = make_bytes(shapes[1]);
    lti_conv_int8 *conv;
    a.s.codes = false;
    TS_REFUSED(ctx, lti_conv_int8_create(ctx, &a.s, a.w, a.bias, a.scale, 1, &conv), LT_EINVAL, "codes are added");
    a.s.codes = true, a.s.conv.oh = 3;
    TS_REFUSED(ctx, lti_conv_int8_create(ctx, &a.s, a.w, a.bias, a.scale, 1, &conv), LT_EINVAL, "sizes do not fit");
    drop_bytes(&a);
    lt_ctx_free(ctx);
}

int lti_suite_conv_int8(void)
{
    return ts_suite("conv_int8", 1, (ts_test[]){{"convolutions of bytes", convolutions}});
}
