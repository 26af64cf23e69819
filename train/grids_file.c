/* grids_file.c - quantization.safetensors: what static activations need of a finished training beside its weights.
 *
 *     "<site>:act_scale" [2]      scale and lowest code (lathe/observe.h)
 *     metadata "lathe.policy"     the policy as JSON, as checkpoints have it
 *
 * A file of its own: model.safetensors has the names that other programs know, and no others. Checkpoints have all of
 * it in their state. Learned scales of weights: run_scales.c. */
#include "train/grids_file.h"

#include "base/text.h"
#include "data/files.h"
#include "data/json.h"
#include "models/model.h"
#include "train/checkpoint.h"
#include "train/loop.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_NAME "quantization.safetensors"
#define STATE_NAME "state.safetensors"
#define POLICY_KEY "lathe.policy"

/* ---- Writing ---- */

static bool belongs(const lt_param *p)
{
    return lti_ends_with(lt_param_name(p), ":act_scale") && lt_param_role(p) == LT_STATE && lt_param_type(p) == LT_F32;
}

static lt_status write_all(const lt_model *m, const lt_quant_policy *policy, const char *path, lt_tensor_entry *entries,
                           int count)
{
    json_t *words = lti_policy_json(m->ctx, policy);
    char *text = words ? json_dumps(words, JSON_COMPACT) : NULL;
    const lt_pair pair = {POLICY_KEY, text};
    json_decref(words);
    lt_status status = text ? lt_tensors_write(m->ctx, path, entries, count, &pair, 1, NULL)
                            : lti_fail(m->ctx, LT_ENOMEM, "out of memory while writing %s", path);
    free(text);
    return status;
}

/* What an earlier run has left would be taken for this one's. */
static lt_status remove_old(lt_ctx *ctx, const char *path)
{
    if (!lti_file_exists(path) || remove(path) == 0) return LT_OK;
    return lti_fail(ctx, LT_EIO, "%s: is of an earlier run and cannot be removed; remove it", path);
}

lt_status lt_model_save_grids(const lt_model *model, const lt_quant_policy *policy, const char *directory)
{
    lt_ctx *ctx = model->ctx;
    int n = lt_params_count(model->params), count = 0;
    char *path = lti_path_join(ctx, directory, FILE_NAME);
    lt_tensor_entry *entries = path ? lti_alloc_array(ctx, (size_t)n + 1, sizeof *entries) : NULL;
    lt_status status = entries ? LT_OK : LT_ENOMEM;
    for (int i = 0; i < n && entries && policy; i++) {
        const lt_param *p = lt_params_at(model->params, i);
        if (belongs(p))
            entries[count++] = (lt_tensor_entry){.name = lt_param_name(p),
                                                 .dtype = LT_STORED_F32,
                                                 .rank = lt_param_rank(p),
                                                 .shape = lt_param_shape(p),
                                                 .real = lt_param_read(p)};
    }
    if (status == LT_OK) status = count ? write_all(model, policy, path, entries, count) : remove_old(ctx, path);
    lti_free(ctx, entries);
    lti_free(ctx, path);
    return status;
}

/* ---- Reading ---- */

/* Whichever of the two is there, open; *file NULL when none is. */
static lt_status open_file(lt_ctx *ctx, const char *directory, lt_tensors **file)
{
    static const char *const names[] = {STATE_NAME, FILE_NAME};
    *file = NULL;
    lt_status status = LT_OK;
    for (int i = 0; i < LTI_COUNT(names) && status == LT_OK && !*file; i++) {
        char *path = lti_path_join(ctx, directory, names[i]);
        status = !path ? LT_ENOMEM : lti_file_exists(path) ? lt_tensors_open(ctx, path, file) : LT_OK;
        lti_free(ctx, path);
    }
    return status;
}

static lt_status take_grid(lt_model *m, const lt_tensors *file, int i)
{
    const char *name = lt_tensors_name(file, i);
    lt_param *grid = lt_params_find(m->params, name);
    if (grid) return LT_OK;
    if (lt_tensors_elements(file, i) != 2 || strlen(name) > 500)
        return lti_fail(m->ctx, LT_EFORMAT, "%s: tensor '%.80s' has %lld numbers; scale and lowest code are 2",
                        lt_tensors_file(file, i), name, (long long)lt_tensors_elements(file, i));
    LTI_TRY(lt_params_add(m->params, name, LT_F32, 1, &(int64_t){2}, LT_STATE, &grid));
    lt_param_set_trainable(grid, false);
    lt_real *x = lt_param_data(grid);
    LTI_TRY(lt_tensors_load_real(file, i, x));
    lt_param_touch(grid);
    if (x[0] >= 0 && isfinite((double)x[0]) && (x[1] == 0 || x[1] == -127)) return LT_OK;
    return lti_fail(m->ctx, LT_EFORMAT,
                    "%s: '%s' is {%g, %g}; a scale from 0 and a lowest code of 0 or -127 are wanted",
                    lt_tensors_file(file, i), name, (double)x[0], (double)x[1]);
}

lt_status lt_model_take_grids(lt_model *model, const char *path, int *taken)
{
    lt_tensors *file;
    *taken = 0;
    if (!lti_is_directory(path)) return LT_OK;
    LTI_TRY(open_file(model->ctx, path, &file));
    lt_status status = LT_OK;
    for (int i = 0; file && i < lt_tensors_count(file) && status == LT_OK; i++) {
        if (!lti_ends_with(lt_tensors_name(file, i), ":act_scale")) continue;
        status = take_grid(model, file, i);
        ++*taken;
    }
    lt_tensors_close(file);
    return status;
}

static lt_status words_of_file(lt_ctx *ctx, const char *path, json_t **words)
{
    lt_tensors *file;
    LTI_TRY(lt_tensors_open(ctx, path, &file));
    const char *text = lt_tensors_metadata(file, POLICY_KEY);
    lt_status status = text ? lti_json_parse(ctx, path, 0, text, strlen(text), words)
                            : lti_fail(ctx, LT_EFORMAT, "%s: the metadata have no '" POLICY_KEY "'", path);
    lt_tensors_close(file);
    if (status == LT_OK && !json_is_object(*words)) {
        json_decref(*words);
        *words = NULL;
        status = lti_fail(ctx, LT_EFORMAT, "%s: '" POLICY_KEY "' is no object", path);
    }
    return status;
}

lt_status lti_grids_words(lt_ctx *ctx, const char *path, json_t **words)
{
    bool is_checkpoint;
    *words = NULL;
    if (!lti_is_directory(path)) return LT_OK;
    LTI_TRY(lti_checkpoint_words(ctx, path, words, &is_checkpoint));
    if (is_checkpoint) return LT_OK;
    char *file = lti_path_join(ctx, path, FILE_NAME);
    lt_status status = !file ? LT_ENOMEM : lti_file_exists(file) ? words_of_file(ctx, file, words) : LT_OK;
    lti_free(ctx, file);
    return status;
}
