/* op_times.c - see op_times.h. The clock is read once an operator: tens of microseconds a step. */
#include "train/op_times.h"

#include <stdlib.h>
#include <string.h>

static void add(void *user, const char *op, double seconds, int64_t calls)
{
    lti_op_times *t = user;
    (void)calls;
    int i = 0;
    while (i < t->count && strcmp(t->list[i].op, op) != 0) i++;
    if (i == LTI_MOST_OPS) return;
    if (i == t->count) t->list[t->count++].op = op, t->list[i].seconds = 0;
    t->list[i].seconds += seconds;
}

lt_status lti_op_times_run(lti_op_times *times, lt_plan *plan)
{
    lt_plan_timing(plan, true);
    lt_status status = lt_run(plan);
    if (status == LT_OK) lt_plan_times(plan, add, times);
    return status;
}

static int larger_first(const void *a, const void *b)
{
    double x = ((const lt_op_share *)a)->share, y = ((const lt_op_share *)b)->share;
    return (x < y) - (x > y);
}

int lti_op_times_take(lti_op_times *t)
{
    double all = 0;
    int n = t->count;
    for (int i = 0; i < n; i++) all += t->list[i].seconds;
    for (int i = 0; i < n; i++) t->shares[i] = (lt_op_share){t->list[i].op, all > 0 ? t->list[i].seconds / all : 0};
    qsort(t->shares, (size_t)n, sizeof *t->shares, larger_first);
    t->count = 0;
    return n;
}
