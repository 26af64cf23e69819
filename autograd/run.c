/* run.c - binding and replaying a plan: a loop over function pointers.
 *
 * Pointers are resolved when the arena has moved (a larger plan joined it) or an input was bound anew; otherwise a run
 * touches nothing but the steps. */
#include "autograd/param.h"
#include "autograd/planned.h"
#include "base/clock.h"
#include "base/text.h"
#include "kernels/conv.h"
#include "kernels/gemm.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static lti_bound_input *find_input(const lt_plan *p, const char *name)
{
    for (int i = 0; i < p->n_inputs; i++)
        if (strcmp(p->input[i].name, name) == 0) return &p->input[i];
    return NULL;
}

static lti_number_slot *find_number(const lt_plan *p, const char *name)
{
    for (int i = 0; *name && i < p->n_numbers; i++)
        if (strcmp(p->number[i].name, name) == 0) return &p->number[i];
    return NULL;
}

bool lt_plan_has(const lt_plan *plan, const char *name)
{
    return find_input(plan, name) || find_number(plan, name);
}

static lt_status check_indices(lt_ctx *ctx, const lti_bound_input *in, const int32_t *data)
{
    for (int64_t i = 0; i < in->value.count; i++)
        if (data[i] < in->lowest || data[i] >= in->bound)
            return lti_fail(ctx, LT_EINVAL, "input '%s': element %lld is %d; it must be in %d to %d", in->name,
                            (long long)i, data[i], in->lowest, in->bound - 1);
    return LT_OK;
}

lt_status lt_bind(lt_plan *plan, const char *name, const void *data)
{
    lti_bound_input *in = find_input(plan, name);
    if (!in) return lti_fail(plan->ctx, LT_EINVAL, "lt_bind: the plan reads no input called '%s'", name);
    if (!data) return lti_fail(plan->ctx, LT_EINVAL, "lt_bind: the data of '%s' is NULL", name);
    if (in->checked) LTI_TRY(check_indices(plan->ctx, in, data));
    in->value.data = (void *)(uintptr_t)data;
    plan->resolved_for = NULL;
    return LT_OK;
}

lt_status lt_set(lt_plan *plan, const char *name, double value)
{
    lti_number_slot *slot = find_number(plan, name);
    if (!slot) return lti_fail(plan->ctx, LT_EINVAL, "lt_set: the plan reads no scalar called '%s'", name);
    slot->value = (lt_real)value;
    return LT_OK;
}

/* ---- Pointers ---- */

static void *pointer(const lt_plan *p, const lti_location *at)
{
    switch (at->where) {
    case LTI_IN_ARENA: return p->arena->data + at->offset;
    case LTI_FIXED: return at->fixed;
    case LTI_BOUND: return p->input[at->input].value.data;
    case LTI_NOWHERE: break;
    }
    return NULL;
}

/* lt_param_narrow has freed the bytes that this plan would read. */
static lt_status check_params(const lt_plan *p)
{
    for (int i = 0; i < p->n_args; i++) {
        const lt_param *param = p->location[i].param;
        if (param && param->type != p->arg[i].type)
            return lti_fail(p->ctx, LT_EINVAL, "lt_run: parameter '%s' is %s now and was recorded as %s; record anew",
                            param->name, lt_dtype_name(param->type), lt_dtype_name(p->arg[i].type));
    }
    return LT_OK;
}

static lt_status resolve(lt_plan *p)
{
    if (p->measured) return lti_fail(p->ctx, LT_EINVAL, "lt_run: the plan was compiled to be measured, not to run");
    if (p->arena->bytes < p->arena_bytes)
        return lti_fail(p->ctx, LT_ENOMEM,
                        "lt_run: the shared arena was lost when a larger plan did not fit; compile the plan again");
    LTI_TRY(check_params(p));
    if (p->resolved_for && p->resolved_for == p->arena->data) return LT_OK;
    for (int i = 0; i < p->n_inputs; i++)
        if (!p->input[i].value.data)
            return lti_fail(p->ctx, LT_EINVAL, "lt_run: the input '%s' was never bound; call lt_bind",
                            p->input[i].name);
    for (int i = 0; i < p->n_args; i++) p->arg[i].data = pointer(p, &p->location[i]);
    for (int i = 0; i < p->n_steps; i++)
        p->step[i].scratch = p->step[i].scratch_bytes ? p->arena->data + p->scratch_offset[i] : NULL;
    for (int i = 0; i < p->n_results; i++) p->result[i].data = pointer(p, &p->result_location[i]);
    p->resolved_for = p->arena->data;
    return LT_OK;
}

/* ---- Running ---- */

static lt_status run_step(lt_plan *p, int i)
{
    lti_step *s = &p->step[i];
    double start = p->timing ? lti_seconds() : 0;
    lt_status status = s->op->run(s);
    if (status != LT_OK) {
        lti_fail_in(p->ctx, "%s%s%s", s->name, *s->name ? ": " : "", s->op->name);
        return status;
    }
    if (s->op->flags & LTI_EFFECT)
        for (int k = 0; k < s->n_params; k++) s->param[k]->version++;
    if (p->timing) {
        p->times[p->time_of[i]].seconds += lti_seconds() - start;
        p->times[p->time_of[i]].calls++;
    }
    return LT_OK;
}

lt_status lt_run(lt_plan *plan)
{
    LTI_TRY(resolve(plan));
    if (plan->poison && plan->arena->bytes) memset(plan->arena->data, 0xff, plan->arena->bytes);
    for (int i = 0; i < plan->n_steps; i++) LTI_TRY(run_step(plan, i));
    return LT_OK;
}

static lt_status check_finite(lt_plan *p, const lti_step *s)
{
    for (int k = 0; k < s->n_out; k++) {
        const lti_arg *out = &s->out[k];
        if (!out->data || out->type != LT_F32) continue;
        const lt_real *x = out->data;
        if (lti_k()->all_finite(out->count, x)) continue;
        int64_t at = 0;
        while (isfinite((double)x[at])) at++;
        return lti_fail(p->ctx, LT_ENONFINITE,
                        "%s: %s: output %d, element %lld is %g: the first node that is not finite", s->name,
                        s->op->name, k, (long long)at, (double)x[at]);
    }
    return LT_OK;
}

lt_status lt_run_debug(lt_plan *plan)
{
    LTI_TRY(resolve(plan));
    for (int i = 0; i < plan->n_steps; i++) {
        LTI_TRY(run_step(plan, i));
        LTI_TRY(check_finite(plan, &plan->step[i]));
    }
    return LT_OK;
}

const void *lt_result(const lt_plan *plan, int index)
{
    return index >= 0 && index < plan->n_results ? plan->result[index].data : NULL;
}

const char *lt_kernels_in_use(void)
{
    static char text[200];
    const char *conv = lti_conv_forced();
    snprintf(text, sizeof text, "%s, %s products, %s%s%s", lti_isa(), lti_gemm_provider(), lti_gemm_versions(),
             conv ? ", convolutions by " : "", conv ? conv : "");
    return text;
}

/* ---- Looking inside ---- */

int lt_plan_steps(const lt_plan *plan)
{
    return plan->n_steps;
}

size_t lt_plan_arena_bytes(const lt_plan *plan)
{
    return plan->arena_bytes;
}

size_t lt_plan_live_bytes(const lt_plan *plan)
{
    return plan->live_bytes;
}

void lt_plan_timing(lt_plan *plan, bool on)
{
    plan->timing = on;
    for (int i = 0; on && i < plan->n_times; i++) plan->times[i].seconds = 0, plan->times[i].calls = 0;
}

void lt_plan_times(const lt_plan *plan, void (*fn)(void *user, const char *op, double seconds, int64_t calls),
                   void *user)
{
    for (int i = 0; i < plan->n_times; i++)
        fn(user, plan->times[i].op->name, plan->times[i].seconds, plan->times[i].calls);
}

static void table_line(lti_text *text, const lt_plan *p, int i)
{
    const lti_step *s = &p->step[i];
    const lti_arg *out = &s->out[0];
    const lti_location *at = &p->location[out - p->arg];
    lti_value v;
    lti_value_set(&v, out->type, out->rank, out->dim);
    char dims[LTI_DIMS_TEXT], place[32];
    size_t bytes = 0;
    lti_dtype_size(out->type, out->count, &bytes);
    if (at->where == LTI_IN_ARENA)
        snprintf(place, sizeof place, "%zu", at->offset);
    else
        snprintf(place, sizeof place, "%s", at->where == LTI_FIXED ? "param" : "-");
    lti_text_format(text, "%5d  %-28s %-20s %-18s %-6s %12s %12zu %12zu\n", i, s->name, s->op->name, lti_dims(&v, dims),
                    lt_dtype_name(out->type), place, bytes, s->scratch_bytes);
}

lt_status lt_plan_table(const lt_plan *plan, char **table)
{
    lti_text text = {.ctx = plan->ctx};
    lti_text_format(&text, "%5s  %-28s %-20s %-18s %-6s %12s %12s %12s\n", "step", "name", "op", "shape", "type",
                    "offset", "bytes", "scratch");
    for (int i = 0; i < plan->n_steps; i++) table_line(&text, plan, i);
    lti_text_format(&text, "%d steps, arena %zu bytes, largest live set %zu bytes\n", plan->n_steps, plan->arena_bytes,
                    plan->live_bytes);
    *table = text.data;
    if (!text.failed) return LT_OK;
    lti_text_free(&text);
    *table = NULL;
    return LT_ENOMEM;
}

void lt_string_free(lt_ctx *ctx, char *text)
{
    lti_free(ctx, text);
}
