/* hf.c - Hugging Face directories: config.json, model.safetensors (or shards), tokenizer files; and the checkpoints of
 * lathe's runs, whose directory has the rest.
 *
 * Every tensor the config promises must be there with its shape, and every tensor that is there must be known (but for
 * buffers old exporters wrote): a mismatch names the tensor. Weights are copied, because training writes them. */
#include "data/files.h"
#include "data/json.h"
#include "models/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG_LIMIT (8u << 20)

lt_status lti_model_new(lt_ctx *ctx, const lt_llama_config *config, lt_model **model)
{
    *model = lti_alloc(ctx, sizeof **model);
    if (!*model) return LT_ENOMEM;
    (*model)->ctx = ctx;
    (*model)->config = *config;
    return LT_OK;
}

void lt_model_free(lt_model *model)
{
    if (!model) return;
    lt_params_free(model->params);
    lt_tensors_close(model->mapped);
    if (!model->borrows_tokenizer) lt_tokenizer_free(model->tokenizer);
    json_decref(model->json);
    json_decref(model->generation);
    lti_free(model->ctx, model);
}

/* ---- Reading ---- */

typedef struct loader {
    lt_model *model;
    lt_tensors *file;
    const char *path;
    bool own_names; /* of a checkpoint: lathe's, beside optimizer state; else Hugging Face's, and nothing else */
    int used;
} loader;

static bool same_shape(const lt_tensors *file, int i, const lti_tensor *t)
{
    if (lt_tensors_rank(file, i) != t->rank) return false;
    for (int k = 0; k < t->rank; k++)
        if (lt_tensors_shape(file, i)[k] != t->shape[k]) return false;
    return true;
}

static void dims_text(int rank, const int64_t *shape, char *text, size_t size)
{
    size_t n = 0;
    for (int k = 0; k < rank && n < size; k++)
        n += (size_t)snprintf(text + n, size - n, "%s%lld", k ? ", " : "", (long long)shape[k]);
    if (rank == 0) snprintf(text, size, "%s", "");
}

static lt_status load_tensor(void *user, const lti_tensor *t)
{
    loader *l = user;
    lt_ctx *ctx = l->model->ctx;
    const char *name = l->own_names ? t->name : t->hf;
    int i = lt_tensors_find(l->file, name);
    if (i < 0)
        return lti_fail(ctx, LT_EFORMAT, "%s: tensor '%s' is missing; config.json promises it%s", l->path, name,
                        strcmp(t->name, "output.weight") ? "" : " (or set tie_word_embeddings to true)");
    if (!same_shape(l->file, i, t)) {
        char found[128], wanted[128];
        dims_text(lt_tensors_rank(l->file, i), lt_tensors_shape(l->file, i), found, sizeof found);
        dims_text(t->rank, t->shape, wanted, sizeof wanted);
        return lti_fail(ctx, LT_EFORMAT, "%s: tensor '%s' is [%s], but config.json makes it [%s]",
                        lt_tensors_file(l->file, i), name, found, wanted);
    }
    lt_param *param;
    LTI_TRY(lt_params_add(l->model->params, t->name, LT_F32, t->rank, t->shape, LT_WEIGHT, &param));
    LTI_TRY(lt_tensors_load_real(l->file, i, lt_param_data(param)));
    lt_param_touch(param);
    l->used++;
    return LT_OK;
}

/* Tensors a file may hold beyond the table: buffers of old exporters, and the copy of a tied head. */
static bool ignorable(const lt_model *m, const char *name)
{
    size_t n = strlen(name);
    const char *buffer = ".rotary_emb.inv_freq";
    if (n > strlen(buffer) && strcmp(name + n - strlen(buffer), buffer) == 0) return true;
    return m->config.tied && strcmp(name, "lm_head.weight") == 0;
}

typedef struct name_search {
    const char *hf;
    bool found;
} name_search;

static lt_status match_hf(void *user, const lti_tensor *t)
{
    name_search *s = user;
    if (strcmp(s->hf, t->hf) == 0) s->found = true;
    return LT_OK;
}

static lt_status check_all_known(const loader *l)
{
    for (int i = 0; i < lt_tensors_count(l->file); i++) {
        name_search s = {lt_tensors_name(l->file, i), false};
        LTI_TRY(lti_llama_each(&l->model->config, match_hf, &s));
        if (!s.found && !ignorable(l->model, s.hf))
            return lti_fail(l->model->ctx, LT_EFORMAT,
                            "%s: tensor '%s' has no place in this model; is config.json of another model?",
                            lt_tensors_file(l->file, i), s.hf);
    }
    return LT_OK;
}

static lt_status load_weights(lt_model *m, const char *path, bool own_names)
{
    loader l = {.model = m, .path = path, .own_names = own_names};
    LTI_TRY(lt_params_create(m->ctx, &m->params));
    LTI_TRY(lt_tensors_open(m->ctx, path, &l.file));
    lt_status status = lti_llama_each(&m->config, load_tensor, &l);
    if (status == LT_OK && !own_names && l.used != lt_tensors_count(l.file)) status = check_all_known(&l);
    lt_tensors_close(l.file);
    return status;
}

/* generation_config.json is optional, and only carried along. */
static lt_status read_generation(lt_model *m, const char *path)
{
    char *file = lti_path_join(m->ctx, path, "generation_config.json");
    if (!file) return LT_ENOMEM;
    lt_status status = lti_file_exists(file) ? lti_json_read(m->ctx, file, CONFIG_LIMIT, &m->generation) : LT_OK;
    lti_free(m->ctx, file);
    return status;
}

static lt_status check_vocabulary(const lt_model *m, const char *path)
{
    int64_t ids = lt_tokenizer_vocab_size(m->tokenizer);
    if (ids <= m->config.vocab) return LT_OK;
    return lti_fail(m->ctx, LT_EFORMAT,
                    "%s: the tokenizer has %lld tokens, but the model's embedding has %lld rows; it is another model's",
                    path, (long long)ids, (long long)m->config.vocab);
}

/* `weights`: the directory itself, or the state.safetensors of a checkpoint of a run in this directory. */
static lt_status fill_model(lt_model *m, const char *directory, const char *weights)
{
    char *config = lti_path_join(m->ctx, directory, "config.json");
    lt_status status = config ? lti_json_read(m->ctx, config, CONFIG_LIMIT, &m->json) : LT_ENOMEM;
    if (status == LT_OK) status = lti_config_from_json(m->ctx, config, m->json, &m->config);
    lti_free(m->ctx, config);
    LTI_TRY(status);
    LTI_TRY(read_generation(m, directory));
    LTI_TRY(load_weights(m, weights, weights != directory));
    LTI_TRY(lt_tokenizer_open(m->ctx, directory, &m->tokenizer));
    return check_vocabulary(m, directory);
}

/* RUN/checkpoints/ckpt-N: weights from there, everything else from RUN. */
static lt_status fill_from_checkpoint(lt_model *m, const char *path, const char *weights)
{
    char *run = lti_path_join(m->ctx, path, "../..");
    lt_status status = run ? fill_model(m, run, weights) : LT_ENOMEM;
    lti_free(m->ctx, run);
    return status;
}

static lt_status fill_from(lt_model *m, const char *path)
{
    char *state = lti_path_join(m->ctx, path, "state.safetensors");
    if (!state) return LT_ENOMEM;
    lt_status status = lti_file_exists(state) ? fill_from_checkpoint(m, path, state) : fill_model(m, path, path);
    lti_free(m->ctx, state);
    return status;
}

lt_status lt_model_open(lt_ctx *ctx, const char *path, lt_model **model)
{
    *model = NULL;
    if (!lti_is_directory(path))
        return lti_fail(ctx, LT_EIO, "%s: %s; give a directory with config.json, model.safetensors and tokenizer.json",
                        path,
                        lti_file_exists(path) ? "is a file, not a model directory" : "there is no such directory");
    lt_llama_config config;
    lt_llama_config_init(&config);
    lt_model *m;
    LTI_TRY(lti_model_new(ctx, &config, &m));
    lt_status status = fill_from(m, path);
    if (status == LT_OK)
        *model = m;
    else
        lt_model_free(m);
    return status;
}

/* ---- New models ---- */

/* "layers=4" into the config; keys as in lt_llama_config. */
static lt_status set_key(lt_ctx *ctx, lt_llama_config *c, const char *key, const char *text)
{
    const struct {
        const char *key;
        int64_t *count;
        double *number;
        bool *flag;
    } keys[] = {{"vocab", &c->vocab, NULL, NULL},
                {"dim", &c->dim, NULL, NULL},
                {"hidden", &c->hidden, NULL, NULL},
                {"layers", &c->layers, NULL, NULL},
                {"heads", &c->heads, NULL, NULL},
                {"kv_heads", &c->kv_heads, NULL, NULL},
                {"head_dim", &c->head_dim, NULL, NULL},
                {"context", &c->context, NULL, NULL},
                {"rope_theta", NULL, &c->rope_theta, NULL},
                {"norm_eps", NULL, &c->norm_eps, NULL},
                {"tied", NULL, NULL, &c->tied}};
    for (int i = 0; i < LTI_COUNT(keys); i++) {
        if (strcmp(keys[i].key, key)) continue;
        char *end;
        double value = strtod(text, &end);
        if (end == text || *end || !isfinite(value) || (keys[i].count && (fabs(value) > 1e15 || value != trunc(value))))
            return lti_fail(ctx, LT_EINVAL, "init: '%s' is no value for %s", text, key);
        if (keys[i].count) *keys[i].count = (int64_t)value;
        if (keys[i].number) *keys[i].number = value;
        if (keys[i].flag) *keys[i].flag = value != 0;
        return LT_OK;
    }
    return lti_fail(ctx, LT_EINVAL,
                    "init: llama has no '%s'; it has vocab, dim, hidden, layers, heads, kv_heads, "
                    "head_dim, context, rope_theta, norm_eps, tied",
                    key);
}

static lt_status parse_init(lt_ctx *ctx, const char *init, lt_llama_config *c)
{
    lt_llama_config_init(c);
    c->layers = 4, c->dim = 256, c->hidden = 768, c->heads = 8, c->kv_heads = 0, c->vocab = 0, c->context = 512;
    const char *at = strncmp(init, "llama", 5) == 0 ? init + 5 : NULL;
    if (!at || (*at && *at != ':'))
        return lti_fail(ctx, LT_EINVAL, "init: '%s' is not known; write llama:layers=4,dim=256,hidden=768,heads=8",
                        init);
    if (*at == ':') at++;
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
    return LT_OK;
}

static lt_status fill_new(lt_model *m, const char *tokenizer, uint64_t seed)
{
    LTI_TRY(tokenizer ? lt_tokenizer_open(m->ctx, tokenizer, &m->tokenizer)
                      : lt_tokenizer_bytes(m->ctx, &m->tokenizer));
    if (!m->config.vocab) m->config.vocab = lt_tokenizer_vocab_size(m->tokenizer);
    LTI_TRY(lti_llama_check(m->ctx, &m->config));
    LTI_TRY(check_vocabulary(m, tokenizer ? tokenizer : "init"));
    LTI_TRY(lt_params_create(m->ctx, &m->params));
    return lt_llama_params(m->params, &m->config, seed);
}

lt_status lt_model_create(lt_ctx *ctx, const char *init, const char *tokenizer, uint64_t seed, lt_model **model)
{
    *model = NULL;
    lt_llama_config config;
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

const lt_llama_config *lt_model_config(const lt_model *model)
{
    return &model->config;
}

lt_tokenizer *lt_model_tokenizer(const lt_model *model)
{
    return model->tokenizer;
}

const char *lt_model_family(const lt_model *model)
{
    (void)model;
    return "llama";
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

typedef struct hf_search {
    const char *name;
    char *hf;
    size_t size;
    bool found;
} hf_search;

static lt_status match_name(void *user, const lti_tensor *t)
{
    hf_search *s = user;
    if (strcmp(s->name, t->name) == 0) {
        snprintf(s->hf, s->size, "%s", t->hf);
        s->found = true;
    }
    return LT_OK;
}

bool lt_model_hf_name(const lt_model *model, const char *tensor, char *name, size_t size)
{
    hf_search s = {.name = tensor, .hf = name, .size = size};
    return lti_llama_each(&model->config, match_name, &s) == LT_OK && s.found;
}

lt_t lt_model_loss(const lt_model *model, lt_graph *graph, lt_t tokens, lt_t targets, lt_t norm)
{
    return lt_llama_loss(graph, &model->config, tokens, targets, norm);
}

lt_t lt_model_logits(const lt_model *model, lt_graph *graph, lt_t tokens)
{
    return lt_llama_head(graph, &model->config, lt_llama_hidden(graph, &model->config, tokens));
}

void lt_model_set_checkpoint(lt_model *model, bool on)
{
    model->config.checkpoint = on;
}
