/* report.c - report.html: one file without scripts or links, curves drawn as SVG. */
#include "base/text.h"
#include "data/files.h"
#include "train/metrics.h"
#include "train/plot.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static lt_status plot_key(lt_ctx *ctx, lti_text *t, const char *key, const char *title, int runs,
                          const char *const *paths)
{
    lti_curve *curves = lti_alloc_array(ctx, (size_t)runs + 1, sizeof *curves);
    lt_status status = curves ? LT_OK : LT_ENOMEM;
    for (int r = 0; r < runs && status == LT_OK; r++) status = lti_metrics_curve(ctx, paths[r], key, &curves[r]);
    if (status == LT_OK) lti_plot(t, title, curves, runs, false);
    for (int r = 0; curves && r < runs; r++) { lti_curve_free(ctx, &curves[r]); }
    lti_free(ctx, curves);
    return status;
}

/* Rows of cells separated by tabs; the first row is the header. */
static void add_table(lti_text *t, const char *table)
{
    const char *cell = "th";
    lti_text_format(t, "<table>\n");
    for (const char *row = table; *row; cell = "td") {
        size_t n = strcspn(row, "\n");
        lti_text_format(t, "<tr>");
        for (const char *p = row; p <= row + n;) {
            size_t width = strcspn(p, "\t\n");
            char text[256];
            size_t kept = width < sizeof text - 1 ? width : sizeof text - 1;
            memcpy(text, p, kept);
            text[kept] = 0;
            lti_text_format(t, "<%s>", cell);
            lti_text_html(t, text);
            lti_text_format(t, "</%s>", cell);
            p += width + 1;
        }
        lti_text_format(t, "</tr>\n");
        row += n + (row[n] == '\n');
    }
    lti_text_format(t, "</table>\n");
}

/* ---- Runs side by side ---- */

typedef struct run_summary {
    double last_loss, best_valid, accuracy, rate, gigabytes, seconds; /* NaN: not told */
} run_summary;

static int compare_values(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef enum pick { LAST, LOWEST, HIGHEST, MEDIAN } pick;

/* One number of a curve; NaN of an empty one. */
static double picked(lti_curve *c, pick how)
{
    if (c->count == 0) return NAN;
    if (how == LAST) return c->value[c->count - 1];
    qsort(c->value, (size_t)c->count, sizeof *c->value, compare_values);
    return c->value[how == LOWEST ? 0 : how == HIGHEST ? c->count - 1 : c->count / 2];
}

static lt_status summarise(lt_ctx *ctx, const char *path, run_summary *s)
{
    const struct {
        const char *key;
        pick how;
        double *to;
    } keys[] = {{"loss", LAST, &s->last_loss},         {"valid_loss", LOWEST, &s->best_valid},
                {"accuracy", HIGHEST, &s->accuracy},   {"tokens_per_second", MEDIAN, &s->rate},
                {"rss_bytes", HIGHEST, &s->gigabytes}, {"seconds", LAST, &s->seconds}};
    for (int i = 0; i < LTI_COUNT(keys); i++) {
        lti_curve curve;
        LTI_TRY(lti_metrics_curve(ctx, path, keys[i].key, &curve));
        *keys[i].to = picked(&curve, keys[i].how);
        lti_curve_free(ctx, &curve);
    }
    s->gigabytes /= 1e9;
    return LT_OK;
}

static void add_cell(lti_text *t, double value, const char *format)
{
    lti_text_format(t, "<td>");
    if (isfinite(value)) lti_text_format(t, format, value);
    lti_text_format(t, "</td>");
}

static lt_status add_summaries(lt_ctx *ctx, lti_text *t, int runs, const char *const *names, const char *const *paths)
{
    lti_text_format(t, "<table>\n<tr><th>run</th><th>last loss</th><th>best validation</th><th>accuracy</th>"
                       "<th>tokens/s</th><th>memory, GB</th><th>seconds</th></tr>\n");
    for (int r = 0; r < runs; r++) {
        run_summary s;
        LTI_TRY(summarise(ctx, paths[r], &s));
        lti_text_format(t, "<tr><td>");
        lti_text_html(t, names[r]);
        lti_text_format(t, "</td>");
        add_cell(t, s.last_loss, "%.4f");
        add_cell(t, s.best_valid, "%.4f");
        add_cell(t, s.accuracy, "%.4f");
        add_cell(t, s.rate, "%.0f");
        add_cell(t, s.gigabytes, "%.2f");
        add_cell(t, s.seconds, "%.1f");
        lti_text_format(t, "</tr>\n");
    }
    lti_text_format(t, "</table>\n");
    return LT_OK;
}

/* Where the time goes: one bar a run, an operator a colour, the small ones together. */
static lt_status add_bars(lt_ctx *ctx, lti_text *t, int runs, const char *const *names, const char *const *paths)
{
    bool any = false;
    for (int r = 0; r < runs; r++) {
        lti_shares shares;
        LTI_TRY(lti_metrics_shares(ctx, paths[r], &shares));
        if (shares.count == 0) continue;
        if (!any) lti_text_format(t, "<h2>Time by operator</h2>\n");
        any = true;
        lti_text_format(t, "<p>");
        lti_text_html(t, names[r]);
        lti_text_format(t, "<br><svg viewBox='0 0 640 22' width='640' role='img'>");
        double at = 0;
        for (int i = 0; i < shares.count; i++) {
            lti_text_format(t, "<rect x='%.1f' y='2' width='%.1f' height='18' fill='%s'/>", 640 * at,
                            640 * shares.list[i].share, lti_colour(i));
            at += shares.list[i].share;
        }
        lti_text_format(t, "</svg><br>");
        for (int i = 0; i < shares.count; i++) {
            lti_text_format(t, "<span style='color:%s'>&#9632;</span> ", lti_colour(i));
            lti_text_html(t, shares.list[i].op);
            lti_text_format(t, " %.1f&nbsp;%% &nbsp; ", 100 * shares.list[i].share);
        }
        lti_text_format(t, "</p>\n");
    }
    return LT_OK;
}

static void add_head(lti_text *t, const char *title, int runs, const char *const *names)
{
    lti_text_format(t, "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>");
    lti_text_html(t, title);
    lti_text_format(t, "</title>\n<style>body{font:15px/1.5 sans-serif;max-width:720px;margin:2em auto;color:#222}"
                       "svg text{font:11px sans-serif;fill:#666}table{border-collapse:collapse}"
                       "td,th{padding:.25em .8em;border-bottom:1px solid #ddd;text-align:right}"
                       "td:first-child,th:first-child{text-align:left}</style></head>\n<body><h1>");
    lti_text_html(t, title);
    lti_text_format(t, "</h1>\n<p>");
    for (int r = 0; r < runs; r++) {
        lti_text_format(t, "<span style='color:%s'>&#9632;</span> ", lti_colour(r));
        lti_text_html(t, names[r]);
        lti_text_format(t, " &nbsp; ");
    }
    lti_text_format(t, "</p>\n");
}

lt_status lt_report_write(lt_ctx *ctx, const char *path, const char *title, int runs, const char *const *names,
                          const char *const *metrics_paths, const char *table)
{
    static const char *const plots[][2] = {
        {"loss", "Training loss"},           {"valid_loss", "Validation loss"},
        {"accuracy", "Validation accuracy"}, {"lr", "Learning rate"},
        {"grad_norm", "Gradient norm"},      {"tokens_per_second", "Tokens (or rows) a second"},
        {"rss_bytes", "Resident bytes"}};
    lti_text t = {.ctx = ctx};
    add_head(&t, title, runs, names);
    if (table) add_table(&t, table);
    lt_status status = LT_OK;
    if (runs > 1) status = add_summaries(ctx, &t, runs, names, metrics_paths);
    for (int i = 0; i < LTI_COUNT(plots) && status == LT_OK; i++)
        status = plot_key(ctx, &t, plots[i][0], plots[i][1], runs, metrics_paths);
    if (status == LT_OK) status = add_bars(ctx, &t, runs, names, metrics_paths);
    lti_text_format(&t, "</body></html>\n");
    if (status == LT_OK) status = t.failed ? LT_ENOMEM : lti_file_write_atomic(ctx, path, t.data, t.length);
    lti_text_free(&t);
    return status;
}
