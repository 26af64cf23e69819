/* k_encode.c - the stages of k_types.h put together, in plain C: encoders, weighted encoders and re-coders. */
#include "kernels/lattice/k_types.h"

void lti_k_weights(const lti_k_type *type, const float x[256], const float *importance, float w[256], float sums[16])
{
    float sum = 0;
    for (int i = 0; i < 256; i++) sum += x[i] * x[i];
    float mean = type->spread * sum / 256;
    for (int i = 0; i < 256; i++) w[i] = importance[i] * (type->spread != 0 ? sqrtf(mean + x[i] * x[i]) : 1);
    for (int j = 0; j < 256 / type->size; j++) {
        sums[j] = 0;
        for (int i = 0; i < type->size; i++) sums[j] += w[j * type->size + i];
    }
}

void lti_k_code(const lti_k_type *type, const float x[256], const uint8_t *block, uint8_t codes[256])
{
    float step[16], minimum[16];
    type->steps(block, step, minimum);
    for (int j = 0; j < 256 / type->size; j++)
        for (int i = j * type->size; step[j] != 0 && i < (j + 1) * type->size; i++)
            codes[i] =
                (uint8_t)(lti_nearest_within((x[i] + minimum[j]) / step[j], type->least, type->most) - type->least);
}

/* Scales into the block; 0 where it is to be zeros. */
static int put_plain(const lti_k_type *type, const float *x, uint8_t *block, uint8_t *codes)
{
    float scale[16], minimum[16] = {0};
    for (int j = 0; j < 256 / type->size; j++)
        scale[j] = type->fit(type, x + j * type->size, minimum + j, codes + j * type->size);
    return type->put(scale, minimum, block);
}

static int put_weighted(const lti_k_type *type, const float *x, const float *importance, uint8_t *block, uint8_t *codes)
{
    float w[256], sums[16], scale[16], minimum[16] = {0};
    lti_k_weights(type, x, importance, w, sums);
    for (int j = 0; j < 256 / type->size; j++) {
        int at = j * type->size;
        if (type->least < 0)
            scale[j] = lti_k_fit_extreme(type->size, -type->least, x + at, w + at, codes + at);
        else
            scale[j] = lti_k_fit_minimum(type->size, type->most, x + at, w + at, &lti_k_weighted_search, minimum + j,
                                         codes + at);
    }
    return type->put_weighted(scale, minimum, sums, block);
}

void lti_k_encode(const lti_k_type *type, int64_t n, const R *x, const R *importance, uint8_t *block)
{
    for (int64_t b = 0; b < n / 256; b++, x += 256, block += type->bytes) {
        float v[256], q[256];
        uint8_t codes[256] = {0};
        int nan = 0;
        for (int i = 0; i < 256; i++) {
            v[i] = (float)x[i];
            q[i] = importance ? (float)importance[256 * b + i] : 0;
            nan |= v[i] != v[i];
        }
        memset(block, 0, (size_t)type->bytes);
        if (nan)
            lti_put_half(block + type->d_at, NAN);
        else if (!(importance ? put_weighted(type, v, q, block, codes) : put_plain(type, v, block, codes)))
            memset(codes, 0, sizeof codes);
        lti_k_code(type, v, block, codes);
        type->pack(codes, block);
    }
}

void lti_k_recode(const lti_k_type *type, int64_t n, const R *x, uint8_t *block)
{
    for (int64_t b = 0; b < n / 256; b++, x += 256, block += type->bytes) {
        float v[256];
        uint8_t codes[256];
        for (int i = 0; i < 256; i++) v[i] = (float)x[i];
        type->unpack(block, codes);
        lti_k_code(type, v, block, codes);
        type->pack(codes, block);
    }
}
