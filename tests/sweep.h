/* sweep.h - the sweep over all ops: what a row says, and the checks that run on it.
 *
 * A row names an op, how to record it, and its formula in naive double code (oracle_ops.h). The harness makes random
 * inputs of the stated shapes, records y = op(inputs) and the gradients of <seed, y> for a random cotangent `seed` (a
 * sum would hide errors: the gradient of a softmax may be three times too large and pass), and compares:
 *     y            with the formula;
 *     gradients    with central differences of <seed, formula> along a random direction, one input at a time: the
 *                  judge never runs the code under test, and is a double in both builds.
 * Inputs marked `quantized` are rounded. Rounding has no useful derivative: there the reference is the
 * straight-through formula, the derivative of the formula with respect to the rounded value. */
#ifndef TS_SWEEP_H
#define TS_SWEEP_H

#include "tests/testing.h"

#define TS_SLOTS 6

typedef enum ts_fill {
    TS_FILL_NORMAL,
    TS_FILL_LARGE,    /* normal times 300: exp of it overflows */
    TS_FILL_POSITIVE, /* 0.5 .. 2 */
    TS_FILL_AWAY,     /* normal, but at least 0.1 from 0 */
    TS_FILL_DISTINCT, /* any two differ by at least 0.01 */
    TS_FILL_VALUE     /* all `value` */
} ts_fill;

typedef struct ts_slot {
    int rank;
    int64_t dim[LT_MAX_RANK];
    ts_fill fill;
    double value;
    lt_dtype type; /* LT_I32: an index input in [lowest, bound); a lattice: bound as blocks */
    int32_t lowest, bound;
    lt_dtype quantized; /* not LT_F32: the formula sees the input rounded to this type; the graph gets the rounding
                             * from lt_quantize when it is a lattice, and from the row's build when not */
    bool activations;   /* `quantized` is done by lt_quantize_activations, as the runtime rounds */
    bool fixed;         /* no gradient */
    bool param;         /* a param "p<slot>" in place of an input; build finds it by name */
} ts_slot;

typedef struct ts_case {
    int n;
    ts_slot in[TS_SLOTS];
    int64_t arg[8];
    double number;
    unsigned flags;
} ts_case;

typedef struct ts_row {
    const char *op; /* the descriptor's name, as in ops.def */
    lt_t (*build)(lt_graph *g, const ts_case *c, const lt_t *x);
    void (*formula)(const ts_case *c, const ts_tensor *x, ts_tensor *y); /* makes y */
    int n;
    const ts_case *cases;
    bool composite; /* recorded as other ops: no descriptor of this name */
    bool fused;     /* has no constructor and no vjp: lt_compile puts it in place of a sum */
    bool writes;    /* params p0 holds y afterwards */
} ts_row;

/* The rows (op_rows.h), one after the other; NULL after the last. */
const ts_row *ts_row_at(int index);

/* ---- One case, recorded and compiled ---- */
typedef struct ts_data {
    const ts_row *row;
    const ts_case *c;
    ts_tensor x[TS_SLOTS]; /* what the formula sees */
    void *bytes[TS_SLOTS]; /* what the plan is bound to */
    size_t size[TS_SLOTS];
    ts_tensor y;   /* the formula's value */
    lt_real *seed; /* [y.count]: small multiples of 1/16, exact in 16 bits */
} ts_data;
void ts_data_make(ts_data *d, const ts_row *row, const ts_case *c);
void ts_data_drop(ts_data *d);

typedef struct ts_run {
    lt_ctx *ctx; /* borrowed */
    lt_params *params;
    lt_graph *graph;
    lt_plan *plan;
    int n; /* outputs: y, then the gradients */
    lt_t out[1 + TS_SLOTS];
    int slot[1 + TS_SLOTS]; /* of which input */
    size_t size[1 + TS_SLOTS];
} ts_run;
/* Records (with the gradients when asked) and compiles. Free with ts_run_drop also when it fails. */
lt_status ts_run_make(ts_run *r, lt_ctx *ctx, const ts_data *d, ts_mode mode, bool gradients);
void ts_run_drop(ts_run *r);
/* Binds, sets "step" to 3, fills the params, runs. */
lt_status ts_run_go(ts_run *r, const ts_data *d);

/* ---- The checks. "" when all is well, else a sentence that begins with the op's name ---- */
#define TS_TEXT 512
typedef struct ts_verdict {
    char text[TS_TEXT];
} ts_verdict;
typedef ts_verdict (*ts_checker)(const ts_data *d);
ts_verdict ts_check_forward(const ts_data *d);
ts_verdict ts_check_gradient(const ts_data *d);
ts_verdict ts_check_planned(const ts_data *d); /* planned = no_reuse, bitwise */
ts_verdict ts_check_threads(const ts_data *d); /* 1 = 2 threads, bitwise */
ts_verdict ts_check_replay(const ts_data *d);  /* no allocation while running, and the second run equals the first */
bool ts_has_gradient(const ts_case *c);
bool ts_is_large(const ts_case *c); /* an input of more than 1000 elements */

#endif
