/* conv2d.c - y[b,oy,ox,o] = sum over taps and the channels i of o's group of x[b, oy s - p + ky d, ox s - p + kx d, i]
 * w[o,i,ky,kx], where that pixel exists. As in PyTorch it is a correlation: the filters are not turned round.
 *
 * Linear in both: dx sends dy back through the same taps, dw[o,i,ky,kx] = sum over b, oy, ox of dy x. Each is an op of
 * its own, so that a first layer whose images need no gradient does not pay for one. The products are
 * kernels/conv.h's. */
#include "autograd/ops/elementwise.h"
#include "kernels/conv.h"
#include "lathe/images.h"

extern const lti_op lti_op_conv2d_data_grad, lti_op_conv2d_weight_grad;

/* in[2]: what the gradient cannot see: h and w of x for dx, kh and kw for dw. */
typedef struct conv_attr {
    int64_t stride[2], pad[2], dilation[2], groups, in[2];
} conv_attr;

/* Of strides, filters' sizes and so on: beyond it products with the size of an image could overflow. */
static const int64_t MOST = 1 << 20;

/* From x [b, h, w, i] and w [o, i / groups, kh, kw]. */
static lti_conv_shape shape_of(const conv_attr *attr, const int64_t *x, const int64_t *w)
{
    lti_conv_shape c = {.b = x[0], .h = x[1], .w = x[2], .i = x[3], .o = w[0], .kh = w[2], .kw = w[3]};
    c.groups = attr->groups;
    for (int k = 0; k < 2; k++)
        c.stride[k] = attr->stride[k], c.pad[k] = attr->pad[k], c.dilation[k] = attr->dilation[k];
    c.oh = lti_conv_outputs(&c, 0, c.h);
    c.ow = lti_conv_outputs(&c, 1, c.w);
    return c;
}

static bool conv_shape(lti_shaper *s)
{
    char a[LTI_DIMS_TEXT], b[LTI_DIMS_TEXT];
    const conv_attr *attr = s->attr;
    const lti_value *x = s->in[0], *w = s->in[1];
    if (!lti_f32_inputs(s, 0, 2)) return false;
    if (x->rank != 4 || w->rank != 4)
        return lti_shape_fail(s, "x %s with w %s: they are [B,H,W,I] and [O,I/groups,KH,KW]", lti_dims(x, a),
                              lti_dims(w, b));
    for (int i = 0; i < 7; i++)
        if ((i < 4 ? w->dim[i] : x->dim[i - 3]) < 1)
            return lti_shape_fail(s, "x %s with w %s: an axis is empty", lti_dims(x, a), lti_dims(w, b));
    if (x->dim[3] % attr->groups || w->dim[1] != x->dim[3] / attr->groups || w->dim[0] % attr->groups)
        return lti_shape_fail(s, "x %s with w %s: %lld groups of %lld channels are not %lld, or do not divide %lld",
                              lti_dims(x, a), lti_dims(w, b), (long long)attr->groups, (long long)w->dim[1],
                              (long long)x->dim[3], (long long)w->dim[0]);
    lti_conv_shape c = {0};
    if (w->dim[2] <= MOST && w->dim[3] <= MOST) c = shape_of(attr, x->dim, w->dim);
    if (c.oh < 1 || c.ow < 1)
        return lti_shape_fail(s, "x %s with w %s: the filter is larger than the padded image", lti_dims(x, a),
                              lti_dims(w, b));
    return lti_out_set(s, 0, LT_F32, 4, (int64_t[]){c.b, c.oh, c.ow, c.o});
}

static void conv_vjp(lti_vjp *v)
{
    conv_attr attr = *(const conv_attr *)v->attr;
    lt_t x = v->in[0], w = v->in[1], dy = v->dy[0];
    if (v->need[0]) {
        attr.in[0] = lt_dim(x, 1), attr.in[1] = lt_dim(x, 2);
        v->dx[0] = lti_emit(&lti_op_conv2d_data_grad, 2, (lt_t[]){dy, w}, &attr, sizeof attr);
    }
    if (v->need[1]) {
        attr.in[0] = lt_dim(w, 2), attr.in[1] = lt_dim(w, 3);
        v->dx[1] = lti_emit(&lti_op_conv2d_weight_grad, 2, (lt_t[]){x, dy}, &attr, sizeof attr);
    }
}

static void conv_release(lti_step *step)
{
    lti_conv_free(step->ctx, step->state);
    step->state = NULL;
}

static lt_status prepare(lti_step *step, lti_conv_kind kind, const lti_arg *x, const lti_arg *w)
{
    lti_conv_shape shape = shape_of(step->attr, x->dim, w->dim);
    lti_conv *conv;
    LTI_TRY(lti_conv_create(step->ctx, &shape, kind, &conv));
    step->state = conv;
    step->scratch_bytes = lti_conv_scratch(conv);
    return LT_OK;
}

static lt_status conv_prepare(lti_step *step)
{
    return prepare(step, LTI_CONV_FORWARD, &step->in[0], &step->in[1]);
}

static lt_status conv_run(lti_step *step)
{
    return lti_conv_run(step->state, step->in[0].data, step->in[1].data, step->out[0].data, step->scratch);
}

/* Of x: dy, w -> dx. */
static bool data_shape(lti_shaper *s)
{
    const conv_attr *attr = s->attr;
    int64_t i = s->in[1]->dim[1] * attr->groups;
    return lti_out_set(s, 0, LT_F32, 4, (int64_t[]){s->in[0]->dim[0], attr->in[0], attr->in[1], i});
}

static lt_status data_prepare(lti_step *step)
{
    return prepare(step, LTI_CONV_DATA, &step->out[0], &step->in[1]);
}

/* Of w: x, dy -> dw. */
static bool weight_shape(lti_shaper *s)
{
    const conv_attr *attr = s->attr;
    int64_t o = s->in[1]->dim[3], i = s->in[0]->dim[3] / attr->groups;
    return lti_out_set(s, 0, LT_F32, 4, (int64_t[]){o, i, attr->in[0], attr->in[1]});
}

static lt_status weight_prepare(lti_step *step)
{
    return prepare(step, LTI_CONV_WEIGHT, &step->in[0], &step->out[0]);
}

const lti_op lti_op_conv2d = {
    .name = "conv2d",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .shape = conv_shape,
    .vjp = conv_vjp,
    .prepare = conv_prepare,
    .run = conv_run,
    .release = conv_release,
};

const lti_op lti_op_conv2d_data_grad = {
    .name = "conv2d_data_grad",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .shape = data_shape,
    .prepare = data_prepare,
    .run = conv_run,
    .release = conv_release,
};

const lti_op lti_op_conv2d_weight_grad = {
    .name = "conv2d_weight_grad",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .shape = weight_shape,
    .prepare = weight_prepare,
    .run = conv_run,
    .release = conv_release,
};

void lt_conv_config_init(lt_conv_config *config)
{
    *config = (lt_conv_config){.size = sizeof *config, .stride = {1, 1}, .dilation = {1, 1}, .groups = 1};
}

static const char *fault_of(const lt_conv_config *c)
{
    if (c->size != sizeof *c) return "call lt_conv_config_init first";
    for (int k = 0; k < 2; k++) {
        if (c->stride[k] < 1 || c->stride[k] > MOST) return "stride is to be 1 to 1048576";
        if (c->dilation[k] < 1 || c->dilation[k] > MOST) return "dilation is to be 1 to 1048576";
        if (c->pad[k] < 0 || c->pad[k] > MOST) return "pad is to be 0 to 1048576";
    }
    return c->groups < 1 || c->groups > MOST ? "groups is to be 1 to 1048576" : NULL;
}

lt_t lt_conv2d(lt_t x, lt_t w, const lt_conv_config *config)
{
    lt_conv_config c;
    lt_conv_config_init(&c);
    if (config) c = *config;
    const char *fault = fault_of(&c);
    if (fault && x.graph) return lti_graph_fail(x.graph, LT_EINVAL, "conv2d: %s", fault);
    conv_attr attr = {.groups = c.groups};
    for (int k = 0; k < 2; k++) attr.stride[k] = c.stride[k], attr.pad[k] = c.pad[k], attr.dilation[k] = c.dilation[k];
    return lti_emit(&lti_op_conv2d, 2, (lt_t[]){x, w}, &attr, sizeof attr);
}
