/* conv_ref.c - convolution as matrix products over unfolded windows (im2col), in plain C around gemm.h: the oracle of
 * the other providers, and the convolution of a portable or double build.
 *
 * For a strip of rows of y, `columns` [pixels, taps * I/groups] has a row a window, and with filters packed a group as
 * [taps * I/groups, O/groups]:
 *     y = columns packed,   dcolumns = dy packed^T (folded back into dx),   dpacked += columns^T dy
 * The strips keep the columns in the cache. A 1 x 1 window that does not skip needs no unfolding: x is its columns. */
#include "kernels/conv_backend.h"
#include "kernels/gemm.h"

#include <string.h>

enum { STRIP = 1 << 17 }; /* elements of the columns of a strip */

typedef struct ref_kernel {
    lti_conv_shape shape;
    lti_conv_kind kind;
    bool plain;        /* x is its own columns */
    int64_t k, rows;   /* elements of a window; rows of y in a strip */
    lti_gemm *gemm[2]; /* of a whole strip; of the last one, or NULL */
    size_t columns;    /* bytes, a multiple of 64 */
} ref_kernel;

static bool always(const lti_conv_shape *s, lti_conv_kind kind)
{
    (void)s;
    (void)kind;
    return true;
}

static lt_status create_gemm(lt_ctx *ctx, const ref_kernel *r, int64_t rows, lti_gemm **gemm)
{
    const lti_conv_shape *s = &r->shape;
    int64_t m = rows * s->ow, n = s->o / s->groups, columns = r->plain ? s->i : r->k;
    lti_gemm_shape g = {.m = m, .n = n, .k = r->k, .lda = columns, .ldc = s->o};
    if (r->kind == LTI_CONV_DATA)
        g = (lti_gemm_shape){.m = m, .n = r->k, .k = n, .tb = true, .lda = s->o, .ldc = columns};
    if (r->kind == LTI_CONV_WEIGHT)
        g = (lti_gemm_shape){.m = r->k, .n = n, .k = m, .ta = true, .lda = columns, .ldb = s->o, .ldc = n};
    g.accumulate = r->kind == LTI_CONV_WEIGHT;
    g.serial = true;
    g.b_type = LT_F32;
    return lti_gemm_create(ctx, &g, gemm);
}

static void ref_free(lt_ctx *ctx, void *kernel)
{
    ref_kernel *r = kernel;
    if (!r) return;
    for (int i = 0; i < 2; i++) lti_gemm_free(ctx, r->gemm[i]);
    lti_free(ctx, r);
}

static lt_status ref_create(lt_ctx *ctx, const lti_conv_shape *s, lti_conv_kind kind, int slots, const void *like,
                            void **kernel)
{
    (void)slots;
    (void)like;
    ref_kernel *r = lti_alloc(ctx, sizeof *r);
    if (!r) return LT_ENOMEM;
    r->shape = *s;
    r->kind = kind;
    r->k = s->kh * s->kw * (s->i / s->groups);
    r->plain = s->kh == 1 && s->kw == 1 && s->stride[0] == 1 && s->stride[1] == 1 && !s->pad[0] && !s->pad[1];
    r->rows = STRIP / (s->ow * r->k);
    r->rows = r->rows < 1 ? 1 : r->rows > s->oh ? s->oh : r->rows;
    if (!r->plain) r->columns = ((size_t)(r->rows * s->ow * r->k) * sizeof(lt_real) + 63) / 64 * 64;
    lt_status status = create_gemm(ctx, r, r->rows, &r->gemm[0]);
    if (status == LT_OK && s->oh % r->rows) status = create_gemm(ctx, r, s->oh % r->rows, &r->gemm[1]);
    if (status != LT_OK) {
        ref_free(ctx, r);
        return status;
    }
    *kernel = r;
    return LT_OK;
}

static size_t ref_scratch(const void *kernel)
{
    const ref_kernel *r = kernel;
    size_t bytes = lti_gemm_scratch(r->gemm[0]);
    if (r->gemm[1] && lti_gemm_scratch(r->gemm[1]) > bytes) bytes = lti_gemm_scratch(r->gemm[1]);
    return r->columns + bytes;
}

static size_t ref_packed(const void *kernel)
{
    const ref_kernel *r = kernel;
    return (size_t)(r->k * r->shape.o) * sizeof(lt_real);
}

/* Where element (o, i, tap) of the filters lies when packed: [group][tap][i][o of the group]. */
static int64_t place(const ref_kernel *r, int64_t o, int64_t i, int64_t tap)
{
    const lti_conv_shape *s = &r->shape;
    int64_t n = s->o / s->groups;
    return (o / n * r->k + tap * (s->i / s->groups) + i) * n + o % n;
}

static void each_filter(const ref_kernel *r, lt_real *packed, const lt_real *from, lt_real *to)
{
    int64_t ig = r->shape.i / r->shape.groups, taps = r->shape.kh * r->shape.kw, at = 0;
    for (int64_t o = 0; o < r->shape.o; o++)
        for (int64_t i = 0; i < ig; i++)
            for (int64_t t = 0; t < taps; t++, at++) {
                if (from)
                    packed[place(r, o, i, t)] = from[at];
                else
                    to[at] = packed[place(r, o, i, t)];
            }
}

static lt_status ref_pack(void *kernel, const lt_real *filters, lt_real *packed, void *scratch)
{
    (void)scratch;
    if (filters) each_filter(kernel, packed, filters, NULL);
    return LT_OK;
}

static lt_status ref_unpack(void *kernel, lt_real *packed, lt_real *filters, void *scratch)
{
    (void)scratch;
    each_filter(kernel, packed, NULL, filters);
    return LT_OK;
}

/* The windows of rows oy .. end - 1: x -> columns, or, folding, dx += columns. x is a group's first channel. */
static void unfold(const ref_kernel *r, int64_t oy, int64_t end, const lt_real *x, lt_real *columns, lt_real *dx)
{
    const lti_conv_shape *s = &r->shape;
    lti_window v = lti_conv_window(s);
    int64_t n = s->i / s->groups;
    if (!dx) memset(columns, 0, (size_t)((end - oy) * s->ow * r->k) * sizeof *columns);
    for (; oy < end; oy++)
        for (int64_t ox = 0; ox < s->ow; ox++, columns += r->k) {
            int64_t ky, ky_end, kx, kx_end;
            lti_window_taps(&v, 0, oy, &ky, &ky_end);
            for (; ky < ky_end; ky++)
                for (lti_window_taps(&v, 1, ox, &kx, &kx_end); kx < kx_end; kx++) {
                    int64_t iy = oy * s->stride[0] - s->pad[0] + ky * s->dilation[0];
                    int64_t ix = ox * s->stride[1] - s->pad[1] + kx * s->dilation[1];
                    lt_real *column = columns + (ky * s->kw + kx) * n;
                    int64_t at = (iy * s->w + ix) * s->i;
                    if (!dx) memcpy(column, x + at, (size_t)n * sizeof *column);
                    for (int64_t i = 0; dx && i < n; i++) dx[at + i] += column[i];
                }
        }
}

/* One strip of one image and group. forward: a = x, b = packed, c = y. data: dy, packed, dx. weight: x, dy, dpacked.
 * All point at the group's first channel, or its filters. */
static lt_status strip(const ref_kernel *r, int64_t oy, const lt_real *a, const lt_real *b, lt_real *c, char *scratch)
{
    const lti_conv_shape *s = &r->shape;
    int64_t end = oy + r->rows < s->oh ? oy + r->rows : s->oh, y = oy * s->ow * s->o, x = oy * s->ow * s->i;
    const lti_gemm *gemm = end - oy < r->rows ? r->gemm[1] : r->gemm[0];
    lt_real *columns = (lt_real *)(void *)scratch;
    void *rest = scratch + r->columns;
    if (r->kind == LTI_CONV_DATA) {
        LTI_TRY(lti_gemm_run(gemm, a + y, b, r->plain ? c + x : columns, rest));
        if (!r->plain) unfold(r, oy, end, NULL, columns, c);
        return LT_OK;
    }
    if (!r->plain) unfold(r, oy, end, a, columns, NULL);
    const lt_real *left = r->plain ? a + x : columns;
    bool weight = r->kind == LTI_CONV_WEIGHT;
    return lti_gemm_run(gemm, left, weight ? b + y : b, weight ? c : c + y, rest);
}

static lt_status ref_run(void *kernel, int slot, const lt_real *a, const lt_real *b, lt_real *c, void *scratch)
{
    const ref_kernel *r = kernel;
    const lti_conv_shape *s = &r->shape;
    int64_t x = s->h * s->w * s->i, y = s->oh * s->ow * s->o, ig = s->i / s->groups, og = s->o / s->groups;
    (void)slot;
    if (r->kind == LTI_CONV_WEIGHT) memset(c, 0, ref_packed(r));
    if (r->kind == LTI_CONV_DATA) memset(c, 0, (size_t)(s->b * x) * sizeof *c);
    for (int64_t i = 0; i < s->b; i++)
        for (int64_t g = 0; g < s->groups; g++)
            for (int64_t oy = 0; oy < s->oh; oy += r->rows) {
                int64_t in = i * x + g * ig, out = i * y + g * og, filters = g * r->k * og;
                if (r->kind == LTI_CONV_FORWARD)
                    LTI_TRY(strip(r, oy, a + in, b + filters, c + out, scratch));
                else if (r->kind == LTI_CONV_DATA)
                    LTI_TRY(strip(r, oy, a + out, b + filters, c + in, scratch));
                else
                    LTI_TRY(strip(r, oy, a + in, b + out, c + filters, scratch));
            }
    return LT_OK;
}

const lti_conv_backend lti_conv_ref = {
    .name = "ref",
    .prefers = always,
    .can = always,
    .create = ref_create,
    .free = ref_free,
    .scratch = ref_scratch,
    .packed = ref_packed,
    .pack = ref_pack,
    .unpack = ref_unpack,
    .run = ref_run,
};
