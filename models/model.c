/* model.c - lt_model: its life, what can be asked of one, and what it records. A transformer and a network differ here
 * once for each question, and nowhere behind it. */
#include "models/model.h"

#include "autograd/op.h"

#include <stdio.h>
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
    json_decref(model->labels);
    lti_free(model->ctx, model->rope_factors);
    lti_free(model->ctx, model);
}

lt_status lti_model_like(const lt_model *model, lt_model **like)
{
    LTI_TRY(lti_model_new(model->ctx, &model->config, like));
    (*like)->network = model->network;
    (*like)->net = model->net;
    (*like)->tokenizer = model->tokenizer;
    (*like)->borrows_tokenizer = true;
    (*like)->prefix = model->prefix;
    (*like)->json = json_incref(model->json);
    (*like)->generation = json_incref(model->generation);
    (*like)->labels = json_incref(model->labels);
    return LT_OK;
}

/* ---- Looking inside ---- */

lt_params *lt_model_params(const lt_model *model)
{
    return model->params;
}

const lt_transformer_config *lt_model_config(const lt_model *model)
{
    return model->network ? NULL : &model->config;
}

lt_tokenizer *lt_model_tokenizer(const lt_model *model)
{
    return model->tokenizer;
}

const char *lt_model_family(const lt_model *model)
{
    return model->network ? model->network->name : lt_family_name(model->config.family);
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
    return model->tokenizer ? add_end(ids, n, lt_tokenizer_eos(model->tokenizer)) : n;
}

const char *lt_model_label(const lt_model *model, int64_t index)
{
    char key[32];
    snprintf(key, sizeof key, "%lld", (long long)index);
    const json_t *labels = model->labels ? model->labels : json_object_get(model->json, "id2label");
    return json_string_value(json_object_get(labels, key));
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
    return lti_model_each(model, match_name, &s) == LT_OK && s.found;
}

lt_status lti_model_each(const lt_model *model, lti_tensor_visitor visit, void *user)
{
    if (model->network) return model->network->each(&model->net, visit, user);
    return lti_transformer_each(&model->config, visit, user);
}

/* ---- What it learns ---- */

bool lt_model_is_transformer(const lt_model *model)
{
    return !model->network;
}

lti_network_facts lti_model_facts(const lt_model *model)
{
    const lt_transformer_config *c = &model->config;
    if (model->network) return model->network->facts(&model->net);
    bool encoder = lt_transformer_is_encoder(c);
    return (lti_network_facts){.reads = encoder ? LT_DATA_LABELLED : LT_DATA_TOKENS,
                               .vocab = c->vocab,
                               .context = c->context,
                               .classes = encoder ? c->classes : 0,
                               .width = c->dim};
}

lt_dataset_kind lt_model_reads(const lt_model *model)
{
    return lti_model_facts(model).reads;
}

int64_t lt_model_vocab(const lt_model *model)
{
    return lti_model_facts(model).vocab;
}

int64_t lt_model_context(const lt_model *model)
{
    return lti_model_facts(model).context;
}

int64_t lt_model_classes(const lt_model *model)
{
    return lti_model_facts(model).classes;
}

/* ---- Recording ---- */

/* The input with absent values made nil ones of this graph; false, and the graph's error, where what the network reads
 * is absent. */
static bool take_input(const lt_model *m, lt_graph *graph, lt_model_input *in)
{
    lt_t *values[] = {&in->tokens, &in->first, &in->x, &in->last};
    for (int i = 0; i < LTI_COUNT(values); i++)
        if (!values[i]->graph) *values[i] = lt_nil(graph);
    bool numbers = lt_model_reads(m) == LT_DATA_NUMBERS, given = lti_given(numbers ? in->x : in->tokens);
    if (!given)
        lti_graph_fail(graph, LT_EINVAL, "this %s reads %s: lt_model_input has no `%s`", m->network->name,
                       numbers ? "numbers" : "tokens", numbers ? "x" : "tokens");
    else if (lti_given(in->first))
        lti_graph_fail(graph, LT_EINVAL, "a %s has no cache of keys, and takes no `first`", m->network->name);
    return lt_graph_status(graph) == LT_OK;
}

lt_t lt_model_hidden(const lt_model *model, lt_graph *graph, const lt_model_input *input)
{
    lt_model_input in = *input;
    if (!model->network) return lt_transformer_hidden(graph, &model->config, input);
    return take_input(model, graph, &in) ? model->network->hidden(graph, &model->net, &in) : lt_nil(graph);
}

lt_t lti_model_head(const lt_model *model, lt_graph *graph, lt_t hidden, lt_t last)
{
    if (!last.graph) last = lt_nil(graph);
    if (model->network) return model->network->head(graph, &model->net, hidden, last);
    return lt_transformer_head(graph, &model->config, hidden);
}

lt_t lt_model_logits(const lt_model *model, lt_graph *graph, const lt_model_input *input)
{
    return lti_model_head(model, graph, lt_model_hidden(model, graph, input), input->last);
}

lt_t lt_model_loss_smooth(const lt_model *model, lt_graph *graph, const lt_model_input *input, lt_t targets, lt_t norm,
                          double smoothing)
{
    lt_model_input in = *input;
    if (!model->network) return lti_transformer_loss(graph, &model->config, input, targets, norm, smoothing);
    if (!take_input(model, graph, &in)) return lt_nil(graph);
    if (model->network->loss) return model->network->loss(graph, &model->net, &in, targets, norm, smoothing);
    return lt_cross_entropy_smooth(lt_model_logits(model, graph, &in), targets, norm, smoothing);
}

lt_t lt_model_loss(const lt_model *model, lt_graph *graph, const lt_model_input *input, lt_t targets, lt_t norm)
{
    return lt_model_loss_smooth(model, graph, input, targets, norm, 0);
}

void lt_model_set_checkpoint(lt_model *model, bool on)
{
    if (!model->network)
        model->config.checkpoint = on;
    else if (model->network->recomputes)
        *model->network->recomputes(&model->net) = on;
}

bool lt_model_checkpoints(const lt_model *model)
{
    lti_network_config copy = model->net; /* recomputes gives a place to write */
    if (!model->network) return model->config.checkpoint;
    return model->network->recomputes && *model->network->recomputes(&copy);
}

/* ---- Folding ---- */

lt_status lt_model_fold(lt_model *model)
{
    if (model->network != &lti_network_cnn)
        return lti_fail(model->ctx, LT_EUNSUPPORTED, "fold: a %s has no batch norms; a cnn has",
                        lt_model_family(model));
    if (model->frozen)
        return lti_fail(model->ctx, LT_EINVAL, "fold: the model was opened frozen; open it with lt_model_open");
    if (model->net.cnn.folded) return LT_OK;
    LTI_TRY(lt_cnn_fold(model->params, &model->net.cnn));
    model->net.cnn.folded = true;
    return LT_OK;
}
