/* lattice_convert.c - see lattice_convert.h. A task gets whole blocks or whole rows, so cuts change no byte. */
#include "autograd/ops/lattice_convert.h"
#include "autograd/ops/rows.h"
#include "kernels/lattice/lattice.h"

#include <string.h>

typedef struct convert_job {
    lt_dtype type;
    int64_t blocks, tasks;
    const lt_real *x; /* encode */
    lt_real *y;       /* decode */
    char *stored;
    const char *kept; /* encode again: blocks with the scales */
} convert_job;

bool lti_converts(lt_dtype type)
{
    return type == LT_BF16 || type == LT_F16 || lti_can_quantize(type);
}

/* The range of the task: first element, number of elements, address of the stored bytes. */
static int64_t range_of(const convert_job *job, int64_t task, int64_t *first, void **stored)
{
    int64_t begin, end, block = lt_dtype_block(job->type);
    lti_row_range(job->blocks, job->tasks, task, &begin, &end);
    *first = begin * block;
    *stored = job->stored + (size_t)begin * lt_dtype_bytes(job->type);
    return (end - begin) * block;
}

static void encode_task(void *arg, int64_t task, int thread)
{
    const convert_job *job = arg;
    void *y;
    int64_t first, n = range_of(job, task, &first, &y);
    const lt_real *x = job->x + first;
    switch (job->type) {
    case LT_BF16: lti_k()->to_bf16(n, x, y); break;
    case LT_F16: lti_k()->to_f16(n, x, y); break;
    default: lti_quantize(job->type, n, x, y); break;
    }
}

static void again_task(void *arg, int64_t task, int thread)
{
    const convert_job *job = arg;
    void *y;
    int64_t first, n = range_of(job, task, &first, &y);
    (void)thread;
    memcpy(y, job->kept + ((char *)y - job->stored), lti_bytes_of(job->type, n));
    lti_recode(job->type, n, job->x + first, y);
}

static void decode_task(void *arg, int64_t task, int thread)
{
    const convert_job *job = arg;
    void *x;
    int64_t first, n = range_of(job, task, &first, &x);
    lti_dequantize(job->type, n, x, job->y + first);
}

static void convert(convert_job *job, int64_t n, lti_task task)
{
    int64_t block = lt_dtype_block(job->type);
    job->blocks = n / block;
    job->tasks = lti_row_tasks(job->blocks, block, 256);
    lti_par(job->tasks, task, job);
}

void lti_encode(int64_t n, const lt_real *x, lt_dtype type, void *y)
{
    convert(&(convert_job){.type = type, .x = x, .stored = y}, n, encode_task);
}

void lti_encode_again(int64_t n, const lt_real *x, lt_dtype type, const void *kept, void *y)
{
    convert(&(convert_job){.type = type, .x = x, .stored = y, .kept = kept}, n, again_task);
}

void lti_decode(int64_t n, lt_dtype type, const void *x, lt_real *y)
{
    /* The job holds one pointer for both directions; decoding reads it alone. */
    convert(&(convert_job){.type = type, .y = y, .stored = (char *)(uintptr_t)x}, n, decode_task);
}

/* ---- Rows ---- */

typedef struct rows_job {
    int64_t rows, columns, tasks;
    lt_dtype type, to;
    const char *x;
    const lt_real *scale;
    char *y;
} rows_job;

static void decode_row(const rows_job *job, int64_t r, int64_t n, const void *x, lt_real *y)
{
    if (job->type == LT_I8)
        lti_k()->from_i8(n, x, job->scale[r], y);
    else
        lti_dequantize(job->type, n, x, y);
}

static void rows_task(void *arg, int64_t task, int thread)
{
    (void)thread;
    enum { PIECE = 512 }; /* a multiple of every block */
    const rows_job *job = arg;
    int64_t begin, end, C = job->columns;
    lti_row_range(job->rows, job->tasks, task, &begin, &end);
    for (int64_t r = begin; r < end; r++)
        for (int64_t k = 0; k < C; k += PIECE) {
            lt_real wide[PIECE];
            int64_t n = C - k < PIECE ? C - k : PIECE, at = r * C + k;
            const char *x = job->x + lti_bytes_of(job->type, at);
            decode_row(job, r, n, x, job->to == LT_F32 ? (lt_real *)(void *)job->y + at : wide);
            if (job->to == LT_BF16) lti_k()->to_bf16(n, wide, (uint16_t *)(void *)job->y + at);
        }
}

void lti_decode_rows(int64_t rows, int64_t columns, lt_dtype type, const void *x, const lt_real *scale, lt_dtype to,
                     void *y)
{
    rows_job job = {rows, columns, lti_row_tasks(rows, columns, 256), type, to, x, scale, y};
    lti_par(job.tasks, rows_task, &job);
}
