/* testing.h - what all suites share: checks with a message, random numbers, allocators that fail, plain arrays.
 *
 * Names here begin with ts_. A suite is a file test_foo.c with `int lti_suite_foo(void)`:
 *
 *     static void adds(void) { TS_CHECK(1 + 1 == 2, "1 + 1 = %d", 1 + 1); }
 *     int lti_suite_foo(void) { return ts_suite("foo", 1, (ts_test[]){{"adds", adds}}); }
 */
#ifndef TS_TESTING_H
#define TS_TESTING_H

#include "base/ctx.h"
#include "lathe/ops.h"
#include "lathe/plan.h"

typedef struct ts_test {
    const char *name;
    void (*run)(void);
} ts_test;

/* Prototypes of all suites: CMake makes suites.h, a line LTI_SUITE(name) for each test_<name>.c. */
#define LTI_SUITE(name) int lti_suite_##name(void);
#include "suites.h"
#undef LTI_SUITE

/* Registers a CUnit suite; 0, or nonzero when CUnit refuses. */
int ts_suite(const char *name, int n, const ts_test *tests);

/* Counts a check and, when it fails, prints the text. Returns `ok`, so that a test can leave. */
bool ts_check(bool ok, const char *file, int line, const char *format, ...) LTI_PRINTF(4, 5);
#define TS_CHECK(ok, ...) ts_check((ok), __FILE__, __LINE__, __VA_ARGS__)
/* The status of `call` is LT_OK; otherwise the context's message is printed. */
#define TS_OK(ctx, call) ts_check((call) == LT_OK, __FILE__, __LINE__, "%s: %s", #call, lt_ctx_message(ctx))

/* ---- Numbers ---- */
uint64_t ts_seed(void); /* LT_TEST_SEED, or 1 */
/* Numbers that depend on the seed, the name and the index alone. Values are rounded to lt_real. */
double ts_normal(const char *name, int64_t index);
double ts_uniform(const char *name, int64_t index); /* [0, 1) */
/* The same where a name has many numbers: what depends on the name is worked out once. */
typedef struct ts_source {
    uint64_t seed;
    uint32_t stream;
} ts_source;
ts_source ts_source_of(const char *name);
double ts_next_normal(ts_source source, int64_t index);
double ts_next_uniform(ts_source source, int64_t index);
void ts_fill_normal(const char *name, int64_t n, double scale, lt_real *x);
/* The first number in the double build, the second in the float build. */
double ts_tolerance(double in_double, double in_float);
/* The largest |a[i] - b[i]| / (|b[i]| + max |b|); NaN in a counts as infinity. */
double ts_distance(int64_t n, const lt_real *a, const double *b);
double ts_distance_real(int64_t n, const lt_real *a, const lt_real *b);
bool ts_same_bytes(size_t bytes, const void *a, const void *b);
int ts_ascending(const void *a, const void *b); /* of two double, for qsort */

/* ---- Memory ---- */
/* An allocator that returns NULL once, at allocation `fail_at` (0: the first; negative: never). Zero-initialise. */
typedef struct ts_memory {
    int64_t fail_at, count;
    bool hit; /* the failure has happened */
} ts_memory;
lt_allocator ts_allocator(ts_memory *memory);

/* Runs `attempt` on fresh contexts with allocation 0, 1, 2, ... failing, until an attempt needs fewer. Checks every
 * time that the status is LT_ENOMEM with a message and that nothing stays allocated. `attempt` must free what it made.
 * Returns the number of allocations of a whole attempt. */
int64_t ts_every_allocation_fails(const char *what, lt_status (*attempt)(lt_ctx *ctx, void *arg), void *arg);

/* ---- Plans ---- */
typedef enum ts_mode { TS_PLANNED, TS_NO_REUSE } ts_mode; /* planned: with reuse and poison */
lt_status ts_compile(lt_graph *graph, ts_mode mode, int n, const lt_t *outputs, lt_plan **plan);
/* Compiles the only output, runs, copies it; -1e30 in the first element (and a failed check) when something fails. */
void ts_value(lt_ctx *ctx, lt_t y, int64_t n, lt_real *out);

/* A context, params and a graph to try things on. */
typedef struct ts_bed {
    lt_ctx *ctx;
    lt_params *params;
    lt_graph *g;
} ts_bed;
bool ts_bed_make(ts_bed *bed);
/* Another graph over the same params; the old one is freed. */
bool ts_bed_again(ts_bed *bed);
/* Frees all, and checks that no byte stays allocated. */
void ts_bed_drop(ts_bed *bed);
/* How often `op` stands in the plan's table. */
int ts_count_steps(ts_bed *bed, const lt_plan *plan, const char *op);
/* A weight of normal numbers times `scale`. */
lt_param *ts_weight(ts_bed *bed, const char *name, double scale, int rank, const int64_t *shape);

/* ---- Arrays of double, for oracles ---- */
typedef struct ts_tensor {
    int rank;
    int64_t dim[LT_MAX_RANK];
    int64_t count;
    double *v;
} ts_tensor;
void ts_make(ts_tensor *t, int rank, const int64_t *dim); /* zeros; aborts the test program when memory is out */
void ts_drop(ts_tensor *t);
/* dim[axis], negative axes from the end. */
int64_t ts_dim(const ts_tensor *t, int axis);

#endif
