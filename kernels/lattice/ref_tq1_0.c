/* ref_tq1_0.c - GGUF TQ1_0, in plain C: 256 ternary numbers in 54 bytes, y = (digit - 1) d.
 *
 *     A byte is ceil(256 V / 243), V a number of five ternary digits: digit n is ((byte 3^n mod 256) 3) >> 8 (lti_trit)
 *     bytes 0 .. 31: digit n of byte i is element 32 n + i; 32 .. 47: digit n of byte 32 + i is element 160 + 16 n + i;
 *     48 .. 51: digit n < 4 of byte 48 + i is element 240 + 4 n + i; 52, 53: d (f16)
 *
 * Writing is ref_tq2_0.c's: the same trits. */
#include "kernels/kernels.h"
#include "kernels/lattice/blocks.h"
#include "kernels/lattice/ternary.h"

/* ceil(256 V / 243) of `count` digits, `step` apart; digits that are not there are 0. */
static uint8_t byte_of(const uint8_t *digit, int step, int count)
{
    int v = 0;
    for (int n = 0; n < 5; n++) v = 3 * v + (n < count ? digit[n * step] : 0);
    return (uint8_t)((256 * v + 242) / 243);
}

void lti_k_quantize_tq1_0_ref(int64_t n, const R *x, void *blocks)
{
    uint8_t *block = blocks, digit[256];
    for (int64_t b = 0; b < n / 256; b++, block += 54, x += 256) {
        uint16_t half = lti_trits_of(x, digit);
        for (int i = 0; i < 32; i++) block[i] = byte_of(digit + i, 32, 5);
        for (int i = 0; i < 16; i++) block[32 + i] = byte_of(digit + 160 + i, 16, 5);
        for (int i = 0; i < 4; i++) block[48 + i] = byte_of(digit + 240 + i, 4, 4);
        memcpy(block + 52, &half, sizeof half);
    }
}

void lti_k_dequantize_tq1_0_ref(int64_t n, const void *blocks, R *y)
{
    const uint8_t *block = blocks;
    for (int64_t b = 0; b < n / 256; b++, block += 54, y += 256) {
        float d = lti_half_at(block + 52);
        for (int i = 0; i < 256; i++) y[i] = (float)lti_tq1_0_code(block, i) * d;
    }
}
