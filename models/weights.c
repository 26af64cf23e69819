/* weights.c - see weights.h: one view of safetensors and GGUF, for everything that opens or converts a model. */
#include "models/weights.h"

#include <stdio.h>
#include <string.h>

void lti_weights_close(lti_weights *w)
{
    lt_tensors_close(w->tensors);
    lt_gguf_close(w->gguf);
    w->tensors = NULL;
    w->gguf = NULL;
}

int lti_weights_count(const lti_weights *w)
{
    return w->gguf ? lt_gguf_tensors(w->gguf) : w->tensors ? lt_tensors_count(w->tensors) : 0;
}

const char *lti_weights_path(const lti_weights *w)
{
    return w->gguf ? lt_gguf_path(w->gguf) : lt_tensors_count(w->tensors) ? lt_tensors_file(w->tensors, 0) : "weights";
}

void lti_weights_at(const lti_weights *w, int i, lti_weight *out)
{
    if (w->gguf) {
        const lt_gguf_tensor_info *t = lt_gguf_tensor(w->gguf, i);
        *out = (lti_weight){.name = t->name,
                            .file = lt_gguf_path(w->gguf),
                            .type_name = t->type_name,
                            .usable = t->known && t->type != LT_I8 && t->type != LT_I32,
                            .type = t->type,
                            .rank = t->rank,
                            .index = i,
                            .shape = t->shape,
                            .elements = t->elements,
                            .data = t->data,
                            .bytes = t->bytes};
        return;
    }
    lt_stored stored = lt_tensors_dtype(w->tensors, i);
    bool usable = stored == LT_STORED_F32 || stored == LT_STORED_F16 || stored == LT_STORED_BF16;
    *out = (lti_weight){.name = lt_tensors_name(w->tensors, i),
                        .file = lt_tensors_file(w->tensors, i),
                        .type_name = lt_stored_name(stored),
                        .usable = usable,
                        .type = stored == LT_STORED_F16    ? LT_F16
                                : stored == LT_STORED_BF16 ? LT_BF16
                                                           : LT_F32,
                        .rank = lt_tensors_rank(w->tensors, i),
                        .index = i,
                        .shape = lt_tensors_shape(w->tensors, i),
                        .elements = lt_tensors_elements(w->tensors, i),
                        .data = lt_tensors_data(w->tensors, i),
                        .bytes = lt_tensors_bytes(w->tensors, i)};
}

bool lti_weights_find(const lti_weights *w, const char *name, lti_weight *out)
{
    int i = w->gguf ? lt_gguf_find(w->gguf, name) : lt_tensors_find(w->tensors, name);
    if (i >= 0) lti_weights_at(w, i, out);
    return i >= 0;
}

lt_status lti_weights_real(const lti_weights *w, const lti_weight *weight, lt_real *dst)
{
    return w->gguf ? lt_gguf_load_real(w->gguf, weight->index, dst)
                   : lt_tensors_load_real(w->tensors, weight->index, dst);
}

static void dims_text(int rank, const int64_t *shape, bool reversed, char *text, size_t size)
{
    size_t n = 0;
    *text = 0;
    for (int k = 0; k < rank && n < size; k++)
        n += (size_t)snprintf(text + n, size - n, "%s%lld", k ? ", " : "",
                              (long long)shape[reversed ? rank - 1 - k : k]);
}

lt_status lti_weights_check(const lti_weights *w, const lti_weight *weight, const lti_tensor *t, bool conv1d,
                            const char *who)
{
    bool reversed = conv1d && t->layout == LTI_CONV1D, same = weight->rank == t->rank;
    for (int k = 0; k < t->rank && same; k++) same = weight->shape[k] == t->shape[reversed ? t->rank - 1 - k : k];
    if (same) return LT_OK;
    char found[128], wanted[128];
    dims_text(weight->rank < 5 ? weight->rank : 5, weight->shape, false, found, sizeof found);
    dims_text(t->rank, t->shape, reversed, wanted, sizeof wanted);
    return lti_fail(w->ctx, LT_EFORMAT, "%s: tensor '%s' is [%s], but %s makes it [%s]", weight->file, weight->name,
                    found, who, wanted);
}
