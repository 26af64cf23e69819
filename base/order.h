/* order.h - the order that medians need. */
#ifndef LTI_ORDER_H
#define LTI_ORDER_H

/* Of two doubles, for qsort: the smaller first. */
static inline int lti_ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

#endif
