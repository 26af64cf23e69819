/* plot.c - curves as SVG. */
#include "train/plot.h"

#include <math.h>

enum { WIDTH = 640, HEIGHT = 260, LEFT = 64, BOTTOM = 32, TOP = 12, RIGHT = 12 };

static const char *const colours[] = {"#1f6fb4", "#d1495b", "#2e8b57", "#b8860b", "#7b5ea7", "#555555"};

const char *lti_colour(int index)
{
    return colours[index % LTI_COUNT(colours)];
}

typedef struct frame { /* data ranges of a plot; of log x where the axis is logarithmic */
    double x0, x1, y0, y1;
    bool log_x;
} frame;

static double on_axis(const frame *f, double x)
{
    return f->log_x ? log10(x) : x;
}

static double at_x(const frame *f, double x)
{
    return LEFT + (on_axis(f, x) - f->x0) / (f->x1 > f->x0 ? f->x1 - f->x0 : 1) * (WIDTH - LEFT - RIGHT);
}

static double at_y(const frame *f, double y)
{
    return HEIGHT - BOTTOM - (y - f->y0) / (f->y1 > f->y0 ? f->y1 - f->y0 : 1) * (HEIGHT - BOTTOM - TOP);
}

static frame frame_of(const lti_curve *curves, int runs, bool log_x)
{
    frame f = {INFINITY, -INFINITY, INFINITY, -INFINITY, log_x};
    for (int r = 0; r < runs; r++)
        for (int i = 0; i < curves[r].count; i++) {
            double x = on_axis(&f, curves[r].step[i]);
            f.x0 = fmin(f.x0, x), f.x1 = fmax(f.x1, x);
            f.y0 = fmin(f.y0, curves[r].value[i]), f.y1 = fmax(f.y1, curves[r].value[i]);
        }
    return f;
}

static void draw_axes(lti_text *t, const frame *f)
{
    for (int i = 0; i <= 4; i++) {
        double y = f->y0 + (f->y1 - f->y0) * i / 4, x = f->x0 + (f->x1 - f->x0) * i / 4;
        if (f->log_x) x = pow(10, x);
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

void lti_plot(lti_text *t, const char *title, const lti_curve *curves, int runs, bool log_x)
{
    frame f = frame_of(curves, runs, log_x);
    if (!(f.x1 >= f.x0)) return;
    if (title) lti_text_format(t, "<h2>%s</h2>\n", title);
    lti_text_format(t, "<svg%s viewBox='0 0 %d %d' width='%d' role='img'>",
                    title ? "" : " xmlns='http://www.w3.org/2000/svg'", WIDTH, HEIGHT, WIDTH);
    draw_axes(t, &f);
    for (int r = 0; r < runs; r++) draw_curve(t, &f, &curves[r], lti_colour(r));
    lti_text_format(t, "</svg>\n");
}
