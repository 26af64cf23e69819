/* kernel_cases_grid.h - cases of test_kernels.c for uniform grids. Part of that file. */

/* 2 to 8 bits; by turn shifted, with a base, and with a range that has room for few of the numbers. */
static lti_grid some_grid(const point *p)
{
    R levels = (R)((1 << (1 + p->turn % 7)) - 1), scale = (R)0.7 / levels;
    lti_grid g = {.inverse = 1 / scale, .scale = scale, .lo = -levels, .hi = levels, .first = (R)-0.5, .last = (R)0.6};
    if (p->turn % 3 == 1) g.offset = (R)0.25, g.base = (R)0.25;
    if (p->turn % 5 == 4) g.inverse = 0;
    return g;
}

static void run_extremes(const lti_kernels *k, const point *p, result *o)
{
    R out[2];
    k->extremes(p->n, p->x[0], out);
    o->y[1][0] = out[0], o->y[1][1] = out[1];
}

static void run_sum_abs(const lti_kernels *k, const point *p, result *o)
{
    o->number = k->sum_abs(p->n, p->x[0]);
    tolerance(o, 1e-13, 0);
}

static void run_fake_quant(const lti_kernels *k, const point *p, result *o)
{
    lti_grid g = some_grid(p);
    k->fake_quant(p->n, p->x[0], &g, o->y[0]);
    o->in_place = true;
}

static void run_fake_quant_error(const lti_kernels *k, const point *p, result *o)
{
    lti_grid g = some_grid(p);
    o->number = k->fake_quant_error(p->n, p->x[0], &g);
    tolerance(o, 1e-13, 0);
}

static void run_fake_quant_mask(const lti_kernels *k, const point *p, result *o)
{
    lti_grid g = some_grid(p);
    k->fake_quant_mask(p->n, p->x[0], &g, p->turn / 2 % 2, p->x[1], o->y[0]);
    o->in_place = true;
}

static void run_fake_quant_sums(const lti_kernels *k, const point *p, result *o)
{
    lti_grid g = some_grid(p);
    double sums[3] = {3, 2, 1};
    k->fake_quant_sums(p->n, p->x[0], &g, p->turn / 2 % 2, p->x[1], sums);
    for (int i = 0; i < 3; i++) o->y[1][i] = (R)sums[i];
    tolerance(o, 1e-6, 1e-5 * p->size);
}
