/* op.h - what an op is, and all that a file in ops/ needs.
 *
 * An op is a const descriptor with four callbacks, and a node points at its descriptor: the engine never enumerates
 * ops. A file in ops/ holds, in this order: a comment with the formula and its derivative; `shape`; `vjp`; `prepare`;
 * `run`; the descriptor; the public constructor. To add one: its file, its line in ops.def, its prototype in
 * lathe/ops.h, its row in tests/rows_*.c.
 *
 *   shape    while recording: checks the inputs, fills the outputs' types and shapes.
 *   vjp      while lt_grad walks back: emits ordinary nodes for the input's cotangents. NULL: not differentiable.
 *   prepare  once per plan: picks kernels, makes provider primitives, states scratch. May be NULL.
 *   run      at each replay: no allocation, no shape logic.
 *   release  frees what prepare made. May be NULL.
 */
#ifndef LTI_OP_H
#define LTI_OP_H

#include "base/ctx.h"
#include "base/par.h"
#include "kernels/kernels.h"
#include "lathe/ops.h"
#include "lathe/plan.h"

#define LTI_MAX_IN 16
#define LTI_MAX_OUT 4
#define LTI_MAX_PARAMS 4

typedef struct lti_op lti_op;

/* Type and shape of a value. */
typedef struct lti_value {
    lt_dtype type;
    lt_dtype storage; /* how backward keeps it (lt_store); equals type unless asked otherwise */
    int rank;
    int64_t dim[LT_MAX_RANK];
} lti_value;

int64_t lti_value_count(const lti_value *v);
bool lti_value_same(const lti_value *a, const lti_value *b); /* type and shape */
/* Sets type, storage and shape. */
void lti_value_set(lti_value *v, lt_dtype type, int rank, const int64_t *dim);
/* "[32,64]" into a buffer of LTI_DIMS_TEXT bytes; returns it. */
#define LTI_DIMS_TEXT 128
const char *lti_dims(const lti_value *v, char *buffer);

/* ---- Recording ---- */
typedef struct lti_shaper {
    lt_graph *graph;
    const lti_op *op;
    const void *attr;
    int n_in;
    const lti_value *in[LTI_MAX_IN];
    lti_value out[LTI_MAX_OUT]; /* to fill: out[0 .. op->n_out) */
} lti_shaper;

/* Makes "scope: op: text" the graph's error, once; returns false so that `return lti_shape_fail(...)` reads well. */
bool lti_shape_fail(const lti_shaper *s, const char *format, ...) LTI_PRINTF(2, 3);

/* Appends a node; returns its output 0. Nil inputs give nil; inputs of different graphs are an error. `attr` is copied
 * (zero-initialise it: equal attrs make equal nodes). At least one input. */
lt_t lti_emit(const lti_op *op, int n_in, const lt_t *in, const void *attr, size_t attr_size);
/* For ops that may have no input (leaves) and ops that write params (LTI_EFFECT): n_params <= LTI_MAX_PARAMS. */
lt_t lti_emit_params(lt_graph *graph, const lti_op *op, int n_in, const lt_t *in, const void *attr, size_t attr_size,
                     int n_params, lt_param *const *params);
lt_t lti_output(lt_t node, int k); /* output k of the node */
/* True when x is output 0 of a node of this op, whose input 0 is `in` unless that is nil. */
bool lti_is_made_by(lt_t x, const lti_op *op, lt_t in);
/* Records an error at the present scope and returns nil. */
lt_t lti_graph_fail(lt_graph *graph, lt_status status, const char *format, ...) LTI_PRINTF(3, 4);
/* The stream of the next random node of the present scope: hash of its name and of how many came before in it. */
uint32_t lti_random_stream(lt_graph *graph);
uint64_t lti_graph_seed(const lt_graph *graph);
bool lti_graph_checkpoints(const lt_graph *graph); /* some of it is computed again in the backward: memory is short */

/* ---- Gradients ---- */
typedef struct lti_vjp {
    lt_graph *graph;
    const void *attr;
    int n_in, n_out;
    lt_t in[LTI_MAX_IN];   /* the forward's inputs as backward may use them (kept, recomputed, or kept in fewer bits) */
    lt_t out[LTI_MAX_OUT]; /* its outputs, likewise */
    lt_t dy[LTI_MAX_OUT];  /* cotangents; nil where nothing depends on that output */
    bool need[LTI_MAX_IN]; /* whose cotangent is wanted */
    lt_t dx[LTI_MAX_IN];   /* to fill where need[i]; nil: no contribution */
} lti_vjp;

/* Tests only: called after each vjp, may spoil v->dx. NULL outside the mutation tests. */
extern void (*lti_vjp_mutate)(const lti_op *op, lti_vjp *v);

/* dy summed over what broadcasting repeated, so that it has the shape of `like`. */
lt_t lti_reduce_to(lt_t dy, lt_t like);

/* ---- Running ---- */
typedef struct lti_arg {
    void *data; /* NULL for an output nobody reads: do not compute it */
    lt_dtype type;
    int rank;
    int64_t dim[LT_MAX_RANK];
    int64_t count;
} lti_arg;

typedef struct lti_step {
    const lti_op *op;
    const char *name; /* "blk.3.attn_q": the scope it was recorded in */
    const void *attr;
    lt_ctx *ctx;
    int n_in, n_out, n_params;
    lti_arg *in, *out; /* [n_in], [n_out]. In prepare: data is not valid, but NULL still means "nobody reads it" */
    lt_param *param[LTI_MAX_PARAMS];
    void *scratch;        /* scratch_bytes bytes, 64-byte aligned, garbage before each run */
    size_t scratch_bytes; /* prepare states it */
    void *state;          /* prepare allocates it with lti_alloc(step->ctx), release frees it */
} lti_step;

static inline int64_t lti_cols(const lti_arg *a)
{
    return a->rank ? a->dim[a->rank - 1] : 1;
}
static inline int64_t lti_rows(const lti_arg *a)
{
    return lti_cols(a) ? a->count / lti_cols(a) : 0;
}
/* The value of a rank-0 argument. */
static inline lt_real lti_number(const lti_arg *a)
{
    return *(const lt_real *)a->data;
}

/* ---- The descriptor ---- */
enum {
    LTI_VIEW = 1,    /* output 0 is input 0's bytes under another shape */
    LTI_CHEAP = 2,   /* cheap to compute again in the backward */
    LTI_EFFECT = 4,  /* writes its params; output 0 is param[0]'s new value and lies there */
    LTI_KEEP = 8,    /* never computed again, whatever the segment says (quantization). An effect that is kept makes a
                      * copy that can be made again: it runs when somebody reads it, and may stand in a segment */
    LTI_LEAF = 16,   /* the plan provides the bytes */
    LTI_NO_CSE = 32, /* two equal nodes are not one */
    LTI_AHEAD = 64,  /* output 1 + i is the gradient of input i, made in the forward when somebody reads it */
};

struct lti_op {
    const char *name;
    int min_in, max_in, n_out;
    unsigned flags;
    /* in_place[k]: bits of the inputs whose place output k may take when they die here and have its size and type. */
    uint16_t in_place[LTI_MAX_OUT];
    bool (*shape)(lti_shaper *s);
    void (*vjp)(lti_vjp *v);
    lt_status (*prepare)(lti_step *step);
    lt_status (*run)(lti_step *step);
    void (*release)(lti_step *step);
    /* The op that computes input[last] + this, taking one more input (the addend, last) and writing its place when it
     * may; fusing add(addend, this) into it saves a pass. NULL: none. Same attr. */
    const lti_op *accumulate;
};

#endif
