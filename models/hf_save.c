/* hf_save.c - writing a model as a Hugging Face directory. Each file is written atomically; the weights come last, so
 * that a directory with weights is complete. */
#include "autograd/ops/lattice_convert.h"
#include "data/files.h"
#include "models/model.h"

#include <stdlib.h>
#include <string.h>

static lt_status write_json(lt_ctx *ctx, const char *directory, const char *name, json_t *json)
{
    char *path = lti_path_join(ctx, directory, name);
    char *text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
    lt_status status = LT_ENOMEM;
    if (path && text)
        status = lti_file_write_atomic(ctx, path, text, strlen(text));
    else
        lti_fail(ctx, LT_ENOMEM, "out of memory while writing %s", name);
    free(text);
    lti_free(ctx, path);
    return status;
}

typedef struct list {
    const lt_model *model;
    lt_tensor_entry *entries;
    char (*names)[160];
    int64_t (*shapes)[4];
    lt_real **moved; /* copies in Hugging Face's layout */
    lti_side from, to;
    lt_stored dtype;
    int count;
} list;

static lt_status count_tensor(void *user, const lti_tensor *t)
{
    (void)t;
    ++*(int *)user;
    return LT_OK;
}

/* `data` in the other layout, in memory of its own. */
static lt_status move_tensor(list *l, const lti_tensor *t, int64_t count, const lt_real **data)
{
    lt_real *moved = lti_alloc_array(l->model->ctx, (size_t)count, sizeof *moved);
    if (!moved) return LT_ENOMEM;
    lti_layout_move(t, l->from, l->to, sizeof *moved, (size_t)(count / t->shape[0]) * sizeof *moved, *data, moved);
    int shift = lti_layout_shift(t, l->from, l->to);
    for (int64_t i = 0; i < count && shift; i++) moved[i] += (lt_real)shift;
    lti_free(l->model->ctx, l->moved[l->count]);
    *data = l->moved[l->count] = moved;
    return LT_OK;
}

/* A matrix that training held in 16 bits (lt_param_narrow). */
static lt_status widen_tensor(list *l, const lt_param *p, const lt_real **data)
{
    lt_real *wide = l->moved[l->count] = lti_alloc_array(l->model->ctx, (size_t)lt_param_count(p), sizeof *wide);
    if (!wide) return LT_ENOMEM;
    lti_decode(lt_param_count(p), lt_param_type(p), lt_param_read(p), wide);
    *data = wide;
    return LT_OK;
}

static lt_status list_tensor(void *user, const lti_tensor *t)
{
    list *l = user;
    lt_param *p = lt_params_find(l->model->params, t->name);
    bool narrow = p && (lt_param_type(p) == LT_BF16 || lt_param_type(p) == LT_F16);
    if (!p || (lt_param_type(p) != LT_F32 && !narrow))
        return lti_fail(l->model->ctx, LT_EINVAL, "cannot save: parameter '%s' is %s", t->name,
                        p ? lt_dtype_name(lt_param_type(p)) : "missing");
    const lt_real *data = lt_param_read(p);
    bool reversed = t->layout == LTI_CONV1D && t->rank == 2;
    if (narrow) LTI_TRY(widen_tensor(l, p, &data));
    if (lti_layout_differs(t, l->from, l->to)) LTI_TRY(move_tensor(l, t, lt_param_count(p), &data));
    for (int k = 0; k < t->rank; k++) l->shapes[l->count][k] = t->shape[reversed ? t->rank - 1 - k : k];
    lti_hf_name(t, l->model->prefix, l->names[l->count], sizeof *l->names);
    l->entries[l->count] = (lt_tensor_entry){
        .name = l->names[l->count], .dtype = l->dtype, .rank = t->rank, .shape = l->shapes[l->count], .real = data};
    l->count++;
    return LT_OK;
}

static lt_status write_weights(const lt_model *m, const char *directory, lt_stored dtype)
{
    lt_ctx *ctx = m->ctx;
    int count = 0;
    LTI_TRY(lti_model_each(m, count_tensor, &count));
    size_t n = (size_t)count;
    list l = {.model = m, .dtype = dtype, .from = lti_side_params(&m->config), .to = lti_side_hf(&m->config)};
    l.entries = lti_alloc_array(ctx, n, sizeof *l.entries);
    l.names = lti_alloc_array(ctx, n, sizeof *l.names);
    l.shapes = lti_alloc_array(ctx, n, sizeof *l.shapes);
    l.moved = lti_alloc_array(ctx, n, sizeof *l.moved);
    char *path = lti_path_join(ctx, directory, "model.safetensors");
    lt_status status = l.entries && l.names && l.shapes && l.moved && path ? LT_OK : LT_ENOMEM;
    if (status == LT_OK) status = lti_model_each(m, list_tensor, &l);
    if (status == LT_OK) status = lt_tensors_write(ctx, path, l.entries, l.count, NULL, 0, NULL);
    for (int i = 0; l.moved && i < count; i++) lti_free(ctx, l.moved[i]);
    void *const parts[] = {l.entries, l.names, l.shapes, l.moved, path};
    for (int i = 0; i < LTI_COUNT(parts); i++) lti_free(ctx, parts[i]);
    return status;
}

/* A new config gets the ids that begin and end a text: without them Transformers assumes those of its own defaults. */
static int name_ends(const lt_model *m, json_t *config)
{
    int32_t bos = lt_tokenizer_bos(m->tokenizer), eos = lt_tokenizer_eos(m->tokenizer);
    return json_object_set_new(config, "bos_token_id", bos < 0 ? json_null() : json_integer(bos)) |
           json_object_set_new(config, "eos_token_id", eos < 0 ? json_null() : json_integer(eos));
}

/* The names of the data's classes, where a model has more of them LABEL_<n>, both ways round. */
static int name_classes(const lt_model *m, json_t *config)
{
    json_t *names = json_object_get(config, "id2label"), *numbers = json_object();
    int failed = !names || !numbers || json_object_update(names, m->labels);
    const char *number;
    json_t *name;
    json_object_foreach(names, number, name) failed |=
        json_object_set_new(numbers, json_string_value(name), json_integer(strtoll(number, NULL, 10)));
    return failed | json_object_set_new(config, "label2id", numbers);
}

/* NULL, and a message, when it cannot be made. */
static json_t *make_config(const lt_model *m, const char *torch)
{
    const json_t *labels = m->labels ? m->labels : json_object_get(m->json, "id2label");
    json_t *config = m->network ? lti_network_to_json(m->network, &m->net, labels, torch)
                                : lti_config_to_json(&m->config, m->json, torch);
    bool failed = !config;
    if (config && !m->network && !m->json) failed = name_ends(m, config);
    if (config && !m->network && m->labels) failed |= name_classes(m, config) != 0;
    if (!failed) return config;
    json_decref(config);
    lti_fail(m->ctx, LT_ENOMEM, "out of memory while writing config.json");
    return NULL;
}

lt_status lti_model_describe(const lt_model *m, const char *directory, const char *torch, json_t *quantization)
{
    json_t *config = make_config(m, torch);
    if (!config) return LT_ENOMEM;
    lt_status status = m->network ? LT_OK : lti_config_check_written(m->ctx, &m->config, config);
    if (status == LT_OK && quantization && json_object_set(config, "quantization_config", quantization))
        status = lti_fail(m->ctx, LT_ENOMEM, "out of memory while writing config.json");
    if (status == LT_OK) status = lti_mkdirs(m->ctx, directory);
    if (status == LT_OK) status = write_json(m->ctx, directory, "config.json", config);
    json_decref(config);
    LTI_TRY(status);
    if (m->generation) LTI_TRY(write_json(m->ctx, directory, "generation_config.json", m->generation));
    return m->tokenizer ? lt_tokenizer_save(m->tokenizer, directory) : LT_OK;
}

/* A weight that is not in the network's table (lt_fold_batch_norm makes biases) would be missing from the file. */
static lt_status check_known(const lt_model *m)
{
    int tensors = 0, weights = 0;
    char name[160];
    LTI_TRY(lti_model_each(m, count_tensor, &tensors));
    for (int i = 0; i < lt_params_count(m->params); i++)
        weights += lt_param_role(lt_params_at(m->params, i)) == LT_WEIGHT;
    for (int i = 0; weights > tensors && i < lt_params_count(m->params); i++) {
        const lt_param *p = lt_params_at(m->params, i);
        if (lt_param_role(p) == LT_WEIGHT && !lt_model_hf_name(m, lt_param_name(p), name, sizeof name))
            return lti_fail(m->ctx, LT_EUNSUPPORTED,
                            "cannot save: '%s' is no tensor of a %s; save the model before folding its norms, or fold "
                            "them by lt_model_fold",
                            lt_param_name(p), lt_model_family(m));
    }
    return LT_OK;
}

lt_status lt_model_save(const lt_model *m, const char *directory, const char *dtype)
{
    lt_stored stored;
    const char *torch = NULL;
    if (m->frozen)
        return lti_fail(
            m->ctx, LT_EINVAL,
            "cannot save a model whose tensors are a file's (opened frozen, or of codes); convert the file instead");
    if (m->config.rope_scaling.kind == LT_ROPE_FACTORS)
        return lti_fail(m->ctx, LT_EUNSUPPORTED,
                        "cannot save: its rotary factors are no scaling that config.json has a name for");
    if (!lt_stored_parse(dtype, &stored) ||
        (stored != LT_STORED_F32 && stored != LT_STORED_F16 && stored != LT_STORED_BF16 && stored != LT_STORED_REAL))
        return lti_fail(m->ctx, LT_EINVAL, "cannot save a model as %s; F32, F16 and BF16 are possible", dtype);
    torch = stored == LT_STORED_F16    ? "float16"
            : stored == LT_STORED_BF16 ? "bfloat16"
            : stored == LT_STORED_F32  ? "float32"
                                       : "float64";
    if (m->network) LTI_TRY(check_known(m));
    LTI_TRY(lti_model_describe(m, directory, torch, NULL));
    return write_weights(m, directory, stored);
}
