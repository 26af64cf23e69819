/* fuzz_config.c - config.json, Hugging Face's and that of lathe's networks: what is accepted passes its own check and
 * survives being written. */
#include "data/json.h"
#include "models/model.h"
#include "tests/fuzz/fuzzing.h"

static bool same(const lt_transformer_config *a, const lt_transformer_config *b)
{
    return a->vocab == b->vocab && a->dim == b->dim && a->hidden == b->hidden && a->layers == b->layers &&
           a->heads == b->heads && a->kv_heads == b->kv_heads && lti_head_dim(a) == lti_head_dim(b) &&
           a->context == b->context && a->rope_theta == b->rope_theta && a->norm_eps == b->norm_eps &&
           a->tied == b->tied && a->family == b->family && a->window == b->window &&
           a->window_first == b->window_first && a->window_pattern == b->window_pattern &&
           a->rope_scaling.kind == b->rope_scaling.kind && a->rope_scaling.factor == b->rope_scaling.factor;
}

static lt_status count_tensors(void *user, const lti_tensor *tensor)
{
    FZ_CHECK(tensor->name[0] && tensor->hf[0] && tensor->rank > 0, "a tensor without name or shape");
    return ++*(int *)user < 100 ? LT_OK : LT_ELIMIT;
}

static void transformer(lt_ctx *ctx, const json_t *json)
{
    lt_transformer_config config, again;
    if (!fz_accept(ctx, lti_config_from_json(ctx, "config.json", json, &config))) return;
    int tensors = 0;
    FZ_CHECK(lti_transformer_check(ctx, &config) == LT_OK, "%s", lt_ctx_message(ctx));
    lt_status status = lti_transformer_each(&config, count_tensors, &tensors);
    FZ_CHECK(status == LT_OK || tensors == 100, "%d tensors", tensors);
    json_t *written = lti_config_to_json(&config, json, "float32");
    FZ_CHECK(written != NULL, "cannot be written");
    FZ_CHECK(lti_config_from_json(ctx, "written", written, &again) == LT_OK, "%s", lt_ctx_message(ctx));
    FZ_CHECK(same(&config, &again), "it came back different");
    FZ_CHECK(lti_config_check_written(ctx, &config, written) == LT_OK, "%s", lt_ctx_message(ctx));
    json_decref(written);
}

static void network(lt_ctx *ctx, const json_t *json)
{
    const lti_network *kind, *other;
    lti_network_config config, again;
    if (!fz_accept(ctx, lti_network_from_json(ctx, "config.json", json, &kind, &config))) return;
    int tensors = 0;
    FZ_CHECK(kind->check(ctx, &config) == LT_OK, "%s", lt_ctx_message(ctx));
    FZ_CHECK(kind->facts(&config).width > 0, "no width");
    lt_status status = kind->each(&config, count_tensors, &tensors);
    FZ_CHECK(status == LT_OK || tensors == 100, "%d tensors", tensors);
    json_t *labels = json_object_get(json, "id2label");
    json_t *written = lti_network_to_json(kind, &config, labels, "float32"), *twice;
    FZ_CHECK(written != NULL, "cannot be written");
    FZ_CHECK(lti_network_from_json(ctx, "written", written, &other, &again) == LT_OK, "%s", lt_ctx_message(ctx));
    twice = lti_network_to_json(other, &again, labels, "float32");
    FZ_CHECK(kind == other && json_equal(written, twice), "it came back different");
    json_decref(twice);
    json_decref(written);
}

static void body(lt_ctx *ctx, const uint8_t *data, size_t size)
{
    json_t *json;
    if (lti_json_parse(ctx, "config.json", 0, (const char *)data, size, &json) != LT_OK) return;
    const char *type = json_string_value(json_object_get(json, "model_type"));
    if (type && lti_network_of_model_type(type))
        network(ctx, json);
    else if (json_is_object(json))
        transformer(ctx, json);
    json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fz_run(body, data, size);
}
