/* fuzz_imatrix.c - importance of columns: what is accepted are sums of squares and counts, and is written and read
 * again. */
#include "tests/fuzz/fuzzing.h"
#include "train/calibrate.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void look_at(const lti_site_inputs *s)
{
    FZ_CHECK(s->weight && s->inputs && isfinite(s->inputs->positions) && s->inputs->positions >= 0, "no count");
    for (int64_t k = 0; k < s->inputs->columns; k++)
        FZ_CHECK(isfinite(s->inputs->squares[k]) && s->inputs->squares[k] >= 0, "'%s' column %lld: %g", s->weight,
                 (long long)k, s->inputs->squares[k]);
}

static void compare(const lt_imatrix *m, const lt_imatrix *again)
{
    FZ_CHECK(m->count == again->count, "%d tensors, then %d", m->count, again->count);
    for (int i = 0; i < m->count; i++) {
        const lti_inputs *a = m->list[i].inputs, *b = lti_inputs_of(again, m->list[i].weight);
        FZ_CHECK(b && a->columns == b->columns && a->positions == b->positions &&
                     memcmp(a->squares, b->squares, (size_t)a->columns * sizeof *a->squares) == 0,
                 "'%s' came back different", m->list[i].weight);
    }
}

static void body(lt_ctx *ctx, const uint8_t *data, size_t size)
{
    char path[600];
    lt_imatrix *m, *again;
    if (!fz_accept(ctx, lt_imatrix_read(ctx, fz_file(data, size), &m))) return;
    FZ_CHECK(lt_imatrix_count(m) == m->count && m->count > 0, "an empty imatrix");
    for (int i = 0; i < m->count; i++) look_at(&m->list[i]);
    snprintf(path, sizeof path, "%s/again.gguf", fz_directory());
    if (fz_must(ctx, lt_imatrix_write(m, path, "again")) && fz_must(ctx, lt_imatrix_read(ctx, path, &again))) {
        compare(m, again);
        lt_imatrix_free(again);
    }
    lt_imatrix_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fz_run(body, data, size);
}
