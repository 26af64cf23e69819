/* integer.c - see integer.h. Both operands are brought into panels (integer_panels.h) and panels are multiplied.
 *
 * All of a is packed first, by all threads: each has its share of neighbouring rows, the ones it quantized, which are in its
 * cache (in any order two cores take four times as long as one). Then a task packs one panel of b, 32 rows, into scratch
 * of its thread, where it stays in a near cache, and multiplies it with all panels of a, that pass as one stream of four
 * bytes a cycle. So b is packed once, and the whole packed b, as large as eight bits a weight, never exists. Where b has
 * few panels the rows of a are cut too. Rejected: packing b once for several runs: it changes every step of training, and
 * generation reads it in place (gemv).
 *
 * Tasks follow from the sizes alone, and a number of c from its row and column alone. */
#include "kernels/integer.h"
#include "base/par.h"
#include "kernels/kernels.h"
#include "kernels/lattice/lattice.h"

#include <sched.h>
#include <stdatomic.h>
#include <string.h>

/* Groups of LT_I8 rows: any sum of 65,536 products of bytes fits into 32 bits. */
enum { ROWS = LTI_INTEGER_ROWS, COLUMNS = LTI_INTEGER_COLUMNS, LONGEST = 65536, FEWEST_TASKS = 16, FEWEST_ROWS = 96 };

struct lti_igemm {
    lti_igemm_shape shape;
    lti_integer_form form;
    const lti_kernels *kernels;
    int64_t panels_a, panels_b;
    int64_t parts, part_panels; /* the panels of a that one task multiplies */
    int slots;
    size_t a_bytes, b_bytes; /* of a panel */
    size_t at_a, at_b;       /* in scratch; in front of them a flag for each slot */
};

typedef struct run_state {
    const lti_igemm *gemm;
    const char *a, *b;
    const lt_real *a_scale, *b_scale;
    lt_real *c;
    char *scratch;
} run_state;

/* How a lattice is laid out. */
static const struct lattice {
    lt_dtype type, activations;
    int group, offset;
    bool minima, wide;
} lattices[] = {
    {LT_Q4_0, LT_Q8_0, 32, 8, false, false},   {LT_Q4_1, LT_Q8_1, 32, 0, true, false},
    {LT_Q5_0, LT_Q8_0, 32, 16, false, false},  {LT_Q5_1, LT_Q8_1, 32, 0, true, false},
    {LT_Q8_0, LT_Q8_0, 32, 128, false, true},  {LT_IQ4_NL, LT_Q8_0, 32, 128, false, true},
    {LT_MXFP4, LT_Q8_0, 32, 12, false, false}, {LT_Q2_K, LT_Q8_K, 16, 0, true, false},
    {LT_Q3_K, LT_Q8_K, 16, 4, false, false},   {LT_Q4_K, LT_Q8_K, 32, 0, true, false},
    {LT_Q5_K, LT_Q8_K, 32, 0, true, false},    {LT_Q6_K, LT_Q8_K, 16, 32, false, false},
    {LT_TQ1_0, LT_Q8_K, 256, 1, false, false}, {LT_TQ2_0, LT_Q8_K, 256, 1, false, false},
};

static const struct lattice *lattice_of(lt_dtype type)
{
    for (int i = 0; i < LTI_COUNT(lattices); i++)
        if (lattices[i].type == type) return &lattices[i];
    return NULL;
}

lt_dtype lti_activation_type(lt_dtype lattice)
{
    const struct lattice *l = lattice_of(lattice);
    return l ? l->activations : LT_F32;
}

bool lti_igemm_takes(lt_dtype a_type, lt_dtype b_type)
{
    const struct lattice *l = lattice_of(b_type);
    return a_type == LT_I8 ? l || b_type == LT_I8 : l && a_type == l->activations;
}

lti_integer_form lti_integer_form_of(lt_dtype a_type, lt_dtype b_type, int64_t k)
{
    const struct lattice *l = lattice_of(b_type);
    lti_integer_form f = {.a_type = a_type, .b_type = b_type, .k = k};
    if (l) {
        f.group = l->group;
        f.groups = k / l->group;
        f.offset = l->offset;
        f.minima = l->minima;
        f.wide = l->wide;
        return f;
    }
    f.groups = (k + LONGEST - 1) / LONGEST;
    f.group = f.groups ? ((k + f.groups - 1) / f.groups + 31) / 32 * 32 : 32;
    f.offset = 128;
    f.wide = true;
    return f;
}

static lt_status check(lt_ctx *ctx, const lti_igemm_shape *s)
{
    const char *a = lt_dtype_name(s->a_type), *b = lt_dtype_name(s->b_type);
    const int64_t most = INT64_C(1) << 40;
    if (s->m < 0 || s->n < 0 || s->k < 0 || s->m > most || s->n > most || s->k > most)
        return lti_fail(ctx, LT_EINVAL,
                        "integer product: sizes m=%lld n=%lld k=%lld: none may be negative or over 2^40",
                        (long long)s->m, (long long)s->n, (long long)s->k);
    if (!lti_igemm_takes(s->a_type, s->b_type)) {
        lt_dtype fits = lti_activation_type(s->b_type);
        return lti_fail(ctx, LT_EINVAL,
                        "integer product: %s activations with %s weights; possible: i8 with i8, i8 or %s", a, b,
                        fits == LT_F32 ? "q8_0, q8_1, q8_k with their lattices" : lt_dtype_name(fits));
    }
    for (int i = 0; i < 2; i++) {
        lt_dtype type = i ? s->b_type : s->a_type;
        if (s->k % lt_dtype_block(type))
            return lti_fail(ctx, LT_EINVAL,
                            "integer product: rows of %lld elements are no whole %s blocks of %lld; keep it in f32",
                            (long long)s->k, lt_dtype_name(type), (long long)lt_dtype_block(type));
    }
    return LT_OK;
}

/* One task a panel of b; a's rows in parts where that leaves few. */
static void choose_tasks(lti_igemm *g)
{
    const lti_igemm_shape *s = &g->shape;
    g->panels_a = (s->m + ROWS - 1) / ROWS;
    g->panels_b = (s->n + COLUMNS - 1) / COLUMNS;
    int64_t wanted = g->panels_b ? (FEWEST_TASKS + g->panels_b - 1) / g->panels_b : 1, most = s->m / FEWEST_ROWS;
    if (wanted > most) wanted = most;
    if (wanted < 1) wanted = 1;
    g->part_panels = (g->panels_a + wanted - 1) / wanted;
    g->parts = g->part_panels ? (g->panels_a + g->part_panels - 1) / g->part_panels : 0;
}

lt_status lti_igemm_create(lt_ctx *ctx, const lti_igemm_shape *shape, lti_igemm **gemm)
{
    *gemm = NULL;
    LTI_TRY(check(ctx, shape));
    lti_igemm *g = lti_alloc(ctx, sizeof *g);
    if (!g) return LT_ENOMEM;
    g->shape = *shape;
    g->kernels = lti_k();
    g->form = lti_integer_form_of(shape->a_type, shape->b_type, shape->k);
    g->a_bytes = lti_integer_a_bytes(&g->form);
    g->b_bytes = lti_integer_b_bytes(&g->form);
    choose_tasks(g);
    g->slots = lt_threads();
    g->at_a = ((size_t)g->slots * sizeof(atomic_int) + 63) / 64 * 64;
    size_t room = SIZE_MAX / 2, panels_a = (size_t)g->panels_a, slots = (size_t)g->slots;
    if (g->a_bytes > room / (panels_a + 1) || g->b_bytes > (room - panels_a * g->a_bytes) / (slots + 1)) {
        lti_free(ctx, g);
        return lti_fail(ctx, LT_EINVAL, "integer product: m=%lld n=%lld k=%lld pass the address space",
                        (long long)shape->m, (long long)shape->n, (long long)shape->k);
    }
    g->at_b = g->at_a + panels_a * g->a_bytes;
    *gemm = g;
    return LT_OK;
}

void lti_igemm_free(lt_ctx *ctx, lti_igemm *gemm)
{
    lti_free(ctx, gemm);
}

void lti_igemm_use(lti_igemm *gemm, const lti_kernels *kernels)
{
    gemm->kernels = kernels;
}

size_t lti_igemm_scratch(const lti_igemm *gemm)
{
    return gemm->at_b + (size_t)gemm->slots * gemm->b_bytes;
}

/* Row `row` of an operand. */
static const char *row_at(const char *data, lt_dtype type, int64_t k, int64_t row)
{
    return data + (size_t)row * (size_t)(k / lt_dtype_block(type)) * lt_dtype_bytes(type);
}

static void pack_a_task(void *arg, int64_t task, int thread)
{
    (void)thread;
    const run_state *r = arg;
    const lti_igemm *g = r->gemm;
    const lti_igemm_shape *s = &g->shape;
    int64_t row = task * ROWS, rows = s->m - row < ROWS ? s->m - row : ROWS;
    g->kernels->integer_pack_a(&g->form, rows, row_at(r->a, s->a_type, s->k, row), r->a_scale ? r->a_scale + row : NULL,
                               r->scratch + g->at_a + (size_t)task * g->a_bytes);
}

/* A panel of b that nobody else has. Threads may be more than when the product was created: then they wait. */
static int take_slot(const lti_igemm *g, atomic_int *busy, int hint)
{
    for (int i = hint % g->slots, tries = 1;; i = (i + 1) % g->slots, tries++) {
        int expected = 0;
        if (atomic_compare_exchange_strong(&busy[i], &expected, 1)) return i;
        if (tries % g->slots == 0) sched_yield();
    }
}

static void multiply_task(void *arg, int64_t task, int thread)
{
    const run_state *r = arg;
    const lti_igemm *g = r->gemm;
    const lti_igemm_shape *s = &g->shape;
    atomic_int *busy = (atomic_int *)(void *)r->scratch;
    int slot = take_slot(g, busy, thread);
    int64_t column = task / g->parts * COLUMNS, columns = s->n - column < COLUMNS ? s->n - column : COLUMNS;
    int64_t first = task % g->parts * g->part_panels, row = first * ROWS, rows = g->part_panels * ROWS;
    char *panel = r->scratch + g->at_b + (size_t)slot * g->b_bytes;
    g->kernels->integer_pack_b(&g->form, columns, row_at(r->b, s->b_type, s->k, column),
                               r->b_scale ? r->b_scale + column : NULL, panel);
    const lti_integer_task t = {.form = &g->form,
                                .m = s->m - row < rows ? s->m - row : rows,
                                .n = columns,
                                .ldc = s->n,
                                .a = r->scratch + g->at_a + (size_t)first * g->a_bytes,
                                .b = panel,
                                .c = r->c + row * s->n + column,
                                .add = s->accumulate};
    g->kernels->integer_multiply(&t);
    atomic_store(&busy[slot], 0);
}

lt_status lti_igemm_run(const lti_igemm *gemm, const void *a, const lt_real *a_scale, const void *b,
                        const lt_real *b_scale, lt_real *c, void *scratch)
{
    const lti_igemm_shape *s = &gemm->shape;
    if (!s->m || !s->n) return LT_OK;
    if (!s->k) { /* an empty sum */
        if (!s->accumulate) memset(c, 0, (size_t)(s->m * s->n) * sizeof *c);
        return LT_OK;
    }
    run_state r = {gemm, a, b, s->a_type == LT_I8 ? a_scale : NULL, s->b_type == LT_I8 ? b_scale : NULL, c, scratch};
    atomic_int *busy = (atomic_int *)scratch;
    for (int i = 0; i < gemm->slots; i++) atomic_init(&busy[i], 0);
    lti_par_fixed(gemm->panels_a, pack_a_task, &r);
    lti_par(gemm->panels_b * gemm->parts, multiply_task, &r);
    return LT_OK;
}

/* ---- Activations ---- */

typedef struct quantization {
    lt_dtype type;
    int64_t rows, k, tasks;
    const lt_real *x;
    char *blocks;
    lt_real *scale;
} quantization;

static void quantize_task(void *arg, int64_t task, int thread)
{
    (void)thread;
    const quantization *q = arg;
    const lti_kernels *k = lti_k();
    int64_t begin = q->rows * task / q->tasks, end = q->rows * (task + 1) / q->tasks, n = (end - begin) * q->k;
    const lt_real *x = q->x + begin * q->k;
    void *to = q->blocks + (size_t)(begin * (q->k / lt_dtype_block(q->type))) * lt_dtype_bytes(q->type);
    if (q->type == LT_Q8_0) k->quantize_activations_q8_0(n, x, to);
    if (q->type == LT_Q8_1) k->quantize_activations_q8_1(n, x, to);
    if (q->type == LT_Q8_K) k->quantize_activations_q8_k(n, x, to);
    for (int64_t row = begin; q->type == LT_I8 && row < end; row++, x += q->k)
        q->scale[row] = k->quantize_row_i8(q->k, x, (int8_t *)q->blocks + row * q->k);
}

void lti_quantize_activations(lt_dtype type, int64_t rows, int64_t k, const lt_real *x, void *blocks, lt_real *scale)
{
    int64_t tasks = lti_par_tasks(rows * k, 16384);
    quantization q = {type, rows, k, tasks < rows ? tasks : rows, x, blocks, scale};
    if (rows > 0) lti_par_fixed(q.tasks, quantize_task, &q);
}
