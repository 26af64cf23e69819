/* lattice_grids.c - the uniform grids inside a block of a lattice, for methods that choose codes one by one.
 *
 * A block's scales are made by its encoder; here they are read off as code scale + base, and numbers that were chosen on
 * these grids become codes again. K types do that with their own recode kernels: the nearest code of a number that lies
 * on the grid is its code. */
#include "kernels/lattice/k_types.h"
#include "kernels/lattice/lattice.h"
#include "qat/rounding.h"

#include <float.h>
#include <math.h>

static const lti_k_type *k_type(lt_dtype type)
{
    switch (type) {
    case LT_Q2_K: return &lti_q2_k;
    case LT_Q3_K: return &lti_q3_k;
    case LT_Q4_K: return &lti_q4_k;
    case LT_Q5_K: return &lti_q5_k;
    case LT_Q6_K: return &lti_q6_k;
    default: return NULL;
    }
}

bool lti_lattice_is_affine(lt_dtype type)
{
    bool legacy = type == LT_Q4_0 || type == LT_Q4_1 || type == LT_Q5_0 || type == LT_Q5_1 || type == LT_Q8_0;
    return legacy || k_type(type);
}

int64_t lti_lattice_unit(lt_dtype type)
{
    const lti_k_type *k = k_type(type);
    return k ? k->size : 32;
}

static lti_grid grid_of(float scale, float base, int lo, int hi)
{
    lti_grid g = {.scale = (lt_real)scale, .offset = (lt_real)base, .base = (lt_real)base};
    g.lo = (lt_real)lo, g.hi = (lt_real)hi;
    g.inverse = fabsf(scale) >= FLT_MIN ? 1 / (lt_real)scale : 0;
    return g;
}

void lti_lattice_grids(lt_dtype type, const uint8_t *block, lti_grid *grids)
{
    float step[16], minimum[16], d = lti_half_at(block), m = lti_half_at(block + 2);
    const lti_k_type *k = k_type(type);
    if (k) {
        k->steps(block, step, minimum);
        for (int j = 0; j < 256 / k->size; j++) grids[j] = grid_of(step[j], -minimum[j], k->least, k->most);
    }
    if (type == LT_Q4_0) *grids = grid_of(d, 0, -8, 7);
    if (type == LT_Q5_0) *grids = grid_of(d, 0, -16, 15);
    if (type == LT_Q8_0) *grids = grid_of(d, 0, -127, 127);
    if (type == LT_Q4_1) *grids = grid_of(d, m, 0, 15);
    if (type == LT_Q5_1) *grids = grid_of(d, m, 0, 31);
}

void lti_lattice_pack(lt_dtype type, const lt_real *y, const lti_grid *g, uint8_t *block)
{
    uint8_t code[32];
    if (k_type(type)) {
        lti_recode(type, lt_dtype_block(type), y, block);
        return;
    }
    for (int j = 0; j < 32; j++) {
        double c = rint((double)((y[j] - g->offset) * g->inverse));
        code[j] = (uint8_t)(int)(c - (type == LT_Q8_0 ? 0 : (double)g->lo));
    }
    if (type == LT_Q4_0) lti_store_nibbles(code, block + 2);
    if (type == LT_Q4_1) lti_store_nibbles(code, block + 4);
    if (type == LT_Q5_0) lti_store_five_bits(code, block + 2);
    if (type == LT_Q5_1) lti_store_five_bits(code, block + 4);
    if (type == LT_Q8_0) memcpy(block + 2, code, sizeof code);
}
