/* grids.h - which numbers of a tensor share a scale, where the scale comes from, and the grid it makes. Internal to
 * autograd/ops; shared by the ops of lt_fake_quant and by lt_scheme_apply. */
#ifndef LTI_GRIDS_H
#define LTI_GRIDS_H

#include "autograd/ops/rows.h"
#include "lathe/scheme.h"

/* What a node keeps of scheme and config: no padding, so that equal ones are equal bytes. */
typedef struct lti_grid_attr {
    int64_t kind, bits, asymmetric, full_range, half, e5m2, per, group;
    int64_t rule, gradient;
    double factor; /* of the gradients of scales and offsets; 0: the rule's own */
} lti_grid_attr;
lti_grid_attr lti_grid_attr_of(const lt_scheme *scheme, lt_scale_rule rule);

/* Numbers [rows, columns]; a group is up to `size` of a row, the last of a row may be shorter. */
typedef struct lti_groups {
    int64_t rows, columns, size;
    int64_t per_row, count; /* groups */
} lti_groups;
lti_groups lti_groups_of(const lti_grid_attr *attr, int rank, const int64_t *dim);
int64_t lti_group_at(const lti_groups *groups, int64_t index, int64_t *first); /* its numbers */

/* Whether scale and offset are learned, and whether the rule has an offset. */
bool lti_rule_learned(int64_t rule);
bool lti_rule_has_offset(const lti_grid_attr *attr);

/* The grid of a scale and what goes with it (a zero point, or a learned offset; 0 without). */
lti_grid lti_grid_make(const lti_grid_attr *attr, lt_real scale, lt_real offset);
/* Gradients of scale and offset from what fake_quant_sums has given. */
void lti_grid_gradients(const lti_grid_attr *attr, const lti_groups *groups, lt_real scale, const lti_grid *grid,
                        const double sums[3], double *dscale, double *doffset);

/* Scales (and zero points of asymmetric grids; may be NULL for others) from the numbers themselves, by the rules DYNAMIC
 * and MSE. */
size_t lti_scales_scratch(const lti_grid_attr *attr, const lti_groups *groups);
void lti_scales_from(const lti_grid_attr *attr, const lti_groups *groups, const lt_real *x, lt_real *scale,
                     lt_real *offset, void *scratch);

/* y = x on the grids; y may be x. offset may be NULL. */
void lti_on_grids(const lti_grid_attr *attr, const lti_groups *groups, const lt_real *x, const lt_real *scale,
                  const lt_real *offset, lt_real *y);

/* Calls body for each run of numbers of [begin, end) that share a scale. */
typedef void (*lti_run_body)(void *arg, int64_t group, int64_t first, int64_t n);
void lti_each_run(const lti_groups *groups, int64_t begin, int64_t end, lti_run_body body, void *arg);

enum { LTI_PIECE = 65536 }; /* numbers of a large group that one task sums up */
/* Pieces a group is cut into; piece k of group `index`: its numbers (may be 0). */
static inline int64_t lti_pieces(const lti_groups *g)
{
    return (g->size - 1) / LTI_PIECE + 1;
}
int64_t lti_piece_at(const lti_groups *groups, int64_t index, int64_t piece, int64_t *first);

/* The least a learned scale counts as, and BitNet's least mean. */
#define LTI_LEAST_LEARNED 1e-9
#define LTI_LEAST_MEAN 1e-5

#endif
