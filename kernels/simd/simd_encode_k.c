/* simd_encode_k.c - the K encoders of lattice/k_encode.c, WIDE V sub-blocks at once: the same bytes.
 *
 * A tile holds WIDE V sub-blocks transposed, [element][sub-block], so that every sum runs over a sub-block's elements in
 * ref's order, one sub-block a lane: nothing is reassociated and nothing contracted. The searches depend step on step,
 * so WIDE vectors of lanes run side by side to hide their latency. Scales are put into blocks and read back by the
 * functions ref uses (k_types.h); the last rounding, which has no sums, runs along the elements.
 *
 * What is out of the ordinary goes to ref: chunks with NaN, infinities or numbers above 1e15, sub-blocks so narrow that
 * a scale might overflow, blocks with a step that is no number or that is 0 though the sub-block is not (its codes are
 * then the search's, which are not kept here). */
#include "kernels/lattice/k_types.h"
#include "kernels/simd/attention_panels.h"

enum { LANES = WIDE * V, TILE = 32 * LANES };

/* A chunk of LANES sub-blocks and what fitting it gives. */
typedef struct chunk {
    float x[TILE], w[TILE]; /* [element][sub-block] */
    float scale[LANES], minimum[LANES];
    float empty[LANES]; /* not 0: a sub-block whose codes are 0 if its scale is */
} chunk;

/* Rounded and within bounds; v is finite. */
VI vf code_of(vf v, float least, float most)
{
    return v_round(v_max(v_min(v, v_set(most)), v_set(least)));
}

/* code_of from 0 on. Finite numbers are bounded as integers, with a sign first: that leaves the ports of sums alone, which
 * are what a trial waits for. */
VI vf code_up_to(vf v, vi most)
{
#ifdef LTI_ISA_avx512
    vi bits = _mm512_min_epi32(_mm512_castps_si512(v), most);
    return v_round(_mm512_castsi512_ps(_mm512_max_epi32(bits, v_seti(0))));
#else
    vi bits = _mm256_min_epi32(_mm256_castps_si256(v), most);
    return v_round(_mm256_castsi256_ps(_mm256_max_epi32(bits, v_seti(0))));
#endif
}

/* What one trial of fit_minimum sums up, and its codes. */
typedef struct trial {
    vf codes[WIDE], squares[WIDE], products[WIDE];
    vf code[32][WIDE];
} trial;

VI void try_scale(int n, float most, const chunk *c, const vf low[WIDE], const vf inverse[WIDE], trial *t)
{
    const vi bound = v_seti((int)lti_float_bits(most));
    for (int g = 0; g < WIDE; g++) t->codes[g] = t->squares[g] = t->products[g] = v_zero();
    for (int i = 0; i < n; i++)
        for (int g = 0; g < WIDE; g++) {
            vf x = v_load(c->x + i * LANES + g * V), w = v_load(c->w + i * LANES + g * V);
            vf l = code_up_to(v_mul(inverse[g], v_sub(x, low[g])), bound), wl = v_mul(w, l);
            t->code[i][g] = l;
            t->codes[g] = v_add(t->codes[g], wl);
            t->squares[g] = v_add(t->squares[g], v_mul(wl, l));
            t->products[g] = v_add(t->products[g], v_mul(wl, x));
        }
}

VI void error_sums(int n, int absolute, const chunk *c, const trial *t, const vf scale[WIDE], const vf low[WIDE],
                   vf sum[WIDE])
{
    for (int g = 0; g < WIDE; g++) sum[g] = v_zero();
    for (int i = 0; i < n; i++)
        for (int g = 0; g < WIDE; g++) {
            vf x = v_load(c->x + i * LANES + g * V), w = v_load(c->w + i * LANES + g * V);
            vf e = v_sub(v_add(v_mul(scale[g], t->code[i][g]), low[g]), x);
            sum[g] = v_add(sum[g], v_mul(w, absolute ? v_abs(e) : v_mul(e, e)));
        }
}

/* The extent of each sub-block, and sums of its weights. Flat ones are given another: nothing is divided by 0. */
typedef struct extent {
    vf low[WIDE], high[WIDE], weights[WIDE], sums[WIDE];
    vf narrow[WIDE]; /* the least range that is searched here */
    vm flat[WIDE];
} extent;

VI void measure(int n, const chunk *c, extent *e)
{
    for (int g = 0; g < WIDE; g++) {
        vf low = v_load(c->x + g * V), high = low, largest = v_abs(low);
        vf weights = v_load(c->w + g * V), sums = v_mul(weights, low);
        for (int i = 1; i < n; i++) {
            vf x = v_load(c->x + i * LANES + g * V), w = v_load(c->w + i * LANES + g * V);
            low = v_min(x, low);
            high = v_max(x, high);
            largest = v_max(v_abs(x), largest);
            weights = v_add(weights, w);
            sums = v_add(sums, v_mul(w, x));
        }
        low = v_select(v_lt(v_zero(), low), v_zero(), low);
        e->flat[g] = v_eq(high, low);
        e->low[g] = low;
        e->high[g] = v_select(e->flat[g], v_add(largest, v_set(1)), high);
        e->narrow[g] = v_max(v_mul(largest, v_set(1e-20f)), v_set(1e-30f));
        e->weights[g] = weights;
        e->sums[g] = sums;
    }
}

/* lti_k_fit_minimum. */
VI int fit_minimum(int n, float most, const lti_k_search s, chunk *c)
{
    extent e;
    trial t;
    vf scale[WIDE], inverse[WIDE], best[WIDE];
    unsigned narrow = 0;
    measure(n, c, &e);
    for (int g = 0; g < WIDE; g++) {
        inverse[g] = v_div(v_set(most), v_sub(e.high[g], e.low[g]));
        scale[g] = v_div(v_set(1), inverse[g]);
    }
    try_scale(n, most, c, e.low, inverse, &t);
    error_sums(n, s.absolute, c, &t, scale, e.low, best);
    for (int i = 0; i <= s.steps; i++) {
        vf this_scale[WIDE], this_low[WIDE], error[WIDE], det[WIDE];
        for (int g = 0; g < WIDE; g++) {
            vf range = v_sub(e.high[g], e.low[g]);
            narrow |= v_bits(v_lt(range, e.narrow[g]));
            inverse[g] = v_div(v_set(s.from + s.by * (float)i + most), range);
        }
        if (narrow) return 0;
        try_scale(n, most, c, e.low, inverse, &t);
        for (int g = 0; g < WIDE; g++) {
            det[g] = v_sub(v_mul(e.weights[g], t.squares[g]), v_mul(t.codes[g], t.codes[g]));
            vf a = v_sub(v_mul(e.weights[g], t.products[g]), v_mul(e.sums[g], t.codes[g]));
            vf b = v_sub(v_mul(t.squares[g], e.sums[g]), v_mul(t.codes[g], t.products[g]));
            b = v_div(b, det[g]);
            vm above = v_lt(v_zero(), b);
            this_low[g] = v_select(above, v_zero(), b);
            this_scale[g] = v_div(v_select(above, t.products[g], a), v_select(above, t.squares[g], det[g]));
        }
        error_sums(n, s.absolute, c, &t, this_scale, this_low, error);
        for (int g = 0; g < WIDE; g++) {
            vf barred = v_select(e.flat[g], v_set(INFINITY), error[g]);
            vm better = v_lt(v_select(v_lt(v_zero(), det[g]), barred, v_set(INFINITY)), best[g]);
            best[g] = v_select(better, error[g], best[g]);
            scale[g] = v_select(better, this_scale[g], scale[g]);
            e.low[g] = v_select(better, this_low[g], e.low[g]);
        }
    }
    for (int g = 0; g < WIDE; g++) {
        v_store(c->scale + g * V, v_zero_if(e.flat[g], scale[g]));
        v_store(c->minimum + g * V, v_neg(e.low[g]));
        v_store(c->empty + g * V, v_select(e.flat[g], v_set(1), v_zero()));
    }
    return 1;
}

/* The element of largest magnitude; 1 where none reaches 1e-15, which makes the sub-block empty. */
VI void find_extremes(int n, chunk *c, vf ext[WIDE])
{
    for (int g = 0; g < WIDE; g++) {
        vf largest = v_zero();
        ext[g] = v_set(1);
        for (int i = 0; i < n; i++) {
            vf x = v_load(c->x + i * LANES + g * V), a = v_abs(x);
            vm more = v_lt(largest, a);
            largest = v_select(more, a, largest);
            ext[g] = v_select(more, x, ext[g]);
        }
        vm none = v_lt(largest, v_set(1e-15f));
        ext[g] = v_select(none, v_set(1), ext[g]);
        v_store(c->empty + g * V, v_select(none, v_set(1), v_zero()));
    }
}

/* Sums of w x l and w l^2, l the codes by `inverse`. */
VI void sums_of(int n, float most, const chunk *c, const vf wx[][WIDE], const vf inverse[WIDE], vf products[WIDE],
                vf squares[WIDE])
{
    for (int g = 0; g < WIDE; g++) products[g] = squares[g] = v_zero();
    for (int i = 0; i < n; i++)
        for (int g = 0; g < WIDE; g++) {
            vf x = v_load(c->x + i * LANES + g * V), w = v_load(c->w + i * LANES + g * V);
            vf l = code_of(v_mul(inverse[g], x), -most, most - 1);
            products[g] = v_add(products[g], v_mul(wx[i][g], l));
            squares[g] = v_add(squares[g], v_mul(v_mul(w, l), l));
        }
}

VI void multiply_weights(int n, const chunk *c, vf wx[][WIDE])
{
    for (int i = 0; i < n; i++)
        for (int g = 0; g < WIDE; g++)
            wx[i][g] = v_mul(v_load(c->w + i * LANES + g * V), v_load(c->x + i * LANES + g * V));
}

VI void put_scale(chunk *c, int g, vf scale)
{
    v_store(c->scale + g * V, v_zero_if(v_lt(v_zero(), v_load(c->empty + g * V)), scale));
}

/* lti_k_fit_extreme, sub-blocks of 16. */
VI int fit_extreme(float most, chunk *c)
{
    vf ext[WIDE], inverse[WIDE], products[WIDE], squares[WIDE], scale[WIDE], best[WIDE], wx[16][WIDE];
    find_extremes(16, c, ext);
    multiply_weights(16, c, wx);
    for (int g = 0; g < WIDE; g++) inverse[g] = v_div(v_set(-most), ext[g]);
    sums_of(16, most, c, wx, inverse, products, squares);
    for (int g = 0; g < WIDE; g++) {
        scale[g] = v_zero_if(v_eq(squares[g], v_zero()), v_div(products[g], squares[g]));
        best[g] = v_mul(scale[g], products[g]);
    }
    for (int i = -9; i <= 9; i++) {
        if (i == 0) continue;
        for (int g = 0; g < WIDE; g++) inverse[g] = v_div(v_set(-(most + 0.1f * (float)i)), ext[g]);
        sums_of(16, most, c, wx, inverse, products, squares);
        for (int g = 0; g < WIDE; g++) {
            vm some = v_lt(v_zero(), squares[g]);
            vf gain = v_select(some, v_mul(products[g], products[g]), v_set(-INFINITY));
            vm better = v_lt(v_mul(best[g], squares[g]), gain);
            vf other = v_div(products[g], squares[g]);
            scale[g] = v_select(better, other, scale[g]);
            best[g] = v_select(better, v_mul(other, products[g]), best[g]);
        }
    }
    for (int g = 0; g < WIDE; g++) put_scale(c, g, scale[g]);
    return 1;
}

/* lti_k_fit_turns, sub-blocks of 16: a lane where nothing changed goes on and changes nothing. */
VI int fit_turns(float most, chunk *c)
{
    vf ext[WIDE], inverse[WIDE], products[WIDE], squares[WIDE], wx[16][WIDE], code[16][WIDE];
    find_extremes(16, c, ext);
    multiply_weights(16, c, wx);
    for (int g = 0; g < WIDE; g++) inverse[g] = v_div(v_set(-most), ext[g]);
    sums_of(16, most, c, wx, inverse, products, squares);
    for (int i = 0; i < 16; i++)
        for (int g = 0; g < WIDE; g++)
            code[i][g] = code_of(v_mul(inverse[g], v_load(c->x + i * LANES + g * V)), -most, most - 1);
    unsigned changes = 1;
    for (int turn = 0; turn < 5 && changes; turn++) {
        changes = 0;
        for (int i = 0; i < 16; i++)
            for (int g = 0; g < WIDE; g++) {
                vf x = v_load(c->x + i * LANES + g * V), w = v_load(c->w + i * LANES + g * V), l = code[i][g];
                vf p = v_sub(products[g], v_mul(wx[i][g], l)), s = v_sub(squares[g], v_mul(v_mul(w, l), l));
                vf v = v_div(v_mul(x, s), p);
                v = v_select(v_ge(v_set(FLT_MAX), v_abs(v)), v, v_zero());
                vf other = code_of(v, -most, most - 1);
                vm mine = v_lt(v_zero(), p);
                p = v_add(p, v_mul(wx[i][g], other));
                s = v_add(s, v_mul(v_mul(w, other), other));
                vf gain = v_mul(v_mul(p, p), squares[g]), old = v_mul(v_mul(products[g], products[g]), s);
                old = v_select(mine, v_select(v_eq(other, l), v_set(INFINITY), old), v_set(INFINITY));
                vm better = v_lt(v_select(v_lt(v_zero(), s), old, v_set(INFINITY)), gain);
                changes |= v_bits(better);
                code[i][g] = v_select(better, other, l);
                products[g] = v_select(better, p, products[g]);
                squares[g] = v_select(better, s, squares[g]);
            }
    }
    for (int g = 0; g < WIDE; g++)
        put_scale(c, g, v_select(v_lt(v_zero(), squares[g]), v_div(products[g], squares[g]), v_zero()));
    return 1;
}

/* ---- Weights of the plain encoders ---- */

VI void weigh_magnitudes(int n, chunk *c)
{
    for (int i = 0; i < n * LANES; i += V) v_store(c->w + i, v_abs(v_load(c->x + i)));
}

VI void weigh_squares(int n, chunk *c)
{
    for (int i = 0; i < n * LANES; i += V) v_store(c->w + i, v_mul(v_load(c->x + i), v_load(c->x + i)));
}

VI void weigh_six(int n, chunk *c)
{
    for (int g = 0; g < WIDE; g++) {
        vf sum = v_zero();
        for (int i = 0; i < n; i++) {
            vf x = v_load(c->x + i * LANES + g * V);
            sum = v_add(sum, v_mul(x, x));
        }
        vf root = v_sqrt(v_mul(sum, v_set(1.0f / 32)));
        for (int i = 0; i < n; i++)
            v_store(c->w + i * LANES + g * V, v_add(root, v_abs(v_load(c->x + i * LANES + g * V))));
    }
}

static int fit_q2_k(chunk *c, int weighted)
{
    if (weighted) return fit_minimum(16, 3, lti_k_weighted_search, c);
    weigh_magnitudes(16, c);
    return fit_minimum(16, 3, lti_q2_k.plain, c);
}

static int fit_q3_k(chunk *c, int weighted)
{
    if (weighted) return fit_extreme(4, c);
    weigh_squares(16, c);
    return fit_turns(4, c);
}

static int fit_q4_k(chunk *c, int weighted)
{
    if (!weighted) weigh_six(32, c);
    return fit_minimum(32, 15, weighted ? lti_k_weighted_search : lti_q4_k.plain, c);
}

static int fit_q5_k(chunk *c, int weighted)
{
    if (!weighted) weigh_six(32, c);
    return fit_minimum(32, 31, weighted ? lti_k_weighted_search : lti_q5_k.plain, c);
}

static int fit_q6_k(chunk *c, int weighted)
{
    if (!weighted) weigh_squares(16, c);
    return fit_extreme(32, c);
}

/* ---- Blocks ---- */

static int ordinary(int64_t n, const float *x)
{
    vm odd = v_nan(v_zero());
    for (int64_t i = 0; i < n; i += V) {
        vf v = v_load(x + i);
        odd = v_or(odd, v_or(v_nan(v), v_lt(v_set(1e15f), v_abs(v))));
    }
    return !v_bits(odd);
}

/* lti_k_code from nothing; 0 when ref must take the block. empty: [sub-blocks], or NULL when none may be. */
static int code_block(const lti_k_type *type, const float *x, const float *empty, const uint8_t *block, uint8_t *codes)
{
    float step[16], minimum[16];
    type->steps(block, step, minimum);
    for (int j = 0; j < 256 / type->size; j++) {
        int8_t *to = (int8_t *)codes + j * type->size;
        if (!(fabsf(step[j]) <= FLT_MAX && fabsf(minimum[j]) <= FLT_MAX)) return 0;
        if (step[j] == 0 && !(empty && empty[j] != 0)) return 0;
        if (step[j] == 0) {
            memset(to, 0, (size_t)type->size);
            continue;
        }
        for (int i = 0; i < type->size; i += V) {
            vf v = v_div(v_add(v_load(x + j * type->size + i), v_set(minimum[j])), v_set(step[j]));
            v = code_of(v, (float)type->least, (float)type->most);
            v_put_bytes(to + i, v_sub(v, v_set((float)type->least)));
        }
    }
    return 1;
}

/* Rows of LANES sub-blocks as a tile. */
static void to_tile(const lti_k_type *type, const float *x, float *tile)
{
    transpose(LANES, type->size, x, type->size, tile, LANES);
}

/* `count` blocks, no more than a chunk; x and importance (or NULL) belong to them alone. */
static void encode(const lti_k_type *type, int (*fit)(chunk *c, int weighted), int64_t count, const float *x,
                   const float *importance, uint8_t *block)
{
    int full = LANES * type->size / 256, per = 256 / type->size;
    _Alignas(64) chunk c;
    float w[TILE], sums[TILE / 16], padded[TILE];
    const float *from = x;
    if (count < full) {
        memset(padded, 0, sizeof padded);
        memset(w, 0, sizeof w);
        memcpy(padded, x, (size_t)count * 256 * sizeof *x);
        from = padded;
    }
    int fits = ordinary(count * 256, x);
    if (fits) {
        for (int64_t b = 0; importance && b < count; b++)
            lti_k_weights(type, x + 256 * b, importance + 256 * b, w + 256 * b, sums + 16 * b);
        to_tile(type, from, c.x);
        if (importance) to_tile(type, w, c.w);
        fits = fit(&c, importance != NULL);
    }
    for (int64_t b = 0; b < count; b++, x += 256, block += type->bytes) {
        uint8_t codes[256];
        const float *scale = c.scale + b * per, *minimum = c.minimum + b * per;
        if (fits) memset(block, 0, (size_t)type->bytes);
        if (fits &&
            (importance ? type->put_weighted(scale, minimum, sums + 16 * b, block)
                        : type->put(scale, minimum, block)) &&
            code_block(type, x, c.empty + b * per, block, codes))
            type->pack(codes, block);
        else
            lti_k_encode(type, 256, x, importance ? importance + 256 * b : NULL, block);
    }
}

static void encode_all(const lti_k_type *type, int (*fit)(chunk *c, int weighted), int64_t n, const float *x,
                       const float *importance, uint8_t *blocks)
{
    int64_t full = LANES * type->size / 256;
    for (int64_t b = 0; b < n / 256; b += full)
        encode(type, fit, n / 256 - b < full ? n / 256 - b : full, x + 256 * b,
               importance ? importance + 256 * b : NULL, blocks + b * type->bytes);
}

static void recode_all(const lti_k_type *type, int64_t n, const float *x, uint8_t *block)
{
    for (int64_t b = 0; b < n / 256; b++, x += 256, block += type->bytes) {
        uint8_t codes[256];
        if (ordinary(256, x) && code_block(type, x, NULL, block, codes))
            type->pack(codes, block);
        else
            lti_k_recode(type, 256, x, block);
    }
}

#define ENCODER(name)                                                                                                  \
    void LTI_FN(quantize_##name)(int64_t n, const R *x, void *blocks)                                                  \
    {                                                                                                                  \
        encode_all(&lti_##name, fit_##name, n, x, NULL, blocks);                                                       \
    }                                                                                                                  \
    void LTI_FN(quantize_weighted_##name)(int64_t n, const R *x, const R *importance, void *blocks)                    \
    {                                                                                                                  \
        encode_all(&lti_##name, fit_##name, n, x, importance, blocks);                                                 \
    }                                                                                                                  \
    void LTI_FN(recode_##name)(int64_t n, const R *x, void *blocks)                                                    \
    {                                                                                                                  \
        recode_all(&lti_##name, n, x, blocks);                                                                         \
    }

ENCODER(q2_k)
ENCODER(q3_k)
ENCODER(q4_k)
ENCODER(q5_k)
ENCODER(q6_k)
