/* init.c - initial values. Every element is a function of (seed, parameter's name, index): adding a layer changes no
 * other layer's start. */
#include "base/par.h"
#include "base/rng.h"
#include "lathe/nn.h"

static lti_rng rng_of(const lt_param *param, uint64_t seed)
{
    return (lti_rng){.seed = seed, .stream = lti_rng_stream(lt_param_name(param))};
}

typedef struct draw {
    lti_rng rng;
    double (*number)(const lti_rng *rng, uint64_t index);
    double scale, shift;
    lt_real *w;
    int64_t n, tasks;
} draw;

static void draw_task(void *arg, int64_t task, int thread)
{
    const draw *d = arg;
    int64_t begin, end;
    (void)thread;
    lti_par_range(d->n, d->tasks, task, &begin, &end);
    for (int64_t i = begin; i < end; i++) d->w[i] = (lt_real)(d->scale * d->number(&d->rng, (uint64_t)i) + d->shift);
}

/* Only what an optimizer could also write: f32, not mapped. */
static bool writable(const lt_param *param)
{
    return lt_param_type(param) == LT_F32 && !lt_param_mapped(param);
}

static void fill(lt_param *param, draw d)
{
    if (!writable(param)) return;
    d.w = lt_param_data(param);
    d.n = lt_param_count(param);
    d.tasks = lti_par_tasks(d.n, 4096);
    lti_par(d.tasks, draw_task, &d);
    lt_param_touch(param);
}

void lt_init_normal(lt_param *param, uint64_t seed, double std)
{
    fill(param, (draw){.rng = rng_of(param, seed), .number = lti_rng_normal, .scale = std});
}

void lt_init_uniform(lt_param *param, uint64_t seed, double bound)
{
    fill(param, (draw){.rng = rng_of(param, seed), .number = lti_rng_uniform, .scale = 2 * bound, .shift = -bound});
}

void lt_init_constant(lt_param *param, double value)
{
    if (!writable(param)) return;
    lt_real *w = lt_param_data(param);
    for (int64_t i = 0; i < lt_param_count(param); i++) w[i] = (lt_real)value;
    lt_param_touch(param);
}
