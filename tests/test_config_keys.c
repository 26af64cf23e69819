/* test_config_keys.c - keys of config.json and of GGUF files that change what a model computes: read as Transformers'
 * and llama.cpp's readers do, also where a key is missing, or refused; and what cannot be written is not. What a
 * missing or doubled key means was asked of Transformers 5.23 (AutoConfig.from_pretrained of these very objects). */
#include "data/json.h"
#include "lathe/gguf.h"
#include "models/model.h"
#include "tests/golden.h"
#include "tests/toys.h"

#include <time.h>

#define SIZES "\"hidden_size\":32,\"intermediate_size\":48,\"num_hidden_layers\":30,\"vocab_size\":40"
#define HEADS ",\"num_attention_heads\":4"
#define LLAMA "{\"model_type\":\"llama\"," SIZES HEADS ",\"max_position_embeddings\":64"
#define MISTRAL "{\"model_type\":\"mistral\"," SIZES ",\"num_attention_heads\":8"
#define QWEN2 "{\"model_type\":\"qwen2\"," SIZES ",\"num_attention_heads\":32,\"head_dim\":2"
#define BITNET "{\"model_type\":\"bitnet\"," SIZES ",\"num_attention_heads\":8"
#define GEMMA3 "{\"model_type\":\"gemma3_text\",\"hidden_size\":32,\"intermediate_size\":48,\"num_hidden_layers\":6"

static lt_status read_text(lt_ctx *ctx, const char *text, lt_transformer_config *c)
{
    json_t *json;
    lt_status status = lti_json_parse(ctx, "config.json", 0, text, strlen(text), &json);
    if (status == LT_OK) status = lti_config_from_json(ctx, "config.json", json, c);
    json_decref(json);
    return status;
}

static lt_transformer_config config_of(lt_ctx *ctx, const char *text)
{
    lt_transformer_config c;
    TS_OK(ctx, read_text(ctx, text, &c));
    return c;
}

/* ---- config.json ---- */

static void missing_keys(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_transformer_config c = config_of(ctx, MISTRAL "}");
    TS_CHECK(c.kv_heads == 8 && c.window == 4096 && !c.window_first && !c.window_pattern && c.context == 131072,
             "mistral's: %lld kv heads, window %lld", (long long)c.kv_heads, (long long)c.window);
    c = config_of(ctx, MISTRAL ",\"sliding_window\":null,\"num_key_value_heads\":null}");
    TS_CHECK(c.window == 0 && c.kv_heads == 8, "null is no window");
    c = config_of(ctx, QWEN2 ",\"use_sliding_window\":true}");
    TS_CHECK(c.kv_heads == 32 && c.window == 4096 && c.window_first == 28,
             "qwen2's: %lld kv heads, window %lld from %lld", (long long)c.kv_heads, (long long)c.window,
             (long long)c.window_first);
    c = config_of(ctx, GEMMA3 "}");
    TS_CHECK(c.vocab == 262208 && c.heads == 8 && c.kv_heads == 4 && c.head_dim == 256 && c.window == 4096 &&
                 c.window_pattern == 6 && c.context == 131072 && c.tied && c.rope_theta_local == 1e4,
             "gemma3's");
    TS_REFUSED(ctx, read_text(ctx, BITNET "}", &c), LT_EFORMAT, "no multiple of kv_heads 5");
    c = config_of(ctx, BITNET ",\"num_key_value_heads\":null}");
    TS_CHECK(c.kv_heads == 8 && c.context == 2048 && c.rope_theta == 5e5 && c.norm_eps == 1e-5 && !c.tied &&
                 c.activation == LT_RELU2 && !c.qkv_bias,
             "bitnet's");
    TS_REFUSED(ctx, read_text(ctx, BITNET ",\"num_key_value_heads\":4,\"head_dim\":8}", &c), LT_EFORMAT,
               "heads times head_dim must be dim, which is 32");
    lt_ctx_free(ctx);
}

/* gemma-3-4b-it as published: almost every number is the class's; the whole says whether the head is tied. */
static void multimodal(void)
{
    static const char text[] =
        "{\"model_type\":\"gemma3\",\"text_config\":{\"hidden_size\":2560,\"intermediate_size\":10240,"
        "\"model_type\":\"gemma3_text\",\"num_hidden_layers\":34,\"rope_scaling\":{\"factor\":8.0,"
        "\"rope_type\":\"linear\"},\"sliding_window\":1024},\"vision_config\":{}";
    char untied[sizeof text + 64], packed[sizeof text + 64];
    lt_ctx *ctx = lt_ctx_create(NULL);
    snprintf(untied, sizeof untied, "%s,\"tie_word_embeddings\":false}", text);
    snprintf(packed, sizeof packed, "%s,\"quantization_config\":{}}", text);
    lt_transformer_config c = config_of(ctx, untied);
    TS_CHECK(c.vocab == 262208 && c.heads == 8 && c.kv_heads == 4 && c.window == 1024 && c.rope_theta == 1e6 &&
                 c.rope_scaling.kind == LT_ROPE_LINEAR && c.rope_scaling.factor == 8 && !c.tied,
             "gemma-3-4b-it");
    TS_REFUSED(ctx, read_text(ctx, packed, &c), LT_EUNSUPPORTED, "'quantization_config' is set");
    lt_ctx_free(ctx);
}

/* Keys another class has change nothing here, as they change nothing there. */
static void keys_of_other_classes(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_transformer_config c = config_of(ctx, LLAMA ",\"use_sliding_window\":true,\"sliding_window\":8}");
    TS_CHECK(c.window == 0, "llama has no window");
    c = config_of(ctx, MISTRAL ",\"use_sliding_window\":false,\"sliding_window\":8,\"max_window_layers\":3}");
    TS_CHECK(c.window == 8 && c.window_first == 0, "mistral's window is on");
    c = config_of(ctx, QWEN2 ",\"attention_bias\":true,\"mlp_bias\":true}");
    TS_CHECK(c.qkv_bias && !c.output_bias && !c.mlp_bias, "qwen2 has the biases it has");
    c = config_of(ctx, GEMMA3 ",\"hidden_act\":\"silu\",\"_sliding_window_pattern\":3}");
    TS_CHECK(c.activation == LT_GELU_TANH && c.window_pattern == 6, "gemma3 says hidden_activation");
    lt_ctx_free(ctx);
}

static void both_spellings(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_transformer_config c =
        config_of(ctx, LLAMA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":4.0},"
                             "\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":500.0}}");
    TS_CHECK(c.rope_scaling.kind == LT_ROPE_LINEAR && c.rope_theta == 1e4, "the old spelling stands alone");
    c = config_of(ctx, LLAMA ",\"rope_scaling\":{},\"rope_parameters\":{\"rope_type\":null,\"type\":\"linear\","
                             "\"factor\":2.0,\"rope_theta\":500.0}}");
    TS_CHECK(c.rope_scaling.kind == LT_ROPE_LINEAR && c.rope_theta == 500, "an empty one does not");
    c = config_of(ctx, LLAMA ",\"original_max_position_embeddings\":16,\"rope_scaling\":{\"type\":\"yarn\","
                             "\"factor\":4.0,\"original_max_position_embeddings\":32}}");
    TS_CHECK(c.rope_scaling.original_context == 16, "outside it stands before inside");
    c = config_of(ctx,
                  GEMMA3 ",\"rope_local_base_freq\":5e3,\"rope_theta\":7.0,\"rope_parameters\":{\"full_attention\":"
                         "{\"rope_type\":\"default\",\"rope_theta\":1e6},\"sliding_attention\":{\"rope_type\":"
                         "\"default\",\"rope_theta\":2e4}}}");
    TS_CHECK(c.rope_theta == 1e6 && c.rope_theta_local == 2e4, "%g, %g", c.rope_theta, c.rope_theta_local);
    lt_ctx_free(ctx);
}

static void refused_keys(void)
{
    static const struct {
        const char *text;
        lt_status status;
        const char *words;
    } table[] = {
        {LLAMA ",\"is_causal\":false}", LT_EUNSUPPORTED, "'is_causal' is false"},
        {LLAMA ",\"partial_rotary_factor\":0.5}", LT_EUNSUPPORTED, "partial_rotary_factor 0.5"},
        {LLAMA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.0,\"mrope_section\":[2,1,1]}}", LT_EUNSUPPORTED,
         "'rope_scaling' has the option 'mrope_section'"},
        {LLAMA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":0.0}}", LT_EFORMAT, "linear: factor is 0"},
        {LLAMA ",\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"default\"}}}", LT_EUNSUPPORTED,
         "the option 'full_attention'"},
        {GEMMA3 ",\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":8.0}}", LT_EUNSUPPORTED,
         "neither full_attention nor sliding_attention"},
        {GEMMA3 ",\"sliding_window\":null}", LT_EFORMAT, "'sliding_window' is null"},
        {GEMMA3 ",\"layer_types\":\"full\"}", LT_EFORMAT, "'layer_types' is a string; an array"},
        {QWEN2 ",\"use_sliding_window\":true,\"max_window_layers\":\"all\"}", LT_EFORMAT, "'max_window_layers'"},
        {QWEN2 ",\"use_sliding_window\":true,\"max_window_layers\":-1}", LT_EFORMAT, "'max_window_layers'"},
        {MISTRAL ",\"sliding_window\":99999999999}", LT_EFORMAT, "window"},
    };
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_transformer_config c;
    for (int i = 0; i < LTI_COUNT(table); i++)
        TS_REFUSED(ctx, read_text(ctx, table[i].text, &c), table[i].status, table[i].words);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "nothing stays allocated");
    lt_ctx_free(ctx);
}

/* ---- What is written ---- */

static lt_status written(lt_ctx *ctx, const lt_transformer_config *c)
{
    json_t *json = lti_config_to_json(c, NULL, "float32");
    lt_status status = json ? lti_config_check_written(ctx, c, json) : LT_ENOMEM;
    json_decref(json);
    return status;
}

/* A GGUF file can say things that config.json cannot. */
static void inexpressible(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    const lt_transformer_config plain = config_of(ctx, LLAMA "}"), qwen = config_of(ctx, QWEN2 "}");
    lt_transformer_config c = plain;
    TS_OK(ctx, written(ctx, &c));
    c.window = 16;
    TS_OK(ctx, written(ctx, &c)); /* as mistral */
    c.window_pattern = 2;
    TS_REFUSED(ctx, written(ctx, &c), LT_EUNSUPPORTED, "no words for the windows of this llama model");
    c = plain, c.qkv_bias = true;
    TS_REFUSED(ctx, written(ctx, &c), LT_EUNSUPPORTED, "no words for the biases");
    c = plain, c.attention_scale = 1;
    TS_REFUSED(ctx, written(ctx, &c), LT_EUNSUPPORTED, "no words for the scale of attention");
    float factors[] = {1, 1, 2, 2};
    c = plain, c.rope_scaling = (lt_rope_scaling){.kind = LT_ROPE_FACTORS, .factors = factors};
    TS_REFUSED(ctx, written(ctx, &c), LT_EUNSUPPORTED, "no words for the rotary positions");
    c = qwen, c.window = 16, c.window_first = 3;
    TS_OK(ctx, written(ctx, &c));
    c.rope_theta_local = 5;
    TS_REFUSED(ctx, written(ctx, &c), LT_EUNSUPPORTED, "no words for the windows");
    lt_ctx_free(ctx);
}

/* ---- GGUF ---- */

typedef struct extra {
    const char *key, *text; /* a string, or NULL: a number */
    lt_gguf_type type;
    union {
        float f32;
        uint32_t u32;
        uint8_t truth;
    } value;
} extra;

#define NUMBER(name, number)                                                                                           \
    {                                                                                                                  \
        .key = name, .type = LT_GGUF_F32, .value.f32 = number                                                          \
    }
#define COUNT(name, number)                                                                                            \
    {                                                                                                                  \
        .key = name, .type = LT_GGUF_U32, .value.u32 = number                                                          \
    }
#define TRUTH(name, flag)                                                                                              \
    {                                                                                                                  \
        .key = name, .type = LT_GGUF_BOOL, .value.truth = flag                                                         \
    }
#define TEXT(name, word)                                                                                               \
    {                                                                                                                  \
        .key = name, .text = word, .type = LT_GGUF_STRING                                                              \
    }

static void add_pair(lt_gguf_pair *pair, lt_gguf_string *string, const extra *e)
{
    *string = (lt_gguf_string){e->text, e->text ? (int64_t)strlen(e->text) : 0};
    *pair = (lt_gguf_pair){.key = e->key,
                           .type = e->type,
                           .item = e->type,
                           .count = 1,
                           .data = e->text ? NULL : &e->value,
                           .strings = e->text ? string : NULL};
}

/* The config of a file of one layer with these keys more, and rope_freqs when `factors`. */
static lt_status read_keys(ts_place *p, const extra *more, int n, bool factors, lt_transformer_config *c)
{
    static const extra base[] = {TEXT("general.architecture", "llama"),  COUNT("llama.context_length", 64),
                                 COUNT("llama.embedding_length", 32),    COUNT("llama.block_count", 1),
                                 COUNT("llama.feed_forward_length", 48), COUNT("llama.attention.head_count", 4)};
    static const float zeros[320], twos[4] = {2, 2, 2, 2};
    lt_gguf_pair pairs[16];
    lt_gguf_string strings[16];
    int count = 0;
    for (int i = 0; i < LTI_COUNT(base); i++, count++) add_pair(&pairs[count], &strings[count], &base[i]);
    for (int i = 0; i < n; i++, count++) add_pair(&pairs[count], &strings[count], &more[i]);
    const lt_gguf_entry entries[] = {
        {.name = "token_embd.weight", .type = LT_F32, .rank = 2, .shape = {10, 32}, .data = zeros},
        {.name = "rope_freqs.weight", .type = LT_F32, .rank = 1, .shape = {4}, .data = twos}};
    const char *path = ts_at(p, "keys.gguf");
    lt_gguf *gguf = NULL;
    float *own = NULL;
    TS_OK(p->ctx, lt_gguf_write(p->ctx, path, pairs, count, entries, factors ? 2 : 1, NULL));
    if (!TS_OK(p->ctx, lt_gguf_open(p->ctx, path, &gguf))) return LT_EIO;
    lt_status status = lti_config_from_gguf(p->ctx, gguf, c, &own);
    c->rope_scaling.factors = NULL;
    lti_free(p->ctx, own);
    lt_gguf_close(gguf);
    return status;
}

static void scaling_keys(void)
{
    const extra factor[] = {NUMBER("llama.rope.scaling.factor", 4)}, old[] = {NUMBER("llama.rope.scale_linear", 2)};
    const extra none[] = {TEXT("llama.rope.scaling.type", "none"), NUMBER("llama.rope.scale_linear", 2)};
    ts_place p = ts_open_place();
    lt_transformer_config c;
    TS_OK(p.ctx, read_keys(&p, NULL, 0, false, &c));
    TS_CHECK(c.rope_scaling.kind == LT_ROPE_PLAIN && c.vocab == 10 && c.tied, "nothing is scaled");
    TS_OK(p.ctx, read_keys(&p, factor, 1, false, &c));
    TS_CHECK(c.rope_scaling.kind == LT_ROPE_LINEAR && c.rope_scaling.factor == 4, "without a type it is linear");
    TS_OK(p.ctx, read_keys(&p, old, 1, false, &c));
    TS_CHECK(c.rope_scaling.kind == LT_ROPE_LINEAR && c.rope_scaling.factor == 2, "the old name");
    TS_OK(p.ctx, read_keys(&p, none, 2, false, &c));
    TS_CHECK(c.rope_scaling.kind == LT_ROPE_PLAIN, "none is none");
    TS_OK(p.ctx, read_keys(&p, NULL, 0, true, &c));
    TS_CHECK(c.rope_scaling.kind != LT_ROPE_PLAIN, "factors alone");
    TS_REFUSED(p.ctx, read_keys(&p, factor, 1, true, &c), LT_EUNSUPPORTED, "one of them at a time");
    ts_close_place(&p);
}

static void other_keys(void)
{
    static const struct {
        extra key;
        const char *words; /* NULL: accepted */
    } table[] = {
        {TRUTH("llama.attention.causal", 0), "'llama.attention.causal' is false"},
        {TRUTH("llama.attention.causal", 1), NULL},
        {TRUTH("llama.use_parallel_residual", 1), "'llama.use_parallel_residual' is true"},
        {TRUTH("llama.use_parallel_residual", 0), NULL},
        {COUNT("llama.attention.key_length_swa", 16), "'llama.attention.key_length_swa' is 16, but other heads have 8"},
        {COUNT("llama.attention.key_length_swa", 8), NULL},
        {NUMBER("llama.rope.scaling.attn_factor", 2), "attn_factor' is 2"},
        {TEXT("llama.hidden_activation", "silu"),
         "'llama.hidden_activation' is 'silu', which lathe does not implement"},
        {COUNT("llama.expert_count", 0), NULL},
        {COUNT("llama.expert_count", 8), "'llama.expert_count' is an option lathe does not implement"},
    };
    ts_place p = ts_open_place();
    lt_transformer_config c;
    for (int i = 0; i < LTI_COUNT(table); i++)
        if (table[i].words)
            TS_REFUSED(p.ctx, read_keys(&p, &table[i].key, 1, false, &c), LT_EUNSUPPORTED, table[i].words);
        else
            TS_OK(p.ctx, read_keys(&p, &table[i].key, 1, false, &c));
    ts_close_place(&p);
}

/* bitnet alone has a key for its activation. */
static void activation_key(void)
{
    static const char *const words[] = {NULL, "silu", "relu2", "gelu"};
    static const float zeros[320];
    for (int i = 0; i < LTI_COUNT(words); i++) {
        const extra keys[] = {TEXT("general.architecture", "bitnet"),    COUNT("bitnet.context_length", 64),
                              COUNT("bitnet.embedding_length", 32),      COUNT("bitnet.block_count", 1),
                              COUNT("bitnet.feed_forward_length", 48),   COUNT("bitnet.attention.head_count", 4),
                              TEXT("bitnet.hidden_activation", words[i])};
        const lt_gguf_entry entry = {
            .name = "token_embd.weight", .type = LT_F32, .rank = 2, .shape = {10, 32}, .data = zeros};
        ts_place p = ts_open_place();
        lt_transformer_config c;
        lt_gguf_pair pairs[LTI_COUNT(keys)];
        lt_gguf_string strings[LTI_COUNT(keys)];
        lt_gguf *gguf = NULL;
        float *own = NULL;
        for (int k = 0; k < LTI_COUNT(keys); k++) add_pair(&pairs[k], &strings[k], &keys[k]);
        TS_OK(p.ctx, lt_gguf_write(p.ctx, ts_at(&p, "b.gguf"), pairs, LTI_COUNT(keys) - !words[i], &entry, 1, NULL));
        if (TS_OK(p.ctx, lt_gguf_open(p.ctx, ts_at(&p, "b.gguf"), &gguf))) {
            if (i == 3)
                TS_REFUSED(p.ctx, lti_config_from_gguf(p.ctx, gguf, &c, &own), LT_EUNSUPPORTED, "is 'gelu'");
            else if (TS_OK(p.ctx, lti_config_from_gguf(p.ctx, gguf, &c, &own)))
                TS_CHECK(c.family == LT_BITNET && c.tied && c.activation == (i == 2 ? LT_RELU2 : LT_SILU), "%s",
                         words[i] ? words[i] : "nothing");
        }
        lt_gguf_close(gguf);
        ts_close_place(&p);
    }
}

/* ---- Many tensors ---- */

/* Opening looks each tensor up once: the time of 9,002 of them is not that of their square (24 s where this is tenths). */
static void many_tensors(void)
{
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, "llama:layers=1000,dim=4,hidden=4,heads=2,vocab=258", 1), *again = NULL;
    TS_OK(p.ctx, lt_model_save(m, p.dir, sizeof(lt_real) == 8 ? "F64" : "F32"));
    lt_model_free(m);
    clock_t start = clock();
    TS_OK(p.ctx, lt_model_open_frozen(p.ctx, p.dir, &again));
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    TS_CHECK(seconds < 10, "opening takes %.1f s: something is quadratic", seconds);
    lt_model_free(again);
    ts_close_place(&p);
}

int lti_suite_config_keys(void)
{
    const ts_test tests[] = {{"missing keys", missing_keys},
                             {"multimodal", multimodal},
                             {"keys of other classes", keys_of_other_classes},
                             {"both spellings", both_spellings},
                             {"refused keys", refused_keys},
                             {"inexpressible", inexpressible},
                             {"scaling keys of GGUF", scaling_keys},
                             {"other keys of GGUF", other_keys},
                             {"activation key of GGUF", activation_key},
                             {"many tensors", many_tensors}};
    return ts_suite("config_keys", LTI_COUNT(tests), tests) || toy_one_thread("config_keys");
}
