/* test_hooks.c - attachments, and what is built from several ops: decoding with a cache, heads with two terms. */
#include "lathe/attach.h"
#include "tests/testing.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define DIMS(...)                                                                                                      \
    sizeof((int64_t[]){__VA_ARGS__}) / 8, (int64_t[])                                                                  \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }
#define DIM(name, ...) const int64_t name[] = {__VA_ARGS__}

/* A layer as nn/ writes it: y = x W^T at the site `name`, with a bias of ones added after the output hooks. */
static lt_t linear(ts_bed *t, const char *name, lt_site_kind kind, lt_param *param, lt_t x_raw)
{
    const lt_site site = {t->g, name, kind, param};
    lt_t w = lt_site_weight(&site), x = lt_site_input(&site, x_raw);
    lt_t y = lt_site_output(&site, x_raw, x, w, lt_matmul(x, w, LT_TRANSPOSE_B));
    return lt_shift(y, 1);
}

static void attach(ts_bed *t, lt_attachment a)
{
    a.size = sizeof a;
    lt_attach(t->g, &a);
}

/* ---- Low-rank adapters through the output hook: all there is to it ---- */

typedef struct lora {
    lt_params *params;
    double scale;
    int sites;
} lora;

static lt_t lora_output(lt_t x_raw, lt_t x_in, lt_t w, lt_t y, const lt_site *site, void *config)
{
    lora *l = config;
    char a[64], b[64];
    (void)x_raw, (void)w;
    l->sites++;
    snprintf(a, sizeof a, "%s.lora_a", site->name);
    snprintf(b, sizeof b, "%s.lora_b", site->name);
    lt_t down = lt_param_value(site->graph, lt_params_find(l->params, a)); /* [r, in] */
    lt_t up = lt_param_value(site->graph, lt_params_find(l->params, b));   /* [out, r] */
    lt_t low = lt_matmul(lt_matmul(x_in, down, LT_TRANSPOSE_B), up, LT_TRANSPOSE_B);
    return lt_add(y, lt_scale(low, l->scale));
}

static void lora_is_thirty_lines(void)
{
    enum { R = 4, IN = 6, OUT = 5 };
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_param *w = ts_weight(&t, "q.weight", 1, DIMS(OUT, IN)), *v = ts_weight(&t, "v.weight", 1, DIMS(OUT, IN));
    lt_param *a = ts_weight(&t, "blk.0.attn_q.lora_a", 1, DIMS(2, IN));
    lt_param *b = ts_weight(&t, "blk.0.attn_q.lora_b", 1, DIMS(OUT, 2));
    lora config = {t.params, 0.5, 0};
    attach(&t, (lt_attachment){.pattern = "*.attn_q", .output = lora_output, .config = &config});
    lt_t x = lt_param_value(t.g, ts_weight(&t, "x", 1, DIMS(R, IN)));
    lt_t y = linear(&t, "blk.0.attn_q", LT_SITE_LINEAR, w, x);
    lt_t z = linear(&t, "blk.0.attn_v", LT_SITE_LINEAR, v, x);
    TS_CHECK(config.sites == 1, "the pattern chose %d sites, not 1", config.sites);
    /* The same from a merged matrix, and the untouched site from the plain product. */
    lt_t ba = lt_matmul(lt_param_value(t.g, b), lt_param_value(t.g, a), 0);
    lt_t merged = lt_add(lt_param_value(t.g, w), lt_scale(ba, 0.5));
    lt_t want = lt_shift(lt_matmul(x, merged, LT_TRANSPOSE_B), 1);
    lt_t plain = lt_shift(lt_matmul(x, lt_param_value(t.g, v), LT_TRANSPOSE_B), 1);
    lt_t wrt[2] = {lt_param_value(t.g, a), lt_param_value(t.g, b)}, got[2], expected[2];
    lt_grad(lt_sum_all(lt_square(y)), 2, wrt, got);
    lt_grad(lt_sum_all(lt_square(want)), 2, wrt, expected);
    lt_t pairs[8] = {y, want, z, plain, got[0], expected[0], got[1], expected[1]};
    lt_plan *plan = NULL;
    if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 8, pairs, &plan)) && TS_OK(t.ctx, lt_run(plan)))
        for (int i = 0; i < 8; i += 2) {
            double d = ts_distance_real(lt_count(pairs[i]), lt_result(plan, i), lt_result(plan, i + 1));
            TS_CHECK(d < ts_tolerance(1e-13, 1e-5), "pair %d differs by %g", i / 2, d);
        }
    lt_plan_free(plan);
    ts_bed_drop(&t);
}

/* ---- Weight hooks ---- */

typedef struct recipe {
    lt_params *params;
    char order[32]; /* a letter a call */
} recipe;

static lt_t mask_weight(lt_t w, const lt_site *site, void *config)
{
    recipe *r = config;
    strcat(r->order, "m");
    return lt_mul(w, lt_param_value(site->graph, lt_params_find(r->params, "mask")));
}

static lt_t quantize_weight(lt_t w, const lt_site *site, void *config)
{
    (void)site;
    strcat(((recipe *)config)->order, "q");
    return lt_dequantize(lt_quantize(w, LT_Q4_0));
}

static void fill_mask(lt_param *mask)
{
    lt_real *m = lt_param_data(mask);
    for (int64_t i = 0; i < lt_param_count(mask); i++) m[i] = ts_uniform("mask", i) < 0.5 ? 0 : 1;
    lt_param_touch(mask);
}

static void tied_weights_are_transformed_once(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    DIM(shape, 7, 32);
    lt_param *w = ts_weight(&t, "embed.weight", 1, 2, shape);
    fill_mask(ts_weight(&t, "mask", 1, 2, shape));
    recipe r = {t.params, ""};
    attach(&t, (lt_attachment){.pattern = "embed*", .kinds = LT_SITE_ANY, .weight = mask_weight, .config = &r});
    lt_scope(t.g, "model"); /* names of sites are given whole: the scope does not matter */
    const lt_site embedding = {t.g, "embed", LT_SITE_EMBEDDING, w}, head = {t.g, "output", LT_SITE_HEAD, w};
    lt_t first = lt_site_weight(&embedding), second = lt_site_weight(&head);
    lt_scope_end(t.g);
    TS_CHECK(strcmp(r.order, "m") == 0, "the hook was called %zu times, not once", strlen(r.order));
    TS_CHECK(first.node == second.node && first.output == second.output, "both sites have the same value");
    lt_t plain = lt_param_value(t.g, w), dw;
    lt_grad(lt_sum_all(lt_add(lt_square(first), second)), 1, &plain, &dw);
    lt_plan *plan = NULL;
    if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 2, (lt_t[]){first, dw}, &plan)) && TS_OK(t.ctx, lt_run(plan))) {
        const lt_real *got = lt_result(plan, 0), *d = lt_result(plan, 1), *raw = lt_param_read(w);
        const lt_real *m = lt_param_read(lt_params_find(t.params, "mask"));
        int wrong = 0;
        for (int i = 0; i < 7 * 32; i++)
            wrong += got[i] != raw[i] * m[i] || fabs((double)(d[i] - m[i] * (2 * raw[i] + 1))) > 1e-5;
        TS_CHECK(wrong == 0, "%d elements are not masked, or their gradients", wrong);
    }
    lt_plan_free(plan);
    ts_bed_drop(&t);
}

static void registration_is_order(void)
{
    for (int mask_first = 0; mask_first < 2; mask_first++) {
        ts_bed t;
        if (!ts_bed_make(&t)) return;
        DIM(shape, 3, 32);
        lt_param *w = ts_weight(&t, "w", 1, 2, shape), *mask = ts_weight(&t, "mask", 1, 2, shape);
        fill_mask(mask);
        recipe r = {t.params, ""};
        const lt_attachment m = {.weight = mask_weight, .config = &r}, q = {.weight = quantize_weight, .config = &r};
        attach(&t, mask_first ? m : q);
        attach(&t, mask_first ? q : m);
        const lt_site site = {t.g, "blk.0.ffn_up", LT_SITE_LINEAR, w};
        lt_t got = lt_site_weight(&site), raw = lt_param_value(t.g, w), mv = lt_param_value(t.g, mask);
        lt_t want = mask_first ? lt_dequantize(lt_quantize(lt_mul(raw, mv), LT_Q4_0))
                               : lt_mul(lt_dequantize(lt_quantize(raw, LT_Q4_0)), mv);
        TS_CHECK(strcmp(r.order, mask_first ? "mq" : "qm") == 0, "hooks ran as %s", r.order);
        lt_plan *plan = NULL;
        if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 2, (lt_t[]){got, want}, &plan)) && TS_OK(t.ctx, lt_run(plan)))
            TS_CHECK(ts_same_bytes(3 * 32 * sizeof(lt_real), lt_result(plan, 0), lt_result(plan, 1)),
                     "order %s has another value", r.order);
        lt_plan_free(plan);
        ts_bed_drop(&t);
    }
}

static lt_t double_input(lt_t x, const lt_site *site, void *config)
{
    (void)site, (void)config;
    return lt_scale(x, 2);
}

static void inputs_and_kinds(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_param *w = ts_weight(&t, "w", 1, DIMS(2, 3));
    lt_t x = lt_param_value(t.g, ts_weight(&t, "x", 1, DIMS(4, 3)));
    attach(&t, (lt_attachment){.input = double_input}); /* every linear layer and head */
    lt_t y = linear(&t, "a", LT_SITE_LINEAR, w, x), z = linear(&t, "b", LT_SITE_CONV, w, x);
    lt_t want = lt_shift(lt_matmul(lt_scale(x, 2), lt_param_value(t.g, w), LT_TRANSPOSE_B), 1);
    lt_t plain = lt_shift(lt_matmul(x, lt_param_value(t.g, w), LT_TRANSPOSE_B), 1);
    lt_plan *plan = NULL;
    if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 4, (lt_t[]){y, want, z, plain}, &plan)) &&
        TS_OK(t.ctx, lt_run(plan))) {
        TS_CHECK(ts_same_bytes(8 * sizeof(lt_real), lt_result(plan, 0), lt_result(plan, 1)), "the input hook");
        TS_CHECK(ts_same_bytes(8 * sizeof(lt_real), lt_result(plan, 2), lt_result(plan, 3)),
                 "other kinds are left alone");
    }
    lt_plan_free(plan);
    ts_bed_drop(&t);
}

static void globs(void)
{
    const struct {
        const char *pattern, *name;
        bool match;
    } rows[] = {{"*", "", true},
                {"*.attn_q", "blk.3.attn_q", true},
                {"*.attn_q", "attn_q", false},
                {"blk.?.ffn_*", "blk.3.ffn_up", true},
                {"blk.?.ffn_*", "blk.13.ffn_up", false},
                {"blk.[0-2].*", "blk.1.attn_v", true},
                {"blk.[0-2].*", "blk.3.attn_v", false},
                {"blk.*.attn_[qv]", "blk.10.attn_v", true},
                {"blk.*.attn_[qv]", "blk.10.attn_k", false},
                {"output", "output", true},
                {"output", "output_norm", false},
                {"*a*b*c", "xxaybzcabc", true},
                {"*a*b*c", "xxaybzcab", false},
                {"", "", true},
                {"", "x", false}};
    for (int i = 0; i < LTI_COUNT(rows); i++)
        TS_CHECK(lt_glob(rows[i].pattern, rows[i].name) == rows[i].match, "glob %s against %s", rows[i].pattern,
                 rows[i].name);
}

/* ---- Decoding with a cache equals the whole forward ---- */

enum { LONGEST = 12, CHANNELS = 16, HEADS = 4, GROUPS = 2, HEAD = CHANNELS / HEADS };

static lt_t heads_of(ts_bed *t, const char *weight, lt_t x, int64_t length, int64_t heads)
{
    lt_t w = lt_param_value(t->g, lt_params_find(t->params, weight));
    return lt_reshape(lt_matmul(x, w, LT_TRANSPOSE_B), DIMS(1, length, heads, HEAD));
}

/* One attention layer over x [1, length, CHANNELS]; with a cache when `first` is a value. */
static lt_t layer(ts_bed *t, lt_t x, int64_t length, lt_t first)
{
    lt_rope_config rope;
    lt_rope_config_init(&rope);
    lt_attention_config config;
    lt_attention_config_init(&config);
    lt_t q = lt_rope(heads_of(t, "q", x, length, HEADS), first, &rope);
    lt_t k = lt_rope(heads_of(t, "k", x, length, GROUPS), first, &rope), v = heads_of(t, "v", x, length, GROUPS);
    if (!lt_is_nil(first)) {
        k = lt_cache_write(lt_params_find(t->params, "cache.k"), k, first);
        v = lt_cache_write(lt_params_find(t->params, "cache.v"), v, first);
    }
    return lt_attention(q, k, v, first, &config); /* [1, length, HEADS, HEAD] */
}

static void decoding_equals_the_forward(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    ts_weight(&t, "q", 0.4, DIMS(CHANNELS, CHANNELS));
    ts_weight(&t, "k", 0.4, DIMS(GROUPS * HEAD, CHANNELS));
    ts_weight(&t, "v", 0.4, DIMS(GROUPS * HEAD, CHANNELS));
    ts_weight(&t, "cache.k", 1, DIMS(1, LONGEST, GROUPS, HEAD)); /* garbage from a longer text before */
    ts_weight(&t, "cache.v", 1, DIMS(1, LONGEST, GROUPS, HEAD));
    lt_real x[LONGEST * CHANNELS], want[LONGEST * CHANNELS], got[LONGEST * CHANNELS];
    ts_fill_normal("tokens", LONGEST * CHANNELS, 1, x);
    lt_plan *plan = NULL;
    lt_t y = layer(&t, lt_input(t.g, "x", LT_F32, DIMS(1, LONGEST, CHANNELS)), LONGEST, lt_nil(t.g));
    if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 1, &y, &plan)) && TS_OK(t.ctx, lt_bind(plan, "x", x)) &&
        TS_OK(t.ctx, lt_run(plan)))
        memcpy(want, lt_result(plan, 0), sizeof want);
    lt_plan_free(plan);
    for (int length = 3, at = 0; at < LONGEST; at += length, length = 1) { /* three at once, then one by one */
        if (!ts_bed_again(&t)) break;
        plan = NULL;
        y = layer(&t, lt_input(t.g, "x", LT_F32, DIMS(1, length, CHANNELS)), length, lt_scalar(t.g, "position", 0));
        if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 1, &y, &plan)) &&
            TS_OK(t.ctx, lt_bind(plan, "x", x + at * CHANNELS)) && TS_OK(t.ctx, lt_set(plan, "position", at)) &&
            TS_OK(t.ctx, lt_run(plan))) {
            memcpy(got + at * CHANNELS, lt_result(plan, 0), (size_t)length * CHANNELS * sizeof *got);
            TS_OK(t.ctx, lt_set(plan, "position", LONGEST - length + 1));
            TS_CHECK(lt_run(plan) == LT_EINVAL, "writing beyond the cache is refused");
            TS_CHECK(strstr(lt_ctx_message(t.ctx), "cache"), "and told: %s", lt_ctx_message(t.ctx));
        }
        lt_plan_free(plan);
    }
    double d = ts_distance_real(LONGEST * CHANNELS, got, want);
    TS_CHECK(d < ts_tolerance(1e-13, 1e-5), "decoded values differ from the forward by %g", d);
    ts_bed_drop(&t);
}

/* ---- A head with two terms ---- */

static void two_terms_equal_two_losses(void)
{
    enum { R = 37, C = 8, V = 53 };
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_t x = lt_param_value(t.g, ts_weight(&t, "x", 1, DIMS(R, C)));
    lt_t w = lt_param_value(t.g, ts_weight(&t, "w", 0.5, DIMS(V, C)));
    lt_t teacher = lt_param_value(t.g, ts_weight(&t, "teacher", 1, DIMS(R, V)));
    lt_t target = lt_index_input(t.g, "target", DIMS(R), 0, V);
    const lt_head_term terms[] = {{lt_head_cross_entropy(), 0.3, 1, target}, {lt_head_kl(), 0.7, 2.5, teacher}};
    lt_t head = lt_head_loss(x, w, 2, terms, lt_nil(t.g));
    lt_t z = lt_matmul(x, w, LT_TRANSPOSE_B);
    lt_t plain =
        lt_add(lt_scale(lt_cross_entropy(z, target, lt_nil(t.g)), 0.3), lt_scale(lt_kl_div(z, teacher, 2.5), 0.7));
    lt_t wrt[2] = {x, w}, got[2], want[2];
    lt_grad(lt_scale(head, 3), 2, wrt, got);
    lt_grad(lt_scale(plain, 3), 2, wrt, want);
    lt_t pairs[6] = {head, plain, got[0], want[0], got[1], want[1]};
    int32_t index[R];
    for (int i = 0; i < R; i++) index[i] = i * 17 % V;
    lt_plan *plan = NULL;
    if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 6, pairs, &plan)) && TS_OK(t.ctx, lt_bind(plan, "target", index)) &&
        TS_OK(t.ctx, lt_run(plan)))
        for (int i = 0; i < 6; i += 2) {
            double d = ts_distance_real(lt_count(pairs[i]), lt_result(plan, i), lt_result(plan, i + 1));
            TS_CHECK(d < ts_tolerance(1e-12, 1e-5), "%s differs by %g", i ? "a gradient" : "the loss", d);
        }
    lt_plan_free(plan);
    ts_bed_drop(&t);
}

int lti_suite_hooks(void)
{
    const ts_test tests[] = {{"a low-rank adapter", lora_is_thirty_lines},
                             {"tied weights", tied_weights_are_transformed_once},
                             {"registration is order", registration_is_order},
                             {"inputs and kinds", inputs_and_kinds},
                             {"globs", globs},
                             {"decoding", decoding_equals_the_forward},
                             {"a head with two terms", two_terms_equal_two_losses}};
    return ts_suite("hooks", LTI_COUNT(tests), tests);
}
