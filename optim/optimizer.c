/* optimizer.c - which parameters are updated, with what, and the records of it.
 *
 * Nothing here computes: it chooses a rule for each param and records nodes (adamw.c, sgd.c, lion.c, muon.c, clip.c,
 * weight_average.c). Fused keeps no gradient longer than its update; split keeps a sum of each, because the norm of all
 * is needed before the first update. Updates are skipped as a branch where the flag is 0, never multiplied by it. */
#include "autograd/op.h"
#include "lathe/attach.h"
#include "optim/optimizer_parts.h"
#include "optim/update_parts.h"

#include <math.h>

/* ---- Creating ---- */

enum { LEAST_FOR_CODES = 4096 };

static const lt_optimizer_group *group_of(const lt_optimizer_config *c, const lt_param *w)
{
    for (int i = 0; i < c->n_groups; i++)
        if (!c->groups[i].pattern || lt_glob(c->groups[i].pattern, lt_param_name(w))) return &c->groups[i];
    return NULL;
}

static bool is_for_muon(const lt_optimizer_config *c, const lt_param *w)
{
    const char *name = lt_param_name(w);
    if (lt_param_rank(w) != 2 && lt_param_rank(w) != 4) return false;
    return c->muon_pattern ? lt_glob(c->muon_pattern, name) : !lti_is_embedding(name) && !lti_is_head(name);
}

static lt_optimizer_kind rule_of(const lt_optimizer_config *c, const lt_param *w)
{
    if (c->kind == LT_ADAMW_8BIT && lt_param_count(w) < LEAST_FOR_CODES) return LT_ADAMW;
    if (c->kind == LT_MUON && !is_for_muon(c, w)) return LT_ADAMW;
    return c->kind;
}

static lt_status add_entry(lt_optimizer *opt, lt_param *w, int64_t layers)
{
    const lt_optimizer_config *c = &opt->config;
    const lt_optimizer_group *group = group_of(c, w);
    if (!lt_param_trainable(w) || (group && group->freeze)) return LT_OK;
    lti_trained *e = &opt->list[opt->count];
    *e = (lti_trained){.w = w, .rule = rule_of(c, w), .lr_multiplier = 1, .weight_decay = c->weight_decay};
    if (group && group->lr_multiplier != 0) e->lr_multiplier = group->lr_multiplier;
    if (group && group->weight_decay >= 0) e->weight_decay = group->weight_decay;
    if (c->layer_decay < 1)
        e->lr_multiplier *= pow(c->layer_decay, (double)lti_layer_distance(lt_param_name(w), layers));
    LTI_TRY(lti_keep_moments(opt, e));
    opt->count++;
    return LT_OK;
}

static lt_status fill(lt_optimizer *opt)
{
    int n = lt_params_count(opt->params), matrices = 0; /* moments are added behind and not walked */
    int64_t layers = lti_layer_count(opt->params);
    opt->list = lti_alloc_array(opt->ctx, (size_t)n, sizeof *opt->list);
    if (!opt->list) return LT_ENOMEM;
    if (opt->config.layer_decay < 1 && layers == 0)
        return lti_fail(opt->ctx, LT_EINVAL,
                        "optimizer: layer_decay %g finds no layer: no weight's name has \"blk.N.\", \"stage.N.\" or "
                        "\"rnn.N.\"",
                        opt->config.layer_decay);
    for (int i = 0; i < n; i++) LTI_TRY(add_entry(opt, lt_params_at(opt->params, i), layers));
    for (int i = 0; i < opt->count; i++) matrices += opt->list[i].rule == LT_MUON;
    if (!opt->count)
        return lti_fail(opt->ctx, LT_EINVAL,
                        "optimizer: none of %d parameters is trainable; only f32 weights that are not mapped are, "
                        "unless frozen by a group or by lt_param_set_trainable",
                        n);
    if (opt->config.kind == LT_MUON && opt->config.muon_pattern && !matrices)
        return lti_fail(opt->ctx, LT_EINVAL,
                        "optimizer: muon_pattern '%s' names no trained parameter of two or four axes",
                        opt->config.muon_pattern);
    return LT_OK;
}

lt_status lt_optimizer_create(lt_ctx *ctx, lt_params *params, const lt_optimizer_config *config,
                              lt_optimizer **optimizer)
{
    *optimizer = NULL;
    lt_optimizer_config resolved;
    LTI_TRY(lti_optimizer_resolve(ctx, config, &resolved));
    lt_optimizer *opt = lti_alloc(ctx, sizeof *opt);
    if (!opt) return LT_ENOMEM;
    *opt = (lt_optimizer){.ctx = ctx, .params = params, .config = resolved};
    lt_status status = fill(opt);
    if (status != LT_OK) {
        lt_optimizer_free(opt);
        return status;
    }
    opt->config.groups = NULL; /* the caller's; what they said is in the entries */
    opt->config.n_groups = 0;
    opt->config.muon_pattern = NULL;
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

/* ---- Recording ---- */

static lt_t record_rule(const lt_optimizer *opt, const lti_trained *e, lt_t gradient, lt_t clip, lt_t ok)
{
    const lt_optimizer_config *c = &opt->config;
    lt_param *const *s = e->moment;
    lt_t lr = lt_scalar(gradient.graph, "lr", 0);
    lt_adamw_config adamw = {sizeof adamw, c->beta1, c->beta2, c->eps, e->weight_decay, e->lr_multiplier};
    lt_sgd_config sgd = {sizeof sgd, c->momentum, e->weight_decay, e->lr_multiplier, c->nesterov};
    lt_lion_config lion = {sizeof lion, c->beta1, c->beta2, e->weight_decay, e->lr_multiplier};
    lt_muon_config muon = {sizeof muon, c->momentum, e->weight_decay, e->lr_multiplier, c->muon_lr_scale};
    switch (e->rule) {
    case LT_SGD: return lt_sgd(e->w, s[0], gradient, lr, clip, ok, &sgd);
    case LT_LION: return lt_lion(e->w, s[0], gradient, lr, clip, ok, &lion);
    case LT_MUON: return lt_muon(e->w, s[0], gradient, lr, clip, ok, &muon);
    default: break;
    }
    lt_t step = lt_scalar(gradient.graph, "step", 0);
    if (e->rule == LT_ADAMW_8BIT) return lt_adamw_8bit(e->w, s[0], s[1], s[2], gradient, lr, step, clip, ok, &adamw);
    return lt_adamw(e->w, s[0], s[1], gradient, lr, step, clip, ok, &adamw);
}

static void update(const lt_optimizer *opt, const lti_trained *e, lt_t gradient, lt_t clip, lt_t ok)
{
    lt_t w = record_rule(opt, e, gradient, clip, ok);
    if (e->average) lt_weight_average(e->average, w, ok, opt->config.ema_decay);
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
        lti_trained *e = &opt->list[i];
        if (lt_is_nil(gradient[i])) continue;
        status = lti_companion(opt, e->w, "grad", LT_F32, lt_param_rank(e->w), lt_param_shape(e->w), LT_SCRATCH,
                               &e->grad, NULL);
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
        const lti_trained *e = &opt->list[i];
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
