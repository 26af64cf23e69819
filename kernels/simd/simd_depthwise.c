/* simd_depthwise.c - depthwise convolution of one image: each channel with filters of its own.
 *
 * Outputs are cut into regions, for which the same taps of a 3 x 3 window lie inside (the middle, four borders, four
 * corners), and those into tiles of a few pixels of a row, over all whose channels one vector after the other goes:
 * pixels are read nearly in order, which hardware prefetches. A filter is loaded once a tile; for the gradient of w its
 * sums are. Other windows take the taps one by one.
 *
 * Rejected, having been measured: all rows for one vector of channels, filters in registers (fewest loads; a third of
 * the speed when images do not lie in the L2 cache); all regions inlined in one body (addresses run out of
 * registers). */
#include "kernels/simd/vec.h"

/* Which of three taps lie inside: all, all but the first, all but the last; or others. */
typedef enum present { ALL, LATER, EARLIER, OTHERS } present;

/* Outputs of a row or column with the same taps. */
typedef struct segment {
    int64_t first, end;
    present taps;
} segment;

/* Both ends of the taps inside move one way only, from none before the image to none after it: at most OTHERS, LATER,
 * ALL (or OTHERS in a narrow image), EARLIER, OTHERS. */
enum { SEGMENTS = 5 };
enum { TILE = 4, LONG_TILE = 8 }; /* pixels */

/* Outputs of a region. */
typedef struct region {
    const R *x; /* tap (0, 0) of the first: it may lie outside the image */
    const R *w, *dy;
    R *y, *dw;
    int64_t down, right;     /* from one tap to the next, in elements */
    int64_t row_x, column_x; /* from one output's x to that of the next row's or column's */
    int64_t row_y, c;        /* from one output to the next row's or column's; from one tap of w to the next: c */
    int64_t rows, columns;
} region;

typedef struct region_kind {
    void (*run[3][3])(const region *t);                                         /* by rows and columns of taps */
    void (*taps)(const lti_window *s, const region *t, int64_t oy, int64_t ox); /* one output, whatever its window */
} region_kind;

static present present_of(const lti_window *s, int axis, int64_t o)
{
    int64_t first, end;
    if (s->kernel[axis] != 3) return OTHERS;
    lti_window_taps(s, axis, o, &first, &end);
    return first == 0 && end == 3 ? ALL : first == 1 && end == 3 ? LATER : first == 0 && end == 2 ? EARLIER : OTHERS;
}

static int segments_of(const lti_window *s, int axis, int64_t o, int64_t end, segment out[SEGMENTS])
{
    int n = 0;
    for (; o < end; o++) {
        present taps = present_of(s, axis, o);
        if (n == 0 || out[n - 1].taps != taps) out[n++] = (segment){o, o, taps};
        out[n - 1].end = o + 1;
    }
    return n;
}

static void run_region(const lti_window *s, const region_kind *kind, region t, segment y, segment x)
{
    t.rows = y.end - y.first;
    t.columns = x.end - x.first;
    t.x += ((y.first * s->stride[0] - s->pad[0]) * s->w + x.first * s->stride[1] - s->pad[1]) * s->c;
    t.y = t.y ? t.y + (y.first * s->ow + x.first) * s->c : NULL;
    t.dy = t.dy ? t.dy + (y.first * s->ow + x.first) * s->c : NULL;
    if (y.taps != OTHERS && x.taps != OTHERS) {
        kind->run[y.taps][x.taps](&t);
        return;
    }
    for (int64_t i = 0; i < t.rows; i++)
        for (int64_t j = 0; j < t.columns; j++) {
            region one = t;
            one.x += i * t.row_x + j * t.column_x;
            one.y = t.y ? t.y + i * t.row_y + j * t.c : NULL;
            one.dy = t.dy ? t.dy + i * t.row_y + j * t.c : NULL;
            kind->taps(s, &one, y.first + i, x.first + j);
        }
}

/* All regions; y, or dy and dw, are NULL. */
static void each_region(const lti_window *s, const region_kind *kind, const R *x, const R *w, R *y, const R *dy, R *dw)
{
    segment rows[SEGMENTS], columns[SEGMENTS];
    int n = segments_of(s, 0, s->begin, s->end, rows), m = segments_of(s, 1, 0, s->ow, columns);
    region t = {.x = x, .w = w, .y = y, .dy = dy, .dw = dw, .c = s->c};
    t.down = s->dilation[0] * s->w * s->c;
    t.right = s->dilation[1] * s->c;
    t.row_x = s->stride[0] * s->w * s->c;
    t.column_x = s->stride[1] * s->c;
    t.row_y = s->ow * s->c;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < m; j++) run_region(s, kind, t, rows[i], columns[j]);
}

#define REGION(body, rows, columns)                                                                                    \
    static void body##_##rows##_##columns(const region *t)                                                             \
    {                                                                                                                  \
        body(t, rows, columns);                                                                                        \
    }
#define REGIONS(body)                                                                                                  \
    REGION(body, ALL, ALL)                                                                                             \
    REGION(body, ALL, LATER)                                                                                           \
    REGION(body, ALL, EARLIER)                                                                                         \
    REGION(body, LATER, ALL)                                                                                           \
    REGION(body, LATER, LATER)                                                                                         \
    REGION(body, LATER, EARLIER)                                                                                       \
    REGION(body, EARLIER, ALL)                                                                                         \
    REGION(body, EARLIER, LATER)                                                                                       \
    REGION(body, EARLIER, EARLIER)
#define REGIONS_OF(body)                                                                                               \
    {                                                                                                                  \
        {body##_ALL_ALL, body##_ALL_LATER, body##_ALL_EARLIER},                                                        \
            {body##_LATER_ALL, body##_LATER_LATER, body##_LATER_EARLIER},                                              \
            {body##_EARLIER_ALL, body##_EARLIER_LATER, body##_EARLIER_EARLIER},                                        \
    }
/* Taps that are there: `there` is a constant. */
#define EACH_TAP(i, there) for (int i = (there) == LATER; i < ((there) == EARLIER ? 2 : 3); i++)

/* ---- y ---- */

/* n outputs side by side of V channels: n, `rows` and `columns` are constants. */
VI void convolve_tile(const region *t, const R *x, const R *w, R *y, int n, int64_t left, present rows, present columns)
{
    vf sum[TILE];
    for (int p = 0; p < n; p++) sum[p] = v_zero();
    EACH_TAP(i, rows)
    EACH_TAP(j, columns)
    {
        vf k = v_get(w + (3 * i + j) * t->c, left);
        const R *at = x + i * t->down + j * t->right;
        for (int p = 0; p < n; p++) sum[p] = v_fma(k, v_get(at + p * t->column_x, left), sum[p]);
    }
    for (int p = 0; p < n; p++) v_put(y + p * t->c, sum[p], left);
}

VI void convolve(const region *t, present rows, present columns)
{
    for (int64_t row = 0; row < t->rows; row++)
        for (int64_t n = t->columns, at = 0; at < n;) {
            const R *x = t->x + row * t->row_x + at * t->column_x;
            R *y = t->y + row * t->row_y + at * t->c;
            bool whole = n - at >= TILE;
            int64_t c = 0;
            for (; whole && c + V <= t->c; c += V) convolve_tile(t, x + c, t->w + c, y + c, TILE, V, rows, columns);
            for (; !whole && c + V <= t->c; c += V) convolve_tile(t, x + c, t->w + c, y + c, 1, V, rows, columns);
            for (int p = 0; c < t->c && p < (whole ? TILE : 1); p++)
                convolve_tile(t, x + p * t->column_x + c, t->w + c, y + p * t->c + c, 1, t->c - c, rows, columns);
            at += whole ? TILE : 1;
        }
}
REGIONS(convolve)

static void convolve_taps(const lti_window *s, const region *t, int64_t oy, int64_t ox)
{
    int64_t ky, ky_end, kx, kx_end;
    lti_window_taps(s, 0, oy, &ky, &ky_end);
    lti_window_taps(s, 1, ox, &kx, &kx_end);
    LTI_EACH (c, left, t->c) {
        vf sum = v_zero();
        for (int64_t i = ky; i < ky_end; i++)
            for (int64_t j = kx; j < kx_end; j++)
                sum = v_fma(v_get(t->x + i * t->down + j * t->right + c, left),
                            v_get(t->w + (i * s->kernel[1] + j) * t->c + c, left), sum);
        v_put(t->y + c, sum, left);
    }
}

void LTI_FN(depthwise)(const lti_window *s, const R *x, const R *w, R *y)
{
    static const region_kind kind = {REGIONS_OF(convolve), convolve_taps};
    each_region(s, &kind, x, w, y, NULL, NULL);
}

/* ---- Gradient of w ---- */

/* n outputs side by side of V channels, added to dw. */
VI void correlate_tile(const region *t, const R *x, const R *dy, R *dw, int64_t n, int64_t left, present rows,
                       present columns)
{
    vf sum[9];
    EACH_TAP(i, rows)
    EACH_TAP(j, columns) sum[3 * i + j] = v_get(dw + (3 * i + j) * t->c, left);
    for (; n > 0; n--, x += t->column_x, dy += t->c) {
        vf d = v_get(dy, left);
        EACH_TAP(i, rows)
        EACH_TAP(j, columns) sum[3 * i + j] = v_fma(d, v_get(x + i * t->down + j * t->right, left), sum[3 * i + j]);
    }
    EACH_TAP(i, rows)
    EACH_TAP(j, columns) v_put(dw + (3 * i + j) * t->c, sum[3 * i + j], left);
}

VI void correlate(const region *t, present rows, present columns)
{
    for (int64_t row = 0; row < t->rows; row++)
        for (int64_t n = t->columns, at = 0; at < n; at += LONG_TILE) {
            const R *x = t->x + row * t->row_x + at * t->column_x, *dy = t->dy + row * t->row_y + at * t->c;
            int64_t tile = n - at < LONG_TILE ? n - at : LONG_TILE, c = 0;
            for (; c + V <= t->c; c += V) correlate_tile(t, x + c, dy + c, t->dw + c, tile, V, rows, columns);
            if (c < t->c) correlate_tile(t, x + c, dy + c, t->dw + c, tile, t->c - c, rows, columns);
        }
}
REGIONS(correlate)

static void correlate_taps(const lti_window *s, const region *t, int64_t oy, int64_t ox)
{
    int64_t ky, ky_end, kx, kx_end;
    lti_window_taps(s, 0, oy, &ky, &ky_end);
    lti_window_taps(s, 1, ox, &kx, &kx_end);
    LTI_EACH (c, left, t->c) {
        vf d = v_get(t->dy + c, left);
        for (int64_t i = ky; i < ky_end; i++)
            for (int64_t j = kx; j < kx_end; j++) {
                R *at = t->dw + (i * s->kernel[1] + j) * t->c + c;
                v_put(at, v_fma(v_get(t->x + i * t->down + j * t->right + c, left), d, v_get(at, left)), left);
            }
    }
}

void LTI_FN(depthwise_weight)(const lti_window *s, const R *x, const R *dy, R *dw)
{
    static const region_kind kind = {REGIONS_OF(correlate), correlate_taps};
    each_region(s, &kind, x, NULL, NULL, dy, dw);
}
