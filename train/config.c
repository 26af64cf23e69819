/* config.c - defaults and bounds of a training run. */
#include "qat/cluster_parts.h"
#include "qat/policy.h"
#include "train/loop.h"

#include <math.h>
#include <string.h>

void lt_train_config_init(lt_train_config *config)
{
    *config = (lt_train_config){.size = sizeof *config,
                                .epochs = 1,
                                .batch_size = 4,
                                .grad_accumulation_steps = 1,
                                .max_seq_length = 512,
                                .learning_rate = 1e-3,
                                .lr_schedule = "cosine",
                                .warmup_ratio = 0.05,
                                .optimizer = "adamw",
                                .beta1 = -1,
                                .beta2 = -1,
                                .eps = -1,
                                .max_grad_norm = 1,
                                .layer_decay = 1,
                                .compute = "f32",
                                .store_activations = "f32",
                                .frozen_type = "f32",
                                .prefetch = true,
                                .keep = 2,
                                .log_every = 1,
                                .resume = "auto"};
    lt_quant_policy_init(&config->quant);
    lt_cluster_config_init(&config->cluster);
}

bool lti_config_type(const char *name, lt_dtype *type)
{
    *type = name && strcmp(name, "bf16") == 0 ? LT_BF16 : LT_F32;
    return *type == LT_BF16 || (name && strcmp(name, "f32") == 0);
}

static lt_status check_types(lt_ctx *ctx, const lt_train_config *c)
{
    lt_dtype type;
    const struct {
        const char *name, *value;
        bool automatic;
    } types[] = {{"compute", c->compute, true},
                 {"store_activations", c->store_activations, false},
                 {"frozen_type", c->frozen_type, false}};
    for (int i = 0; i < LTI_COUNT(types); i++) {
        bool known = types[i].automatic && types[i].value && strcmp(types[i].value, "auto") == 0;
        if (!known && !lti_config_type(types[i].value, &type))
            return lti_fail(ctx, LT_EINVAL, "%s is '%s'; f32%s", types[i].name,
                            types[i].value ? types[i].value : "(NULL)",
                            types[i].automatic ? ", bf16 and auto are known" : " and bf16 are known");
    }
    return LT_OK;
}

/* What clustering does not go together with. */
static lt_status check_cluster(lt_ctx *ctx, const lt_train_config *c)
{
    LTI_TRY(lti_cluster_check(ctx, &c->cluster));
    if (c->cluster.clusters == 0) return LT_OK;
    if (!lt_quant_policy_empty(&c->quant))
        return lti_fail(ctx, LT_EINVAL, "clustering and quantization exclude each other: a weight is on one grid");
    if (strcmp(c->frozen_type, "f32"))
        return lti_fail(ctx, LT_EINVAL,
                        "frozen_type %s and clustering exclude each other: codebooks are made of f32 weights; leave "
                        "frozen_type out",
                        c->frozen_type);
    if (c->cluster.mode != LT_CLUSTER_STE) return LT_OK;
    if (c->ema_decay > 0)
        return lti_fail(ctx, LT_EINVAL,
                        "ema_decay averages weights, and clusters of the mode 'ste' follow the weights themselves; "
                        "leave it out, or take the mode 'centroids'");
    if (c->cluster.preserve_zeros && strcmp(c->optimizer, "muon") == 0)
        return lti_fail(ctx, LT_EINVAL, "muon moves every weight of a matrix, so zeros are not preserved; take adamw");
    return LT_OK;
}

lt_status lti_config_check(lt_ctx *ctx, const lt_train_config *c)
{
    if (c->size != sizeof *c) return lti_fail(ctx, LT_EINVAL, "lt_train: call lt_train_config_init first");
    const struct {
        const char *name;
        double value, low, high;
    } ranges[] = {{"steps", (double)c->steps, 0, 1e9},
                  {"batch_size", (double)c->batch_size, 1, 1 << 20},
                  {"grad_accumulation_steps", (double)c->grad_accumulation_steps, 1, 1 << 20},
                  {"learning_rate", c->learning_rate, 0, 1e6},
                  {"warmup_ratio", c->warmup_ratio, 0, 1},
                  {"lr_min_ratio", c->lr_min_ratio, 0, 1},
                  {"weight_decay", c->weight_decay, 0, 1e6},
                  {"max_grad_norm", c->max_grad_norm, 0, 1e30},
                  {"layer_decay", c->layer_decay, 1e-6, 1},
                  {"ema_decay", c->ema_decay, 0, 0.99999999},
                  {"label_smoothing", c->label_smoothing, 0, 0.999999},
                  {"save_every", (double)c->save_every, 0, 1e9},
                  {"keep", (double)c->keep, 1, 1e6},
                  {"eval_every", (double)c->eval_every, 0, 1e9},
                  {"log_every", (double)c->log_every, 1, 1e9},
                  {"qat_start", c->qat_start, 0, 1}};
    for (int i = 0; i < LTI_COUNT(ranges); i++)
        if (!(ranges[i].value >= ranges[i].low && ranges[i].value <= ranges[i].high))
            return lti_fail(ctx, LT_EINVAL, "%s is %g; it must be in %g to %g", ranges[i].name, ranges[i].value,
                            ranges[i].low, ranges[i].high);
    if (c->steps == 0 && !(c->epochs > 0 && c->epochs < 1e9))
        return lti_fail(ctx, LT_EINVAL, "epochs is %g; give a number above 0, or steps", c->epochs);
    if (!c->optimizer || !c->lr_schedule)
        return lti_fail(ctx, LT_EINVAL, "%s is NULL; call lt_train_config_init first",
                        c->optimizer ? "lr_schedule" : "optimizer");
    LTI_TRY(check_types(ctx, c));
    LTI_TRY(lti_quant_check(ctx, &c->quant));
    if (c->quant.activations != LT_ACT_NONE && lti_quant_weights_stay(&c->quant))
        return lti_fail(
            ctx, LT_EINVAL,
            "quantized activations meet quantized weights: give a type to train on, too, or leave them out");
    LTI_TRY(check_cluster(ctx, c));
    if (strcmp(c->frozen_type, "f32") && !lt_quant_policy_empty(&c->quant))
        return lti_fail(ctx, LT_EINVAL,
                        "frozen_type %s and quantization exclude each other: codes are made of f32 weights; leave "
                        "frozen_type out",
                        c->frozen_type);
    if (c->save_every && !c->out) return lti_fail(ctx, LT_EINVAL, "save_every needs out, a directory to save in");
    return LT_OK;
}

/* Learned scales move more slowly than weights and are not drawn to 0. */
static const lt_optimizer_group learned_scales[] = {{.pattern = "*:scale", .lr_multiplier = 0.1},
                                                    {.pattern = "*:offset", .lr_multiplier = 0.1},
                                                    {.pattern = "*:act_scale", .lr_multiplier = 0.1}};

lt_status lti_config_optimizer(lt_ctx *ctx, const lt_train_config *c, lt_optimizer_config *o)
{
    lt_optimizer_config_init(o);
    if (!lt_optimizer_parse(c->optimizer, &o->kind))
        return lti_fail(ctx, LT_EINVAL, "optimizer '%s' is not known; adamw, adamw_8bit, lion, muon and sgd are",
                        c->optimizer);
    o->beta1 = c->beta1, o->beta2 = c->beta2, o->eps = c->eps;
    o->momentum = c->momentum;
    o->weight_decay = c->weight_decay;
    o->max_grad_norm = c->max_grad_norm;
    o->layer_decay = c->layer_decay;
    o->ema_decay = c->ema_decay;
    o->groups = learned_scales;
    o->n_groups = LTI_COUNT(learned_scales);
    return LT_OK;
}

lt_status lti_config_schedule(lt_ctx *ctx, const lt_train_config *c, lt_schedule *s)
{
    lt_schedule_init(s);
    if (!lt_schedule_parse(c->lr_schedule, &s->kind))
        return lti_fail(ctx, LT_EINVAL, "lr_schedule '%s' is not known; constant, linear, cosine and wsd are",
                        c->lr_schedule);
    s->lr = c->learning_rate;
    s->warmup_ratio = c->warmup_ratio;
    s->min_ratio = c->lr_min_ratio;
    return LT_OK;
}
