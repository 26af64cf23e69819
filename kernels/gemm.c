/* gemm.c - cuts a product into tiles over m and n and runs them as tasks, behind gemm.h.
 *
 * Tile sizes follow from the sizes of the product alone. k is never shared out between tasks; a b that is decoded (a
 * lattice, bf16, f16) is taken in chunks of k one after the other, so that its panel stays in the cache. At most 4
 * sizes of tile exist (interior, right, bottom, corner), for a decoded b also first, middle and last chunk: a
 * provider's kernel is made for each that occurs. A product of few rows with a transposed b needs none of this
 * (few_rows.c).
 *
 * Scratch and provider state come in slots, as many as there were threads at creation. A task takes a free slot and
 * gives it back, so a number of threads raised later costs waiting, not correctness; a `serial` product may run in
 * several tasks at once, each with a scratch of its own. */
#include "kernels/gemm.h"
#include "base/par.h"
#include "kernels/few_rows.h"
#include "kernels/gemm_backend.h"
#include "kernels/lattice/lattice.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DECODED_K 2048 /* elements of k decoded at a time; a multiple of every block */

/* Index of a kernel: is the tile at the lower edge, the right edge, the last chunk, and does it add to c. */
enum { BOTTOM = 1, RIGHT = 2, LAST = 4, ADD = 8, KERNELS = 16 };

struct lti_gemm {
    lt_ctx *ctx;
    lti_gemm_shape shape;
    const lti_gemm_backend *backend;
    void *kernel[KERNELS];
    int64_t tile_m, tile_n, tile_k, tiles_m, tiles_n, tiles_k;
    bool few_rows;
    size_t panel, slot_bytes; /* of a slot: the decoded panel, then the provider's scratch */
    int slots;
    atomic_int *busy; /* [slots] */
};

/* One run: what its tasks share. */
typedef struct run_state {
    const lti_gemm *gemm;
    const lt_real *a;
    const void *b;
    lt_real *c;
    void *scratch;
    atomic_int failed;
} run_state;

static const lti_gemm_backend *const providers[] = {
#ifdef LT_WITH_ONEDNN
    &lti_gemm_onednn,
#endif
#ifdef LT_WITH_OPENBLAS
    &lti_gemm_openblas,
#endif
    &lti_gemm_ref,
};

static const lti_gemm_backend *_Atomic forced;
static const lti_gemm_backend *by_default;
static char versions[256];
static atomic_uint_fast64_t provider_mallocs;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static const lti_gemm_backend *find(const char *name)
{
    for (int i = 0; name && i < LTI_COUNT(providers); i++)
        if (!strcmp(providers[i]->name, name)) return providers[i];
    return NULL;
}

static void choose(void)
{
    by_default = find(getenv("LT_GEMM"));
    if (!by_default) by_default = providers[0];
    size_t used = 0;
    for (int i = 0; i < LTI_COUNT(providers); i++) {
        char one[96];
        providers[i]->version(one, sizeof one);
        int n = snprintf(versions + used, sizeof versions - used, "%s%s", used ? ", " : "", one);
        used += n > 0 && used + (size_t)n < sizeof versions ? (size_t)n : 0;
    }
}

static const lti_gemm_backend *in_use(void)
{
    pthread_once(&once, choose);
    const lti_gemm_backend *p = atomic_load(&forced);
    return p ? p : by_default;
}

const char *lti_gemm_provider(void)
{
    return in_use()->name;
}

bool lti_gemm_force(const char *provider)
{
    const lti_gemm_backend *p = find(provider);
    if (provider && !p) return false;
    atomic_store(&forced, p);
    return true;
}

const char *lti_gemm_versions(void)
{
    pthread_once(&once, choose);
    return versions;
}

uint64_t lti_gemm_mallocs(void)
{
    return atomic_load(&provider_mallocs);
}

/* Whether b is stored in a type that is decoded on the way. */
static bool decoded(const lti_gemm_shape *s)
{
    return s->b_type != LT_F32;
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
    if (!lti_can_dequantize(s->b_type))
        return lti_fail(ctx, LT_EINVAL,
                        "gemm: the second operand is %s; f32, bf16, f16 and block lattices are possible", type);
    if (!decoded(s)) return LT_OK;
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

/* Measured (bench/bench_gemm.c): 256 x 256 is near the best everywhere, and leaves 8 tasks or more where there is work
 * for them; products with very many tiles gain from larger ones, for each tile packs its own rows and columns. A
 * lattice prefers many rows to each dequantized panel. */
static void choose_tiles(lti_gemm *g)
{
    const lti_gemm_shape *s = &g->shape;
    g->tile_k = decoded(s) && s->k > DECODED_K ? DECODED_K : s->k;
    g->tiles_k = tiles_of(s->k, g->tile_k);
    if (s->serial) {
        cut(g, s->m > 0 ? s->m : 1, decoded(s) || s->n == 0 ? 256 : s->n);
        return;
    }
    cut(g, decoded(s) ? 1024 : 256, 256);
    if (g->tiles_m * g->tiles_n > 64) cut(g, decoded(s) ? 1024 : 512, 512);
    const int64_t least_n = multiple_n(s) > 64 ? multiple_n(s) : 64;
    const double k = (double)s->k * 2, many = 32e6, few = 4e6; /* floating-point operations of a tile */
    while (g->tiles_m * g->tiles_n < 8 && (double)g->tile_m * (double)g->tile_n * k > many) {
        bool split_n = g->tile_n > least_n && (decoded(s) || g->tile_n > g->tile_m || g->tile_m <= 32);
        if (!split_n && g->tile_m <= 32) break;
        cut(g, split_n ? g->tile_m : g->tile_m / 2, split_n ? g->tile_n / 2 : g->tile_n);
    }
    while (g->tiles_m * g->tiles_n > 8 && g->tiles_m > 1 && (double)g->tile_m * (double)g->tile_n * k < few)
        cut(g, 2 * g->tile_m, g->tile_n);
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
    t->lda = s->lda;
    t->ldb = !decoded(s) ? s->ldb : s->tb ? t->k : t->n;
    t->ldc = s->ldc;
    t->ta = s->ta;
    t->tb = s->tb;
    t->accumulate = s->accumulate || k0 > 0;
    return (t->m < g->tile_m ? BOTTOM : 0) | (t->n < g->tile_n ? RIGHT : 0) | (t->k < g->tile_k ? LAST : 0) |
           (t->accumulate ? ADD : 0);
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
    if (decoded(&g->shape)) g->panel = (size_t)(g->tile_n * g->tile_k) * sizeof(lt_real);
    g->panel = (g->panel + 63) / 64 * 64;
    g->slot_bytes = g->panel + (scratch + 63) / 64 * 64;
    return LT_OK;
}

typedef struct creation {
    lt_ctx *ctx;
    lti_gemm *gemm;
    lt_status status;
} creation;

/* A provider asks how many threads there are when it makes a primitive, and later uses them: inside a task the answer is
 * one, as it is when the primitive runs. Outside, a primitive would open a team of its own in each task of a
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
    g->backend = in_use();
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
    return gemm->slot_bytes * (size_t)(gemm->shape.serial ? 1 : gemm->slots);
}

static int take_slot(const lti_gemm *g, int hint)
{
    for (int i = hint % g->slots, tries = 1;; i = (i + 1) % g->slots, tries++) {
        int expected = 0;
        if (atomic_compare_exchange_strong(&g->busy[i], &expected, 1)) return i;
        if (tries % g->slots == 0) sched_yield();
    }
}

/* Rows n0 .. and elements k0 .. of the stored b as a dense panel: [n, k] when b is transposed, else [k, n]. */
static void decode(const lti_gemm *g, const void *b, const lti_gemm_tile *t, int64_t n0, int64_t k0, lt_real *panel)
{
    const lti_gemm_shape *s = &g->shape;
    size_t bytes = lt_dtype_bytes(s->b_type);
    int64_t rows = t->tb ? t->n : t->k, length = t->tb ? t->k : t->n;
    int64_t row0 = t->tb ? n0 : k0, from = t->tb ? k0 : n0;
    for (int64_t i = 0; i < rows; i++) {
        int64_t block = ((row0 + i) * s->ldb + from) / lt_dtype_block(s->b_type);
        const char *blocks = (const char *)b + (size_t)block * bytes;
        lti_dequantize(s->b_type, length, blocks, panel + i * length);
    }
}

/* All chunks of k of one tile of c. */
static lt_status run_tile(const run_state *r, int64_t m0, int64_t n0, int slot)
{
    const lti_gemm *g = r->gemm;
    const lti_gemm_shape *s = &g->shape;
    char *scratch = (char *)r->scratch + (s->serial ? 0 : (size_t)slot * g->slot_bytes);
    for (int64_t k0 = 0; k0 < s->k; k0 += g->tile_k) {
        lti_gemm_tile t;
        int index = tile_at(g, m0, n0, k0, &t);
        const lt_real *a = r->a + (s->ta ? k0 * s->lda + m0 : m0 * s->lda + k0);
        const lt_real *b = (const lt_real *)(void *)scratch;
        if (decoded(s))
            decode(g, r->b, &t, n0, k0, (lt_real *)(void *)scratch);
        else
            b = (const lt_real *)r->b + (s->tb ? n0 * s->ldb : n0);
        lt_real *c = r->c + m0 * s->ldc + n0;
        atomic_fetch_add_explicit(&provider_mallocs, g->backend->mallocs, memory_order_relaxed);
        LTI_TRY(g->backend->run(g->kernel[index], slot, a, b, c, scratch + g->panel));
    }
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

lt_status lti_gemm_run(const lti_gemm *gemm, const lt_real *a, const void *b, lt_real *c, void *scratch)
{
    const lti_gemm_shape *s = &gemm->shape;
    if (!s->m || !s->n) return LT_OK;
    if (!s->k) { /* an empty sum */
        for (int64_t i = 0; i < s->m && !s->accumulate; i++) memset(c + i * s->ldc, 0, (size_t)s->n * sizeof *c);
        return LT_OK;
    }
    if (gemm->few_rows) {
        lti_few_rows_run(s, a, b, c);
        return LT_OK;
    }
    run_state r = {.gemm = gemm, .a = a, .b = b, .c = c, .scratch = scratch};
    if (s->serial)
        lti_par(1, run_all, &r);
    else
        lti_par(gemm->tiles_m * gemm->tiles_n, run_task, &r);
    if (!atomic_load(&r.failed)) return LT_OK;
    if (s->serial) return LT_EPROVIDER; /* may run in several tasks at once: the context is not ours */
    return lti_fail(gemm->ctx, LT_EPROVIDER, "gemm: %s failed on m=%lld n=%lld k=%lld; try LT_GEMM=ref",
                    gemm->backend->name, (long long)s->m, (long long)s->n, (long long)s->k);
}
