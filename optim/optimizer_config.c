/* optimizer_config.c - names, defaults and bounds of optimizers. */
#include "optim/optimizer_parts.h"

#include <string.h>

static const struct {
    const char *name;
    lt_optimizer_kind kind;
} names[] = {{"adamw", LT_ADAMW},          {"sgd", LT_SGD},   {"adamw_8bit", LT_ADAMW_8BIT},
             {"adamw8bit", LT_ADAMW_8BIT}, {"lion", LT_LION}, {"muon", LT_MUON}};

bool lt_optimizer_parse(const char *name, lt_optimizer_kind *kind)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i].name) == 0) {
            *kind = names[i].kind;
            return true;
        }
    return false;
}

void lt_optimizer_config_init(lt_optimizer_config *config)
{
    *config = (lt_optimizer_config){.size = sizeof *config,
                                    .beta1 = -1,
                                    .beta2 = -1,
                                    .eps = -1,
                                    .weight_decay = 0.01,
                                    .layer_decay = 1,
                                    .muon_lr_scale = 1};
}

static bool in_unit(double x)
{
    return x >= 0 && x < 1;
}

lt_status lti_optimizer_resolve(lt_ctx *ctx, const lt_optimizer_config *given, lt_optimizer_config *config)
{
    if (given->size != sizeof *given) return lti_fail(ctx, LT_EINVAL, "optimizer: call lt_optimizer_config_init first");
    lt_optimizer_config *c = config;
    *c = *given;
    if (c->kind < LT_ADAMW || c->kind > LT_MUON) return lti_fail(ctx, LT_EINVAL, "optimizer: kind %d", (int)c->kind);
    if (c->beta1 < 0) c->beta1 = 0.9;
    if (c->beta2 < 0) c->beta2 = c->kind == LT_LION ? 0.99 : 0.999;
    if (c->eps < 0) c->eps = 1e-8;
    if (c->kind == LT_MUON && c->momentum == 0) c->momentum = 0.95;
    if (!in_unit(c->beta1) || !in_unit(c->beta2) || !in_unit(c->momentum))
        return lti_fail(ctx, LT_EINVAL, "optimizer: beta1 %g, beta2 %g, momentum %g; each is to be in [0, 1)", c->beta1,
                        c->beta2, c->momentum);
    if (!(c->eps > 0) || !(c->weight_decay >= 0) || !(c->max_grad_norm >= 0))
        return lti_fail(ctx, LT_EINVAL, "optimizer: eps %g, weight_decay %g, max_grad_norm %g; none may be negative",
                        c->eps, c->weight_decay, c->max_grad_norm);
    if (c->nesterov && c->momentum == 0)
        return lti_fail(ctx, LT_EINVAL, "optimizer: nesterov wants a momentum above 0");
    if (!(c->layer_decay > 0 && c->layer_decay <= 1) || !in_unit(c->ema_decay))
        return lti_fail(ctx, LT_EINVAL, "optimizer: layer_decay %g is to be in (0, 1], ema_decay %g in [0, 1)",
                        c->layer_decay, c->ema_decay);
    if (!(c->muon_lr_scale > 0 && c->muon_lr_scale < 1e6))
        return lti_fail(ctx, LT_EINVAL, "optimizer: muon_lr_scale %g is to be above 0", c->muon_lr_scale);
    return LT_OK;
}
