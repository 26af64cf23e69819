/* op_rows.h - how a row of the sweep is written: one file of rows a subject (rows_*.c), listed in TS_ROW_FILES.
 *
 * To add an op: its formula in oracle_*.c, a builder and a row in one of the files; test_rows.c looks for lines of
 * ops.def without a row. The first case of a row is small: it is the one that the allocation test repeats and
 * test_mutants.c breaks. */
#ifndef TS_OP_ROWS_H
#define TS_OP_ROWS_H

#include "tests/oracle_ops.h"

/* Each file's rows end with one whose op is NULL. */
#define TS_ROW_FILES(each)                                                                                             \
    each(core) each(images) each(recurrent) each(losses) each(integer) each(grids) each(clusters) each(observers)
#define TS_DECLARE_ROWS(subject) extern const ts_row ts_rows_##subject[];
TS_ROW_FILES(TS_DECLARE_ROWS)

/* ---- How to record ---- */
#define BUILD(name, ...)                                                                                               \
    static lt_t build_##name(lt_graph *g, const ts_case *c, const lt_t *x)                                             \
    {                                                                                                                  \
        (void)g, (void)c, (void)x;                                                                                     \
        return __VA_ARGS__;                                                                                            \
    }
#define BUILD_UNARY(name) BUILD(name, lt_##name(x[0]))
#define BUILD_BINARY(name) BUILD(name, lt_##name(x[0], x[1]))

/* ---- Shapes ---- */
#define D(...) .rank = sizeof((int64_t[]){__VA_ARGS__}) / 8, .dim = {__VA_ARGS__}
#define X(...)                                                                                                         \
    {                                                                                                                  \
        D(__VA_ARGS__)                                                                                                 \
    }
#define POSITIVE(...)                                                                                                  \
    {                                                                                                                  \
        D(__VA_ARGS__), .fill = TS_FILL_POSITIVE                                                                       \
    }
#define LARGE(...)                                                                                                     \
    {                                                                                                                  \
        D(__VA_ARGS__), .fill = TS_FILL_LARGE                                                                          \
    }
#define AWAY(...)                                                                                                      \
    {                                                                                                                  \
        D(__VA_ARGS__), .fill = TS_FILL_AWAY                                                                           \
    }
#define DISTINCT(...)                                                                                                  \
    {                                                                                                                  \
        D(__VA_ARGS__), .fill = TS_FILL_DISTINCT                                                                       \
    }
#define FIXED(...)                                                                                                     \
    {                                                                                                                  \
        D(__VA_ARGS__), .fixed = true                                                                                  \
    }
#define PARAM(...)                                                                                                     \
    {                                                                                                                  \
        D(__VA_ARGS__), .param = true                                                                                  \
    }
#define INDEX(lo, hi, ...)                                                                                             \
    {                                                                                                                  \
        D(__VA_ARGS__), .type = LT_I32, .lowest = lo, .bound = hi                                                      \
    }
#define BLOCKS(t, ...)                                                                                                 \
    {                                                                                                                  \
        D(__VA_ARGS__), .type = t                                                                                      \
    }
#define ROUNDED(t, ...)                                                                                                \
    {                                                                                                                  \
        D(__VA_ARGS__), .quantized = t                                                                                 \
    }
#define ACT(t, ...)                                                                                                    \
    {                                                                                                                  \
        D(__VA_ARGS__), .quantized = t, .activations = true                                                            \
    }
#define NUMBER(v)                                                                                                      \
    {                                                                                                                  \
        .fill = TS_FILL_VALUE, .value = v, .fixed = true                                                               \
    }
#define CASES(name) static const ts_case name##_cases[]

/* ---- Rows ---- */
#define ROW(op, formula, cases, ...)                                                                                   \
    {                                                                                                                  \
#op, build_##op, ts_formula_##formula, LTI_COUNT(cases##_cases), cases##_cases, __VA_ARGS__                    \
    }

#endif
