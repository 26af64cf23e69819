/* open.c - models from files: Hugging Face directories (config.json, model.safetensors or shards, tokenizer files),
 * checkpoints of lathe's runs, whose directory has the rest, and GGUF files, which hold everything.
 *
 * Every tensor the config promises must be there with its shape, and every tensor that is there must be known (but for
 * buffers old exporters wrote): a mismatch names the tensor. To be trained, weights are copied as lt_real in Hugging
 * Face's layout, so that a checkpoint means the same wherever its run began. Frozen, they stay in the mapped file, in
 * its types and its layout, and the config says which that is. */
#include "base/text.h"
#include "data/files.h"
#include "data/json.h"
#include "models/convert_parts.h"
#include "models/model.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define CONFIG_LIMIT (8u << 20)

typedef enum names { NAMES_HF, NAMES_OWN, NAMES_GGUF } names; /* whose names and layout a file has */

typedef struct loader {
    lt_model *model;
    const char *path;
    names names;
    lti_side from, to;
} loader;

/* ---- Tensors ---- */

static size_t element_bytes(const lti_weight *w)
{
    return lt_dtype_is_lattice(w->type) ? 0 : w->type == LT_F32 ? sizeof(float) : lt_dtype_bytes(w->type);
}

static size_t row_bytes(const lti_weight *w, const lti_tensor *t)
{
    return (size_t)(w->bytes / (uint64_t)(t->rank == 2 ? t->shape[0] : 1));
}

/* A stored tensor, or (w NULL) one that is packed under `name`. */
static lt_status read_real(const loader *l, const lti_weight *w, const lti_tensor *t, const char *name, lt_real *dst)
{
    const lt_model *m = l->model;
    return w ? lti_weights_real(&m->weights, w, dst) : lti_packed_read(&m->packed, &m->weights, t, name, dst);
}

/* As lt_real, in the params' layout. */
static lt_status copy_real(const loader *l, const lti_weight *w, const lti_tensor *t, const char *name)
{
    lt_model *m = l->model;
    lt_param *param;
    LTI_TRY(lt_params_add(m->params, t->name, LT_F32, t->rank, t->shape, LT_WEIGHT, &param));
    lt_real *data = lt_param_data(param);
    lt_status status = LT_OK;
    if (!lti_layout_differs(t, l->from, l->to)) {
        status = read_real(l, w, t, name, data);
    } else {
        int64_t n = lt_param_count(param);
        lt_real *read = lti_alloc_array(m->ctx, (size_t)n, sizeof *read);
        status = read ? read_real(l, w, t, name, read) : LT_ENOMEM;
        if (status == LT_OK)
            lti_layout_move(t, l->from, l->to, sizeof *read, lt_param_bytes(param) / (size_t)t->shape[0], read, data);
        lti_free(m->ctx, read);
        int shift = lti_layout_shift(t, l->from, l->to);
        for (int64_t i = 0; i < n && shift; i++) data[i] += (lt_real)shift;
    }
    lt_param_touch(param);
    if (t->fixed) lt_param_set_trainable(param, false);
    return status;
}

/* Stored elements lathe's engine cannot read where they lie: floats at an odd address, or in the double build. */
static bool must_copy(const lti_weight *w)
{
    size_t align = w->type == LT_F32 ? sizeof(float) : lt_dtype_is_lattice(w->type) ? 1 : 2;
    return (w->type == LT_F32 && sizeof(lt_real) != sizeof(float)) || (uintptr_t)w->data % align;
}

/* In place, or, where another layout is needed, as a copy in the file's type. */
static lt_status use_stored(const loader *l, const lti_weight *w, const lti_tensor *t)
{
    lt_params *params = l->model->params;
    bool differs = lti_layout_differs(t, l->from, l->to);
    if (!differs && !must_copy(w)) return lt_params_map(params, t->name, w->type, t->rank, t->shape, w->data, NULL);
    if (w->type == LT_F32) {
        LTI_TRY(copy_real(l, w, t, NULL));
        lt_param_set_trainable(lt_params_find(params, t->name), false);
        return LT_OK;
    }
    lt_param *param;
    LTI_TRY(lt_params_add(params, t->name, w->type, t->rank, t->shape, LT_WEIGHT, &param));
    lti_layout_move(t, l->from, l->to, element_bytes(w), row_bytes(w, t), w->data, lt_param_data(param));
    lt_param_touch(param);
    return LT_OK;
}

/* Numbers of quantized weights are trained and read as lt_real: the packing is another program's. */
static lt_status load_packed(const loader *l, const lti_tensor *t, const char *name)
{
    LTI_TRY(lti_packed_check(&l->model->packed, &l->model->weights, t, name));
    LTI_TRY(copy_real(l, NULL, t, name));
    if (l->model->frozen) lt_param_set_trainable(lt_params_find(l->model->params, t->name), false);
    return LT_OK;
}

static lt_status load_tensor(void *user, const lti_tensor *t)
{
    const loader *l = user;
    lt_model *m = l->model;
    char name[160];
    if (l->names == NAMES_HF)
        lti_hf_name(t, m->prefix, name, sizeof name);
    else
        snprintf(name, sizeof name, "%s", t->name);
    const char *who = l->names == NAMES_GGUF ? "its keys" : "config.json";
    lti_weight w;
    if (l->names == NAMES_HF && lti_packed_has(&m->packed, &m->weights, name)) return load_packed(l, t, name);
    if (!lti_weights_find(&m->weights, name, &w))
        return lti_fail(m->ctx, LT_EFORMAT, "%s: tensor '%s' is missing; %s promises it%s", l->path, name, who,
                        strcmp(t->name, "output.weight") ? "" : " (or set tie_word_embeddings to true)");
    LTI_TRY(lti_weights_check(&m->weights, &w, t, l->from.conv1d, who));
    bool narrow = m->network && w.type != LT_F32; /* convolutions, norms and gates compute from lt_real alone */
    if (m->frozen && w.usable && !narrow) return use_stored(l, &w, t);
    LTI_TRY(copy_real(l, &w, t, NULL));
    if (m->frozen) lt_param_set_trainable(lt_params_find(m->params, t->name), false);
    return LT_OK;
}

/* ---- The parts of a directory ---- */

static lt_status load_weights(lt_model *m, const char *path, names whose)
{
    if (whose == NAMES_HF && !m->network) m->prefix = lti_find_prefix(&m->weights, &m->config);
    if (m->files_only) return LT_OK;
    LTI_TRY(lt_params_create(m->ctx, &m->params));
    lti_side params = lti_side_params(&m->config);
    loader l = {.model = m, .path = path, .names = whose, .from = params, .to = params};
    if (whose == NAMES_HF) l.from = lti_side_hf(&m->config);
    if (whose == NAMES_GGUF) l.from = lti_side_gguf(&m->config);
    LTI_TRY(lti_model_each(m, load_tensor, &l));
    if (whose != NAMES_OWN) LTI_TRY(lti_check_strangers(m, whose == NAMES_HF ? m->prefix : NULL));
    if (!m->frozen) lti_weights_close(&m->weights);
    return LT_OK;
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

/* An id of config.json (a number or a list of them) that the tokenizer does not have; -1 when there is none. */
static int64_t unknown_end(const lt_model *m, const char *key)
{
    const json_t *value = json_object_get(m->json, key);
    size_t n = json_is_array(value) ? json_array_size(value) : json_is_integer(value);
    for (size_t i = 0; i < n; i++) {
        json_int_t id = json_integer_value(json_is_array(value) ? json_array_get(value, i) : value);
        if (id >= lt_tokenizer_vocab_size(m->tokenizer)) return id;
    }
    return -1;
}

/* More rows than tokens are padding, as long as the ids that begin and end a text are among the tokens. */
static lt_status check_vocabulary(const lt_model *m, const char *path)
{
    static const char *const keys[] = {"bos_token_id", "eos_token_id"};
    const char *advice = "it is another model's: put the tokenizer files of this one there";
    int64_t ids = lt_tokenizer_vocab_size(m->tokenizer), vocab = lt_model_vocab(m);
    if (ids > vocab)
        return lti_fail(m->ctx, LT_EFORMAT,
                        "%s: the tokenizer has %lld tokens, but the model's embedding has %lld rows; %s", path,
                        (long long)ids, (long long)vocab, advice);
    for (int i = 0; i < LTI_COUNT(keys); i++) {
        int64_t end = unknown_end(m, keys[i]);
        if (end >= 0)
            return lti_fail(m->ctx, LT_EFORMAT,
                            "%s: '%s' of config.json is %lld, but the tokenizer has %lld tokens; %s", path, keys[i],
                            (long long)end, (long long)ids, advice);
    }
    return LT_OK;
}

/* Says which file of the directory may be meant. */
static lt_status no_config(lt_ctx *ctx, const char *directory)
{
    char found[256] = "";
    DIR *dir = opendir(directory);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (lti_ends_with(entry->d_name, ".gguf") && (!*found || strcmp(entry->d_name, found) < 0))
            snprintf(found, sizeof found, "%s", entry->d_name);
    if (dir) closedir(dir);
    if (*found)
        return lti_fail(ctx, LT_EIO, "%s: there is no config.json in it, but %s; give that file itself", directory,
                        found);
    return lti_fail(ctx, LT_EIO,
                    "%s: there is no config.json in it; a model's directory has config.json, model.safetensors and "
                    "tokenizer.json: fetch what is missing",
                    directory);
}

/* Which kind of model it is, and its sizes. `path`: config.json. */
static lt_status read_config(lt_model *m, const char *path)
{
    const char *type = json_string_value(json_object_get(m->json, "model_type"));
    if (!type || !lti_network_of_model_type(type)) return lti_config_from_json(m->ctx, path, m->json, &m->config);
    m->prefix = "";
    return lti_network_from_json(m->ctx, path, m->json, &m->network, &m->net);
}

/* `weights`: the directory itself, or the state.safetensors of a checkpoint of a run in this directory. */
static lt_status fill_from_directory(lt_model *m, const char *directory, const char *weights)
{
    char *config = lti_path_join(m->ctx, directory, "config.json");
    lt_status status = !config                    ? LT_ENOMEM
                       : !lti_file_exists(config) ? no_config(m->ctx, directory)
                                                  : lti_json_read(m->ctx, config, CONFIG_LIMIT, &m->json);
    if (status == LT_OK) status = lti_packed_take(m->ctx, config, m->json, &m->packed);
    if (status == LT_OK) status = read_config(m, config);
    lti_free(m->ctx, config);
    LTI_TRY(status);
    LTI_TRY(read_generation(m, directory));
    LTI_TRY(lt_tensors_open(m->ctx, weights, &m->weights.tensors));
    LTI_TRY(load_weights(m, weights, weights == directory ? NAMES_HF : NAMES_OWN));
    if (lt_model_reads(m) == LT_DATA_NUMBERS) return LT_OK;
    LTI_TRY(lt_tokenizer_open(m->ctx, directory, &m->tokenizer));
    return check_vocabulary(m, directory);
}

/* RUN/checkpoints/ckpt-N: weights from there, everything else from RUN. */
static lt_status fill_from_checkpoint(lt_model *m, const char *path, const char *weights)
{
    char *run = lti_path_join(m->ctx, path, "../..");
    lt_status status = run ? fill_from_directory(m, run, weights) : LT_ENOMEM;
    lti_free(m->ctx, run);
    return status;
}

/* What lathe put into the file for the way back, because GGUF has no place for it (convert.h). */
static lt_status read_carried(lt_model *m, const char *key, json_t **json)
{
    lt_gguf_string text;
    if (!lt_gguf_text(m->weights.gguf, key, &text)) return LT_OK;
    return lti_json_parse(m->ctx, lt_gguf_path(m->weights.gguf), 0, text.text, (size_t)text.bytes, json);
}

/* GGUF keeps real numbers as f32: 1e-6 comes out as 9.99999997e-07. Where the carried config.json has the number that
 * was rounded, that one is meant. */
static void adopt_numbers(const lt_transformer_config *told, lt_transformer_config *c)
{
    const struct {
        double told, *own;
    } numbers[] = {{told->norm_eps, &c->norm_eps},
                   {told->rope_theta, &c->rope_theta},
                   {told->rope_theta_local, &c->rope_theta_local},
                   {told->attention_scale, &c->attention_scale},
                   {told->rope_scaling.factor, &c->rope_scaling.factor},
                   {told->rope_scaling.attention_factor, &c->rope_scaling.attention_factor},
                   {told->rope_scaling.beta_fast, &c->rope_scaling.beta_fast},
                   {told->rope_scaling.beta_slow, &c->rope_scaling.beta_slow}};
    for (int i = 0; i < LTI_COUNT(numbers); i++)
        if (fabs(numbers[i].told - *numbers[i].own) <= 2e-7 * fabs(numbers[i].told)) *numbers[i].own = numbers[i].told;
}

/* A carried config.json that is none, or another family's, is dropped: the keys stand alone. */
static void adopt_carried(lt_model *m)
{
    lt_transformer_config told;
    if (!m->json) return;
    if (lti_config_from_json(m->ctx, "carried config", m->json, &told) == LT_OK && told.family == m->config.family) {
        lti_adopt_scaling(&told, &m->config);
        adopt_numbers(&told, &m->config);
        return;
    }
    lt_ctx_clear(m->ctx);
    json_decref(m->json);
    m->json = NULL;
}

static lt_status read_carried_names(lt_model *m)
{
    const lti_family *family = lti_family_of(m->config.family);
    lt_gguf_string prefix = {family->prefixes[0], (int64_t)strlen(family->prefixes[0])};
    lt_gguf_text(m->weights.gguf, LTI_CARRIED_PREFIX, &prefix);
    m->prefix = family->prefixes[0];
    for (int i = 0; i < LTI_COUNT(family->prefixes) && family->prefixes[i]; i++)
        if ((int64_t)strlen(family->prefixes[i]) == prefix.bytes &&
            !memcmp(family->prefixes[i], prefix.text, (size_t)prefix.bytes))
            m->prefix = family->prefixes[i];
    LTI_TRY(read_carried(m, LTI_CARRIED_CONFIG, &m->json));
    adopt_carried(m);
    return read_carried(m, LTI_CARRIED_GENERATION, &m->generation);
}

static lt_status fill_from_gguf(lt_model *m, const char *path)
{
    LTI_TRY(lt_gguf_open(m->ctx, path, &m->weights.gguf));
    LTI_TRY(lti_config_from_gguf(m->ctx, m->weights.gguf, &m->config, &m->rope_factors));
    if (!m->frozen) {
        m->config.rope_interleaved = lti_side_hf(&m->config).interleaved;
        m->config.norm_plus_one = lti_side_hf(&m->config).plus_one;
    }
    LTI_TRY(read_carried_names(m));
    LTI_TRY(lt_tokenizer_open(m->ctx, path, &m->tokenizer));
    LTI_TRY(load_weights(m, path, NAMES_GGUF));
    return check_vocabulary(m, path);
}

lt_status lti_model_take_gguf(lt_model *m, const char *path)
{
    LTI_TRY(lt_gguf_open(m->ctx, path, &m->weights.gguf));
    m->frozen = true;
    m->config.norm_plus_one = lti_side_gguf(&m->config).plus_one; /* 1 + w is rounded there as it is while training */
    return load_weights(m, path, NAMES_GGUF);
}

static lt_status fill_from(lt_model *m, const char *path)
{
    if (!lti_is_directory(path)) return fill_from_gguf(m, path);
    char *state = lti_path_join(m->ctx, path, "state.safetensors");
    if (!state) return LT_ENOMEM;
    lt_status status =
        lti_file_exists(state) ? fill_from_checkpoint(m, path, state) : fill_from_directory(m, path, path);
    lti_free(m->ctx, state);
    return status;
}

static lt_status check_path(lt_ctx *ctx, const char *path)
{
    const char *wanted = "give a directory with config.json, model.safetensors and tokenizer.json, or a .gguf file";
    if (lti_is_directory(path)) return LT_OK;
    if (!lti_file_exists(path))
        return lti_fail(ctx, LT_EIO, "%s: there is no such file or directory; %s", path, wanted);
    if (lti_ends_with(path, ".safetensors") || lti_ends_with(path, ".json"))
        return lti_fail(ctx, LT_EIO, "%s: is a file of a model, not a model; %s", path, wanted);
    return LT_OK;
}

static lt_status open_model(lt_ctx *ctx, const char *path, bool frozen, bool files_only, lt_model **model)
{
    *model = NULL;
    LTI_TRY(check_path(ctx, path));
    lt_transformer_config config;
    lt_transformer_config_init(&config, LT_LLAMA);
    lt_model *m;
    LTI_TRY(lti_model_new(ctx, &config, &m));
    m->frozen = frozen;
    m->files_only = files_only;
    lt_status status = fill_from(m, path);
    if (status == LT_OK)
        *model = m;
    else
        lt_model_free(m);
    return status;
}

lt_status lt_model_open(lt_ctx *ctx, const char *path, lt_model **model)
{
    return open_model(ctx, path, false, false, model);
}

lt_status lt_model_open_frozen(lt_ctx *ctx, const char *path, lt_model **model)
{
    return open_model(ctx, path, true, false, model);
}

lt_status lti_model_open_files(lt_ctx *ctx, const char *path, lt_model **model)
{
    return open_model(ctx, path, true, true, model);
}
