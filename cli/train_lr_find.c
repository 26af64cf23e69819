/* train_lr_find.c - lathe train --lr-find: the range test of the learning rate, as a picture and a suggestion. Nothing
 * is trained: the model is what it was. */
#include "cli/train_run.h"

#include <inttypes.h>
#include <stdlib.h>

static void on_step(void *user, const lt_train_progress *p)
{
    cli_on_count(user, "range test", p->step, p->steps);
}

static int tell(cli *c, const lt_lr_found *f, const char *svg)
{
    if (c->json)
        return cli_answer(c,
                          json_pack("{s:o, s:o, s:o, s:o, s:I, s:s}", "suggested", cli_real(f->suggested), "steepest",
                                    cli_real(f->steepest), "lowest_loss", cli_real(f->lowest_loss), "diverged_at",
                                    cli_real(f->diverged_at), "steps", (json_int_t)f->steps, "picture", svg));
    printf("suggested   --learning-rate %.2g\n", f->suggested);
    printf("steepest    %.2g, lowest loss %.4f\n", f->steepest, f->lowest_loss);
    if (f->diverged_at > 0) printf("diverged    at %.2g, after %" PRId64 " steps\n", f->diverged_at, f->steps);
    printf("picture     %s\n", svg);
    return EXIT_DONE;
}

int cli_train_lr_find(train_run *r)
{
    cli *c = r->cli;
    lt_train_config config = r->o->config;
    cli_count count = {.cli = c, .last = cli_seconds()};
    lt_lr_found found;
    char *svg = cli_join(config.out, "lr_find.svg");
    if (!svg) return cli_fail(c, EXIT_MEMORY, "out of memory");
    config.stop = &cli_stop;
    config.on_start = NULL;
    config.on_progress = on_step;
    config.user = &count;
    const train_options *o = r->o;
    lt_status status =
        lt_lr_find(r->model, r->train, &config, o->lr_find_low, o->lr_find_high, o->lr_find_steps, svg, &found);
    cli_count_end(&count);
    int code = status == LT_OK             ? tell(c, &found, svg)
               : status == LT_EINTERRUPTED ? cli_fail(c, EXIT_SIGNAL + cli_stop, "stopped by a signal")
                                           : cli_fail_status(c, status, false);
    free(svg);
    return code;
}
