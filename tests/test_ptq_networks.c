/* test_ptq_networks.c - quantization after training of what is no matrix of a transformer: filters of a convolutional
 * network and tensors of four dimensions in files, against lt_scheme_apply on a row for each output. */
#include "tests/network_kinds.h"
#include "train/calibrate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static lt_quant_policy policy_of(lt_ctx *ctx, const char *word)
{
    lt_quant_policy p;
    lt_quant_policy_init(&p);
    TS_OK(ctx, lt_quant_policy_parse(ctx, word, &p));
    return p;
}

static lt_status quantize(lt_model *m, const lt_dataset *data, const lt_quant_policy *policy, lt_ptq_method method,
                          lt_ptq **done)
{
    lt_ptq_config c;
    lt_ptq_config_init(&c);
    c.method = method;
    return lt_ptq_run(m, data, policy, &c, done);
}

static double nll_of(lt_model *m, const lt_dataset *data, const lt_quant_policy *policy)
{
    lt_eval_result r = {.nll = NAN};
    TS_OK(lt_params_ctx(lt_model_params(m)), lt_evaluate(m, data, policy, 0, &r));
    return r.nll;
}

static const lt_ptq_tensor *tensor_of(const lt_ptq *done, const char *name)
{
    int count;
    const lt_ptq_tensor *t = lt_ptq_tensors(done, &count);
    for (int i = 0; i < count; i++)
        if (!strcmp(t[i].name, name)) return &t[i];
    return NULL;
}

/* ---- Filters of a model ---- */

static void same_as_applied(lt_ctx *ctx, const lt_param *before, const lt_param *code, const lt_ptq_tensor *t)
{
    int64_t n = lt_param_count(before), rows = lt_param_shape(before)[0];
    lt_real *wanted = calloc((size_t)n, sizeof *wanted);
    TS_OK(ctx, lt_scheme_apply(ctx, &t->scheme, LT_SCALE_DYNAMIC, rows, n / rows, lt_param_read(before), wanted));
    TS_CHECK(ts_same_bytes((size_t)n * sizeof *wanted, wanted, lt_param_read(code)), "%s: every number", t->name);
    TS_CHECK(t->bytes == lt_scheme_bytes(&t->scheme, rows, n / rows), "%s: %zu bytes", t->name, t->bytes);
    TS_CHECK(t->error < 0.75 && t->error > 0, "%s: an error of %g", t->name, t->error);
    free(wanted);
}

/* The codes, the model they leave and the one that is saved: all of them the network that --qat evaluates. */
static void whole_filters(void)
{
    static const char *const words[] = {"int8:channel", "int4:g32", "int3:g16,asym", "ternary:channel", "fp8"};
    for (int w = 0; w < LTI_COUNT(words); w++) {
        ts_place p = ts_open_place();
        lt_model *m = nk_make(&p, &nk_kinds[NK_CNN]), *was = nk_make(&p, &nk_kinds[NK_CNN]), *read = NULL;
        lt_dataset *data = nk_data(&p, NK_IMAGES);
        lt_quant_policy policy = policy_of(p.ctx, words[w]);
        lt_ptq *done = NULL;
        int filters = 0;
        double nll = nll_of(was, data, &policy);
        if (!TS_OK(p.ctx, quantize(m, NULL, &policy, LT_PTQ_RTN, &done))) return;
        for (int i = 0; i < lt_params_count(lt_model_params(was)); i++) {
            const lt_param *before = lt_params_at(lt_model_params(was), i);
            const lt_ptq_tensor *t = tensor_of(done, lt_param_name(before));
            if (!t) continue;
            filters += lt_param_rank(before) == 4;
            same_as_applied(p.ctx, before, lt_params_find(lt_ptq_codes(done), t->name), t);
        }
        TS_CHECK(filters == 6, "%s: %d filters", words[w], filters);
        TS_CHECK(fabs(nll_of(m, data, NULL) - nll) < ts_tolerance(1e-12, 1e-6), "%s: the model is what --qat evaluates",
                 words[w]);
        TS_OK(p.ctx, lt_model_save(m, ts_at(&p, "saved"), nk_exact()));
        if (TS_OK(p.ctx, lt_model_open(p.ctx, ts_at(&p, "saved"), &read)))
            TS_CHECK(fabs(nll_of(read, data, NULL) - nll) < ts_tolerance(1e-12, 1e-6), "%s: so is the saved one",
                     words[w]);
        lt_ptq_free(done);
        lt_dataset_free(data);
        lt_model_free(m), lt_model_free(was), lt_model_free(read);
        ts_close_place(&p);
    }
}

/* What filters read is not measured: methods that would know it search scales instead, and say so. */
static void filters_by_simpler_methods(void)
{
    static const lt_ptq_method methods[] = {LT_PTQ_MSE, LT_PTQ_IMATRIX, LT_PTQ_GPTQ, LT_PTQ_AWQ};
    for (int k = 0; k < 2 * LTI_COUNT(methods); k++) {
        ts_place p = ts_open_place();
        lt_model *m = nk_make(&p, &nk_kinds[NK_CNN]);
        lt_dataset *data = nk_data(&p, NK_IMAGES);
        lt_quant_policy policy = policy_of(p.ctx, "int4:g32");
        lt_ptq *done = NULL;
        int count = 0, wrong = 0;
        const char *name = lt_ptq_method_name(methods[k / 2]);
        if (k % 2) policy.targets = "*conv*"; /* and then nothing is measured at all */
        TS_OK(p.ctx, quantize(m, data, &policy, methods[k / 2], &done));
        const lt_ptq_tensor *t = done ? lt_ptq_tensors(done, &count) : NULL;
        for (int i = 0; i < count; i++) {
            const lt_param *code = lt_params_find(lt_ptq_codes(done), t[i].name);
            const lt_real *v = lt_param_read(code);
            int64_t zeros = 0;
            for (int64_t n = 0; n < lt_param_count(code); n++) zeros += v[n] == 0;
            wrong += lt_param_rank(code) == 4 ? strcmp(t[i].method, "mse") != 0 || zeros > lt_param_count(code) / 2
                                              : k < 2 && strcmp(t[i].method, name) != 0;
        }
        TS_CHECK(count == (k % 2 ? 6 : 7) && wrong == 0, "%s: %d of %d tensors are wrong", name, wrong, count);
        lt_ptq_free(done);
        lt_dataset_free(data);
        lt_model_free(m);
        ts_close_place(&p);
    }
}

static void importance_of_filters(void)
{
    ts_place p = ts_open_place();
    lt_model *m = nk_make(&p, &nk_kinds[NK_CNN]);
    lt_quant_policy policy = policy_of(p.ctx, "int4:g32");
    const lt_param *filter = NULL;
    for (int i = 0; !filter || lt_param_shape(filter)[1] == 1; i++)
        if (lt_param_rank(lt_params_at(lt_model_params(m), i)) == 4) filter = lt_params_at(lt_model_params(m), i);
    int64_t shapes[] = {lt_param_shape(filter)[1], lt_param_count(filter) / lt_param_shape(filter)[0]};
    for (int k = 0; k < 2; k++) {
        lt_imatrix *made = lti_alloc(p.ctx, sizeof *made);
        made->ctx = p.ctx;
        lti_site_inputs *s = lti_imatrix_add(made, NULL, lt_param_name(filter));
        TS_OK(p.ctx, lti_inputs_new(p.ctx, shapes[k], false, false, &s->inputs));
        s->owner = true;
        s->inputs->positions = 3;
        for (int64_t i = 0; i < shapes[k]; i++) s->inputs->squares[i] = (double)(1 + i);
        lt_ptq_config c;
        lt_ptq *done = NULL;
        lt_ptq_config_init(&c);
        c.method = LT_PTQ_IMATRIX, c.imatrix = made;
        if (k == 0)
            TS_REFUSED(p.ctx, lt_ptq_run(m, NULL, &policy, &c, &done), LT_EINVAL, "another model");
        else if (TS_OK(p.ctx, lt_ptq_run(m, NULL, &policy, &c, &done)))
            TS_CHECK(!strcmp(tensor_of(done, lt_param_name(filter))->method, "imatrix"), "a column for each tap");
        lt_ptq_free(done);
        lt_imatrix_free(made);
    }
    lt_model_free(m);
    ts_close_place(&p);
}

/* ---- Files of tensors ---- */

static void tensors_of_more_dimensions(void)
{
    enum { OUT = 6, TAPS = 5 * 3 * 3 };
    ts_place p = ts_open_place();
    lt_real w[OUT * TAPS], cube[24], wanted[OUT * TAPS];
    lt_quant_policy policy = policy_of(p.ctx, "int4:g32");
    lt_ptq_config c;
    lt_ptq *done = NULL;
    ts_fill_normal("filter", OUT * TAPS, 1, w);
    ts_fill_normal("cube", 24, 1, cube);
    const lt_tensor_entry entries[] = {
        {.name = "conv.weight", .dtype = LT_STORED_F32, .rank = 4, .shape = (int64_t[]){OUT, 5, 3, 3}, .real = w},
        {.name = "cube", .dtype = LT_STORED_F32, .rank = 3, .shape = (int64_t[]){2, 3, 4}, .real = cube}};
    char in[600];
    snprintf(in, sizeof in, "%s", ts_at(&p, "in.safetensors"));
    for (int i = 0; i < OUT * TAPS; i++) w[i] = (lt_real)(float)w[i];
    lt_ptq_config_init(&c);
    TS_OK(p.ctx, lt_tensors_write(p.ctx, in, entries, 2, NULL, 0, NULL));
    if (TS_OK(p.ctx, lt_ptq_tensors_file(p.ctx, in, ts_at(&p, "out.safetensors"), &policy, &c, &done))) {
        int count;
        const lt_ptq_tensor *t = lt_ptq_tensors(done, &count);
        TS_OK(p.ctx, lt_scheme_apply(p.ctx, &policy.weights, LT_SCALE_DYNAMIC, OUT, TAPS, w, wanted));
        TS_CHECK(count == 1 && !strcmp(t->name, "conv.weight"), "a policy means filters, and no cubes");
        TS_CHECK(t->bytes == lt_scheme_bytes(&policy.weights, OUT, TAPS), "%zu bytes", t->bytes);
        const lt_real *got = lt_param_read(lt_params_find(lt_ptq_codes(done), "conv.weight"));
        TS_CHECK(ts_same_bytes(sizeof wanted, wanted, got), "every number of the filter");
        lt_tensors *file;
        if (TS_OK(p.ctx, lt_tensors_open(p.ctx, ts_at(&p, "out.safetensors"), &file))) {
            int k = lt_tensors_find(file, "conv.weight"), cubes = lt_tensors_find(file, "cube");
            const char *word = lt_tensors_metadata(file, "type:conv.weight");
            TS_CHECK(word && !strcmp(word, "int4:g32") && lt_tensors_bytes(file, k) == OUT * (TAPS + 1) / 2,
                     "codes of 4 bits are in the file: %s", word);
            TS_CHECK(cubes >= 0 && lt_tensors_elements(file, cubes) == 24, "the cube is written as it was");
            lt_tensors_close(file);
        }
        lt_ptq_free(done);
    }
    TS_REFUSED(p.ctx, lt_ptq_tensors_file(p.ctx, in, ts_at(&p, "out.gguf"), &policy, &c, &done), LT_EINVAL,
               "GGUF has no type for int4:g32");
    ts_close_place(&p);
}

int lti_suite_ptq_networks(void)
{
    const ts_test tests[] = {{"whole filters", whole_filters},
                             {"filters by simpler methods", filters_by_simpler_methods},
                             {"importance of filters", importance_of_filters},
                             {"tensors of more dimensions", tensors_of_more_dimensions}};
    return ts_suite("ptq_networks", LTI_COUNT(tests), tests);
}
