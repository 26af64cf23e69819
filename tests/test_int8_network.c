/* test_int8_network.c - convolutional networks in integers against the graph that simulates them; rows on their own,
 * threads, providers; files and their proof, damaged files, failing allocations, refusals. */
#include "base/par.h"
#include "kernels/conv.h"
#include "lathe/int8.h"
#include "lathe/nn.h"
#include "tests/data_files.h"

#include <math.h>

enum { SIDE = 9, CHANNELS = 2, IMAGES = 21, PIXELS = SIDE * SIDE * CHANNELS, CLASSES = 5 };

static lt_quant_policy policy_of(int bits)
{
    lt_quant_policy p;
    lt_quant_policy_init(&p);
    p.weights = (lt_scheme){.kind = LT_SCHEME_INT, .bits = bits, .per = LT_PER_CHANNEL};
    p.activations = LT_ACT_INT8_STATIC;
    p.calibrate = true;
    return p;
}

static lt_cnn_config config_of(lt_cnn_kind kind, int64_t blocks)
{
    lt_cnn_config c;
    lt_cnn_config_init(&c);
    c.kind = kind, c.height = c.width = SIDE, c.channels = CHANNELS, c.classes = CLASSES;
    c.filters = 6, c.stages = 2, c.blocks = blocks;
    return c;
}

/* Weights, statistics and all that a training would have left, folded. */
static lt_status fill_cnn(lt_params *params, const lt_cnn_config *c, bool folds)
{
    lt_status status = lt_cnn_params(params, c, 3);
    for (int i = 0; i < lt_params_count(params) && status == LT_OK; i++) {
        lt_param *p = lt_params_at(params, i);
        const char *name = lt_param_name(p);
        lt_real *x = lt_param_data(p);
        for (int64_t k = 0; lt_param_rank(p) == 1 && k < lt_param_count(p); k++)
            x[k] = (lt_real)(strstr(name, "var") || strstr(name, "weight") ? 0.5 + ts_uniform(name, k)
                                                                           : 0.2 * ts_normal(name, k));
        lt_param_touch(p);
    }
    return status == LT_OK && folds ? lt_cnn_fold(params, c) : status;
}

/* Logits by the graph that simulates; it observes the first time. */
static lt_status simulate(lt_params *params, const lt_cnn_config *c, const lt_quant_policy *policy, const lt_real *x,
                          lt_real *logits)
{
    lt_graph *g;
    lt_plan *plan = NULL;
    lt_status status = lt_graph_create(lt_params_ctx(params), params, &g);
    if (status != LT_OK) return status;
    lt_training(g, false);
    if (policy) lt_qat_attach(g, policy);
    lt_t z = lt_cnn_logits(g, c, lt_input(g, "x", LT_F32, 4, (int64_t[]){IMAGES, SIDE, SIDE, CHANNELS}));
    status = lt_compile(g, NULL, 1, &z, &plan);
    if (status == LT_OK) status = lt_bind(plan, "x", x);
    if (status == LT_OK) status = lt_run(plan);
    if (status == LT_OK) memcpy(logits, lt_result(plan, 0), IMAGES * CLASSES * sizeof *logits);
    lt_plan_free(plan);
    lt_graph_free(g);
    return status;
}

static void fill_images(lt_real *x, bool is_signed)
{
    for (int64_t i = 0; i < IMAGES * PIXELS; i++)
        x[i] = (lt_real)(is_signed ? ts_normal("image", i) : ts_uniform("image", i));
}

/* The integers give what the graph gives, but for sums in float and the codes at ties that they tip. */
static void cnn_as_simulated(void)
{
    static lt_real x[IMAGES * PIXELS], real[IMAGES * CLASSES], want[IMAGES * CLASSES], got[IMAGES * CLASSES];
    for (int turn = 0; turn < 8; turn++) {
        lt_cnn_config c = config_of(turn & 1 ? LT_CNN_DEPTHWISE : LT_CNN_RESIDUAL, turn & 2 ? 2 : 1);
        lt_quant_policy policy = policy_of(turn & 4 ? 4 : 8);
        ts_bed t;
        lt_int8 *net = NULL;
        if (!ts_bed_make(&t)) return;
        fill_images(x, turn & 2);
        lt_ctx *ctx = t.ctx;
        bool ok = TS_OK(ctx, fill_cnn(t.params, &c, true)) && TS_OK(ctx, simulate(t.params, &c, NULL, x, real)) &&
                  TS_OK(ctx, simulate(t.params, &c, &policy, x, want)) &&
                  TS_OK(ctx, lt_int8_cnn(t.params, &c, &policy, turn % 3 * 4, &net)) &&
                  TS_OK(ctx, lt_int8_run(net, IMAGES, x, NULL, got));
        if (ok) {
            double spread = ts_distance_real(IMAGES * CLASSES, real, want),
                   off = ts_distance_real(IMAGES * CLASSES, got, want);
            TS_CHECK(off < 0.01 && off < spread / 2, "case %d: %g from what was simulated; rounding changed it by %g",
                     turn, off, spread);
            TS_CHECK(lt_int8_outputs(net) == CLASSES, "%lld outputs", (long long)lt_int8_outputs(net));
        }
        lt_int8_free(net);
        ts_bed_drop(&t);
    }
}

static bool made_cnn(ts_bed *t, int bits, const lt_real *x, lt_int8 **net)
{
    static lt_real unused[IMAGES * CLASSES];
    lt_cnn_config c = config_of(LT_CNN_RESIDUAL, 1);
    lt_quant_policy policy = policy_of(bits);
    *net = NULL;
    return ts_bed_make(t) && TS_OK(t->ctx, fill_cnn(t->params, &c, true)) &&
           TS_OK(t->ctx, simulate(t->params, &c, &policy, x, unused)) &&
           TS_OK(t->ctx, lt_int8_cnn(t->params, &c, &policy, 4, net));
}

/* One by one, by two threads, by plain C: the same bits. */
static void rows_on_their_own(void)
{
    static lt_real x[IMAGES * PIXELS], all[IMAGES * CLASSES], one[IMAGES * CLASSES];
    ts_bed t;
    lt_int8 *net, *plain = NULL;
    fill_images(x, false);
    lti_par_beyond(true);
    int before = lt_threads();
    lt_set_threads(2);
    if (made_cnn(&t, 8, x, &net) && TS_OK(t.ctx, lt_int8_run(net, IMAGES, x, NULL, all))) {
        for (int i = 0; i < IMAGES; i++) TS_OK(t.ctx, lt_int8_run(net, 1, x + i * PIXELS, NULL, one + i * CLASSES));
        TS_CHECK(ts_same_bytes(sizeof all, all, one), "an image alone has other logits");
        lt_set_threads(1);
        TS_OK(t.ctx, lt_int8_run(net, IMAGES, x, NULL, one));
        TS_CHECK(ts_same_bytes(sizeof all, all, one), "one thread gives other logits than two");
        TS_OK(t.ctx, lt_int8_run(net, 0, x, NULL, one));
        lti_conv_force("ref");
        lt_cnn_config c = config_of(LT_CNN_RESIDUAL, 1);
        lt_quant_policy policy = policy_of(8);
        if (TS_OK(t.ctx, lt_int8_cnn(t.params, &c, &policy, 3, &plain)) &&
            TS_OK(t.ctx, lt_int8_run(plain, IMAGES, x, NULL, one)))
            TS_CHECK(ts_same_bytes(sizeof all, all, one), "%s and %s differ", lt_int8_provider(net),
                     lt_int8_provider(plain));
        lti_conv_force(NULL);
        lt_int8_free(plain);
    }
    lt_int8_free(net);
    ts_bed_drop(&t);
    lt_set_threads(before);
    lti_par_beyond(false);
}

static void refused_networks(void)
{
    static lt_real x[IMAGES * PIXELS], unused[IMAGES * CLASSES];
    lt_cnn_config c = config_of(LT_CNN_RESIDUAL, 1);
    lt_quant_policy policy = policy_of(8);
    ts_bed t;
    lt_int8 *net;
    fill_images(x, false);
    if (!ts_bed_make(&t) || !TS_OK(t.ctx, fill_cnn(t.params, &c, false))) return;
    TS_REFUSED(t.ctx, lt_int8_cnn(t.params, &c, &policy, 0, &net), LT_EINVAL, "'stem.bn' is not folded");
    TS_OK(t.ctx, lt_cnn_fold(t.params, &c));
    TS_REFUSED(t.ctx, lt_int8_cnn(t.params, &c, &policy, 0, &net), LT_EINVAL, "nothing was observed at 'stem.conv'");
    TS_OK(t.ctx, simulate(t.params, &c, &policy, x, unused));
    policy.weights = (lt_scheme){.kind = LT_SCHEME_INT, .bits = 4, .per = LT_PER_GROUP, .group = 9};
    TS_REFUSED(t.ctx, lt_int8_cnn(t.params, &c, &policy, 0, &net), LT_EINVAL, "one scale a channel");
    policy.weights = lt_scheme_of(LT_F32);
    TS_REFUSED(t.ctx, lt_int8_cnn(t.params, &c, &policy, 0, &net), LT_EINVAL, "one scale a channel");
    policy = policy_of(8);
    lt_real *scale = lt_param_data(lt_params_find(t.params, "stage.1.0.shortcut.conv:act_scale"));
    scale[0] *= 2;
    TS_REFUSED(t.ctx, lt_int8_cnn(t.params, &c, &policy, 0, &net), LT_EINVAL, "observe both");
    ts_bed_drop(&t);
}

/* ---- Files ---- */

static void files_are_proved(void)
{
    static lt_real x[IMAGES * PIXELS], want[IMAGES * CLASSES], got[IMAGES * CLASSES];
    size_t sizes[2] = {0};
    fill_images(x, true);
    for (int k = 0; k < 2; k++) {
        ts_bed t;
        ts_place p = ts_open_place();
        lt_int8 *net, *back = NULL;
        lt_int8_proof proof;
        if (made_cnn(&t, k ? 4 : 8, x, &net) && TS_OK(t.ctx, lt_int8_run(net, IMAGES, x, NULL, want)) &&
            TS_OK(t.ctx, lt_int8_save(net, ts_at(&p, "net.safetensors"), &proof)) &&
            TS_OK(t.ctx, lt_int8_open(t.ctx, ts_at(&p, "net.safetensors"), 0, &back)) &&
            TS_OK(t.ctx, lt_int8_run(back, IMAGES, x, NULL, got)))
            TS_CHECK(ts_same_bytes(sizeof want, want, got) && proof.codes > 1000 && proof.tensors == 28,
                     "%lld codes, %lld tensors: logits of the file", (long long)proof.codes, (long long)proof.tensors);
        sizes[k] = net ? lt_int8_bytes(net) : 0;
        lt_int8_free(net);
        lt_int8_free(back);
        ts_close_place(&p);
        ts_bed_drop(&t);
    }
    TS_CHECK(sizes[1] < sizes[0] * 3 / 4, "%zu bytes with 8 bits, %zu with 4", sizes[0], sizes[1]);
}

/* The file of a network, rewritten with one thing wrong. */
static void damaged(ts_bed *t, ts_place *p, const lt_tensors *file, const char *drop, const char *key,
                    const char *value, const char *words)
{
    static const char *const keys[] = {"lathe.int8",      "lathe.filters",  "lathe.stages", "lathe.blocks",
                                       "lathe.depthwise", "lathe.height",   "lathe.width",  "lathe.channels",
                                       "lathe.classes",   "lathe.norm_eps", "lathe.size",   "lathe.norm_momentum"};
    lt_tensor_entry entries[64];
    lt_pair pairs[LTI_COUNT(keys)];
    int n = 0, n_pairs = 0;
    lt_int8 *net;
    for (int i = 0; i < lt_tensors_count(file); i++) {
        const char *name = lt_tensors_name(file, i);
        if (drop && strcmp(name, drop) == 0) continue;
        entries[n++] = (lt_tensor_entry){.name = name,
                                         .dtype = lt_tensors_dtype(file, i),
                                         .rank = lt_tensors_rank(file, i),
                                         .shape = lt_tensors_shape(file, i),
                                         .data = lt_tensors_data(file, i)};
    }
    for (int i = 0; i < LTI_COUNT(keys); i++) {
        const char *is = key && strcmp(keys[i], key) == 0 ? value : lt_tensors_metadata(file, keys[i]);
        if (is) pairs[n_pairs++] = (lt_pair){keys[i], is};
    }
    if (TS_OK(t->ctx, lt_tensors_write(t->ctx, ts_at(p, "bad.safetensors"), entries, n, pairs, n_pairs, NULL)))
        TS_REFUSED(t->ctx, lt_int8_open(t->ctx, p->path, 0, &net), LT_EFORMAT, words);
}

static void damaged_files(void)
{
    static lt_real x[IMAGES * PIXELS];
    ts_bed t;
    ts_place p = ts_open_place();
    lt_int8 *net;
    lt_tensors *file = NULL;
    fill_images(x, false);
    if (made_cnn(&t, 8, x, &net) && TS_OK(t.ctx, lt_int8_save(net, ts_at(&p, "net.safetensors"), NULL)) &&
        TS_OK(t.ctx, lt_tensors_open(t.ctx, p.path, &file))) {
        damaged(&t, &p, file, "head.bias", NULL, NULL, "layer 'head'");
        damaged(&t, &p, file, "stem.conv.codes", NULL, NULL, "layer 'stem.conv'");
        damaged(&t, &p, file, NULL, "lathe.int8", "gpt", "'gpt'");
        damaged(&t, &p, file, NULL, "lathe.int8", "mlp", "'lathe.hidden'");
        damaged(&t, &p, file, NULL, "lathe.filters", "7", "layer 'stem.conv'");
        damaged(&t, &p, file, NULL, "lathe.filters", "many", "'many'");
        damaged(&t, &p, file, NULL, "lathe.size", NULL, "'lathe.size' is missing");
    }
    lt_tensors_close(file);
    lt_int8_free(net);
    ts_close_place(&p);
    ts_bed_drop(&t);
}

typedef struct attempt {
    const lt_real *x;
    const char *path;
} attempt;

/* As if every site had been observed. */
static lt_status pretend_observed(lt_params *params, const lt_quant_policy *policy)
{
    lt_status status = lt_qat_prepare(params, policy);
    for (int i = 0; i < lt_params_count(params) && status == LT_OK; i++) {
        lt_param *p = lt_params_at(params, i);
        lt_real *scale = lt_param_data(p);
        if (strstr(lt_param_name(p), ":act_scale")) scale[0] = (lt_real)0.01, scale[1] = 0;
    }
    return status;
}

/* The file's word alone makes no gigabytes; who gives the steps himself gets them. */
static void steps_of_a_file(void)
{
    lt_rnn_config c;
    lt_quant_policy policy = policy_of(8);
    ts_bed t;
    ts_place p = ts_open_place();
    lt_int8 *net = NULL, *back = NULL;
    policy.embedding = policy.weights;
    lt_rnn_config_init(&c);
    c.vocab = 11, c.dim = 8, c.hidden = 12, c.layers = 1;
    if (!ts_bed_make(&t)) return;
    if (TS_OK(t.ctx, lt_rnn_params(t.params, &c, 4)) && TS_OK(t.ctx, pretend_observed(t.params, &policy)) &&
        TS_OK(t.ctx, lt_int8_rnn(t.params, &c, &policy, 1 << 16, &net)) &&
        TS_OK(t.ctx, lt_int8_save(net, ts_at(&p, "net.safetensors"), NULL))) {
        TS_REFUSED(t.ctx, lt_int8_open(t.ctx, p.path, 0, &back), LT_EFORMAT, "'lathe.size' is 65536 steps");
        if (TS_OK(t.ctx, lt_int8_open(t.ctx, p.path, 7, &back)))
            TS_CHECK(lt_int8_outputs(back) == 77, "%lld outputs", (long long)lt_int8_outputs(back));
        lt_int8_free(back);
    }
    lt_int8_free(net);
    ts_close_place(&p);
    ts_bed_drop(&t);
}

static lt_status make_run_and_save(lt_ctx *ctx, void *arg)
{
    const attempt *a = arg;
    lt_params *params;
    lt_int8 *net = NULL;
    lt_cnn_config c = config_of(LT_CNN_RESIDUAL, 1);
    lt_quant_policy policy = policy_of(4);
    static lt_real z[IMAGES * CLASSES];
    lt_status status = lt_params_create(ctx, &params);
    if (status != LT_OK) return status;
    status = fill_cnn(params, &c, true);
    if (status == LT_OK) status = pretend_observed(params, &policy);
    if (status == LT_OK) status = lt_int8_cnn(params, &c, &policy, 4, &net);
    if (status == LT_OK) status = lt_int8_run(net, 5, a->x, NULL, z);
    if (status == LT_OK) status = lt_int8_save(net, a->path, NULL);
    lt_int8_free(net);
    lt_params_free(params);
    return status;
}

static void allocations_fail(void)
{
    static lt_real x[IMAGES * PIXELS];
    ts_place p = ts_open_place();
    fill_images(x, false);
    attempt a = {x, ts_at(&p, "net.safetensors")};
    int64_t n = ts_every_allocation_fails("a network in integers", make_run_and_save, &a);
    TS_CHECK(n > 50, "%lld allocations", (long long)n);
    ts_close_place(&p);
}

int lti_suite_int8_network(void)
{
    static const ts_test tests[] = {{"a CNN as its simulation", cnn_as_simulated},
                                    {"rows on their own", rows_on_their_own},
                                    {"what is refused", refused_networks},
                                    {"files are proved", files_are_proved},
                                    {"damaged files", damaged_files},
                                    {"steps of a file", steps_of_a_file},
                                    {"allocations fail", allocations_fail}};
    return ts_suite("int8_network", LTI_COUNT(tests), tests);
}
