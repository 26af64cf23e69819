/* pooling.c - pooling's windows: checked while recording, walked over while running.
 *
 * Tasks are ranges of rows of all images, cut by the size of the problem. Rows are independent also in the gradients,
 * for every number is gathered (kernels.def): nothing is added to from two sides. */
#include "autograd/ops/pooling.h"

/* Of kernels and strides: products stay whole numbers in a float's 24 bits, which the taps of max_pool need. */
static const int64_t MOST = 1 << 12;

void lt_pool_config_init(lt_pool_config *config)
{
    *config = (lt_pool_config){.size = sizeof *config, .kernel = {2, 2}, .count_pad = true};
}

static const char *fault_of(const lt_pool_config *c)
{
    if (c->size != sizeof *c) return "call lt_pool_config_init first";
    for (int k = 0; k < 2; k++) {
        if (c->kernel[k] < 1 || c->kernel[k] > MOST) return "kernel is to be 1 to 4096";
        if (c->stride[k] < 0 || c->stride[k] > MOST) return "stride is to be 1 to 4096, or 0 for the kernel's";
        if (c->pad[k] < 0 || c->pad[k] > c->kernel[k] / 2) return "pad is to be at most half the kernel";
    }
    return NULL;
}

lt_t lti_pool_emit(const lti_op *op, lt_t x, const lt_pool_config *config)
{
    lt_pool_config c;
    lt_pool_config_init(&c);
    if (config) c = *config;
    const char *fault = fault_of(&c);
    if (fault && x.graph) return lti_graph_fail(x.graph, LT_EINVAL, "%s: %s", op->name, fault);
    lti_pool_attr attr = {.count_pad = c.count_pad};
    for (int k = 0; k < 2; k++) {
        attr.kernel[k] = c.kernel[k], attr.pad[k] = c.pad[k];
        attr.stride[k] = c.stride[k] ? c.stride[k] : c.kernel[k];
    }
    return lti_emit(op, 1, &x, &attr, sizeof attr);
}

bool lti_pool_shape(lti_shaper *s)
{
    char dims[LTI_DIMS_TEXT];
    const lti_pool_attr *attr = s->attr;
    const lti_value *x = s->in[0];
    if (!lti_f32_inputs(s, 0, 1)) return false;
    if (x->rank != 4) return lti_shape_fail(s, "x %s: it is [B,H,W,C]", lti_dims(x, dims));
    int64_t out[4] = {x->dim[0], 0, 0, x->dim[3]};
    for (int k = 0; k < 2; k++) {
        int64_t room = x->dim[1 + k] + 2 * attr->pad[k] - attr->kernel[k];
        if (room < 0 || x->dim[1 + k] < 1)
            return lti_shape_fail(s, "x %s: windows of [%lld,%lld] are larger than the padded image", lti_dims(x, dims),
                                  (long long)attr->kernel[0], (long long)attr->kernel[1]);
        out[1 + k] = room / attr->stride[k] + 1;
    }
    return lti_out_set(s, 0, LT_F32, 4, out);
}

bool lti_pool_grad_shape(lti_shaper *s)
{
    const lti_pool_attr *attr = s->attr;
    const lti_value *dy = s->in[s->n_in - 1];
    return lti_out_set(s, 0, LT_F32, 4, (int64_t[]){dy->dim[0], attr->in[0], attr->in[1], dy->dim[3]});
}

lt_t lti_pool_grad(const lti_op *op, const lti_vjp *v, int n, const lt_t *in)
{
    lti_pool_attr attr = *(const lti_pool_attr *)v->attr;
    for (int k = 0; k < 2; k++) attr.in[k] = lt_dim(v->in[0], 1 + k);
    return lti_emit(op, n, in, &attr, sizeof attr);
}

typedef struct pool_job {
    const lti_step *step;
    lti_window window;
    int64_t rows, of_image, tasks;
    lti_pool_rows run;
} pool_job;

static void pool_task(void *arg, int64_t task, int thread)
{
    const pool_job *job = arg;
    int64_t begin, end;
    (void)thread;
    lti_row_range(job->rows, job->tasks, task, &begin, &end);
    while (begin < end) {
        lti_window s = job->window;
        int64_t image = begin / job->of_image;
        s.begin = begin - image * job->of_image;
        s.end = s.begin + (end - begin) < job->of_image ? s.begin + (end - begin) : job->of_image;
        job->run(job->step, &s, image);
        begin += s.end - s.begin;
    }
}

lt_status lti_pool_run(lti_step *step, bool gradient, lti_pool_rows rows)
{
    const lti_pool_attr *attr = step->attr;
    const int64_t *out = step->out[0].dim, *in = step->in[step->n_in - 1].dim;
    const int64_t *x = gradient ? out : in, *y = gradient ? in : out;
    pool_job job = {.step = step, .run = rows, .rows = out[0] * out[1], .of_image = out[1]};
    job.window = (lti_window){.h = x[1], .w = x[2], .c = x[3], .oh = y[1], .ow = y[2], .dilation = {1, 1}};
    for (int k = 0; k < 2; k++) {
        job.window.kernel[k] = attr->kernel[k];
        job.window.stride[k] = attr->stride[k];
        job.window.pad[k] = attr->pad[k];
    }
    int64_t work = x[0] * x[1] * x[2] * x[3]; /* images of one row are as much work as they read */
    job.tasks = job.rows ? lti_row_tasks(job.rows, work / job.rows + 1, 256) : 0;
    lti_par(job.tasks, pool_task, &job);
    return LT_OK;
}
