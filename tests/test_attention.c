/* test_attention.c - windows, spans, padding and caches of lt_attention, beyond the rows of test_ops.c (which judge it
 * against the formula): every set of kernels against the reference, blocks that nobody sees, few queries, packed rows
 * against the documents alone, decoding against the whole forward. */
#include "kernels/kernels.h"
#include "tests/testing.h"

#include <math.h>
#include <string.h>

#define DIMS(...)                                                                                                      \
    sizeof((int64_t[]){__VA_ARGS__}) / 8, (int64_t[])                                                                  \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

/* ---- Kernels ---- */
enum { ROOM = 16384, ROWS = 256 };
typedef enum spans_kind { NO_SPANS, ANY, DOCUMENTS, PADDING } spans_kind;

static const struct problem {
    int64_t T, S, heads, kv_heads, dim, first;
    int causal;
    int64_t window;
    spans_kind spans;
} problems[] = {
    {70, 70, 4, 2, 24, 0, 1, 5, NO_SPANS},    {100, 120, 4, 4, 3, 20, 1, 33, ANY},
    {130, 130, 2, 1, 16, 0, 1, 0, DOCUMENTS}, {130, 130, 2, 2, 16, 0, 0, 0, PADDING},
    {67, 90, 2, 1, 40, 0, 0, 0, ANY},         {33, 200, 2, 1, 16, 100, 1, 64, DOCUMENTS},
    {90, 90, 2, 1, 16, 0, 1, 1, NO_SPANS},    {1, 200, 4, 2, 16, 150, 1, 0, ANY},
    {1, 200, 6, 2, 10, 199, 1, 17, NO_SPANS}, {3, 200, 5, 1, 15, 150, 1, 9, ANY},
    {4, 77, 8, 2, 70, 0, 0, 0, PADDING},      {2, 64, 2, 2, 33, 62, 1, 0, NO_SPANS},
    {4, 150, 2, 1, 8, 146, 1, 0, DOCUMENTS},  {1, 1, 16, 1, 64, 0, 1, 0, NO_SPANS},
    {4, 60, 16, 1, 64, 20, 1, 30, ANY},       {65, 65, 1, 1, 8, 0, 1, INT64_MAX, ANY},
    {211, 211, 4, 2, 8, 0, 1, 0, NO_SPANS},   {150, 190, 2, 1, 16, 40, 1, 0, NO_SPANS},
    {100, 140, 2, 2, 8, 0, 0, 0, NO_SPANS},   {180, 180, 3, 1, 8, 0, 1, 70, NO_SPANS},
    {130, 130, 2, 1, 8, 0, 1, 0, DOCUMENTS},  {130, 200, 2, 2, 8, 0, 0, 0, PADDING},
    {77, 129, 2, 1, 8, 0, 0, 0, ANY},         {5, 128, 2, 2, 16, 123, 1, 0, NO_SPANS},
};

static lt_real q[ROOM], k[ROOM], v[ROOM], dout[ROOM], ref_out[ROOM], ref_lse[ROOM];
static int32_t spans[2 * ROWS];
enum { OUT, LSE, DQ, DK, DV, RESULTS };
static lt_real results[2][RESULTS][ROOM];
static const char *const result_names[] = {"out", "lse", "dq", "dk", "dv"};

static void fill_spans(const struct problem *p)
{
    int64_t T = p->T, S = p->S;
    for (int64_t i = 0; i < T; i++) {
        int64_t begin = 0, end = S, at = p->first + i;
        if (p->spans == ANY) {
            begin = (int64_t)(ts_uniform("begin", i) * (double)(S + 10)) - 5;
            end = (int64_t)(ts_uniform("end", i) * (double)(S + 10)) - 5;
        } else if (p->spans == DOCUMENTS) {
            begin = at / 13 * 13;
        } else if (p->spans == PADDING) {
            begin = i < 7 ? 0 : 7;
            end = i < 7 || i >= T - 2 ? 0 : S - 9;
        }
        spans[2 * i] = (int32_t)begin;
        spans[2 * i + 1] = (int32_t)end;
    }
}

static lti_attention_task task_of(const struct problem *p)
{
    ts_fill_normal("q", ROOM, 1, q);
    ts_fill_normal("k", ROOM, 1, k);
    ts_fill_normal("v", ROOM, 1, v);
    ts_fill_normal("dout", ROOM, 1, dout);
    fill_spans(p);
    return (lti_attention_task){.q = q,
                                .k = k,
                                .v = v,
                                .T = p->T,
                                .S = p->S,
                                .heads = p->heads,
                                .kv_heads = p->kv_heads,
                                .dim = p->dim,
                                .first = p->first,
                                .causal = p->causal,
                                .window = p->window,
                                .spans = p->spans ? spans : NULL,
                                .scale = (lt_real)0.4};
}

/* `set` heads at once. */
static void each_block(lti_attention_task t, int64_t heads, int64_t set, int64_t rows,
                       void (*kernel)(const lti_attention_task *, void *))
{
    static _Alignas(64) lt_real scratch[65536];
    TS_CHECK(lti_attention_scratch(t.dim) <= sizeof scratch, "scratch of the test is too small");
    t.more_heads = set - 1;
    for (t.head = 0; t.head < heads; t.head += set)
        for (t.begin = 0; t.begin < rows; t.begin += LTI_ATTENTION_ROWS) {
            t.end = rows - t.begin < LTI_ATTENTION_ROWS ? rows : t.begin + LTI_ATTENTION_ROWS;
            kernel(&t, scratch);
        }
}

/* Forward and backward, dq and dk, dv apart or at once; the backward starts from ref's forward. */
static void run_all(const lti_kernels *set, lti_attention_task t, bool at_once, lt_real (*y)[ROOM])
{
    t.out = ref_out, t.lse = ref_lse;
    each_block(t, t.heads, 1, t.T, lti_kernels_of("ref")->attention);
    t.out = y[OUT], t.lse = y[LSE];
    each_block(t, t.heads, t.heads / t.kv_heads, t.T, set->attention);
    t.o = ref_out, t.lse = ref_lse, t.dout = dout;
    t.dq = y[DQ], t.dk = y[DK], t.dv = y[DV];
    if (at_once) {
        each_block(t, t.kv_heads, 1, 1, set->attention_grad);
        return;
    }
    each_block(t, t.heads, 1, t.T, set->attention_grad_q);
    each_block(t, t.kv_heads, 1, t.S, set->attention_grad_kv);
}

static void compare(const char *isa, int index, const lti_attention_task *t)
{
    int64_t n = t->T * t->heads * t->dim, m = t->S * t->kv_heads * t->dim;
    const int64_t counts[] = {n, t->heads * t->T, n, m, m};
    for (int y = 0; y < RESULTS; y++)
        for (int64_t i = 0; i < counts[y]; i++) {
            double a = (double)results[0][y][i], b = (double)results[1][y][i];
            if (a == b || fabs(a - b) <= ts_tolerance(1e-12, 2e-5) * (1 + fabs(b))) continue;
            TS_CHECK(false, "%s, problem %d: %s[%d] = %.9g, ref %.9g", isa, index, result_names[y], (int)i, a, b);
            break;
        }
}

/* Queries that see no key: nothing comes out, and nothing flows back. */
static void check_blind(const char *isa, int index, const lti_attention_task *t)
{
    for (int64_t i = 0; i < t->T; i++) {
        int64_t begin, end;
        lti_attention_keys(t, i, &begin, &end);
        for (int64_t h = 0; h < t->heads && begin >= end; h++) {
            bool none = results[0][LSE][h * t->T + i] == -INFINITY;
            for (int64_t d = 0; d < t->dim; d++) {
                int64_t at = (i * t->heads + h) * t->dim + d;
                none = none && results[0][OUT][at] == 0 && results[0][DQ][at] == 0;
            }
            if (!none) TS_CHECK(false, "%s, problem %d: query %d sees no key, and yet", isa, index, (int)i);
        }
    }
}

static const char *const isas[] = {"ref", "avx2", "avx512"};

static void every_set_agrees(void)
{
    for (int s = 0; s < LTI_COUNT(isas); s++) {
        const lti_kernels *set = lti_kernels_of(isas[s]);
        for (int turn = 0; set && turn < 2 * LTI_COUNT(problems); turn++) {
            int i = turn / 2;
            lti_attention_task t = task_of(&problems[i]);
            for (int side = 0; side < 2; side++)
                for (int y = 0; y < RESULTS; y++)
                    for (int at = 0; at < ROOM; at++) results[side][y][at] = -77;
            run_all(set, t, turn % 2, results[0]);
            run_all(lti_kernels_of("ref"), t, false, results[1]);
            compare(isas[s], i, &t);
            check_blind(isas[s], i, &t);
        }
    }
}

/* How heads are dealt to tasks depends on the number of threads; what comes out may not. */
static void heads_together_or_alone(void)
{
    for (int s = 0; s < LTI_COUNT(isas); s++) {
        const lti_kernels *set = lti_kernels_of(isas[s]);
        for (int i = 0; set && i < LTI_COUNT(problems); i++) {
            lti_attention_task t = task_of(&problems[i]);
            for (int side = 0; side < 2; side++) {
                t.out = results[side][OUT], t.lse = results[side][LSE];
                each_block(t, t.heads, side ? t.heads / t.kv_heads : 1, t.T, set->attention);
            }
            size_t bytes = (size_t)(t.T * t.heads) * sizeof(lt_real);
            TS_CHECK(ts_same_bytes(bytes * (size_t)t.dim, results[0][OUT], results[1][OUT]) &&
                         ts_same_bytes(bytes, results[0][LSE], results[1][LSE]),
                     "%s, problem %d: heads together give other bits than heads alone", isas[s], i);
        }
    }
}

static bool finite_from(const lt_real *x, int64_t from, int64_t until)
{
    for (int64_t i = from; i < until; i++)
        if (!isfinite(x[i])) return false;
    return true;
}

/* A NaN that is read is seen in the result: rows far from it may not have read it. */
static void far_blocks_are_skipped(void)
{
    const struct problem far[] = {{256, 256, 2, 1, 8, 0, 1, 16, NO_SPANS}, {256, 256, 2, 1, 8, 0, 0, 0, DOCUMENTS}};
    for (int s = 0; s < LTI_COUNT(isas); s++) {
        const lti_kernels *set = lti_kernels_of(isas[s]);
        for (int i = 0; set && i < 2; i++) {
            lti_attention_task t = task_of(&far[i]);
            for (int64_t r = 0; t.spans && r < t.T; r++) spans[2 * r + 1] = spans[2 * r] + 13;
            for (int at = 0; at < 64 * 8; at++) k[at] = v[at] = (lt_real)NAN;
            for (int at = 0; at < 64 * 16; at++) q[at] = dout[at] = (lt_real)NAN;
            run_all(set, t, true, results[0]);
            TS_CHECK(finite_from(results[0][OUT], 128 * 16, 256 * 16), "%s, %d: the forward reads far keys", isas[s],
                     i);
            TS_CHECK(finite_from(results[0][DQ], 128 * 16, 256 * 16), "%s, %d: dq reads far keys", isas[s], i);
            TS_CHECK(finite_from(results[0][DK], 128 * 8, 256 * 8), "%s, %d: dk reads far queries", isas[s], i);
            TS_CHECK(finite_from(results[0][DV], 128 * 8, 256 * 8), "%s, %d: dv reads far queries", isas[s], i);
        }
    }
}

/* ---- Values ---- */
enum { B = 2, LENGTH = 140, HEADS = 4, GROUPS = 2, WIDTH = 8, Q_ROW = HEADS * WIDTH, K_ROW = GROUPS * WIDTH };

/* Documents in two rows, with padding on either side. */
static const struct piece {
    int64_t row, begin, length;
} pieces[] = {{0, 0, 5}, {0, 5, 33}, {0, 38, 70}, {0, 108, 2}, {1, 20, 100}};

static lt_real *const arrays[] = {q, k, v, dout};

/* y, dq, dk, dv of `batch` rows of `length` positions, into results[side]. */
static bool attend(int side, int64_t batch, int64_t length, const int32_t *with_spans,
                   const lt_attention_config *config, lt_real *const *x)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return false;
    lt_attention_config c = *config;
    lt_t in[3], y[4];
    for (int i = 0; i < 3; i++)
        in[i] =
            lt_input(t.g, (const char *[]){"q", "k", "v"}[i], LT_F32, DIMS(batch, length, i ? GROUPS : HEADS, WIDTH));
    if (with_spans) c.spans = lt_index_input(t.g, "spans", DIMS(batch, length, 2), 0, LENGTH + 1);
    y[0] = lt_attention(in[0], in[1], in[2], lt_nil(t.g), &c);
    lt_grad_seeded(y[0], lt_input(t.g, "seed", LT_F32, DIMS(batch, length, HEADS, WIDTH)), 3, in, y + 1);
    lt_plan *plan = NULL;
    bool ok = TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 4, y, &plan));
    for (int i = 0; ok && i < 4; i++)
        ok = TS_OK(t.ctx, lt_bind(plan, (const char *[]){"q", "k", "v", "seed"}[i], x[i]));
    if (ok && with_spans) ok = TS_OK(t.ctx, lt_bind(plan, "spans", with_spans));
    ok = ok && TS_OK(t.ctx, lt_run(plan));
    const int slots[] = {OUT, DQ, DK, DV};
    for (int i = 0; ok && i < 4; i++)
        memcpy(results[side][slots[i]], lt_result(plan, i), (size_t)lt_count(y[i]) * sizeof(lt_real));
    lt_plan_free(plan);
    ts_bed_drop(&t);
    return ok;
}

static void check_pieces(const lt_attention_config *config)
{
    static int32_t bounds[B * LENGTH * 2];
    memset(bounds, 0, sizeof bounds);
    for (int p = 0; p < LTI_COUNT(pieces); p++)
        for (int64_t i = 0; i < pieces[p].length; i++) {
            int64_t at = pieces[p].row * LENGTH + pieces[p].begin;
            bounds[2 * (at + i)] = (int32_t)pieces[p].begin;
            bounds[2 * (at + i) + 1] = (int32_t)(pieces[p].begin + pieces[p].length);
        }
    if (!attend(0, B, LENGTH, bounds, config, arrays)) return;
    for (int p = 0; p < LTI_COUNT(pieces); p++) {
        int64_t at = pieces[p].row * LENGTH + pieces[p].begin, n = pieces[p].length;
        lt_real *alone[] = {q + at * Q_ROW, k + at * K_ROW, v + at * K_ROW, dout + at * Q_ROW};
        if (!attend(1, 1, n, NULL, config, alone)) return;
        for (int y = 0; y < RESULTS; y++) {
            int64_t row = y == DK || y == DV ? K_ROW : Q_ROW;
            double d = y == LSE ? 0 : ts_distance_real(n * row, results[0][y] + at * row, results[1][y]);
            TS_CHECK(d < ts_tolerance(1e-13, 5e-6), "causal %d, window %d: %s of document %d differs by %g",
                     config->causal, (int)config->window, result_names[y], p, d);
        }
    }
    for (int64_t i = 0; i < B * LENGTH; i++)
        for (int64_t d = 0; d < Q_ROW && bounds[2 * i + 1] == 0; d++)
            if (results[0][OUT][i * Q_ROW + d] != 0 || results[0][DQ][i * Q_ROW + d] != 0 ||
                results[0][DK][i * K_ROW + d / 2] != 0 || results[0][DV][i * K_ROW + d / 2] != 0) {
                TS_CHECK(false, "padding %d: something comes of it", (int)i);
                return;
            }
}

static void packed_is_alone(void)
{
    for (int i = 0; i < 4; i++) ts_fill_normal((const char *[]){"q", "k", "v", "dout"}[i], ROOM, 1, arrays[i]);
    lt_attention_config config;
    lt_attention_config_init(&config);
    check_pieces(&config);
    config.window = 6;
    check_pieces(&config);
    config.window = 0;
    config.causal = false;
    check_pieces(&config);
}

/* Row `at` of the whole, from its query alone and the cache; the result may not depend on the threads. */
static void decode(int64_t at, lt_attention_config config)
{
    lt_real got[2][Q_ROW] = {{0}};
    int before = lt_threads();
    const int32_t span[2] = {3, LENGTH};
    for (int side = 0; side < 2; side++) {
        ts_bed t;
        lt_set_threads(side ? 3 : 1);
        if (!ts_bed_make(&t)) return;
        config.spans = lt_index_input(t.g, "spans", DIMS(1, 1, 2), 0, LENGTH + 1);
        lt_t y = lt_attention(lt_input(t.g, "q", LT_F32, DIMS(1, 1, HEADS, WIDTH)),
                              lt_input(t.g, "k", LT_F32, DIMS(1, LENGTH, GROUPS, WIDTH)),
                              lt_input(t.g, "v", LT_F32, DIMS(1, LENGTH, GROUPS, WIDTH)),
                              lt_scalar(t.g, "first", (double)at), &config);
        lt_plan *plan = NULL;
        if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 1, &y, &plan)) &&
            TS_OK(t.ctx, lt_bind(plan, "q", q + at * Q_ROW)) && TS_OK(t.ctx, lt_bind(plan, "k", k)) &&
            TS_OK(t.ctx, lt_bind(plan, "v", v)) && TS_OK(t.ctx, lt_bind(plan, "spans", span)) &&
            TS_OK(t.ctx, lt_run(plan)))
            memcpy(got[side], lt_result(plan, 0), sizeof got[side]);
        lt_plan_free(plan);
        ts_bed_drop(&t);
    }
    lt_set_threads(before);
    double d = ts_distance_real(Q_ROW, got[0], results[0][OUT] + at * Q_ROW);
    TS_CHECK(d < ts_tolerance(1e-13, 5e-6), "position %d decoded differs by %g", (int)at, d);
    TS_CHECK(ts_same_bytes(sizeof got[0], got[0], got[1]), "position %d: threads change the bits", (int)at);
}

static void decoding_with_window_and_padding(void)
{
    for (int i = 0; i < 4; i++) ts_fill_normal((const char *[]){"q", "k", "v", "dout"}[i], ROOM, 1, arrays[i]);
    lt_attention_config config;
    lt_attention_config_init(&config);
    config.window = 50;
    for (int64_t i = 0; i < LENGTH; i++) spans[2 * i] = 3, spans[2 * i + 1] = LENGTH;
    if (!attend(0, 1, LENGTH, spans, &config, arrays)) return;
    for (int64_t at = 0; at < LENGTH; at += at < 6 ? 1 : 19) decode(at, config);
}

/* The weights of a query sum to 1, or to 0 when it sees nothing. */
static void weights_of_the_composite(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_attention_config config;
    lt_attention_config_init(&config);
    config.spans = lt_index_input(t.g, "spans", DIMS(1, 4, 2), 0, 5);
    lt_t x = lt_input(t.g, "x", LT_F32, DIMS(1, 4, 1, 8)), weights;
    lt_t y = lt_attention_composite(x, x, x, &config, &weights), sums = lt_sum(weights, 1, (int[]){3}, false);
    const int32_t bounds[] = {1, 4, 0, 4, 2, 4, 3, 3};
    const lt_real want[] = {0, 1, 1, 0};
    lt_plan *plan = NULL;
    if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 2, (lt_t[]){sums, y}, &plan)) && TS_OK(t.ctx, lt_bind(plan, "x", q)) &&
        TS_OK(t.ctx, lt_bind(plan, "spans", bounds)) && TS_OK(t.ctx, lt_run(plan))) {
        const lt_real *sum = lt_result(plan, 0), *value = lt_result(plan, 1);
        for (int i = 0; i < 4; i++)
            TS_CHECK(fabs((double)(sum[i] - want[i])) < 1e-6, "weights sum to %g", (double)sum[i]);
        for (int d = 0; d < 8; d++) TS_CHECK(value[d] == 0 && value[24 + d] == 0, "a blind query gives something");
    }
    lt_plan_free(plan);
    ts_bed_drop(&t);
}

static void refusals(void)
{
    const struct {
        int64_t window, rows;
        bool causal;
        lt_dtype type;
        const char *text;
    } cases[] = {{-1, 0, true, LT_I32, "the window is negative"},
                 {3, 0, false, LT_I32, "a window needs causal"},
                 {0, 5, true, LT_I32, "spans are i32 [1,5,2]; they are to be i32 [1,4,2]"},
                 {0, 4, true, LT_F32, "spans are f32"}};
    for (int i = 0; i < 2 * LTI_COUNT(cases); i++) {
        ts_bed t;
        if (!ts_bed_make(&t)) return;
        lt_attention_config config;
        lt_attention_config_init(&config);
        config.window = cases[i / 2].window;
        config.causal = cases[i / 2].causal;
        if (cases[i / 2].rows) config.spans = lt_input(t.g, "spans", cases[i / 2].type, DIMS(1, cases[i / 2].rows, 2));
        lt_t x = lt_input(t.g, "x", LT_F32, DIMS(1, 4, 1, 8));
        lt_t y = i % 2 ? lt_attention(x, x, x, lt_nil(t.g), &config) : lt_attention_composite(x, x, x, &config, NULL);
        lt_plan *plan = NULL;
        TS_CHECK(lt_is_nil(y) && lt_compile(t.g, NULL, 1, &y, &plan) != LT_OK, "case %d is taken", i);
        TS_CHECK(strstr(lt_graph_message(t.g), cases[i / 2].text), "case %d says: %s", i, lt_graph_message(t.g));
        lt_plan_free(plan);
        ts_bed_drop(&t);
    }
}

int lti_suite_attention(void)
{
    const ts_test tests[] = {{"every set of kernels", every_set_agrees},
                             {"heads together or alone", heads_together_or_alone},
                             {"far blocks", far_blocks_are_skipped},
                             {"packed and padded rows", packed_is_alone},
                             {"decoding", decoding_with_window_and_padding},
                             {"weights", weights_of_the_composite},
                             {"refusals", refusals}};
    return ts_suite("attention", LTI_COUNT(tests), tests);
}
