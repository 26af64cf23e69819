/* forecast.c - the memory a run will need, before anything large is allocated.
 *
 * Plans for the largest batch are compiled without their arena: the planner knows activations, gradients in flight and
 * scratch to the byte. Weights, moments and accumulated gradients are params. The rest is what is resident already and
 * what the providers' code and buffers add once products run; rows of other lengths have plans and products of their own,
 * of which one is compiled to see what they take: with small models a fifth of the peak. */
#include "kernels/gemm.h"
#include "train/loop.h"

#include <string.h>

/* Resident growth of the process once kernels have run: OpenMP stacks, a provider's generated code and buffers.
 * Measured. */
static uint64_t runtime_bytes(void)
{
    return strcmp(lti_gemm_provider(), "ref") ? 8u << 20 : 2u << 20;
}

static void count_params(const lti_loop *loop, lt_forecast *f)
{
    const lt_params *params = lt_model_params(loop->model);
    for (int i = 0; i < lt_params_count(params); i++) {
        const lt_param *p = lt_params_at(params, i);
        bool copy = lt_param_role(p) == LT_SCRATCH && lt_param_type(p) == LT_BF16; /* that products in bf16 read */
        if (lt_param_role(p) == LT_WEIGHT || copy) f->weights += lt_param_bytes(p);
    }
    f->optimizer = lt_optimizer_bytes(loop->optimizer);
    for (int i = 0; !loop->recipe.fused && i < lt_optimizer_count(loop->optimizer); i++)
        f->gradients += lt_param_bytes(lt_optimizer_param(loop->optimizer, i));
}

/* How many lengths of plans the rows come to; *other: the longest but one. */
static int64_t plan_lengths(const lt_dataset *data, int64_t *other)
{
    enum { MOST = 32 }; /* lt_bucket makes about 16 */
    bool seen[MOST] = {false};
    int64_t longest = lt_dataset_longest(data), step = lt_bucket(1, longest), count = 0;
    *other = 0;
    for (int64_t row = 0; row < lt_dataset_rows(data); row++) {
        int64_t length;
        lt_dataset_row(data, row, &length);
        length = lt_bucket(length, longest);
        int64_t place = (length + step - 1) / step % MOST;
        count += !seen[place];
        seen[place] = true;
        if (length < longest && length > *other) *other = length;
    }
    return count;
}

/* What plans of other lengths than the longest add outside of the arena; `most` of them at most. */
static lt_status other_lengths(lti_loop *loop, lti_phase phase, const lt_dataset *data, int64_t batch, int64_t most,
                               uint64_t *bytes)
{
    int64_t length, others = plan_lengths(data, &length) - 1;
    if (others > most) others = most;
    if (others < 1) return LT_OK;
    size_t arena;
    uint64_t before = lt_memory_now().rss;
    LTI_TRY(lti_recipe_measure(&loop->recipe, phase, batch, length, &arena));
    uint64_t after = lt_memory_now().rss;
    if (after > before) *bytes += (after - before) * (uint64_t)(others - 1); /* this one is resident now */
    return LT_OK;
}

static lt_status all_other_lengths(lti_loop *loop, uint64_t *bytes)
{
    const lt_train_config *c = loop->config;
    *bytes = 0;
    if (loop->recipe.layout.kind == LT_DATA_NUMBERS) return LT_OK;
    LTI_TRY(other_lengths(loop, LTI_TRAIN, loop->train, c->batch_size, loop->steps * c->grad_accumulation_steps - 1,
                          bytes));
    if (!loop->valid) return LT_OK;
    int64_t batch = lti_eval_batch(loop->valid), batches = (lt_dataset_rows(loop->valid) + batch - 1) / batch;
    return other_lengths(loop, LTI_EVALUATE, loop->valid, batch, batches - 1, bytes);
}

static lt_status largest_arena(lti_loop *loop, uint64_t *bytes)
{
    int64_t longest = lt_dataset_longest(loop->train);
    size_t plan = 0;
    *bytes = 0;
    LTI_TRY(lti_recipe_measure(&loop->recipe, LTI_TRAIN, loop->config->batch_size, longest, &plan));
    if (plan > *bytes) *bytes = plan;
    if (!loop->recipe.fused) LTI_TRY(lti_recipe_measure(&loop->recipe, LTI_UPDATE, 0, 0, &plan));
    if (plan > *bytes) *bytes = plan;
    if (!loop->valid) return LT_OK;
    LTI_TRY(lti_recipe_measure(&loop->recipe, LTI_EVALUATE, lti_eval_batch(loop->valid),
                               lt_dataset_longest(loop->valid), &plan));
    if (plan > *bytes) *bytes = plan;
    return LT_OK;
}

/* The arrays of batches: two where one is filled ahead, and those of validation. The data sets are resident already. */
static uint64_t batch_bytes(const lti_loop *loop)
{
    const lti_row_layout *layout = &loop->recipe.layout;
    uint64_t bytes = lti_feed_bytes(layout, loop->config->batch_size, lt_dataset_longest(loop->train));
    if (loop->config->prefetch) bytes *= 2;
    if (loop->valid) bytes += lti_feed_bytes(layout, lti_eval_batch(loop->valid), lt_dataset_longest(loop->valid));
    return bytes;
}

/* Compiling the plans makes the accumulators, the weights' copies and the providers' code, so what is resident afterwards
 * holds all but the arena, the batch, other lengths, and what running adds. */
lt_status lti_forecast(lti_loop *loop, lt_forecast *f)
{
    *f = (lt_forecast){0};
    uint64_t lengths;
    LTI_TRY(largest_arena(loop, &f->activations));
    LTI_TRY(all_other_lengths(loop, &lengths));
    count_params(loop, f);
    lt_memory now = lt_memory_now();
    f->data = batch_bytes(loop);
    f->total = now.rss + runtime_bytes() + lengths + f->activations + f->data;
    uint64_t known = f->weights + f->gradients + f->optimizer + f->activations + f->data;
    f->process = f->total > known ? f->total - known : 0;
    f->available = now.available + now.rss;
    if (loop->config->memory_limit && loop->config->memory_limit < f->available)
        f->available = loop->config->memory_limit;
    return LT_OK;
}

lt_status lti_forecast_check(lt_ctx *ctx, const lt_train_config *config, const lt_forecast *f)
{
    if (f->total <= f->available) return LT_OK;
    const double gb = 1e9;
    char halves[96] = "";
    if (config->batch_size > 1)
        snprintf(halves, sizeof halves, "batch_size %lld with grad_accumulation_steps %lld, or ",
                 (long long)(config->batch_size / 2), (long long)(config->grad_accumulation_steps * 2));
    return lti_fail(ctx, LT_ELIMIT,
                    "the run would need %.2f GB, but %.2f GB are available (weights %.2f, gradients %.2f, optimizer "
                    "%.2f, activations %.2f); try %s%s",
                    (double)f->total / gb, (double)f->available / gb, (double)f->weights / gb,
                    (double)f->gradients / gb, (double)f->optimizer / gb, (double)f->activations / gb, halves,
                    config->checkpoint_activations ? "a shorter max_seq_length" : "checkpoint_activations");
}
