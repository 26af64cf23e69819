/* model.c - lt_model: its life, new models from a line of text, and what can be asked of one. */
#include "models/model.h"
#include "base/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

lt_status lti_model_new(lt_ctx *ctx, const lt_transformer_config *config, lt_model **model)
{
    *model = lti_alloc(ctx, sizeof **model);
    if (!*model) return LT_ENOMEM;
    (*model)->ctx = ctx;
    (*model)->config = *config;
    (*model)->prefix = lti_family_of(config->family)->prefixes[0];
    (*model)->weights.ctx = ctx;
    return LT_OK;
}

void lt_model_free(lt_model *model)
{
    if (!model) return;
    lt_params_free(model->params);
    lti_weights_close(&model->weights);
    if (!model->borrows_tokenizer) lt_tokenizer_free(model->tokenizer);
    json_decref(model->json);
    json_decref(model->generation);
    lti_free(model->ctx, model->rope_factors);
    lti_free(model->ctx, model);
}

/* ---- New models ---- */

/* "layers=4" into the config; keys as in lt_transformer_config. */
static lt_status set_key(lt_ctx *ctx, lt_transformer_config *c, const char *key, const char *text)
{
    const bool rotary = !lt_transformer_learns_positions(c), encoder = lt_transformer_is_encoder(c);
    const struct {
        const char *key;
        bool has; /* the family */
        int64_t *count;
        double *number;
        bool *flag;
    } keys[] = {{"vocab", true, &c->vocab, NULL, NULL},        {"dim", true, &c->dim, NULL, NULL},
                {"hidden", true, &c->hidden, NULL, NULL},      {"layers", true, &c->layers, NULL, NULL},
                {"heads", true, &c->heads, NULL, NULL},        {"kv_heads", true, &c->kv_heads, NULL, NULL},
                {"head_dim", true, &c->head_dim, NULL, NULL},  {"context", true, &c->context, NULL, NULL},
                {"window", rotary, &c->window, NULL, NULL},    {"types", encoder, &c->types, NULL, NULL},
                {"classes", encoder, &c->classes, NULL, NULL}, {"rope_theta", rotary, NULL, &c->rope_theta, NULL},
                {"norm_eps", true, NULL, &c->norm_eps, NULL},  {"tied", !encoder, NULL, NULL, &c->tied}};
    for (int i = 0; i < LTI_COUNT(keys); i++) {
        if (!keys[i].has || strcmp(keys[i].key, key)) continue;
        char *end;
        double value = lti_strtod(text, &end);
        if (end == text || *end || !isfinite(value) || (keys[i].count && (fabs(value) > 1e15 || value != trunc(value))))
            return lti_fail(ctx, LT_EINVAL, "init: '%s' is no value for %s", text, key);
        if (keys[i].count) *keys[i].count = (int64_t)value;
        if (keys[i].number) *keys[i].number = value;
        if (keys[i].flag) *keys[i].flag = value != 0;
        return LT_OK;
    }
    return lti_fail(ctx, LT_EINVAL,
                    "init: %s has no '%s'; it has vocab, dim, hidden, layers, heads, kv_heads, head_dim, context, "
                    "norm_eps, %s",
                    lt_family_name(c->family), key,
                    encoder  ? "types, classes"
                    : rotary ? "window, rope_theta, tied"
                             : "tied");
}

static lt_status parse_init(lt_ctx *ctx, const char *init, lt_transformer_config *c)
{
    char name[32];
    size_t length = strcspn(init, ":");
    snprintf(name, sizeof name, "%.*s", length < 31 ? (int)length : 31, init);
    const lti_family *family = lti_family_named(name);
    if (!family)
        return lti_fail(ctx, LT_EINVAL,
                        "init: '%s' is not known; write llama:layers=4,dim=256,hidden=768,heads=8 (families: %s)", init,
                        lti_family_names());
    lt_transformer_config_init(c, family->id);
    c->layers = 4, c->dim = 256, c->hidden = 768, c->heads = 8, c->kv_heads = 0, c->vocab = 0, c->context = 512;
    const char *at = init + length + (init[length] == ':');
    while (*at) {
        char key[32], value[32];
        int used = 0;
        if (sscanf(at, "%31[a-z_]=%31[^,]%n", key, value, &used) != 2)
            return lti_fail(ctx, LT_EINVAL, "init: '%s' is no list of key=value", at);
        LTI_TRY(set_key(ctx, c, key, value));
        at += used;
        if (*at == ',') at++;
    }
    if (!c->kv_heads) c->kv_heads = c->heads;
    if (family->id == LT_GEMMA3) c->embedding_scale = (double)sqrtf((float)c->dim);
    return LT_OK;
}

static lt_status fill_new(lt_model *m, const char *tokenizer, uint64_t seed)
{
    LTI_TRY(tokenizer ? lt_tokenizer_open(m->ctx, tokenizer, &m->tokenizer)
                      : lt_tokenizer_bytes(m->ctx, &m->tokenizer));
    int64_t ids = lt_tokenizer_vocab_size(m->tokenizer);
    if (!m->config.vocab) m->config.vocab = ids;
    LTI_TRY(lti_transformer_check(m->ctx, &m->config));
    if (ids > m->config.vocab)
        return lti_fail(m->ctx, LT_EINVAL, "init: vocab=%lld is less than the %lld tokens of the tokenizer",
                        (long long)m->config.vocab, (long long)ids);
    LTI_TRY(lt_params_create(m->ctx, &m->params));
    return lt_transformer_params(m->params, &m->config, seed);
}

lt_status lt_model_create(lt_ctx *ctx, const char *init, const char *tokenizer, uint64_t seed, lt_model **model)
{
    *model = NULL;
    lt_transformer_config config;
    LTI_TRY(parse_init(ctx, init, &config));
    lt_model *m;
    LTI_TRY(lti_model_new(ctx, &config, &m));
    lt_status status = fill_new(m, tokenizer, seed);
    if (status == LT_OK)
        *model = m;
    else
        lt_model_free(m);
    return status;
}

/* ---- Looking inside ---- */

lt_params *lt_model_params(const lt_model *model)
{
    return model->params;
}

const lt_transformer_config *lt_model_config(const lt_model *model)
{
    return &model->config;
}

lt_tokenizer *lt_model_tokenizer(const lt_model *model)
{
    return model->tokenizer;
}

const char *lt_model_family(const lt_model *model)
{
    return lt_family_name(model->config.family);
}

bool lt_model_frozen(const lt_model *model)
{
    return model->frozen;
}

int64_t lt_model_parameters(const lt_model *model)
{
    int64_t count = 0;
    for (int i = 0; i < lt_params_count(model->params); i++) {
        lt_param *p = lt_params_at(model->params, i);
        if (lt_param_role(p) == LT_WEIGHT) count += lt_param_count(p);
    }
    return count;
}

static int add_end(int32_t ids[8], int n, int64_t id)
{
    for (int i = 0; i < n; i++)
        if (ids[i] == id) return n;
    if (id < 0 || id > INT32_MAX || n == 8) return n;
    ids[n] = (int32_t)id;
    return n + 1;
}

static int add_ends(int32_t ids[8], int n, const json_t *object)
{
    const json_t *eos = json_object_get(object, "eos_token_id");
    if (json_is_integer(eos)) n = add_end(ids, n, json_integer_value(eos));
    for (size_t i = 0; i < json_array_size(eos); i++)
        if (json_is_integer(json_array_get(eos, i))) n = add_end(ids, n, json_integer_value(json_array_get(eos, i)));
    return n;
}

int lt_model_end_ids(const lt_model *model, int32_t ids[8])
{
    int n = add_ends(ids, 0, model->generation);
    if (n == 0) n = add_ends(ids, n, model->json);
    return add_end(ids, n, lt_tokenizer_eos(model->tokenizer));
}

const char *lt_model_label(const lt_model *model, int64_t index)
{
    char key[32];
    snprintf(key, sizeof key, "%lld", (long long)index);
    return json_string_value(json_object_get(json_object_get(model->json, "id2label"), key));
}

typedef struct hf_search {
    const char *name, *prefix;
    char *hf;
    size_t size;
    bool found;
} hf_search;

static lt_status match_name(void *user, const lti_tensor *t)
{
    hf_search *s = user;
    if (strcmp(s->name, t->name) == 0) {
        lti_hf_name(t, s->prefix, s->hf, s->size);
        s->found = true;
    }
    return LT_OK;
}

bool lt_model_hf_name(const lt_model *model, const char *tensor, char *name, size_t size)
{
    hf_search s = {.name = tensor, .prefix = model->prefix, .hf = name, .size = size};
    return lti_transformer_each(&model->config, match_name, &s) == LT_OK && s.found;
}

lt_t lt_model_loss(const lt_model *model, lt_graph *graph, const lt_model_input *input, lt_t targets, lt_t norm)
{
    return lt_transformer_loss(graph, &model->config, input, targets, norm);
}

lt_t lt_model_hidden(const lt_model *model, lt_graph *graph, const lt_model_input *input)
{
    return lt_transformer_hidden(graph, &model->config, input);
}

lt_t lt_model_logits(const lt_model *model, lt_graph *graph, const lt_model_input *input)
{
    return lt_transformer_head(graph, &model->config, lt_model_hidden(model, graph, input));
}

void lt_model_set_checkpoint(lt_model *model, bool on)
{
    model->config.checkpoint = on;
}
