/* test_grids_file.c - what a finished training leaves beside its weights: grids of static activations read back, damaged
 * files, folded models saved and opened, and networks in integers compared with their models. */
#include "lathe/int8.h"
#include "lathe/train.h"
#include "tests/data_files.h"
#include "tests/toys.h"
#include "train/grids_file.h"

#include <math.h>
#include <unistd.h>

#define DIGITS "examples/data/digits.csv.gz"

static lt_quant_policy static_policy(void)
{
    lt_quant_policy p;
    lt_quant_policy_init(&p);
    p.weights = (lt_scheme){.kind = LT_SCHEME_INT, .bits = 8, .per = LT_PER_CHANNEL};
    p.activations = LT_ACT_INT8_STATIC;
    return p;
}

/* A model whose sites were observed, as it were. */
static lt_status observed_model(lt_ctx *ctx, const char *init, const lt_quant_policy *policy, lt_model **model)
{
    lt_status status = lt_model_create(ctx, init, NULL, 5, model);
    if (status != LT_OK) return status;
    status = lt_qat_prepare(lt_model_params(*model), policy);
    const lt_params *params = lt_model_params(*model);
    for (int i = 0; i < lt_params_count(params) && status == LT_OK; i++) {
        lt_param *p = lt_params_at(params, i);
        if (!strstr(lt_param_name(p), ":act_scale")) continue;
        ((lt_real *)lt_param_data(p))[0] = (lt_real)(0.25 + i);
        ((lt_real *)lt_param_data(p))[1] = i % 2 ? -127 : 0;
    }
    return status;
}

static lt_status save_and_take(lt_ctx *ctx, const char *directory, int *taken)
{
    lt_quant_policy policy = static_policy();
    lt_model *model = NULL, *read = NULL;
    lt_status status = observed_model(ctx, "mlp:inputs=6,hidden=5,classes=3", &policy, &model);
    if (status == LT_OK) status = lt_model_save(model, directory, "F32");
    if (status == LT_OK) status = lt_model_save_grids(model, &policy, directory);
    if (status == LT_OK) status = lt_model_open(ctx, directory, &read);
    if (status == LT_OK) status = lt_model_take_grids(read, directory, taken);
    const lt_params *params = status == LT_OK ? lt_model_params(model) : NULL;
    for (int i = 0; params && i < lt_params_count(params); i++) {
        const lt_param *a = lt_params_at(params, i), *b = lt_params_find(lt_model_params(read), lt_param_name(a));
        if (!strstr(lt_param_name(a), ":act_scale")) continue;
        TS_CHECK(b && ts_same_bytes(2 * sizeof(lt_real), lt_param_read(a), lt_param_read(b)), "'%s'", lt_param_name(a));
    }
    lt_model_free(model);
    lt_model_free(read);
    return status;
}

static void round_trip(void)
{
    ts_place p = ts_open_place();
    lt_model *model = NULL;
    json_t *words = NULL;
    int taken = 0;
    char directory[512];
    snprintf(directory, sizeof directory, "%s", ts_at(&p, "model"));
    if (TS_OK(p.ctx, save_and_take(p.ctx, directory, &taken)) &&
        TS_OK(p.ctx, lti_grids_words(p.ctx, directory, &words))) {
        const char *activations = json_string_value(json_object_get(words, "qat_activations"));
        TS_CHECK(taken == 2 && activations && !strcmp(activations, "int8_static"), "%d grids, %s", taken,
                 activations ? activations : "no words");
    }
    json_decref(words);
    if (TS_OK(p.ctx, lt_model_open(p.ctx, directory, &model)) &&
        TS_OK(p.ctx, lt_model_save_grids(model, NULL, directory))) {
        TS_CHECK(access(ts_at(&p, "model/quantization.safetensors"), F_OK) != 0, "the old file is still there");
        TS_OK(p.ctx, lt_model_take_grids(model, directory, &taken));
        TS_OK(p.ctx, lti_grids_words(p.ctx, directory, &words));
        TS_CHECK(taken == 0 && !words, "%d grids of nothing", taken);
    }
    lt_model_free(model);
    ts_close_place(&p);
}

static lt_status attempt(lt_ctx *ctx, void *arg)
{
    json_t *words = NULL;
    int taken;
    lt_status status = save_and_take(ctx, arg, &taken);
    if (status == LT_OK) status = lti_grids_words(ctx, arg, &words);
    json_decref(words);
    return status;
}

static void allocations_fail(void)
{
    ts_place p = ts_open_place();
    char directory[512];
    snprintf(directory, sizeof directory, "%s", ts_at(&p, "model"));
    TS_CHECK(ts_every_allocation_fails("grids of activations", attempt, directory) > 30, "few allocations");
    ts_close_place(&p);
}

static void damaged(void)
{
    static const struct {
        float numbers[3];
        int64_t count;
        const char *why;
    } rows[] = {
        {{1, 0, 0}, 3, "3 numbers"}, {{-1, 0, 0}, 2, "{-1, 0}"}, {{1, -5, 0}, 2, "{1, -5}"}, {{NAN, 0, 0}, 2, "nan"}};
    ts_place p = ts_open_place();
    lt_model *model = NULL;
    json_t *words;
    int taken;
    char directory[512], file[600];
    snprintf(directory, sizeof directory, "%s", p.dir);
    snprintf(file, sizeof file, "%s/quantization.safetensors", p.dir);
    for (int i = 0; i < LTI_COUNT(rows); i++) {
        const lt_tensor_entry e = {.name = "fc1:act_scale",
                                   .dtype = LT_STORED_F32,
                                   .rank = 1,
                                   .shape = &rows[i].count,
                                   .data = rows[i].numbers};
        TS_OK(p.ctx, lt_tensors_write(p.ctx, file, &e, 1, NULL, 0, NULL));
        if (TS_OK(p.ctx, lt_model_create(p.ctx, "mlp:inputs=6,hidden=5,classes=3", NULL, 5, &model)))
            TS_REFUSED(p.ctx, lt_model_take_grids(model, directory, &taken), LT_EFORMAT, rows[i].why);
        TS_REFUSED(p.ctx, lti_grids_words(p.ctx, directory, &words), LT_EFORMAT, "no 'lathe.policy'");
        lt_model_free(model);
    }
    const lt_tensor_entry plain = {
        .name = "a", .dtype = LT_STORED_F32, .rank = 1, .shape = (int64_t[]){3}, .data = rows[0].numbers};
    const lt_pair bad[] = {{"lathe.policy", "[1]"}}, broken[] = {{"lathe.policy", "{"}};
    TS_OK(p.ctx, lt_tensors_write(p.ctx, file, &plain, 1, bad, 1, NULL));
    TS_REFUSED(p.ctx, lti_grids_words(p.ctx, directory, &words), LT_EFORMAT, "is no object");
    TS_OK(p.ctx, lt_tensors_write(p.ctx, file, &plain, 1, broken, 1, NULL));
    TS_REFUSED(p.ctx, lti_grids_words(p.ctx, directory, &words), LT_EFORMAT, "quantization.safetensors");
    ts_close_place(&p);
}

/* ---- Folded models ---- */

static double loss_of(ts_place *p, lt_model *model, const lt_dataset *set)
{
    lt_eval_result r = {0};
    TS_OK(p->ctx, lt_evaluate(model, set, NULL, 0, &r));
    return r.nll;
}

static lt_dataset *open_digits(ts_place *p)
{
    lt_dataset_options o;
    lt_dataset *set = NULL;
    lt_dataset_options_init(&o);
    o.split = LT_SPLIT_VALID;
    o.valid_fraction = 0.1;
    TS_OK(p->ctx, lt_dataset_open_numbers(p->ctx, DIGITS, &o, &set));
    return set;
}

static void folded_models(void)
{
    ts_place p = ts_open_place();
    lt_model *model = NULL, *read = NULL, *mlp = NULL, *frozen = NULL;
    lt_dataset *set = open_digits(&p);
    char directory[512];
    snprintf(directory, sizeof directory, "%s", ts_at(&p, "model"));
    if (set &&
        TS_OK(p.ctx, lt_model_create_for(p.ctx, "cnn:height=8,width=8,filters=4,stages=2", NULL, set, 3, &model))) {
        lt_param *mean = lt_params_find(lt_model_params(model), "stem.bn.running_mean");
        ((lt_real *)lt_param_data(mean))[1] = (lt_real)0.3;
        double before = loss_of(&p, model, set);
        TS_OK(p.ctx, lt_model_fold(model));
        TS_OK(p.ctx, lt_model_fold(model)); /* once is enough */
        double after = loss_of(&p, model, set);
        TS_CHECK(fabs(after - before) < ts_tolerance(1e-9, 1e-4), "%.9g, folded %.9g", before, after);
        if (TS_OK(p.ctx, lt_model_save(model, directory, "F32")) &&
            TS_OK(p.ctx, lt_model_open(p.ctx, directory, &read))) {
            TS_CHECK(fabs(loss_of(&p, read, set) - after) < ts_tolerance(1e-6, 1e-9), "the saved one is another");
            TS_CHECK(!lt_param_trainable(lt_params_find(lt_model_params(read), "stem.bn.weight")) &&
                         lt_param_trainable(lt_params_find(lt_model_params(read), "stem.conv.bias")),
                     "norms are to stay, biases to be trained");
        }
        if (TS_OK(p.ctx, lt_model_open_frozen(p.ctx, directory, &frozen)))
            TS_REFUSED(p.ctx, lt_model_fold(frozen), LT_EINVAL, "opened frozen");
    }
    if (TS_OK(p.ctx, lt_model_create(p.ctx, "mlp:inputs=6,classes=3", NULL, 5, &mlp)))
        TS_REFUSED(p.ctx, lt_model_fold(mlp), LT_EUNSUPPORTED, "a mlp has no batch norms");
    lt_model_free(mlp);
    lt_model_free(frozen);
    lt_model_free(read);
    lt_model_free(model);
    lt_dataset_free(set);
    ts_close_place(&p);
}

/* ---- Compared ---- */

/* One of as many outputs that reads more numbers than the rows have. */
static void other_inputs(ts_place *p, lt_model *model, const lt_dataset *set)
{
    lt_model *wide = NULL;
    lt_quant_policy policy = static_policy();
    lt_int8 *net = NULL;
    lt_int8_comparison r;
    if (TS_OK(p->ctx, observed_model(p->ctx, "mlp:inputs=70,hidden=20,classes=10", &policy, &wide)) &&
        TS_OK(p->ctx, lt_model_int8(wide, &policy, 0, &net)))
        TS_REFUSED(p->ctx, lt_int8_compare(model, NULL, net, set, &r), LT_EINVAL,
                   "the network was made for 'inputs' of 70, and the model and its rows have 64");
    lt_int8_free(net);
    net = NULL;
    policy.rules = &(lt_quant_rule){"fc9.weight", policy.weights}, policy.n_rules = 1;
    if (wide) TS_REFUSED(p->ctx, lt_model_int8(wide, &policy, 0, &net), LT_EINVAL, "'fc9.weight' names no tensor");
    lt_int8_free(net);
    lt_model_free(wide);
}

static void comparison(void)
{
    ts_place p = ts_open_place();
    lt_model *model = NULL, *other = NULL;
    lt_quant_policy policy = static_policy(), seen;
    lt_dataset *set = open_digits(&p);
    lt_int8 *net = NULL;
    lt_int8_comparison r;
    lt_eval_result e;
    policy.calibrate = true;
    bool ok = set && TS_OK(p.ctx, lt_model_create_for(p.ctx, "mlp:hidden=20", NULL, set, 3, &model)) &&
              TS_OK(p.ctx, lt_evaluate(model, set, &policy, 0, &e)); /* observes */
    seen = policy;
    seen.calibrate = false;
    if (ok && TS_OK(p.ctx, lt_model_int8(model, &seen, 0, &net)) &&
        TS_OK(p.ctx, lt_int8_compare(model, &seen, net, set, &r))) {
        TS_CHECK(r.rows == lt_dataset_rows(set) && r.scored == r.rows, "%lld rows", (long long)r.rows);
        TS_CHECK(fabs(r.integers.nll - r.simulated.nll) < 1e-2 && fabs(r.real.nll - loss_of(&p, model, set)) < 1e-12,
                 "%g, simulated %g, in float %g", r.integers.nll, r.simulated.nll, r.real.nll);
        TS_CHECK(r.integers.bytes == lt_int8_bytes(net) && r.integers.bytes < r.real.bytes / 2, "%llu bytes",
                 (unsigned long long)r.integers.bytes);
        TS_CHECK(r.integers.rows_per_second > 0 && r.real.rows_per_second > 0, "no speed");
        TS_OK(p.ctx, lt_int8_compare(model, NULL, net, set, &r));
        TS_CHECK(isnan(r.simulated.nll), "nothing was to be simulated");
    }
    if (net && TS_OK(p.ctx, lt_model_create_for(p.ctx, "cnn:height=8,width=8,filters=4", NULL, set, 3, &other)))
        TS_REFUSED(p.ctx, lt_int8_compare(other, NULL, net, set, &r), LT_EINVAL, "another model's");
    if (net) other_inputs(&p, model, set);
    lt_int8_free(net);
    lt_model_free(other);
    lt_model_free(model);
    lt_dataset_free(set);
    ts_close_place(&p);
}

int lti_suite_grids_file(void)
{
    static const ts_test tests[] = {{"round trip", round_trip},
                                    {"damaged files", damaged},
                                    {"allocations fail", allocations_fail},
                                    {"folded models", folded_models},
                                    {"comparison", comparison}};
    return ts_suite("grids_file", LTI_COUNT(tests), tests);
}
