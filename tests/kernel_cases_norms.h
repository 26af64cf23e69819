/* kernel_cases_norms.h - cases of test_kernels.c for the passes of batch and group norm, and running averages. Part of
 * that file. */

/* 1 to 40 channels; the sums start out as they must be kept. */
static int64_t channels(const point *p)
{
    const int64_t counts[] = {16, 1, 8, 40, 3, 17, 32, 24, 15};
    return counts[p->turn % 9];
}

static void doubles_out(result *o, int64_t n, const double *sums)
{
    for (int64_t i = 0; i < n; i++) o->y[1][i] = (R)sums[i];
}

static void run_channel_moments(const lti_kernels *k, const point *p, result *o)
{
    double sums[80] = {3};
    int64_t n = channels(p);
    k->channel_moments(p->n / n, n, p->x[0], p->x[1], sums);
    doubles_out(o, 2 * n, sums);
    tolerance(o, 2e-6, 4e-6 * p->size * p->size);
}

static void run_channel_norm(const lti_kernels *k, const point *p, result *o)
{
    int64_t n = channels(p);
    k->channel_norm(p->n / n, n, p->x[0], p->x[1], p->x[2], p->x[3], p->turn % 2, o->y[0]);
    o->in_place = true;
}

static void run_channel_norm_sums(const lti_kernels *k, const point *p, result *o)
{
    double sums[80] = {3};
    int64_t n = channels(p);
    k->channel_norm_sums(p->n / n, n, p->x[0], p->x[1], p->x[2], p->x[3], p->turn / 2 % 2 ? p->x[2] + 3 : NULL, sums);
    doubles_out(o, 2 * n, sums);
    tolerance(o, 2e-6, 4e-6 * p->size * p->size);
}

static void run_channel_norm_grad(const lti_kernels *k, const point *p, result *o)
{
    int64_t n = channels(p);
    k->channel_norm_grad(p->n / n, n, p->x[0], p->x[1], p->x[2], p->x[3], p->turn / 2 % 2 ? p->x[2] + 3 : NULL,
                         p->x[1] + 3, p->x[3] + 3, o->y[0]);
    tolerance(o, 2e-6, 4e-6 * p->size)->in_place = true;
}

static void run_running_average(const lti_kernels *k, const point *p, result *o)
{
    copy_in(p, o->y[0], 1);
    k->running_average(p->n, (R)0.9, (R)0.1, p->x[0], o->y[0]);
}
