/* simd_gemv.c - rows of stored numbers times a few vectors: what generating one token at a time consists of.
 *
 * Numbers are decoded in registers (lattice_parts.h) and multiplied at once: memory is read once and nothing is written
 * back. Several vectors meet each decoded part, up to eight at a time. Rows are taken one by one: they follow each
 * other in memory, which then is read as one stream; four rows at once, to overlap their sums, were up to three times
 * slower (a row of a small model is half a kilobyte, too short for the hardware to fetch ahead four streams), and the
 * sums of one row overlap the loads of the next as it is. A sum has two accumulators, the even and the odd vectors of
 * its row, whatever m is. Floats of 32 and 16 bits are blocks of 32 without a header; what is left of a row at its end
 * is padded with zeros. */
#include "kernels/simd/lattice_parts.h"

#include <string.h>

enum { MOST = V / 2 }; /* vectors at a time: as many as there are registers for their sums */

typedef void (*decoder)(const uint8_t *block, int part, vf w[PARTS]);

typedef struct gemv_job {
    decoder part_of;
    int parts, bytes; /* of a block */
    bool ragged;      /* rows may end inside a block */
    int64_t n, stride, ldx, ldy;
} gemv_job;

VI void part_f32(const uint8_t *block, int part, vf w[PARTS])
{
    for (int i = 0; i < PARTS; i++) w[i] = v_load((const float *)(const void *)block + i * V);
}

VI void part_bf16(const uint8_t *block, int part, vf w[PARTS])
{
    for (int i = 0; i < PARTS; i++) w[i] = v_get_bf16((const uint16_t *)(const void *)block + i * V);
}

VI void part_f16(const uint8_t *block, int part, vf w[PARTS])
{
    for (int i = 0; i < PARTS; i++) w[i] = v_get_f16((const uint16_t *)(const void *)block + i * V);
}

/* Part `part` of the block at b meets 32 numbers of each vector. */
VI void meet(const gemv_job *job, int m, int part, const uint8_t *b, const R *x, int64_t ldx, vf sum[MOST][2])
{
    vf w[PARTS];
    job->part_of(b, part, w);
#pragma GCC unroll 8
    for (int i = 0; i < m; i++)
#pragma GCC unroll 4
        for (int p = 0; p < PARTS; p++) sum[i][p % 2] = v_fma(w[p], v_load(x + i * ldx + p * V), sum[i][p % 2]);
}

/* Parts 1 .. 7 of a block of 256, written out: compilers give up on unrolling a loop of this size, and then compute
 * what a part number means at run time, three times slower. */
VI void meet_others(const gemv_job *job, int m, const uint8_t *b, const R *x, vf sum[MOST][2])
{
    meet(job, m, 1, b, x + 32, job->ldx, sum);
    meet(job, m, 2, b, x + 64, job->ldx, sum);
    meet(job, m, 3, b, x + 96, job->ldx, sum);
    meet(job, m, 4, b, x + 128, job->ldx, sum);
    meet(job, m, 5, b, x + 160, job->ldx, sum);
    meet(job, m, 6, b, x + 192, job->ldx, sum);
    meet(job, m, 7, b, x + 224, job->ldx, sum);
}

/* The last n % 32 numbers of a row that is no blocks. */
VI void meet_rest(const gemv_job *job, int m, const uint8_t *b, const R *x, vf sum[MOST][2])
{
    int64_t left = job->n % 32;
    uint8_t row[128] = {0};
    R vector[MOST * 32] = {0};
    memcpy(row, b, (size_t)(left * job->bytes / 32));
    for (int i = 0; i < m; i++) memcpy(vector + i * 32, x + i * job->ldx, (size_t)left * sizeof *x);
    meet(job, m, 0, row, vector, 32, sum);
}

/* One row times m vectors, m constant. */
VI void one_row(const gemv_job *job, int m, const uint8_t *b, const R *x, R *y)
{
    vf sum[MOST][2];
#pragma GCC unroll 8
    for (int i = 0; i < m; i++) sum[i][0] = sum[i][1] = v_zero();
    int64_t blocks = job->n / (32 * job->parts);
    for (int64_t k = 0; k < blocks; k++, b += job->bytes, x += 32 * job->parts) {
        meet(job, m, 0, b, x, job->ldx, sum);
        if (job->parts == 2) meet(job, m, 1, b, x + 32, job->ldx, sum);
        if (job->parts == 8) meet_others(job, m, b, x, sum);
    }
    if (job->ragged && job->n % 32) meet_rest(job, m, b, x, sum);
#pragma GCC unroll 8
    for (int i = 0; i < m; i++) y[i * job->ldy] = v_sum(v_add(sum[i][0], sum[i][1]));
}

VI void gemv(const gemv_job *job, int64_t rows, const uint8_t *b, int64_t m, const R *x, R *y)
{
    for (int64_t r = 0; r < rows; r++, b += job->stride) {
        int64_t i = 0;
        for (; MOST == 8 && i + 8 <= m; i += 8) one_row(job, 8, b, x + i * job->ldx, y + i * job->ldy + r);
        for (; i + 4 <= m; i += 4) one_row(job, 4, b, x + i * job->ldx, y + i * job->ldy + r);
        for (; i + 2 <= m; i += 2) one_row(job, 2, b, x + i * job->ldx, y + i * job->ldy + r);
        if (i < m) one_row(job, 1, b, x + i * job->ldx, y + i * job->ldy + r);
    }
}

#define GEMV(name, parts, bytes, ragged)                                                                               \
    void LTI_FN(gemv_##name)(int64_t rows, int64_t n, const void *b, int64_t stride, int64_t m, const R *x,            \
                             int64_t ldx, R *y, int64_t ldy)                                                           \
    {                                                                                                                  \
        const gemv_job job = {part_##name, parts, bytes, ragged, n, stride, ldx, ldy};                                 \
        gemv(&job, rows, b, m, x, y);                                                                                  \
    }

GEMV(f32, 1, 128, true)
GEMV(bf16, 1, 64, true)
GEMV(f16, 1, 64, true)
GEMV(q4_0, 1, 18, false)
GEMV(q4_1, 1, 20, false)
GEMV(q5_0, 1, 22, false)
GEMV(q5_1, 1, 24, false)
GEMV(q8_0, 1, 34, false)
GEMV(q2_k, 8, 84, false)
GEMV(q3_k, 8, 110, false)
GEMV(q4_k, 8, 144, false)
GEMV(q5_k, 8, 176, false)
GEMV(q6_k, 8, 210, false)
GEMV(iq4_nl, 1, 18, false)
GEMV(mxfp4, 1, 17, false)
GEMV(tq1_0, 8, 54, false)
GEMV(tq2_0, 8, 66, false)
GEMV(nf4, 2, 36, false)
GEMV(fp4, 2, 36, false)
