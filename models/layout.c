/* layout.c - the same tensor as Hugging Face, GGUF and lathe's params keep it.
 *
 * Heads: with halves, row i < d/2 of a head is rotated with row i + d/2; as neighbours, row 2i with row 2i + 1. So
 * neighbour row 2j + s is half row s d/2 + j. Getting this wrong crashes nothing: quality decays with position. */
#include "models/weights.h"

#include <string.h>

lti_side lti_side_hf(const lt_transformer_config *c)
{
    return (lti_side){.interleaved = false, .plus_one = c->family == LT_GEMMA3, .conv1d = true};
}

lti_side lti_side_gguf(const lt_transformer_config *c)
{
    return (lti_side){.interleaved = lti_family_of(c->family)->gguf_interleaves};
}

lti_side lti_side_params(const lt_transformer_config *c)
{
    return (lti_side){.interleaved = c->rope_interleaved, .plus_one = c->norm_plus_one};
}

bool lti_layout_differs(const lti_tensor *t, lti_side from, lti_side to)
{
    return (t->layout == LTI_HEADS && from.interleaved != to.interleaved) ||
           (t->layout == LTI_NORM && from.plus_one != to.plus_one) ||
           (t->layout == LTI_CONV1D && from.conv1d != to.conv1d);
}

int lti_layout_shift(const lti_tensor *t, lti_side from, lti_side to)
{
    if (t->layout != LTI_NORM || from.plus_one == to.plus_one) return 0;
    return from.plus_one ? 1 : -1;
}

/* Rows of a head, from halves to neighbours or back. */
static void move_heads(const lti_tensor *t, bool to_neighbours, size_t row, const char *src, char *dst)
{
    int64_t d = t->shape[0] / t->heads;
    for (int64_t h = 0; h < t->heads; h++)
        for (int64_t j = 0; j < d / 2; j++)
            for (int64_t s = 0; s < 2; s++) {
                size_t half = (size_t)(h * d + s * (d / 2) + j) * row, neighbour = (size_t)(h * d + 2 * j + s) * row;
                if (to_neighbours)
                    memcpy(dst + neighbour, src + half, row);
                else
                    memcpy(dst + half, src + neighbour, row);
            }
}

/* src [rows, cols] -> dst [cols, rows] */
static void transpose(int64_t rows, int64_t cols, size_t element, const char *src, char *dst)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            memcpy(dst + (size_t)(j * rows + i) * element, src + (size_t)(i * cols + j) * element, element);
}

void lti_layout_move(const lti_tensor *t, lti_side from, lti_side to, size_t element, size_t row_bytes, const void *src,
                     void *dst)
{
    if (t->layout == LTI_HEADS && from.interleaved != to.interleaved)
        move_heads(t, to.interleaved, t->rank == 1 ? element : row_bytes, src, dst);
    else if (t->layout == LTI_CONV1D && from.conv1d != to.conv1d && t->rank == 2)
        transpose(from.conv1d ? t->shape[1] : t->shape[0], from.conv1d ? t->shape[0] : t->shape[1], element, src, dst);
    else
        memcpy(dst, src, (t->rank == 2 ? row_bytes : element) * (size_t)t->shape[0]);
}
