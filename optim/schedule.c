/* schedule.c - the learning rate as a pure function of the step: nothing to save, nothing to restore. */
#include "lathe/optim.h"

#include <math.h>
#include <string.h>

static const char *const kind_names[] = {
    [LT_LR_CONSTANT] = "constant", [LT_LR_LINEAR] = "linear", [LT_LR_COSINE] = "cosine", [LT_LR_WSD] = "wsd"};

void lt_schedule_init(lt_schedule *schedule)
{
    *schedule = (lt_schedule){.size = sizeof *schedule, .lr = 1e-3, .decay_ratio = 0.1};
}

bool lt_schedule_parse(const char *name, lt_schedule_kind *kind)
{
    for (size_t i = 0; i < sizeof kind_names / sizeof kind_names[0]; i++)
        if (strcmp(name, kind_names[i]) == 0) {
            *kind = (lt_schedule_kind)i;
            return true;
        }
    return false;
}

/* Share of the way from the end of the warmup to the end, of the part in which the rate falls. */
static double progress(int64_t done, int64_t begin, int64_t total)
{
    if (done <= begin || total <= begin) return 0;
    return done < total ? (double)(done - begin) / (double)(total - begin) : 1;
}

double lt_lr_at(const lt_schedule *s, int64_t step, int64_t total)
{
    int64_t warmup = s->warmup_steps ? s->warmup_steps : (int64_t)ceil(s->warmup_ratio * (double)total);
    if (step <= warmup) return s->lr * (double)(step > 0 ? step : 0) / (double)(warmup + 1);
    double fall = 0;
    switch (s->kind) {
    case LT_LR_CONSTANT: return s->lr;
    case LT_LR_LINEAR: fall = progress(step - 1, warmup, total); break;
    case LT_LR_COSINE: fall = 0.5 * (1 - cos(acos(-1) * progress(step - 1, warmup, total))); break;
    case LT_LR_WSD: {
        int64_t begin = total - (int64_t)ceil(s->decay_ratio * (double)total);
        fall = progress(step - 1, begin > warmup ? begin : warmup, total);
        break;
    }
    }
    return s->lr * (1 - (1 - s->min_ratio) * fall);
}
