/* planned.h - inside of a plan: steps, where their arguments lie, what is bound. */
#ifndef LTI_PLANNED_H
#define LTI_PLANNED_H

#include "autograd/node.h"

struct lt_arena {
    lt_ctx *ctx;
    char *data;
    size_t bytes;
};

typedef enum lti_where { LTI_NOWHERE, LTI_IN_ARENA, LTI_FIXED, LTI_BOUND } lti_where;

typedef struct lti_location {
    lti_where where;
    size_t offset;         /* in the arena */
    void *fixed;           /* a param, a scalar, a constant */
    const lt_param *param; /* or NULL */
    int input;             /* index of a bound input */
} lti_location;

typedef struct lti_bound_input {
    char name[96];
    lti_arg value;
    int32_t lowest, bound;
    bool checked;
} lti_bound_input;

typedef struct lti_number_slot {
    char name[96]; /* "": a constant */
    lt_real value;
} lti_number_slot;

typedef struct lti_op_time {
    const lti_op *op;
    double seconds;
    int64_t calls;
} lti_op_time;

struct lt_plan {
    lt_ctx *ctx;
    lt_arena *arena;
    bool owns_arena, measured, poison, timing;
    int n_steps, n_args, n_inputs, n_numbers, n_results, n_times;
    lti_step *step;
    lti_arg *arg;           /* [n_args]: inputs, then outputs, of each step in turn */
    lti_location *location; /* [n_args] */
    size_t *scratch_offset; /* [n_steps] */
    int *time_of;           /* [n_steps]: index into times */
    lti_op_time *times;
    lti_bound_input *input;
    lti_number_slot *number;
    lti_arg *result;
    lti_location *result_location;
    char *text; /* names and attrs of the steps */
    size_t arena_bytes, live_bytes;
    const char *resolved_for; /* the arena's base that the pointers in args were made for; NULL: make them anew */
};

#endif
