/* rope_frequencies.c - f_i = theta^(-2i/D), and the ways to stretch them that published models were trained with.
 *
 *     linear   f / s                                            (Chen et al. 2023, position interpolation)
 *     llama3   with wavelength w = 2 pi / f and L the context of the first training: f where w < L / high, f / s where
 *              w > L / low, between them (1 - u) f / s + u f,  u = (L / w - low) / (high - low)
 *     yarn     (1 - r_i) f + r_i f / s, r a ramp from 0 to 1 over the dimensions whose pairs turn beta_fast .. beta_slow
 *              times within L, both ends rounded outwards; cos and sin times 0.1 ln s + 1   (Peng et al. 2023)
 *     factors  f_i / factors[i]
 *
 * They agree with Hugging Face Transformers (tests/test_rope.c), which computes them in float; here they are double.
 * The dynamic kinds, whose frequencies depend on the length of the text at hand, are left out: a cache of rotated keys
 * would hold angles of different frequencies. */
#include "autograd/ops/rope_frequencies.h"

#include <math.h>
#include <stdio.h>

#define TWO_PI 6.283185307179586476925

static double llama3(const lt_rope_scaling *s, double f)
{
    double turns = (double)s->original_context * f / TWO_PI; /* L / w */
    if (turns > s->high_freq_factor) return f;
    if (turns < s->low_freq_factor) return f / s->factor;
    double blend = (turns - s->low_freq_factor) / (s->high_freq_factor - s->low_freq_factor);
    return (1 - blend) * f / s->factor + blend * f;
}

/* The dimension whose pair turns so many times within the context. */
static double turning_dimension(const lt_rope_config *c, int64_t D, double turns)
{
    return (double)D * log((double)c->scaling.original_context / (turns * TWO_PI)) / (2 * log(c->theta));
}

static void yarn_ramp(const lt_rope_config *c, int64_t D, double *from, double *until)
{
    const lt_rope_scaling *s = &c->scaling;
    *from = fmax(floor(turning_dimension(c, D, s->beta_fast != 0 ? s->beta_fast : 32)), 0);
    *until = fmin(ceil(turning_dimension(c, D, s->beta_slow != 0 ? s->beta_slow : 1)), (double)(D - 1));
    if (*from == *until) *until += 0.001;
}

void lti_rope_frequencies(const lt_rope_config *c, int64_t D, double *inverse_frequency, double *amplitude)
{
    const lt_rope_scaling *s = &c->scaling;
    double from = 0, until = 1;
    *amplitude = 1;
    if (s->kind == LT_ROPE_YARN) {
        yarn_ramp(c, D, &from, &until);
        *amplitude = s->attention_factor != 0 ? s->attention_factor : s->factor > 1 ? 0.1 * log(s->factor) + 1 : 1;
    }
    for (int64_t i = 0; i < D / 2; i++) {
        double f = pow(c->theta, -2.0 * (double)i / (double)D);
        double ramp = fmin(fmax(((double)i - from) / (until - from), 0), 1);
        switch (s->kind) {
        case LT_ROPE_PLAIN: break;
        case LT_ROPE_LINEAR: f /= s->factor; break;
        case LT_ROPE_LLAMA3: f = llama3(s, f); break;
        case LT_ROPE_YARN: f = (1 - ramp) * f + ramp * f / s->factor; break;
        case LT_ROPE_FACTORS: f /= (double)s->factors[i]; break;
        }
        inverse_frequency[i] = f;
    }
}

static bool positive(double x)
{
    return x > 0 && x <= 1e300; /* no NaN, no infinity */
}

/* The name of what is wrong and its value; NULL when nothing is. */
static const char *wrong_number(const lt_rope_config *c, double *value)
{
    const lt_rope_scaling *s = &c->scaling;
    bool yarn = s->kind == LT_ROPE_YARN, stretched = yarn || s->kind == LT_ROPE_LLAMA3;
    const struct {
        const char *text;
        double value;
        bool asked, well;
    } rules[] = {
        {"theta is %g; it is to be above 0", c->theta, true, positive(c->theta)},
        {"theta is %g; it is to be above 1", c->theta, yarn, c->theta > 1},
        {"factor is %g; it is to be above 0", s->factor, stretched || s->kind == LT_ROPE_LINEAR, positive(s->factor)},
        {"original_context is %g; it is to be above 0", (double)s->original_context, stretched,
         s->original_context > 0},
        {"low_freq_factor is %g; it is to be above 0 and under high_freq_factor", s->low_freq_factor,
         s->kind == LT_ROPE_LLAMA3, positive(s->low_freq_factor) && s->low_freq_factor < s->high_freq_factor},
        {"high_freq_factor is %g; it is to be finite", s->high_freq_factor, s->kind == LT_ROPE_LLAMA3,
         positive(s->high_freq_factor)},
        {"beta_slow is %g; it is to be above 0 (or 0 for 1)", s->beta_slow, yarn,
         s->beta_slow == 0 || positive(s->beta_slow)},
        {"beta_fast is %g; it is to be at least beta_slow (or 0 for 32)", s->beta_fast, yarn,
         positive(s->beta_fast != 0 ? s->beta_fast : 32) &&
             (s->beta_fast != 0 ? s->beta_fast : 32) >= (s->beta_slow != 0 ? s->beta_slow : 1)},
        {"attention_factor is %g; it is to be above 0 (or 0 for 0.1 ln(factor) + 1)", s->attention_factor, yarn,
         s->attention_factor == 0 || positive(s->attention_factor)},
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (rules[i].asked && !rules[i].well) {
            *value = rules[i].value;
            return rules[i].text;
        }
    return NULL;
}

const char *lti_rope_problem(const lt_rope_config *c, int64_t D, char *buffer)
{
    static const char *const names[] = {"plain", "linear", "llama3", "yarn", "factors"};
    const lt_rope_scaling *s = &c->scaling;
    if ((unsigned)s->kind >= sizeof names / sizeof *names) {
        snprintf(buffer, LTI_ROPE_TEXT, "scaling kind %d is unknown", (int)s->kind);
        return buffer;
    }
    double value = 0;
    const char *text = wrong_number(c, &value);
    if (text) {
        int n = snprintf(buffer, LTI_ROPE_TEXT, "%s: ", names[s->kind]);
        snprintf(buffer + n, LTI_ROPE_TEXT - (size_t)n, text, value);
        return buffer;
    }
    for (int64_t i = 0; s->kind == LT_ROPE_FACTORS && i < D / 2; i++)
        if (!s->factors || !positive((double)s->factors[i])) {
            if (s->factors)
                snprintf(buffer, LTI_ROPE_TEXT, "factors[%lld] is %g; all %lld are to be above 0", (long long)i,
                         (double)s->factors[i], (long long)(D / 2));
            else
                snprintf(buffer, LTI_ROPE_TEXT, "there are no factors; %lld are needed", (long long)(D / 2));
            return buffer;
        }
    return NULL;
}
