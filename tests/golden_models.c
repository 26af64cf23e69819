/* golden_models.c - whole models against PyTorch: first losses and gradients, and trainings. */
#include "lathe/attach.h"
#include "lathe/models.h"
#include "lathe/optim.h"
#include "tests/golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A case of a file: its model, its parameters with the weights both sides make, and its micro-batches. */
typedef struct task {
    const json_t *json;
    const char *name;
    lt_ctx *ctx;
    lt_params *params;
    bool llama, lattice; /* lattice: linear layers on Q4_0 */
    lt_transformer_config config;
    int64_t B, T; /* T is 1 for the perceptron */
    lt_real *x;   /* perceptron: [B, 64] */
    int32_t *tokens[2], *targets[2];
    int64_t unmasked[2];
} task;

static void add_weights(task *t)
{
    const json_t *tensor;
    size_t i;
    json_array_foreach(json_object_get(t->json, "tensors"), i, tensor)
    {
        lt_param *param;
        int64_t shape[LT_MAX_RANK];
        int rank = gd_shape(tensor, "shape", shape);
        if (!TS_OK(t->ctx, lt_params_add(t->params, gd_text(tensor, "name"), LT_F32, rank, shape, LT_WEIGHT, &param)))
            return;
        gd_fill(lt_param_data(param), lt_param_count(param), (uint32_t)i, gd_number(tensor, "scale"),
                json_is_true(json_object_get(tensor, "gain")));
        lt_param_touch(param);
    }
}

static void make_batch(task *t, int micro, const json_t *batch)
{
    int64_t n = t->B * t->T;
    uint32_t vocab = (uint32_t)t->config.vocab, bound = (uint32_t)gd_number(batch, "mask_bound");
    int32_t *mask = calloc((size_t)n, sizeof *mask);
    t->tokens[micro] = calloc((size_t)n, sizeof(int32_t));
    t->targets[micro] = calloc((size_t)n, sizeof(int32_t));
    gd_fill_int(t->tokens[micro], n, (uint32_t)gd_number(batch, "tokens"), vocab);
    gd_fill_int(t->targets[micro], n, (uint32_t)gd_number(batch, "targets"), vocab);
    gd_fill_int(mask, n, (uint32_t)gd_number(batch, "mask"), bound);
    for (int64_t i = 0; i < n; i++) {
        if (mask[i] == 0) t->targets[micro][i] = -1;
        t->unmasked[micro] += mask[i] != 0;
    }
    free(mask);
}

static void open_llama(task *t)
{
    const json_t *c = t->json, *batches = json_object_get(c, "batches");
    int64_t shape[LT_MAX_RANK];
    lt_transformer_config_init(&t->config, LT_LLAMA);
    t->config.vocab = (int64_t)gd_number(c, "vocab");
    t->config.dim = (int64_t)gd_number(c, "dim");
    t->config.hidden = (int64_t)gd_number(c, "hidden");
    t->config.layers = (int64_t)gd_number(c, "layers");
    t->config.heads = (int64_t)gd_number(c, "heads");
    t->config.kv_heads = (int64_t)gd_number(c, "kv_heads");
    t->config.rope_theta = gd_number(c, "theta");
    t->config.norm_eps = gd_number(c, "eps");
    t->config.tied = json_is_true(json_object_get(c, "tied"));
    t->config.rope_interleaved = json_is_true(json_object_get(c, "interleaved"));
    gd_shape(json_array_get(batches, 0), "shape", shape);
    t->B = shape[0];
    t->T = shape[1];
    for (int i = 0; i < 2; i++) make_batch(t, i, json_array_get(batches, (size_t)i));
}

static void open_mlp(task *t)
{
    const json_t *x = json_object_get(t->json, "x"), *target = json_object_get(t->json, "target");
    int64_t shape[LT_MAX_RANK], n = gd_count(gd_shape(x, "shape", shape), shape);
    t->B = t->unmasked[0] = shape[0];
    t->T = 1;
    t->x = calloc((size_t)n, sizeof(lt_real));
    t->targets[0] = calloc((size_t)t->B, sizeof(int32_t));
    gd_fill(t->x, n, (uint32_t)gd_number(x, "stream"), gd_number(x, "scale"), false);
    gd_fill_int(t->targets[0], t->B, (uint32_t)gd_number(target, "stream"), (uint32_t)gd_number(target, "bound"));
}

static bool open_task(task *t, const json_t *c)
{
    *t = (task){.json = c, .llama = json_object_get(c, "layers")};
    t->name = t->llama ? gd_text(c, "name") : "mlp";
    t->lattice = strncmp(t->name, "q4_0", 4) == 0;
    t->ctx = lt_ctx_create(NULL);
    if (!TS_OK(t->ctx, lt_params_create(t->ctx, &t->params))) return false;
    add_weights(t);
    if (t->llama)
        open_llama(t);
    else
        open_mlp(t);
    return true;
}

static void close_task(task *t)
{
    for (int i = 0; i < 2; i++) {
        free(t->tokens[i]);
        free(t->targets[i]);
    }
    free(t->x);
    lt_params_free(t->params);
    TS_CHECK(lt_ctx_live_bytes(t->ctx) == 0, "%s: %zu bytes stay allocated", t->name, lt_ctx_live_bytes(t->ctx));
    lt_ctx_free(t->ctx);
}

static lt_t to_q4_0(lt_t w, const lt_site *site, void *config)
{
    (void)site, (void)config;
    return lt_quantize(w, LT_Q4_0);
}

/* Records the model; *loss is sum of the negative log-likelihoods / "norm". */
static void record(task *t, lt_graph *g, lt_t *logits, lt_t *loss)
{
    lt_t norm = lt_scalar(g, "norm", (double)t->unmasked[0]);
    if (t->lattice)
        lt_attach(g, &(lt_attachment){.size = sizeof(lt_attachment), .kinds = LT_SITE_LINEAR, .weight = to_q4_0});
    if (t->llama) {
        int64_t shape[] = {t->B, t->T};
        lt_t tokens = lt_index_input(g, "tokens", 2, shape, 0, (int32_t)t->config.vocab);
        lt_t targets = lt_index_input(g, "targets", 2, shape, -1, (int32_t)t->config.vocab);
        *logits = lt_transformer_head(g, &t->config,
                                      lt_transformer_hidden(g, &t->config, &(lt_model_input){.tokens = tokens}));
        *loss = lt_transformer_loss(g, &t->config, &(lt_model_input){.tokens = tokens}, targets, norm);
    } else {
        lt_mlp_config config;
        lt_mlp_config_init(&config);
        config.inputs = 64, config.classes = 10, config.n_hidden = 1, config.hidden[0] = 32;
        *logits = lt_mlp_logits(g, &config, lt_input(g, "x", LT_F32, 2, (int64_t[]){t->B, 64}));
        *loss = lt_cross_entropy(*logits, lt_index_input(g, "targets", 1, &t->B, -1, 10), norm);
    }
}

static lt_status bind_batch(task *t, lt_plan *plan, int micro)
{
    lt_status status = t->llama ? LT_OK : lt_bind(plan, "x", t->x);
    if (t->llama && status == LT_OK) status = lt_bind(plan, "tokens", t->tokens[micro]);
    return status == LT_OK ? lt_bind(plan, "targets", t->targets[micro]) : status;
}

static double square_sum(const lt_real *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sum;
}

static void judge_logits(const task *t, const lt_real *z, int64_t n)
{
    const json_t *want = json_object_get(t->json, "logits"), *index;
    double sum = 0, tolerance = ts_tolerance(1e-12, 2e-5);
    size_t i;
    for (int64_t k = 0; k < n; k++) sum += (double)z[k];
    gd_near(sum, gd_number(want, "sum"), 10 * tolerance, "sum of the logits");
    gd_near(square_sum(z, n), gd_number(want, "sumsq"), tolerance, "sum of the squared logits");
    json_array_foreach(json_object_get(want, "index"), i, index)
    {
        double one = json_number_value(json_array_get(json_object_get(want, "value"), i));
        gd_near((double)z[json_integer_value(index)], one, tolerance, "logit %lld",
                (long long)json_integer_value(index));
    }
}

enum { MAX_TENSORS = 32 };

/* Before any step: logits, the loss and the norm of each tensor's gradient. */
static void judge_start(task *t)
{
    const json_t *run = json_array_get(json_object_get(t->json, "runs"), 0);
    lt_graph *g = NULL;
    lt_plan *plan = NULL;
    lt_t out[2 + MAX_TENSORS], w[MAX_TENSORS];
    int n = lt_params_count(t->params);
    if (!TS_OK(t->ctx, lt_graph_create(t->ctx, t->params, &g))) return;
    record(t, g, &out[0], &out[1]);
    int64_t n_logits = lt_count(out[0]);
    for (int i = 0; i < n; i++) w[i] = lt_param_value(g, lt_params_at(t->params, i));
    lt_grad(out[1], n, w, out + 2);
    if (TS_OK(t->ctx, lt_compile(g, NULL, 2 + n, out, &plan)) && TS_OK(t->ctx, bind_batch(t, plan, 0)) &&
        TS_OK(t->ctx, lt_run(plan))) {
        judge_logits(t, lt_result(plan, 0), n_logits);
        gd_near((double)*(const lt_real *)lt_result(plan, 1),
                json_number_value(json_array_get(json_object_get(run, "losses"), 0)), ts_tolerance(1e-12, 1e-5),
                "first loss");
        for (int i = 0; i < n; i++) {
            lt_param *param = lt_params_at(t->params, i);
            gd_near(sqrt(square_sum(lt_result(plan, 2 + i), lt_param_count(param))),
                    gd_number(json_object_get(run, "gradient_norms"), lt_param_name(param)), ts_tolerance(1e-12, 1e-5),
                    "%s", lt_param_name(param));
        }
    }
    lt_plan_free(plan);
    lt_graph_free(g);
}

/* Calls `judge` on every case of a file. */
static void each_case(const char *file, void (*judge)(task *))
{
    json_t *root = gd_load(file), *cases = root ? json_object_get(root, "cases") : NULL;
    for (size_t i = 0; root && i < (cases ? json_array_size(cases) : 1); i++) {
        task t;
        if (open_task(&t, cases ? json_array_get(cases, i) : root)) judge(&t);
        close_task(&t);
    }
    json_decref(root);
}

void gd_test_start(void)
{
    each_case("mlp.json", judge_start);
    each_case("llama.json", judge_start);
    each_case("qat.json", judge_start);
}

/* ---- Training ---- */

/* One training: `step` runs forward and backward, and the update when fused; else `update` does that. */
typedef struct trainer {
    task t;
    const json_t *run;
    bool split;
    lt_optimizer *optimizer;
    lt_graph *graphs[2];
    lt_plan *step, *update;
} trainer;

static void describe(const trainer *r, char *what, size_t size)
{
    snprintf(what, size, "%s, %s%s%s, %s", r->t.name, gd_text(r->run, "optimizer"),
             json_is_true(json_object_get(r->run, "nesterov")) ? " nesterov" : "",
             json_object_get(r->run, "micro_batches") ? " over two micro-batches" : "", r->split ? "split" : "fused");
}

static lt_status make_optimizer(trainer *r)
{
    lt_optimizer_config config;
    lt_optimizer_config_init(&config);
    if (strcmp(gd_text(r->run, "optimizer"), "sgd") == 0) {
        config.kind = LT_SGD;
        config.momentum = gd_number(r->run, "momentum");
        config.nesterov = json_is_true(json_object_get(r->run, "nesterov"));
    } else {
        config.beta1 = gd_number(r->run, "beta1");
        config.beta2 = gd_number(r->run, "beta2");
        config.eps = gd_number(r->run, "eps");
    }
    config.weight_decay = gd_number(r->run, "weight_decay");
    config.max_grad_norm = gd_number(r->run, "clip_norm");
    return lt_optimizer_create(r->t.ctx, r->t.params, &config, &r->optimizer);
}

static lt_status make_plans(trainer *r)
{
    lt_ctx *ctx = r->t.ctx;
    lt_t logits, loss;
    lt_status status = lt_graph_create(ctx, r->t.params, &r->graphs[0]);
    if (status != LT_OK) return status;
    record(&r->t, r->graphs[0], &logits, &loss);
    if (!r->split) {
        status = lt_optimizer_fused(r->optimizer, r->graphs[0], loss);
        return status == LT_OK ? lt_compile(r->graphs[0], NULL, 1, &loss, &r->step) : status;
    }
    status = lt_optimizer_accumulate(r->optimizer, r->graphs[0], loss);
    if (status == LT_OK) status = lt_compile(r->graphs[0], NULL, 1, &loss, &r->step);
    if (status == LT_OK) status = lt_graph_create(ctx, r->t.params, &r->graphs[1]);
    if (status == LT_OK) status = lt_optimizer_apply(r->optimizer, r->graphs[1]);
    lt_t norm = status == LT_OK ? lt_tapped(r->graphs[1], "grad_norm") : lt_nil(r->graphs[1]);
    return status == LT_OK ? lt_compile(r->graphs[1], NULL, 1, &norm, &r->update) : status;
}

/* One step; *loss receives the sum over its micro-batches, *norm that of the gradient (split only). */
static lt_status train_step(trainer *r, int64_t number, double *loss, double *norm)
{
    int n = json_object_get(r->run, "micro_batches") ? 2 : 1;
    lt_plan *writes = r->split ? r->update : r->step;
    double rows = (double)(r->t.unmasked[0] + (n == 2 ? r->t.unmasked[1] : 0));
    lt_status status = lt_set(writes, "lr", gd_number(r->run, "lr"));
    if (status == LT_OK && lt_plan_has(writes, "step")) status = lt_set(writes, "step", (double)number);
    if (status == LT_OK) status = lt_set(r->step, "norm", rows);
    *loss = *norm = 0;
    for (int micro = 0; micro < n && status == LT_OK; micro++) {
        status = bind_batch(&r->t, r->step, micro);
        if (status == LT_OK && r->split) status = lt_set(r->step, "fresh", micro == 0);
        if (status == LT_OK) status = lt_run(r->step);
        if (status == LT_OK) *loss += (double)*(const lt_real *)lt_result(r->step, 0);
    }
    if (status == LT_OK && r->split) {
        status = lt_run(r->update);
        if (status == LT_OK) *norm = (double)*(const lt_real *)lt_result(r->update, 0);
    }
    return status;
}

static void judge_final(const trainer *r, const char *what, double tolerance)
{
    const char *name;
    json_t *want;
    json_object_foreach(json_object_get(r->run, "final"), name, want)
    {
        lt_param *param = lt_params_find(r->t.params, name);
        const lt_real *w = lt_param_read(param);
        int64_t n = lt_param_count(param);
        double sum = 0;
        for (int64_t i = 0; i < n; i++) sum += (double)w[i];
        gd_near(sum, gd_number(want, "sum"), 10 * tolerance, "%s: final sum of %s", what, name);
        gd_near(square_sum(w, n), gd_number(want, "sumsq"), tolerance, "%s: final sum of squares of %s", what, name);
        gd_array(w, json_object_get(want, "first"), tolerance, name);
    }
}

static void train(trainer *r)
{
    char what[160];
    bool adamw = strcmp(gd_text(r->run, "optimizer"), "adamw") == 0;
    double tolerance = ts_tolerance(1e-9, adamw ? 1e-4 : 1e-5), loss, norm;
    describe(r, what, sizeof what);
    if (!TS_OK(r->t.ctx, make_optimizer(r)) || !TS_OK(r->t.ctx, make_plans(r))) return;
    const json_t *losses = json_object_get(r->run, "losses"), *norms = json_object_get(r->run, "norms");
    for (size_t i = 0; i < json_array_size(losses); i++) {
        if (!TS_OK(r->t.ctx, train_step(r, (int64_t)i + 1, &loss, &norm))) return;
        gd_near(loss, json_number_value(json_array_get(losses, i)), tolerance, "%s: loss %zu", what, i + 1);
        if (r->split)
            gd_near(norm, json_number_value(json_array_get(norms, i)), 10 * tolerance, "%s: norm %zu", what, i + 1);
    }
    judge_final(r, what, 10 * tolerance);
}

static void train_fresh(const json_t *c, const json_t *run, bool split)
{
    trainer r = {.run = run, .split = split};
    if (open_task(&r.t, c)) train(&r);
    lt_plan_free(r.step);
    lt_plan_free(r.update);
    lt_graph_free(r.graphs[0]);
    lt_graph_free(r.graphs[1]);
    lt_optimizer_free(r.optimizer);
    close_task(&r.t);
}

/* Every run of every case: updates in a plan of their own and, where that can be, fused into the backward. */
static void train_all(const char *file)
{
    json_t *root = gd_load(file), *cases = root ? json_object_get(root, "cases") : NULL;
    for (size_t i = 0; root && i < (cases ? json_array_size(cases) : 1); i++) {
        const json_t *c = cases ? json_array_get(cases, i) : root, *run;
        size_t k;
        json_array_foreach(json_object_get(c, "runs"), k, run)
        {
            train_fresh(c, run, true);
            if (!json_object_get(run, "micro_batches") && gd_number(run, "clip_norm") == 0) train_fresh(c, run, false);
        }
    }
    json_decref(root);
}

void gd_test_mlp(void)
{
    train_all("mlp.json");
}

void gd_test_llama(void)
{
    train_all("llama.json");
}

void gd_test_qat(void)
{
    train_all("qat.json");
}

/* ---- A published model ---- */

/* Logits of the first story, all of them; the file holds the float64 model's. */
static void judge_stories(lt_ctx *ctx, lt_model *model, const json_t *want, const float *logits)
{
    const json_t *ids = json_object_get(want, "tokens");
    int64_t T = (int64_t)json_array_size(ids), V = json_integer_value(json_object_get(want, "vocab"));
    int32_t *tokens = calloc((size_t)T, sizeof *tokens);
    for (int64_t i = 0; i < T; i++) tokens[i] = (int32_t)json_integer_value(json_array_get(ids, (size_t)i));
    const lt_transformer_config *config = lt_model_config(model);
    lt_graph *g = NULL;
    lt_plan *plan = NULL;
    if (TS_OK(ctx, lt_graph_create(ctx, lt_model_params(model), &g))) {
        lt_t x = lt_index_input(g, "tokens", 2, (int64_t[]){1, T}, 0, (int32_t)V);
        lt_t z = lt_transformer_head(g, config,
                                     lt_transformer_hidden(g, config, &(lt_model_input){.tokens = x})); /* [1, T, V] */
        TS_CHECK(lt_count(z) == T * V, "stories260K: %lld logits, %lld wanted", (long long)lt_count(z),
                 (long long)(T * V));
        if (lt_count(z) == T * V && TS_OK(ctx, lt_compile(g, NULL, 1, &z, &plan)) &&
            TS_OK(ctx, lt_bind(plan, "tokens", tokens)) && TS_OK(ctx, lt_run(plan))) {
            const lt_real *got = lt_result(plan, 0);
            double apart = 0;
            for (int64_t i = 0; i < T * V && !isnan(apart); i++) {
                double e = fabs((double)got[i] - (double)logits[i]);
                if (!(e <= apart)) apart = e;
            }
            TS_CHECK(apart <= 2e-4, "stories260K: a logit is %.3g from PyTorch's; 2e-4 is allowed", apart);
        }
    }
    lt_plan_free(plan);
    lt_graph_free(g);
    free(tokens);
}

/* The logits beside the JSON, [positions, vocab], as many as it says; NULL and a failed check otherwise. */
static float *load_logits(const json_t *want)
{
    char path[1024];
    size_t n = (size_t)json_integer_value(json_object_get(want, "positions")) *
               (size_t)json_integer_value(json_object_get(want, "vocab"));
    float *logits = calloc(n ? n : 1, sizeof *logits);
    snprintf(path, sizeof path, "%s/%s", gd_directory(), gd_text(want, "logits"));
    FILE *file = fopen(path, "rb");
    size_t got = file ? fread(logits, sizeof *logits, n, file) : 0;
    if (file) fclose(file);
    if (TS_CHECK(n > 0 && got == n, "%s: %zu logits, %zu wanted", path, got, n)) return logits;
    free(logits);
    return NULL;
}

void gd_test_stories(void)
{
    const char *data = getenv("LT_DATA");
    char path[1024];
    snprintf(path, sizeof path, "%s/models/stories260K/hf", data ? data : "../shared/data");
    if (access(path, R_OK) != 0) {
        printf("\n    SKIPPED: no %s; set LT_DATA\n", path);
        return;
    }
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_model *model = NULL;
    json_t *want = gd_load("stories260K.json");
    float *logits = want ? load_logits(want) : NULL;
    if (logits && TS_OK(ctx, lt_model_open(ctx, path, &model))) judge_stories(ctx, model, want, logits);
    lt_model_free(model);
    free(logits);
    json_decref(want);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "stories260K: %zu bytes stay allocated", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}
