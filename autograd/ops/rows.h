/* rows.h - how row-wise ops cut their work and share scratch.
 *
 * Rows are cut by the size of the problem. Where a task needs scratch but leaves nothing in it, the scratch belongs to
 * a slot: a few slots take tasks from a counter until none is left. Which slot runs a task changes no result, and the
 * number of threads may change between prepare and run. */
#ifndef LTI_ROWS_H
#define LTI_ROWS_H

#include "autograd/ops/elementwise.h"

#include <stdatomic.h>

static inline size_t lti_round64(size_t bytes)
{
    return (bytes + 63) & ~(size_t)63;
}

/* Tasks for `rows` rows of `cols` elements: at least 16 Ki elements each, at most `most`. */
static inline int64_t lti_row_tasks(int64_t rows, int64_t cols, int64_t most)
{
    int64_t tasks = lti_par_tasks(rows * cols, 16384);
    if (tasks > rows) tasks = rows > 0 ? rows : 1;
    return tasks < most ? tasks : most;
}

static inline void lti_row_range(int64_t rows, int64_t tasks, int64_t i, int64_t *begin, int64_t *end)
{
    *begin = rows / tasks * i + rows % tasks * i / tasks;
    *end = rows / tasks * (i + 1) + rows % tasks * (i + 1) / tasks;
}

/* Of a norm's gradient, whose inputs begin with x and w: dx is like x; dw and, where there is one, db like w. */
static inline bool lti_norm_grad_shape(lti_shaper *s)
{
    for (int k = 0; k < s->op->n_out; k++) {
        s->out[k] = *s->in[k > 0];
        s->out[k].storage = LT_F32;
    }
    return true;
}

typedef struct lti_slots {
    void (*run)(void *arg, int64_t task, void *scratch);
    void *arg;
    int64_t tasks;
    char *scratch; /* slots * bytes */
    size_t bytes;
    atomic_llong next;
} lti_slots;

static inline int64_t lti_slots_count(int64_t tasks)
{
    int64_t threads = lt_threads();
    if (threads > tasks) threads = tasks;
    return threads > 0 ? threads : 1;
}

static inline void lti_slots_work(void *arg, int64_t slot, int thread)
{
    lti_slots *s = arg;
    (void)thread;
    for (;;) {
        int64_t task = atomic_fetch_add(&s->next, 1);
        if (task >= s->tasks) return;
        s->run(s->arg, task, s->scratch + (size_t)slot * s->bytes);
    }
}

/* Runs `tasks` tasks on `slots` slots of `bytes` scratch each (a multiple of 64). */
static inline void lti_slots_run(int64_t tasks, int64_t slots, size_t bytes, void *scratch,
                                 void (*run)(void *arg, int64_t task, void *scratch), void *arg)
{
    lti_slots s = {.run = run, .arg = arg, .tasks = tasks, .scratch = scratch, .bytes = bytes};
    atomic_init(&s.next, 0);
    lti_par(slots, lti_slots_work, &s);
}

#endif
