/* test_scheme.c - the words for grids: there and back, what is refused, what they weigh; arrays on a grid. */
#include "lathe/scheme.h"

#include "tests/data_files.h"
#include "tests/oracle_grids.h"

#include <math.h>

/* The word and its shortest spelling. */
static const char *const words[][2] = {
    {"f32", "f32"},
    {"f16", "f16"},
    {"bf16", "bf16"},
    {"q4_0", "q4_0"},
    {"q6_k", "q6_k"},
    {"tq2_0", "tq2_0"},
    {"mxfp4", "mxfp4"},
    {"nf4", "nf4"},
    {"nf4:dq", "nf4:dq"},
    {"fp4,dq", "fp4:dq"},
    {"int4", "int4"},
    {"int4:channel", "int4"},
    {"int8:tensor", "int8:tensor"},
    {"int4:g32", "int4:g32"},
    {"int3:g128,asym", "int3:g128,asym"},
    {"int5:asym:g64", "int5:g64,asym"},
    {"int8,asym", "int8:asym"},
    {"int2:tensor,full", "int2:tensor,full"},
    {"int4:full", "int4:full"},
    {"ternary", "ternary"},
    {"ternary:tensor", "ternary"},
    {"ternary:channel", "ternary:channel"},
    {"ternary:g32", "ternary:g32"},
    {"ternary:half", "ternary:half"},
    {"ternary:half,g256", "ternary:g256,half"},
    {"fp8", "fp8"},
    {"fp8:e5m2", "fp8:e5m2"},
    {"fp8:tensor", "fp8:tensor"},
    {"fp8:e5m2,tensor", "fp8:e5m2,tensor"},
};

static const char *const refused[] = {"",
                                      "int",
                                      "int1",
                                      "int9",
                                      "int16",
                                      "int4:",
                                      "int4,",
                                      "int4:g",
                                      "int4:g0",
                                      "int4:g-4",
                                      "int4:g32,g32",
                                      "int4:g3x",
                                      "int4:g99999999999999999999",
                                      "int4:asym,full",
                                      "int4:full,asym",
                                      "int4:asym,asym",
                                      "int4:tensor,channel",
                                      "int4 ",
                                      "INT4",
                                      "q4_0:g32",
                                      "f32:dq",
                                      "q4_0:dq",
                                      "nf4:dq,dq",
                                      "ternary:asym",
                                      "ternary:full",
                                      "ternary:half,half",
                                      "fp8:g32",
                                      "fp8:e4m3fnuz",
                                      "fp8:e5m2,e5m2",
                                      "i8",
                                      "i32",
                                      "q8_1",
                                      "q8_k",
                                      "q9_0",
                                      "none",
                                      "int4:g0000000000000000000000000000000000000000000000000000000000000032"};

static void there_and_back(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    for (int i = 0; i < LTI_COUNT(words); i++) {
        lt_scheme s, again;
        char name[LT_SCHEME_TEXT];
        if (!TS_OK(ctx, lt_scheme_parse(ctx, words[i][0], &s))) continue;
        TS_CHECK(strcmp(lt_scheme_name(&s, name), words[i][1]) == 0, "%s is called %s, not %s", words[i][0], name,
                 words[i][1]);
        TS_OK(ctx, lt_scheme_parse(ctx, name, &again));
        TS_CHECK(lt_scheme_same(&s, &again), "%s is read as it was written", name);
        for (int k = 0; k < LTI_COUNT(words); k++) {
            lt_scheme other;
            TS_OK(ctx, lt_scheme_parse(ctx, words[k][0], &other));
            TS_CHECK(lt_scheme_same(&s, &other) == (strcmp(words[i][1], words[k][1]) == 0), "%s and %s", words[i][0],
                     words[k][0]);
        }
    }
    lt_ctx_free(ctx);
}

static void what_is_no_grid(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    for (int i = 0; i < LTI_COUNT(refused); i++) {
        lt_scheme s = {.kind = LT_SCHEME_INT};
        TS_REFUSED(ctx, lt_scheme_parse(ctx, refused[i], &s), LT_EINVAL, "ternary[");
        TS_CHECK(lt_scheme_is_float(&s), "'%s' leaves nothing behind", refused[i]);
    }
    lt_scheme zero = {0}, of = lt_scheme_of(LT_F32);
    TS_CHECK(lt_scheme_is_float(&zero) && lt_scheme_same(&zero, &of), "zero-initialised it is f32");
    lt_ctx_free(ctx);
}

static void weights(void)
{
    enum { R = sizeof(lt_real) };
    const struct {
        const char *word;
        int64_t rows, columns;
        size_t bytes;
    } cases[] = {{"f32", 3, 5, 60},
                 {"f16", 3, 5, 30},
                 {"q4_0", 4, 64, 4 * 2 * 18},
                 {"q4_0", 4, 48, 0},
                 {"tq2_0", 2, 512, 2 * 2 * 66},
                 {"nf4", 4, 64, 4 * 36},
                 {"nf4:dq", 4, 64, 4 * 32 + 4 + 4 + 4},
                 {"int4:g32", 2, 172, 172 + 2 * R * 6}, /* the last group of a row is shorter */
                 {"int4:g32,half", 2, 172, 172 + 2 * 2 * 6},
                 {"int3:tensor", 3, 5, 3 * 2 + R},           /* 15 bits a row */
                 {"int4:channel,asym", 3, 4, 6 + 3 * R + 2}, /* 3 zero points: 12 bits */
                 {"int8", 3, 5, 15 + 3 * R},
                 {"ternary", 4, 4, 4 + R},
                 {"ternary:half", 4, 5, 8 + 2},
                 {"fp8", 3, 5, 15 + 3 * R},
                 {"int4", 0, 5, 0},
                 {"int4", -1, 5, 0},
                 {"int4", INT64_MAX / 2, 4, 0}};
    lt_ctx *ctx = lt_ctx_create(NULL);
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        lt_scheme s;
        TS_OK(ctx, lt_scheme_parse(ctx, cases[i].word, &s));
        size_t bytes = lt_scheme_bytes(&s, cases[i].rows, cases[i].columns);
        TS_CHECK(bytes == cases[i].bytes, "%s %lld x %lld: %zu bytes, not %zu", cases[i].word, (long long)cases[i].rows,
                 (long long)cases[i].columns, bytes, cases[i].bytes);
    }
    lt_ctx_free(ctx);
}

enum { ROWS = 5, COLUMNS = 77, COUNT = ROWS * COLUMNS };

/* The numbers of lt_fake_quant bit for bit, and those of the formula. */
static void arrays(void)
{
    const char *const grids[] = {
        "int4:g32", "int8:asym", "int3:tensor,full", "ternary", "ternary:g16", "int2:g7,asym", "bf16", "f16", "f32"};
    ts_bed t;
    static lt_real x[COUNT], y[COUNT], z[COUNT];
    static double in[COUNT], want[COUNT];
    if (!ts_bed_make(&t)) return;
    ts_fill_normal("arrays", COUNT, 0.1, x);
    for (int i = 0; i < COUNT; i++) in[i] = (double)x[i];
    for (int i = 0; i < LTI_COUNT(grids); i++)
        for (int mse = 0; mse < 2; mse++) {
            lt_scheme s;
            lt_fake_quant_config c;
            lt_fake_quant_config_init(&c);
            TS_OK(t.ctx, lt_scheme_parse(t.ctx, grids[i], &s));
            if (mse && s.kind == LT_SCHEME_TYPE) continue;
            c.scale = mse ? LT_SCALE_MSE : LT_SCALE_DYNAMIC;
            c.learned = c.offset = lt_nil(t.g);
            ts_bed_again(&t);
            lt_param *w = lt_params_find(t.params, "w");
            if (!w) w = ts_weight(&t, "w", 0, 2, (int64_t[]){ROWS, COLUMNS});
            memcpy(lt_param_data(w), x, sizeof x);
            c.learned = c.offset = lt_nil(t.g);
            ts_value(t.ctx, lt_fake_quant(lt_param_value(t.g, w), &s, &c), COUNT, y);
            TS_OK(t.ctx, lt_scheme_apply(t.ctx, &s, c.scale, ROWS, COLUMNS, x, z));
            TS_CHECK(ts_same_bytes(sizeof y, y, z), "%s: graph and array agree bit for bit", grids[i]);
            TS_OK(t.ctx, lt_scheme_apply(t.ctx, &s, c.scale, ROWS, COLUMNS, memcpy(z, x, sizeof x), z));
            TS_CHECK(ts_same_bytes(sizeof y, y, z), "%s: also in place", grids[i]);
            if (s.kind == LT_SCHEME_TYPE) continue;
            ts_grid g = {.scheme = s, .rule = c.scale, .rows = ROWS, .columns = COLUMNS};
            ts_grid_values(&g, in, want);
            double off = ts_distance(COUNT, y, want);
            TS_CHECK(off < 1e-7, "%s %s: %g from the formula", grids[i], mse ? "mse" : "dynamic", off);
        }
    ts_bed_drop(&t);
}

/* Ternary numbers of a scale that is f16: what TQ1_0 and TQ2_0 hold to the last bit. The mean is rounded before it divides. */
static void half_scales(void)
{
    static lt_real x[COUNT], y[COUNT], z[COUNT];
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_scheme s;
    double sum = 0;
    int e;
    ts_fill_normal("half scales", COUNT, 0.1, x);
    for (int i = 0; i < COUNT; i++) sum += fabs((double)x[i]);
    double mean = sum / COUNT, eleven = ldexp(frexp((double)(float)mean, &e), 11); /* bits that an f16 has */
    lt_real scale = (lt_real)ldexp(rint(eleven), e - 11);
    TS_OK(ctx, lt_scheme_parse(ctx, "ternary:half", &s));
    TS_OK(ctx, lt_scheme_apply(ctx, &s, LT_SCALE_DYNAMIC, ROWS, COLUMNS, x, y));
    for (int i = 0; i < COUNT; i++) z[i] = scale * (lt_real)fmax(-1, fmin(1, rint((double)(x[i] * (1 / scale))))) + 0;
    TS_CHECK((double)scale != mean && ts_same_bytes(sizeof y, y, z), "three numbers, 0 and the f16 %g of the mean %g",
             (double)scale, (double)mean);
    lt_ctx_free(ctx);
}

static void arrays_refused(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_real x[8] = {1};
    lt_scheme s = lt_scheme_of(LT_Q4_0), int4;
    TS_OK(ctx, lt_scheme_parse(ctx, "int4", &int4));
    TS_REFUSED(ctx, lt_scheme_apply(ctx, &s, LT_SCALE_DYNAMIC, 1, 8, x, x), LT_EINVAL, "whole blocks");
    TS_REFUSED(ctx, lt_scheme_apply(ctx, &s, LT_SCALE_MSE, 1, 8, x, x), LT_EINVAL, "its own");
    s = lt_scheme_of(LT_IQ4_NL);
    TS_REFUSED(ctx, lt_scheme_apply(ctx, &s, LT_SCALE_DYNAMIC, 1, 8, x, x), LT_EUNSUPPORTED, "only be read");
    TS_REFUSED(ctx, lt_scheme_apply(ctx, &int4, LT_SCALE_LSQ, 1, 8, x, x), LT_EINVAL, "learned");
    TS_REFUSED(ctx, lt_scheme_apply(ctx, &int4, LT_SCALE_DYNAMIC, -1, 8, x, x), LT_EINVAL, "negative");
    TS_OK(ctx, lt_scheme_apply(ctx, &int4, LT_SCALE_DYNAMIC, 0, 8, x, x));
    lt_ctx_free(ctx);
}

static lt_status apply_once(lt_ctx *ctx, void *arg)
{
    lt_real x[64] = {1, -2}, y[64];
    return lt_scheme_apply(ctx, arg, LT_SCALE_DYNAMIC, 2, 32, x, y);
}

static void out_of_memory(void)
{
    lt_scheme s = lt_scheme_of(LT_Q8_0), g = {.kind = LT_SCHEME_INT, .bits = 4, .per = LT_PER_GROUP, .group = 8};
    ts_every_allocation_fails("a lattice", apply_once, &s);
    ts_every_allocation_fails("an integer grid", apply_once, &g);
}

int lti_suite_scheme(void)
{
    const ts_test tests[] = {{"there and back", there_and_back},
                             {"what is no grid", what_is_no_grid},
                             {"weights", weights},
                             {"arrays", arrays},
                             {"half scales", half_scales},
                             {"arrays refused", arrays_refused},
                             {"out of memory", out_of_memory}};
    return ts_suite("scheme", LTI_COUNT(tests), tests);
}
