/* test_convert.c - lt_convert: from a Hugging Face directory to GGUF and back with identical bytes in every tensor, for
 * small models of every family and each 16-bit type; the GGUF file computes what the directory computes; and what GGUF
 * cannot say is refused. */
#include "lathe/convert.h"
#include "lathe/gguf.h"
#include "tests/golden.h"
#include "tests/toys.h"

#include <math.h>

static const char *const cases[] = {"llama", "llama3", "llama_linear", "llama_yarn", "mistral",
                                    "qwen2", "qwen3",  "gemma3",       "gpt2",       "bert"};

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
                             {"memory", memory}};
    return ts_suite("convert", LTI_COUNT(tests), tests);
}
