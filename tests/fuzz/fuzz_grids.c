/* fuzz_grids.c - quantization.safetensors: what is accepted are grids, and they are written and read again; the words
 * of the policy beside them are an object or refused. */
#include "models/model.h"
#include "tests/fuzz/fuzzing.h"
#include "train/grids_file.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static bool open_model(lt_ctx *ctx, lt_model **model)
{
    return fz_must(ctx, lt_model_create(ctx, "mlp:inputs=2,hidden=2,classes=2", NULL, 1, model));
}

static bool is_grid(const lt_param *p)
{
    size_t n = strlen(lt_param_name(p)), end = strlen(":act_scale");
    return n >= end && strcmp(lt_param_name(p) + n - end, ":act_scale") == 0;
}

static void look_at(const lt_params *params, int taken)
{
    int found = 0;
    for (int i = 0; i < lt_params_count(params); i++) {
        const lt_param *p = lt_params_at(params, i);
        if (!is_grid(p)) continue;
        const lt_real *x = lt_param_read(p);
        FZ_CHECK(lt_param_role(p) == LT_STATE && !lt_param_trainable(p) && lt_param_count(p) == 2, "'%s' is no grid",
                 lt_param_name(p));
        FZ_CHECK(x[0] >= 0 && isfinite((double)x[0]) && (x[1] == 0 || x[1] == -127), "'%s' is {%g, %g}",
                 lt_param_name(p), (double)x[0], (double)x[1]);
        found++;
    }
    FZ_CHECK(found == taken, "%d grids of %d", found, taken);
}

static void write_again(lt_ctx *ctx, const lt_model *model, int taken)
{
    lt_quant_policy policy;
    lt_model *other;
    int again;
    lt_quant_policy_init(&policy);
    if (!fz_must(ctx, lt_model_save_grids(model, &policy, fz_directory())) || !open_model(ctx, &other)) return;
    if (fz_must(ctx, lt_model_take_grids(other, fz_directory(), &again))) {
        FZ_CHECK(again == taken, "%d grids, then %d", taken, again);
        look_at(other->params, again);
    }
    lt_model_free(other);
}

static void read_words(lt_ctx *ctx)
{
    json_t *words;
    lt_status status = lti_grids_words(ctx, fz_directory(), &words);
    FZ_CHECK(status == LT_OK ? !words || json_is_object(words) : !words, "words of a refused file");
    FZ_CHECK(status == LT_OK || lt_ctx_message(ctx)[0], "%s without a sentence", lt_status_name(status));
    json_decref(words);
}

static void body(lt_ctx *ctx, const uint8_t *data, size_t size)
{
    lt_model *model;
    int taken;
    fz_put("quantization.safetensors", data, size);
    read_words(ctx);
    if (!open_model(ctx, &model)) return;
    if (fz_accept(ctx, lt_model_take_grids(model, fz_directory(), &taken))) {
        look_at(model->params, taken);
        write_again(ctx, model, taken);
    }
    lt_model_free(model);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fz_run(body, data, size);
}
