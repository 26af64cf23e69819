/* op_times.h - where the time of steps goes: seconds by operator, summed over the plans that ran. */
#ifndef LTI_OP_TIMES_H
#define LTI_OP_TIMES_H

#include "lathe/plan.h"
#include "lathe/train.h"

enum { LTI_MOST_OPS = 96 };

typedef struct lti_op_times {
    struct {
        const char *op; /* a descriptor's name: lives as long as the library */
        double seconds;
    } list[LTI_MOST_OPS];
    int count;
    lt_op_share shares[LTI_MOST_OPS];
} lti_op_times;

/* Runs the plan once and adds its times. */
lt_status lti_op_times_run(lti_op_times *times, lt_plan *plan);
/* The shares so far, largest first, in times->shares; returns how many, and begins anew. */
int lti_op_times_take(lti_op_times *times);

#endif
