/* goldens_lattices_k.c - prints the hashes in tests/test_lattice_k.c: what ggml's own encoders of the K types make of
 * the streams in tests/lattice_streams.h, without and with importance, and the numbers its decoders make of these bytes,
 * compiled without contraction, which is the canon of both. By hand:
 *
 *     git clone https://github.com/ggml-org/ggml && cd ggml       (the hashes are from commit d99724f2)
 *     gcc -O2 -DNDEBUG -D_GNU_SOURCE -ffp-contract=off -ffunction-sections -fdata-sections -Isrc -Iinclude \
 *         -I../lathe ../lathe/scripts/goldens_lattices_k.c src/ggml-quants.c -Wl,--gc-sections -lm -o goldens
 *     ./goldens
 *
 * Neither ggml nor this file is part of the build. */
#include "ggml-impl.h"
#include "ggml-quants.h"
#include "tests/lattice_streams.h"

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
    int bytes;
} types[] = {{"Q2_K", quantize_q2_K, (decoder)dequantize_row_q2_K, GGML_TYPE_Q2_K, 84},
             {"Q3_K", quantize_q3_K, (decoder)dequantize_row_q3_K, GGML_TYPE_Q3_K, 110},
             {"Q4_K", quantize_q4_K, (decoder)dequantize_row_q4_K, GGML_TYPE_Q4_K, 144},
             {"Q5_K", quantize_q5_K, (decoder)dequantize_row_q5_K, GGML_TYPE_Q5_K, 176},
             {"Q6_K", quantize_q6_K, (decoder)dequantize_row_q6_K, GGML_TYPE_Q6_K, 210}};

/* What ggml-quants.c wants of the rest of ggml. */
void ggml_abort(const char *file, int line, const char *format, ...)
{
    fprintf(stderr, "%s:%d: %s\n", file, line, format);
    exit(1);
}

size_t ggml_row_size(enum ggml_type type, int64_t n)
{
    for (int t = 0; t < 5; t++)
        if (types[t].type == type) return (size_t)(n / 256 * types[t].bytes);
    exit(1);
}

static unsigned long long fnv(const void *bytes, size_t count)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < count; i++) h = (h ^ ((const unsigned char *)bytes)[i]) * 1099511628211u;
    return h;
}

int main(void)
{
    static float plain[N], odd[N], importance[COLUMNS], decoded[N];
    static unsigned char blocks[N];
    uint32_t state = 1;
    ts_stream_plain(N, &state, plain);
    ts_stream_importance(COLUMNS, &state, importance);
    ts_stream_odd(N, &state, odd);
    printf("streams %016llx %016llx %016llx\n", fnv(plain, sizeof plain), fnv(odd, sizeof odd),
           fnv(importance, sizeof importance));
    for (int t = 0; t < 5; t++) {
        printf("{LT_%s, {", types[t].name);
        for (int way = 0; way < 4; way++) {
            size_t size =
                types[t].encode(way < 2 ? plain : odd, blocks, N / COLUMNS, COLUMNS, way % 2 ? importance : NULL);
            types[t].decode(blocks, decoded, N);
            printf("{0x%016llx, 0x%016llx}, ", fnv(blocks, size), fnv(decoded, sizeof decoded));
        }
        printf("}},\n");
    }
    return 0;
}
