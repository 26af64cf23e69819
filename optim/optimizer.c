/* optimizer.c - which parameters are updated, with what, and where their moments live.
 *
 * Nothing here computes: it adds params for moments and gradient sums and records nodes (adamw.c, sgd.c, clip.c). Fused
 * keeps no gradient longer than its update; split keeps a sum of each, because the norm of all is needed before the
 * first update. Updates are skipped as a branch where the flag is 0, never multiplied by it. */
#include "autograd/op.h"
#include "lathe/attach.h"
#include "lathe/optim.h"
#include "optim/update_parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct entry {
    lt_param *w, *m, *v; /* v NULL for sgd, m NULL without momentum */
    lt_param *grad;      /* the sum of gradients; NULL until a recorded loss depends on w */
    double lr_multiplier, weight_decay;
} entry;

struct lt_optimizer {
    lt_ctx *ctx;
    lt_params *params;
    lt_optimizer_config config; /* groups: NULL after create */
    entry *list;
    int count;
};

void lt_optimizer_config_init(lt_optimizer_config *config)
{
    *config =
        (lt_optimizer_config){.size = sizeof *config, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01};
}

/* ---- Creating ---- */

static bool in_unit(double x)
{
    return x >= 0 && x < 1;
}

static lt_status check_config(lt_ctx *ctx, const lt_optimizer_config *c)
{
    if (c->size != sizeof *c) return lti_fail(ctx, LT_EINVAL, "optimizer: call lt_optimizer_config_init first");
    if (c->kind != LT_ADAMW && c->kind != LT_SGD) return lti_fail(ctx, LT_EINVAL, "optimizer: kind %d", (int)c->kind);
    if (!in_unit(c->beta1) || !in_unit(c->beta2) || !in_unit(c->momentum))
        return lti_fail(ctx, LT_EINVAL, "optimizer: beta1 %g, beta2 %g, momentum %g; each is to be in [0, 1)", c->beta1,
                        c->beta2, c->momentum);
    if (!(c->eps > 0) || !(c->weight_decay >= 0) || !(c->max_grad_norm >= 0))
        return lti_fail(ctx, LT_EINVAL, "optimizer: eps %g, weight_decay %g, max_grad_norm %g; none may be negative",
                        c->eps, c->weight_decay, c->max_grad_norm);
    if (c->nesterov && c->momentum == 0)
        return lti_fail(ctx, LT_EINVAL, "optimizer: nesterov wants a momentum above 0");
    return LT_OK;
}

static const lt_optimizer_group *group_of(const lt_optimizer_config *c, const lt_param *w)
{
    for (int i = 0; i < c->n_groups; i++)
        if (!c->groups[i].pattern || lt_glob(c->groups[i].pattern, lt_param_name(w))) return &c->groups[i];
    return NULL;
}

/* The param "<w>:<suffix>" of w's shape, made when it is not there. */
static lt_status companion(lt_optimizer *opt, const lt_param *w, const char *suffix, lt_role role, lt_param **out)
{
    char name[256];
    if (snprintf(name, sizeof name, "%s:%s", lt_param_name(w), suffix) >= (int)sizeof name)
        return lti_fail(opt->ctx, LT_EINVAL, "optimizer: the name '%s' is too long", lt_param_name(w));
    *out = lt_params_find(opt->params, name);
    if (!*out) return lt_params_add(opt->params, name, LT_F32, lt_param_rank(w), lt_param_shape(w), role, out);
    bool same = lt_param_type(*out) == LT_F32 && lt_param_rank(*out) == lt_param_rank(w);
    for (int i = 0; same && i < lt_param_rank(w); i++) same = lt_param_shape(*out)[i] == lt_param_shape(w)[i];
    if (same) return LT_OK;
    return lti_fail(opt->ctx, LT_EINVAL, "optimizer: '%s' exists with another type or shape than its weight's", name);
}

static lt_status add_entry(lt_optimizer *opt, const lt_optimizer_config *c, lt_param *w)
{
    const lt_optimizer_group *group = group_of(c, w);
    if (!lt_param_trainable(w) || (group && group->freeze)) return LT_OK;
    entry *e = &opt->list[opt->count];
    *e = (entry){.w = w, .lr_multiplier = 1, .weight_decay = c->weight_decay};
    if (group && group->lr_multiplier != 0) e->lr_multiplier = group->lr_multiplier;
    if (group && group->weight_decay >= 0) e->weight_decay = group->weight_decay;
    if (c->kind == LT_ADAMW) {
        LTI_TRY(companion(opt, w, "adam.m", LT_STATE, &e->m));
        LTI_TRY(companion(opt, w, "adam.v", LT_STATE, &e->v));
    } else if (c->momentum != 0) {
        LTI_TRY(companion(opt, w, "sgd.u", LT_STATE, &e->m));
    }
    opt->count++;
    return LT_OK;
}

static lt_status fill(lt_optimizer *opt, const lt_optimizer_config *c)
{
    int n = lt_params_count(opt->params); /* moments are added behind and not walked */
    opt->list = lti_alloc_array(opt->ctx, (size_t)n, sizeof *opt->list);
    if (!opt->list) return LT_ENOMEM;
    for (int i = 0; i < n; i++) LTI_TRY(add_entry(opt, c, lt_params_at(opt->params, i)));
    if (opt->count) return LT_OK;
    return lti_fail(opt->ctx, LT_EINVAL,
                    "optimizer: none of %d parameters is trainable; only f32 weights that are not mapped are, unless "
                    "frozen by a group or by lt_param_set_trainable",
                    n);
}

lt_status lt_optimizer_create(lt_ctx *ctx, lt_params *params, const lt_optimizer_config *config,
                              lt_optimizer **optimizer)
{
    *optimizer = NULL;
    LTI_TRY(check_config(ctx, config));
    lt_optimizer *opt = lti_alloc(ctx, sizeof *opt);
    if (!opt) return LT_ENOMEM;
    *opt = (lt_optimizer){.ctx = ctx, .params = params, .config = *config};
    opt->config.groups = NULL;
    opt->config.n_groups = 0;
    lt_status status = fill(opt, config);
    if (status != LT_OK) {
        lt_optimizer_free(opt);
        return status;
    }
    *optimizer = opt;
    return LT_OK;
}

void lt_optimizer_free(lt_optimizer *optimizer)
{
    if (!optimizer) return;
    lti_free(optimizer->ctx, optimizer->list);
    lti_free(optimizer->ctx, optimizer);
}

int lt_optimizer_count(const lt_optimizer *optimizer)
{
    return optimizer->count;
}

lt_param *lt_optimizer_param(const lt_optimizer *optimizer, int index)
{
    return index >= 0 && index < optimizer->count ? optimizer->list[index].w : NULL;
}

size_t lt_optimizer_bytes(const lt_optimizer *optimizer)
{
    size_t bytes = 0;
    for (int i = 0; i < optimizer->count; i++) {
        const entry *e = &optimizer->list[i];
        bytes += (e->m ? lt_param_bytes(e->m) : 0) + (e->v ? lt_param_bytes(e->v) : 0);
    }
    return bytes;
}

/* ---- Recording ---- */

static lt_t update(const lt_optimizer *opt, const entry *e, lt_t gradient, lt_t clip, lt_t ok)
{
    const lt_optimizer_config *c = &opt->config;
    lt_graph *graph = gradient.graph;
    lt_t lr = lt_scalar(graph, "lr", 0);
    if (c->kind == LT_SGD) {
        lt_sgd_config sgd = {sizeof sgd, c->momentum, e->weight_decay, e->lr_multiplier, c->nesterov};
        return lt_sgd(e->w, e->m, gradient, lr, clip, ok, &sgd);
    }
    lt_adamw_config adamw = {sizeof adamw, c->beta1, c->beta2, c->eps, e->weight_decay, e->lr_multiplier};
    return lt_adamw(e->w, e->m, e->v, gradient, lr, lt_scalar(graph, "step", 0), clip, ok, &adamw);
}

/* Gradients of the loss for every entry, nil where there is none. *gradients is to be freed. */
static lt_status gradients_of(const lt_optimizer *opt, lt_graph *graph, lt_t loss, lt_t **gradients)
{
    int n = opt->count;
    *gradients = NULL;
    lt_t *values = lti_alloc_array(opt->ctx, 3 * (size_t)n, sizeof *values);
    if (!values) {
        lti_graph_fail(graph, LT_ENOMEM, "optimizer: out of memory for %d gradients", n);
        return LT_ENOMEM;
    }
    lt_t *wrt = values + n, *found = values + 2 * n;
    int active = 0;
    for (int i = 0; i < n; i++)
        if (lt_param_trainable(opt->list[i].w)) wrt[active++] = lt_param_value(graph, opt->list[i].w);
    lt_grad(loss, active, wrt, found);
    for (int i = 0, k = 0; i < n; i++) values[i] = lt_param_trainable(opt->list[i].w) ? found[k++] : lt_nil(graph);
    *gradients = values;
    return lt_graph_status(graph);
}

lt_status lt_optimizer_fused(lt_optimizer *opt, lt_graph *graph, lt_t loss)
{
    if (opt->config.max_grad_norm > 0)
        lti_graph_fail(graph, LT_EINVAL,
                       "optimizer: fused updates cannot clip: the norm is known only after the last gradient; use "
                       "lt_optimizer_accumulate and lt_optimizer_apply, or max_grad_norm 0");
    if (lt_graph_status(graph) != LT_OK) return lt_graph_status(graph);
    lt_t *gradient;
    lt_status status = gradients_of(opt, graph, loss, &gradient);
    if (status == LT_OK) {
        lt_t ok = lt_tap(lt_finite_flag(1, &loss), "update_ok");
        for (int i = 0; i < opt->count; i++)
            if (!lt_is_nil(gradient[i])) update(opt, &opt->list[i], gradient[i], lt_nil(graph), ok);
    }
    lti_free(opt->ctx, gradient);
    return lt_graph_status(graph);
}

/* A second loss of the same graph adds to the first one's gradient, also on a fresh start. */
static void add_gradient(lt_param *sum, lt_t gradient, lt_t fresh)
{
    lt_graph *g = gradient.graph;
    bool again = lti_is_made_by(lt_param_value(g, sum), &lti_op_accumulate, lt_nil(g));
    lt_accumulate(sum, gradient, again ? lt_nil(g) : fresh);
}

lt_status lt_optimizer_accumulate(lt_optimizer *opt, lt_graph *graph, lt_t loss)
{
    if (lt_graph_status(graph) != LT_OK) return lt_graph_status(graph);
    lt_t *gradient;
    lt_status status = gradients_of(opt, graph, loss, &gradient);
    lt_t fresh = status == LT_OK ? lt_scalar(graph, "fresh", 1) : lt_nil(graph);
    lt_phase(graph, 0);
    for (int i = 0; status == LT_OK && i < opt->count; i++) {
        entry *e = &opt->list[i];
        if (lt_is_nil(gradient[i])) continue;
        status = companion(opt, e->w, "grad", LT_SCRATCH, &e->grad);
        if (status == LT_OK)
            add_gradient(e->grad, gradient[i], fresh);
        else
            lti_graph_fail(graph, status, "%s", lt_ctx_message(opt->ctx));
    }
    lti_free(opt->ctx, gradient);
    return lt_graph_status(graph);
}

/* Updates from `n` sums; sum[i] belongs to from[i]. */
static void apply_all(lt_optimizer *opt, lt_graph *graph, int n, const lt_t *sum)
{
    lt_t norm = lt_tap(lt_global_norm(n, sum), "grad_norm");
    lt_t ok = lt_tap(lt_finite_flag(1, &norm), "update_ok");
    lt_t clip = opt->config.max_grad_norm > 0 ? lt_clip_factor(norm, opt->config.max_grad_norm) : lt_nil(graph);
    for (int i = 0, k = 0; i < opt->count; i++) {
        const entry *e = &opt->list[i];
        if (!e->grad || !lt_param_trainable(e->w)) continue;
        update(opt, e, sum[k++], clip, ok);
    }
}

lt_status lt_optimizer_apply(lt_optimizer *opt, lt_graph *graph)
{
    if (lt_graph_status(graph) != LT_OK) return lt_graph_status(graph);
    lt_t *sum = lti_alloc_array(opt->ctx, (size_t)opt->count, sizeof *sum);
    if (!sum) {
        lti_graph_fail(graph, LT_ENOMEM, "optimizer: out of memory");
        return LT_ENOMEM;
    }
    int n = 0;
    lt_phase(graph, 1); /* from here on a param's value is what its memory holds, not what phase 0 would make */
    for (int i = 0; i < opt->count; i++)
        if (opt->list[i].grad && lt_param_trainable(opt->list[i].w))
            sum[n++] = lt_param_value(graph, opt->list[i].grad);
    if (n)
        apply_all(opt, graph, n, sum);
    else
        lti_graph_fail(graph, LT_EINVAL, "optimizer: there are no gradients; record lt_optimizer_accumulate first");
    lt_phase(graph, 0);
    lti_free(opt->ctx, sum);
    return lt_graph_status(graph);
}
