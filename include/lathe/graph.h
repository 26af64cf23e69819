/* graph.h - recording a computation.
 *
 * A graph is a recipe: an append-only list of nodes, so that index order is topological order. Operators (ops.h)
 * append nodes and return handles; nothing is computed until a plan runs (plan.h). Errors are sticky: the first one
 * is kept with the name of the place ("blk.3.attn_q: matmul: [32,64] with [48,64]"), later operators return nil
 * handles, and lt_compile returns the error. So model code needs no checks.
 *
 *     lt_graph *g;
 *     if (lt_graph_create(ctx, params, &g) != LT_OK) return lt_ctx_status(ctx);
 *     lt_t x = lt_input(g, "x", LT_F32, 2, (int64_t[]){8, 64});
 *     lt_t w = lt_param_value(g, lt_params_find(params, "fc.weight"));      // [10, 64]
 *     lt_t loss = lt_mean_all(lt_square(lt_matmul(x, w, LT_TRANSPOSE_B)));  // [8, 10] -> []
 *     lt_t dw;
 *     lt_grad(loss, 1, &w, &dw);
 */
#ifndef LATHE_GRAPH_H
#define LATHE_GRAPH_H

#include "lathe/params.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lt_graph lt_graph;

/* A value: output `output` of node `node`. Passed by value; valid as long as its graph. */
typedef struct lt_t {
    lt_graph *graph;
    uint32_t node, output;
} lt_t;

/* `params` (may be NULL) is borrowed and must outlive the graph and its plans. A graph belongs to one thread. */
LT_API LT_MUST_USE lt_status lt_graph_create(lt_ctx *ctx, lt_params *params, lt_graph **graph);
LT_API void lt_graph_free(lt_graph *graph);              /* plans compiled from it stay valid. NULL is fine */
LT_API lt_status lt_graph_status(const lt_graph *graph); /* the sticky error; its message is lt_graph_message */
LT_API const char *lt_graph_message(const lt_graph *graph);
LT_API lt_params *lt_graph_params(const lt_graph *graph);
LT_API void lt_graph_seed(lt_graph *graph, uint64_t seed); /* of random nodes recorded from here on; default 0 */

/* ---- Values ---- */
LT_API bool lt_is_nil(lt_t x);
LT_API lt_t lt_nil(lt_graph *graph);
LT_API lt_dtype lt_type(lt_t x);
LT_API int lt_rank(lt_t x);              /* 0 for nil */
LT_API int64_t lt_dim(lt_t x, int axis); /* negative axes count from the end; 0 when out of range or nil */
LT_API const int64_t *lt_shape(lt_t x);  /* lt_rank numbers; valid until the next node is recorded */
LT_API int64_t lt_count(lt_t x);         /* elements */

/* ---- Leaves ---- */
/* An array bound before each run (lt_bind). Type LT_F32, or any type read as stored. */
LT_API lt_t lt_input(lt_graph *graph, const char *name, lt_dtype type, int rank, const int64_t *shape);
/* An int32 input whose elements must lie in [lowest, bound): checked when bound. */
LT_API lt_t lt_index_input(lt_graph *graph, const char *name, int rank, const int64_t *shape, int32_t lowest,
                           int32_t bound);
/* A run-time scalar, rank 0: learning rate, step, token count, temperature, position. The same name is the same
 * value; it starts at `value` and is changed by lt_set. */
LT_API lt_t lt_scalar(lt_graph *graph, const char *name, double value);
LT_API lt_t lt_constant(lt_graph *graph, double value);       /* rank 0 */
LT_API lt_t lt_param_value(lt_graph *graph, lt_param *param); /* nil and an error when param is NULL */

/* ---- Names ---- */
/* Opens a scope: "blk.3" inside "model" is "model.blk.3". Every lt_scope is closed by one lt_scope_end. */
LT_API void lt_scope(lt_graph *graph, const char *format, ...) __attribute__((format(printf, 2, 3)));
LT_API void lt_scope_end(lt_graph *graph);
/* "<scope>.<name>", valid until the graph is freed; NULL when memory is out (the graph then holds the error). */
LT_API const char *lt_scoped(lt_graph *graph, const char *name);
/* Exposes x under "<scope>.<name>" to lt_tapped; returns x. */
LT_API lt_t lt_tap(lt_t x, const char *name);
LT_API lt_t lt_tapped(lt_graph *graph, const char *full_name); /* nil, without an error, when there is none */

/* ---- Gradients ---- */
/* Appends d loss / d wrt[i] for a loss of one element and n values; gradients[i] has wrt[i]'s shape, and is nil
 * where the loss does not depend on wrt[i]. Quantized values pass their cotangent straight through. */
LT_API void lt_grad(lt_t loss, int n, const lt_t *wrt, lt_t *gradients);
/* The same with a cotangent `seed` of y's shape in place of 1: gradients of <seed, y>. */
LT_API void lt_grad_seeded(lt_t y, lt_t seed, int n, const lt_t *wrt, lt_t *gradients);
/* Cuts: the value is x, the gradient 0. */
LT_API lt_t lt_detach(lt_t x);

/* ---- Memory ---- */
/* Values computed between begin and end are not kept for the backward but computed again there (activation
 * checkpointing). Random nodes repeat their numbers; nodes with side effects are an error. Segments do not nest. */
LT_API void lt_checkpoint_begin(lt_graph *graph);
LT_API void lt_checkpoint_end(lt_graph *graph);
/* On: cheap nodes (norms, activations, casts) are always computed again in the backward instead of kept. Off, the
 * default: only those whose inputs are kept anyway, and only where that saves 256 MB or more in sum or where memory is
 * saved otherwise (checkpointed segments, lt_store_activations). With values kept in f32, gradients have the same bits
 * either way. */
LT_API void lt_recompute_cheap(lt_graph *graph, bool on);
/* Every value of 1,024 elements or more that the backward reads is kept for it in `type` (LT_BF16, or LT_F32: the
 * default), but for those lt_store has made narrow, inputs, params, and what reductions leave (statistics of norms and
 * attention, losses a row). Counts for calls of lt_grad from here on. */
LT_API void lt_store_activations(lt_graph *graph, lt_dtype type);
/* x is kept for the backward in `type` (LT_BF16, or LT_F32: the default); the forward uses it unrounded. */
LT_API lt_t lt_store(lt_t x, lt_dtype type);

/* ---- How it computes ---- */
/* Type of the factors of dense products recorded from here on, forward and backward: LT_F32, the default, or LT_BF16
 * (sums, results and gradients stay f32). A factor is rounded once and what is kept of it for the backward is the
 * rounded value. A weight of the graph's params is rounded once an update: products read lt_derived(.., LT_BF16), which
 * adds 2 bytes an element to params; not where memory is saved (checkpointed segments, lt_store_activations). Lattice
 * weights are not concerned, but for the gradients of integer products (lt_matmul). */
LT_API void lt_compute(lt_graph *graph, lt_dtype type);
LT_API lt_dtype lt_compute_type(const lt_graph *graph);
/* Off: products cast weights each time, and the copies are not made. For updates fused into the backward, whose memory is
 * theirs to save. Default on. */
LT_API void lt_weight_copies(lt_graph *graph, bool on);
/* Whether what is recorded from here on is for training, the default: batch norms use and average the batch's own
 * statistics, dropout drops. Otherwise running averages are used and nothing is dropped. */
LT_API void lt_training(lt_graph *graph, bool on);
LT_API bool lt_is_training(const lt_graph *graph);

/* ---- Side effects ---- */
/* Nodes that write params recorded from here on belong to `phase` (0..31; default 0). A plan runs the phases it was
 * compiled for: accumulate in one plan, update in another, both from one recipe. */
LT_API void lt_phase(lt_graph *graph, int phase);

#ifdef __cplusplus
}
#endif
#endif
