/* evaluate.c - perplexity: exp of the mean of -log p over scored positions; of classes also how many are right. */
#include "models/model.h"
#include "qat/policy.h"
#include "train/packed_grids.h"
#include "train/recipe.h"

#include <math.h>

void lti_describe_model(lt_model *model, const lt_quant_policy *quant, lt_eval_result *e)
{
    lt_params *params = lt_model_params(model);
    for (int i = 0; i < lt_params_count(params); i++) {
        lt_param *p = lt_params_at(params, i);
        if (lt_param_role(p) != LT_WEIGHT) continue;
        e->parameters += lt_param_count(p);
        uint64_t packed =
            !quant || quant->on_grid ? lti_packgrid_file_bytes(model->weights.tensors, lt_param_name(p)) : 0;
        e->model_bytes += packed ? packed : lti_deployed_bytes(p, quant);
        if (lt_param_type(p) != LT_F32) {
            e->nonzero_parameters += lt_param_count(p);
            continue;
        }
        const lt_real *w = lt_param_read(p);
        for (int64_t k = 0; k < lt_param_count(p); k++) e->nonzero_parameters += w[k] != 0;
    }
}

lt_status lt_evaluate(lt_model *model, const lt_dataset *data, const lt_quant_policy *quant, int64_t batch_size,
                      lt_eval_result *result)
{
    lt_ctx *ctx = lt_params_ctx(lt_model_params(model));
    *result = (lt_eval_result){.accuracy = NAN, .rows = lt_dataset_rows(data), .documents = lt_dataset_documents(data)};
    if (result->rows == 0) return lti_fail(ctx, LT_EINVAL, "there is nothing to evaluate: the data has no row");
    LTI_TRY(lti_check_model(ctx, model, data, false));
    LTI_TRY(lti_quant_check_params(lt_model_params(model), quant));
    if (quant) LTI_TRY(lti_quant_check_finite(lt_model_params(model), quant));
    lti_recipe r = {.ctx = ctx, .model = model, .quant = quant, .layout = lti_row_layout_of(model, data, NULL)};
    LTI_TRY(lti_recipe_open(&r));
    lti_scores scores;
    double start = lti_seconds();
    int64_t batch = batch_size > 0 ? batch_size : lti_eval_batch(data);
    if (batch > result->rows) batch = result->rows;
    lt_status status = lti_recipe_evaluate(&r, LTI_EVALUATE, data, batch, &scores);
    lti_recipe_close(&r);
    LTI_TRY(status);
    result->tokens = scores.scored;
    result->accuracy = lti_accuracy(&r, &scores);
    if (result->tokens == 0)
        return lti_fail(ctx, LT_EINVAL, "there is nothing to evaluate: every position of the data is masked");
    result->seconds = lti_seconds() - start;
    result->nll = scores.nll_sum / (double)result->tokens;
    result->perplexity = exp(result->nll);
    result->tokens_per_second = (double)result->tokens / result->seconds;
    result->peak_rss_bytes = lt_memory_now().peak_rss;
    lti_describe_model(model, quant, result);
    if (!isfinite(result->nll))
        return lti_fail(ctx, LT_ENONFINITE, "the loss is %g: the model's weights or activations are not finite",
                        result->nll);
    return LT_OK;
}
