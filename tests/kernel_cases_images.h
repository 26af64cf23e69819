/* kernel_cases_images.h - cases of test_kernels.c for kernels over windows of an image. Part of that file.
 *
 * 3 x 4 pixels of n/12 channels, so that all tails occur; windows of several sizes and steps, with borders. */

static lti_window window_of(const point *p, bool pooling)
{
    static const int64_t kernels[][2] = {{3, 3}, {2, 2}, {1, 3}, {3, 2}, {3, 3}};
    static const int64_t pads[][2] = {{1, 1}, {0, 0}, {0, 1}, {1, 1}, {0, 1}};
    int kind = p->turn % 5, step = p->turn / 2 % 2, wide = !pooling && p->turn % 3 == 0;
    lti_window s = {.h = 3, .w = 4, .c = p->n / 12};
    for (int k = 0; k < 2; k++) {
        s.kernel[k] = kernels[kind][k];
        s.stride[k] = 1 + step;
        s.dilation[k] = k == 1 && wide ? 2 : 1;
        s.pad[k] = pads[kind][k] + (s.dilation[k] > 1);
    }
    s.oh = (s.h + 2 * s.pad[0] - s.kernel[0]) / s.stride[0] + 1;
    s.ow = (s.w + 2 * s.pad[1] - s.dilation[1] * (s.kernel[1] - 1) - 1) / s.stride[1] + 1;
    if (s.ow > 4) s.ow = 4; /* the output too is to fit into n */
    if (s.oh > 3) s.oh = 3;
    s.begin = p->turn % 7 == 0;
    s.end = s.oh;
    return s;
}

/* All of dx. */
static lti_window over_images(const point *p, bool pooling)
{
    lti_window s = window_of(p, pooling);
    s.end = s.h;
    return s;
}

static void run_depthwise(const lti_kernels *k, const point *p, result *o)
{
    lti_window s = window_of(p, false);
    k->depthwise(&s, p->x[0], p->x[1], o->y[0]);
    tolerance(o, 2e-6, 4e-6 * p->size * p->size);
}

static void run_depthwise_data(const lti_kernels *k, const point *p, result *o)
{
    lti_window s = over_images(p, false);
    k->depthwise_data(&s, p->x[0], p->x[1], o->y[0]);
    tolerance(o, 2e-6, 4e-6 * p->size * p->size);
}

static void run_depthwise_weight(const lti_kernels *k, const point *p, result *o)
{
    lti_window s = window_of(p, false);
    copy_in(p, o->y[0], 2);
    k->depthwise_weight(&s, p->x[0], p->x[1], o->y[0]);
    tolerance(o, 2e-6, 4e-6 * p->size * p->size);
}

static void run_max_pool(const lti_kernels *k, const point *p, result *o)
{
    lti_window s = window_of(p, true);
    k->max_pool(&s, p->x[0], o->y[0], p->turn % 4 ? (int32_t *)(void *)o->bits : NULL);
}

/* The indices are ref's, of other numbers. */
static void run_max_pool_grad(const lti_kernels *k, const point *p, result *o)
{
    static int32_t index[ROOM];
    static R y[ROOM];
    lti_window s = window_of(p, true), all = over_images(p, true);
    s.begin = 0;
    lti_k_max_pool_ref(&s, p->x[1], y, index);
    k->max_pool_grad(&all, index, p->x[0], o->y[0]);
    tolerance(o, 1e-6, 1e-6 * p->size);
}

static void run_avg_pool(const lti_kernels *k, const point *p, result *o)
{
    lti_window s = window_of(p, true);
    k->avg_pool(&s, p->turn % 2 ? (R)0.25 : 0, p->x[0], o->y[0]);
    tolerance(o, 1e-6, 1e-6 * p->size);
}

static void run_avg_pool_grad(const lti_kernels *k, const point *p, result *o)
{
    lti_window s = over_images(p, true);
    k->avg_pool_grad(&s, p->turn % 2 ? (R)0.25 : 0, p->x[0], o->y[0]);
    tolerance(o, 1e-6, 1e-6 * p->size);
}
