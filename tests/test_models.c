/* test_models.c - models as files: configurations read and refused, directories opened, new models, saving. What models
 * compute is in test_networks.c. */
#include "data/json.h"
#include "models/model.h"
#include "tests/toys.h"

#include <math.h>

/* ---- config.json ---- */

static const char plain[] = "{\"model_type\":\"llama\",\"vocab_size\":300,\"hidden_size\":32,\"intermediate_size\":64,"
                            "\"num_hidden_layers\":2,\"num_attention_heads\":4}";

/* The plain configuration with `key` set to a JSON value, or removed when it is NULL. */
static lt_status read_with(lt_ctx *ctx, const char *key, const char *value, lt_transformer_config *config)
{
    json_t *json = json_loads(plain, 0, NULL);
    if (value)
        json_object_set_new(json, key, json_loads(value, JSON_DECODE_ANY, NULL));
    else
        json_object_del(json, key);
    lt_status status = lti_config_from_json(ctx, "dir/config.json", json, config);
    json_decref(json);
    return status;
}

static void refused_configurations(void)
{
    static const struct {
        const char *key, *value, *words;
        bool unsupported;
    } cases[] = {
        {"model_type", NULL, "dir/config.json: 'model_type' is missing; a text is needed"},
        {"model_type", "3", "'model_type' is an integer; a text is needed"},
        {"model_type", "\"t5\"", "model_type \"t5\" is not implemented; llama, mistral, qwen2", true},
        {"hidden_act", "\"mish\"", "'hidden_act' is \"mish\"; lathe implements silu, gelu", true},
        {"hidden_act", "[]", "'hidden_act' is an array; a text is needed"},
        {"attention_bias", "\"no\"", "'attention_bias' is a string; true or false is needed"},
        {"mlp_bias", "2", "'mlp_bias' is an integer; true or false is needed"},
        {"quantization_config", "{}", "'quantization_config' is set, which lathe does not implement", true},
        {"vocab_size", NULL, "'vocab_size' is missing; a whole number of at least 1 is needed"},
        {"vocab_size", "null", "'vocab_size' is null"},
        {"vocab_size", "0", "'vocab_size' is an integer; a whole number of at least 1"},
        {"vocab_size", "2.5", "'vocab_size' is a fraction"},
        {"vocab_size", "9000000000", "vocab is 9000000000; it must be in 1 to 4194304"},
        {"hidden_size", "\"32\"", "'hidden_size' is a string"},
        {"hidden_size", "34", "llama: dim 34 is no multiple of heads 4; change one or give head_dim"},
        {"intermediate_size", NULL, "'intermediate_size' is missing"},
        {"num_hidden_layers", "-1", "'num_hidden_layers'"},
        {"num_hidden_layers", "5000", "dir/config.json: llama: layers is 5000; it must be in 1 to 1024"},
        {"num_attention_heads", "{}", "'num_attention_heads' is an object"},
        {"num_key_value_heads", "3", "heads 4 is no multiple of kv_heads 3"},
        {"num_key_value_heads", "true", "'num_key_value_heads' is a truth value"},
        {"head_dim", "7", "the head dimension is 7; rotary positions need an even one up to 1024"},
        {"head_dim", "1026", "the head dimension is 1026"},
        {"max_position_embeddings", "0", "'max_position_embeddings'"},
        {"rms_norm_eps", "\"x\"", "'rms_norm_eps' is a string; a number is needed"},
        {"rms_norm_eps", "0", "norm_eps is 0; it must be above 0 and finite"},
        {"rope_theta", "-1", "rotary positions: plain: theta is -1; it is to be above 0"},
        {"rope_scaling", "3", "'rope_scaling' is an integer; an object is needed"},
        {"rope_scaling", "{\"type\":\"dynamic\",\"factor\":2}", "rotary scaling \"dynamic\" is not implemented", true},
        {"rope_scaling", "{\"rope_type\":\"llama3\"}", "'factor' is missing; a number is needed"},
        {"rope_scaling", "{\"rope_type\":\"llama3\",\"factor\":8}", "'original_max_position_embeddings' is missing"},
        {"rope_parameters", "{\"rope_type\":\"yarn\",\"factor\":4,\"mscale\":1}", "'mscale' is set", true},
        {"rope_parameters", "{\"partial_rotary_factor\":0.5}", "partial_rotary_factor 0.5 is not implemented", true},
        {"rope_parameters", "{\"rope_theta\":[]}", "'rope_theta' is an array; a number is needed"},
        {"tie_word_embeddings", "1", "'tie_word_embeddings' is an integer; true or false is needed"},
    };
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_transformer_config c;
    for (int i = 0; i < LTI_COUNT(cases); i++)
        TS_REFUSED(ctx, read_with(ctx, cases[i].key, cases[i].value, &c),
                   cases[i].unsupported ? LT_EUNSUPPORTED : LT_EFORMAT, cases[i].words);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

static void accepted_configurations(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_transformer_config c;
    TS_OK(ctx, read_with(ctx, "unknown", "[1,2]", &c));
    TS_CHECK(c.size == sizeof c && c.vocab == 300 && c.dim == 32 && c.hidden == 64 && c.layers == 2 && c.heads == 4,
             "the counts");
    TS_CHECK(c.kv_heads == 4 && c.head_dim == 0 && c.context == 2048 && c.rope_theta == 10000 && c.norm_eps == 1e-6,
             "defaults: kv_heads %lld, context %lld, theta %g, eps %g", (long long)c.kv_heads, (long long)c.context,
             c.rope_theta, c.norm_eps);
    TS_CHECK(!c.tied && !c.rope_interleaved && !c.checkpoint, "a file that says nothing is not tied");
    TS_OK(ctx, read_with(ctx, "rope_theta", "500000", &c));
    TS_CHECK(c.rope_theta == 500000, "old spelling: theta %g", c.rope_theta);
    TS_OK(ctx, read_with(ctx, "rope_parameters", "{\"rope_type\":\"default\",\"rope_theta\":20000.5}", &c));
    TS_CHECK(c.rope_theta == 20000.5, "new spelling: theta %g", c.rope_theta);
    TS_OK(ctx, read_with(ctx, "rope_scaling", "{\"type\":\"default\"}", &c));
    TS_OK(ctx, read_with(ctx, "attention_bias", "true", &c));
    TS_CHECK(c.qkv_bias && c.output_bias && !c.mlp_bias, "biases");
    TS_OK(ctx, read_with(ctx, "rope_scaling", "null", &c));
    TS_OK(ctx, read_with(ctx, "head_dim", "16", &c));
    TS_CHECK(c.head_dim == 16, "a head dimension of its own");
    TS_OK(ctx, read_with(ctx, "head_dim", "null", &c));
    TS_OK(ctx, read_with(ctx, "num_key_value_heads", "1", &c));
    TS_CHECK(c.kv_heads == 1, "grouped heads");
    TS_OK(ctx, read_with(ctx, "max_position_embeddings", "77", &c));
    TS_CHECK(c.context == 77, "context");
    TS_OK(ctx, read_with(ctx, "rms_norm_eps", "1e-6", &c));
    TS_CHECK(c.norm_eps == 1e-6, "eps");
    TS_OK(ctx, read_with(ctx, "tie_word_embeddings", "true", &c));
    TS_CHECK(c.tied, "tied");
    TS_OK(ctx, read_with(ctx, "attention_bias", "null", &c));
    TS_OK(ctx, read_with(ctx, "quantization_config", "null", &c));
    lt_ctx_free(ctx);
}

/* ---- Directories ---- */

static lt_status try_model(lt_ctx *ctx, const char *path)
{
    lt_model *model;
    lt_status status = lt_model_open(ctx, path, &model);
    TS_CHECK((status == LT_OK) == (model != NULL), "a model or NULL");
    lt_model_free(model);
    return status;
}

static lt_status try_init(lt_ctx *ctx, const char *init)
{
    lt_model *model;
    lt_status status = lt_model_create(ctx, init, NULL, 1, &model);
    TS_CHECK((status == LT_OK) == (model != NULL), "a model or NULL");
    lt_model_free(model);
    return status;
}

/* A toy saved as files in the place's directory. */
static void put_model(ts_place *p, const char *init)
{
    lt_model *model = toy_model(p->ctx, init, 3);
    TS_OK(p->ctx, lt_model_save(model, p->dir, "F32"));
    lt_model_free(model);
}

static void broken_directories(void)
{
    ts_place p = ts_open_place();
    TS_REFUSED(p.ctx, try_model(p.ctx, "/nonexistent/model"), LT_EIO,
               "/nonexistent/model: there is no such file or directory");
    TS_REFUSED(p.ctx, try_model(p.ctx, ts_put_text(&p, "file", "x")), LT_EFORMAT, "begins with the letters GGUF");
    TS_REFUSED(p.ctx, try_model(p.ctx, p.dir), LT_EIO, "config.json");
    ts_put_text(&p, "config.json", "{\"model_type\": ");
    TS_REFUSED(p.ctx, try_model(p.ctx, p.dir), LT_EFORMAT, "not JSON");
    ts_put_text(&p, "config.json", "{\"model_type\":\"llama\",\"model_type\":\"llama\"}");
    TS_REFUSED(p.ctx, try_model(p.ctx, p.dir), LT_EFORMAT, "a key occurs twice");
    ts_put_text(&p, "config.json", plain);
    TS_REFUSED(p.ctx, try_model(p.ctx, p.dir), LT_EIO, "model.safetensors");
    put_model(&p, TOY_INIT);
    TS_OK(p.ctx, try_model(p.ctx, p.dir));
    ts_put_text(&p, "generation_config.json", "[]");
    TS_REFUSED(p.ctx, try_model(p.ctx, p.dir), LT_EFORMAT, "generation_config.json: byte 0: an object");
    unlink(ts_at(&p, "generation_config.json"));
    ts_put_text(&p, "tokenizer.json", "{}");
    TS_REFUSED(p.ctx, try_model(p.ctx, p.dir), LT_EFORMAT, "tokenizer.json");
    unlink(ts_at(&p, "tokenizer.json"));
    toy_cut(ts_at(&p, "model.safetensors"), 10);
    TS_REFUSED(p.ctx, try_model(p.ctx, p.dir), LT_EFORMAT, "model.safetensors");
    ts_close_place(&p);
}

/* The file again, with the embedding for a head. */
static void copy_embedding(lt_ctx *ctx, const char *from, const char *to)
{
    enum { MOST = 64 };
    lt_tensor_entry entries[MOST];
    lt_tensors *t = NULL;
    if (!TS_OK(ctx, lt_tensors_open(ctx, from, &t))) return;
    int n = lt_tensors_count(t);
    for (int i = 0; i < n && i < MOST; i++) {
        bool head = !strcmp(lt_tensors_name(t, i), "lm_head.weight");
        int of = head ? lt_tensors_find(t, "model.embed_tokens.weight") : i;
        entries[i] = (lt_tensor_entry){.name = lt_tensors_name(t, i),
                                       .dtype = lt_tensors_dtype(t, i),
                                       .rank = lt_tensors_rank(t, i),
                                       .shape = lt_tensors_shape(t, i),
                                       .data = lt_tensors_data(t, of)};
    }
    if (TS_CHECK(n <= MOST, "%d tensors", n)) TS_OK(ctx, lt_tensors_write(ctx, to, entries, n, NULL, 0, NULL));
    lt_tensors_close(t);
}

static void wrong_tensors(void)
{
    static const struct {
        toy_edit edit;
        const char *words; /* NULL: it opens */
    } cases[] = {
        {{.drop = "model.layers.1.mlp.up_proj.weight"},
         "tensor 'model.layers.1.mlp.up_proj.weight' is missing; config.json promises it"},
        {{.drop = "lm_head.weight"},
         "'lm_head.weight' is missing; config.json promises it (or set tie_word_embeddings"},
        {{.reshape = "model.norm.weight"}, "tensor 'model.norm.weight' is [1, 32], but config.json makes it [32]"},
        {{.reshape = "model.layers.0.self_attn.q_proj.weight"}, "is [1, 1024], but config.json makes it [32, 32]"},
        {{.add = "model.layers.7.mlp.up_proj.weight"},
         "tensor 'model.layers.7.mlp.up_proj.weight' has no place in this llama model; is config.json of another?"},
        {{.retype = "model.norm.weight", .as = LT_STORED_I32}, "model.norm.weight"},
        {{.add = "model.layers.0.self_attn.rotary_emb.inv_freq"}, NULL},
        {{.add = ".rotary_emb.inv_freq"}, "has no place"},
    };
    ts_place p = ts_open_place();
    put_model(&p, TOY_INIT ",tied=0");
    char whole[256];
    snprintf(whole, sizeof whole, "%s", ts_at(&p, "whole.safetensors"));
    TS_CHECK(rename(ts_at(&p, "model.safetensors"), whole) == 0, "the weights are moved away");
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        toy_rewrite(p.ctx, whole, ts_at(&p, "model.safetensors"), &cases[i].edit);
        lt_status status = try_model(p.ctx, p.dir);
        if (!cases[i].words) TS_CHECK(status == LT_OK, "case %d: %s", i, lt_ctx_message(p.ctx));
        if (cases[i].words)
            TS_CHECK(status != LT_OK && strstr(lt_ctx_message(p.ctx), cases[i].words), "case %d: %s (%s), not '%s'", i,
                     lt_status_name(status), lt_ctx_message(p.ctx), cases[i].words);
    }
    toy_rewrite(p.ctx, whole, ts_at(&p, "model.safetensors"), &(toy_edit){.drop = ""});
    toy_set_json(ts_at(&p, "config.json"), "tie_word_embeddings", "true");
    TS_REFUSED(p.ctx, try_model(p.ctx, p.dir), LT_EFORMAT, "'lm_head.weight' differs from the embedding");
    copy_embedding(p.ctx, whole, ts_at(&p, "model.safetensors"));
    TS_OK(p.ctx, try_model(p.ctx, p.dir)); /* the copy of a tied head may lie in the file */
    toy_set_json(ts_at(&p, "config.json"), "vocab_size", "100");
    TS_REFUSED(p.ctx, try_model(p.ctx, p.dir), LT_EFORMAT, "is [258, 32], but config.json makes it [100, 32]");
    ts_close_place(&p);
}

/* Three tokens, enough to be a tokenizer of another model. */
static const char tiny_tokenizer[] =
    "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[],\"normalizer\":null,"
    "\"pre_tokenizer\":null,\"post_processor\":null,\"decoder\":null,\"model\":{\"type\":\"BPE\",\"dropout\":null,"
    "\"unk_token\":null,\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":false,"
    "\"byte_fallback\":false,\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}}";

static void tokenizers_of_other_models(void)
{
    ts_place p = ts_open_place();
    lt_model *model = NULL;
    char tokenizer[256];
    snprintf(tokenizer, sizeof tokenizer, "%s", ts_put_text(&p, "tokenizer.json", tiny_tokenizer));
    TS_OK(p.ctx, lt_model_create(p.ctx, "llama:layers=1,dim=8,hidden=8,heads=2", tokenizer, 1, &model));
    TS_CHECK(lt_model_config(model)->vocab == 3, "the vocabulary is the tokenizer's");
    TS_OK(p.ctx, lt_model_save(model, p.dir, "F32"));
    lt_model_free(model);
    model = NULL;
    if (TS_OK(p.ctx, lt_model_open(p.ctx, p.dir, &model)))
        TS_CHECK(lt_tokenizer_vocab_size(lt_model_tokenizer(model)) == 3, "the tokenizer came along");
    lt_model_free(model);
    unlink(tokenizer);
    TS_REFUSED(p.ctx, try_model(p.ctx, p.dir), LT_EIO, "there is no tokenizer.json in it");
    lt_tokenizer *bytes = NULL;
    const char *name;
    int64_t size;
    if (TS_OK(p.ctx, lt_tokenizer_bytes(p.ctx, &bytes)))
        ts_put_text(&p, "tokenizer.json", lt_tokenizer_file(bytes, 0, &name, &size));
    lt_tokenizer_free(bytes);
    TS_REFUSED(p.ctx, try_model(p.ctx, p.dir), LT_EFORMAT,
               "the tokenizer has 258 tokens, but the model's embedding has 3 rows; it is another model's");
    TS_REFUSED(p.ctx, try_init(p.ctx, "llama:vocab=100"), LT_EINVAL, "vocab=100 is less than the 258 tokens");
    TS_REFUSED(p.ctx, lt_model_create(p.ctx, TOY_INIT, "/nonexistent", 1, &model), LT_EIO, "/nonexistent");
    ts_close_place(&p);
}

/* ---- New models ---- */

static void init_strings(void)
{
    static const struct {
        const char *init, *words;
    } bad[] = {
        {"", "init: '' is not known; write llama:layers=4"},
        {"t5:layers=2", "init: 't5:layers=2' is not known"},
        {"gpt2:layers=2,heads=4,kv_heads=2", "gpt2: 4 heads of 64 with 2 kv_heads"},
        {"llamas", "'llamas' is not known"},
        {"llama:layers", "init: 'layers' is no list of key=value"},
        {"llama:layers=", "no list of key=value"},
        {"llama:layers=2,,dim=32", "init: ',dim=32' is no list of key=value"},
        {"llama:layers=x", "init: 'x' is no value for layers"},
        {"llama:layers=2.5", "'2.5' is no value for layers"},
        {"llama:layers=1e40", "'1e40' is no value for layers"},
        {"llama:layers=nan", "'nan' is no value for layers"},
        {"llama:rope_theta=inf", "'inf' is no value for rope_theta"},
        {"llama:rope_theta=10k", "'10k' is no value for rope_theta"},
        {"llama:depth=2", "init: llama has no 'depth'; it has vocab, dim, hidden, layers"},
        {"llama:dim=30", "dim 30 is no multiple of heads 8"},
        {"llama:heads=4,kv_heads=3,dim=32", "heads 4 is no multiple of kv_heads 3"},
        {"llama:dim=24", "the head dimension is 3"},
        {"llama:layers=0", "layers is 0; it must be in 1 to 1024"},
        {"llama:norm_eps=0", "must be above 0"},
        {"llama:vocab=-5", "vocab is -5"},
    };
    lt_ctx *ctx = lt_ctx_create(NULL);
    for (int i = 0; i < LTI_COUNT(bad); i++) TS_REFUSED(ctx, try_init(ctx, bad[i].init), LT_EINVAL, bad[i].words);
    lt_model *m = toy_model(ctx,
                            "llama:layers=1,dim=16,hidden=24,heads=4,kv_heads=2,head_dim=6,vocab=300,context=9,"
                            "rope_theta=123.5,norm_eps=1e-3,tied=0",
                            5);
    const lt_transformer_config *c = lt_model_config(m);
    TS_CHECK(c->layers == 1 && c->dim == 16 && c->hidden == 24 && c->heads == 4 && c->kv_heads == 2 &&
                 c->head_dim == 6 && c->vocab == 300 && c->context == 9 && c->rope_theta == 123.5 &&
                 c->norm_eps == 1e-3 && !c->tied,
             "every key arrives");
    TS_CHECK(lt_model_parameters(m) == 2 * 300 * 16 + 2 * (24 + 12) * 16 + 3 * 24 * 16 + 3 * 16, "%lld parameters",
             (long long)lt_model_parameters(m));
    TS_CHECK(strcmp(lt_model_family(m), "llama") == 0, "the family is %s", lt_model_family(m));
    const lt_param *q = lt_params_find(lt_model_params(m), "blk.0.attn_q.weight");
    TS_CHECK(q && lt_param_shape(q)[0] == 24 && lt_param_shape(q)[1] == 16, "heads have a dimension of their own");
    lt_model_free(m);
    m = toy_model(ctx, "llama:layers=1,dim=32,hidden=32", 5);
    TS_CHECK(lt_model_config(m)->kv_heads == 8 && lt_model_config(m)->vocab == 258, "kv_heads as heads, bytes as ids");
    lt_model_free(m);
    lt_ctx_free(ctx);
}

static void a_seed_is_a_model(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_model *a = toy_model(ctx, TOY_INIT, 7), *b = toy_model(ctx, TOY_INIT, 7), *c = toy_model(ctx, TOY_INIT, 8);
    toy_same_weights(a, b, "one seed");
    const lt_param *p = lt_params_find(lt_model_params(a), "blk.1.ffn_up.weight");
    const lt_param *q = lt_params_find(lt_model_params(c), "blk.1.ffn_up.weight");
    TS_CHECK(!ts_same_bytes(lt_param_bytes(p), lt_param_read(p), lt_param_read(q)), "another seed, other weights");
    const struct {
        const char *name;
        double deviation;
    } normal[] = {{"token_embd.weight", 0.02}, {"blk.0.attn_v.weight", 0.02}, {"blk.1.ffn_down.weight", 0.01}};
    for (int i = 0; i < LTI_COUNT(normal); i++) {
        p = lt_params_find(lt_model_params(a), normal[i].name);
        const lt_real *w = lt_param_read(p);
        double sum = 0;
        for (int64_t k = 0; k < lt_param_count(p); k++) sum += (double)w[k] * (double)w[k];
        double deviation = sqrt(sum / (double)lt_param_count(p));
        TS_CHECK(fabs(deviation / normal[i].deviation - 1) < 0.1, "%s: deviation %g", normal[i].name, deviation);
    }
    p = lt_params_find(lt_model_params(a), "blk.1.ffn_norm.weight");
    TS_CHECK(((const lt_real *)lt_param_read(p))[31] == 1, "norms start at 1");
    lt_model_free(a);
    lt_model_free(b);
    lt_model_free(c);
    lt_ctx_free(ctx);
}

/* ---- Saving ---- */

/* What keeps an lt_real bit for bit. */
static const char *exact(void)
{
    return sizeof(lt_real) == 8 ? "F64" : "F32";
}

static void saving_keeps_everything(void)
{
    ts_place p = ts_open_place();
    char first[256], second[256];
    snprintf(first, sizeof first, "%s", ts_at(&p, "a/b"));
    snprintf(second, sizeof second, "%s", ts_at(&p, "second"));
    lt_model *a = toy_model(p.ctx, TOY_INIT ",tied=0,rope_theta=12345.5,norm_eps=1e-6", 4), *b = NULL, *c = NULL;
    TS_OK(p.ctx, lt_model_save(a, first, exact()));
    ts_put_text(&p, "a/b/generation_config.json", "{\"temperature\": 0.5, \"text\": \"\u00e9\"}");
    toy_set_json(ts_at(&p, "a/b/config.json"), "my_key", "{\"deep\":[1,2.5,\"\u00e9\"]}");
    toy_set_json(ts_at(&p, "a/b/config.json"), "torch_dtype", "\"float16\"");
    toy_set_json(ts_at(&p, "a/b/config.json"), "rope_parameters", "null");
    if (!TS_OK(p.ctx, lt_model_open(p.ctx, first, &b))) return;
    toy_same_weights(a, b, "saved and opened");
    TS_CHECK(ts_same_bytes(sizeof(lt_transformer_config) - 8, &lt_model_config(a)->vocab, &lt_model_config(b)->vocab) ||
                 lt_model_config(b)->head_dim == 8,
             "the configuration comes back");
    TS_OK(p.ctx, lt_model_save(b, second, exact()));
    json_t *json = json_load_file(ts_at(&p, "second/config.json"), 0, NULL);
    const json_t *deep = json_object_get(json_object_get(json, "my_key"), "deep");
    TS_CHECK(json_array_size(deep) == 3 && json_real_value(json_array_get(deep, 1)) == 2.5, "unknown keys are kept");
    const char *dtype = json_string_value(json_object_get(json, "torch_dtype"));
    TS_CHECK(dtype && strcmp(dtype, sizeof(lt_real) == 8 ? "float64" : "float32") == 0, "torch_dtype is %s", dtype);
    json_decref(json);
    json = json_load_file(ts_at(&p, "second/generation_config.json"), 0, NULL);
    TS_CHECK(json_real_value(json_object_get(json, "temperature")) == 0.5, "the generation's configuration is kept");
    json_decref(json);
    if (TS_OK(p.ctx, lt_model_open(p.ctx, second, &c))) toy_same_weights(a, c, "saved twice");
    TS_CHECK(lt_model_config(c)->rope_theta == 12345.5 && lt_model_config(c)->norm_eps == 1e-6, "numbers come back");
    size_t one = 0, two = 0;
    char *x = toy_read(ts_at(&p, "a/b/model.safetensors"), &one);
    char *y = toy_read(ts_at(&p, "second/model.safetensors"), &two);
    TS_CHECK(one == two && ts_same_bytes(one, x, y), "and the files of weights are equal");
    free(x);
    free(y);
    lt_model_free(a);
    lt_model_free(b);
    lt_model_free(c);
    ts_close_place(&p);
}

static void rope_parameters_are_written_back(void)
{
    ts_place p = ts_open_place();
    put_model(&p, TOY_INIT);
    toy_set_json(ts_at(&p, "config.json"), "rope_theta", NULL);
    toy_set_json(ts_at(&p, "config.json"), "rope_parameters", "{\"rope_type\":\"default\",\"rope_theta\":777.0}");
    lt_model *m = NULL;
    if (TS_OK(p.ctx, lt_model_open(p.ctx, p.dir, &m))) TS_OK(p.ctx, lt_model_save(m, p.dir, "F32"));
    json_t *json = json_load_file(ts_at(&p, "config.json"), 0, NULL);
    const json_t *rope = json_object_get(json, "rope_parameters");
    TS_CHECK(json_real_value(json_object_get(rope, "rope_theta")) == 777 && !json_object_get(json, "rope_theta"),
             "theta goes where it was");
    json_decref(json);
    lt_model_free(m);
    ts_close_place(&p);
}

static void saving_in_fewer_bits(void)
{
    static const struct {
        const char *dtype;
        double error;
    } cases[] = {{"F16", 1.0 / 2048}, {"BF16", 1.0 / 256}};
    ts_place p = ts_open_place();
    lt_model *a = toy_model(p.ctx, TOY_INIT, 4);
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        lt_model *b = NULL, *c = NULL;
        TS_OK(p.ctx, lt_model_save(a, p.dir, cases[i].dtype));
        if (!TS_OK(p.ctx, lt_model_open(p.ctx, p.dir, &b))) continue;
        const lt_param *x = lt_params_find(lt_model_params(a), "blk.1.attn_k.weight");
        const lt_param *y = lt_params_find(lt_model_params(b), "blk.1.attn_k.weight");
        const lt_real *v = lt_param_read(x), *w = lt_param_read(y);
        double worst = 0;
        for (int64_t k = 0; k < lt_param_count(x); k++)
            worst = fmax(worst, fabs((double)(v[k] - w[k])) - fabs((double)v[k]) * cases[i].error - 1e-7);
        TS_CHECK(worst <= 0, "%s rounds to nearest: %g beyond", cases[i].dtype, worst);
        TS_OK(p.ctx, lt_model_save(b, p.dir, cases[i].dtype));
        if (TS_OK(p.ctx, lt_model_open(p.ctx, p.dir, &c))) toy_same_weights(b, c, "rounded twice");
        lt_model_free(b);
        lt_model_free(c);
    }
    TS_REFUSED(p.ctx, lt_model_save(a, p.dir, "I8"), LT_EINVAL, "cannot save a model as I8; F32, F16 and BF16");
    TS_REFUSED(p.ctx, lt_model_save(a, p.dir, "float"), LT_EINVAL, "cannot save a model as float");
    ts_put_text(&p, "file", "x");
    TS_REFUSED(p.ctx, lt_model_save(a, ts_at(&p, "file/inside"), "F32"), LT_EIO, "file");
    lt_model_free(a);
    ts_close_place(&p);
}

static void names_in_files(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_model *m = toy_model(ctx, TOY_INIT ",tied=0", 1);
    const char *const names[][2] = {{"token_embd.weight", "model.embed_tokens.weight"},
                                    {"blk.1.attn_output.weight", "model.layers.1.self_attn.o_proj.weight"},
                                    {"blk.0.ffn_norm.weight", "model.layers.0.post_attention_layernorm.weight"},
                                    {"output.weight", "lm_head.weight"}};
    char hf[96];
    for (int i = 0; i < LTI_COUNT(names); i++)
        TS_CHECK(lt_model_hf_name(m, names[i][0], hf, sizeof hf) && strcmp(hf, names[i][1]) == 0, "%s is %s",
                 names[i][0], hf);
    TS_CHECK(!lt_model_hf_name(m, "blk.2.attn_q.weight", hf, sizeof hf), "an unknown tensor has no name");
    lt_model_free(m);
    lt_model_free(NULL);
    lt_ctx_free(ctx);
}

/* stories260K saved and opened again: every tensor of a published model. */
static void published_model(void)
{
    ts_place p = ts_open_place();
    lt_model *a = NULL, *b = NULL;
    if (TS_OK(p.ctx, lt_model_open(p.ctx, ts_data("models/stories260K/hf"), &a)) &&
        TS_OK(p.ctx, lt_model_save(a, p.dir, "F32")) && TS_OK(p.ctx, lt_model_open(p.ctx, p.dir, &b))) {
        toy_same_weights(a, b, "stories260K");
        TS_CHECK(strcmp(lt_tokenizer_hash(lt_model_tokenizer(a)), lt_tokenizer_hash(lt_model_tokenizer(b))) == 0,
                 "the tokenizer's file is the same");
    }
    lt_model_free(a);
    lt_model_free(b);
    ts_close_place(&p);
}

int lti_suite_models(void)
{
    const ts_test tests[] = {{"refused configurations", refused_configurations},
                             {"accepted configurations", accepted_configurations},
                             {"broken directories", broken_directories},
                             {"wrong tensors", wrong_tensors},
                             {"tokenizers of other models", tokenizers_of_other_models},
                             {"init strings", init_strings},
                             {"a seed is a model", a_seed_is_a_model},
                             {"saving keeps everything", saving_keeps_everything},
                             {"rope_parameters", rope_parameters_are_written_back},
                             {"saving in fewer bits", saving_in_fewer_bits},
                             {"names in files", names_in_files}};
    if (ts_suite("models", LTI_COUNT(tests), tests) || toy_one_thread("models")) return 1;
    return ts_add_with_data(CU_get_suite("models"), "stories260K", "models/stories260K/hf/config.json",
                            published_model);
}
