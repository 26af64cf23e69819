/* sensitivity.c - what rounding a tensor costs, measured on data; and the types that are chosen by it.
 *
 * The rise of the loss by a small change d of the weights is 1/2 d' H d; with the Fisher information in H's place and its
 * diagonal alone that is 1/2 sum F d^2, F the mean square of a row's gradient over its tokens. One backward a row gives it
 * for all tensors and types at once. Quantizing one tensor at a time and evaluating, which is the alternative, takes an
 * evaluation for each of them and drowns in the noise of few rows. */
#include "autograd/ops/lattice_convert.h"
#include "qat/auto_bits.h"
#include "train/export.h"

#include <math.h>
#include <string.h>

enum { PLANS = 16, CALIBRATION_ROWS = 32 };

typedef struct calibration {
    lt_ctx *ctx;
    lt_model *model;
    const lt_dataset *data;
    lti_feed feed;
    lt_plan_cache *plans;
    lti_bits_tensor *tensors; /* [n] */
    lt_t *values, *gradients; /* [n] */
    double **squares;         /* [n][elements]: sums of squared gradients */
    int64_t tokens;
    int n;
} calibration;

struct lt_auto_bits {
    lt_ctx *ctx;
    lt_quant_rule *rules;
    int n_rules;
    double bits, rise;
    lti_text table;
};

/* ---- Gradients ---- */

static lt_status compile(calibration *c, lt_plan_key key, const lt_compile_options *options, lt_plan **plan)
{
    lt_graph *g;
    lt_t targets;
    LTI_TRY(lt_graph_create(c->ctx, lt_model_params(c->model), &g));
    lt_training(g, false);
    lt_model_input in = lti_feed_record(&c->feed.layout, g, key.batch, key.length, &targets);
    lt_t loss = lt_model_loss(c->model, g, &in, targets, lt_constant(g, 1));
    for (int i = 0; i < c->n; i++) c->values[i] = lt_param_value(g, (lt_param *)(uintptr_t)c->tensors[i].param);
    lt_grad(loss, c->n, c->values, c->gradients);
    lt_status status = lt_compile(g, options, c->n, c->gradients, plan);
    lt_graph_free(g);
    return status;
}

static lt_status build(void *user, lt_plan_key key, lt_arena *arena, lt_plan **plan)
{
    lt_compile_options options;
    lt_compile_options_init(&options);
    options.arena = arena;
    return compile(user, key, &options, plan);
}

static void add_squares(int64_t n, const lt_real *g, double *sums)
{
    for (int64_t i = 0; i < n; i++) sums[i] += (double)g[i] * (double)g[i];
}

static lt_status measure_row(calibration *c, int64_t row)
{
    int64_t length;
    lt_plan *plan;
    lt_dataset_row(c->data, row, &length);
    int64_t T = lt_bucket(length, lt_dataset_longest(c->data));
    LTI_TRY(lt_plan_cache_get(c->plans, (lt_plan_key){0, 1, (int32_t)T}, &plan));
    lti_feed_fill(&c->feed, c->data, 1, &row, 1, T);
    LTI_TRY(lti_feed_bind(&c->feed, plan));
    LTI_TRY(lt_run(plan));
    for (int i = 0; i < c->n; i++) add_squares(lt_param_count(c->tensors[i].param), lt_result(plan, i), c->squares[i]);
    c->tokens += lti_feed_targets(&c->feed, 1, T);
    return LT_OK;
}

static lt_status measure(calibration *c)
{
    int64_t rows = lt_dataset_rows(c->data), n = rows < CALIBRATION_ROWS ? rows : CALIBRATION_ROWS;
    LTI_TRY(lti_feed_reserve(&c->feed, 1, lt_dataset_longest(c->data)));
    LTI_TRY(lt_plan_cache_create(c->ctx, PLANS, build, c, &c->plans));
    for (int64_t i = 0; i < n; i++) LTI_TRY(measure_row(c, i * rows / n));
    if (c->tokens > 0) return LT_OK;
    return lti_fail(c->ctx, LT_EINVAL, "auto bits: every position of the calibration data is masked");
}

/* ---- Costs ---- */

static double cost(const calibration *c, int i, const lt_real *rounded)
{
    const lt_real *w = lt_param_read(c->tensors[i].param);
    double sum = 0;
    for (int64_t k = 0; k < lt_param_count(c->tensors[i].param); k++) {
        double d = (double)rounded[k] - (double)w[k];
        sum += c->squares[i][k] * d * d;
    }
    return sum / (2 * (double)c->tokens);
}

static lt_status cost_types(calibration *c, int i)
{
    lti_bits_tensor *t = &c->tensors[i];
    int64_t n = lt_param_count(t->param);
    lt_real *rounded = lti_alloc_array(c->ctx, (size_t)n, sizeof *rounded);
    void *codes = lti_alloc_array(c->ctx, (size_t)n, 2); /* no candidate is wider */
    lt_status status = rounded && codes ? LT_OK : LT_ENOMEM;
    for (int k = 0; k < t->n && status == LT_OK; k++) {
        lti_encode(n, lt_param_read(t->param), t->types[k], codes);
        lti_decode(n, t->types[k], codes, rounded);
        t->costs[k] = cost(c, i, rounded);
        if (!isfinite(t->costs[k]))
            status = lti_fail(c->ctx, LT_ENONFINITE, "auto bits: '%s' or its gradient is not finite",
                              lt_param_name(t->param));
    }
    lti_free(c->ctx, codes);
    lti_free(c->ctx, rounded);
    return status;
}

/* ---- The choice ---- */

/* Linear layers that no rule of the user's is about and that his targets name. */
static bool is_free(const lt_param *p, const lt_quant_policy *policy)
{
    lt_quant_policy probe = *policy; /* would it be quantized if weights were? */
    bool ruled = false;
    for (int i = 0; i < policy->n_rules; i++) ruled |= lt_glob(policy->rules[i].pattern, lt_param_name(p));
    probe.weights = lt_scheme_of(LT_F16), probe.embedding = lt_scheme_of(LT_F32), probe.mix = NULL, probe.n_rules = 0;
    return !ruled && lt_param_type(p) == LT_F32 && lt_quant_type(&probe, p) == LT_F16;
}

static lt_status list_tensors(calibration *c, const lt_quant_policy *policy)
{
    const lt_params *params = lt_model_params(c->model);
    size_t most = (size_t)lt_params_count(params) + 1;
    c->tensors = lti_alloc_array(c->ctx, most, sizeof *c->tensors);
    c->values = lti_alloc_array(c->ctx, most, sizeof *c->values);
    c->gradients = lti_alloc_array(c->ctx, most, sizeof *c->gradients);
    c->squares = lti_alloc_array(c->ctx, most, sizeof *c->squares);
    if (!c->tensors || !c->values || !c->gradients || !c->squares) return LT_ENOMEM;
    for (int i = 0; i < lt_params_count(params); i++) {
        const lt_param *p = lt_params_at(params, i);
        if (!is_free(p, policy)) continue;
        c->tensors[c->n].param = p;
        lti_bits_candidates(&c->tensors[c->n++]);
    }
    return c->n ? LT_OK : lti_fail(c->ctx, LT_EINVAL, "auto bits: there is no linear layer to choose a type for");
}

/* ---- Memory: a double a weight, and the gradients of the longest row, all at once ---- */

static lt_status count_bytes(calibration *c, uint64_t *bytes)
{
    lt_plan *plan;
    lt_compile_options options;
    lt_compile_options_init(&options);
    options.measure = true;
    uint64_t squares = 0, rounding = 0;
    for (int i = 0; i < c->n; i++) {
        uint64_t n = (uint64_t)lt_param_count(c->tensors[i].param);
        squares += n * sizeof **c->squares;
        if (n * (sizeof(lt_real) + 2) > rounding) rounding = n * (sizeof(lt_real) + 2); /* cost_types */
    }
    LTI_TRY(compile(c, (lt_plan_key){0, 1, (int32_t)lt_dataset_longest(c->data)}, &options, &plan));
    *bytes = squares + rounding + lt_plan_arena_bytes(plan);
    lt_plan_free(plan);
    return LT_OK;
}

static lt_status make_squares(calibration *c)
{
    uint64_t bytes, available = lt_memory_now().available;
    LTI_TRY(count_bytes(c, &bytes));
    if (bytes > available)
        return lti_fail(c->ctx, LT_ELIMIT,
                        "auto bits: measuring %d layers needs %.2f GB beside the model (a double a weight and a row's "
                        "gradients), and %.2f GB are available; name types instead (qat), or leave layers out "
                        "(qat_targets)",
                        c->n, (double)bytes / 1e9, (double)available / 1e9);
    for (int i = 0; i < c->n; i++) {
        c->squares[i] = lti_alloc_array(c->ctx, (size_t)lt_param_count(c->tensors[i].param), sizeof **c->squares);
        if (!c->squares[i]) return LT_ENOMEM;
    }
    return LT_OK;
}

static lt_status choose(calibration *c, double bits)
{
    int64_t weights = 0;
    uint64_t least = 0;
    for (int i = 0; i < c->n; i++) {
        weights += lt_param_count(c->tensors[i].param);
        LTI_TRY(cost_types(c, i));
    }
    uint64_t budget = (uint64_t)(bits * (double)weights / 8);
    if (lti_bits_choose(c->n, c->tensors, budget)) return LT_OK;
    for (int i = 0; i < c->n; i++) least += c->tensors[i].bytes[c->tensors[i].chosen];
    return lti_fail(c->ctx, LT_EINVAL,
                    "auto bits: %.4g bits a weight are less than the smallest types take, %.4g; give at least that",
                    bits, 8 * (double)least / (double)weights);
}

static lt_status tell(const calibration *c, const lt_quant_policy *policy, lt_auto_bits *a)
{
    int64_t weights = 0;
    uint64_t bytes = 0;
    a->rules = lti_alloc_array(c->ctx, (size_t)(c->n + policy->n_rules), sizeof *a->rules);
    if (!a->rules) return LT_ENOMEM;
    for (int i = 0; i < policy->n_rules; i++) a->rules[a->n_rules++] = policy->rules[i];
    lti_text_format(&a->table, "tensor\ttype\tbytes\trise of the loss\n");
    for (int i = 0; i < c->n; i++) {
        const lti_bits_tensor *t = &c->tensors[i];
        a->rules[a->n_rules++] = (lt_quant_rule){lt_param_name(t->param), lt_scheme_of(t->types[t->chosen])};
        weights += lt_param_count(t->param);
        bytes += t->bytes[t->chosen];
        a->rise += t->costs[t->chosen];
        lti_text_format(&a->table, "%s\t%s\t%llu\t%.2e\n", lt_param_name(t->param), lt_dtype_name(t->types[t->chosen]),
                        (unsigned long long)t->bytes[t->chosen], t->costs[t->chosen]);
    }
    a->bits = 8 * (double)bytes / (double)weights;
    return a->table.failed ? LT_ENOMEM : LT_OK;
}

static void close_calibration(calibration *c)
{
    lt_plan_cache_free(c->plans);
    lti_feed_free(&c->feed);
    for (int i = 0; c->squares && i < c->n; i++) lti_free(c->ctx, c->squares[i]);
    lti_free(c->ctx, c->squares);
    lti_free(c->ctx, c->gradients);
    lti_free(c->ctx, c->values);
    lti_free(c->ctx, c->tensors);
}

lt_status lt_auto_bits_choose(lt_model *model, const lt_dataset *data, const lt_quant_policy *policy, double bits,
                              lt_auto_bits **chosen)
{
    lt_ctx *ctx = lt_params_ctx(lt_model_params(model));
    *chosen = NULL;
    if (!(bits > 0 && bits <= 32)) return lti_fail(ctx, LT_EINVAL, "auto bits: %g bits; 2.6 to 16 make sense", bits);
    LTI_TRY(lti_check_model(ctx, model, data, true));
    LTI_TRY(lti_quant_check_finite(lt_model_params(model), NULL)); /* one that is not spoils the gradients of all */
    lt_auto_bits *a = lti_alloc(ctx, sizeof *a);
    if (!a) return LT_ENOMEM;
    a->ctx = a->table.ctx = ctx;
    calibration c = {.ctx = ctx, .model = model, .data = data};
    c.feed = (lti_feed){.ctx = ctx, .layout = lti_row_layout_of(model, data, NULL)};
    lt_status status = list_tensors(&c, policy);
    if (status == LT_OK) status = make_squares(&c);
    if (status == LT_OK) status = measure(&c);
    if (status == LT_OK) status = choose(&c, bits);
    if (status == LT_OK) status = tell(&c, policy, a);
    close_calibration(&c);
    if (status == LT_OK)
        *chosen = a;
    else
        lt_auto_bits_free(a);
    return status;
}

lt_status lt_auto_bits_memory(lt_model *model, const lt_dataset *data, const lt_quant_policy *policy, uint64_t *bytes)
{
    *bytes = 0;
    calibration c = {.ctx = lt_params_ctx(lt_model_params(model)), .model = model, .data = data};
    LTI_TRY(lti_check_model(c.ctx, model, data, true));
    c.feed = (lti_feed){.ctx = c.ctx, .layout = lti_row_layout_of(model, data, NULL)};
    lt_status status = list_tensors(&c, policy);
    if (status == LT_OK) status = count_bytes(&c, bytes);
    close_calibration(&c);
    return status;
}

void lt_auto_bits_free(lt_auto_bits *a)
{
    if (!a) return;
    lti_text_free(&a->table);
    lti_free(a->ctx, a->rules);
    lti_free(a->ctx, a);
}

const lt_quant_rule *lt_auto_bits_rules(const lt_auto_bits *a, int *count)
{
    *count = a->n_rules;
    return a->rules;
}

const char *lt_auto_bits_table(const lt_auto_bits *a, double *bits, double *rise)
{
    *bits = a->bits;
    *rise = a->rise;
    return a->table.data;
}
