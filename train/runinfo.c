/* runinfo.c - run.json: what ran, on what, and what came out; config.yaml: the resolved configuration. */
#include "train/loop.h"

#include "data/files.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* XXH3 over the hashes of all weights in order: one number for "the same model". */
static void weights_hash(const lt_params *params, char hash[33])
{
    char both[64];
    memset(both, '0', sizeof both);
    for (int i = 0; i < lt_params_count(params); i++) {
        const lt_param *p = lt_params_at(params, i);
        char one[33];
        if (lt_param_role(p) != LT_WEIGHT) continue;
        lti_hash_bytes(lt_param_read(p), lt_param_bytes(p), one);
        memcpy(both + 32, one, 32);
        lti_hash_bytes(both, sizeof both, hash);
        memcpy(both, hash, 32);
    }
}

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *run_info(const lti_loop *l, const lt_train_result *r)
{
    char hash[33] = "";
    const lt_train_config *c = l->config;
    weights_hash(lt_model_params(l->model), hash);
    lt_tokenizer *tokenizer = lt_model_tokenizer(l->model);
    json_t *info =
        json_pack("{s:s,s:s,s:i,s:s,s:I,s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:I}", "lathe", lt_version(), "kernels",
                  lt_kernels_in_use(), "threads", lt_threads(), "family", lt_model_family(l->model), "parameters",
                  (json_int_t)lt_model_parameters(l->model), "data_xxh3", lt_dataset_hash(l->train), "tokenizer_xxh3",
                  tokenizer ? lt_tokenizer_hash(tokenizer) : "", "weights_xxh3", hash, "steps", (json_int_t)r->steps,
                  "tokens", (json_int_t)r->tokens, "skipped_steps", (json_int_t)r->skipped_steps, "rollbacks",
                  (json_int_t)r->rollbacks, "peak_rss_bytes", (json_int_t)r->peak_rss_bytes);
    if (!info) return NULL;
    json_object_set_new(info, "seed", json_integer((json_int_t)c->seed));
    json_object_set_new(info, "command", c->command ? json_string(c->command) : json_null());
    json_object_set_new(info, "first_loss", number(r->first_loss));
    json_object_set_new(info, "last_loss", number(r->last_loss));
    json_object_set_new(info, "valid_loss", number(r->valid_loss));
    json_object_set_new(info, "accuracy", number(r->accuracy));
    json_object_set_new(info, "compute", json_string(lt_dtype_name(l->recipe.compute)));
    json_object_set_new(info, "compute_note", json_string(l->compute_note));
    json_object_set_new(info, "store_activations", json_string(c->store_activations));
    json_object_set_new(info, "frozen_type", json_string(c->frozen_type));
    json_t *policy = lt_quant_policy_empty(&c->quant) ? NULL : lti_policy_json(l->ctx, &c->quant);
    if (policy) json_object_set_new(info, "quantization", policy);
    if (c->cluster.clusters) json_object_set_new(info, "clustering", lti_cluster_json(&c->cluster));
    json_object_set_new(info, "optimizer", json_string(c->optimizer));
    json_object_set_new(info, "seconds", number(r->seconds));
    json_object_set_new(info, "tokens_per_second", number(r->tokens_per_second));
    json_object_set_new(info, "forecast_bytes", json_integer((json_int_t)r->forecast.total));
    return info;
}

static lt_status write_text(lt_ctx *ctx, const char *directory, const char *name, const char *text)
{
    char *path = lti_path_join(ctx, directory, name);
    lt_status status = path ? lti_file_write_atomic(ctx, path, text, strlen(text)) : LT_ENOMEM;
    lti_free(ctx, path);
    return status;
}

lt_status lti_write_run_info(lti_loop *l, const lt_train_result *r)
{
    json_t *info = run_info(l, r);
    char *text = info ? json_dumps(info, JSON_INDENT(2)) : NULL;
    lt_status status = text ? write_text(l->ctx, l->config->out, "run.json", text)
                            : lti_fail(l->ctx, LT_ENOMEM, "out of memory while writing run.json");
    free(text);
    json_decref(info);
    if (status == LT_OK && l->config->config_yaml)
        status = write_text(l->ctx, l->config->out, "config.yaml", l->config->config_yaml);
    return status;
}
