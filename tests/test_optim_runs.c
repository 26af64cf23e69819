/* test_optim_runs.c - whole trainings with each kind of optimizer: the loss falls, and a run stopped and gone on with
 * has the bits of one that was not, with moments of 8 bits, averages of weights and rates by layer too. */
#include "tests/toy_run.h"

static void in_8_bits(toy_run *r)
{
    r->config.optimizer = "adamw_8bit", r->config.ema_decay = 0.9, r->config.max_grad_norm = 0;
}

static void by_signs(toy_run *r)
{
    r->config.optimizer = "lion", r->config.learning_rate = 1e-3, r->config.layer_decay = 0.8;
}

static void by_directions(toy_run *r)
{
    r->config.optimizer = "muon", r->config.ema_decay = 0.5, r->config.weight_decay = 0.1;
}

static void stopping_changes_no_bit(void)
{
    toy_stopped_and_resumed("adamw in 8 bits", in_8_bits, TOY_STOPS(1, 5));
    toy_stopped_and_resumed("lion", by_signs, TOY_STOPS(4));
    toy_stopped_and_resumed("muon", by_directions, TOY_STOPS(7));
}

static void losses_fall(void)
{
    static const struct {
        const char *name;
        double lr;
    } kinds[] = {{"adamw", 5e-3}, {"adamw_8bit", 5e-3}, {"lion", 1e-3}, {"muon", 5e-3}, {"sgd", 0.3}};
    double loss[LTI_COUNT(kinds)];
    ts_place p = ts_open_place();
    for (int i = 0; i < LTI_COUNT(kinds); i++) {
        toy_run r = toy_new_run(&p, NULL);
        r.config.optimizer = kinds[i].name, r.config.learning_rate = kinds[i].lr, r.config.steps = 40;
        r.config.save_every = 0, r.config.max_grad_norm = i % 2;
        TS_OK(p.ctx, toy_go_once(&r));
        loss[i] = r.result.last_loss;
        TS_CHECK(loss[i] < 0.8 * r.result.first_loss, "%s: %g -> %g", kinds[i].name, r.result.first_loss, loss[i]);
    }
    ts_close_place(&p);
}

static void eight_bits_cost_no_loss(void)
{
    double loss[2];
    ts_place p = ts_open_place();
    for (int i = 0; i < 2; i++) {
        toy_run r = toy_new_run(&p, NULL);
        r.config.optimizer = i ? "adamw_8bit" : "adamw", r.config.steps = 60, r.config.save_every = 0;
        TS_OK(p.ctx, toy_go_once(&r));
        loss[i] = r.result.last_loss;
    }
    TS_CHECK(loss[1] < 1.005 * loss[0], "in 8 bits %g, in f32 %g", loss[1], loss[0]);
    ts_close_place(&p);
}

int lti_suite_optim_runs(void)
{
    const ts_test tests[] = {{"stopping changes no bit", stopping_changes_no_bit},
                             {"losses fall", losses_fall},
                             {"8 bits cost no loss", eight_bits_cost_no_loss}};
    return ts_suite("optim_runs", LTI_COUNT(tests), tests) || toy_one_thread("optim_runs");
}
