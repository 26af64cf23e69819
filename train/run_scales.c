/* run_scales.c - scales of a training that a model opened from it does not bring along: those that were learned, and those
 * of K-quants that were kept for some steps. They are state of checkpoints and no weights, so opening a model passes them
 * over; its codes are other codes without them. Searched scales (mse), and scales in f16 that an export's type or format
 * had asked for (half), are no state: they are made again by the run's rule, of a finished run, too.
 *
 * What the run was is in the checkpoint's manifest.json, or the run.json of a finished run. Its directory has the weights
 * alone: it is refused rather than rounded by other scales than those that it was trained with. */
#include "data/files.h"
#include "data/json.h"
#include "models/model.h"
#include "qat/kept_scales.h"
#include "qat/learned_scales.h"
#include "train/checkpoint.h"
#include "train/loop.h"

#include <string.h>

#define LIMIT (64u << 20) /* of run.json, which names each tensor and its grid */

typedef struct taking {
    lt_model *model;
    const char *path;
    lt_quant_policy *policy;
    json_t *was; /* the policy as the run had it: borrowed */
    lt_scale_rule rule;
    int64_t every;
} taking;

/* The run.json of a finished run; NULL where there is none. */
static lt_status read_run(lt_ctx *ctx, const char *directory, json_t **run)
{
    char *path = lti_path_join(ctx, directory, "run.json");
    *run = NULL;
    lt_status status = !path ? LT_ENOMEM : lti_file_exists(path) ? lti_json_read(ctx, path, LIMIT, run) : LT_OK;
    lti_free(ctx, path);
    return status;
}

static bool same_words(const json_t *was, const json_t *now)
{
    static const char *const keys[] = {"qat", "qat_embedding", "qat_targets", "tensor_type"};
    for (int i = 0; i < LTI_COUNT(keys); i++)
        if (!json_equal(json_object_get(was, keys[i]), json_object_get(now, keys[i]))) return false;
    return true;
}

/* Whether the policy puts weights on the grids that the run had them on. */
static lt_status same_grids(const taking *t, const lt_quant_policy *policy, bool *same)
{
    json_t *now = lti_policy_json(t->model->ctx, policy);
    *same = now && same_words(t->was, now);
    json_decref(now);
    return now ? LT_OK : lti_fail(t->model->ctx, LT_ENOMEM, "out of memory while reading scales");
}

/* The same, also where the run had its scales in f16 and the policy does not say so: the policy then does. */
static lt_status match_grids(const taking *t, bool *same, bool *half)
{
    *half = false;
    LTI_TRY(same_grids(t, t->policy, same));
    if (*same || !lti_on_integers(&t->policy->weights) || t->policy->weights.half_scales) return LT_OK;
    lt_quant_policy in_half = *t->policy;
    in_half.weights.half_scales = true;
    LTI_TRY(same_grids(t, &in_half, same));
    *half = t->policy->weights.half_scales = *same;
    return LT_OK;
}

/* ---- From a checkpoint ---- */

static lt_status add_numbers(const taking *t, const lt_tensors *file, int i)
{
    lt_param *p;
    int64_t n = lt_tensors_elements(file, i);
    LTI_TRY(lt_params_add(t->model->params, lt_tensors_name(file, i), LT_F32, 1, &n, LT_STATE, &p));
    lt_param_set_trainable(p, false);
    return lt_tensors_load_real(file, i, lt_param_data(p));
}

static lt_status add_blocks(const taking *t, const lt_tensors *file, int i, const lt_param *w)
{
    lt_param *p;
    const char *name = lt_tensors_name(file, i);
    LTI_TRY(lt_params_add(t->model->params, name, lt_quant_type(t->policy, w), lt_param_rank(w), lt_param_shape(w),
                          LT_STATE, &p));
    if (lt_param_bytes(p) != lt_tensors_bytes(file, i))
        return lti_fail(t->model->ctx, LT_EFORMAT, "%s: tensor '%s' has %llu bytes; blocks of %s have %zu", t->path,
                        name, (unsigned long long)lt_tensors_bytes(file, i), lt_dtype_name(lt_param_type(p)),
                        lt_param_bytes(p));
    memcpy(lt_param_data(p), lt_tensors_data(file, i), lt_param_bytes(p));
    return LT_OK;
}

static lt_status take_tensor(const taking *t, const lt_tensors *file, int i)
{
    char weight[512];
    const char *name = lt_tensors_name(file, i), *colon = strrchr(name, ':');
    size_t n = colon ? (size_t)(colon - name) : 0;
    if (!colon || n >= sizeof weight) return LT_OK;
    memcpy(weight, name, n);
    weight[n] = 0;
    const lt_param *w = lt_params_find(t->model->params, weight);
    if (!w || lt_param_role(w) != LT_WEIGHT || lt_params_find(t->model->params, name)) return LT_OK;
    bool learned = lti_rule_learned(t->rule) && (strcmp(colon, ":scale") == 0 || strcmp(colon, ":offset") == 0);
    if (learned) return add_numbers(t, file, i);
    return t->every > 1 && strcmp(colon, ":kept") == 0 ? add_blocks(t, file, i, w) : LT_OK;
}

static lt_status take_state(const taking *t)
{
    lt_ctx *ctx = t->model->ctx;
    char *path = lti_path_join(ctx, t->path, "state.safetensors");
    lt_tensors *file = NULL;
    lt_status status = path ? lt_tensors_open(ctx, path, &file) : LT_ENOMEM;
    for (int i = 0; status == LT_OK && i < lt_tensors_count(file); i++) status = take_tensor(t, file, i);
    lt_tensors_close(file);
    lti_free(ctx, path);
    if (status != LT_OK) return status;
    t->policy->scale = lti_rule_learned(t->rule) ? t->rule : t->policy->scale;
    t->policy->scale_every = t->every;
    return LT_OK;
}

/* ---- Which of them ---- */

static lt_status refuse_finished(const taking *t, int64_t steps)
{
    return lti_fail(t->model->ctx, LT_EINVAL,
                    "%s: was trained on %s by scales (%s) that are state of its checkpoints and not among these "
                    "weights; open %s/checkpoints/ckpt-%06lld, or the codes that were exported",
                    t->path, json_string_value(json_object_get(t->was, "qat")),
                    lti_rule_learned(t->rule) ? lt_scale_rule_name(t->rule) : "searched every few steps", t->path,
                    (long long)steps);
}

static lt_status take(taking *t, bool checkpoint, int64_t steps, lt_run_scales *found)
{
    const char *rule = json_string_value(json_object_get(t->was, "qat_scale"));
    if (!rule || !lt_scale_rule_parse(rule, &t->rule)) return LT_OK;
    t->every = json_integer_value(json_object_get(t->was, "qat_scale_every"));
    bool same, half, state = lti_rule_learned(t->rule) || t->every > 1;
    LTI_TRY(match_grids(t, &same, &half));
    if (same && t->rule == LT_SCALE_MSE) t->policy->scale = LT_SCALE_MSE;
    if (!same && state) *found = LT_RUN_SCALES_OTHER;
    if (same && (state || half || t->rule == LT_SCALE_MSE)) *found = LT_RUN_SCALES_TAKEN;
    if (!same || !state) return LT_OK;
    return checkpoint ? take_state(t) : refuse_finished(t, steps);
}

lt_status lt_model_take_scales(lt_model *model, const char *path, lt_quant_policy *policy, lt_run_scales *found)
{
    json_t *words = NULL, *run = NULL;
    bool is_checkpoint;
    *found = LT_RUN_SCALES_NONE;
    if (lt_quant_policy_empty(policy) || policy->on_grid || !lti_is_directory(path)) return LT_OK;
    LTI_TRY(lti_checkpoint_words(model->ctx, path, &words, &is_checkpoint));
    lt_status status = is_checkpoint ? LT_OK : read_run(model->ctx, path, &run);
    taking t = {.model = model, .path = path, .policy = policy};
    t.was = is_checkpoint ? words : json_object_get(run, "quantization");
    if (status == LT_OK) status = take(&t, is_checkpoint, json_integer_value(json_object_get(run, "steps")), found);
    json_decref(words);
    json_decref(run);
    return status;
}
