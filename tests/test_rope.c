/* test_rope.c - frequencies of rotary embedding against those of Transformers (golden_rope.h), and the configs that are
 * refused. What the op does with them is in test_ops.c. */
#include "autograd/ops/rope_frequencies.h"
#include "tests/testing.h"

#include "tests/golden_rope.h"

#include <math.h>
#include <string.h>

static void frequencies(void)
{
    for (int c = 0; c < LTI_COUNT(golden_ropes); c++) {
        const struct golden_rope *g = &golden_ropes[c];
        lt_rope_config config;
        lt_rope_config_init(&config);
        config.theta = g->theta;
        config.scaling = g->scaling;
        double got[64], amplitude;
        char why[LTI_ROPE_TEXT];
        const char *problem = lti_rope_problem(&config, g->D, why);
        if (!TS_CHECK(!problem, "case %d: %s", c, problem)) continue;
        lti_rope_frequencies(&config, g->D, got, &amplitude);
        TS_CHECK(fabs(amplitude - g->amplitude) < 1e-12, "case %d: amplitude %.15g, not %.15g", c, amplitude,
                 g->amplitude);
        for (int i = 0; i < g->D / 2; i++)
            TS_CHECK(fabs(got[i] - g->frequency[i]) < 2e-6 * g->frequency[i], "case %d: f[%d] = %.9g, not %.9g", c, i,
                     got[i], g->frequency[i]);
    }
}

static void refusals(void)
{
    const float factors[2] = {1, 0};
    const lt_rope_scaling llama3 = {LT_ROPE_LLAMA3, .factor = 8, .low_freq_factor = 1, .high_freq_factor = 4,
                                    .original_context = 8192};
    const lt_rope_scaling yarn = {LT_ROPE_YARN, .factor = 8, .original_context = 8192};
    struct {
        lt_rope_scaling scaling;
        double theta;
        const char *text;
    } cases[] = {
        {{LT_ROPE_PLAIN}, 0, "plain: theta is 0"},
        {{LT_ROPE_PLAIN}, NAN, "theta is"},
        {{LT_ROPE_LINEAR}, 100, "linear: factor is 0"},
        {{LT_ROPE_LINEAR, .factor = INFINITY}, 100, "factor is inf"},
        {{LT_ROPE_FACTORS}, 100, "there are no factors; 2 are needed"},
        {{LT_ROPE_FACTORS, .factors = factors}, 100, "factors[1] is 0"},
        {{(lt_rope_scaling_kind)9}, 100, "scaling kind 9"},
        {llama3, 100, "llama3: original_context is -1"},
        {llama3, 100, "low_freq_factor is 4"},
        {llama3, 100, "low_freq_factor is 0"},
        {yarn, 1, "yarn: theta is 1"},
        {yarn, 100, "beta_fast is 0.5"},
        {yarn, 100, "attention_factor is -1"},
    };
    cases[7].scaling.original_context = -1;
    cases[8].scaling.low_freq_factor = 4;
    cases[9].scaling.low_freq_factor = 0;
    cases[11].scaling.beta_fast = 0.5;
    cases[12].scaling.attention_factor = -1;
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        ts_bed t;
        if (!ts_bed_make(&t)) return;
        lt_rope_config config;
        lt_rope_config_init(&config);
        config.theta = cases[i].theta;
        config.scaling = cases[i].scaling;
        lt_t x = lt_input(t.g, "x", LT_F32, 4, (int64_t[]){1, 2, 1, 4});
        TS_CHECK(lt_is_nil(lt_rope(x, lt_nil(t.g), &config)), "case %d is taken", i);
        TS_CHECK(strstr(lt_graph_message(t.g), cases[i].text), "case %d says: %s", i, lt_graph_message(t.g));
        ts_bed_drop(&t);
    }
}

int lti_suite_rope(void)
{
    return ts_suite("rope", 2, (ts_test[]){{"frequencies", frequencies}, {"refusals", refusals}});
}
