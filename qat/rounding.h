/* rounding.h - a matrix onto its grid after training: rounded to nearest, with searched scales, or column by column so
 * that later columns make up for the errors of earlier ones. What the matrix is multiplied with says what an error costs. */
#ifndef LTI_ROUNDING_H
#define LTI_ROUNDING_H

#include "autograd/ops/grids.h"
#include "base/ctx.h"

/* What a layer has read: x [positions, columns]. */
typedef struct lti_inputs {
    int64_t columns;
    double positions;
    double *squares;   /* [columns]: sums of x^2 */
    double *absolutes; /* [columns]: sums of |x|; NULL: only squares are known */
    double *largest;   /* [columns]: the largest |x|; NULL as above */
    double *gram;      /* [columns, columns]: the sum of x x'; NULL: not asked for */
} lti_inputs;

/* One matrix. `values` may not be `w`. */
typedef struct lti_rounding {
    lt_ctx *ctx;
    const char *name;
    lt_scheme scheme;
    int64_t rows, columns;
    const lt_real *w; /* [rows, columns] */
    lt_real *values;  /* [rows, columns]: gets what the codes stand for */
    void *codes;      /* gets the codes in the scheme's type; NULL for grids that are none */
} lti_rounding;

lt_status lti_round_nearest(const lti_rounding *r);
/* Scales searched for the least squared error, weighed by the mean squares of the inputs (NULL: all alike): of a lattice
 * the bytes of llama-quantize with that imatrix. *searched: false where the grid knows no search, and it was rounded to
 * nearest. */
lt_status lti_round_searched(const lti_rounding *r, const lti_inputs *inputs, bool *searched);

/* gptq.c. `start` (may be NULL) [rows, columns] gets what was rounded: the weights with the corrections for the columns
 * before. LT_EINVAL when the inputs have no use: not finite. */
typedef struct lti_gptq_options {
    double damping; /* added to the diagonal, of its mean */
    bool act_order; /* columns in falling order of their x^2; scales are then those of the uncorrected weights */
} lti_gptq_options;
lt_status lti_round_gptq(const lti_rounding *r, const lti_inputs *inputs, const lti_gptq_options *options,
                         lt_real *start);
bool lti_gptq_knows(const lt_scheme *scheme);

/* awq.c: the layers [rows, columns] that read the same input, and which channel of its source each column is. */
typedef struct lti_readers {
    int n;
    const lti_rounding *layers; /* [n]; `values` and `codes` are written to */
    int64_t columns, channels;
    const int64_t *channel; /* [columns], or NULL: each its own */
} lti_readers;
/* scale[channels] by which the columns are to be multiplied and the source divided, so that the layers' outputs are hurt
 * least by rounding. All 1 when nothing is better than that. */
lt_status lti_awq_scales(lt_ctx *ctx, const lti_readers *readers, const lti_inputs *inputs, double *scale);
/* max |x|^alpha / max |w|^(1 - alpha) a column; where each is a channel of its own. */
void lti_smooth_scales(const lti_readers *readers, const lti_inputs *inputs, double alpha, double *scale);

/* scale_search.c: scale (and zero point) of n numbers of one grid with the least error sum h (y - x)^2; h NULL: all 1. */
void lti_search_scale(const lti_grid_attr *attr, int64_t n, const lt_real *x, const lt_real *h, lt_real *scale,
                      lt_real *offset);

/* lattice_grids.c: lattices whose numbers are code scale + base. */
bool lti_lattice_is_affine(lt_dtype type);
int64_t lti_lattice_unit(lt_dtype type); /* numbers that share scale and base */
/* Those of a block, one for each unit. */
void lti_lattice_grids(lt_dtype type, const uint8_t *block, lti_grid *grids);
/* Numbers on these grids as the block's codes; its scales stay. */
void lti_lattice_pack(lt_dtype type, const lt_real *y, const lti_grid *grids, uint8_t *block);

/* cholesky.c: a [n, n], symmetric, becomes L with a = L L' (its upper half is left over). False: not positive definite. */
bool lti_cholesky(int64_t n, double *a);
/* What lti_cholesky made becomes its inverse. False: it has none in finite numbers. */
bool lti_invert_lower(int64_t n, double *l);

#endif
