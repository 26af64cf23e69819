/* gemm.c - cuts a product into tiles over m and n and runs them as tasks, behind gemm.h.
 *
 * Tile sizes follow from the sizes of the product alone. k is never shared out between tasks; a long k, or one along
 * which an operand is decoded, is taken in chunks one after the other, so that panels stay in the cache. At most 4
 * sizes of tile exist (interior, right, bottom, corner), each with a first, middle and last chunk: a provider's kernel
 * is made for each that occurs. A product of few rows with a transposed b needs none of this (few_rows.c).
 *
 * Providers are fastest on matrices without gaps between rows (gemm_onednn.c). So large products are cut into bands of
 * whole rows of c; what a cut leaves with gaps is copied to a panel first, or written to one and copied out, which
 * costs a few percent of the tile's time where gaps cost a quarter. Panels are also where operands are decoded.
 *
 * Scratch and provider state come in slots, as many as there were threads at creation. A task takes a free slot and
 * gives it back, so a number of threads raised later costs waiting, not correctness; a `serial` product may run in
 * several tasks at once, each with a scratch of its own. */
#include "kernels/gemm.h"
#include "base/par.h"
#include "kernels/few_rows.h"
#include "kernels/gemm_backend.h"
#include "kernels/kernels.h"
#include "kernels/lattice/lattice.h"

#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#define CHUNK_K 2048 /* elements of k taken at a time where k is cut; a multiple of every block */

/* Index of a kernel: is the tile at the lower edge, the right edge, the last chunk, and does it add to c. */
enum { BOTTOM = 1, RIGHT = 2, LAST = 4, ADD = 8, KERNELS = 16 };

struct lti_gemm {
    lt_ctx *ctx;
    lti_gemm_shape shape;
    const lti_gemm_backend *backend;
    void *kernel[KERNELS];
    int64_t tile_m, tile_n, tile_k, tiles_m, tiles_n, tiles_k;
    bool few_rows;
    bool decode_a, decode_b;       /* they are of a type that the provider does not take */
    lt_dtype type;                 /* what the provider multiplies: LT_F32 or LT_BF16; what is decoded becomes that */
    bool copy_a, copy_b, copy_c;   /* they go through a panel */
    size_t at_b, at_c, at_scratch; /* of a slot: panels of a, b, c, then the provider's scratch */
    size_t slot_bytes;
    int slots;
    atomic_int *busy; /* [slots] */
};

/* One run: what its tasks share. */
typedef struct run_state {
    const lti_gemm *gemm;
    const void *a, *b;
    const lt_real *b_scale; /* of rows of an LT_I8 b */
    lt_real *c;
    void *scratch;
    atomic_int failed;
} run_state;

/* Whether b is stored in a type of its own. */
static bool stored(const lti_gemm_shape *s)
{
    return s->b_type != LT_F32 && s->b_type != s->a_type;
}

bool lti_gemm_decodes(lt_dtype type)
{
    return lti_can_dequantize(type) || type == LT_Q8_1 || type == LT_Q8_K || type == LT_I8;
}

/* Elements along which the blocks of b lie: they must be whole blocks in each row. */
static int64_t blocked_axis(const lti_gemm_shape *s)
{
    return s->tb ? s->k : s->n;
}

static lt_status check(lt_ctx *ctx, const lti_gemm_shape *s)
{
    const char *type = lt_dtype_name(s->b_type);
    if (s->m < 0 || s->n < 0 || s->k < 0)
        return lti_fail(ctx, LT_EINVAL, "gemm: sizes m=%lld n=%lld k=%lld: none may be negative", (long long)s->m,
                        (long long)s->n, (long long)s->k);
    if (s->lda < (s->ta ? s->m : s->k) || s->ldb < (s->tb ? s->k : s->n) || s->ldc < s->n)
        return lti_fail(ctx, LT_EINVAL, "gemm: row strides lda=%lld ldb=%lld ldc=%lld are shorter than their rows",
                        (long long)s->lda, (long long)s->ldb, (long long)s->ldc);
    if (!lti_gemm_decodes(s->b_type))
        return lti_fail(ctx, LT_EINVAL,
                        "gemm: the second operand is %s; f32, bf16, f16, i8 and block lattices are possible", type);
    if (s->a_type != LT_F32 && (s->a_type != LT_BF16 || s->b_type == LT_F32))
        return lti_fail(ctx, LT_EINVAL,
                        "gemm: %s times %s; the first operand is f32, or bf16 before one that is not: convert it",
                        lt_dtype_name(s->a_type), type);
    if (!stored(s)) return LT_OK;
    if (blocked_axis(s) % lt_dtype_block(s->b_type))
        return lti_fail(ctx, LT_EINVAL, "gemm: rows of %lld elements are no whole %s blocks of %lld; keep it in f32",
                        (long long)blocked_axis(s), type, (long long)lt_dtype_block(s->b_type));
    if (s->ldb != blocked_axis(s)) return lti_fail(ctx, LT_EINVAL, "gemm: a %s operand must be packed", type);
    return LT_OK;
}

static int64_t tiles_of(int64_t size, int64_t tile)
{
    return tile > 0 ? (size + tile - 1) / tile : 0;
}

/* `size` cut into equal parts of about `wanted`, rounded up to `multiple`; at most `size`. */
static int64_t even_tile(int64_t size, int64_t wanted, int64_t multiple)
{
    int64_t parts = (size + wanted / 2) / wanted;
    if (parts < 1) parts = 1;
    int64_t tile = ((size + parts - 1) / parts + multiple - 1) / multiple * multiple;
    return tile < size ? tile : size;
}

/* Where tiles of n may end: whole blocks when they lie along n. */
static int64_t multiple_n(const lti_gemm_shape *s)
{
    return !s->tb && lt_dtype_block(s->b_type) > 32 ? lt_dtype_block(s->b_type) : 32;
}

static void cut(lti_gemm *g, int64_t wanted_m, int64_t wanted_n)
{
    g->tile_m = even_tile(g->shape.m, wanted_m, 16);
    g->tile_n = even_tile(g->shape.n, wanted_n, multiple_n(&g->shape));
    g->tiles_m = tiles_of(g->shape.m, g->tile_m);
    g->tiles_n = tiles_of(g->shape.n, g->tile_n);
}

/* Bands of whole rows, 256 where that leaves 4 tasks or more, at least 128: each costs the provider a pass over b, 3 to
 * 8 % of the time with 128 rows. A long transposed b would be read from memory once a band: there tiles are 512 wide,
 * and b's part stays in the cache; so it is with operands to decode. Measured (bench/bench_gemm.c): what one primitive
 * with the provider's own threads reaches, within 5 %, in f32 and in bf16. */
static void choose_bands(lti_gemm *g)
{
    const lti_gemm_shape *s = &g->shape;
    bool narrow = g->decode_b || (s->tb && s->n > 4 * 512);
    int64_t rows = narrow || s->m >= 4 * 256 ? 256 : s->m / 4 > 128 ? s->m / 4 : 128;
    if (s->k > 2 * CHUNK_K && !s->tb) g->tile_k = CHUNK_K;
    cut(g, rows, narrow || s->n == 0 ? 512 : s->n);
    const double k = (double)s->k * 2, few = 4e6; /* floating-point operations of a tile */
    while (g->tiles_m > 8 && (double)g->tile_m * (double)g->tile_n * k < few) cut(g, 2 * g->tile_m, g->tile_n);
}

/* Of few rows, or with a stored b: measured, 256 x 256 is near the best everywhere, and leaves 8 tasks or more where
 * there is work for them; products with very many tiles gain from larger ones, for each tile packs its own rows and
 * columns. A lattice prefers many rows to each dequantized panel. */
static void choose_squares(lti_gemm *g)
{
    const lti_gemm_shape *s = &g->shape;
    cut(g, g->decode_b ? 1024 : 256, 256);
    if (g->tiles_m * g->tiles_n > 64) cut(g, g->decode_b ? 1024 : 512, 512);
    const int64_t least_n = multiple_n(s) > 64 ? multiple_n(s) : 64;
    const double k = (double)s->k * 2, many = 32e6, few = 4e6;
    while (g->tiles_m * g->tiles_n < 8 && (double)g->tile_m * (double)g->tile_n * k > many) {
        bool split_n = g->tile_n > least_n && (g->decode_b || g->tile_n > g->tile_m || g->tile_m <= 32);
        if (!split_n && g->tile_m <= 32) break;
        cut(g, split_n ? g->tile_m : g->tile_m / 2, split_n ? g->tile_n / 2 : g->tile_n);
    }
    while (g->tiles_m * g->tiles_n > 8 && g->tiles_m > 1 && (double)g->tile_m * (double)g->tile_n * k < few)
        cut(g, 2 * g->tile_m, g->tile_n);
    const double alone = 12e6; /* more than that is worth a second thread's waking up */
    if (g->tiles_m * g->tiles_n == 1 && g->tile_m > 16 && (double)g->tile_m * (double)g->tile_n * k > alone)
        cut(g, g->tile_m / 2, g->tile_n);
}

/* Whether to cut into bands: under 192 rows there would be a single one, however long k is (the gradient of a small
 * weight), unless a wide b is cut too. */
static bool many_rows(const lti_gemm_shape *s)
{
    return s->m >= 192 || (s->m > 128 && s->tb && s->n > 4 * 512);
}

static void choose_tiles(lti_gemm *g)
{
    const lti_gemm_shape *s = &g->shape;
    bool native = lti_gemm_takes_bf16(g->backend), bands = !s->serial && !stored(s) && many_rows(s);
    g->type = s->a_type == LT_BF16 && native ? LT_BF16 : LT_F32;
    g->decode_a = s->a_type != g->type;
    g->decode_b = s->b_type != g->type;
    g->tile_k = g->decode_b && s->k > CHUNK_K ? CHUNK_K : s->k;
    if (s->serial)
        cut(g, s->m > 0 ? s->m : 1, g->decode_b || s->n == 0 ? 256 : s->n);
    else if (bands)
        choose_bands(g);
    else
        choose_squares(g);
    g->tiles_k = tiles_of(s->k, g->tile_k);
    g->copy_a = g->decode_a || (bands && (s->ta ? g->tile_m : g->tile_k) != s->lda);
    g->copy_b = g->decode_b || (bands && (s->tb ? g->tile_k : g->tile_n) != s->ldb);
    g->copy_c = bands && g->tile_n != s->ldc;
}

static int64_t at_most(int64_t whole, int64_t from, int64_t part)
{
    return whole - from < part ? whole - from : part;
}

/* The tile that starts at (m0, n0, k0), and the index of its kernel. */
static int tile_at(const lti_gemm *g, int64_t m0, int64_t n0, int64_t k0, lti_gemm_tile *t)
{
    const lti_gemm_shape *s = &g->shape;
    t->m = at_most(s->m, m0, g->tile_m);
    t->n = at_most(s->n, n0, g->tile_n);
    t->k = at_most(s->k, k0, g->tile_k);
    t->lda = !g->copy_a ? s->lda : s->ta ? t->m : t->k;
    t->ldb = !g->copy_b ? s->ldb : s->tb ? t->k : t->n;
    t->ldc = g->copy_c ? t->n : s->ldc;
    t->ta = s->ta;
    t->tb = s->tb;
    t->accumulate = (s->accumulate && !g->copy_c) || k0 > 0;
    t->type = g->type;
    return (t->m < g->tile_m ? BOTTOM : 0) | (t->n < g->tile_n ? RIGHT : 0) | (t->k < g->tile_k ? LAST : 0) |
           (t->accumulate ? ADD : 0);
}

static size_t panel_bytes(bool wanted, int64_t rows, int64_t columns, size_t element)
{
    return wanted ? ((size_t)(rows * columns) * element + 63) / 64 * 64 : 0;
}

/* Kernels of all tiles that occur: the first and last along m and n, and the first, last and second along k, are one
 * of every kind. */
static lt_status create_kernels(lt_ctx *ctx, lti_gemm *g)
{
    size_t scratch = 0;
    for (int probe = 0; probe < 12; probe++) {
        int64_t i = probe & 1 ? g->tiles_m - 1 : 0, j = probe & 2 ? g->tiles_n - 1 : 0;
        int64_t l = probe < 4 ? 0 : probe < 8 ? g->tiles_k - 1 : g->tiles_k > 1;
        lti_gemm_tile tile;
        int index = tile_at(g, i * g->tile_m, j * g->tile_n, l * g->tile_k, &tile);
        if (g->kernel[index]) continue;
        LTI_TRY(g->backend->create(ctx, &tile, g->slots, &g->kernel[index]));
        size_t bytes = g->backend->scratch(g->kernel[index]);
        if (bytes > scratch) scratch = bytes;
    }
    size_t factor = g->type == LT_F32 ? sizeof(lt_real) : sizeof(uint16_t);
    g->at_b = panel_bytes(g->copy_a, g->tile_m, g->tile_k, factor);
    g->at_c = g->at_b + panel_bytes(g->copy_b, g->tile_n, g->tile_k, factor);
    g->at_scratch = g->at_c + panel_bytes(g->copy_c, g->tile_m, g->tile_n, sizeof(lt_real));
    g->slot_bytes = g->at_scratch + (scratch + 63) / 64 * 64;
    return LT_OK;
}

typedef struct creation {
    lt_ctx *ctx;
    lti_gemm *gemm;
    lt_status status;
} creation;

/* A provider asks how many threads there are when it makes a primitive, and later uses them: inside a task the answer
 * is one, as it is when the primitive runs. Outside, a primitive would open a team of its own in each task of a
 * single-threaded process, and its cuts would depend on the machine's threads. */
static void create_as_task(void *arg, int64_t task, int thread)
{
    (void)task;
    (void)thread;
    creation *c = arg;
    c->status = create_kernels(c->ctx, c->gemm);
}

lt_status lti_gemm_create(lt_ctx *ctx, const lti_gemm_shape *shape, lti_gemm **gemm)
{
    *gemm = NULL;
    lti_gemm_shape s = *shape;
    if (!s.lda) s.lda = s.ta ? s.m : s.k;
    if (!s.ldb) s.ldb = s.tb ? s.k : s.n;
    if (!s.ldc) s.ldc = s.n;
    LTI_TRY(check(ctx, &s));
    lti_gemm *g = lti_alloc(ctx, sizeof *g);
    if (!g) return LT_ENOMEM;
    g->ctx = ctx;
    g->shape = s;
    g->backend = lti_gemm_in_use();
    g->slots = lt_threads();
    g->busy = lti_alloc_array(ctx, (size_t)g->slots, sizeof *g->busy);
    lt_status status = g->busy ? LT_OK : LT_ENOMEM;
    g->few_rows = lti_few_rows(&s);
    if (!g->few_rows) choose_tiles(g);
    if (status == LT_OK && s.m && s.n && s.k && !g->few_rows) {
        creation c = {ctx, g, LT_OK};
        lti_par(1, create_as_task, &c);
        status = c.status;
    }
    if (status != LT_OK) {
        lti_gemm_free(ctx, g);
        return status;
    }
    *gemm = g;
    return LT_OK;
}

void lti_gemm_free(lt_ctx *ctx, lti_gemm *gemm)
{
    if (!gemm) return;
    for (int i = 0; i < KERNELS; i++) gemm->backend->free(ctx, gemm->kernel[i]);
    lti_free(ctx, gemm->busy);
    lti_free(ctx, gemm);
}

size_t lti_gemm_scratch(const lti_gemm *gemm)
{
    const lti_gemm_shape *s = &gemm->shape;
    if (gemm->few_rows) return panel_bytes(s->a_type != LT_F32, s->m, s->k, sizeof(lt_real));
    return gemm->slot_bytes * (size_t)(s->serial ? 1 : gemm->slots);
}

static int take_slot(const lti_gemm *g, int hint)
{
    for (int i = hint % g->slots, tries = 1;; i = (i + 1) % g->slots, tries++) {
        int expected = 0;
        if (atomic_compare_exchange_strong(&g->busy[i], &expected, 1)) return i;
        if (tries % g->slots == 0) sched_yield();
    }
}

/* A part of a row-major operand: rows row0 .. of `length` elements from `from` on. */
typedef struct part {
    lt_dtype type;
    int64_t stride, rows, row0, length, from;
    const lt_real *scale; /* of rows, when the type is LT_I8 */
} part;

static const char *part_at(const part *p, const void *data, int64_t row)
{
    int64_t block = ((p->row0 + row) * p->stride + p->from) / lt_dtype_block(p->type);
    return (const char *)data + (size_t)block * lt_dtype_bytes(p->type);
}

static void decode_row(const part *p, int64_t row, const void *from, int64_t n, lt_real *to)
{
    if (p->type == LT_I8)
        lti_k()->from_i8(n, from, p->scale[p->row0 + row], to);
    else
        lti_dequantize(p->type, n, from, to);
}

/* Decoded and rounded, a piece at a time that stays in the nearest cache. */
static void decode_row_bf16(const part *p, int64_t row, const void *from, uint16_t *to)
{
    enum { PIECE = 512 }; /* a multiple of every block */
    lt_real wide[PIECE];
    size_t step = (size_t)(PIECE / lt_dtype_block(p->type)) * lt_dtype_bytes(p->type);
    for (int64_t i = 0; i < p->length; i += PIECE, from = (const char *)from + step) {
        int64_t n = p->length - i < PIECE ? p->length - i : PIECE;
        decode_row(p, row, from, n, wide);
        lti_k()->to_bf16(n, wide, to + i);
    }
}

/* The part as the provider takes it: where it lies, or without gaps in the panel, as it is or decoded to `type`. */
static const void *operand(const part *p, bool copy, lt_dtype type, const void *data, void *panel)
{
    if (!copy) return part_at(p, data, 0);
    size_t bytes = (size_t)p->length * (type == LT_F32 ? sizeof(lt_real) : sizeof(uint16_t));
    for (int64_t i = 0; i < p->rows; i++) {
        void *to = (char *)panel + (size_t)i * bytes;
        if (p->type == type)
            memcpy(to, part_at(p, data, i), bytes);
        else if (type == LT_BF16)
            decode_row_bf16(p, i, part_at(p, data, i), to);
        else
            decode_row(p, i, part_at(p, data, i), p->length, to);
    }
    return panel;
}

static void copy_out(const lti_gemm *g, const lti_gemm_tile *t, const lt_real *panel, lt_real *c)
{
    for (int64_t i = 0; i < t->m; i++, panel += t->n, c += g->shape.ldc) {
        if (g->shape.accumulate)
            lti_k()->add(t->n, c, 1, panel, 1, c);
        else
            memcpy(c, panel, (size_t)t->n * sizeof *c);
    }
}

/* A place in scratch; NULL where a product needs none. */
static void *place(void *scratch, size_t offset)
{
    return scratch ? (char *)scratch + offset : NULL;
}

/* All chunks of k of one tile of c. */
static lt_status run_tile(const run_state *r, int64_t m0, int64_t n0, int slot)
{
    const lti_gemm *g = r->gemm;
    const lti_gemm_shape *s = &g->shape;
    void *scratch = place(r->scratch, s->serial ? 0 : (size_t)slot * g->slot_bytes);
    lt_real *c = r->c + m0 * s->ldc + n0, *panel_c = place(scratch, g->at_c);
    lti_gemm_tile t = {0};
    for (int64_t k0 = 0; k0 < s->k; k0 += g->tile_k) {
        int index = tile_at(g, m0, n0, k0, &t);
        part of_a = {s->a_type, s->lda, s->ta ? t.k : t.m, s->ta ? k0 : m0, s->ta ? t.m : t.k, s->ta ? m0 : k0, NULL};
        part of_b = {s->b_type,         s->ldb,          s->tb ? t.n : t.k, s->tb ? n0 : k0,
                     s->tb ? t.k : t.n, s->tb ? k0 : n0, r->b_scale};
        const void *a = operand(&of_a, g->copy_a, g->type, r->a, scratch);
        const void *b = operand(&of_b, g->copy_b, g->type, r->b, place(scratch, g->at_b));
        lt_real *to = g->copy_c ? panel_c : c;
        void *rest = place(scratch, g->at_scratch);
        LTI_TRY(lti_gemm_backend_run(g->backend, g->kernel[index], slot, a, b, to, rest));
    }
    if (g->copy_c) copy_out(g, &t, panel_c, c);
    return LT_OK;
}

/* Task = one tile of c; tiles that share a panel of b follow each other. */
static void run_task(void *arg, int64_t task, int thread)
{
    run_state *r = arg;
    const lti_gemm *g = r->gemm;
    int slot = take_slot(g, thread);
    int64_t m0 = task % g->tiles_m * g->tile_m, n0 = task / g->tiles_m * g->tile_n;
    if (run_tile(r, m0, n0, slot) != LT_OK) atomic_store(&r->failed, 1);
    atomic_store(&g->busy[slot], 0);
}

/* A serial product is one task: so that its provider is told of a single thread wherever it is called from. */
static void run_all(void *arg, int64_t task, int thread)
{
    const lti_gemm *g = ((run_state *)arg)->gemm;
    for (int64_t i = 0; i < g->tiles_m * g->tiles_n; i++) run_task(arg, task + i, thread);
}

/* A bf16 a of a few rows is decoded whole. */
static void run_few_rows(const lti_gemm *g, const void *a, const void *b, lt_real *c, lt_real *scratch)
{
    lti_gemm_shape s = g->shape;
    if (s.a_type != LT_F32) {
        for (int64_t i = 0; i < s.m; i++)
            lti_dequantize(s.a_type, s.k, (const uint16_t *)a + i * s.lda, scratch + i * s.k);
        a = scratch;
        s.lda = s.k;
    }
    lti_few_rows_run(&s, a, b, c);
}

lt_status lti_gemm_run(const lti_gemm *gemm, const void *a, const void *b, lt_real *c, void *scratch)
{
    return lti_gemm_run_scaled(gemm, a, b, NULL, c, scratch);
}

lt_status lti_gemm_run_scaled(const lti_gemm *gemm, const void *a, const void *b, const lt_real *b_scale, lt_real *c,
                              void *scratch)
{
    const lti_gemm_shape *s = &gemm->shape;
    if (!s->m || !s->n) return LT_OK;
    if (!s->k) { /* an empty sum */
        for (int64_t i = 0; i < s->m && !s->accumulate; i++) memset(c + i * s->ldc, 0, (size_t)s->n * sizeof *c);
        return LT_OK;
    }
    if (gemm->few_rows) {
        run_few_rows(gemm, a, b, c, scratch);
        return LT_OK;
    }
    run_state r = {.gemm = gemm, .a = a, .b = b, .b_scale = b_scale, .c = c, .scratch = scratch};
    if (s->serial)
        lti_par(1, run_all, &r);
    else
        lti_par(gemm->tiles_m * gemm->tiles_n, run_task, &r);
    if (!atomic_load(&r.failed)) return LT_OK;
    if (s->serial) return LT_EPROVIDER; /* may run in several tasks at once: the context is not ours */
    return lti_fail(gemm->ctx, LT_EPROVIDER, "gemm: %s failed on m=%lld n=%lld k=%lld; try LT_GEMM=ref",
                    gemm->backend->name, (long long)s->m, (long long)s->n, (long long)s->k);
}
