/* integer_panels.h - operands of integer products (integer.h) as the micro-kernels read them: one stream each.
 *
 * k is cut into groups: the numbers that share a scale (a sub-block of a lattice, or a whole row of LT_I8), a multiple of
 * 16. Four neighbours along k, a quad, are what one VNNI instruction multiplies and adds.
 *
 *     panel of b, 32 rows:  uint8 codes [k / 4][32][4], value + offset, then an lt_real scale[32], and minimum[32] where
 *                           the lattice has one, for each group
 *     panel of a, 6 rows:   int8 codes [k / 4][6][4], then a lti_integer_group for each group
 *
 * Codes of b are unsigned because VNNI and AVX2 multiply unsigned by signed bytes; sums start at -offset x (sum of the
 * codes of a), which makes them exact. Rows past the end are zeros. Six rows by 32 columns leave each of the 24 sums of a
 * block (integers and floats) its AVX-512 register. */
#ifndef LTI_INTEGER_PANELS_H
#define LTI_INTEGER_PANELS_H

#include "lathe/base.h"

enum { LTI_INTEGER_ROWS = 6, LTI_INTEGER_COLUMNS = 32 };

typedef struct lti_integer_form {
    lt_dtype a_type, b_type;
    int64_t k;             /* numbers of a row */
    int64_t group, groups; /* numbers of a group; groups of a row: group x groups >= k, codes past k are of zeros */
    int offset;            /* of the codes of b */
    bool minima;           /* b = scale code + minimum */
    bool wide;             /* codes of b may pass 127 */
} lti_integer_form;

/* Of types that go together (lti_igemm_takes); integer.c has the table. */
lti_integer_form lti_integer_form_of(lt_dtype a_type, lt_dtype b_type, int64_t k);

/* Of each row of a panel of a, one group. */
typedef struct lti_integer_group {
    int32_t start[LTI_INTEGER_ROWS]; /* -offset x the sum of its codes */
    lt_real scale[LTI_INTEGER_ROWS];
    lt_real sum[LTI_INTEGER_ROWS]; /* scale x the sum of its codes; the number that Q8_1 stores for it */
} lti_integer_group;

/* One panel of b and several of a: c[m, n] (+)=, n <= 32. */
typedef struct lti_integer_task {
    const lti_integer_form *form;
    int64_t m, n, ldc;
    const void *a; /* ceil(m / 6) panels, lti_integer_a_bytes apart */
    const void *b;
    lt_real *c;
    bool add;
} lti_integer_task;

static inline int64_t lti_integer_k(const lti_integer_form *f)
{
    return f->group * f->groups;
}

/* Bytes of a panel, a multiple of 64. */
static inline size_t lti_integer_a_bytes(const lti_integer_form *f)
{
    size_t bytes = (size_t)lti_integer_k(f) * LTI_INTEGER_ROWS + (size_t)f->groups * sizeof(lti_integer_group);
    return (bytes + 63) / 64 * 64;
}

static inline size_t lti_integer_b_bytes(const lti_integer_form *f)
{
    size_t scales = (size_t)(f->groups * (1 + f->minima)) * sizeof(lt_real);
    return ((size_t)lti_integer_k(f) + scales) * LTI_INTEGER_COLUMNS;
}

/* What stands behind the codes. */
static inline void *lti_integer_behind(const lti_integer_form *f, const void *panel, int rows)
{
    return (char *)panel + lti_integer_k(f) * rows;
}

/* Where the scale of a group of one row stands among those of a panel of b. */
static inline int64_t lti_integer_scale_at(const lti_integer_form *f, int64_t group, int column)
{
    return group * (1 + f->minima) * LTI_INTEGER_COLUMNS + column;
}

#endif
