/* oracle_grids.h - numbers on integer grids and the gradients of the rules, in naive loops over rows and columns.
 *
 * Written from the formulas of the papers, each rule apart, never from the ops. Codes are a matter of rounding, so what
 * decides them (scales, reciprocals, quotients) is computed in lt_real, in the order that the formulas say; sums are in
 * double. */
#ifndef TS_ORACLE_GRIDS_H
#define TS_ORACLE_GRIDS_H

#include "lathe/scheme.h"
#include "tests/testing.h"

typedef struct ts_grid {
    lt_scheme scheme;
    lt_scale_rule rule;
    lt_round_gradient gradient;
    double factor; /* of the gradients of what is learned; 0: the rule's own */
    int64_t rows, columns;
    const double *learned, *offset; /* [groups] */
} ts_grid;

int64_t ts_grid_groups(const ts_grid *g);
/* y = x on the grid; the arrays are [rows, columns]. */
void ts_grid_values(const ts_grid *g, const double *x, double *y);
/* From dy: dx, and of learned scales ds and db [groups] (may be NULL). */
void ts_grid_gradients(const ts_grid *g, const double *x, const double *dy, double *dx, double *ds, double *db);
/* Moves numbers that lie within a hundredth of a step of a tie, or of an end of the range, by a tenth of a step. */
void ts_grid_avoid_ties(const ts_grid *g, lt_real *x);

#endif
