/* test_convert.c - lt_convert: from a Hugging Face directory to GGUF and back with identical bytes in every tensor, for
 * small models of every family and each 16-bit type; the GGUF file computes what the directory computes; and what GGUF
 * cannot say is refused. */
#include "lathe/convert.h"
#include "lathe/gguf.h"
#include "tests/golden.h"
#include "tests/toys.h"

#include <jansson.h>
#include <math.h>

static const char *const cases[] = {"llama", "llama3", "llama_linear", "llama_yarn", "mistral", "qwen2",
                                    "qwen3", "gemma3", "gpt2",         "bert",       "bitnet"};

static void path_of(const ts_place *place, const char *name, char path[512])
{
    snprintf(path, 512, "%s/%s", place->dir, name);
}

static void compare_tensors(lt_ctx *ctx, const char *a, const char *b)
{
    lt_tensors *x = NULL, *y = NULL;
    if (!TS_OK(ctx, lt_tensors_open(ctx, a, &x)) || !TS_OK(ctx, lt_tensors_open(ctx, b, &y))) {
        lt_tensors_close(x);
        return;
    }
    TS_CHECK(lt_tensors_count(x) == lt_tensors_count(y), "%s: %d tensors, then %d", a, lt_tensors_count(x),
             lt_tensors_count(y));
    for (int i = 0; i < lt_tensors_count(x); i++) {
        const char *name = lt_tensors_name(x, i);
        int j = lt_tensors_find(y, name);
        bool same = j >= 0 && lt_tensors_dtype(x, i) == lt_tensors_dtype(y, j) &&
                    lt_tensors_bytes(x, i) == lt_tensors_bytes(y, j) &&
                    !memcmp(lt_tensors_data(x, i), lt_tensors_data(y, j), (size_t)lt_tensors_bytes(x, i));
        TS_CHECK(same, "%s: '%s' came back different", a, name);
    }
    lt_tensors_close(x);
    lt_tensors_close(y);
}

/* The first 8 positions' logits (or the classes) of a model opened frozen. */
static int64_t logits_of(lt_ctx *ctx, const char *path, lt_real *out, int64_t room)
{
    lt_model *m = NULL;
    lt_graph *g = NULL;
    lt_plan *plan = NULL;
    int64_t count = 0;
    const int32_t ids[] = {5, 9, 2, 33, 17, 38, 4, 11};
    if (TS_OK(ctx, lt_model_open_frozen(ctx, path, &m)) && TS_OK(ctx, lt_graph_create(ctx, lt_model_params(m), &g))) {
        int32_t vocab = (int32_t)lt_model_config(m)->vocab;
        lt_model_input in = {.tokens = lt_index_input(g, "tokens", 2, (int64_t[]){1, 8}, 0, vocab)};
        lt_t y = lt_model_logits(m, g, &in);
        count = lt_count(y);
        if (TS_OK(ctx, lt_compile(g, NULL, 1, &y, &plan)) && TS_OK(ctx, lt_bind(plan, "tokens", ids)) &&
            TS_OK(ctx, lt_run(plan)) && TS_CHECK(count <= room, "%s: %lld logits", path, (long long)count))
            memcpy(out, lt_result(plan, 0), (size_t)count * sizeof *out);
    }
    lt_plan_free(plan);
    lt_graph_free(g);
    lt_model_free(m);
    return count;
}

enum { ROOM = 1 << 14 };

static void compare_logits(lt_ctx *ctx, const char *a, const char *b)
{
    static lt_real x[ROOM], y[ROOM];
    int64_t n = logits_of(ctx, a, x, ROOM), m = logits_of(ctx, b, y, ROOM);
    TS_CHECK(n == m && n > 0 && ts_distance_real(n, x, y) < ts_tolerance(1e-6, 2e-5), "%s: distance %g to %s", a,
             n == m ? ts_distance_real(n, x, y) : NAN, b);
}

static void convert_ok(lt_ctx *ctx, const char *in, const char *out, const char *type)
{
    lt_convert_options o;
    char *report = NULL;
    lt_convert_options_init(&o);
    o.type = type;
    TS_OK(ctx, lt_convert(ctx, in, out, &o, &report));
    lt_string_free(ctx, report);
}

static void there_and_back(void)
{
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        ts_place place = ts_open_place();
        char hf[512], gguf[512], back[512];
        snprintf(hf, sizeof hf, "%s/families/%s", gd_directory(), cases[i]);
        path_of(&place, "model.gguf", gguf);
        path_of(&place, "back", back);
        convert_ok(place.ctx, hf, gguf, NULL);
        convert_ok(place.ctx, gguf, back, NULL);
        compare_tensors(place.ctx, hf, back);
        compare_logits(place.ctx, hf, gguf);
        compare_logits(place.ctx, hf, back);
        ts_close_place(&place);
    }
}

/* The same for 16 bits: the norms pass through f32 and come back as what they were. */
static void half_there_and_back(void)
{
    static const char *const types[] = {"F16", "BF16"};
    for (int i = 0; i < LTI_COUNT(cases) * 2; i++) {
        ts_place place = ts_open_place();
        char hf[512], half[512], gguf[512], back[512];
        lt_model *m = NULL;
        snprintf(hf, sizeof hf, "%s/families/%s", gd_directory(), cases[i / 2]);
        path_of(&place, "half", half);
        path_of(&place, "model.gguf", gguf);
        path_of(&place, "back", back);
        if (TS_OK(place.ctx, lt_model_open(place.ctx, hf, &m))) TS_OK(place.ctx, lt_model_save(m, half, types[i % 2]));
        lt_model_free(m);
        convert_ok(place.ctx, half, gguf, NULL);
        convert_ok(place.ctx, gguf, back, NULL);
        compare_tensors(place.ctx, half, back);
        compare_logits(place.ctx, half, gguf);
        ts_close_place(&place);
    }
}

/* A model read from GGUF to be trained is in Hugging Face's layout: saved, it equals the one that was converted. */
static void gguf_to_train(void)
{
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        ts_place place = ts_open_place();
        char hf[512], gguf[512], saved[512];
        lt_model *m = NULL;
        snprintf(hf, sizeof hf, "%s/families/%s", gd_directory(), cases[i]);
        path_of(&place, "model.gguf", gguf);
        path_of(&place, "saved", saved);
        convert_ok(place.ctx, hf, gguf, NULL);
        if (TS_OK(place.ctx, lt_model_open(place.ctx, gguf, &m))) TS_OK(place.ctx, lt_model_save(m, saved, "F32"));
        lt_model_free(m);
        if (strcmp(cases[i], "gemma3")) compare_tensors(place.ctx, hf, saved);
        compare_logits(place.ctx, hf, saved);
        ts_close_place(&place);
    }
}

static void typed(void)
{
    ts_place place = ts_open_place();
    char hf[512], gguf[512], again[512];
    snprintf(hf, sizeof hf, "%s/families/qwen2", gd_directory());
    path_of(&place, "q8.gguf", gguf);
    path_of(&place, "f32.gguf", again);
    convert_ok(place.ctx, hf, gguf, "q8_0");
    lt_gguf *g = NULL;
    lt_type_forecast f;
    TS_OK(place.ctx, lt_forecast_type(place.ctx, hf, LT_Q8_0, &f));
    if (TS_OK(place.ctx, lt_gguf_open(place.ctx, gguf, &g))) {
        uint64_t bytes = 0;
        for (int i = 0; i < lt_gguf_tensors(g); i++) bytes += lt_gguf_tensor(g, i)->bytes;
        TS_CHECK(bytes == f.bytes, "%llu bytes were forecast, %llu written", (unsigned long long)f.bytes,
                 (unsigned long long)bytes);
    }
    lt_gguf_close(g);
    convert_ok(place.ctx, gguf, again, "f32"); /* all keys are kept, lattices decoded */
    compare_logits(place.ctx, gguf, again);
    ts_close_place(&place);
}

static void refusals(void)
{
    ts_place place = ts_open_place();
    lt_ctx *ctx = place.ctx;
    char hf[512], out[512];
    lt_convert_options o;
    lt_convert_options_init(&o);
    snprintf(hf, sizeof hf, "%s/families/llama", gd_directory());
    path_of(&place, "out", out);
    o.type = "q6_k";
    TS_CHECK(lt_convert(ctx, hf, out, &o, NULL) == LT_EINVAL && strstr(lt_ctx_message(ctx), "q6_k"), "%s",
             lt_ctx_message(ctx));
    TS_CHECK(lt_convert(ctx, hf, hf, NULL, NULL) == LT_EINVAL, "both ends the same");
    TS_CHECK(lt_convert(ctx, out, hf, NULL, NULL) == LT_EIO, "no input");
    ts_close_place(&place);
}

/* GGUF's numbers are f32; config.json comes back as it was, 1e-6 for 1e-6. */
static void config_there_and_back(void)
{
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        ts_place place = ts_open_place();
        char hf[512], gguf[512], back[512], path[1024];
        snprintf(hf, sizeof hf, "%s/families/%s", gd_directory(), cases[i]);
        path_of(&place, "model.gguf", gguf);
        path_of(&place, "back", back);
        convert_ok(place.ctx, hf, gguf, NULL);
        convert_ok(place.ctx, gguf, back, NULL);
        snprintf(path, sizeof path, "%s/config.json", hf);
        json_t *was = json_load_file(path, 0, NULL), *value;
        snprintf(path, sizeof path, "%s/config.json", back);
        json_t *now = json_load_file(path, 0, NULL);
        const char *key;
        TS_CHECK(was && now, "%s: config.json is there", cases[i]);
        json_object_foreach(was, key, value) TS_CHECK(
            json_is_null(value) || json_equal(value, json_object_get(now, key)), "%s: '%s' changed", cases[i], key);
        json_decref(was);
        json_decref(now);
        ts_close_place(&place);
    }
}

/* The same tensors; keys that begin with `without` are left out, general.type is `type`. */
static void rewrite_gguf(lt_ctx *ctx, const char *in, const char *out, const char *without, const char *type)
{
    lt_gguf *g = NULL;
    lt_gguf_pair pairs[96];
    lt_gguf_entry entries[96];
    lt_gguf_string text = {type, (int64_t)strlen(type)};
    int n = 0, count = 0;
    if (!TS_OK(ctx, lt_gguf_open(ctx, in, &g))) return;
    for (int i = 0; i < lt_gguf_pairs(g) && n < 96; i++) {
        pairs[n] = *lt_gguf_pair_at(g, i);
        if (!strcmp(pairs[n].key, "general.type")) pairs[n].strings = &text;
        n += strncmp(pairs[n].key, without, strlen(without)) != 0;
    }
    for (; count < lt_gguf_tensors(g) && count < 96; count++) {
        const lt_gguf_tensor_info *t = lt_gguf_tensor(g, count);
        entries[count] = (lt_gguf_entry){.name = t->name, .type = t->type, .rank = t->rank, .data = t->data};
        memcpy(entries[count].shape, t->shape, sizeof t->shape);
    }
    TS_OK(ctx, lt_gguf_write(ctx, out, pairs, n, entries, count, NULL));
    lt_gguf_close(g);
}

/* Factors that no known scaling makes have no name in config.json: the file is named, and what still can be done. */
static void foreign_factors(void)
{
    ts_place place = ts_open_place();
    char hf[512], gguf[512], bare[512], back[512], again[512];
    snprintf(hf, sizeof hf, "%s/families/llama3", gd_directory());
    path_of(&place, "model.gguf", gguf);
    path_of(&place, "bare.gguf", bare);
    path_of(&place, "again.gguf", again);
    path_of(&place, "back", back);
    convert_ok(place.ctx, hf, gguf, NULL);
    rewrite_gguf(place.ctx, gguf, bare, "lathe.hf.", "model");
    TS_CHECK(lt_convert(place.ctx, bare, back, NULL, NULL) == LT_EUNSUPPORTED &&
                 strstr(lt_ctx_message(place.ctx), "bare.gguf") && strstr(lt_ctx_message(place.ctx), "another .gguf"),
             "%s", lt_ctx_message(place.ctx));
    convert_ok(place.ctx, bare, again, NULL);
    compare_logits(place.ctx, hf, again);
    ts_close_place(&place);
}

static void adapters(void)
{
    ts_place place = ts_open_place();
    char hf[512], gguf[512], adapter[512], back[512];
    snprintf(hf, sizeof hf, "%s/families/llama", gd_directory());
    path_of(&place, "model.gguf", gguf);
    path_of(&place, "adapter.gguf", adapter);
    path_of(&place, "back", back);
    convert_ok(place.ctx, hf, gguf, NULL);
    rewrite_gguf(place.ctx, gguf, adapter, "lathe.hf.", "adapter");
    TS_CHECK(lt_convert(place.ctx, adapter, back, NULL, NULL) == LT_EUNSUPPORTED &&
                 strstr(lt_ctx_message(place.ctx), "is an adapter"),
             "%s", lt_ctx_message(place.ctx));
    ts_close_place(&place);
}

/* The report says what llama.cpp must be told by hand. */
static void notes(void)
{
    ts_place place = ts_open_place();
    char hf[512], gguf[512];
    char *report = NULL;
    snprintf(hf, sizeof hf, "%s/families/llama_yarn", gd_directory());
    path_of(&place, "model.gguf", gguf);
    if (TS_OK(place.ctx, lt_convert(place.ctx, hf, gguf, NULL, &report)))
        TS_CHECK(strstr(report, "--yarn-beta-fast 4 --yarn-beta-slow 1"), "%s", report);
    lt_string_free(place.ctx, report);
    ts_close_place(&place);
}

/* A tokenizer that has fewer tokens than config.json's ids need is another model's. */
static void foreign_tokenizer(void)
{
    ts_place place = ts_open_place();
    char hf[512], ours[512], path[1024], out[512];
    lt_model *m = NULL;
    snprintf(hf, sizeof hf, "%s/families/llama", gd_directory());
    path_of(&place, "ours", ours);
    path_of(&place, "out.gguf", out);
    if (TS_OK(place.ctx, lt_model_open(place.ctx, hf, &m))) TS_OK(place.ctx, lt_model_save(m, ours, "F32"));
    lt_model_free(m);
    snprintf(path, sizeof path, "%s/config.json", ours);
    json_t *config = json_load_file(path, 0, NULL);
    json_object_set_new(config, "eos_token_id", json_pack("[i, i]", 2, 9));
    TS_CHECK(config && json_dump_file(config, path, 0) == 0, "%s is written", path);
    json_decref(config);
    TS_CHECK(lt_convert(place.ctx, ours, out, NULL, NULL) == LT_EFORMAT &&
                 strstr(lt_ctx_message(place.ctx), "'eos_token_id'") && strstr(lt_ctx_message(place.ctx), "another"),
             "%s", lt_ctx_message(place.ctx));
    ts_close_place(&place);
}

/* Directories without what lathe reads: the message names what is there instead. */
static void incomplete(void)
{
    ts_place place = ts_open_place();
    lt_ctx *ctx = place.ctx;
    char out[512];
    path_of(&place, "out.gguf", out);
    TS_CHECK(lt_convert(ctx, place.dir, out, NULL, NULL) == LT_EIO && strstr(lt_ctx_message(ctx), "no config.json"),
             "%s", lt_ctx_message(ctx));
    ts_put_text(&place, "some.gguf", "GGUF");
    TS_CHECK(lt_convert(ctx, place.dir, out, NULL, NULL) == LT_EIO && strstr(lt_ctx_message(ctx), "but some.gguf"),
             "%s", lt_ctx_message(ctx));
    lt_tensors *t = NULL;
    ts_put_text(&place, "pytorch_model.bin", "PK");
    TS_CHECK(lt_tensors_open(ctx, place.dir, &t) == LT_EIO && strstr(lt_ctx_message(ctx), "pickle") &&
                 strstr(lt_ctx_message(ctx), "save_pretrained"),
             "%s", lt_ctx_message(ctx));
    ts_close_place(&place);
}

static lt_status whole_conversion(lt_ctx *ctx, void *arg)
{
    const char *const *paths = arg;
    lt_status status = lt_convert(ctx, paths[0], paths[1], NULL, NULL);
    return status == LT_OK ? lt_convert(ctx, paths[1], paths[2], NULL, NULL) : status;
}

static void memory(void)
{
    ts_place place = ts_open_place();
    char hf[512], gguf[512], back[512];
    snprintf(hf, sizeof hf, "%s/families/gemma3", gd_directory());
    path_of(&place, "model.gguf", gguf);
    path_of(&place, "back", back);
    ts_every_allocation_fails("convert", whole_conversion, (const char *[]){hf, gguf, back});
    ts_close_place(&place);
}

int lti_suite_convert(void)
{
    const ts_test tests[] = {{"there and back", there_and_back},
                             {"16 bits there and back", half_there_and_back},
                             {"GGUF to train", gguf_to_train},
                             {"typed", typed},
                             {"refusals", refusals},
                             {"config there and back", config_there_and_back},
                             {"factors of others", foreign_factors},
                             {"adapters", adapters},
                             {"notes", notes},
                             {"tokenizer of another", foreign_tokenizer},
                             {"incomplete directories", incomplete},
                             {"memory", memory}};
    return ts_suite("convert", LTI_COUNT(tests), tests);
}
