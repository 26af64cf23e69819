/* test_family_options.c - options of config.json that a family refuses, each with its words; what a recording of GPT-2
 * and BERT refuses; and configs of new models. The configs that are changed are those of tests/golden/families. */
#include "models/model.h"
#include "tests/golden.h"
#include "tests/toys.h"

/* The config of a golden model with `key` set to a JSON value. */
static lt_status read_with(lt_ctx *ctx, const char *name, const char *key, const char *value, lt_transformer_config *c)
{
    char file[64];
    snprintf(file, sizeof file, "families/%s/config.json", name);
    json_t *json = gd_load(file);
    json_object_set_new(json, key, json_loads(value, JSON_DECODE_ANY, NULL));
    lt_status status = lti_config_from_json(ctx, "config.json", json, c);
    json_decref(json);
    return status;
}

static const struct {
    const char *name, *key, *value;
    lt_status status;
    const char *words;
} refusals[] = {
    {"llama", "model_type", "\"mamba\"", LT_EUNSUPPORTED, "model_type \"mamba\" is not implemented"},
    {"llama", "quantization_config", "{}", LT_EUNSUPPORTED, "'quantization_config' is set"},
    {"llama", "hidden_act", "\"mish\"", LT_EUNSUPPORTED, "'hidden_act' is \"mish\""},
    {"llama", "hidden_act", "3", LT_EFORMAT, "'hidden_act' is an integer; a text is needed"},
    {"llama", "attention_bias", "\"yes\"", LT_EFORMAT, "'attention_bias' is a string; true or false"},
    {"llama", "num_key_value_heads", "3", LT_EFORMAT, "heads 4 is no multiple of kv_heads 3"},
    {"llama", "head_dim", "7", LT_EFORMAT, "the head dimension is 7"},
    {"llama", "hidden_size", "null", LT_EFORMAT, "'hidden_size' is null"},
    {"llama", "rope_parameters", "7", LT_EFORMAT, "'rope_parameters' is an integer; an object"},
    {"llama", "rope_parameters", "{\"rope_type\":\"dynamic\",\"factor\":2}", LT_EUNSUPPORTED,
     "rotary scaling \"dynamic\" is not implemented"},
    {"llama", "rope_scaling", "{\"type\":\"longrope\",\"factor\":2}", LT_EUNSUPPORTED, "\"longrope\""},
    {"llama", "rope_parameters", "{\"rope_type\":\"default\",\"partial_rotary_factor\":0.5}", LT_EUNSUPPORTED,
     "partial_rotary_factor 0.5"},
    {"llama", "rope_parameters", "{\"rope_type\":\"linear\"}", LT_EFORMAT, "'factor' is missing"},
    {"llama", "rope_parameters", "{\"rope_type\":\"llama3\",\"factor\":4}", LT_EFORMAT,
     "'original_max_position_embeddings' is missing"},
    {"llama", "rope_parameters", "{\"rope_type\":\"yarn\",\"factor\":4,\"mscale\":1}", LT_EUNSUPPORTED,
     "'mscale' is set"},
    {"llama", "rope_parameters", "{\"rope_type\":\"yarn\",\"factor\":4,\"truncate\":false}", LT_EUNSUPPORTED,
     "'truncate' is false"},
    {"qwen2", "layer_types", "[\"sliding_attention\",\"chunked_attention\"]", LT_EUNSUPPORTED,
     "layer_types[1] is 'chunked_attention'"},
    {"qwen2", "layer_types", "[\"sliding_attention\"]", LT_EFORMAT, "'layer_types' is an array; one name"},
    {"gemma3", "layer_types", "[\"sliding_attention\",\"full_attention\",\"full_attention\",\"sliding_attention\"]",
     LT_EUNSUPPORTED, "layer_types follow no pattern"},
    {"gemma3", "attn_logit_softcapping", "50.0", LT_EUNSUPPORTED, "'attn_logit_softcapping' is set"},
    {"gemma3", "final_logit_softcapping", "30.0", LT_EUNSUPPORTED, "'final_logit_softcapping' is set"},
    {"gemma3", "use_bidirectional_attention", "true", LT_EUNSUPPORTED, "'use_bidirectional_attention' is true"},
    {"gemma3", "query_pre_attn_scalar", "0", LT_EFORMAT, "'query_pre_attn_scalar'"},
    {"gemma3", "rope_parameters",
     "{\"full_attention\":{\"rope_type\":\"default\"},"
     "\"sliding_attention\":{\"rope_type\":\"linear\",\"factor\":2}}",
     LT_EUNSUPPORTED, "rotary scaling of layers with a window"},
    {"gpt2", "scale_attn_weights", "false", LT_EUNSUPPORTED, "'scale_attn_weights' is false"},
    {"gpt2", "scale_attn_by_inverse_layer_idx", "true", LT_EUNSUPPORTED, "'scale_attn_by_inverse_layer_idx' is"},
    {"gpt2", "reorder_and_upcast_attn", "true", LT_EUNSUPPORTED, "'reorder_and_upcast_attn' is true"},
    {"gpt2", "add_cross_attention", "true", LT_EUNSUPPORTED, "'add_cross_attention' is true"},
    {"gpt2", "activation_function", "\"quick_gelu\"", LT_EUNSUPPORTED, "'activation_function' is \"quick_gelu\""},
    {"gpt2", "n_inner", "0", LT_EFORMAT, "'n_inner'"},
    {"gpt2", "n_embd", "null", LT_EFORMAT, "'n_embd' is null"},
    {"gpt2", "n_head", "3", LT_EFORMAT, "dim 16 is no multiple of heads 3"},
    {"bert", "position_embedding_type", "\"relative_key\"", LT_EUNSUPPORTED,
     "'position_embedding_type' is \"relative_key\"; lathe implements \"absolute\""},
    {"bert", "is_decoder", "true", LT_EUNSUPPORTED, "'is_decoder' is true"},
    {"bert", "add_cross_attention", "true", LT_EUNSUPPORTED, "'add_cross_attention' is true"},
    {"bert", "problem_type", "\"multi_label_classification\"", LT_EUNSUPPORTED, "'problem_type' is"},
    {"bert", "id2label", "{\"0\":\"x\"}", LT_EUNSUPPORTED, "'id2label' has 1 label, which means regression"},
    {"bert", "id2label", "3", LT_EFORMAT, "'id2label' is an integer; an object is needed"},
    {"bert", "layer_norm_eps", "0", LT_EFORMAT, "norm_eps"},
    {"bitnet", "hidden_act", "\"mish\"", LT_EUNSUPPORTED, "'hidden_act' is \"mish\""},
    {"bitnet", "head_dim", "8", LT_EFORMAT, "heads times head_dim must be dim"},
};

static void refused_options(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_transformer_config c;
    for (int i = 0; i < LTI_COUNT(refusals); i++)
        TS_REFUSED(ctx, read_with(ctx, refusals[i].name, refusals[i].key, refusals[i].value, &c), refusals[i].status,
                   refusals[i].words);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "nothing stays allocated");
    lt_ctx_free(ctx);
}

/* Options that change nothing a model computes, and other ways to say the same. */
static void accepted_options(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_transformer_config c;
    TS_OK(ctx, read_with(ctx, "gpt2", "resid_pdrop", "0.5", &c));
    TS_CHECK(c.hidden == 64 && c.context == 64 && c.kv_heads == 4 && c.tied && c.activation == LT_GELU_TANH,
             "what gpt2 leaves out");
    TS_OK(ctx, read_with(ctx, "gpt2", "n_inner", "48", &c));
    TS_CHECK(c.hidden == 48, "n_inner is %lld", (long long)c.hidden);
    TS_OK(ctx, read_with(ctx, "gpt2", "tie_word_embeddings", "false", &c));
    TS_CHECK(!c.tied, "an untied gpt2");
    TS_OK(ctx, read_with(ctx, "bert", "classifier_dropout", "0.5", &c));
    TS_CHECK(c.classes == 3 && c.types == 2 && c.context == 24 && c.activation == LT_GELU, "what bert says");
    TS_OK(ctx, read_with(ctx, "bert", "id2label", "null", &c));
    TS_CHECK(c.classes == 2, "without labels two classes, not %lld", (long long)c.classes);
    TS_OK(ctx, read_with(ctx, "bert", "architectures", "[\"BertModel\"]", &c));
    TS_CHECK(c.classes == 0, "no head: %lld classes", (long long)c.classes);
    TS_OK(ctx, read_with(ctx, "bert", "problem_type", "\"single_label_classification\"", &c));
    lt_ctx_free(ctx);
}

/* ---- Recordings ---- */

/* A graph of a model made from `init` and the message it ends with. */
static void refuse(const char *init, int64_t T, bool first, bool head, const char *words)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_model *m = toy_model(ctx, init, 1);
    lt_graph *g = NULL;
    if (TS_OK(ctx, lt_graph_create(ctx, lt_model_params(m), &g))) {
        lt_model_input in = {.tokens = lt_index_input(g, "tokens", 2, (int64_t[]){2, T}, 0, 258)};
        if (first) in.first = lt_scalar(g, "first", 0);
        lt_t y = head ? lt_model_logits(m, g, &in) : lt_model_hidden(m, g, &in);
        TS_CHECK(lt_is_nil(y) && lt_graph_status(g) == LT_EINVAL && strstr(lt_graph_message(g), words), "%s: %s", init,
                 lt_graph_message(g));
    }
    lt_graph_free(g);
    lt_model_free(m);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "nothing stays allocated");
    lt_ctx_free(ctx);
}

#define GPT2 "gpt2:layers=1,dim=16,hidden=32,heads=2,context=8"
#define BERT "bert:layers=1,dim=16,hidden=32,heads=2,context=8"

static void refused_recordings(void)
{
    refuse(GPT2, 9, false, false, "gpt2: rows of 9 tokens, but the model has 8 positions");
    refuse(GPT2, 1, true, false, "gpt2 has learned positions: an input with `first` must name them");
    refuse(BERT, 9, false, false, "bert: rows of 9 tokens, but the model has 8 positions");
    refuse(BERT, 1, true, false, "bert is an encoder: it reads whole texts");
    refuse(BERT, 4, false, true, "this bert has no classification head");
    refuse(BERT ",types=0", 9, false, false, "8 positions");
}

/* Types that are absent are type 0, and positions that are absent count from 0. */
static void absent_inputs(void)
{
    static const int32_t tokens[] = {5, 6, 7, 8, 9, 10}, zeros[6] = {0}, places[] = {0, 1, 2, 0, 1, 2};
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_model *m = toy_model(ctx, BERT ",classes=2", 1);
    lt_graph *g = NULL;
    lt_plan *plan = NULL;
    int64_t shape[] = {2, 3};
    if (TS_OK(ctx, lt_graph_create(ctx, lt_model_params(m), &g))) {
        lt_model_input in = {.tokens = lt_index_input(g, "tokens", 2, shape, 0, 258)};
        lt_t y[2] = {lt_model_logits(m, g, &in)};
        in.types = lt_index_input(g, "types", 2, shape, 0, 2);
        in.positions = lt_index_input(g, "positions", 2, shape, 0, 8);
        y[1] = lt_model_logits(m, g, &in);
        if (TS_OK(ctx, lt_compile(g, NULL, 2, y, &plan)) && TS_OK(ctx, lt_bind(plan, "tokens", tokens)) &&
            TS_OK(ctx, lt_bind(plan, "types", zeros)) && TS_OK(ctx, lt_bind(plan, "positions", places)) &&
            TS_OK(ctx, lt_run(plan)))
            TS_CHECK(ts_distance_real(4, lt_result(plan, 0), lt_result(plan, 1)) < 1e-6, "what is absent is 0");
    }
    lt_plan_free(plan);
    lt_graph_free(g);
    lt_model_free(m);
    lt_ctx_free(ctx);
}

/* A model opened and its loss recorded while memory is out at every place. */
static lt_status open_and_record(lt_ctx *ctx, void *name, bool *survived)
{
    char path[256];
    lt_model *m = NULL;
    lt_graph *g = NULL;
    lt_plan *plan = NULL;
    (void)survived;
    snprintf(path, sizeof path, "%s/families/%s", gd_directory(), (const char *)name);
    lt_status status = lt_model_open(ctx, path, &m);
    if (status == LT_OK) status = lt_graph_create(ctx, lt_model_params(m), &g);
    if (status == LT_OK) {
        bool encoder = lt_transformer_is_encoder(lt_model_config(m));
        lt_model_input in = {.tokens = lt_index_input(g, "tokens", 2, (int64_t[]){2, 5}, 0, 40)};
        lt_t targets = lt_index_input(g, "targets", encoder ? 1 : 2, (int64_t[]){2, 5}, -1, 3);
        lt_t loss = lt_model_loss(m, g, &in, targets, lt_nil(g));
        status = lt_compile(g, NULL, 1, &loss, &plan);
    }
    lt_plan_free(plan);
    lt_graph_free(g);
    lt_model_free(m);
    return status;
}

static void out_of_memory(void)
{
    toy_allocations_fail("gpt2", 200, open_and_record, "gpt2");
    toy_allocations_fail("bert", 200, open_and_record, "bert");
}

/* ---- New models ---- */

/* A new model's config.json has all its options: what is read is what was made. */
static void new_models(void)
{
    static const char *const inits[] = {"gpt2:layers=1,dim=24,heads=3,hidden=40,context=50,norm_eps=1e-4",
                                        "gpt2:layers=2,dim=16,heads=2,hidden=64,context=20,tied=0",
                                        "bert:layers=1,dim=24,heads=3,hidden=40,context=50,types=3,classes=5",
                                        "bert:layers=1,dim=16,hidden=24,heads=2,context=8,types=0",
                                        "bitnet:layers=1,dim=24,heads=4,kv_heads=2,hidden=40,context=50",
                                        "bitnet:layers=1,dim=16,heads=2,hidden=24,context=8,tied=0"};
    for (int i = 0; i < LTI_COUNT(inits); i++) {
        ts_place p = ts_open_place();
        lt_model *a = toy_model(p.ctx, inits[i], 3), *b = NULL;
        TS_OK(p.ctx, lt_model_save(a, p.dir, sizeof(lt_real) == 8 ? "F64" : "F32"));
        if (TS_OK(p.ctx, lt_model_open(p.ctx, p.dir, &b))) {
            toy_same_weights(a, b, inits[i]);
            const lt_transformer_config *x = lt_model_config(a), *y = lt_model_config(b);
            TS_CHECK(x->family == y->family && x->hidden == y->hidden && x->heads == y->heads && x->tied == y->tied &&
                         x->kv_heads == y->kv_heads && x->context == y->context && x->activation == y->activation &&
                         x->norm_eps == y->norm_eps && x->types == y->types && x->classes == y->classes,
                     "%s: the config comes back", inits[i]);
            TS_CHECK(y->classes == 0 || !strcmp(lt_model_label(b, 4), "LABEL_4"), "classes have names");
        }
        lt_model_free(a);
        lt_model_free(b);
        ts_close_place(&p);
    }
}

int lti_suite_family_options(void)
{
    const ts_test tests[] = {{"refused options", refused_options},       {"accepted options", accepted_options},
                             {"refused recordings", refused_recordings}, {"absent inputs", absent_inputs},
                             {"out of memory", out_of_memory},           {"new models", new_models}};
    return ts_suite("family_options", LTI_COUNT(tests), tests) || toy_one_thread("family_options");
}
