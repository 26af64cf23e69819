/* test_layer_goldens.c - the layers of convolutional and recurrent networks, and their losses, against PyTorch in
 * float64.
 *
 * scripts/goldens_layers.py wrote tests/golden/layers.json, by hand; its first comment says what a case holds. A case
 * of batch norm is of three batches: what the averages are after them is part of it. */
#include "lathe/images.h"
#include "lathe/recurrent.h"
#include "tests/golden.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INPUTS = 8, VALUES = 512 };

typedef struct trial {
    lt_ctx *ctx;
    lt_params *params;
    lt_graph *g;
    const json_t *c;
    int n;
    lt_t x[INPUTS];
    lt_real data[INPUTS + 1][VALUES]; /* the last used is the cotangent */
    int32_t target[VALUES];
} trial;

static bool is_set(const trial *t, const char *key)
{
    return json_is_true(json_object_get(t->c, key));
}

static void pair(const trial *t, const char *key, int64_t two[2])
{
    int64_t shape[LT_MAX_RANK] = {0};
    gd_shape(t->c, key, shape);
    two[0] = shape[0];
    two[1] = shape[1];
}

static lt_t build_conv2d(trial *t)
{
    lt_conv_config c;
    lt_conv_config_init(&c);
    pair(t, "stride", c.stride);
    pair(t, "pad", c.pad);
    pair(t, "dilation", c.dilation);
    c.groups = (int64_t)gd_number(t->c, "groups");
    return lt_conv2d(t->x[0], t->x[1], &c);
}

static lt_pool_config pool_config(const trial *t)
{
    lt_pool_config c;
    lt_pool_config_init(&c);
    pair(t, "kernel", c.kernel);
    pair(t, "stride", c.stride);
    pair(t, "pad", c.pad);
    c.count_pad = is_set(t, "count_pad");
    return c;
}

static lt_t build_max_pool2d(trial *t)
{
    lt_pool_config c = pool_config(t);
    return lt_max_pool2d(t->x[0], &c);
}

static lt_t build_avg_pool2d(trial *t)
{
    lt_pool_config c = pool_config(t);
    return lt_avg_pool2d(t->x[0], &c);
}

static lt_t build_global_avg_pool(trial *t)
{
    return lt_global_avg_pool(t->x[0]);
}

/* A param that holds what the case lists, or else `value` throughout. */
static lt_param *average(trial *t, const char *key, lt_real value)
{
    const json_t *list = json_object_get(t->c, key);
    int64_t n = lt_dim(t->x[0], -1);
    lt_param *p = NULL;
    if (lt_params_add(t->params, key, LT_F32, 1, &n, LT_STATE, &p) != LT_OK) return NULL;
    lt_real *v = lt_param_data(p);
    for (int64_t i = 0; i < n; i++)
        v[i] = is_set(t, "training") ? value : (lt_real)json_number_value(json_array_get(list, (size_t)i));
    lt_param_touch(p);
    return p;
}

static lt_t build_batch_norm(trial *t)
{
    lt_batch_norm_config c;
    lt_batch_norm_config_init(&c);
    c.eps = gd_number(t->c, "eps");
    c.momentum = gd_number(t->c, "momentum");
    c.relu = is_set(t, "relu");
    lt_training(t->g, is_set(t, "training"));
    return lt_batch_norm(t->x[0], t->x[1], t->x[2], average(t, "running_mean", 0), average(t, "running_var", 1), &c);
}

static lt_t build_group_norm(trial *t)
{
    return lt_group_norm(t->x[0], t->x[1], t->x[2], (int64_t)gd_number(t->c, "groups"), gd_number(t->c, "eps"));
}

static lt_t flat(lt_t x)
{
    return lt_reshape(x, 1, (int64_t[]){-1});
}

static lt_t build_lstm(trial *t)
{
    lt_t nil = lt_nil(t->g), *x = t->x;
    int at = is_set(t, "bias") ? 5 : 3;
    lt_recurrent r = lt_lstm(x[0], x[1], x[2], at > 3 ? x[3] : nil, at > 3 ? x[4] : nil, at < t->n ? x[at] : nil,
                             at < t->n ? x[at + 1] : nil);
    return lt_concat(3, (lt_t[]){flat(r.y), flat(r.h), flat(r.c)}, 0);
}

static lt_t build_gru(trial *t)
{
    lt_t nil = lt_nil(t->g), *x = t->x;
    int at = is_set(t, "bias") ? 5 : 3;
    lt_recurrent r = lt_gru(x[0], x[1], x[2], at > 3 ? x[3] : nil, at > 3 ? x[4] : nil, at < t->n ? x[at] : nil);
    return lt_concat(2, (lt_t[]){flat(r.y), flat(r.h)}, 0);
}

static lt_t target_input(trial *t)
{
    int64_t n = lt_dim(t->x[0], 0);
    return lt_index_input(t->g, "target", 1, &n, -1, (int32_t)lt_dim(t->x[0], 1));
}

static lt_t norm_of(const trial *t)
{
    return json_object_get(t->c, "norm") ? lt_scalar(t->g, "norm", gd_number(t->c, "norm")) : lt_nil(t->g);
}

static lt_t build_cross_entropy(trial *t)
{
    return lt_cross_entropy_smooth(t->x[0], target_input(t), norm_of(t), gd_number(t->c, "smoothing"));
}

static lt_t build_hinge(trial *t)
{
    return lt_hinge(t->x[0], target_input(t), norm_of(t), gd_number(t->c, "margin"));
}

static lt_t build_bce(trial *t)
{
    return lt_bce(t->x[0], t->x[1]);
}

static const struct {
    const char *op;
    lt_t (*build)(trial *t);
} builds[] = {
    {"conv2d", build_conv2d},
    {"max_pool2d", build_max_pool2d},
    {"avg_pool2d", build_avg_pool2d},
    {"global_avg_pool", build_global_avg_pool},
    {"batch_norm", build_batch_norm},
    {"group_norm", build_group_norm},
    {"lstm", build_lstm},
    {"gru", build_gru},
    {"cross_entropy", build_cross_entropy},
    {"hinge", build_hinge},
    {"bce", build_bce},
};

static lt_t record(trial *t)
{
    for (int i = 0; i < LTI_COUNT(builds); i++)
        if (!strcmp(builds[i].op, gd_text(t->c, "op"))) return builds[i].build(t);
    TS_CHECK(false, "%s: the file has it, this test does not", gd_text(t->c, "op"));
    return lt_nil(t->g);
}

static void input_name(int i, char name[8])
{
    snprintf(name, 8, "x%d", i);
}

static lt_status bind(lt_plan *plan, trial *t)
{
    char name[8];
    const json_t *target = json_object_get(t->c, "target");
    for (int i = 0; i < t->n; i++) {
        input_name(i, name);
        if (lt_plan_has(plan, name)) LTI_TRY(lt_bind(plan, name, t->data[i]));
    }
    for (size_t i = 0; i < json_array_size(target); i++)
        t->target[i] = (int32_t)json_integer_value(json_array_get(target, i));
    if (target) LTI_TRY(lt_bind(plan, "target", t->target));
    return lt_bind(plan, "dy", t->data[t->n]);
}

/* Batches before the one that is judged: other numbers of x. */
static lt_status run_earlier(lt_plan *plan, trial *t)
{
    static lt_real earlier[VALUES];
    const json_t *streams = json_object_get(t->c, "earlier"), *stream;
    size_t i;
    json_array_foreach(streams, i, stream)
    {
        gd_fill(earlier, lt_count(t->x[0]), (uint32_t)json_integer_value(stream), gd_number(t->c, "earlier_scale"),
                false);
        LTI_TRY(lt_bind(plan, "x0", earlier));
        LTI_TRY(lt_run(plan));
    }
    return LT_OK;
}

static void judge(const trial *t, const lt_plan *plan, const char *what, const int *input_of, int n)
{
    const double tolerance = ts_tolerance(1e-9, 1e-4);
    char label[128];
    gd_array(lt_result(plan, 0), json_object_get(t->c, "y"), tolerance, what);
    for (int k = 1; k < n; k++) {
        snprintf(label, sizeof label, "%s: gradient of input %d", what, input_of[k]);
        const json_t *want = json_array_get(json_object_get(t->c, "gradients"), (size_t)input_of[k]);
        gd_array(lt_result(plan, k), want, tolerance, label);
    }
    for (int i = 0; i < lt_params_count(t->params); i++) {
        const lt_param *p = lt_params_at(t->params, i);
        snprintf(label, sizeof label, "%s: %s", what, lt_param_name(p));
        gd_array(lt_param_read(p), json_object_get(t->c, lt_param_name(p)), tolerance, label);
    }
}

static void compare(trial *t, const char *what)
{
    int64_t shape[LT_MAX_RANK];
    int rank = gd_shape(t->c, "shape", shape), input_of[1 + INPUTS], n = 1;
    lt_t y = record(t), dx[INPUTS], out[1 + INPUTS] = {y};
    lt_plan *plan = NULL;
    gd_fill(t->data[t->n], gd_count(rank, shape), (uint32_t)t->n, 1, false);
    lt_grad_seeded(y, lt_input(t->g, "dy", LT_F32, rank, shape), t->n, t->x, dx);
    for (int i = 0; i < t->n; i++) {
        if (json_is_null(json_array_get(json_object_get(t->c, "gradients"), (size_t)i))) continue;
        input_of[n] = i;
        out[n++] = dx[i];
    }
    lt_status status = lt_compile(t->g, NULL, n, out, &plan);
    if (status == LT_OK) status = bind(plan, t);
    if (status == LT_OK) status = run_earlier(plan, t);
    if (status == LT_OK) status = bind(plan, t);
    if (status == LT_OK) status = lt_run(plan);
    if (TS_CHECK(status == LT_OK, "%s: %s", what, lt_ctx_message(t->ctx))) judge(t, plan, what, input_of, n);
    lt_plan_free(plan);
}

static void run_case(trial *t, size_t index)
{
    const json_t *inputs = json_object_get(t->c, "inputs");
    char what[64], name[8];
    snprintf(what, sizeof what, "case %zu, %s", index, gd_text(t->c, "op"));
    t->n = (int)json_array_size(inputs);
    if (!TS_OK(t->ctx, lt_params_create(t->ctx, &t->params)) ||
        !TS_OK(t->ctx, lt_graph_create(t->ctx, t->params, &t->g)))
        return;
    for (int i = 0; i < t->n; i++) {
        const json_t *in = json_array_get(inputs, (size_t)i);
        int64_t shape[LT_MAX_RANK];
        int rank = gd_shape(in, "shape", shape);
        gd_fill(t->data[i], gd_count(rank, shape), (uint32_t)i, gd_number(in, "scale"),
                json_is_true(json_object_get(in, "gain")));
        input_name(i, name);
        t->x[i] = lt_input(t->g, name, LT_F32, rank, shape);
    }
    compare(t, what);
    lt_graph_free(t->g);
    lt_params_free(t->params);
}

static void test_layers(void)
{
    json_t *root = gd_load("layers.json");
    trial *t = calloc(1, sizeof *t);
    const json_t *c;
    size_t i;
    if (!t) abort();
    t->ctx = lt_ctx_create(NULL);
    TS_CHECK(json_array_size(json_object_get(root, "cases")) > 30, "the file has few cases");
    json_array_foreach(json_object_get(root, "cases"), i, c)
    {
        t->c = c;
        run_case(t, i);
    }
    TS_CHECK(lt_ctx_live_bytes(t->ctx) == 0, "%zu bytes stay allocated", lt_ctx_live_bytes(t->ctx));
    lt_ctx_free(t->ctx);
    free(t);
    json_decref(root);
}

int lti_suite_layer_goldens(void)
{
    return ts_suite("layer_goldens", 1, (ts_test[]){{"layers", test_layers}});
}
