/* rows_integer.c - rows of integer products: what is quantized for them, the products, and products with int8 codes.
 *
 * Judged against the formula of the product of the numbers that the codes stand for, straight through. Weights as LT_I8
 * are slots that the build quantizes. */
#include "tests/op_rows.h"

#include "autograd/ops/integer_factors.h"

/* A weight as it stands in the slot, or on int8 by rows. */
static lt_t weight(const ts_case *c, int slot, lt_t x)
{
    return c->in[slot].quantized == LT_I8 ? lt_quantize_rows(x) : x;
}

BUILD(quantize_activations, lt_dequantize(x[0]))
BUILD(dequantize_rows, lt_dequantize(x[0]))
BUILD(quantize_rows, lt_dequantize(lt_quantize_rows(x[0])))
BUILD(quantize_transposed, lt_dequantize(lti_quantize_transposed(x[0])))
BUILD(matmul_integer, lt_matmul(x[0], weight(c, 1, x[1]), LT_TRANSPOSE_B))
BUILD(matmul_integer_add, lt_add(lt_scale(x[2], c->number), lt_matmul(x[0], weight(c, 1, x[1]), LT_TRANSPOSE_B)))
BUILD(matmul_codes, lt_matmul(x[0], weight(c, 1, x[1]), c->flags))
BUILD(matmul_codes_add, lt_add(lt_scale(x[2], c->number), lt_matmul(x[0], weight(c, 1, x[1]), c->flags)))

static lt_t build_head_loss(lt_graph *g, const ts_case *c, const lt_t *x)
{
    lt_head_term term = {lt_head_cross_entropy(), TS_HEAD_CE_WEIGHT, 1, x[2]};
    return lt_head_loss(x[0], weight(c, 1, x[1]), 1, &term, c->n > 3 ? x[3] : lt_nil(g));
}

#define TB LT_TRANSPOSE_B
CASES(activations) = {{1, {ACT(LT_Q8_0, 3, 64)}}, {1, {ACT(LT_Q8_1, 2, 3, 32)}}, {1, {ACT(LT_Q8_K, 2, 256)}},
                      {1, {ACT(LT_I8, 3, 5)}},    {1, {ACT(LT_Q8_0, 300, 96)}},  {1, {ACT(LT_I8, 300, 257)}}};
CASES(codes) = {{1, {ACT(LT_I8, 3, 5)}}, {1, {ACT(LT_I8, 2, 3, 7)}}, {1, {ACT(LT_I8, 257, 301)}}};
CASES(rows) = {{1, {ROUNDED(LT_I8, 3, 5)}}, {1, {ROUNDED(LT_I8, 257, 301)}}};
CASES(transposed) = {{1, {BLOCKS(LT_Q8_0, 5, 32)}}, {1, {BLOCKS(LT_Q4_0, 37, 64)}}, {1, {BLOCKS(LT_Q8_0, 130, 320)}}};
CASES(integer) = {{2, {ACT(LT_Q8_0, 5, 64), ROUNDED(LT_Q4_0, 7, 64)}, .flags = TB},
                  {2, {ACT(LT_Q8_0, 2, 3, 64), ROUNDED(LT_Q8_0, 6, 64)}, .flags = TB},
                  {2, {ACT(LT_I8, 5, 64), ROUNDED(LT_Q4_0, 7, 64)}, .flags = TB},
                  {2, {ACT(LT_I8, 2, 5, 33), ROUNDED(LT_I8, 7, 33)}, .flags = TB},
                  {2, {ACT(LT_I8, 6, 5), ROUNDED(LT_I8, 1, 5)}, .flags = TB},
                  {2, {ACT(LT_Q8_0, 70, 96), BLOCKS(LT_Q4_0, 130, 96)}, .flags = TB},
                  {2, {ACT(LT_Q8_0, 150, 320), ROUNDED(LT_Q8_0, 110, 320)}, .flags = TB},
                  {2, {ACT(LT_I8, 150, 321), ROUNDED(LT_I8, 110, 321)}, .flags = TB}};
CASES(integer_add) = {{3, {ACT(LT_Q8_0, 5, 64), ROUNDED(LT_Q4_0, 7, 64), X(5, 7)}, .flags = TB, .number = 2},
                      {3, {ACT(LT_I8, 5, 33), ROUNDED(LT_I8, 1, 33), X(5, 1)}, .flags = TB, .number = -1.5},
                      {3, {ACT(LT_Q8_0, 70, 96), ROUNDED(LT_Q8_0, 130, 96), X(70, 130)}, .flags = TB, .number = 2}};
CASES(product_of_codes) = {{2, {X(5, 33), ROUNDED(LT_I8, 7, 33)}, .flags = TB},
                           {2, {X(2, 5, 7), ROUNDED(LT_I8, 7, 33)}},
                           {2, {X(150, 130), ROUNDED(LT_I8, 130, 110)}}};
CASES(codes_add) = {{3, {X(5, 33), ROUNDED(LT_I8, 7, 33), X(5, 7)}, .flags = TB, .number = 2},
                    {3, {X(1, 7), ROUNDED(LT_I8, 7, 7), X(1, 7)}, .number = 2}};
CASES(head_loss) = {{3, {ACT(LT_Q8_0, 6, 32), ROUNDED(LT_Q8_0, 11, 32), INDEX(-1, 11, 6)}, .flags = 1},
                    {3, {ACT(LT_I8, 2, 5, 9), ROUNDED(LT_I8, 11, 9), INDEX(-1, 11, 2, 5)}, .flags = 1},
                    {4, {ACT(LT_I8, 6, 64), ROUNDED(LT_Q4_0, 11, 64), INDEX(-1, 11, 6), NUMBER(7)}, .flags = 5},
                    {3, {ACT(LT_I8, 5, 9), X(11, 9), INDEX(-1, 11, 5)}, .flags = 1},
                    {3, {ACT(LT_Q8_0, 300, 32), ROUNDED(LT_Q4_0, 200, 32), INDEX(-1, 200, 300)}, .flags = 1}};

const ts_row ts_rows_integer[] = {
    ROW(quantize_activations, identity, activations),
    ROW(dequantize_rows, identity, codes),
    ROW(quantize_rows, identity, rows),
    ROW(quantize_transposed, transposed_rows, transposed),
    ROW(matmul_integer, matmul, integer),
    ROW(matmul_integer_add, matmul_add, integer_add, .fused = true),
    ROW(matmul_codes, matmul, product_of_codes),
    ROW(matmul_codes_add, matmul_add, codes_add, .fused = true),
    ROW(head_loss, head_loss, head_loss),
    {0},
};
