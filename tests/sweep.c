/* sweep.c - records, runs and judges one case of one row; see sweep.h. */
#include "tests/sweep.h"

#include "tests/oracle_ops.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Data ---- */

static double away(double z)
{
    return z < 0 ? z - 0.1 : z + 0.1;
}

static double draw(const ts_slot *s, ts_source from, int64_t i, int64_t count)
{
    if (s->type == LT_I32) return s->lowest + floor(ts_next_uniform(from, i) * (s->bound - s->lowest));
    switch (s->fill) {
    case TS_FILL_NORMAL: return ts_next_normal(from, i);
    case TS_FILL_LARGE: return 300 * ts_next_normal(from, i);
    case TS_FILL_POSITIVE: return 0.5 + 1.5 * ts_next_uniform(from, i);
    case TS_FILL_AWAY: return away(ts_next_normal(from, i));
    case TS_FILL_DISTINCT:
        return 0.05 * (double)((i * 7919 + 13) % count - count / 2); /* count not a multiple of 7919 */
    case TS_FILL_VALUE: break;
    }
    return s->value;
}

static void *blank(size_t bytes)
{
    void *memory = calloc(1, bytes + 1);
    if (!memory) abort();
    return memory;
}

/* Stores x as `type` and reads it back, so that the formula sees what the plan is given. */
static void *store(lt_dtype type, ts_tensor *x, size_t *size)
{
    *size = (size_t)(x->count / lt_dtype_block(type)) * lt_dtype_bytes(type);
    char *bytes = blank(*size);
    if (lt_dtype_is_lattice(type)) ts_quantize(type, x->count, x->v, bytes);
    for (int64_t i = 0; i < x->count; i++) {
        if (type == LT_F32) ((lt_real *)bytes)[i] = (lt_real)x->v[i];
        if (type == LT_I32) ((int32_t *)bytes)[i] = (int32_t)x->v[i];
        if (type == LT_BF16) ((uint16_t *)bytes)[i] = ts_to_bf16(x->v[i]);
        if (type == LT_F16) ((uint16_t *)bytes)[i] = ts_to_f16((float)x->v[i]);
    }
    ts_decode(type, x->count, bytes, x->v);
    return bytes;
}

void ts_data_make(ts_data *d, const ts_row *row, const ts_case *c)
{
    *d = (ts_data){.row = row, .c = c};
    for (int k = 0; k < c->n; k++) {
        const ts_slot *s = &c->in[k];
        char name[96];
        snprintf(name, sizeof name, "%s.%d", row->op, k);
        ts_make(&d->x[k], s->rank, s->dim);
        ts_source from = ts_source_of(name);
        for (int64_t i = 0; i < d->x[k].count; i++) d->x[k].v[i] = draw(s, from, i, d->x[k].count);
        d->bytes[k] = store(s->type, &d->x[k], &d->size[k]);
        if (s->quantized == LT_I8 || s->activations) {
            ts_round_activations(s->quantized, ts_dim(&d->x[k], -1), d->x[k].count, d->x[k].v);
        } else if (s->quantized) {
            size_t size;
            free(store(s->quantized, &d->x[k], &size));
        }
    }
    row->formula(c, d->x, &d->y);
    d->seed = blank((size_t)d->y.count * sizeof *d->seed);
    ts_source signs = ts_source_of("seed");
    for (int64_t i = 0; i < d->y.count; i++) {
        double u = ts_next_uniform(signs, i);
        d->seed[i] = (lt_real)((u < 0.5 ? -1 : 1) * (1 + floor(u * 32 - floor(u * 2) * 16)) / 16);
    }
}

void ts_data_drop(ts_data *d)
{
    for (int k = 0; k < d->c->n; k++) {
        ts_drop(&d->x[k]);
        free(d->bytes[k]);
    }
    ts_drop(&d->y);
    free(d->seed);
}

/* ---- Recording and running ---- */

static bool wants(const ts_case *c, int k)
{
    return k < c->n && c->in[k].type == LT_F32 && !c->in[k].fixed && !c->in[k].param;
}

bool ts_has_gradient(const ts_case *c)
{
    for (int k = 0; k < c->n; k++)
        if (wants(c, k)) return true;
    return false;
}

bool ts_is_large(const ts_case *c)
{
    int64_t largest = 0;
    for (int k = 0; k < c->n; k++) {
        int64_t count = 1;
        for (int i = 0; i < c->in[k].rank; i++) count *= c->in[k].dim[i];
        if (count > largest) largest = count;
    }
    return largest > 1000;
}

/* Adds param or input k; sets the value that gradients are taken of, and returns what the op gets. */
static lt_t slot_value(ts_run *r, const ts_data *d, int k, lt_t *leaf)
{
    const ts_slot *s = &d->c->in[k];
    char name[16];
    snprintf(name, sizeof name, "%c%d", s->param ? 'p' : 'x', k);
    if (s->param) {
        if (lt_params_add(r->params, name, s->type, s->rank, s->dim, LT_STATE, NULL) != LT_OK) return lt_nil(r->graph);
        return *leaf = lt_param_value(r->graph, lt_params_find(r->params, name));
    }
    if (s->type == LT_I32)
        *leaf = lt_index_input(r->graph, name, s->rank, s->dim, s->lowest, s->bound);
    else
        *leaf = lt_input(r->graph, name, s->type, s->rank, s->dim);
    if (s->activations) return lt_quantize_activations(*leaf, s->quantized);
    return lt_dtype_is_lattice(s->quantized) ? lt_quantize(*leaf, s->quantized) : *leaf;
}

static lt_status record(ts_run *r, const ts_data *d, bool gradients)
{
    lt_t leaf[TS_SLOTS], x[TS_SLOTS], wrt[TS_SLOTS], dx[TS_SLOTS];
    LTI_TRY(lt_params_create(r->ctx, &r->params));
    LTI_TRY(lt_graph_create(r->ctx, r->params, &r->graph));
    for (int k = 0; k < d->c->n; k++) {
        x[k] = slot_value(r, d, k, &leaf[k]);
        if (lt_is_nil(x[k]) && lt_graph_status(r->graph) == LT_OK) return lt_ctx_status(r->ctx);
    }
    lt_t y = d->row->build(r->graph, d->c, x);
    r->out[r->n++] = y;
    if (!gradients) return LT_OK;
    int64_t dim[LT_MAX_RANK] = {0};
    for (int i = 0; i < lt_rank(y); i++) dim[i] = lt_dim(y, i);
    lt_t seed = lt_input(r->graph, "seed", LT_F32, lt_rank(y), dim);
    int n = 0;
    for (int k = 0; k < d->c->n; k++)
        if (wants(d->c, k)) {
            r->slot[1 + n] = k;
            wrt[n++] = leaf[k];
        }
    lt_grad_seeded(y, seed, n, wrt, dx);
    for (int i = 0; i < n; i++) r->out[r->n++] = dx[i];
    return LT_OK;
}

lt_status ts_run_make(ts_run *r, lt_ctx *ctx, const ts_data *d, ts_mode mode, bool gradients)
{
    *r = (ts_run){.ctx = ctx};
    LTI_TRY(record(r, d, gradients && ts_has_gradient(d->c)));
    for (int k = 1; k < r->n; k++)
        if (lt_graph_status(r->graph) == LT_OK && lt_is_nil(r->out[k]))
            return lti_fail(ctx, LT_EINVAL, "the gradient of input %d is nil", r->slot[k]);
    for (int k = 0; k < r->n; k++)
        r->size[k] =
            (size_t)(lt_count(r->out[k]) / lt_dtype_block(lt_type(r->out[k]))) * lt_dtype_bytes(lt_type(r->out[k]));
    return ts_compile(r->graph, mode, r->n, r->out, &r->plan);
}

void ts_run_drop(ts_run *r)
{
    lt_plan_free(r->plan);
    lt_graph_free(r->graph);
    lt_params_free(r->params);
}

lt_status ts_run_go(ts_run *r, const ts_data *d)
{
    for (int k = 0; k < d->c->n; k++) {
        char name[16];
        snprintf(name, sizeof name, "%c%d", d->c->in[k].param ? 'p' : 'x', k);
        if (d->c->in[k].param) {
            lt_param *p = lt_params_find(r->params, name);
            memcpy(lt_param_data(p), d->bytes[k], d->size[k]);
            lt_param_touch(p);
        } else if (lt_plan_has(r->plan, name)) { /* an input that no output needs is not in the plan */
            LTI_TRY(lt_bind(r->plan, name, d->bytes[k]));
        }
    }
    if (lt_plan_has(r->plan, "seed")) LTI_TRY(lt_bind(r->plan, "seed", d->seed));
    if (lt_plan_has(r->plan, "step")) LTI_TRY(lt_set(r->plan, "step", TS_STEP));
    return lt_run(r->plan);
}

/* ---- Verdicts ---- */

static ts_verdict fail(const ts_data *d, const char *format, ...) LTI_PRINTF(2, 3);
static ts_verdict fail(const ts_data *d, const char *format, ...)
{
    ts_verdict v;
    int n = snprintf(v.text, sizeof v.text, "%s, case %d: ", d->row->op, (int)(d->c - d->row->cases));
    va_list args;
    va_start(args, format);
    vsnprintf(v.text + n, sizeof v.text - (size_t)n, format, args);
    va_end(args);
    return v;
}

static const ts_verdict well;

/* A run of its own context, made and gone; *r is to be closed in any case. */
static ts_verdict open_run(ts_run *r, const ts_data *d, ts_mode mode, bool gradients)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    if (!ctx) abort();
    ts_verdict v = well;
    if (ts_run_make(r, ctx, d, mode, gradients) != LT_OK || ts_run_go(r, d) != LT_OK)
        v = fail(d, "%s", lt_ctx_message(ctx));
    return v;
}

static void close_run(ts_run *r)
{
    ts_run_drop(r);
    lt_ctx_free(r->ctx);
}

static ts_verdict compare_value(const ts_run *r, const ts_data *d)
{
    lt_t y = r->out[0];
    bool same = lt_rank(y) == d->y.rank;
    for (int i = 0; same && i < d->y.rank; i++) same = lt_dim(y, i) == d->y.dim[i];
    if (!same) return fail(d, "the shape is not the formula's (rank %d, %d)", lt_rank(y), d->y.rank);
    const void *bytes = lt_result(r->plan, 0);
    ts_tensor got;
    ts_make(&got, d->y.rank, d->y.dim);
    ts_decode(lt_type(y), got.count, bytes, got.v);
    double top = 0, tolerance = lt_dtype_is_lattice(lt_type(y)) ? 0 : ts_tolerance(1e-12, 1e-5);
    for (int64_t i = 0; i < got.count; i++) top = fmax(top, fabs(d->y.v[i]));
    ts_verdict v = well;
    for (int64_t i = 0; i < got.count && !v.text[0]; i++)
        if (!(fabs(got.v[i] - d->y.v[i]) <= tolerance * (top + fabs(d->y.v[i]))))
            v = fail(d, "element %lld is %.17g, the formula says %.17g", (long long)i, got.v[i], d->y.v[i]);
    if (d->row->writes && !v.text[0]) {
        const lt_param *p = lt_params_find(r->params, "p0");
        if (!ts_same_bytes(r->size[0], lt_param_read(p), bytes)) v = fail(d, "the param does not hold the value");
    }
    ts_drop(&got);
    return v;
}

ts_verdict ts_check_forward(const ts_data *d)
{
    ts_run r;
    ts_verdict v = open_run(&r, d, TS_PLANNED, false);
    if (!v.text[0]) v = compare_value(&r, d);
    close_run(&r);
    return v;
}

/* <seed, formula> with input k moved by t along the direction. */
static double along(const ts_data *d, int k, const double *direction, double t)
{
    ts_tensor x[TS_SLOTS], y;
    memcpy(x, d->x, sizeof x);
    ts_make(&x[k], d->x[k].rank, d->x[k].dim);
    for (int64_t i = 0; i < x[k].count; i++) x[k].v[i] = d->x[k].v[i] + t * direction[i];
    d->row->formula(d->c, x, &y);
    double sum = 0;
    for (int64_t i = 0; i < y.count; i++) sum += d->seed[i] * y.v[i];
    ts_drop(&y);
    ts_drop(&x[k]);
    return sum;
}

/* Central differences of fourth order. */
static double derivative(const ts_data *d, int k, const double *direction)
{
    const double h = 5e-4;
    double near = along(d, k, direction, h) - along(d, k, direction, -h);
    double far = along(d, k, direction, 2 * h) - along(d, k, direction, -2 * h);
    return (8 * near - far) / (12 * h);
}

static ts_verdict judge_gradient(const ts_data *d, int k, const lt_real *dx)
{
    int64_t n = d->x[k].count;
    double *direction = blank((size_t)n * sizeof *direction), sum = 0, squares = 0;
    ts_source from = ts_source_of("direction");
    for (int64_t i = 0; i < n; i++) {
        direction[i] = ts_next_normal(from, i + k);
        double part = direction[i] * (double)dx[i];
        sum += part;
        squares += part * part;
    }
    double reference = derivative(d, k, direction), size = 0;
    free(direction);
    for (int64_t i = 0; i < d->y.count; i++) size += fabs((double)d->seed[i] * d->y.v[i]);
    /* The size of what cancels: for the judge's differences, and for the gradient where it is exactly zero. */
    double noise = ts_tolerance(1e-11, 1e-6) * size;
    double bound = ts_tolerance(1e-8, 3e-4) * (fabs(reference) + sqrt(squares)) + noise;
    if (fabs(sum - reference) <= bound) return well;
    return fail(d, "the gradient of input %d gives %.12g along a random direction, differences of the formula %.12g", k,
                sum, reference);
}

ts_verdict ts_check_gradient(const ts_data *d)
{
    ts_run r;
    ts_verdict v = open_run(&r, d, TS_PLANNED, true);
    for (int i = 1; i < r.n && !v.text[0]; i++) {
        if (lt_count(r.out[i]) != d->x[r.slot[i]].count || lt_type(r.out[i]) != LT_F32)
            v = fail(d, "the gradient of input %d has not its shape, or is not f32", r.slot[i]);
        else
            v = judge_gradient(d, r.slot[i], lt_result(r.plan, i));
    }
    close_run(&r);
    return v;
}

static ts_verdict same_results(const ts_data *d, const ts_run *a, const ts_run *b, const char *what)
{
    for (int i = 0; i < a->n; i++)
        if (!ts_same_bytes(a->size[i], lt_result(a->plan, i), lt_result(b->plan, i)))
            return i ? fail(d, "%s: the gradient of input %d differs", what, a->slot[i])
                     : fail(d, "%s: the value differs", what);
    return well;
}

ts_verdict ts_check_planned(const ts_data *d)
{
    ts_run a, b;
    ts_verdict v = open_run(&a, d, TS_PLANNED, true), w = open_run(&b, d, TS_NO_REUSE, true);
    if (!v.text[0]) v = w;
    if (!v.text[0]) v = same_results(d, &a, &b, "planned against no reuse");
    close_run(&a);
    close_run(&b);
    return v;
}

ts_verdict ts_check_threads(const ts_data *d)
{
    int before = lt_threads();
    ts_run a, b;
    lt_set_threads(1);
    ts_verdict v = open_run(&a, d, TS_PLANNED, true);
    lt_set_threads(2);
    ts_verdict w = open_run(&b, d, TS_PLANNED, true);
    if (!v.text[0]) v = w;
    if (!v.text[0]) v = same_results(d, &a, &b, "1 against 2 threads");
    lt_set_threads(before);
    close_run(&a);
    close_run(&b);
    return v;
}

ts_verdict ts_check_replay(const ts_data *d)
{
    ts_run a, b;
    ts_verdict v = open_run(&a, d, TS_PLANNED, true), w = open_run(&b, d, TS_PLANNED, true);
    if (!v.text[0]) v = w;
    if (!v.text[0]) {
        uint64_t before = lt_ctx_allocations(b.ctx);
        if (ts_run_go(&b, d) != LT_OK) v = fail(d, "the second run: %s", lt_ctx_message(b.ctx));
        uint64_t made = lt_ctx_allocations(b.ctx) - before;
        if (made) v = fail(d, "%llu allocations while running", (unsigned long long)made);
    }
    if (!v.text[0]) v = same_results(d, &a, &b, "second run against first");
    close_run(&a);
    close_run(&b);
    return v;
}
