/* test_mapped_end.c - the last bytes of a mapped file: decoders and products read nothing behind them. Each type's data
 * end where a page ends and the next one may not be touched; a read past the end is a segmentation fault, and so the
 * test's own. */
#include "kernels/gemm.h"
#include "kernels/kernels.h"
#include "kernels/lattice/lattice.h"
#include "tests/lattice_blocks.h"
#include "tests/testing.h"

#include <sys/mman.h>
#include <unistd.h>

enum { NUMBERS = 768, VECTORS = 8 };

/* Three pages of which the last may not be read. */
typedef struct fence {
    uint8_t *pages;
    size_t page;
} fence;

static bool put_fence(fence *f)
{
    f->page = (size_t)sysconf(_SC_PAGESIZE);
    f->pages = mmap(NULL, 3 * f->page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return TS_CHECK(f->pages != MAP_FAILED && mprotect(f->pages + 2 * f->page, f->page, PROT_NONE) == 0, "pages");
}

/* The place of `bytes` bytes that end at the fence. */
static uint8_t *before_fence(const fence *f, size_t bytes)
{
    return f->pages + 2 * f->page - bytes;
}

typedef void (*decoder)(int64_t n, const void *blocks, R *y);

static decoder decoder_of(const lti_kernels *k, lt_dtype type)
{
#define LTI_LATTICE(lattice, name)                                                                                     \
    if (type == lattice) return k->dequantize_##name;
#include "kernels/lattice/lattices.def"
    return NULL;
}

static lti_gemv gemv_of(const lti_kernels *k, lt_dtype type)
{
#define LTI_LATTICE(lattice, name)                                                                                     \
    if (type == lattice) return k->gemv_##name;
#include "kernels/lattice/lattices.def"
    return type == LT_BF16 ? k->gemv_bf16 : type == LT_F16 ? k->gemv_f16 : k->gemv_f32;
}

static R x[VECTORS * NUMBERS], y[NUMBERS], whole[40 * NUMBERS];

static void decode_last_blocks(void)
{
    static const char *const sets[] = {"ref", "avx2", "avx512"};
    fence f;
    if (!put_fence(&f)) return;
    for (int i = 0; i < LTI_COUNT(sets); i++) {
        const lti_kernels *k = lti_kernels_of(sets[i]);
        for (int t = 0; k && t < TS_LATTICES; t++) {
            lt_dtype type = ts_lattices[t].type;
            int64_t block = lt_dtype_block(type), count = NUMBERS / block;
            size_t bytes = lt_dtype_bytes(type);
            uint8_t *at = before_fence(&f, (size_t)count * bytes);
            ts_make_blocks(t, count, false, at);
            decoder_of(k, type)(NUMBERS, at, whole);
            decoder_of(k, type)(block, at + (size_t)(count - 1) * bytes, y);
            TS_CHECK(ts_same_bytes((size_t)block * sizeof *y, y, whole + NUMBERS - block), "%s %s: the last block",
                     sets[i], lt_dtype_name(type));
            for (int64_t m = 1; m <= VECTORS; m++)
                gemv_of(k, type)(1, block, at + (size_t)(count - 1) * bytes, (int64_t)bytes, m, x, NUMBERS, y, 1);
        }
        for (int64_t n = 1; k && n <= 67; n++) { /* rows of floats may end anywhere */
            const lt_dtype types[] = {LT_BF16, LT_F16, LT_F32};
            for (int t = 0; t < 3; t++) {
                size_t bytes = (size_t)n * lt_dtype_bytes(types[t]);
                uint8_t *at = before_fence(&f, bytes);
                if (types[t] == LT_BF16) k->from_bf16(n, (const void *)at, y);
                if (types[t] == LT_F16) k->from_f16(n, (const void *)at, y);
                gemv_of(k, types[t])(1, n, at, (int64_t)bytes, 3, x, NUMBERS, y, 1);
            }
        }
    }
    munmap(f.pages, 3 * f.page);
}

/* The same through products: few rows and many, either way the weight may lie. */
static void multiply_last_rows(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    static R c[40 * NUMBERS];
    fence f;
    if (!put_fence(&f)) return;
    for (int t = 0; t < TS_LATTICES; t++) {
        lt_dtype type = ts_lattices[t].type;
        int64_t block = lt_dtype_block(type), rows = 3;
        size_t bytes = (size_t)rows * lt_dtype_bytes(type);
        uint8_t *at = before_fence(&f, bytes);
        ts_make_moderate_blocks(t, rows, at);
        for (int form = 0; form < 4; form++) {
            lti_gemm_shape s = {.m = form & 1 ? 40 : 2, .b_type = type, .tb = form < 2};
            s.n = s.tb ? rows : block;
            s.k = s.tb ? block : rows;
            lti_gemm *gemm;
            if (!TS_OK(ctx, lti_gemm_create(ctx, &s, &gemm))) continue;
            void *scratch = lti_alloc(ctx, lti_gemm_scratch(gemm));
            TS_OK(ctx, lti_gemm_run(gemm, whole, at, c, scratch));
            lti_free(ctx, scratch);
            lti_gemm_free(ctx, gemm);
        }
    }
    munmap(f.pages, 3 * f.page);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

int lti_suite_mapped_end(void)
{
    static const ts_test tests[] = {
        {"decoders at the end of a page", decode_last_blocks},
        {"products at the end of a page", multiply_last_rows},
    };
    return ts_suite("mapped_end", LTI_COUNT(tests), tests);
}
