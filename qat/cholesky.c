/* cholesky.c - the factor of a symmetric positive definite matrix, in double.
 *
 * Panels of columns, each brought up to date by all columns before it (Golub and Van Loan, Matrix Computations, 4.2).
 * Rows are tasks, every dot product is summed in one fixed order, so the factor is the same for any number of threads.
 * LAPACK was rejected: its threads promise no such thing, and it is not there in the portable build. */
#include "base/par.h"
#include "qat/rounding.h"

#include <math.h>

enum { PANEL = 64, LANES = 8 };

typedef struct job {
    int64_t n, first, last; /* columns of the panel */
    double *a;
} job;

static double dot(int64_t n, const double *x, const double *y)
{
    double lane[LANES] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) lane[k] += x[i + k] * y[i + k];
    for (; i < n; i++) sum += x[i] * y[i];
    for (int k = 0; k < LANES; k++) sum += lane[k];
    return sum;
}

static void bring_up(void *arg, int64_t task, int thread)
{
    const job *j = arg;
    int64_t i = j->first + task, end = i + 1 < j->last ? i + 1 : j->last;
    double *row = j->a + i * j->n;
    (void)thread;
    for (int64_t k = j->first; k < end; k++) row[k] -= dot(j->first, row, j->a + k * j->n);
}

static void solve_row(void *arg, int64_t task, int thread)
{
    const job *j = arg;
    double *row = j->a + (j->last + task) * j->n;
    (void)thread;
    for (int64_t k = j->first; k < j->last; k++) {
        const double *other = j->a + k * j->n;
        row[k] = (row[k] - dot(k - j->first, row + j->first, other + j->first)) / other[k];
    }
}

static bool factor_panel(const job *j)
{
    for (int64_t i = j->first; i < j->last; i++) {
        double *row = j->a + i * j->n;
        for (int64_t k = j->first; k < i; k++) {
            const double *other = j->a + k * j->n;
            row[k] = (row[k] - dot(k - j->first, row + j->first, other + j->first)) / other[k];
        }
        double left = row[i] - dot(i - j->first, row + j->first, row + j->first);
        if (!(left > 0) || !isfinite(left)) return false;
        row[i] = sqrt(left);
    }
    return true;
}

bool lti_cholesky(int64_t n, double *a)
{
    for (int64_t first = 0; first < n; first += PANEL) {
        job j = {n, first, first + PANEL < n ? first + PANEL : n, a};
        lti_par(n - first, bring_up, &j);
        if (!factor_panel(&j)) return false;
        lti_par(n - j.last, solve_row, &j);
    }
    return true;
}
