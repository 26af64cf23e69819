/* test_nonfinite.c - numbers that are not finite while training: the step is left out, then the run goes back to its
 * checkpoint with half the rate, then it is given up and the first broken node is named. */
#include "tests/toy_run.h"

#include <math.h>

static void spoil(toy_run *r)
{
    r->spoil_after = 8, r->spoilings = 1;
}

static void a_broken_step_is_left_out(void)
{
    ts_place p = ts_open_place();
    toy_run r = toy_new_run(&p, p.dir);
    r.spoil_after = 4, r.heal_after = 6;
    TS_OK(p.ctx, toy_go_once(&r));
    TS_CHECK(r.result.skipped_steps == 2 && r.result.rollbacks == 0, "%lld skipped", (long long)r.result.skipped_steps);
    TS_CHECK(strstr(r.notes, "5: not finite: update left out\n6: not finite") && !strstr(r.notes, "6: checkpoint"),
             "notes: %s", r.notes);
    TS_CHECK(r.lines == STEPS && isfinite(r.result.last_loss) && r.result.last_loss < r.result.first_loss,
             "it goes on");
    char *metrics = toy_read(ts_at(&p, "metrics.jsonl"), NULL);
    TS_CHECK(metrics && strstr(metrics, "\"skipped\":true,\"note\":\"not finite: update left out\"") &&
                 !strstr(metrics, "nan"),
             "the metrics tell it: %s", metrics);
    free(metrics);
    ts_close_place(&p);
}

static void back_with_half_the_rate(void)
{
    ts_place p = ts_open_place();
    toy_run r = toy_new_run(&p, p.dir);
    r.config.lr_schedule = "constant", r.config.warmup_ratio = 0;
    r.spoil_after = 4;
    TS_OK(p.ctx, toy_go_once(&r));
    TS_CHECK(r.result.rollbacks == 1 && r.result.skipped_steps == 4 && r.result.steps == STEPS,
             "%lld rollbacks, %lld skipped", (long long)r.result.rollbacks, (long long)r.result.skipped_steps);
    TS_CHECK(strstr(r.notes, "3: not finite: back to step 3 with half the learning rate"), "notes: %s", r.notes);
    TS_CHECK(r.lines == 17 && r.step[7] == 3 && r.step[8] == 4, "steps are made again: %d lines", r.lines);
    TS_CHECK(r.lr[3] == 5e-3 && r.lr[8] == 2.5e-3 && r.lr[16] == 2.5e-3, "at half the rate: %g", r.lr[8]);
    TS_CHECK(isfinite(r.result.last_loss), "and it ends well");
    ts_close_place(&p);
    toy_stopped_and_resumed("stopped after going back", spoil, TOY_STOPS(7));
}

static void given_up(void)
{
    ts_place p = ts_open_place();
    toy_run r = toy_new_run(&p, p.dir);
    r.spoil_after = 4, r.spoilings = 2;
    TS_REFUSED(p.ctx, toy_go_once(&r), LT_ENONFINITE, "diverged at step 8: loss nan");
    const char *const words[] = {"after 4 skipped steps", "blk.1.ffn_up", "try a lower learning_rate"};
    for (int i = 0; i < LTI_COUNT(words); i++)
        TS_CHECK(strstr(lt_ctx_message(p.ctx), words[i]), "'%s' is not in '%s'", words[i], lt_ctx_message(p.ctx));
    TS_CHECK(r.result.rollbacks == 1 && r.result.skipped_steps == 8, "%lld skipped", (long long)r.result.skipped_steps);
    toy_run q = toy_new_run(&p, NULL); /* nothing to go back to */
    q.config.save_every = 0, q.spoil_after = 1;
    TS_REFUSED(p.ctx, toy_go_once(&q), LT_ENONFINITE, "diverged at step 5");
    ts_close_place(&p);
}

static void stopped_while_not_finite(void)
{
    ts_place p = ts_open_place();
    toy_run r = toy_new_run(&p, p.dir);
    r.spoil_after = 1, r.stop_after = 2;
    TS_REFUSED(p.ctx, toy_go_once(&r), LT_EINTERRUPTED, "stopped after step 2");
    r.stop_after = 0, r.heal_after = 3, r.spoil_after = 0;
    TS_OK(p.ctx, toy_go_once(&r));
    TS_CHECK(r.first_step == 2 && r.result.skipped_steps == 2, "%lld skipped", (long long)r.result.skipped_steps);
    ts_close_place(&p);
}

/* The first loss is not finite, and stays in the state of all checkpoints. */
static void a_bad_first_step(void)
{
    ts_place p = ts_open_place();
    toy_run r = toy_new_run(&p, p.dir);
    r.config.learning_rate = 1e4, r.config.optimizer = "sgd", r.config.max_grad_norm = 0, r.config.resume = "never";
    r.config.steps = 4;
    lt_status status = toy_go_once(&r); /* whatever happens, it has a name */
    TS_CHECK(status == LT_OK || status == LT_ENONFINITE, "%s: %s", lt_status_name(status), lt_ctx_message(p.ctx));
    ts_close_place(&p);
    p = ts_open_place();
    r = toy_new_run(&p, p.dir);
    lt_model *m = toy_model(p.ctx, TOY_INIT, 21);
    lt_dataset *text = toy_text(p.ctx, m, LT_SPLIT_TRAIN);
    r.model = m;
    toy_spoil(&r, NAN);
    r.config.out = p.dir, r.config.user = &r, r.config.on_progress = toy_on_progress, r.heal_after = 1;
    TS_OK(p.ctx, lt_train(m, text, NULL, &r.config, &r.result));
    TS_CHECK(isnan(r.result.first_loss) && strstr(r.notes, "3: checkpoint saved"), "saved nevertheless: %s", r.notes);
    lt_dataset_free(text);
    toy_go_once(&r);
    TS_CHECK(r.first_step == STEPS && isnan(r.result.first_loss), "and read back");
    ts_close_place(&p);
}

int lti_suite_nonfinite(void)
{
    const ts_test tests[] = {{"broken steps", a_broken_step_is_left_out},
                             {"back with half the rate", back_with_half_the_rate},
                             {"given up", given_up},
                             {"stopped while not finite", stopped_while_not_finite},
                             {"a bad first step", a_bad_first_step}};
    return ts_suite("nonfinite", LTI_COUNT(tests), tests) || toy_one_thread("nonfinite");
}
