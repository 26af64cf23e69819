/* conv_onednn.c - convolution of a few images by oneDNN, versions 2.6 and 3.x.
 *
 * Images stay channels last (nhwc); how filters lie is oneDNN's choice, and a reorder, made once too, packs them before
 * a run or unpacks their gradient after it. Measured on Zen 5 with 2.6.3, one thread: channels last are as fast as
 * oneDNN's blocked layouts (230 - 310 GFLOP/s of about 300), and a single image as fast as many. Its first choice for
 * the forward, brgconv, is half as fast as the next one on 1 channel and 5 % slower on 16: for so few the next is taken,
 * 1 x 1 apart. The gradient of x of filters of one channel each takes twice as long as their forward: with stride 1 it
 * is the forward of dy with the filters turned round.
 *
 * Made once: primitives and slots (onednn_parts.h). Setting the address of padded filters clears their padding, so the
 * address all chunks share is set before they start. */
#include "kernels/conv_backend.h"
#include "kernels/onednn_parts.h"

#include <string.h>

enum { FEW_CHANNELS = 16 };

/* src, filters and dst, whichever of them are gradients. */
typedef struct problem {
    descriptor src, filters, dst;
    dnnl_dims_t stride, dilation, pad;
    dnnl_primitive_attr_t attr;
} problem;

typedef struct onednn_kernel {
    lti_conv_kind kind;
    int64_t turned; /* taps of filters that are turned round before they are packed; 0: they are not */
    int64_t filters;
    dnnl_primitive_t primitive, reorder; /* reorder: NULL when packed filters lie as the caller's */
    dnnl_primitive_desc_t desc;          /* whose packing other kernels take */
    dnnl_memory_t plain, packed;         /* of the reorder */
    onednn_slots slots;
    size_t packed_bytes;
} onednn_kernel;

/* ---- Descriptors ---- */

static dnnl_status_t describe(descriptor *d, int rank, const dnnl_dims_t dims, dnnl_format_tag_t tag)
{
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_memory_desc_create_with_tag(d, rank, dims, dnnl_f32, tag);
#else
    return dnnl_memory_desc_init_by_tag(d, rank, dims, dnnl_f32, tag);
#endif
}

/* [o, i, kh, kw], with an axis of groups in front where there are several. */
static dnnl_status_t describe_filters(const lti_conv_shape *s, bool any, descriptor *d)
{
    dnnl_dims_t whole = {s->o, s->i, s->kh, s->kw};
    dnnl_dims_t parts = {s->groups, s->o / s->groups, s->i / s->groups, s->kh, s->kw};
    if (s->groups == 1) return describe(d, 4, whole, any ? dnnl_format_tag_any : dnnl_oihw);
    return describe(d, 5, parts, any ? dnnl_format_tag_any : dnnl_goihw);
}

static described queried(dnnl_primitive_desc_t pd, dnnl_query_t what)
{
    return dnnl_primitive_desc_query_md(pd, what, 0);
}

static described packing_of(const onednn_kernel *k)
{
    return queried(k->desc, k->kind == LTI_CONV_WEIGHT ? dnnl_query_diff_weights_md : dnnl_query_weights_md);
}

static dnnl_status_t describe_problem(const lti_conv_shape *s, const onednn_kernel *like, problem *p)
{
    dnnl_dims_t src = {s->b, s->i, s->h, s->w}, dst = {s->b, s->o, s->oh, s->ow};
    dnnl_status_t status = dnnl_primitive_attr_create(&p->attr);
    if (status == dnnl_success) status = dnnl_primitive_attr_set_scratchpad_mode(p->attr, dnnl_scratchpad_mode_user);
    if (status == dnnl_success) status = describe(&p->src, 4, src, dnnl_nhwc);
    if (status == dnnl_success) status = describe(&p->dst, 4, dst, dnnl_nhwc);
#if DNNL_VERSION_MAJOR >= 3
    if (status == dnnl_success && like) return dnnl_memory_desc_clone(&p->filters, packing_of(like));
#else
    if (status == dnnl_success && like) p->filters = *packing_of(like);
#endif
    if (status == dnnl_success && !like) status = describe_filters(s, true, &p->filters);
    return status;
}

/* ---- Primitives ---- */

static bool is_jit(dnnl_primitive_desc_t pd)
{
    const char *name = NULL;
    return dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &name) == dnnl_success && name &&
           !strncmp(name, "jit", 3);
}

#if DNNL_VERSION_MAJOR >= 3
static dnnl_status_t describe_forward(const problem *p, bool few, dnnl_primitive_desc_t *pd)
{
    dnnl_status_t status = dnnl_convolution_forward_primitive_desc_create(
        pd, engine, dnnl_forward_training, dnnl_convolution_direct, p->src, p->filters, NULL, p->dst, p->stride,
        p->dilation, p->pad, p->pad, p->attr);
    dnnl_primitive_desc_t first = NULL; /* a clone: it cannot be moved on, only the original can */
    if (status != dnnl_success || !few || is_jit(*pd) || dnnl_primitive_desc_clone(&first, *pd) != dnnl_success)
        return status;
    bool found = false;
    while (!found && dnnl_primitive_desc_next_impl(*pd) == dnnl_success) found = is_jit(*pd);
    dnnl_primitive_desc_destroy(found ? first : *pd);
    if (!found) *pd = first;
    return status;
}

static dnnl_status_t describe_gradient(const problem *p, lti_conv_kind kind, dnnl_primitive_desc_t forward,
                                       dnnl_primitive_desc_t *pd)
{
    if (kind == LTI_CONV_DATA)
        return dnnl_convolution_backward_data_primitive_desc_create(pd, engine, dnnl_convolution_direct, p->src,
                                                                    p->filters, p->dst, p->stride, p->dilation, p->pad,
                                                                    p->pad, forward, p->attr);
    return dnnl_convolution_backward_weights_primitive_desc_create(pd, engine, dnnl_convolution_direct, p->src,
                                                                   p->filters, NULL, p->dst, p->stride, p->dilation,
                                                                   p->pad, p->pad, forward, p->attr);
}
#else
static dnnl_status_t describe_forward(const problem *p, bool few, dnnl_primitive_desc_t *pd)
{
    dnnl_convolution_desc_t op;
    dnnl_primitive_desc_iterator_t each = NULL;
    dnnl_status_t status =
        dnnl_dilated_convolution_forward_desc_init(&op, dnnl_forward_training, dnnl_convolution_direct, &p->src,
                                                   &p->filters, NULL, &p->dst, p->stride, p->dilation, p->pad, p->pad);
    if (status == dnnl_success) status = dnnl_primitive_desc_create(pd, &op, p->attr, engine, NULL);
    if (status != dnnl_success || !few || is_jit(*pd)) return status;
    if (dnnl_primitive_desc_iterator_create(&each, &op, p->attr, engine, NULL) != dnnl_success) return status;
    do {
        dnnl_primitive_desc_t next = dnnl_primitive_desc_iterator_fetch(each);
        bool found = next && is_jit(next);
        if (next) dnnl_primitive_desc_destroy(found ? *pd : next);
        if (found) *pd = next;
        if (found) break;
    } while (dnnl_primitive_desc_iterator_next(each) == dnnl_success);
    dnnl_primitive_desc_iterator_destroy(each);
    return status;
}

static dnnl_status_t describe_gradient(const problem *p, lti_conv_kind kind, dnnl_primitive_desc_t forward,
                                       dnnl_primitive_desc_t *pd)
{
    dnnl_convolution_desc_t op;
    dnnl_status_t status =
        kind == LTI_CONV_DATA
            ? dnnl_dilated_convolution_backward_data_desc_init(&op, dnnl_convolution_direct, &p->src, &p->filters,
                                                               &p->dst, p->stride, p->dilation, p->pad, p->pad)
            : dnnl_dilated_convolution_backward_weights_desc_init(&op, dnnl_convolution_direct, &p->src, &p->filters,
                                                                  NULL, &p->dst, p->stride, p->dilation, p->pad,
                                                                  p->pad);
    return status != dnnl_success ? status : dnnl_primitive_desc_create(pd, &op, p->attr, engine, forward);
}
#endif

/* The gradients of a convolution take the forward as a hint: with filters as it likes them, whatever theirs will be. */
static dnnl_status_t describe_hint(const lti_conv_shape *s, const problem *p, dnnl_primitive_desc_t *pd)
{
    problem hint = *p;
    memset(&hint.filters, 0, sizeof hint.filters);
    dnnl_status_t status = describe_filters(s, true, &hint.filters);
    if (status == dnnl_success) status = describe_forward(&hint, false, pd);
    forget(&hint.filters);
    return status;
}

static dnnl_status_t create_primitive(onednn_kernel *k, const lti_conv_shape *s, const onednn_kernel *like)
{
    problem p;
    memset(&p, 0, sizeof p);
    for (int i = 0; i < 2; i++) p.stride[i] = s->stride[i], p.pad[i] = s->pad[i], p.dilation[i] = s->dilation[i] - 1;
    dnnl_primitive_desc_t hint = NULL;
    dnnl_status_t status = describe_problem(s, like, &p);
    if (status == dnnl_success && k->kind == LTI_CONV_FORWARD)
        status = describe_forward(&p, s->i / s->groups <= FEW_CHANNELS && s->kh * s->kw > 1, &k->desc);
    else if (status == dnnl_success && (status = describe_hint(s, &p, &hint)) == dnnl_success)
        status = describe_gradient(&p, k->kind, hint, &k->desc);
    if (status == dnnl_success) status = dnnl_primitive_create(&k->primitive, k->desc);
    if (hint) dnnl_primitive_desc_destroy(hint);
    if (p.attr) dnnl_primitive_attr_destroy(p.attr);
    forget(&p.src);
    forget(&p.filters);
    forget(&p.dst);
    return status;
}

/* Between the caller's filters and packed ones. */
static dnnl_status_t create_reorder(onednn_kernel *k, const lti_conv_shape *s)
{
    descriptor plain;
    memset(&plain, 0, sizeof plain);
    dnnl_primitive_desc_t pd = NULL;
    described packed = packing_of(k);
    bool back = k->kind == LTI_CONV_WEIGHT;
    dnnl_status_t status = describe_filters(s, false, &plain);
    if (status == dnnl_success)
        status = dnnl_reorder_primitive_desc_create(&pd, back ? packed : DESCRIBED(plain), engine,
                                                    back ? DESCRIBED(plain) : packed, engine, NULL);
    if (status == dnnl_success) status = dnnl_primitive_create(&k->reorder, pd);
    if (status == dnnl_success) status = dnnl_memory_create(&k->plain, DESCRIBED(plain), engine, DNNL_MEMORY_NONE);
    if (status == dnnl_success) status = dnnl_memory_create(&k->packed, packed, engine, DNNL_MEMORY_NONE);
    k->packed_bytes = dnnl_memory_desc_get_size(packed);
    if (pd) dnnl_primitive_desc_destroy(pd);
    forget(&plain);
    return status;
}

static dnnl_status_t create_slots(onednn_kernel *k)
{
    static const dnnl_query_t queries[][3] = {
        [LTI_CONV_FORWARD] = {dnnl_query_src_md, dnnl_query_weights_md, dnnl_query_dst_md},
        [LTI_CONV_DATA] = {dnnl_query_diff_dst_md, dnnl_query_weights_md, dnnl_query_diff_src_md},
        [LTI_CONV_WEIGHT] = {dnnl_query_src_md, dnnl_query_diff_dst_md, dnnl_query_diff_weights_md},
    };
    described all[MEMORIES];
    for (int i = A; i <= C; i++) all[i] = queried(k->desc, queries[k->kind][i]);
    all[SCRATCH] = queried(k->desc, dnnl_query_scratchpad_md);
    return slots_fill(&k->slots, all);
}

/* ---- The backend ---- */

static bool always(const lti_conv_shape *s, lti_conv_kind kind)
{
    (void)s;
    (void)kind;
    return true;
}

static void onednn_free(lt_ctx *ctx, void *kernel)
{
    onednn_kernel *k = kernel;
    if (!k) return;
    if (k->plain) dnnl_memory_destroy(k->plain);
    if (k->packed) dnnl_memory_destroy(k->packed);
    if (k->reorder) dnnl_primitive_destroy(k->reorder);
    if (k->primitive) dnnl_primitive_destroy(k->primitive);
    if (k->desc) dnnl_primitive_desc_destroy(k->desc);
    slots_free(ctx, &k->slots);
    lti_free(ctx, k);
}

/* The forward that is this gradient of x, when there is one. */
static bool turn(lti_conv_shape *s)
{
    lti_conv_shape from = *s;
    const int64_t taps[2] = {s->kh, s->kw};
    if (s->groups != s->i || s->groups != s->o) return false;
    for (int k = 0; k < 2; k++) {
        s->pad[k] = (taps[k] - 1) * s->dilation[k] - s->pad[k];
        if (s->stride[k] != 1 || s->pad[k] < 0) {
            *s = from;
            return false;
        }
    }
    s->h = from.oh, s->w = from.ow;
    s->oh = from.h, s->ow = from.w;
    return true;
}

static lt_status onednn_create(lt_ctx *ctx, const lti_conv_shape *shape, lti_conv_kind kind, int slots,
                               const void *like, void **kernel)
{
    lti_conv_shape turned = *shape, *s = &turned;
    bool turns = kind == LTI_CONV_DATA && turn(&turned);
    if (!have_engine()) return lti_fail(ctx, LT_EPROVIDER, "conv: oneDNN has no CPU engine here; use LT_CONV=ref");
    onednn_kernel *k = lti_alloc(ctx, sizeof *k);
    if (!k) return LT_ENOMEM;
    k->kind = turns ? LTI_CONV_FORWARD : kind;
    k->turned = turns ? s->kh * s->kw : 0;
    k->filters = s->i;
    if (slots_alloc(ctx, slots, &k->slots) != LT_OK) {
        onednn_free(ctx, k);
        return LT_ENOMEM;
    }
    dnnl_status_t status = create_primitive(k, s, like);
    if (status == dnnl_success) status = create_slots(k);
    if (status == dnnl_success) status = create_reorder(k, s);
    if (status != dnnl_success) {
        onednn_free(ctx, k);
        if (status == dnnl_out_of_memory)
            return lti_fail(ctx, LT_ENOMEM, "conv: oneDNN is out of memory for %lld images of [%lld,%lld,%lld]",
                            (long long)s->b, (long long)s->h, (long long)s->w, (long long)s->i);
        return lti_fail(ctx, LT_EPROVIDER,
                        "conv: oneDNN refuses [%lld,%lld,%lld,%lld] with %lld filters (status %d); use LT_CONV=ref",
                        (long long)s->b, (long long)s->h, (long long)s->w, (long long)s->i, (long long)s->o,
                        (int)status);
    }
    *kernel = k;
    return LT_OK;
}

static size_t onednn_scratch(const void *kernel)
{
    const onednn_kernel *k = kernel;
    size_t turned = (size_t)(k->turned * k->filters) * sizeof(float);
    return turned > k->slots.scratch ? turned : k->slots.scratch;
}

static size_t onednn_packed(const void *kernel)
{
    return ((const onednn_kernel *)kernel)->packed_bytes;
}

static lt_status point(dnnl_memory_t memory, const void *data)
{
    void *now = NULL;
    if (dnnl_memory_get_data_handle(memory, &now) == dnnl_success && now == data) return LT_OK;
    return dnnl_memory_set_data_handle(memory, (void *)data) == dnnl_success ? LT_OK : LT_EPROVIDER;
}

static lt_status reorder(onednn_kernel *k)
{
    bool back = k->kind == LTI_CONV_WEIGHT;
    const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, back ? k->packed : k->plain},
                                    {DNNL_ARG_TO, back ? k->plain : k->packed}};
    return dnnl_primitive_execute(k->reorder, k->slots.streams[0], 2, args) == dnnl_success ? LT_OK : LT_EPROVIDER;
}

static lt_status onednn_pack(void *kernel, const lt_real *filters, lt_real *packed, void *scratch)
{
    onednn_kernel *k = kernel;
    for (int slot = 0; slot < k->slots.count; slot++) LTI_TRY(point(k->slots.memories[slot][B], packed));
    if (!filters) return LT_OK;
    float *turned = scratch;
    for (int64_t i = 0; i < k->turned * k->filters; i += k->turned)
        for (int64_t t = 0; t < k->turned; t++) turned[i + t] = filters[i + k->turned - 1 - t];
    LTI_TRY(point(k->packed, packed));
    LTI_TRY(point(k->plain, k->turned ? turned : filters));
    return reorder(k);
}

static lt_status onednn_unpack(void *kernel, lt_real *packed, lt_real *filters, void *scratch)
{
    onednn_kernel *k = kernel;
    (void)scratch;
    LTI_TRY(point(k->packed, packed));
    LTI_TRY(point(k->plain, filters));
    return reorder(k);
}

static lt_status onednn_run(void *kernel, int slot, const lt_real *a, const lt_real *b, lt_real *c, void *scratch)
{
    static const int kinds[][MEMORIES] = {
        [LTI_CONV_FORWARD] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD},
        [LTI_CONV_DATA] = {DNNL_ARG_DIFF_DST, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_SRC, DNNL_ARG_SCRATCHPAD},
        [LTI_CONV_WEIGHT] = {DNNL_ARG_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_SCRATCHPAD},
    };
    onednn_kernel *k = kernel;
    const void *const data[MEMORIES] = {a, b, c, scratch};
    dnnl_exec_arg_t args[MEMORIES];
    dnnl_memory_t *memory = k->slots.memories[slot];
    int count = k->slots.scratch ? MEMORIES : SCRATCH;
    for (int i = 0; i < count; i++) {
        LTI_TRY(point(memory[i], data[i]));
        args[i] = (dnnl_exec_arg_t){kinds[k->kind][i], memory[i]};
    }
    dnnl_status_t status = dnnl_primitive_execute(k->primitive, k->slots.streams[slot], count, args);
    return status == dnnl_success ? LT_OK : LT_EPROVIDER;
}

const lti_conv_backend lti_conv_onednn = {
    .name = "onednn",
    .prefers = always,
    .can = always,
    .create = onednn_create,
    .free = onednn_free,
    .scratch = onednn_scratch,
    .packed = onednn_packed,
    .pack = onednn_pack,
    .unpack = onednn_unpack,
    .run = onednn_run,
};
