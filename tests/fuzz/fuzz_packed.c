/* fuzz_packed.c - a directory whose weights another program quantized: a line of JSON, its quantization_config, and
 * model.safetensors behind it. What opens is converted, and the GGUF file has the same numbers. */
#include "lathe/convert.h"
#include "lathe/models.h"
#include "tests/fuzz/fuzzing.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char tokenizer[] =
    "{\"version\": \"1.0\", \"added_tokens\": [], \"normalizer\": null, \"post_processor\": null, \"pre_tokenizer\": {"
    "\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": false}, \"decoder\": "
    "{\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": true, \"use_regex\": true}, \"model\": "
    "{\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2}, \"merges\": [[\"a\", \"b\"]]}}";
static const char config[] =
    "{\"model_type\": \"llama\", \"hidden_size\": 32, \"intermediate_size\": 32, \"num_hidden_layers\": 1, "
    "\"num_attention_heads\": 2, \"num_key_value_heads\": 1, \"vocab_size\": 4, \"max_position_embeddings\": 16, "
    "\"rms_norm_eps\": 1e-5, \"hidden_act\": \"silu\", \"tie_word_embeddings\": true, \"bos_token_id\": 0, "
    "\"eos_token_id\": 1, \"quantization_config\": ";

/* Files of a directory; false: the input has no second line. */
static bool write_files(const uint8_t *data, size_t size)
{
    char text[4096];
    const uint8_t *end = memchr(data, '\n', size);
    size_t line = end ? (size_t)(end - data) : size, head = sizeof config - 1;
    if (!end || line + head + 2 > sizeof text) return false;
    memcpy(text, config, head);
    memcpy(text + head, data, line);
    text[head + line] = '}';
    fz_put("tokenizer.json", tokenizer, sizeof tokenizer - 1);
    fz_put("config.json", text, head + line + 1);
    fz_put("model.safetensors", end + 1, size - line - 1);
    return true;
}

static bool same_number(lt_real a, lt_real b)
{
    double most = fmax(fabs((double)a), fabs((double)b)); /* the file keeps floats, whatever lt_real is */
    return a == b || (isnan(a) && isnan(b)) || fabs((double)(a - b)) <= 2e-7 * most || (isinf(b) && most > 3e38);
}

static void compare(lt_ctx *ctx, const lt_model *model, const char *path)
{
    lt_model *read;
    if (!fz_must(ctx, lt_model_open(ctx, path, &read))) return;
    for (int i = 0; i < lt_params_count(lt_model_params(model)); i++) {
        const lt_param *a = lt_params_at(lt_model_params(model), i),
                       *b = lt_params_find(lt_model_params(read), lt_param_name(a));
        FZ_CHECK(b && lt_param_count(a) == lt_param_count(b), "'%s' is another", lt_param_name(a));
        const lt_real *x = lt_param_read(a), *y = lt_param_read(b);
        for (int64_t k = 0; k < lt_param_count(a); k++)
            FZ_CHECK(same_number(x[k], y[k]), "'%s'[%lld] is %g, and %g in GGUF", lt_param_name(a), (long long)k,
                     (double)x[k], (double)y[k]);
    }
    lt_model_free(read);
}

static void body(lt_ctx *ctx, const uint8_t *data, size_t size)
{
    char directory[560], gguf[600];
    lt_model *model;
    if (!write_files(data, size)) return;
    snprintf(directory, sizeof directory, "%s", fz_directory());
    snprintf(gguf, sizeof gguf, "%s/x.gguf", directory);
    if (!fz_accept(ctx, lt_model_open(ctx, directory, &model))) return;
    if (fz_must(ctx, lt_convert(ctx, directory, gguf, NULL, NULL))) compare(ctx, model, gguf);
    lt_model_free(model);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fz_run(body, data, size);
}
