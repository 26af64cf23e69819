/* card.c - README.md beside an export: what the file is, what it came from, what it was measured to be.
 *
 * A README that somebody else wrote is never replaced: ours begins with a line that says so, and goes to
 * FILE.README.md where another stands. */
#include "data/files.h"
#include "models/model.h"
#include "train/export.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define OURS "<!-- written by lathe beside an export -->"

static const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Where the card goes; to be freed. */
static lt_status card_path(lt_ctx *ctx, const char *path, char **card)
{
    const char *name = file_name(path);
    lti_text directory = {.ctx = ctx}, beside = {.ctx = ctx};
    lti_text_add(&directory, path, (size_t)(name - path));
    if (name == path) lti_text_add(&directory, "./", 2);
    *card = directory.failed ? NULL : lti_path_join(ctx, directory.data, "README.md");
    lti_text_free(&directory);
    if (!*card) return LT_ENOMEM;
    char *text;
    uint64_t size;
    if (!lti_file_exists(*card)) return LT_OK;
    lt_status status = lti_file_read(ctx, *card, 1u << 20, &text, &size);
    bool ours = status == LT_OK && strncmp(text, OURS, sizeof OURS - 1) == 0;
    if (status == LT_OK) lti_free(ctx, text);
    if (status == LT_ENOMEM) return status;
    lt_ctx_clear(ctx);
    if (ours) return LT_OK;
    lti_free(ctx, *card);
    lti_text_format(&beside, "%s.README.md", path);
    *card = beside.data;
    return beside.failed ? LT_ENOMEM : LT_OK;
}

static void add_result(lti_text *t, const lt_card_row *row)
{
    const lt_eval_result *r = row->result;
    if (!r || r->tokens == 0) return;
    bool classes = isfinite(r->accuracy);
    lti_text_format(t, "| %s | %.6g | %.6f | %lld | %llu |\n", row->name, classes ? r->accuracy : r->perplexity, r->nll,
                    (long long)r->tokens, (unsigned long long)r->model_bytes);
}

static void add_results(lti_text *t, const char *on, int n, const lt_card_row *rows)
{
    bool classes = n > 0 && rows[n - 1].result && isfinite(rows[n - 1].result->accuracy);
    bool any = false;
    for (int i = 0; i < n; i++) any |= rows[i].result && rows[i].result->tokens > 0;
    if (!any) return;
    lti_text_format(t,
                    "## Measured\n\nOn %s.\n\n| | %s | nll | scored | bytes of weights |\n"
                    "|---|---|---|---|---|\n",
                    on ? on : "the validation data", classes ? "accuracy" : "perplexity");
    for (int i = 0; i < n; i++) add_result(t, &rows[i]);
    lti_text_format(t, "\n");
}

static void add_fact(lti_text *t, const char *what, const char *value)
{
    if (value && *value) lti_text_format(t, "- %s: %s\n", what, value);
}

/* Of codes made after training it is said what made them and from what. */
static void add_method(lti_text *t, const lt_export_options *o)
{
    char rows[32];
    if (!o->method) return;
    lti_text_format(t, "- method: %s, after training\n", o->method);
    add_fact(t, "calibration data (XXH3-128)", o->calibration_hash);
    snprintf(rows, sizeof rows, "%lld", (long long)o->calibration_rows);
    add_fact(t, "calibration rows, at most", o->calibration_hash ? rows : NULL);
    add_fact(t, "importance of columns", o->importance);
}

static void fill(lti_text *t, const lt_model *m, const char *path, const lt_export_options *o, const lt_exported *e,
                 int n, const lt_card_row *rows)
{
    lti_text_format(t, "%s\n# %s\n\n", OURS, o->name ? o->name : file_name(path));
    lti_text_format(t,
                    "`%s` holds %s%s: %lld tensors, %lld weights, %llu bytes, read back and found identical to those "
                    "%s.\n",
                    file_name(path),
                    o->method ? "a model quantized after its training, by " : "the codes that training ended with",
                    o->method ? o->method : "", (long long)e->tensors, (long long)e->weights,
                    (unsigned long long)e->bytes, o->method ? "that were computed" : "of the final evaluation");
    if (e->other)
        lti_text_format(t,
                        "\nThe file has other types than the model was trained on: weights moved by %.2g %% (root mean "
                        "square).\n",
                        100 * e->moved);
    lti_text_format(t, "\n## Types\n\n```\n%s```\n\n", e->report ? e->report : "");
    add_results(t, o->measured_on, n, rows);
    lti_text_format(t, "## Made with\n\n");
    lti_text_format(t, "- program: lathe %s\n", lt_version());
    add_fact(t, "family", lt_model_family(m));
    add_fact(t, "base model", o->base);
    add_method(t, o);
    if (o->steps) lti_text_format(t, "- steps: %lld (%lld tokens)\n", (long long)o->steps, (long long)o->tokens);
    add_fact(t, "training data (XXH3-128)", o->data_hash);
    add_fact(t, o->measured_on ? "measured on (XXH3-128)" : "validation data (XXH3-128)", o->valid_hash);
    if (o->recipe) lti_text_format(t, "\n## Recipe\n\n```yaml\n%s```\n", o->recipe);
}

/* Writes the text, which is freed. */
static lt_status put(lt_ctx *ctx, const char *path, lti_text *t)
{
    char *card = NULL;
    lt_status status = t->failed ? LT_ENOMEM : card_path(ctx, path, &card);
    if (status == LT_OK) status = lti_file_write_atomic(ctx, card, t->data, t->length);
    lti_free(ctx, card);
    lti_text_free(t);
    return status;
}

lt_status lti_card_write(lt_ctx *ctx, const char *path, const lti_card *card)
{
    lti_text t = {.ctx = ctx};
    lti_text_format(&t, "%s\n# %s\n\n`%s` %s\n\n", OURS, file_name(path), file_name(path), card->what);
    if (card->table) lti_text_format(&t, "```\n%s```\n\n", card->table);
    lti_text_format(&t, "## Made with\n\n- program: lathe %s\n", lt_version());
    for (int i = 0; i < card->n; i++) add_fact(&t, card->facts[i].key, card->facts[i].value);
    return put(ctx, path, &t);
}

lt_status lt_export_card(const lt_model *model, const char *path, const lt_export_options *options,
                         const lt_exported *exported, int n, const lt_card_row *rows)
{
    lti_text t = {.ctx = model->ctx};
    if (options->size != sizeof *options)
        return lti_fail(model->ctx, LT_EINVAL, "lt_export_card: call lt_export_options_init first");
    fill(&t, model, path, options, exported, n, rows);
    return put(model->ctx, path, &t);
}
