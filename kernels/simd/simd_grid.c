/* simd_grid.c - numbers on a uniform grid: the formulas of ref_grid.c. What is written has the bits of ref; sums are
 * taken in double in another order. */
#include "kernels/simd/vec.h"

void LTI_FN(extremes)(int64_t n, const R *x, R *out)
{
    vf least = v_set(-INFINITY), most = least;
    bool nan = false;
    LTI_EACH (i, left, n) {
        vf a = v_get(x + i, left);
        if (left < V) { /* elements past the end are 0 */
            for (int64_t k = 0; k < left; k++) {
                least = v_max(v_set(-x[i + k]), least), most = v_max(v_set(x[i + k]), most);
                nan = nan || isnan(x[i + k]);
            }
            break;
        }
        nan = nan || v_bits(v_nan(a));
        least = v_max(v_neg(a), least);
        most = v_max(a, most);
    }
    out[0] = nan ? NAN : -v_hmax(least);
    out[1] = nan ? NAN : v_hmax(most);
}

double LTI_FN(sum_abs)(int64_t n, const R *x)
{
    vd a = v_setd(0), b = v_setd(0);
    LTI_EACH (i, left, n) {
        vf m = v_abs(v_get(x + i, left));
        a = v_addd(a, v_low(m));
        b = v_addd(b, v_high(m));
    }
    return v_sumd(v_addd(a, b));
}

typedef struct v_grid {
    vf inverse, scale, offset, base, lo, hi, first, last;
} v_grid;

VI v_grid v_grid_of(const lti_grid *g)
{
    return (v_grid){v_set(g->inverse), v_set(g->scale), v_set(g->offset), v_set(g->base),
                    v_set(g->lo),      v_set(g->hi),    v_set(g->first),  v_set(g->last)};
}

VI vf round_code(vf x, const v_grid *g)
{
    return v_round(v_mul(v_sub(x, g->offset), g->inverse));
}

/* v_min and v_max return their second operand when one is NaN. */
VI vf on_grid(vf code, const v_grid *g)
{
    return v_add(v_mul(v_min(g->hi, v_max(g->lo, code)), g->scale), g->base);
}

void LTI_FN(fake_quant)(int64_t n, const R *x, const lti_grid *grid, R *y)
{
    v_grid g = v_grid_of(grid);
    LTI_EACH (i, left, n) { v_put(y + i, on_grid(round_code(v_get(x + i, left), &g), &g), left); }
}

double LTI_FN(fake_quant_error)(int64_t n, const R *x, const lti_grid *grid)
{
    v_grid g = v_grid_of(grid);
    vd a = v_setd(0), b = v_setd(0);
    LTI_EACH (i, left, n) {
        vf w = v_get(x + i, left);
        vf e = v_keep(v_sub(on_grid(round_code(w, &g), &g), w), left);
        a = v_fmad(v_low(e), v_low(e), a);
        b = v_fmad(v_high(e), v_high(e), b);
    }
    return v_sumd(v_addd(a, b));
}

VI void sides(vf x, vf code, const v_grid *g, int by, vm *below, vm *above)
{
    if (by == LTI_BY_CODE)
        *below = v_lt(code, g->lo), *above = v_lt(g->hi, code);
    else
        *below = v_lt(x, g->first), *above = v_lt(g->last, x);
}

void LTI_FN(fake_quant_mask)(int64_t n, const R *x, const lti_grid *grid, int by, const R *dy, R *dx)
{
    v_grid g = v_grid_of(grid);
    LTI_EACH (i, left, n) {
        vf w = v_get(x + i, left);
        vm below, above;
        sides(w, round_code(w, &g), &g, by, &below, &above);
        v_put(dx + i, v_zero_if(v_or(below, above), v_get(dy + i, left)), left);
    }
}

typedef struct v_double {
    vd low, high;
} v_double;

VI void add_to(v_double *sum, vf a)
{
    sum->low = v_addd(sum->low, v_low(a));
    sum->high = v_addd(sum->high, v_high(a));
}

void LTI_FN(fake_quant_sums)(int64_t n, const R *x, const lti_grid *grid, int by, const R *dy, double *sums)
{
    v_grid g = v_grid_of(grid);
    v_double in = {v_setd(0), v_setd(0)}, under = in, over = in;
    LTI_EACH (i, left, n) { /* dy is 0 past the end */
        vf w = v_get(x + i, left), d = v_get(dy + i, left), code = round_code(w, &g);
        vm below, above;
        sides(w, code, &g, by, &below, &above);
        vm out = v_or(below, above);
        vf e = v_keep(v_zero_if(out, v_sub(on_grid(code, &g), w)), left), inside = v_zero_if(out, d);
        in.low = v_fmad(v_low(inside), v_low(e), in.low);
        in.high = v_fmad(v_high(inside), v_high(e), in.high);
        add_to(&under, v_select(below, d, v_zero()));
        add_to(&over, v_select(above, d, v_zero()));
    }
    sums[0] += v_sumd(v_addd(in.low, in.high));
    sums[1] += v_sumd(v_addd(under.low, under.high));
    sums[2] += v_sumd(v_addd(over.low, over.high));
}
