/* panels.h - a matrix b [k, n] that many products with few rows share, laid out for gemm_panels.
 *
 * It is cut into panels of LTI_PANEL columns, ceil(n / LTI_PANEL) of them one after the other; a panel holds its
 * LTI_PANEL numbers of row 0, then of row 1, ..: what a product reads is one stream. Columns past n are 0. The width is
 * two vectors of AVX-512 and four of AVX2, so that both keep a block of sums in registers. */
#ifndef LTI_PANELS_H
#define LTI_PANELS_H

#include <stdint.h>

enum { LTI_PANEL = 32 };

/* Numbers in all panels. */
static inline int64_t lti_panels_count(int64_t k, int64_t n)
{
    return (n + LTI_PANEL - 1) / LTI_PANEL * LTI_PANEL * k;
}

#endif
