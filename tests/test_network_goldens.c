/* test_network_goldens.c - small networks of every kind against PyTorch: tests/golden/networks, which
 * scripts/goldens_networks.py writes and describes. The directories open as they are, so names and shapes of the tensors
 * are PyTorch's; then logits, the loss with smoothed labels, every gradient, and where the running averages went. */
#include "tests/golden.h"
#include "tests/toys.h"

#include <math.h>

static const char *const cases[] = {"residual", "depthwise", "mlp", "lstm", "gru"};

enum { MAX_TENSORS = 80, ROWS = 4, CLASSES = 3 };

typedef struct subject {
    lt_ctx *ctx;
    const char *name;
    lt_model *model;
    lt_tensors *golden;
    lt_real *x;
    int rank;
    int64_t shape[LT_MAX_RANK]; /* of x */
} subject;

/* To be freed; NULL, and a failed check, when it is not there. */
static lt_real *golden_reals(const subject *s, const char *kind, const char *name, int64_t *count)
{
    char full[160];
    snprintf(full, sizeof full, "%s%s", kind, name);
    int i = lt_tensors_find(s->golden, full);
    if (!TS_CHECK(i >= 0, "%s: the golden file has no '%s'", s->name, full)) return NULL;
    *count = lt_tensors_elements(s->golden, i);
    lt_real *reals = calloc((size_t)*count, sizeof *reals);
    TS_OK(s->ctx, lt_tensors_load_real(s->golden, i, reals));
    return reals;
}

/* got against the golden array, within a share of its largest element. */
static void judge(const subject *s, const char *kind, const char *name, int64_t count, const lt_real *got)
{
    int64_t n;
    lt_real *want = golden_reals(s, kind, name, &n);
    double worst = 0, scale = 0;
    for (int64_t i = 0; want && i < n; i++) scale = fmax(scale, fabs((double)want[i]));
    for (int64_t i = 0; want && i < n && n == count; i++) {
        double d = fabs((double)got[i] - (double)want[i]);
        if (!(d <= worst)) worst = isnan(d) ? INFINITY : d;
    }
    TS_CHECK(want && n == count && worst <= ts_tolerance(1e-9, 1e-4) * scale,
             "%s: %s%s is %g of its largest element away (%lld elements)", s->name, kind, name, worst / scale,
             (long long)count);
    free(want);
}

static bool open_subject(subject *s)
{
    char path[600], golden[700];
    int64_t n;
    snprintf(path, sizeof path, "%s/networks/%s", gd_directory(), s->name);
    snprintf(golden, sizeof golden, "%s/golden.safetensors", path);
    if (!TS_OK(s->ctx, lt_tensors_open(s->ctx, golden, &s->golden))) return false;
    /* golden.safetensors lies beside the model's file, and is none of its shards */
    if (!TS_OK(s->ctx, lt_model_open(s->ctx, path, &s->model))) return false;
    int i = lt_tensors_find(s->golden, "x");
    s->rank = lt_tensors_rank(s->golden, i);
    memcpy(s->shape, lt_tensors_shape(s->golden, i), (size_t)s->rank * sizeof *s->shape);
    s->x = golden_reals(s, "", "x", &n);
    return s->x != NULL;
}

static void judge_logits(subject *s)
{
    lt_graph *g;
    lt_plan *plan = NULL;
    if (!TS_OK(s->ctx, lt_graph_create(s->ctx, lt_model_params(s->model), &g))) return;
    lt_training(g, false);
    lt_t y = lt_model_logits(s->model, g, &(lt_model_input){.x = lt_input(g, "x", LT_F32, s->rank, s->shape)});
    if (TS_OK(s->ctx, ts_compile(g, TS_PLANNED, 1, &y, &plan)) && TS_OK(s->ctx, lt_bind(plan, "x", s->x)) &&
        TS_OK(s->ctx, lt_run(plan)))
        judge(s, "", "logits", ROWS * CLASSES, lt_result(plan, 0));
    lt_plan_free(plan);
    lt_graph_free(g);
}

/* Results 0 .. n - 1 are gradients, n is the loss. */
static void judge_step(const subject *s, const lt_plan *plan, int n, lt_param *const *trained)
{
    judge(s, "", "loss", 1, lt_result(plan, n));
    for (int i = 0; i < n; i++)
        judge(s, "grad.", lt_param_name(trained[i]), lt_param_count(trained[i]), lt_result(plan, i));
    const lt_params *params = lt_model_params(s->model);
    for (int i = 0; i < lt_params_count(params); i++) {
        const lt_param *p = lt_params_at(params, i);
        if (!lt_param_trainable(p)) judge(s, "after.", lt_param_name(p), lt_param_count(p), lt_param_read(p));
    }
}

static void judge_training(subject *s)
{
    static const int32_t targets[ROWS] = {0, 2, 1, 2};
    lt_params *params = lt_model_params(s->model);
    lt_param *trained[MAX_TENSORS];
    lt_t w[MAX_TENSORS], out[MAX_TENSORS + 1];
    lt_graph *g;
    lt_plan *plan = NULL;
    int n = 0;
    if (!TS_OK(s->ctx, lt_graph_create(s->ctx, params, &g))) return;
    lt_t target = lt_index_input(g, "targets", 1, (int64_t[]){ROWS}, -1, CLASSES);
    lt_model_input in = {.x = lt_input(g, "x", LT_F32, s->rank, s->shape)};
    lt_t loss = lt_model_loss_smooth(s->model, g, &in, target, lt_nil(g), 0.1);
    for (int i = 0; i < lt_params_count(params) && n < MAX_TENSORS; i++)
        if (lt_param_trainable(lt_params_at(params, i))) trained[n++] = lt_params_at(params, i);
    for (int i = 0; i < n; i++) w[i] = lt_param_value(g, trained[i]);
    lt_grad(loss, n, w, out);
    out[n] = loss;
    if (TS_OK(s->ctx, ts_compile(g, TS_PLANNED, n + 1, out, &plan)) && TS_OK(s->ctx, lt_bind(plan, "x", s->x)) &&
        TS_OK(s->ctx, lt_bind(plan, "targets", targets)) && TS_OK(s->ctx, lt_run(plan)))
        judge_step(s, plan, n, trained);
    lt_plan_free(plan);
    lt_graph_free(g);
}

static void each_network(void)
{
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        subject s = {.ctx = lt_ctx_create(NULL), .name = cases[i]};
        if (open_subject(&s)) {
            judge_logits(&s);
            judge_training(&s);
        }
        free(s.x);
        lt_model_free(s.model);
        lt_tensors_close(s.golden);
        TS_CHECK(lt_ctx_live_bytes(s.ctx) == 0, "%s: %zu bytes leak", s.name, lt_ctx_live_bytes(s.ctx));
        lt_ctx_free(s.ctx);
    }
}

int lti_suite_network_goldens(void)
{
    return ts_suite("network_goldens", 1, (ts_test[]){{"every kind of network as PyTorch has it", each_network}}) ||
           toy_one_thread("network_goldens");
}
