/* plot.h - curves as SVG, for reports and the range test of the learning rate. */
#ifndef LTI_PLOT_H
#define LTI_PLOT_H

#include "base/text.h"
#include "train/metrics.h"

/* One picture of all curves, under a heading, or with NULL as a file of its own; nothing when no curve has a point.
 * log_x: the axis of `step` is logarithmic (values above 0). */
void lti_plot(lti_text *text, const char *title, const lti_curve *curves, int runs, bool log_x);
const char *lti_colour(int index); /* of curve `index` */

#endif
