/* imatrix_file.c - importance of columns as llama-imatrix writes it and llama-quantize reads it.
 *
 * A GGUF file whose general.type is "imatrix". A tensor's sums of x^2 are "<name>.in_sum2" [columns, matrices], how many
 * x they are of "<name>.counts" [1, matrices], both f32; matrices are more than one only for mixtures of experts, which
 * lathe has no models of. Older files of llama-imatrix (.dat) have no header to tell them by and are refused. */
#include "base/text.h"
#include "data/files.h"
#include "lathe/gguf.h"
#include "models/convert_parts.h"
#include "train/calibrate.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define SUMS ".in_sum2"
#define COUNTS ".counts"

/* ---- Writing ---- */

typedef struct written {
    lt_gguf_entry *entries;
    float *numbers;
    char (*names)[160];
} written;

static void free_written(lt_ctx *ctx, written *w)
{
    lti_free(ctx, w->entries);
    lti_free(ctx, w->numbers);
    lti_free(ctx, w->names);
}

static lt_status list(const lt_imatrix *m, written *w)
{
    size_t numbers = 1, n = 2 * (size_t)m->count + 1;
    for (int i = 0; i < m->count; i++) numbers += (size_t)m->list[i].inputs->columns + 1;
    *w = (written){.entries = lti_alloc_array(m->ctx, n, sizeof *w->entries),
                   .numbers = lti_alloc_array(m->ctx, numbers, sizeof *w->numbers),
                   .names = lti_alloc_array(m->ctx, n, sizeof *w->names)};
    if (!w->entries || !w->numbers || !w->names) return LT_ENOMEM;
    float *at = w->numbers;
    for (int i = 0; i < m->count; i++) {
        const lti_inputs *in = m->list[i].inputs;
        snprintf(w->names[2 * i], sizeof *w->names, "%s" SUMS, m->list[i].weight);
        snprintf(w->names[2 * i + 1], sizeof *w->names, "%s" COUNTS, m->list[i].weight);
        w->entries[2 * i] = (lt_gguf_entry){w->names[2 * i], LT_F32, 2, {1, in->columns}, at, NULL, NULL};
        for (int64_t k = 0; k < in->columns; k++) *at++ = (float)in->squares[k];
        w->entries[2 * i + 1] = (lt_gguf_entry){w->names[2 * i + 1], LT_F32, 2, {1, 1}, at, NULL, NULL};
        *at++ = (float)in->positions;
    }
    return LT_OK;
}

lt_status lt_imatrix_write(const lt_imatrix *m, const char *path, const char *data)
{
    written w;
    lti_pairs pairs = {.ctx = m->ctx};
    lt_status status = list(m, &w);
    if (status == LT_OK) status = lti_pairs_text(&pairs, "general.type", "imatrix");
    if (status == LT_OK) status = lti_pairs_texts(&pairs, "imatrix.datasets", 1, &(const char *){data ? data : ""});
    if (status == LT_OK) status = lti_pairs_u32(&pairs, "imatrix.chunk_count", (uint32_t)m->rows);
    if (status == LT_OK) status = lti_pairs_u32(&pairs, "imatrix.chunk_size", (uint32_t)m->longest);
    if (status == LT_OK) status = lt_gguf_write(m->ctx, path, pairs.list, pairs.count, w.entries, 2 * m->count, NULL);
    lti_pairs_free(&pairs);
    free_written(m->ctx, &w);
    return status;
}

/* ---- Reading ---- */

static lt_status check_numbers(lt_ctx *ctx, const char *path, const char *tensor, const lti_inputs *in)
{
    for (int64_t k = 0; k < in->columns; k++)
        if (!(in->squares[k] >= 0) || !isfinite(in->squares[k]))
            return lti_fail(ctx, LT_EFORMAT, "%s: '%s': the sum of column %lld is %g, and no sum of squares is", path,
                            tensor, (long long)k, in->squares[k]);
    return LT_OK;
}

static lt_status load(lt_ctx *ctx, const lt_gguf *g, int index, int64_t count, double *numbers)
{
    lt_real *values = lti_alloc_array(ctx, (size_t)count + 1, sizeof *values);
    if (!values) return LT_ENOMEM;
    lt_status status = lt_gguf_load_real(g, index, values);
    for (int64_t i = 0; i < count && status == LT_OK; i++) numbers[i] = (double)values[i];
    lti_free(ctx, values);
    return status;
}

static lt_status read_tensor(lt_imatrix *m, const lt_gguf *g, int index)
{
    const lt_gguf_tensor_info *sums = lt_gguf_tensor(g, index);
    const char *path = lt_gguf_path(g);
    char weight[160], counts[176];
    snprintf(weight, sizeof weight, "%.*s", (int)(strlen(sums->name) - strlen(SUMS)), sums->name);
    snprintf(counts, sizeof counts, "%s" COUNTS, weight);
    int k = lt_gguf_find(g, counts);
    if (k < 0) return lti_fail(m->ctx, LT_EFORMAT, "%s: '%s' has no '%s' beside it", path, sums->name, counts);
    const lt_gguf_tensor_info *count = lt_gguf_tensor(g, k);
    if (!sums->known || !count->known || sums->type != LT_F32 || count->type != LT_F32 || count->elements < 1)
        return lti_fail(m->ctx, LT_EFORMAT, "%s: '%s' and its counts are not f32 numbers", path, sums->name);
    if (count->elements != 1)
        return lti_fail(m->ctx, LT_EUNSUPPORTED, "%s: '%s' is of %lld experts; lathe has no models of these", path,
                        sums->name, (long long)count->elements);
    lti_site_inputs *s = lti_imatrix_add(m, NULL, weight);
    if (!s) return LT_ENOMEM;
    LTI_TRY(lti_inputs_new(m->ctx, sums->elements, false, false, &s->inputs));
    s->owner = true;
    LTI_TRY(load(m->ctx, g, index, sums->elements, s->inputs->squares));
    LTI_TRY(load(m->ctx, g, k, 1, &s->inputs->positions));
    double n = s->inputs->positions;
    if (!(n == 0 || n >= 1) || !isfinite(n))
        return lti_fail(m->ctx, LT_EFORMAT, "%s: '%s' is %g, and no count", path, counts, n);
    return check_numbers(m->ctx, path, sums->name, s->inputs);
}

static lt_status read_all(lt_imatrix *m, const lt_gguf *g)
{
    for (int i = 0; i < lt_gguf_tensors(g); i++)
        if (lti_ends_with(lt_gguf_tensor(g, i)->name, SUMS)) LTI_TRY(read_tensor(m, g, i));
    if (m->count) return LT_OK;
    return lti_fail(m->ctx, LT_EFORMAT,
                    "%s: holds no '*" SUMS
                    "' tensors: it is no imatrix; llama-imatrix --output-format gguf makes one, and "
                    "lathe quantize --method imatrix --data TEXT --imatrix FILE",
                    lt_gguf_path(g));
}

lt_status lt_imatrix_read(lt_ctx *ctx, const char *path, lt_imatrix **imatrix)
{
    lt_gguf *g;
    *imatrix = NULL;
    LTI_TRY(lt_gguf_open(ctx, path, &g));
    lt_imatrix *m = lti_alloc(ctx, sizeof *m);
    if (m) m->ctx = ctx;
    lt_status status = m ? read_all(m, g) : LT_ENOMEM;
    lt_gguf_close(g);
    if (status == LT_OK)
        *imatrix = m;
    else
        lt_imatrix_free(m);
    return status;
}
