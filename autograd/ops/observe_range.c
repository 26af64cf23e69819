/* observe_range.c - what observers make of batches: ranges, histograms, and the range with the least error.
 *
 *     average      range += rate (batch - range)
 *     percentile   the ends of the bins where the sums of counts pass the share
 *     mse          of p = 1, 0.99, .. 0.21 the one whose range p (least .. most) has the least sum of n (v - Q(v))^2,
 *                  v the bins' middles
 *     histogram    from both ends, in steps of 1e-5 of all numbers, the end is moved that frees more bins, until the
 *                  error rises. A bin's numbers count as spread evenly over it; 256 equal steps, each rounded to its
 *                  middle: error(x) = integral of (t - c(t))^2, c(t) the middle of t's step, in closed form
 *
 * A new number outside doubles the histogram's width to that side until it is inside. PyTorch redistributes counts over
 * finer bins instead: this way none is ever divided. */
#include "autograd/ops/observe_range.h"

#include <math.h>
#include <string.h>

static const int STEPS = 256;

/* ---- Widening ---- */

/* Two bins become one; the freed half lies above, or below. */
static void halve(lt_real *counts, bool below)
{
    lt_real half[LTI_BINS / 2];
    for (int i = 0; i < LTI_BINS / 2; i++) half[i] = counts[2 * i] + counts[2 * i + 1];
    memset(counts, 0, LTI_BINS * sizeof *counts);
    memcpy(counts + (below ? LTI_BINS / 2 : 0), half, sizeof half);
}

static void widen_histogram(const lt_real batch[2], lt_real *range)
{
    double width = (double)range[LTI_MOST] - (double)range[LTI_LEAST];
    while (batch[1] > range[LTI_MOST] || batch[0] < range[LTI_LEAST]) {
        bool below = batch[0] < range[LTI_LEAST];
        halve(range + LTI_COUNTS, below);
        if (below)
            range[LTI_LEAST] = (lt_real)((double)range[LTI_LEAST] - width);
        else
            range[LTI_MOST] = (lt_real)((double)range[LTI_MOST] + width);
        width *= 2;
    }
}

void lti_range_widen(const lt_observe_config *c, const lt_real batch[2], lt_real *range)
{
    bool first = range[LTI_SEEN] == 0, histogram = lti_range_counts(c->kind);
    lt_real *least = &range[LTI_LEAST], *most = &range[LTI_MOST];
    range[LTI_SEEN] += 1;
    if (first) {
        *least = batch[0], *most = batch[1];
        double magnitude = fmax(fabs((double)*least), fabs((double)*most));
        if (histogram && !(*most > *least)) *most = (lt_real)((double)*least + fmax(magnitude * 1e-3, 1e-6));
    } else if (histogram) {
        widen_histogram(batch, range);
    } else if (c->kind == LT_OBSERVE_MINMAX) {
        if (batch[0] < *least) *least = batch[0];
        if (batch[1] > *most) *most = batch[1];
    } else {
        double rate = lti_observer_learns(c->kind) ? fmax(c->rate, 1 / (double)range[LTI_SEEN]) : c->rate;
        *least += (lt_real)rate * (batch[0] - *least);
        *most += (lt_real)rate * (batch[1] - *most);
    }
}

int64_t lti_range_bin(const lt_real *range, lt_real x)
{
    double width = ((double)range[LTI_MOST] - (double)range[LTI_LEAST]) / LTI_BINS;
    int64_t bin = (int64_t)(((double)x - (double)range[LTI_LEAST]) / width);
    return bin < 0 ? 0 : bin >= LTI_BINS ? LTI_BINS - 1 : bin;
}

/* ---- Choosing ---- */

typedef struct histogram {
    double least, width; /* width: of a bin */
    const lt_real *counts;
    double total;
} histogram;

static histogram histogram_of(const lt_real *range)
{
    histogram h = {.least = (double)range[LTI_LEAST], .counts = range + LTI_COUNTS};
    h.width = ((double)range[LTI_MOST] - h.least) / LTI_BINS;
    for (int i = 0; i < LTI_BINS; i++) h.total += (double)h.counts[i];
    return h;
}

static void choose_percentile(const histogram *h, double percent, double chosen[2])
{
    double share = h->total * ((100 - percent) / 100 + 1e-12), below = 0, above = 0;
    int first = 0, last = LTI_BINS - 1;
    while (first < last && below + (double)h->counts[first] <= share) below += (double)h->counts[first++];
    while (last > first && above + (double)h->counts[last] <= share) above += (double)h->counts[last--];
    chosen[0] = h->least + h->width * first;
    chosen[1] = h->least + h->width * (last + 1);
}

static double error_at(const histogram *h, double least, double most)
{
    double lowest = least < 0 ? -127 : 0, highest = least < 0 ? 127 : 255, error = 0;
    double scale = least < 0 ? fmax(-least, most) / 127 : most / 255;
    scale = fmax(scale, LTI_LEAST_OBSERVED);
    for (int i = 0; i < LTI_BINS; i++) {
        if (h->counts[i] == 0) continue;
        double v = h->least + h->width * (i + 0.5), code = fmin(fmax(rint(v / scale), lowest), highest);
        error += (double)h->counts[i] * (v - code * scale) * (v - code * scale);
    }
    return error;
}

static void choose_mse(const histogram *h, double least, double most, double chosen[2])
{
    double best = INFINITY;
    for (int i = 0; i < 80; i++) {
        double p = 1 - i * 0.01, error = error_at(h, p * least, p * most);
        if (error >= best) continue;
        best = error;
        chosen[0] = p * least, chosen[1] = p * most;
    }
}

/* The integral of (t - c(t))^2 from 0 to x with steps of width w. */
static double error_until(double x, double w)
{
    double step = fmin(fmax(floor(x / w), 0), STEPS - 1), off = x - (step + 0.5) * w;
    return step * w * w * w / 12 + (off * off * off + w * w * w / 8) / 3;
}

static double error_between(const histogram *h, int first, int last)
{
    double w = h->width * (last - first + 1) / STEPS, error = 0;
    for (int i = 0; i < LTI_BINS; i++) {
        if (h->counts[i] == 0) continue;
        double begin = (i - first) * h->width;
        error += (double)h->counts[i] / h->width * (error_until(begin + h->width, w) - error_until(begin, w));
    }
    return error;
}

static void choose_histogram(const histogram *h, double chosen[2])
{
    double sums[LTI_BINS], sum = 0, alpha = 0, beta = 1, best = INFINITY;
    const double step = 1e-5;
    int first = 0, last = LTI_BINS - 1;
    for (int i = 0; i < LTI_BINS; i++) sums[i] = sum += (double)h->counts[i];
    while (alpha < beta) {
        int l = first, r = last, new_first = first, new_last = last;
        while (l < last && sums[l] < (alpha + step) * h->total) l++;
        while (r > first && sums[r] > (beta - step) * h->total) r--;
        if (l - first > last - r)
            new_first = l, alpha += step;
        else
            new_last = r, beta -= step;
        if (new_first == first && new_last == last) continue;
        double error = error_between(h, new_first, new_last);
        if (error > best) break;
        best = error, first = new_first, last = new_last;
    }
    chosen[0] = h->least + h->width * first;
    chosen[1] = h->least + h->width * (last + 1);
}

void lti_range_chosen(const lt_observe_config *c, const lt_real *range, double chosen[2])
{
    chosen[0] = (double)range[LTI_LEAST], chosen[1] = (double)range[LTI_MOST];
    if (!lti_range_counts(c->kind)) return;
    histogram h = histogram_of(range);
    if (!(h.total > 0)) return;
    if (c->kind == LT_OBSERVE_PERCENTILE) choose_percentile(&h, c->percentile, chosen);
    if (c->kind == LT_OBSERVE_MSE) choose_mse(&h, chosen[0], chosen[1], chosen);
    if (c->kind == LT_OBSERVE_HISTOGRAM) choose_histogram(&h, chosen);
}

void lti_range_grid(const lt_observe_config *c, const lt_real *range, lt_real grid[2])
{
    double chosen[2];
    bool is_signed = c->is_signed || range[LTI_LEAST] < 0;
    lti_range_chosen(c, range, chosen);
    double scale = is_signed ? fmax(fabs(chosen[0]), fabs(chosen[1])) / 127 : chosen[1] / 255;
    grid[0] = (lt_real)fmax(scale, LTI_LEAST_OBSERVED);
    grid[1] = is_signed ? -127 : 0;
}
