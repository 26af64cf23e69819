/* view.c - what views of all kinds share. */
#include "evals/eval.h"
#include "train/recipe.h"

#include "data/utf8.h"

#include <string.h>

enum { PREVIEW_CHARACTERS = 80, PREVIEW_IDS = 120 };

lt_status lti_view_items(lti_view *view, int64_t count)
{
    view->items = lti_alloc_array(view->ctx, (size_t)count + 1, sizeof *view->items);
    view->count = view->items ? count : 0;
    return view->items ? LT_OK : LT_ENOMEM;
}

void lti_view_free(lti_view *view)
{
    if (!view->ctx) return;
    lti_free(view->ctx, view->items);
    lti_names_free(&view->slices);
    lti_names_free(&view->labels);
    lti_task_free(&view->task);
    lt_dataset_free(view->dataset);
    *view = (lti_view){.ctx = NULL};
}

const lti_names *lti_view_slices(const lti_view *view)
{
    return view->dataset ? &view->slices : &view->task.slices;
}

const lti_names *lti_view_labels(const lti_view *view)
{
    return view->labels.count ? &view->labels : &view->task.labels;
}

/* ---- Previews ---- */

/* One line of at most 80 characters; what is no UTF-8 or a control character becomes a blank. */
static void shorten(const char *text, size_t n, char out[400])
{
    size_t at = 0, used = 0;
    for (int i = 0; i < PREVIEW_CHARACTERS && at < n; i++) {
        int length = lti_utf8_length((const unsigned char *)text + at, n - at);
        if (length == 0 || (unsigned char)text[at] < 32 || text[at] == 127) {
            out[used++] = ' ';
            at++;
            continue;
        }
        memcpy(out + used, text + at, (size_t)length);
        used += (size_t)length;
        at += (size_t)length;
    }
    out[used] = 0;
}

void lti_view_preview(lti_eval *e, const lti_view *view, int64_t item, char text[400])
{
    *text = 0;
    if (!view->dataset && view->task.count == 0) return; /* numbers are no text */
    if (!view->dataset) {
        const lti_task_row *row = &view->task.rows[item];
        const char *query =
            lti_task_text(&view->task, view->task.contexts ? view->task.choices[row->first] : row->query);
        shorten(query, strlen(query), text);
        return;
    }
    int64_t length, bytes;
    char *decoded;
    const int32_t *ids = lt_dataset_row(view->dataset, view->items[item].row, &length);
    if (length > PREVIEW_IDS) length = PREVIEW_IDS;
    if (lt_tokenizer_decode(lt_model_tokenizer(e->o->model), ids, length, 0, &decoded, &bytes) != LT_OK) return;
    shorten(decoded, (size_t)bytes, text);
    lt_buffer_free(e->ctx, decoded);
}

/* ---- Scoring ---- */

lt_status lti_eval_score(lti_eval *e, int64_t n, const lti_score_row *rows)
{
    double start = lti_seconds();
    lt_status status = lti_scorer_run(e->scorer, n, rows);
    e->seconds += lti_seconds() - start;
    e->done += n;
    return status;
}
