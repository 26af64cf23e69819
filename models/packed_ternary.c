/* packed_ternary.c - the numbers of packed ternary weights, as Transformers' BitNet layers have them.
 *
 *     weight uint8 [out / 4, in]: bits 2 k and 2 k + 1 of a byte are row k out / 4 + i of the matrix, as code + 1
 *     weight_scale, one number: AutoBitLinear multiplies by it, BitLinear divides
 *
 * Their layers also round what they read to int8 a token: activations int8_token do the same here. */
#include "models/packed.h"

#include <math.h>

static lt_status unpack(const lti_weights *w, const lti_tensor *t, const char *name, lt_real scale, lt_real *dst)
{
    int codes;
    int64_t quarter = t->shape[0] / 4, in = t->shape[1];
    if (t->shape[0] % 4)
        return lti_fail(w->ctx, LT_EFORMAT, "%s: '%s' has %lld rows, which four codes a byte do not divide",
                        lti_weights_path(w), name, (long long)t->shape[0]);
    LTI_TRY(lti_part_find(w, name, &(lti_part){".weight", true, LT_STORED_U8, 2, quarter, in}, &codes));
    const uint8_t *byte = lt_tensors_data(w->tensors, codes);
    for (int64_t i = 0; i < quarter * in; i++)
        for (int k = 0; k < 4; k++) {
            int code = byte[i] >> 2 * k & 3;
            if (code == 3)
                return lti_fail(w->ctx, LT_EFORMAT, "%s: '%s': byte %lld is %d: it holds a code that is no -1, 0 or 1",
                                lti_weights_path(w), name, (long long)i, byte[i]);
            dst[k * quarter * in + i] = (lt_real)(code - 1) * scale;
        }
    return LT_OK;
}

/* What a code is multiplied by. */
static lt_status find_scale(const lti_packed *p, const lti_weights *w, const char *name, lt_real *scale)
{
    lt_real *part;
    LTI_TRY(lti_part_numbers(w, name, &(lti_part){".weight_scale", true, LT_STORED_REAL, 0, 1, 0}, &part));
    double stored = (double)*part;
    *scale = p->scale_divides ? 1 / *part : *part;
    lti_free(w->ctx, part);
    if (isfinite(stored) && isfinite((double)*scale)) return LT_OK;
    return lti_fail(w->ctx, LT_EFORMAT,
                    "%s: weight_scale of '%s' is %g, which a code cannot be %s; take the file from where it was made",
                    lti_weights_path(w), name, stored, p->scale_divides ? "divided by" : "multiplied by");
}

lt_status lti_packed_read_ternary(const lti_packed *p, const lti_weights *w, const lti_tensor *t, const char *name,
                                  lt_real *dst)
{
    lt_real scale;
    LTI_TRY(find_scale(p, w, name, &scale));
    return unpack(w, t, name, scale, dst);
}

lt_status lti_packed_scales_ternary(const lti_packed *p, const lti_weights *w, const lti_tensor *t, const char *name,
                                    lt_real *scales)
{
    lt_real scale;
    LTI_TRY(find_scale(p, w, name, &scale));
    for (int64_t i = 0; i < t->shape[0] * (t->shape[1] / LTI_PACKED_BLOCK); i++) scales[i] = scale;
    return LT_OK;
}
