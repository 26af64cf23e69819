/* fuzz_manifest.c - the manifest.json of a checkpoint whose arrays are whole: found, read and loaded, or passed over
 * with a sentence. */
#include "tests/fuzz/fuzzing.h"
#include "train/checkpoint.h"

#include <stdio.h>
#include <string.h>

static lt_params *make_params(lt_ctx *ctx)
{
    lt_params *params;
    lt_param *p;
    const int64_t shape[] = {3};
    if (lt_params_create(ctx, &params) != LT_OK) return NULL;
    if (lt_params_add(params, "w", LT_I32, 1, shape, LT_STATE, &p) == LT_OK) {
        for (int i = 0; i < 3; i++) ((int32_t *)lt_param_data(p))[i] = 7 * i;
        return params;
    }
    lt_params_free(params);
    return NULL;
}

/* The checkpoint is made once, by the library; only its manifest changes. */
static void write_checkpoint(void)
{
    static bool done;
    if (done) return;
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_params *params = make_params(ctx);
    json_t *state = json_object();
    FZ_CHECK(params && lti_checkpoint_save(ctx, fz_directory(), 5, params, state, 1, 1) == LT_OK, "%s",
             lt_ctx_message(ctx));
    json_decref(state);
    lt_params_free(params);
    lt_ctx_free(ctx);
    done = true;
}

static void load(lt_ctx *ctx, const char *path)
{
    json_t *state;
    if (!fz_must(ctx, lti_checkpoint_read(ctx, path, &state))) return;
    FZ_CHECK(json_is_object(state), "a state that is no object");
    json_decref(state);
    lt_params *params = make_params(ctx);
    if (!params) return;
    memset(lt_param_data(lt_params_at(params, 0)), 0, 12);
    if (fz_must(ctx, lti_checkpoint_load(ctx, path, params)))
        FZ_CHECK(((const int32_t *)lt_param_read(lt_params_at(params, 0)))[2] == 14, "other values");
    lt_params_free(params);
}

static void body(lt_ctx *ctx, const uint8_t *data, size_t size)
{
    char *path, skipped[256];
    write_checkpoint();
    fz_put("ckpt-000005/manifest.json", data, size);
    if (!fz_must(ctx, lti_checkpoint_find(ctx, fz_directory(), 1, &path, skipped, sizeof skipped))) return;
    FZ_CHECK(strlen(skipped) < sizeof skipped && (path || skipped[0]), "passed over without a word");
    if (!path) return;
    fz_accept(ctx, LT_OK);
    load(ctx, path);
    lti_free(ctx, path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fz_run(body, data, size);
}
