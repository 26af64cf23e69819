/* plan.h - compiling a recipe and running it.
 *
 * lt_compile drops what no result needs, fuses, orders, assigns every value a place in one arena and prepares every
 * node. lt_run is then a loop over function pointers: no allocation, no shape logic. A plan does not need its graph
 * any more, but its params and its arena.
 *
 *     lt_plan *plan;
 *     if (lt_compile(g, NULL, 2, (lt_t[]){loss, dw}, &plan) != LT_OK) return lt_ctx_status(ctx);
 *     if (lt_bind(plan, "x", batch) != LT_OK) return lt_ctx_status(ctx);
 *     if (lt_run(plan) != LT_OK) return lt_ctx_status(ctx);
 *     lt_real value = *(const lt_real *)lt_result(plan, 0);
 *     lt_plan_free(plan);
 */
#ifndef LATHE_PLAN_H
#define LATHE_PLAN_H

#include "lathe/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lt_plan lt_plan;

/* Memory that plans which never run at the same time share; it grows to the largest. */
typedef struct lt_arena lt_arena;
LT_API LT_MUST_USE lt_status lt_arena_create(lt_ctx *ctx, lt_arena **arena);
LT_API void lt_arena_free(lt_arena *arena); /* after its plans. NULL is fine */
LT_API size_t lt_arena_bytes(const lt_arena *arena);

typedef struct lt_compile_options {
    size_t size;     /* sizeof(lt_compile_options), set by the _init */
    lt_arena *arena; /* shared memory; NULL: the plan owns its own */
    uint32_t phases; /* bit p: run side effects of phase p (lt_phase). Default all */
    bool no_reuse;   /* every value gets its own place: the oracle of the planner */
    bool poison;     /* fill the arena with NaN before each run (tests) */
    bool measure;    /* plan, but allocate nothing: for forecasts. Such a plan cannot run */
} lt_compile_options;
LT_API void lt_compile_options_init(lt_compile_options *options);

/* A result that is a parameter's value shows what the parameter holds after the run.
 * Compiles what `outputs` (n values, may be 0) and the side effects of the chosen phases need. Results lie in the
 * arena until the next run of a plan that shares it. Errors: the graph's sticky error, LT_ENOMEM, LT_EPROVIDER. */
LT_API LT_MUST_USE lt_status lt_compile(lt_graph *graph, const lt_compile_options *options, int n, const lt_t *outputs,
                                        lt_plan **plan);
LT_API void lt_plan_free(lt_plan *plan); /* NULL is fine */

/* Points the input `name` at data, which is borrowed until the next lt_bind of that name and read at each run.
 * Errors: LT_EINVAL for an unknown name or an index out of its bounds (the message tells which element). */
LT_API LT_MUST_USE lt_status lt_bind(lt_plan *plan, const char *name, const void *data);
/* Sets a run-time scalar. LT_EINVAL for an unknown name. */
LT_API LT_MUST_USE lt_status lt_set(lt_plan *plan, const char *name, double value);
LT_API bool lt_plan_has(const lt_plan *plan, const char *name); /* an input or scalar of that name */

/* Runs once. Errors: LT_EINVAL for an input never bound, LT_EPROVIDER. */
LT_API LT_MUST_USE lt_status lt_run(lt_plan *plan);
/* The same, looking at every value: LT_ENONFINITE names the first node that made a NaN or an infinity. */
LT_API LT_MUST_USE lt_status lt_run_debug(lt_plan *plan);

LT_API const void *lt_result(const lt_plan *plan, int index); /* output `index` of lt_compile */

/* What computes: "avx512, onednn 2.6.3, openblas 0.3.21 SkylakeX". Part of run.json and of checkpoints, because results
 * are bitwise equal only for the same set. */
LT_API const char *lt_kernels_in_use(void);

/* ---- Looking inside ---- */
LT_API int lt_plan_steps(const lt_plan *plan);
LT_API size_t lt_plan_arena_bytes(const lt_plan *plan);
LT_API size_t lt_plan_live_bytes(const lt_plan *plan); /* largest sum of values alive at one step: the lower bound */
/* A table, one line a step: index, name, op, shape, storage, offset, bytes, scratch. Free with lt_string_free. */
LT_API LT_MUST_USE lt_status lt_plan_table(const lt_plan *plan, char **text);
LT_API void lt_string_free(lt_ctx *ctx, char *text);
/* Seconds spent in each op since timing was last turned on, which sets them to 0: calls fn once an op. */
LT_API void lt_plan_timing(lt_plan *plan, bool on);
LT_API void lt_plan_times(const lt_plan *plan, void (*fn)(void *user, const char *op, double seconds, int64_t calls),
                          void *user);

/* ---- Plan cache: one plan a (phase, batch, length), least recently used out first ---- */
typedef struct lt_plan_key {
    int32_t phase, batch, length;
} lt_plan_key;
typedef lt_status (*lt_plan_builder)(void *user, lt_plan_key key, lt_arena *arena, lt_plan **plan);

typedef struct lt_plan_cache lt_plan_cache;
/* Holds at most `capacity` plans, which share one arena that the cache owns. */
LT_API LT_MUST_USE lt_status lt_plan_cache_create(lt_ctx *ctx, int capacity, lt_plan_builder build, void *user,
                                                  lt_plan_cache **cache);
LT_API void lt_plan_cache_free(lt_plan_cache *cache);
/* The plan of the key, built when it is not there. Valid until `capacity` other keys were asked for. */
LT_API LT_MUST_USE lt_status lt_plan_cache_get(lt_plan_cache *cache, lt_plan_key key, lt_plan **plan);
LT_API lt_arena *lt_plan_cache_arena(lt_plan_cache *cache);
/* The bucket a length is padded to: the next multiple of 32, or of the step that gives at most 16 buckets up to
 * `longest`; never above `longest`. */
LT_API int64_t lt_bucket(int64_t length, int64_t longest);

#ifdef __cplusplus
}
#endif
#endif
