/* test_lr_find.c - the range test of the learning rate: what it finds, what it draws, what it leaves as it was. */
#include "tests/toys.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* XOR of all bytes of the weights, rotated: any change shows. */
static uint64_t weights_hash(const lt_model *m)
{
    uint64_t hash = 0;
    const lt_params *params = lt_model_params(m);
    for (int i = 0; i < lt_params_count(params); i++) {
        const lt_param *p = lt_params_at(params, i);
        const unsigned char *bytes = lt_param_read(p);
        for (size_t k = 0; lt_param_role(p) == LT_WEIGHT && k < lt_param_bytes(p); k++)
            hash = (hash << 7 | hash >> 57) ^ bytes[k];
    }
    return hash;
}

static lt_train_config small_config(void)
{
    lt_train_config c;
    lt_train_config_init(&c);
    c.batch_size = 4, c.max_seq_length = 32, c.seed = 3;
    return c;
}

static void finds_a_rate(void)
{
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, TOY_INIT, 2);
    lt_dataset *train = toy_text(p.ctx, m, LT_SPLIT_TRAIN);
    lt_train_config c = small_config();
    lt_lr_found f;
    uint64_t before = weights_hash(m);
    TS_OK(p.ctx, lt_lr_find(m, train, &c, 1e-6, 1e3, 60, ts_at(&p, "found.svg"), &f));
    TS_CHECK(f.suggested > 1e-5 && f.suggested <= f.steepest && f.steepest < 10, "suggested %g, steepest %g",
             f.suggested, f.steepest);
    TS_CHECK(f.lowest_loss > 0 && f.lowest_loss < 6 && f.steps >= 10 && f.steps <= 60, "lowest %g, %lld steps",
             f.lowest_loss, (long long)f.steps);
    TS_CHECK(weights_hash(m) == before, "the model is what it was");
    char *svg = toy_read(ts_at(&p, "found.svg"), NULL);
    TS_CHECK(svg && !strncmp(svg, "<svg xmlns", 10) && strstr(svg, "<polyline") && !strstr(svg, "nan"), "the picture");
    free(svg);
    lt_lr_found again;
    TS_OK(p.ctx, lt_lr_find(m, train, &c, 1e-6, 1e3, 60, NULL, &again));
    TS_CHECK(again.suggested == f.suggested && again.lowest_loss == f.lowest_loss,
             "the same test gives the same answer");
    lt_dataset_free(train);
    lt_model_free(m);
    ts_close_place(&p);
}

static void refusals(void)
{
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, TOY_INIT, 2);
    lt_dataset *train = toy_text(p.ctx, m, LT_SPLIT_TRAIN);
    lt_train_config c = small_config();
    lt_lr_found f;
    TS_REFUSED(p.ctx, lt_lr_find(m, train, &c, 0, 1, 60, NULL, &f), LT_EINVAL, "rising range");
    TS_REFUSED(p.ctx, lt_lr_find(m, train, &c, 1e-3, 1e-4, 60, NULL, &f), LT_EINVAL, "rising range");
    TS_REFUSED(p.ctx, lt_lr_find(m, train, &c, 1e-3, 1, 3, NULL, &f), LT_EINVAL, "10 to");
    TS_REFUSED(p.ctx, lt_lr_find(m, train, &c, 1e-6, 1, 20, "/nonexistent/a.svg", &f), LT_EIO, "/nonexistent");
    c.memory_limit = 1;
    TS_REFUSED(p.ctx, lt_lr_find(m, train, &c, 1e-6, 1, 20, NULL, &f), LT_ELIMIT, "the run would need");
    c.memory_limit = 0, c.max_seconds = 1e-9;
    TS_OK(p.ctx, lt_lr_find(m, train, &c, 1e-6, 1, 20, NULL, &f)); /* the limit is a training's */
    int stop = 1;
    c.stop = &stop;
    TS_REFUSED(p.ctx, lt_lr_find(m, train, &c, 1e-6, 1, 20, NULL, &f), LT_EINTERRUPTED, "stopped");
    lt_dataset_free(train);
    lt_model_free(m);
    ts_close_place(&p);
}

int lti_suite_lr_find(void)
{
    return ts_suite("lr_find", 2, (ts_test[]){{"finds a rate", finds_a_rate}, {"refusals", refusals}});
}
