/* stored_real.c - see stored_real.h. */
#include "data/formats/stored_real.h"

#include "base/half.h"

bool lti_stored_to_real(lt_stored type, int64_t n, const void *src, lt_real *dst)
{
    const char *p = src;
    uint16_t half;
    float single;
    double wide;
    switch (type) {
    case LT_STORED_F16:
        for (int64_t i = 0; i < n; i++, p += 2) dst[i] = (memcpy(&half, p, 2), lti_f16_to_f32(half));
        return true;
    case LT_STORED_BF16:
        for (int64_t i = 0; i < n; i++, p += 2) dst[i] = (memcpy(&half, p, 2), lti_bf16_to_f32(half));
        return true;
    case LT_STORED_F32:
        for (int64_t i = 0; i < n; i++, p += 4) dst[i] = (memcpy(&single, p, 4), single);
        return true;
    case LT_STORED_F64:
        for (int64_t i = 0; i < n; i++, p += 8) dst[i] = (memcpy(&wide, p, 8), (lt_real)wide);
        return true;
    default: return false;
    }
}

bool lti_real_to_stored(lt_stored type, int64_t n, const lt_real *src, void *dst)
{
    char *p = dst;
    uint16_t half;
    float single;
    double wide;
    switch (type) {
    case LT_STORED_F16:
        for (int64_t i = 0; i < n; i++, p += 2) half = lti_f32_to_f16((float)src[i]), memcpy(p, &half, 2);
        return true;
    case LT_STORED_BF16:
        for (int64_t i = 0; i < n; i++, p += 2) half = lti_f32_to_bf16((float)src[i]), memcpy(p, &half, 2);
        return true;
    case LT_STORED_F32:
        for (int64_t i = 0; i < n; i++, p += 4) single = (float)src[i], memcpy(p, &single, 4);
        return true;
    case LT_STORED_F64:
        for (int64_t i = 0; i < n; i++, p += 8) wide = src[i], memcpy(p, &wide, 8);
        return true;
    default: return false;
    }
}
