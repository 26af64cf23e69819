/* file_names.c - the names of the tensors in a model's files: under which prefix they stand, and whether there are any
 * that the model has no place for.
 *
 * The table of a model is walked once, whatever the file holds: a file of many tensors costs a look-up for each tensor
 * of the table, not a walk for each tensor of the file. */
#include "base/text.h"
#include "models/model.h"

#include <stdio.h>
#include <string.h>

/* ---- Prefixes ---- */

static lt_status first_tensor(void *user, const lti_tensor *t)
{
    *(lti_tensor *)user = *t;
    return LT_EINTERRUPTED; /* one is enough */
}

/* The embedding under a prefix; NULL: under lathe's own name. */
static bool find_embedding(const lti_weights *weights, const lt_transformer_config *c, const char *prefix,
                           lti_weight *weight)
{
    lti_tensor embedding;
    char name[160];
    (void)lti_transformer_each(c, first_tensor, &embedding);
    snprintf(name, sizeof name, "%s", embedding.name);
    if (prefix) lti_hf_name(&embedding, prefix, name, sizeof name);
    return lti_weights_find(weights, name, weight);
}

const char *lti_find_prefix(const lti_weights *weights, const lt_transformer_config *c)
{
    const lti_family *family = lti_family_of(c->family);
    lti_weight w;
    for (int i = 0; i < LTI_COUNT(family->prefixes) && family->prefixes[i]; i++)
        if (find_embedding(weights, c, family->prefixes[i], &w)) return family->prefixes[i];
    return family->prefixes[0];
}

/* ---- Strangers ---- */

static bool is_head(const char *name)
{
    return !strcmp(name, "lm_head.weight") || lti_ends_with(name, ".lm_head.weight");
}

bool lti_ignorable(const lt_model *model, const char *name)
{
    const lt_transformer_config *c = &model->config;
    if (model->network) return lti_ends_with(name, ".num_batches_tracked"); /* torch.nn.BatchNorm2d's */
    static const char *const buffers[] = {".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias",
                                          ".embeddings.position_ids"};
    for (int i = 0; i < LTI_COUNT(buffers); i++)
        if (lti_ends_with(name, buffers[i]) && strcmp(name, buffers[i])) return true;
    if (c->family == LT_BERT && (!strncmp(name, "cls.", 4) || (!c->classes && strstr(name, "pooler.")))) return true;
    if (c->family == LT_GEMMA3 && strstr(name, "vision_tower.")) return true;
    if (c->family == LT_GEMMA3 && strstr(name, "multi_modal_projector.")) return true;
    return c->tied && is_head(name);
}

/* Transformers unties a head that differs from the embedding, whatever the config says. */
static lt_status check_tied_head(const lti_weights *weights, const lt_transformer_config *c, const char *prefix,
                                 const lti_weight *head)
{
    lti_weight e;
    if (!find_embedding(weights, c, prefix, &e)) return LT_OK;
    if (e.usable && head->usable && e.type == head->type && e.bytes == head->bytes &&
        !memcmp(e.data, head->data, (size_t)e.bytes))
        return LT_OK;
    return lti_fail(weights->ctx, LT_EFORMAT,
                    "%s: '%s' differs from the embedding, which the config says is the head too; set "
                    "tie_word_embeddings to false in config.json, or remove the tensor",
                    head->file, head->name);
}

typedef struct marks {
    const lti_weights *weights;
    const lti_packed *packed;
    const char *prefix;
    bool *known; /* by index in the files */
} marks;

static void mark_part(void *user, const char *part)
{
    marks *m = user;
    lti_weight w;
    if (lti_weights_find(m->weights, part, &w)) m->known[w.index] = true;
}

static lt_status mark_known(void *user, const lti_tensor *t)
{
    marks *m = user;
    char name[160];
    lti_weight w;
    snprintf(name, sizeof name, "%s", t->name);
    if (m->prefix) lti_hf_name(t, m->prefix, name, sizeof name);
    if (lti_weights_find(m->weights, name, &w)) m->known[w.index] = true;
    lti_packed_parts(m->packed, name, mark_part, m);
    return LT_OK;
}

static lt_status check_unknown(const marks *m, const lt_model *model)
{
    for (int i = 0; i < lti_weights_count(m->weights); i++) {
        lti_weight w;
        if (m->known[i]) continue;
        lti_weights_at(m->weights, i, &w);
        if (m->prefix ? !lti_ignorable(model, w.name) : strcmp(w.name, "rope_freqs.weight") != 0)
            return lti_fail(m->weights->ctx, LT_EFORMAT,
                            "%s: tensor '%s' has no place in this %s model; is %s of another?", w.file, w.name,
                            lt_model_family(model), m->prefix ? "config.json" : "general.architecture");
        if (m->prefix && is_head(w.name)) LTI_TRY(check_tied_head(m->weights, &model->config, m->prefix, &w));
    }
    return LT_OK;
}

lt_status lti_check_strangers(const lt_model *model, const char *prefix)
{
    const lti_weights *weights = &model->weights;
    marks m = {weights, &model->packed, prefix, NULL};
    m.known = lti_alloc_array(weights->ctx, (size_t)lti_weights_count(weights) + 1, sizeof *m.known);
    if (!m.known) return LT_ENOMEM;
    lt_status status = lti_model_each(model, mark_known, &m);
    if (status == LT_OK) status = check_unknown(&m, model);
    lti_free(weights->ctx, m.known);
    return status;
}
