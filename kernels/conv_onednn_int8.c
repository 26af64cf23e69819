/* conv_onednn_int8.c - int8 convolution of a few images by oneDNN 2.x: u8s8 and s8s8, output scales and what follows
 * them fused.
 *
 * Images are channels last. The bias is a float in steps of the sum, which oneDNN adds before it scales; a sum of codes
 * is its post-op `sum`, of floats its post-op `binary`. Filters are packed once. Machines without VNNI are left to
 * plain C: there oneDNN adds pairs of products in 16 bits, which saturate, and its codes would not be those that
 * training saw. Version 3 takes scales in another way (memory at run time) and is left to plain C until somebody has it
 * to test. */
#include "kernels/conv_int8.h"

#include "kernels/onednn_parts.h"

#if DNNL_VERSION_MAJOR < 3

enum { X, FILTERS, BIAS, Y, ADD, SPACE, ARGS };

typedef struct int8_kernel {
    dnnl_primitive_t primitive;
    dnnl_primitive_desc_t desc;
    int count, slots;
    bool adds;
    size_t scratch;
    dnnl_memory_t filters, bias; /* filters: oneDNN's own memory; bias: the caller's */
    dnnl_stream_t *streams;
    dnnl_memory_t (*memories)[ARGS];
} int8_kernel;

static bool is_exact(void)
{
    unsigned isa = (unsigned)dnnl_get_effective_cpu_isa();
    unsigned wide = dnnl_cpu_isa_avx512_core_vnni, narrow = dnnl_cpu_isa_avx2_vnni;
    return (isa & wide) == wide || (isa & narrow) == narrow;
}

static dnnl_status_t images(descriptor *d, int64_t b, int64_t c, int64_t h, int64_t w, dnnl_data_type_t type)
{
    return dnnl_memory_desc_init_by_tag(d, 4, (dnnl_dims_t){b, c, h, w}, type, dnnl_nhwc);
}

static dnnl_status_t filters_of(const lti_conv_shape *s, bool any, descriptor *d)
{
    dnnl_dims_t whole = {s->o, s->i, s->kh, s->kw};
    dnnl_dims_t parts = {s->groups, s->o / s->groups, s->i / s->groups, s->kh, s->kw};
    if (s->groups == 1)
        return dnnl_memory_desc_init_by_tag(d, 4, whole, dnnl_s8, any ? dnnl_format_tag_any : dnnl_oihw);
    return dnnl_memory_desc_init_by_tag(d, 5, parts, dnnl_s8, any ? dnnl_format_tag_any : dnnl_goihw);
}

/* What happens to a sum: scales, addend, ReLU. */
static dnnl_status_t attributes(const lti_conv_int8_shape *shape, const float *scale, dnnl_primitive_attr_t *attr)
{
    const lti_conv_shape *s = &shape->conv;
    dnnl_post_ops_t ops = NULL;
    descriptor add;
    dnnl_status_t status = dnnl_primitive_attr_create(attr);
    if (status == dnnl_success) status = dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user);
    if (status == dnnl_success) status = dnnl_primitive_attr_set_output_scales(*attr, s->o, 1 << 1, scale);
    if (status == dnnl_success) status = dnnl_post_ops_create(&ops);
    if (status == dnnl_success && shape->add == LTI_ADD_CODES)
        status = dnnl_post_ops_append_sum_v2(ops, shape->ratio, dnnl_u8);
    if (status == dnnl_success && shape->add == LTI_ADD_REALS) {
        status = images(&add, s->b, s->o, s->oh, s->ow, dnnl_f32);
        if (status == dnnl_success) status = dnnl_post_ops_append_binary(ops, dnnl_binary_add, &add);
    }
    if (status == dnnl_success && shape->relu) status = dnnl_post_ops_append_eltwise(ops, 1, dnnl_eltwise_relu, 0, 0);
    if (status == dnnl_success) status = dnnl_primitive_attr_set_post_ops(*attr, ops);
    if (ops) dnnl_post_ops_destroy(ops);
    return status;
}

static dnnl_status_t describe(const lti_conv_int8_shape *shape, const float *scale, dnnl_primitive_desc_t *pd)
{
    const lti_conv_shape *s = &shape->conv;
    descriptor x, w, bias, y;
    dnnl_convolution_desc_t op;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_dims_t stride = {s->stride[0], s->stride[1]}, pad = {s->pad[0], s->pad[1]}, after;
    dnnl_dims_t dilation = {s->dilation[0] - 1, s->dilation[1] - 1};
    const int64_t size[2] = {s->h, s->w}, outputs[2] = {s->oh, s->ow}, taps[2] = {s->kh, s->kw};
    for (int k = 0; k < 2; k++) /* as much as is read: less than `pad` where strides skip the last rows */
        after[k] = (outputs[k] - 1) * s->stride[k] + s->dilation[k] * (taps[k] - 1) + 1 - size[k] - s->pad[k];
    dnnl_status_t status = images(&x, s->b, s->i, s->h, s->w, shape->is_signed ? dnnl_s8 : dnnl_u8);
    if (status == dnnl_success) status = filters_of(s, true, &w);
    if (status == dnnl_success) status = dnnl_memory_desc_init_by_tag(&bias, 1, (dnnl_dims_t){s->o}, dnnl_f32, dnnl_x);
    if (status == dnnl_success) status = images(&y, s->b, s->o, s->oh, s->ow, shape->codes ? dnnl_u8 : dnnl_f32);
    if (status == dnnl_success)
        status = dnnl_dilated_convolution_forward_desc_init(&op, dnnl_forward_inference, dnnl_convolution_direct, &x,
                                                            &w, &bias, &y, stride, dilation, pad, after);
    if (status == dnnl_success) status = attributes(shape, scale, &attr);
    if (status == dnnl_success) status = dnnl_primitive_desc_create(pd, &op, attr, engine, NULL);
    if (attr) dnnl_primitive_attr_destroy(attr);
    return status;
}

static dnnl_status_t pack(int8_kernel *k, const lti_conv_shape *s, const int8_t *filters)
{
    descriptor plain;
    dnnl_memory_t from = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t reorder = NULL;
    described packed = dnnl_primitive_desc_query_md(k->desc, dnnl_query_weights_md, 0);
    dnnl_status_t status = filters_of(s, false, &plain);
    if (status == dnnl_success) status = dnnl_memory_create(&from, &plain, engine, (void *)(uintptr_t)filters);
    if (status == dnnl_success) status = dnnl_memory_create(&k->filters, packed, engine, DNNL_MEMORY_ALLOCATE);
    if (status == dnnl_success) status = dnnl_reorder_primitive_desc_create(&pd, &plain, engine, packed, engine, NULL);
    if (status == dnnl_success) status = dnnl_primitive_create(&reorder, pd);
    const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, k->filters}};
    if (status == dnnl_success) status = dnnl_primitive_execute(reorder, k->streams[0], 2, args);
    if (reorder) dnnl_primitive_destroy(reorder);
    if (pd) dnnl_primitive_desc_destroy(pd);
    if (from) dnnl_memory_destroy(from);
    return status;
}

static dnnl_status_t make_slots(int8_kernel *k)
{
    static const struct {
        dnnl_query_t what;
        int index;
    } queries[ARGS] = {[X] = {dnnl_query_src_md, 0},
                       [Y] = {dnnl_query_dst_md, 0},
                       [ADD] = {dnnl_query_exec_arg_md, DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1},
                       [SPACE] = {dnnl_query_scratchpad_md, 0}};
    dnnl_status_t status = dnnl_success;
    for (int slot = 0; slot < k->slots && status == dnnl_success; slot++) {
        status = dnnl_stream_create(&k->streams[slot], engine, dnnl_stream_default_flags);
        for (int i = 0; i < ARGS && status == dnnl_success; i++) {
            bool wanted = i == X || i == Y || (i == ADD && k->adds) || (i == SPACE && k->scratch);
            if (!wanted) continue;
            described d = dnnl_primitive_desc_query_md(k->desc, queries[i].what, queries[i].index);
            status = dnnl_memory_create(&k->memories[slot][i], d, engine, DNNL_MEMORY_NONE);
        }
    }
    return status;
}

static dnnl_status_t make(int8_kernel *k, const lti_conv_int8_shape *shape, const lti_conv_int8_arrays *arrays)
{
    dnnl_status_t status = describe(shape, arrays->scale, &k->desc);
    if (status != dnnl_success) return status;
    described space = dnnl_primitive_desc_query_md(k->desc, dnnl_query_scratchpad_md, 0);
    k->scratch = space ? dnnl_memory_desc_get_size(space) : 0;
    k->adds = shape->add == LTI_ADD_REALS;
    status = dnnl_primitive_create(&k->primitive, k->desc);
    if (status == dnnl_success) status = make_slots(k);
    if (status == dnnl_success) status = pack(k, &shape->conv, arrays->filters);
    described bias = dnnl_primitive_desc_query_md(k->desc, dnnl_query_weights_md, 1);
    if (status == dnnl_success) status = dnnl_memory_create(&k->bias, bias, engine, (void *)(uintptr_t)arrays->bias);
    return status;
}

void lti_onednn_int8_free(lt_ctx *ctx, void *kernel)
{
    int8_kernel *k = kernel;
    if (!k) return;
    for (int slot = 0; k->memories && k->streams && slot < k->slots; slot++) {
        for (int i = 0; i < ARGS; i++)
            if (k->memories[slot][i]) dnnl_memory_destroy(k->memories[slot][i]);
        if (k->streams[slot]) dnnl_stream_destroy(k->streams[slot]);
    }
    if (k->filters) dnnl_memory_destroy(k->filters);
    if (k->bias) dnnl_memory_destroy(k->bias);
    if (k->primitive) dnnl_primitive_destroy(k->primitive);
    if (k->desc) dnnl_primitive_desc_destroy(k->desc);
    lti_free(ctx, k->memories);
    lti_free(ctx, k->streams);
    lti_free(ctx, k);
}

lt_status lti_onednn_int8_create(lt_ctx *ctx, const lti_conv_int8_shape *shape, const lti_conv_int8_arrays *arrays,
                                 int slots, void **kernel)
{
    *kernel = NULL;
    if (!have_engine() || !is_exact()) return LT_OK;
    int8_kernel *k = lti_alloc(ctx, sizeof *k);
    if (!k) return LT_ENOMEM;
    k->slots = slots;
    k->streams = lti_alloc_array(ctx, (size_t)slots, sizeof *k->streams);
    if (k->streams) k->memories = lti_alloc_array(ctx, (size_t)slots, sizeof *k->memories);
    dnnl_status_t status = k->memories ? make(k, shape, arrays) : dnnl_out_of_memory;
    if (status == dnnl_success) {
        *kernel = k;
        return LT_OK;
    }
    bool own = !k->memories;
    lti_onednn_int8_free(ctx, k);
    if (own) return LT_ENOMEM;
    if (status == dnnl_out_of_memory) return lti_fail(ctx, LT_ENOMEM, "int8 conv: oneDNN is out of memory");
    return LT_OK;
}

size_t lti_onednn_int8_scratch(const void *kernel)
{
    return ((const int8_kernel *)kernel)->scratch;
}

lt_status lti_onednn_int8_run(void *kernel, int slot, const void *x, const float *add, void *y, void *scratch)
{
    int8_kernel *k = kernel;
    dnnl_memory_t *m = k->memories[slot];
    const void *const data[ARGS] = {[X] = x, [Y] = y, [ADD] = add, [SPACE] = scratch};
    dnnl_exec_arg_t args[ARGS] = {{DNNL_ARG_WEIGHTS, k->filters}, {DNNL_ARG_BIAS, k->bias}};
    static const int names[ARGS] = {[X] = DNNL_ARG_SRC,
                                    [Y] = DNNL_ARG_DST,
                                    [ADD] = DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1,
                                    [SPACE] = DNNL_ARG_SCRATCHPAD};
    int count = 2;
    for (int i = 0; i < ARGS; i++) {
        if (!m[i]) continue;
        if (dnnl_memory_set_data_handle(m[i], (void *)(uintptr_t)data[i]) != dnnl_success) return LT_EPROVIDER;
        args[count++] = (dnnl_exec_arg_t){names[i], m[i]};
    }
    dnnl_status_t status = dnnl_primitive_execute(k->primitive, k->streams[slot], count, args);
    return status == dnnl_success ? LT_OK : LT_EPROVIDER;
}

#else

lt_status lti_onednn_int8_create(lt_ctx *ctx, const lti_conv_int8_shape *shape, const lti_conv_int8_arrays *arrays,
                                 int slots, void **kernel)
{
    (void)ctx, (void)shape, (void)arrays, (void)slots;
    *kernel = NULL;
    return LT_OK;
}

void lti_onednn_int8_free(lt_ctx *ctx, void *kernel)
{
    (void)ctx, (void)kernel;
}

size_t lti_onednn_int8_scratch(const void *kernel)
{
    (void)kernel;
    return 0;
}

lt_status lti_onednn_int8_run(void *kernel, int slot, const void *x, const float *add, void *y, void *scratch)
{
    (void)kernel, (void)slot, (void)x, (void)add, (void)y, (void)scratch;
    return LT_EPROVIDER;
}

#endif
