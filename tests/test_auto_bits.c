/* test_auto_bits.c - types under a budget: the choice against all choices there are, the costs against the loss that
 * rounding really raises, and what is refused. */
#include "qat/auto_bits.h"
#include "tests/toys.h"

#include <math.h>

/* ---- The choice ---- */

enum { TENSORS = 5, TYPES = 4 };

static void make_tensors(lti_bits_tensor *tensors, uint64_t seed, bool convex)
{
    for (int i = 0; i < TENSORS; i++) {
        lti_bits_tensor *t = &tensors[i];
        uint64_t size = 8 * (1 + (seed >> (3 * i) & 3));
        double scale = 1 + (double)(seed * 7919 % 97 * (uint64_t)(i + 1) % 31);
        *t = (lti_bits_tensor){.n = TYPES};
        for (int k = 0; k < TYPES; k++) {
            t->bytes[k] = size * (uint64_t)(2 + k);
            t->costs[k] = scale * (convex ? pow(4, -k) : (double)(TYPES - k));
        }
    }
}

/* The least cost within the budget, of all 4^5 choices. */
static double best_of_all(const lti_bits_tensor *t, uint64_t budget)
{
    double best = INFINITY;
    for (int code = 0; code < 1 << 2 * TENSORS; code++) {
        uint64_t bytes = 0;
        double cost = 0;
        for (int i = 0; i < TENSORS; i++) {
            bytes += t[i].bytes[code >> 2 * i & 3];
            cost += t[i].costs[code >> 2 * i & 3];
        }
        if (bytes <= budget && cost < best) best = cost;
    }
    return best;
}

static void choices(void)
{
    lti_bits_tensor t[TENSORS];
    for (uint64_t seed = 1; seed < 40; seed++)
        for (int part = 0; part <= 10; part++) {
            uint64_t least = 0, most = 0, used = 0;
            double cost = 0;
            make_tensors(t, seed * 2654435761u, seed % 2);
            for (int i = 0; i < TENSORS; i++) least += t[i].bytes[0], most += t[i].bytes[TYPES - 1];
            uint64_t budget = least + (most - least) * (uint64_t)part / 10;
            TS_CHECK(lti_bits_choose(TENSORS, t, budget), "there is a choice");
            for (int i = 0; i < TENSORS; i++) used += t[i].bytes[t[i].chosen], cost += t[i].costs[t[i].chosen];
            double best = best_of_all(t, budget), step = 0;
            for (int i = 0; i < TENSORS; i++) step = fmax(step, t[i].costs[0] - t[i].costs[1]);
            TS_CHECK(used <= budget, "seed %d, part %d: %d bytes of %d", (int)seed, part, (int)used, (int)budget);
            TS_CHECK(cost <= best + step, "seed %d, part %d: costs %g, the best is %g", (int)seed, part, cost, best);
            TS_CHECK(part < 10 || cost == best, "with room for all, all are taken");
            TS_CHECK(!lti_bits_choose(TENSORS, t, least - 1), "too small a budget");
        }
}

/* ---- A model ---- */

#define INIT "llama:layers=2,dim=64,hidden=96,heads=4,kv_heads=2,context=64"

static void chosen_types(void)
{
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, INIT, 5);
    lt_dataset *text = toy_text(p.ctx, m, LT_SPLIT_ALL);
    const lt_quant_rule own = {"blk.0.ffn_down.weight", lt_scheme_of(LT_F16)};
    lt_quant_policy policy;
    lt_quant_policy_init(&policy);
    policy.rules = &own, policy.n_rules = 1;
    double bits, rise, last = INFINITY;
    const double budgets[] = {4.5, 5.0, 5.7, 8.5};
    for (int i = 0; i < LTI_COUNT(budgets); i++) {
        lt_auto_bits *a = NULL, *again = NULL;
        int n;
        if (!TS_OK(p.ctx, lt_auto_bits_choose(m, text, &policy, budgets[i], &a))) break;
        const lt_quant_rule *rules = lt_auto_bits_rules(a, &n);
        const char *table = lt_auto_bits_table(a, &bits, &rise);
        TS_CHECK(n == 14 && rules[0].pattern == own.pattern && !strstr(table, "blk.0.ffn_down"), "%d rules", n);
        TS_CHECK(bits <= budgets[i] && bits >= 4.5 && rise < last, "%g bits: %g, rise %g", budgets[i], bits, rise);
        TS_OK(p.ctx, lt_auto_bits_choose(m, text, &policy, budgets[i], &again));
        double b, r;
        TS_CHECK(again && !strcmp(table, lt_auto_bits_table(again, &b, &r)) && r == rise, "the same again");
        last = rise;
        lt_auto_bits_free(again);
        lt_auto_bits_free(a);
    }
    lt_auto_bits *none;
    TS_REFUSED(p.ctx, lt_auto_bits_choose(m, text, &policy, 4.4, &none), LT_EINVAL, "smallest types take, 4.5");
    TS_REFUSED(p.ctx, lt_auto_bits_choose(m, text, &policy, -1, &none), LT_EINVAL, "-1 bits");
    policy.targets = "nothing";
    TS_REFUSED(p.ctx, lt_auto_bits_choose(m, text, &policy, 5, &none), LT_EINVAL, "no linear layer");
    TS_CHECK(none == NULL, "nothing is given");
    lt_dataset_free(text);
    lt_model_free(m);
    ts_close_place(&p);
}

/* Weights as far on the other side of where they are as rounding takes them: what rises on both sides is of second order,
 * and that is what is foretold. Of training that is not at its end the rest may be larger, and fall as well. */
static void mirror(ts_place *p, lt_model *m, const lt_quant_policy *policy)
{
    lt_params *codes = NULL, *rounded = NULL, *params = lt_model_params(m);
    if (TS_OK(p->ctx, lt_quantize_params(params, policy, &codes)) &&
        TS_OK(p->ctx, lt_dequantize_params(codes, &rounded)))
        for (int i = 0; i < lt_params_count(rounded); i++) {
            const lt_real *to = lt_param_read(lt_params_at(rounded, i));
            lt_param *w = lt_params_find(params, lt_param_name(lt_params_at(rounded, i)));
            lt_real *x = lt_param_data(w);
            for (int64_t k = 0; k < lt_param_count(w); k++) x[k] = 2 * x[k] - to[k];
            lt_param_touch(w);
        }
    lt_params_free(codes);
    lt_params_free(rounded);
}

/* The rise that is foretold for a trained model against the one that evaluations show. */
static void foretold_rise(void)
{
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, INIT, 5);
    lt_dataset *text = toy_text(p.ctx, m, LT_SPLIT_ALL);
    lt_train_config c;
    lt_train_result result;
    lt_train_config_init(&c);
    c.steps = 250, c.learning_rate = 1e-2;
    TS_OK(p.ctx, lt_train(m, text, NULL, &c, &result));
    lt_quant_policy policy;
    lt_eval_result plain, rounded, mirrored;
    lt_auto_bits *a = NULL;
    double bits, rise;
    lt_quant_policy_init(&policy);
    if (TS_OK(p.ctx, lt_auto_bits_choose(m, text, &policy, 4.5, &a))) {
        policy.rules = lt_auto_bits_rules(a, &policy.n_rules);
        (void)lt_auto_bits_table(a, &bits, &rise);
        TS_OK(p.ctx, lt_evaluate(m, text, NULL, 0, &plain));
        TS_OK(p.ctx, lt_evaluate(m, text, &policy, 0, &rounded));
        mirror(&p, m, &policy);
        TS_OK(p.ctx, lt_evaluate(m, text, NULL, 0, &mirrored));
        double real = (rounded.nll + mirrored.nll) / 2 - plain.nll;
        TS_CHECK(real > 0 && rise > real / 4 && rise < real * 4, "foretold %g, and it is %g", rise, real);
    }
    lt_auto_bits_free(a);
    lt_dataset_free(text);
    lt_model_free(m);
    ts_close_place(&p);
}

static lt_status attempt(lt_ctx *ctx, void *arg, bool *survived)
{
    lt_model *m;
    lt_dataset *set = NULL;
    lt_auto_bits *a = NULL;
    lt_dataset_options o;
    lt_quant_policy policy;
    (void)arg, (void)survived;
    lt_quant_policy_init(&policy);
    lt_dataset_options_init(&o);
    o.max_seq_length = 8;
    lt_status status = lt_model_create(ctx, "llama:layers=1,dim=32,hidden=32,heads=2", NULL, 1, &m);
    if (status == LT_OK) status = lt_dataset_from_text(ctx, "a short text", 12, lt_model_tokenizer(m), &o, &set);
    if (status == LT_OK) status = lt_auto_bits_choose(m, set, &policy, 6, &a);
    lt_auto_bits_free(a);
    lt_dataset_free(set);
    lt_model_free(m);
    return status;
}

static void every_allocation_fails(void)
{
    toy_allocations_fail("choosing bits", 400, attempt, NULL);
}

int lti_suite_auto_bits(void)
{
    const ts_test tests[] = {{"choices", choices},
                             {"chosen types", chosen_types},
                             {"foretold rise", foretold_rise},
                             {"every allocation fails", every_allocation_fails}};
    return ts_suite("auto_bits", LTI_COUNT(tests), tests) || toy_one_thread("auto_bits");
}
