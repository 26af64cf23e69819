/* few_rows.c - see few_rows.h. Rows of b are read once from memory, decoded in registers and multiplied with every row
 * of a (simd_gemv.c): at one row of a, generating reads all weights for two operations each, and its time is that of
 * the memory. Dequantizing panels for a provider, as for many rows, writes and reads each number once more: measured, 3
 * to 4 times slower at one row, 1.2 to 1.7 at eight.
 *
 * Tasks are rows of b, cut by sizes alone. What one element of c is does not depend on m: a batch of four gives each
 * of its rows what a batch of one gives. */
#include "kernels/few_rows.h"
#include "base/par.h"
#include "kernels/lattice/lattice.h"

/* Under ALONE elements of b one thread is done before a second has woken up. */
enum { ALONE = 131072, TASK_ELEMENTS = 32768, TOGETHER = 64 };

typedef struct few_rows {
    const lti_gemm_shape *shape;
    lti_gemv gemv;
    const lt_real *a;
    const char *b;
    lt_real *c;
    int64_t stride; /* bytes of a row of b */
    int64_t rows;   /* of b, a task */
} few_rows;

bool lti_few_rows(const lti_gemm_shape *shape)
{
    return shape->tb && !shape->ta && shape->m <= LTI_FEW_ROWS && lti_gemv_of(shape->b_type);
}

/* Rows from .. from + n - 1 of b, n <= TOGETHER, by way of a small buffer: to add to c, and because rows of c may lie
 * a multiple of 4096 bytes apart, where writing to several of them in turn slows every read (1.6 times, measured). */
static void some_rows(const few_rows *f, int64_t from, int64_t n)
{
    const lti_gemm_shape *s = f->shape;
    lt_real sum[LTI_FEW_ROWS * TOGETHER];
    f->gemv(n, s->k, f->b + from * f->stride, f->stride, s->m, f->a, s->lda, sum, TOGETHER);
    for (int64_t i = 0; i < s->m; i++) {
        lt_real *c = f->c + i * s->ldc + from;
        for (int64_t j = 0; j < n; j++) c[j] = (s->accumulate ? c[j] : 0) + sum[i * TOGETHER + j];
    }
}

static void run_task(void *arg, int64_t task, int thread)
{
    (void)thread;
    const few_rows *f = arg;
    int64_t from = task * f->rows, end = f->shape->n - from < f->rows ? f->shape->n : from + f->rows;
    for (int64_t j = from; j < end; j += TOGETHER) some_rows(f, j, end - j < TOGETHER ? end - j : TOGETHER);
}

void lti_few_rows_run(const lti_gemm_shape *shape, const lt_real *a, const void *b, lt_real *c)
{
    few_rows f = {.shape = shape, .gemv = lti_gemv_of(shape->b_type), .a = a, .b = b, .c = c};
    f.stride = shape->ldb / lt_dtype_block(shape->b_type) * (int64_t)lt_dtype_bytes(shape->b_type);
    int64_t elements = shape->n * shape->k, tasks = elements < ALONE ? 1 : lti_par_tasks(elements, TASK_ELEMENTS);
    f.rows = (shape->n + tasks - 1) / tasks;
    tasks = (shape->n + f.rows - 1) / f.rows;
    if (shape->serial || tasks == 1) { /* no team of threads for one task */
        for (int64_t i = 0; i < tasks; i++) run_task(&f, i, 0);
        return;
    }
    lti_par(tasks, run_task, &f);
}
