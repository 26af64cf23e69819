/* report.c - report.html: one file without scripts or links, curves drawn as SVG. */
#include "base/text.h"
#include "data/files.h"
#include "train/metrics.h"

#include <math.h>
#include <string.h>

enum { WIDTH = 640, HEIGHT = 260, LEFT = 64, BOTTOM = 32, TOP = 12, RIGHT = 12 };

static const char *const colours[] = {"#1f6fb4", "#d1495b", "#2e8b57", "#b8860b", "#7b5ea7", "#555555"};

typedef struct frame { /* data ranges of a plot */
    double x0, x1, y0, y1;
} frame;

static double at_x(const frame *f, double x)
{
    return LEFT + (x - f->x0) / (f->x1 > f->x0 ? f->x1 - f->x0 : 1) * (WIDTH - LEFT - RIGHT);
}

static double at_y(const frame *f, double y)
{
    return HEIGHT - BOTTOM - (y - f->y0) / (f->y1 > f->y0 ? f->y1 - f->y0 : 1) * (HEIGHT - BOTTOM - TOP);
}

static frame frame_of(const lti_curve *curves, int runs)
{
    frame f = {INFINITY, -INFINITY, INFINITY, -INFINITY};
    for (int r = 0; r < runs; r++)
        for (int i = 0; i < curves[r].count; i++) {
            f.x0 = fmin(f.x0, curves[r].step[i]), f.x1 = fmax(f.x1, curves[r].step[i]);
            f.y0 = fmin(f.y0, curves[r].value[i]), f.y1 = fmax(f.y1, curves[r].value[i]);
        }
    return f;
}

static void draw_axes(lti_text *t, const frame *f)
{
    for (int i = 0; i <= 4; i++) {
        double y = f->y0 + (f->y1 - f->y0) * i / 4, x = f->x0 + (f->x1 - f->x0) * i / 4;
        lti_text_format(t, "<line x1='%d' x2='%d' y1='%.1f' y2='%.1f' stroke='#ddd'/>", LEFT, WIDTH - RIGHT, at_y(f, y),
                        at_y(f, y));
        lti_text_format(t, "<text x='%d' y='%.1f' text-anchor='end'>%.4g</text>", LEFT - 6, at_y(f, y) + 4, y);
        lti_text_format(t, "<text x='%.1f' y='%d' text-anchor='middle'>%.4g</text>", at_x(f, x), HEIGHT - 10, x);
    }
}

/* At most about 1,000 points: a curve of more is thinned. */
static void draw_curve(lti_text *t, const frame *f, const lti_curve *c, const char *colour)
{
    int stride = c->count / 1000 + 1;
    lti_text_format(t, "<polyline fill='none' stroke='%s' stroke-width='1.5' points='", colour);
    for (int i = 0; i < c->count; i += stride)
        lti_text_format(t, "%.1f,%.1f ", at_x(f, c->step[i]), at_y(f, c->value[i]));
    lti_text_format(t, "'/>");
}

static void draw_plot(lti_text *t, const char *title, const lti_curve *curves, int runs)
{
    frame f = frame_of(curves, runs);
    if (!(f.x1 >= f.x0)) return;
    lti_text_format(t, "<h2>%s</h2>\n<svg viewBox='0 0 %d %d' width='%d' role='img'>", title, WIDTH, HEIGHT, WIDTH);
    draw_axes(t, &f);
    for (int r = 0; r < runs; r++) draw_curve(t, &f, &curves[r], colours[r % LTI_COUNT(colours)]);
    lti_text_format(t, "</svg>\n");
}

static lt_status plot_key(lt_ctx *ctx, lti_text *t, const char *key, const char *title, int runs,
                          const char *const *paths)
{
    lti_curve *curves = lti_alloc_array(ctx, (size_t)runs + 1, sizeof *curves);
    lt_status status = curves ? LT_OK : LT_ENOMEM;
    for (int r = 0; r < runs && status == LT_OK; r++) status = lti_metrics_curve(ctx, paths[r], key, &curves[r]);
    if (status == LT_OK) draw_plot(t, title, curves, runs);
    for (int r = 0; curves && r < runs; r++) {
        lti_free(ctx, curves[r].step);
        lti_free(ctx, curves[r].value);
    }
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
        lti_text_format(t, "<span style='color:%s'>&#9632;</span> ", colours[r % LTI_COUNT(colours)]);
        lti_text_html(t, names[r]);
        lti_text_format(t, " &nbsp; ");
    }
    lti_text_format(t, "</p>\n");
}

lt_status lt_report_write(lt_ctx *ctx, const char *path, const char *title, int runs, const char *const *names,
                          const char *const *metrics_paths, const char *table)
{
    static const char *const plots[][2] = {{"loss", "Training loss"},
                                           {"valid_loss", "Validation loss"},
                                           {"lr", "Learning rate"},
                                           {"grad_norm", "Gradient norm"}};
    lti_text t = {.ctx = ctx};
    add_head(&t, title, runs, names);
    if (table) add_table(&t, table);
    lt_status status = LT_OK;
    for (int i = 0; i < LTI_COUNT(plots) && status == LT_OK; i++)
        status = plot_key(ctx, &t, plots[i][0], plots[i][1], runs, metrics_paths);
    lti_text_format(&t, "</body></html>\n");
    if (status == LT_OK) status = t.failed ? LT_ENOMEM : lti_file_write_atomic(ctx, path, t.data, t.length);
    lti_text_free(&t);
    return status;
}
