/* simd_update8.c - AdamW with moments of 8 bits: the operations of ref_update8.c in the same order, uncontracted.
 *
 * Codes are read and written 32 at a time, as far as whole blocks have them; past the last element numbers count as 0
 * and their codes keep the value that was there. */
#include "kernels/simd/vec.h"

#include <string.h>

enum { BLOCK = LTI_ADAM8_BLOCK, PIECE = 32 };

VI vf flushed(vf x)
{
    return v_zero_if(v_lt(v_abs(x), v_set(1e-30f)), x);
}

VI int64_t within(int64_t left)
{
    return left < 0 ? 0 : left < V ? left : V;
}

VI vf lower_code(vf x, float most)
{
    return v_trunc(v_min(v_max(v_sqrt(x), v_zero()), v_set(most)));
}

VI vf code_of_m(vf x, vf u)
{
    vf low = lower_code(x, 126), rest = v_sub(x, v_mul(low, low));
    vm stays = v_ge(v_mul(u, v_add(v_add(low, low), v_set(1))), rest);
    return v_select(v_or(stays, v_nan(rest)), low, v_add(low, v_set(1)));
}

VI vf code_of_root(vf x, vf u)
{
    vf low = lower_code(x, 254), high = v_add(low, v_set(1));
    vf below = v_mul(low, low), above = v_mul(high, high);
    below = v_mul(below, below), above = v_mul(above, above);
    vf rest = v_sub(v_mul(x, x), below);
    vm stays = v_or(v_ge(v_mul(u, v_sub(above, below)), rest), v_nan(rest));
    vf code = v_select(stays, low, high);
    return v_select(v_lt(v_zero(), x), v_max(code, v_set(1)), code);
}

typedef struct moments {
    float mean[BLOCK], root[BLOCK];
    vf top_mean, top_root;
} moments;

VI void step_piece(int64_t at, int64_t count, R *w, const int8_t *m, const int8_t *r, const R *scales, const R *g,
                   const lti_adamw_step *c, moments *to)
{
    const vf unit_m = v_set(scales[0] / 16129), unit_r = v_set(scales[1] / 65025);
    vf code[PIECE / V], far[PIECE / V];
    v_from_bytes(_mm256_loadu_si256((const void *)(m + at)), code);
    v_from_bytes(_mm256_loadu_si256((const void *)(r + at)), far);
    for (int j = 0; j < PIECE / V; j++) {
        int64_t i = at + (int64_t)j * V, left = within(count - i);
        if (left == 0) break;
        vf grad = v_mul(v_set(c->clip), v_get(g + i, left)), f = v_add(far[j], v_set(128));
        vf old_m = v_mul(v_mul(code[j], v_abs(code[j])), unit_m), old = v_mul(v_mul(f, f), unit_r);
        vf mean = flushed(v_add(v_mul(v_set(c->beta1), old_m), v_mul(v_set(1 - c->beta1), grad)));
        vf v = v_add(v_mul(v_set(c->beta2), v_mul(old, old)), v_mul(v_set(1 - c->beta2), v_mul(grad, grad)));
        vf root = v_sqrt(flushed(v)), by = v_add(v_mul(root, v_set(1 / c->sqrt_bias2)), v_set(c->eps));
        vf change = v_mul(v_set(c->step_size), v_div(mean, by));
        v_put(w + i, v_sub(v_mul(v_get(w + i, left), v_set(c->decay)), change), left);
        v_store(to->mean + i, mean);
        v_store(to->root + i, root);
        to->top_mean = v_max(v_abs(v_keep(mean, left)), to->top_mean);
        to->top_root = v_max(v_keep(root, left), to->top_root);
    }
}

/* word: of the piece's first element. */
VI void code_piece(int64_t at, int64_t count, int8_t *m, int8_t *r, const moments *from, vf grow_m, vf grow_r,
                   uint32_t word)
{
    int8_t codes[PIECE], codes_r[PIECE];
    vi low, high, words;
    v_multiply(v_count(), LTI_ADAM8_ALPHA, &high, &low);
    words = v_addi(low, v_seti((int)word));
    for (int j = 0; j < PIECE / V; j++, words = v_addi(words, v_seti((int)(V * LTI_ADAM8_ALPHA)))) {
        int64_t i = at + (int64_t)j * V;
        vf u = v_mul(v_from_ints(v_shift_right(words, 8)), v_set(0x1p-24f));
        vf mean = v_load(from->mean + i), code = code_of_m(v_mul(v_abs(mean), grow_m), u);
        v_put_bytes(codes + j * V, v_copysign(code, mean));
        v_put_bytes(codes_r + j * V, v_sub(code_of_root(v_mul(v_load(from->root + i), grow_r), u), v_set(128)));
    }
    size_t bytes = (size_t)(count - at < PIECE ? count - at : PIECE);
    memcpy(m + at, codes, bytes);
    memcpy(r + at, codes_r, bytes);
}

void LTI_FN(adamw8)(int64_t n, R *w, int8_t *m, int8_t *root, R *scales, const R *g, const lti_adamw8_step *c)
{
    moments block;
    memset(&block, 0, sizeof block);
    for (int64_t begin = 0; begin < n; begin += BLOCK, scales += 2) {
        int64_t count = n - begin < BLOCK ? n - begin : BLOCK;
        block.top_mean = block.top_root = v_zero();
        for (int64_t i = 0; i < count; i += PIECE)
            step_piece(i, count, w + begin, m + begin, root + begin, scales, g + begin, &c->adamw, &block);
        float top_m = v_hmax(block.top_mean), top_r = v_hmax(block.top_root);
        vf grow_m = v_set(top_m > 0 ? 16129 / top_m : 0), grow_r = v_set(top_r > 0 ? 65025 / top_r : 0);
        uint32_t word = c->first + (uint32_t)begin * LTI_ADAM8_ALPHA;
        for (int64_t i = 0; i < count; i += PIECE, word += PIECE * LTI_ADAM8_ALPHA)
            code_piece(i, count, m + begin, root + begin, &block, grow_m, grow_r, word);
        scales[0] = top_m, scales[1] = top_r;
    }
}
