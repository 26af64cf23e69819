/* create.c - new models from a line of text, transformers and networks, and what data leaves no choice about.
 *
 * Data decides the sizes that the line leaves out; what both say must agree. It is never the other way round: data is
 * not cut, padded or scaled to fit a model. */
#include "base/text.h"
#include "models/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST_KEY = 32, LONGEST_VALUE = 128 };

/* ---- The line ---- */

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
        double value;
        LTI_TRY(lti_init_number(ctx, key, text, keys[i].count != NULL, &value));
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

/* The keys behind the name, into a network or a transformer. */
static lt_status parse_keys(lt_model *m, const char *at)
{
    while (*at) {
        char key[LONGEST_KEY], value[LONGEST_VALUE];
        int used = 0;
        if (sscanf(at, "%31[a-z_]=%127[^,]%n", key, value, &used) != 2)
            return lti_fail(m->ctx, LT_EINVAL, "init: '%s' is no list of key=value", at);
        LTI_TRY(m->network ? lti_network_set(m->ctx, m->network, &m->net, key, value)
                           : set_key(m->ctx, &m->config, key, value));
        at += used;
        if (*at == ',') at++;
    }
    return LT_OK;
}

static lt_status parse_init(lt_model *m, const char *init)
{
    char name[LONGEST_KEY];
    lt_transformer_config *c = &m->config;
    size_t length = strcspn(init, ":");
    snprintf(name, sizeof name, "%.*s", length < sizeof name ? (int)length : LONGEST_KEY - 1, init);
    const char *keys = init + length + (init[length] == ':');
    const lti_family *family = lti_family_named(name);
    m->network = lti_network_named(name);
    if (m->network) {
        m->prefix = "";
        m->network->defaults(&m->net);
        return parse_keys(m, keys);
    }
    if (!family)
        return lti_fail(m->ctx, LT_EINVAL,
                        "init: '%s' is not known; write llama:layers=4,dim=256,hidden=768,heads=8 (families: %s; "
                        "networks: %s)",
                        init, lti_family_names(), lti_network_names());
    m->prefix = family->prefixes[0];
    lt_transformer_config_init(c, family->id);
    c->layers = 4, c->dim = 256, c->hidden = 768, c->heads = 8, c->kv_heads = 0, c->vocab = 0, c->context = 512;
    LTI_TRY(parse_keys(m, keys));
    if (!c->kv_heads) c->kv_heads = c->heads;
    if (family->id == LT_GEMMA3) c->embedding_scale = (double)sqrtf((float)c->dim);
    return LT_OK;
}

/* ---- What data decides ---- */

static int64_t *classes_of(lt_model *m)
{
    if (m->network) return lti_network_count(m->network, &m->net, "classes");
    return lt_transformer_is_encoder(&m->config) ? &m->config.classes : NULL;
}

static lt_status take_data(lt_model *m, const lt_dataset *data)
{
    int64_t shape[LT_MAX_RANK], *classes = classes_of(m);
    if (lt_dataset_kind_of(data) == LT_DATA_NUMBERS && m->network)
        LTI_TRY(m->network->take_rows(m->ctx, &m->net, lt_dataset_row_shape(data, shape), shape));
    if (classes && *classes == 0) *classes = lt_dataset_classes(data);
    return LT_OK;
}

/* {"0": name, ...} of the data's classes; none where they have no names. */
lt_status lti_model_take_labels(lt_model *m, const lt_dataset *data)
{
    int64_t classes = lt_model_classes(m), named = lt_dataset_classes(data);
    if (classes == 0 || !lt_dataset_label(data, 0)) return LT_OK;
    json_decref(m->labels);
    bool failed = !(m->labels = json_object());
    for (int64_t i = 0; i < classes && !failed; i++) {
        char key[24], spare[32];
        const char *name = i < named ? lt_dataset_label(data, i) : NULL;
        snprintf(key, sizeof key, "%lld", (long long)i);
        snprintf(spare, sizeof spare, "LABEL_%lld", (long long)i);
        failed = json_object_set_new(m->labels, key, json_string(name ? name : spare)) != 0;
    }
    return failed ? lti_fail(m->ctx, LT_ENOMEM, "out of memory for the names of the classes, or one is no UTF-8")
                  : LT_OK;
}

/* ---- The model ---- */

static int64_t *vocab_of(lt_model *m)
{
    return m->network ? lti_network_count(m->network, &m->net, "vocab") : &m->config.vocab;
}

static lt_status take_tokenizer(lt_model *m, const char *tokenizer)
{
    if (lt_model_reads(m) == LT_DATA_NUMBERS) {
        if (!tokenizer) return LT_OK;
        return lti_fail(m->ctx, LT_EINVAL, "init: this %s reads numbers, and has no use for the tokenizer %s",
                        lt_model_family(m), tokenizer);
    }
    LTI_TRY(tokenizer ? lt_tokenizer_open(m->ctx, tokenizer, &m->tokenizer)
                      : lt_tokenizer_bytes(m->ctx, &m->tokenizer));
    int64_t *vocab = vocab_of(m);
    if (*vocab == 0) *vocab = lt_tokenizer_vocab_size(m->tokenizer);
    return LT_OK;
}

static lt_status check_sizes(const lt_model *m)
{
    int64_t ids = m->tokenizer ? lt_tokenizer_vocab_size(m->tokenizer) : 0;
    LTI_TRY(m->network ? m->network->check(m->ctx, &m->net) : lti_transformer_check(m->ctx, &m->config));
    if (ids <= lt_model_vocab(m)) return LT_OK;
    return lti_fail(m->ctx, LT_EINVAL, "init: vocab=%lld is less than the %lld tokens of the tokenizer",
                    (long long)lt_model_vocab(m), (long long)ids);
}

static lt_status fill_new(lt_model *m, const char *init, const char *tokenizer, const lt_dataset *data, uint64_t seed)
{
    LTI_TRY(parse_init(m, init));
    if (data) LTI_TRY(take_data(m, data));
    if (data) LTI_TRY(lti_model_check_kind(m, data));
    LTI_TRY(take_tokenizer(m, tokenizer));
    LTI_TRY(check_sizes(m));
    if (data) LTI_TRY(lt_model_check_data(m, data));
    if (data) LTI_TRY(lti_model_take_labels(m, data));
    LTI_TRY(lt_params_create(m->ctx, &m->params));
    return m->network ? m->network->params(m->params, &m->net, seed)
                      : lt_transformer_params(m->params, &m->config, seed);
}

lt_status lt_model_create_for(lt_ctx *ctx, const char *init, const char *tokenizer, const lt_dataset *data,
                              uint64_t seed, lt_model **model)
{
    *model = NULL;
    lt_transformer_config config;
    lt_transformer_config_init(&config, LT_LLAMA);
    lt_model *m;
    LTI_TRY(lti_model_new(ctx, &config, &m));
    lt_status status = fill_new(m, init, tokenizer, data, seed);
    if (status == LT_OK)
        *model = m;
    else
        lt_model_free(m);
    return status;
}

lt_status lt_model_create(lt_ctx *ctx, const char *init, const char *tokenizer, uint64_t seed, lt_model **model)
{
    return lt_model_create_for(ctx, init, tokenizer, NULL, seed, model);
}
