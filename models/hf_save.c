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

static lt_status write_tokenizer(const lt_model *m, const char *directory)
{
    for (int i = 0; i < lt_tokenizer_files(m->tokenizer); i++) {
        const char *name;
        int64_t bytes;
        const char *data = lt_tokenizer_file(m->tokenizer, i, &name, &bytes);
        char *path = lti_path_join(m->ctx, directory, name);
        if (!path) return LT_ENOMEM;
        lt_status status = lti_file_write_atomic(m->ctx, path, data, (size_t)bytes);
        lti_free(m->ctx, path);
        LTI_TRY(status);
    }
    return LT_OK;
}

typedef struct list {
    const lt_model *model;
    lt_tensor_entry *entries;
    char (*names)[96];
    lt_stored dtype;
    int count;
} list;

static lt_status count_tensor(void *user, const lti_tensor *t)
{
    (void)t;
    ++*(int *)user;
    return LT_OK;
}

static lt_status list_tensor(void *user, const lti_tensor *t)
{
    list *l = user;
    lt_param *p = lt_params_find(l->model->params, t->name);
    if (!p || lt_param_type(p) != LT_F32)
        return lti_fail(l->model->ctx, LT_EINVAL, "cannot save: parameter '%s' is %s", t->name,
                        p ? lt_dtype_name(lt_param_type(p)) : "missing");
    memcpy(l->names[l->count], t->hf, sizeof t->hf);
    l->entries[l->count] = (lt_tensor_entry){.name = l->names[l->count],
                                             .dtype = l->dtype,
                                             .rank = t->rank,
                                             .shape = lt_param_shape(p),
                                             .real = lt_param_read(p)};
    l->count++;
    return LT_OK;
}

static lt_status write_weights(const lt_model *m, const char *directory, lt_stored dtype)
{
    lt_ctx *ctx = m->ctx;
    int count = 0;
    LTI_TRY(lti_llama_each(&m->config, count_tensor, &count));
    list l = {.model = m, .dtype = dtype};
    l.entries = lti_alloc_array(ctx, (size_t)count, sizeof *l.entries);
    l.names = lti_alloc_array(ctx, (size_t)count, sizeof *l.names);
    char *path = lti_path_join(ctx, directory, "model.safetensors");
    lt_status status = l.entries && l.names && path ? LT_OK : LT_ENOMEM;
    if (status == LT_OK) status = lti_llama_each(&m->config, list_tensor, &l);
    if (status == LT_OK) status = lt_tensors_write(ctx, path, l.entries, l.count, NULL, 0, NULL);
    lti_free(ctx, l.entries);
    lti_free(ctx, l.names);
    lti_free(ctx, path);
    return status;
}

lt_status lti_model_describe(const lt_model *m, const char *directory, const char *torch)
{
    LTI_TRY(lti_mkdirs(m->ctx, directory));
    json_t *config = lti_config_to_json(&m->config, m->json, torch);
    lt_status status = write_json(m->ctx, directory, "config.json", config);
    json_decref(config);
    LTI_TRY(status);
    if (m->generation) LTI_TRY(write_json(m->ctx, directory, "generation_config.json", m->generation));
    return write_tokenizer(m, directory);
}

lt_status lt_model_save(const lt_model *m, const char *directory, const char *dtype)
{
    lt_stored stored;
    const char *torch = NULL;
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
