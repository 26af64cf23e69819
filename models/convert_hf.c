/* convert_hf.c - the Hugging Face end of lt_convert: config.json, tokenizer files, model.safetensors (last, so that a
 * directory with weights is complete). */
#include "models/convert_parts.h"

#include "data/files.h"

static lt_status write_tensors(lti_conversion *c, const char *path)
{
    lt_tensor_entry *entries = lti_alloc_array(c->ctx, (size_t)c->count, sizeof *entries);
    if (!entries) return LT_ENOMEM;
    for (int i = 0; i < c->count; i++) {
        lti_moving *m = &c->list[i];
        entries[i] = (lt_tensor_entry){.name = m->name,
                                       .dtype = m->type == LT_F16    ? LT_STORED_F16
                                                : m->type == LT_BF16 ? LT_STORED_BF16
                                                                     : LT_STORED_F32,
                                       .rank = m->t.rank,
                                       .shape = m->shape,
                                       .make = lti_move_tensor,
                                       .user = m};
    }
    lt_status status = lt_tensors_write(c->ctx, path, entries, c->count, NULL, 0, NULL);
    lti_free(c->ctx, entries);
    return status;
}

/* What the config calls the model's type: the embedding's, but floats where weights were unpacked to floats, which
 * loading in another type would round. */
static lt_dtype config_type(const lti_conversion *c)
{
    for (int i = 0; i < c->count; i++)
        if (c->list[i].packed && c->list[i].type == LT_F32) return LT_F32;
    return c->list[0].type;
}

lt_status lti_convert_to_hf(lti_conversion *c)
{
    if (c->model->config.rope_scaling.kind == LT_ROPE_FACTORS)
        return lti_fail(
            c->ctx, LT_EUNSUPPORTED,
            "%s: its rotary factors (tensor rope_freqs.weight) are no scaling that config.json has a name for; "
            "it can be used as it is, or converted to another .gguf",
            lti_weights_path(&c->model->weights));
    lt_dtype type = config_type(c);
    const char *torch = type == LT_F16 ? "float16" : type == LT_BF16 ? "bfloat16" : "float32";
    LTI_TRY(lti_model_describe(c->model, c->out, torch, NULL));
    char *path = lti_path_join(c->ctx, c->out, "model.safetensors");
    lt_status status = path ? write_tensors(c, path) : LT_ENOMEM;
    lti_free(c->ctx, path);
    return status;
}
