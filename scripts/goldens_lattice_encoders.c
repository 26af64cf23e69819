/* goldens_lattice_encoders.c - prints the hashes in tests/test_lattice_encoders.c: what ggml's own encoders of blocks of
 * 32, and of ternary ones, make of the streams in tests/lattice_streams.h, compiled without contraction, which is the
 * canon of the bytes. By hand:
 *
 *     git clone https://github.com/ggml-org/ggml && cd ggml       (the hashes are from commit d99724f2)
 *     gcc -O2 -DNDEBUG -D_GNU_SOURCE -ffp-contract=off -ffunction-sections -fdata-sections -Isrc -Iinclude \
 *         -I../lathe ../lathe/scripts/goldens_lattice_encoders.c src/ggml-quants.c -Wl,--gc-sections -lm -o goldens
 *     ./goldens
 *
 * For each type: bytes of the plain stream, the numbers they decode to, bytes with importance; bytes of the odd stream
 * without and with it; for the ternary types also bytes and numbers of the ternary stream. Neither ggml nor this file is
 * part of the build. */
#include "ggml-impl.h"
#include "ggml-quants.h"
#include "tests/lattice_streams.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { N = 65536, COLUMNS = 1024 };

typedef size_t (*encoder)(const float *x, void *blocks, int64_t rows, int64_t columns, const float *importance);
typedef void (*decoder)(const void *blocks, float *x, int64_t n);

static const struct {
    const char *name;
    encoder encode;
    decoder decode;
    enum ggml_type type;
    int block, bytes;
} types[] = {{"Q4_0", quantize_q4_0, (decoder)dequantize_row_q4_0, GGML_TYPE_Q4_0, 32, 18},
             {"Q4_1", quantize_q4_1, (decoder)dequantize_row_q4_1, GGML_TYPE_Q4_1, 32, 20},
             {"Q5_0", quantize_q5_0, (decoder)dequantize_row_q5_0, GGML_TYPE_Q5_0, 32, 22},
             {"Q5_1", quantize_q5_1, (decoder)dequantize_row_q5_1, GGML_TYPE_Q5_1, 32, 24},
             {"Q8_0", quantize_q8_0, (decoder)dequantize_row_q8_0, GGML_TYPE_Q8_0, 32, 34},
             {"MXFP4", quantize_mxfp4, (decoder)dequantize_row_mxfp4, GGML_TYPE_MXFP4, 32, 17},
             {"TQ1_0", quantize_tq1_0, (decoder)dequantize_row_tq1_0, GGML_TYPE_TQ1_0, 256, 54},
             {"TQ2_0", quantize_tq2_0, (decoder)dequantize_row_tq2_0, GGML_TYPE_TQ2_0, 256, 66}};

enum { TYPES = sizeof types / sizeof types[0] };

/* What ggml-quants.c wants of the rest of ggml. */
void ggml_abort(const char *file, int line, const char *format, ...)
{
    fprintf(stderr, "%s:%d: %s\n", file, line, format);
    exit(1);
}

size_t ggml_row_size(enum ggml_type type, int64_t n)
{
    for (int t = 0; t < TYPES; t++)
        if (types[t].type == type) return (size_t)(n / types[t].block * types[t].bytes);
    exit(1);
}

static unsigned long long fnv(const void *bytes, size_t count)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < count; i++) h = (h ^ ((const unsigned char *)bytes)[i]) * 1099511628211u;
    return h;
}

static void show(int t, const float *x, const float *importance, bool numbers)
{
    static float decoded[N];
    static unsigned char blocks[N / 32 * 34];
    size_t size = types[t].encode(x, blocks, N / COLUMNS, COLUMNS, importance);
    printf(" 0x%016llx,", fnv(blocks, size));
    if (!numbers) return;
    types[t].decode(blocks, decoded, N);
    printf(" 0x%016llx,", fnv(decoded, sizeof decoded));
}

int main(void)
{
    static float plain[N], odd[N], ternary[N], importance[COLUMNS];
    uint32_t state = 1;
    ts_stream_plain(N, &state, plain);
    ts_stream_importance(COLUMNS, &state, importance);
    ts_stream_odd(N, &state, odd);
    for (int i = 0; i < N; i++)
        if (fabsf(odd[i]) < 1e-37f) odd[i] = 0; /* ggml casts infinities to integers there */
    for (int i = 0; i < N; i++) ternary[i] = plain[i] > 0.005f ? 0.0437f : plain[i] < -0.005f ? -0.0437f : 0;
    printf("streams %016llx %016llx %016llx %016llx\n", fnv(plain, sizeof plain), fnv(odd, sizeof odd),
           fnv(ternary, sizeof ternary), fnv(importance, sizeof importance));
    for (int t = 0; t < TYPES; t++) {
        bool is_ternary = types[t].block == 256;
        printf("{LT_%s,", types[t].name);
        show(t, plain, NULL, true);
        show(t, plain, importance, false);
        show(t, odd, NULL, false);
        show(t, odd, importance, false);
        if (is_ternary) show(t, ternary, NULL, true);
        printf("},\n");
    }
    return 0;
}
