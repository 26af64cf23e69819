/* nested_scales.c - see nested_scales.h. */
#include "kernels/lattice/nested_scales.h"

#include "kernels/lattice/blocks.h"

enum { BLOCK_BYTES = 36 };

/* The values above 0, but for the last, which is 1. Written out because their last bits depend on how a library
 * computes equal parts. */
static const float positive[127] = {
    5.50000038e-07f, 3.25000019e-06f, 7.7499999e-06f,  2.12499981e-05f, 4.37499984e-05f, 6.62500024e-05f,
    8.87499991e-05f, 0.000156250011f, 0.000268750038f, 0.000381250022f, 0.000493750034f, 0.000606250076f,
    0.00071875006f,  0.000831249985f, 0.000943750085f, 0.00128124992f,  0.00184375001f,  0.00240624999f,
    0.00296874996f,  0.00353124971f,  0.00409374991f,  0.00465624966f,  0.00521875033f,  0.00578125007f,
    0.00634374982f,  0.00690625003f,  0.00746874977f,  0.00803124998f,  0.00859375019f,  0.00915624946f,
    0.00971874967f,  0.0114062503f,   0.0142187504f,   0.0170312505f,   0.0198437516f,   0.0226562507f,
    0.0254687499f,   0.028281251f,    0.0310937501f,   0.0339062512f,   0.0367187522f,   0.0395312496f,
    0.0423437469f,   0.0451562516f,   0.047968749f,    0.05078125f,     0.053593751f,    0.0564062484f,
    0.0592187531f,   0.0620312504f,   0.0648437515f,   0.0676562563f,   0.0704687461f,   0.0732812509f,
    0.0760937482f,   0.078906253f,    0.0817187577f,   0.0845312476f,   0.0873437524f,   0.0901562497f,
    0.0929687545f,   0.0957812592f,   0.0985937491f,   0.107031256f,    0.12109375f,     0.135156244f,
    0.149218753f,    0.163281247f,    0.177343756f,    0.19140625f,     0.205468744f,    0.219531253f,
    0.233593747f,    0.247656241f,    0.26171875f,     0.275781274f,    0.289843738f,    0.303906262f,
    0.317968726f,    0.33203125f,     0.346093744f,    0.360156238f,    0.374218762f,    0.388281226f,
    0.40234375f,     0.416406244f,    0.430468738f,    0.444531262f,    0.458593726f,    0.47265625f,
    0.486718714f,    0.500781238f,    0.514843702f,    0.528906226f,    0.54296875f,     0.557031274f,
    0.571093798f,    0.585156262f,    0.599218726f,    0.61328125f,     0.627343774f,    0.641406298f,
    0.655468762f,    0.669531226f,    0.68359375f,     0.697656274f,    0.711718798f,    0.725781262f,
    0.739843726f,    0.75390625f,     0.767968774f,    0.782031238f,    0.796093762f,    0.810156226f,
    0.82421875f,     0.838281274f,    0.852343738f,    0.866406262f,    0.880468726f,    0.89453125f,
    0.908593774f,    0.922656238f,    0.936718762f,    0.950781226f,    0.96484375f,     0.978906274f,
    0.992968738f};

float lti_dynamic_value(uint8_t code)
{
    if (code == 255) return 1;
    return code < 127 ? -positive[126 - code] : code == 127 ? 0 : positive[code - 128];
}

/* How many middles of two neighbours are below v. */
static uint8_t code_of(float v)
{
    int first = 0, end = 255; /* the place is one of [first, end] */
    while (first < end) {
        int i = (first + end) / 2;
        float middle = (lti_dynamic_value((uint8_t)i) + lti_dynamic_value((uint8_t)(i + 1))) / 2;
        if (v > middle)
            first = i + 1;
        else
            end = i;
    }
    return (uint8_t)first;
}

float lti_scales_mean(int64_t n, const void *blocks)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)lti_float_at((const uint8_t *)blocks + i * BLOCK_BYTES);
    return n > 0 ? (float)(sum / (double)n) : 0;
}

/* One group of at most LTI_NESTED_GROUP. Returns its largest difference. */
static float nest_group(int64_t n, const uint8_t *block, float offset, uint8_t *codes)
{
    float difference[LTI_NESTED_GROUP], largest = 0;
    for (int64_t i = 0; i < n; i++) {
        difference[i] = lti_float_at(block + i * BLOCK_BYTES) - offset;
        if (!(fabsf(difference[i]) <= largest)) largest = fabsf(difference[i]);
    }
    float inverse = 1 / (largest > 1e-38f ? largest : 1e-38f);
    for (int64_t i = 0; i < n; i++) {
        float v = difference[i] * inverse;
        codes[i] = code_of(v < -1 ? -1 : v > 1 ? 1 : v);
    }
    return largest;
}

static void unnest_group(int64_t n, const uint8_t *codes, float largest, float offset, uint8_t *block)
{
    for (int64_t i = 0; i < n; i++) {
        float product = lti_dynamic_value(codes[i]) * largest, scale = product + offset;
        memcpy(block + i * BLOCK_BYTES, &scale, sizeof scale);
    }
}

static int64_t group_size(int64_t n, int64_t at)
{
    return n - at < LTI_NESTED_GROUP ? n - at : LTI_NESTED_GROUP;
}

void lti_nest_scales(int64_t n, const void *blocks, float offset, uint8_t *codes, float *largest)
{
    const uint8_t *block = blocks;
    for (int64_t i = 0; i < n; i += LTI_NESTED_GROUP)
        largest[i / LTI_NESTED_GROUP] = nest_group(group_size(n, i), block + i * BLOCK_BYTES, offset, codes + i);
}

void lti_unnest_scales(int64_t n, const uint8_t *codes, const float *largest, float offset, void *blocks)
{
    uint8_t *block = blocks;
    for (int64_t i = 0; i < n; i += LTI_NESTED_GROUP)
        unnest_group(group_size(n, i), codes + i, largest[i / LTI_NESTED_GROUP], offset, block + i * BLOCK_BYTES);
}

void lti_double_scales(int64_t n, void *blocks)
{
    uint8_t *block = blocks, codes[LTI_NESTED_GROUP];
    float offset = lti_scales_mean(n, blocks);
    for (int64_t i = 0; i < n; i += LTI_NESTED_GROUP) {
        int64_t count = group_size(n, i);
        float largest = nest_group(count, block + i * BLOCK_BYTES, offset, codes);
        unnest_group(count, codes, largest, offset, block + i * BLOCK_BYTES);
    }
}
