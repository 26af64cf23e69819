/* resume.c - a run's state: saved with its arrays, checked and restored.
 *
 * Resume promises the bits of the uninterrupted run, so everything those bits depend on is in the state, and a
 * difference is refused by name. */
#include "train/loop.h"

#include "base/text.h"
#include "data/files.h"
#include "models/model.h"
#include "optim/optimizer_parts.h"
#include "train/checkpoint.h"
#include "train/export.h"
#include "train/metrics.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A network's sizes by name, as --init has them. */
static void network_text(const lt_model *model, char *text, size_t size)
{
    lti_network_config copy = model->net; /* keys give places to write */
    lti_network_key keys[LTI_NETWORK_KEYS];
    int n = model->network->keys(&copy, keys);
    size_t at = (size_t)lti_print(text, size, "%s", model->network->name);
    for (int i = 0; i < n && at < size; i++) {
        const lti_network_key *k = &keys[i];
        const char *between = i ? "," : ":";
        int wrote = 0;
        if (k->optional && !*k->flag) continue; /* of checkpoints that were made before there was such a key */
        if (k->count) wrote = lti_print(text + at, size - at, "%s%s=%lld", between, k->name, (long long)*k->count);
        if (k->number) wrote = lti_print(text + at, size - at, "%s%s=%.17g", between, k->name, *k->number);
        if (k->flag) wrote = lti_print(text + at, size - at, "%s%s=%d", between, k->name, *k->flag);
        if (k->depthwise) wrote = lti_print(text + at, size - at, "%s%s=%d", between, k->name, (int)*k->depthwise);
        for (int h = 0; k->widths && h < k->widths->n_hidden; h++)
            if (at + (size_t)wrote < size)
                wrote += lti_print(text + at + wrote, size - at - (size_t)wrote, "%s%lld",
                                   h ? "/" : ",hidden=", (long long)k->widths->hidden[h]);
        at += (size_t)wrote;
    }
}

/* The function the weights are of: what the shapes of tensors alone do not tell. */
static void model_text(const lt_model *model, char *text, size_t size)
{
    const lt_transformer_config *m = lt_model_config(model);
    if (!m) {
        network_text(model, text, size);
        return;
    }
    lti_print(text, size,
              "%s:vocab=%lld,dim=%lld,hidden=%lld,layers=%lld,heads=%lld,kv_heads=%lld,head_dim=%lld,"
              "rope_theta=%.17g,norm_eps=%.17g,tied=%d,interleaved=%d",
              lt_model_family(model), (long long)m->vocab, (long long)m->dim, (long long)m->hidden,
              (long long)m->layers, (long long)m->heads, (long long)m->kv_heads,
              (long long)(m->head_dim ? m->head_dim : m->dim / m->heads), m->rope_theta, m->norm_eps, m->tied,
              m->rope_interleaved);
}

/* The rest of it: how positions are told apart, and which keys a layer sees. */
static void positions_text(const lt_model *model, char *text, size_t size)
{
    const lt_transformer_config *m = lt_model_config(model);
    *text = 0;
    if (!m) return;
    const lt_rope_scaling *s = &m->rope_scaling;
    lti_print(text, size,
              "scaling=%d:%.9g/%lld/%.9g/%.9g/%.9g/%.9g/%.9g,local=%.9g,window=%lld:%lld/%lld,scale=%.9g,"
              "embeddings=%.9g,activation=%d",
              (int)s->kind, s->factor, (long long)s->original_context, s->low_freq_factor, s->high_freq_factor,
              s->beta_fast, s->beta_slow, s->attention_factor, m->rope_theta_local, (long long)m->window,
              (long long)m->window_first, (long long)m->window_pattern, m->attention_scale, m->embedding_scale,
              (int)m->activation);
}

json_t *lti_policy_json(lt_ctx *ctx, const lt_quant_policy *q)
{
    char type[LT_SCHEME_TEXT], embedding[LT_SCHEME_TEXT];
    lti_text rules = {.ctx = ctx};
    lti_policy_rules(q, &rules);
    json_t *json =
        rules.failed
            ? NULL
            : json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:f,s:f,s:I,s:s,s:s,s:f}", "qat", lt_quant_policy_name(q, type),
                        "qat_embedding", lt_scheme_name(&q->embedding, embedding), "qat_targets",
                        q->targets ? q->targets : "", "tensor_type", rules.data ? rules.data : "", "qat_activations",
                        lt_activations_name(q->activations), "qat_scale", lt_scale_rule_name(q->scale), "qat_gradient",
                        lt_round_gradient_name(q->gradient), "qat_damping", q->damping, "qat_freeze_threshold",
                        q->freeze_threshold, "qat_scale_every", (json_int_t)(q->scale_every > 1 ? q->scale_every : 1),
                        "qat_backward", q->integer_backward ? "int8" : "auto", "qat_observer",
                        lt_observer_name(q->observer), "qat_observe_rate", q->observe_rate);
    lti_text_free(&rules);
    return json;
}

json_t *lti_cluster_json(const lt_cluster_config *c)
{
    return json_pack("{s:I,s:s,s:s,s:b,s:s}", "clusters", (json_int_t)c->clusters, "cluster_mode",
                     lt_cluster_mode_name(c->mode), "cluster_per", c->per == LT_PER_CHANNEL ? "channel" : "tensor",
                     "cluster_preserve_zeros", (int)c->preserve_zeros, "cluster_targets", c->targets ? c->targets : "");
}

/* What must not change between the parts of one run. A new reference. */
static json_t *identity(const lti_loop *l)
{
    char model[400], positions[400];
    model_text(l->model, model, sizeof model);
    positions_text(l->model, positions, sizeof positions);
    const lt_train_config *c = l->config;
    lt_tokenizer *tokenizer = lt_model_tokenizer(l->model);
    lt_optimizer_config given, o; /* o: with the kind's own numbers where none was chosen */
    if (lti_config_optimizer(l->ctx, c, &given) != LT_OK || lti_optimizer_resolve(l->ctx, &given, &o) != LT_OK)
        return NULL;
    json_t *same =
        json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:f,s:s,s:f,s:f,s:s,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:s,"
                  "s:s,s:b,s:b}",
                  "kernels", lt_kernels_in_use(), "version", lt_version(), "data", lt_dataset_hash(l->train), "model",
                  model, "positions", positions, "tokenizer", tokenizer ? lt_tokenizer_hash(tokenizer) : "", "seed",
                  (json_int_t)c->seed, "steps", (json_int_t)l->steps, "batch_size", (json_int_t)c->batch_size,
                  "grad_accumulation_steps", (json_int_t)c->grad_accumulation_steps, "learning_rate", c->learning_rate,
                  "lr_schedule", c->lr_schedule, "warmup_ratio", c->warmup_ratio, "lr_min_ratio", c->lr_min_ratio,
                  "optimizer", c->optimizer, "weight_decay", c->weight_decay, "beta1", o.beta1, "beta2", o.beta2, "eps",
                  o.eps, "momentum", c->momentum, "max_grad_norm", c->max_grad_norm, "qat_start", c->qat_start,
                  "freeze", c->freeze ? c->freeze : "", "train_only", c->train_only ? c->train_only : "",
                  "checkpoint_activations", (int)c->checkpoint_activations, "double", (int)(sizeof(lt_real) == 8));
    json_t *more =
        json_pack("{s:s,s:s,s:s,s:f,s:f,s:f,s:i,s:s}", "compute", lt_dtype_name(l->recipe.compute), "store_activations",
                  c->store_activations, "frozen_type", c->frozen_type, "layer_decay", c->layer_decay, "ema_decay",
                  c->ema_decay, "label_smoothing", c->label_smoothing, "classes", (int)lt_model_classes(l->model),
                  "qat_init", c->qat_init ? c->qat_init : "none");
    json_t *qat = lti_policy_json(l->ctx, &c->quant), *cluster = lti_cluster_json(&c->cluster);
    bool whole = same && more && qat && cluster && !json_object_update(same, more) && !json_object_update(same, qat) &&
                 !json_object_update(same, cluster);
    json_decref(more);
    json_decref(qat);
    json_decref(cluster);
    if (whole) return same;
    json_decref(same);
    return NULL;
}

/* The grid of each weight that is on one, by name. A new reference. */
static json_t *grids_json(const lti_loop *l)
{
    json_t *grids = json_object();
    const lt_params *params = lt_model_params(l->model);
    for (int i = 0; grids && l->recipe.quant && i < lt_params_count(params); i++) {
        const lt_param *p = lt_params_at(params, i);
        char name[LT_SCHEME_TEXT];
        lt_scheme s = lt_quant_scheme(l->recipe.quant, p);
        if (lt_param_role(p) != LT_WEIGHT || lt_scheme_is_float(&s)) continue;
        if (!json_object_set_new(grids, lt_param_name(p), json_string(lt_scheme_name(&s, name)))) continue;
        json_decref(grids);
        grids = NULL;
    }
    return grids;
}

/* JSON has no NaN: a loss that is not finite is left out, and NaN again when read. */
static void set_loss(json_t *state, const char *key, double loss)
{
    if (state && isfinite(loss)) json_object_set_new(state, key, json_real(loss));
}

static double loss_of(const json_t *state, const char *key)
{
    const json_t *loss = json_object_get(state, key);
    return loss ? json_number_value(loss) : NAN;
}

static json_t *state_of(const lti_loop *l)
{
    const lti_progress *p = &l->at;
    lt_cursor cursor = lt_batches_cursor(l->batches);
    json_t *same = identity(l), *grids = grids_json(l);
    if (!same || !grids) {
        json_decref(same);
        json_decref(grids);
        return NULL;
    }
    json_t *state = json_pack("{s:o,s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:I}", "run", same, "grids", grids, "step",
                              (json_int_t)p->step, "tokens", (json_int_t)p->tokens, "epoch", (json_int_t)cursor.epoch,
                              "index", (json_int_t)cursor.index, "skipped", (json_int_t)p->skipped, "skipped_in_row",
                              (json_int_t)p->skipped_in_row, "rollbacks", (json_int_t)p->rollbacks, "lr_factor",
                              p->lr_factor, "metrics_bytes", (json_int_t)lti_metrics_size(l->metrics));
    set_loss(state, "first_loss", p->first_loss);
    set_loss(state, "last_loss", p->last_loss);
    set_loss(state, "valid_loss", p->valid_loss);
    set_loss(state, "accuracy", p->accuracy);
    return state;
}

lt_status lti_loop_save(lti_loop *l)
{
    const lt_cluster_config *cluster = l->recipe.cluster;
    if (cluster && cluster->mode == LT_CLUSTER_CENTROIDS) /* a checkpoint opens as a model */
        LTI_TRY(lt_cluster_apply(lt_model_params(l->model), cluster, NULL));
    json_t *state = state_of(l);
    if (!state) return lti_fail(l->ctx, LT_ENOMEM, "out of memory while saving a checkpoint");
    lt_status status = lti_checkpoint_save(l->ctx, l->checkpoints, l->at.step, lt_model_params(l->model), state,
                                           l->config->keep, l->config->save_every);
    json_decref(state);
    return status;
}

/* ---- Restoring ---- */

static void value_text(const json_t *v, char *text, size_t size)
{
    if (json_is_string(v))
        snprintf(text, size, "'%s'", json_string_value(v));
    else if (json_is_real(v))
        lti_print(text, size, "%.10g", json_real_value(v));
    else if (json_is_integer(v))
        snprintf(text, size, "%lld", (long long)json_integer_value(v));
    else
        snprintf(text, size, "%s", json_is_true(v) ? "true" : json_is_false(v) ? "false" : "missing");
}

static const char *grid_named(const json_t *grids, const char *tensor)
{
    const char *grid = json_string_value(json_object_get(grids, tensor));
    return grid ? grid : "f32";
}

/* A weight on another grid is named itself: which of its options made it so may be any of four. */
static lt_status check_grids(lti_loop *l, const char *path, const json_t *saved)
{
    json_t *now = grids_json(l);
    if (!now) return lti_fail(l->ctx, LT_ENOMEM, "out of memory while resuming");
    lt_status status = LT_OK;
    const lt_params *params = lt_model_params(l->model);
    for (int i = 0; json_is_object(saved) && i < lt_params_count(params) && status == LT_OK; i++) {
        const char *name = lt_param_name(lt_params_at(params, i)), *was = grid_named(saved, name),
                   *is = grid_named(now, name);
        if (strcmp(was, is) == 0) continue;
        status = lti_fail(l->ctx, LT_EINVAL,
                          "%s: cannot go on bit for bit: '%s' was trained on %s and would be on %s now; use the old "
                          "types (qat, qat_embedding, tensor_type), or --resume never to start anew",
                          path, name, was, is);
    }
    json_decref(now);
    return status;
}

static lt_status check_identity(lti_loop *l, const char *path, json_t *saved)
{
    json_t *now = identity(l);
    if (!now) return lti_fail(l->ctx, LT_ENOMEM, "out of memory while resuming");
    lt_status status = LT_OK;
    const char *key;
    json_t *value;
    json_object_foreach(now, key, value)
    {
        const json_t *old = json_object_get(saved, key);
        if (json_equal(old, value)) continue;
        char was[420], is[420];
        value_text(old, was, sizeof was);
        value_text(value, is, sizeof is);
        status =
            lti_fail(l->ctx, LT_EINVAL,
                     "%s: cannot go on bit for bit: %s was %s and is %s now; use the old setting, or --resume never "
                     "to start anew",
                     path, key, was, is);
        break;
    }
    json_decref(now);
    return status;
}

static int64_t whole(const json_t *state, const char *key)
{
    return json_integer_value(json_object_get(state, key));
}

static lt_status restore(lti_loop *l, const char *path, const json_t *state)
{
    lti_progress *p = &l->at;
    LTI_TRY(check_grids(l, path, json_object_get(state, "grids")));
    LTI_TRY(check_identity(l, path, json_object_get(state, "run")));
    LTI_TRY(lti_checkpoint_load(l->ctx, path, lt_model_params(l->model)));
    p->step = whole(state, "step");
    p->tokens = whole(state, "tokens");
    p->skipped = whole(state, "skipped");
    p->skipped_in_row = whole(state, "skipped_in_row");
    p->rollbacks = whole(state, "rollbacks");
    p->lr_factor = json_number_value(json_object_get(state, "lr_factor"));
    p->first_loss = loss_of(state, "first_loss");
    p->last_loss = loss_of(state, "last_loss");
    p->valid_loss = loss_of(state, "valid_loss");
    p->accuracy = loss_of(state, "accuracy");
    l->metrics_bytes = whole(state, "metrics_bytes");
    return lt_batches_seek(l->batches, (lt_cursor){whole(state, "epoch"), whole(state, "index")});
}

static lt_status resume_from(lti_loop *l, const char *path)
{
    json_t *state;
    LTI_TRY(lti_checkpoint_read(l->ctx, path, &state));
    lt_status status = restore(l, path, state);
    json_decref(state);
    return status;
}

/* The type that products were computed in, where this run leaves it to be chosen. */
static lt_status adopt_compute(lti_loop *l)
{
    json_t *state;
    if (strcmp(l->config->compute, "auto")) return LT_OK;
    LTI_TRY(lti_checkpoint_read(l->ctx, l->resumed_from, &state));
    const json_t *run = json_object_get(state, "run");
    lt_dtype type;
    if (lti_config_type(json_string_value(json_object_get(run, "compute")), &type)) {
        l->recipe.compute = type;
        snprintf(l->compute_note, sizeof l->compute_note, "auto: as the checkpoint has it");
    }
    json_decref(state);
    return LT_OK;
}

lt_status lti_loop_find(lti_loop *l)
{
    const char *resume = l->config->resume ? l->config->resume : "never";
    if (strcmp(resume, "never") == 0) return LT_OK;
    if (strcmp(resume, "auto")) {
        l->resumed_from = lti_strdup(l->ctx, resume);
        if (!l->resumed_from) return LT_ENOMEM;
    } else if (l->checkpoints) {
        LTI_TRY(lti_checkpoint_find(l->ctx, l->checkpoints, 1, &l->resumed_from, l->skipped, sizeof l->skipped));
    }
    return l->resumed_from ? adopt_compute(l) : LT_OK;
}

lt_status lti_loop_resume(lti_loop *l)
{
    const char *resume = l->config->resume ? l->config->resume : "never";
    if (strcmp(resume, "never") == 0) return l->checkpoints ? lti_remove_tree(l->ctx, l->checkpoints) : LT_OK;
    if (l->resumed_from) LTI_TRY(resume_from(l, l->resumed_from));
    return l->checkpoints ? lti_checkpoint_drop_after(l->ctx, l->checkpoints, l->at.step) : LT_OK;
}

lt_status lti_loop_rollback(lti_loop *l)
{
    char *path = NULL, skipped[64];
    int64_t every = l->config->save_every; /* one saved by an interruption would make the bits depend on it */
    if (l->checkpoints && every)
        LTI_TRY(lti_checkpoint_find(l->ctx, l->checkpoints, every, &path, skipped, sizeof skipped));
    if (!path) return lti_fail(l->ctx, LT_EINVAL, "there is no checkpoint to go back to; give save_every");
    lti_progress before = l->at;
    lt_status status = resume_from(l, path);
    lti_free(l->ctx, path);
    LTI_TRY(status);
    LTI_TRY(lti_checkpoint_drop_after(l->ctx, l->checkpoints, l->at.step));
    l->at.rollbacks = before.rollbacks + 1;
    l->at.skipped = before.skipped;
    l->at.skipped_in_row = 0;
    l->at.lr_factor = before.lr_factor / 2;
    return LT_OK;
}
