/* hf_save.c - writing a model as a Hugging Face directory. Each file is written atomically; the weights come last, so
 * that a directory with weights is complete. */
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
    int64_t (*shapes)[2];
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

static lt_status move_tensor(list *l, const lti_tensor *t, const lt_param *p, const lt_real **data)
{
    lt_real *moved = l->moved[l->count] = lti_alloc(l->model->ctx, lt_param_bytes(p));
    if (!moved) return LT_ENOMEM;
    lti_layout_move(t, l->from, l->to, sizeof *moved, lt_param_bytes(p) / (size_t)t->shape[0], lt_param_read(p), moved);
    int shift = lti_layout_shift(t, l->from, l->to);
    for (int64_t i = 0; i < lt_param_count(p) && shift; i++) moved[i] += (lt_real)shift;
    *data = moved;
    return LT_OK;
}

static lt_status list_tensor(void *user, const lti_tensor *t)
{
    list *l = user;
    lt_param *p = lt_params_find(l->model->params, t->name);
    if (!p || lt_param_type(p) != LT_F32)
        return lti_fail(l->model->ctx, LT_EINVAL, "cannot save: parameter '%s' is %s", t->name,
                        p ? lt_dtype_name(lt_param_type(p)) : "missing");
    const lt_real *data = lt_param_read(p);
    bool reversed = t->layout == LTI_CONV1D && t->rank == 2;
    if (lti_layout_differs(t, l->from, l->to)) LTI_TRY(move_tensor(l, t, p, &data));
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
    LTI_TRY(lti_transformer_each(&m->config, count_tensor, &count));
    size_t n = (size_t)count;
    list l = {.model = m, .dtype = dtype, .from = lti_side_params(&m->config), .to = lti_side_hf(&m->config)};
    l.entries = lti_alloc_array(ctx, n, sizeof *l.entries);
    l.names = lti_alloc_array(ctx, n, sizeof *l.names);
    l.shapes = lti_alloc_array(ctx, n, sizeof *l.shapes);
    l.moved = lti_alloc_array(ctx, n, sizeof *l.moved);
    char *path = lti_path_join(ctx, directory, "model.safetensors");
    lt_status status = l.entries && l.names && l.shapes && l.moved && path ? LT_OK : LT_ENOMEM;
    if (status == LT_OK) status = lti_transformer_each(&m->config, list_tensor, &l);
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

lt_status lti_model_describe(const lt_model *m, const char *directory, const char *torch)
{
    json_t *config = lti_config_to_json(&m->config, m->json, torch);
    if (config && !m->json && name_ends(m, config)) {
        json_decref(config);
        return lti_fail(m->ctx, LT_ENOMEM, "out of memory while writing config.json");
    }
    lt_status status = config ? lti_config_check_written(m->ctx, &m->config, config) : LT_OK;
    if (status == LT_OK) status = lti_mkdirs(m->ctx, directory);
    if (status == LT_OK) status = write_json(m->ctx, directory, "config.json", config);
    json_decref(config);
    LTI_TRY(status);
    if (m->generation) LTI_TRY(write_json(m->ctx, directory, "generation_config.json", m->generation));
    return lt_tokenizer_save(m->tokenizer, directory);
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
    LTI_TRY(lti_model_describe(m, directory, torch));
    return write_weights(m, directory, stored);
}
