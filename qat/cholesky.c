/* cholesky.c - the factor of a symmetric positive definite matrix, and the inverse of a triangle, by LAPACKE.
 *
 * Whichever LAPACK stands behind LAPACKE (the reference one, OpenBLAS, ...) is the system's choice. OpenBLAS is told once to
 * use no threads of its own, as in kernels/gemm_openblas.c: how it shares work out changes bits. It is looked up by name,
 * since builds that do not link it may still get its LAPACK. MKL and ATLAS have the number of threads their environment
 * says, whatever lathe's own number is.
 *
 * A routine of our own with rows as tasks was rejected: SIMD and blocking make up for the threads. */
#include "qat/rounding.h"

#include <dlfcn.h>
#include <lapacke.h>
#include <math.h>
#include <pthread.h>

static void single_thread(void)
{
    void (*set_threads)(int);
    *(void **)&set_threads = dlsym(RTLD_DEFAULT, "openblas_set_num_threads");
    if (set_threads) set_threads(1);
}

/* Rows of ours are LAPACK's columns: its upper triangle is our lower one, and nothing is transposed. n fits lapack_int: a
 * matrix that does not is larger than any memory. */
bool lti_cholesky(int64_t n, double *a)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, single_thread);
    if (n > 0 && LAPACKE_dpotrf(LAPACK_COL_MAJOR, 'U', (lapack_int)n, a, (lapack_int)n) != 0) return false;
    for (int64_t i = 0; i < n; i++) /* not all implementations look for what is not finite */
        if (!isfinite(a[i * n + i])) return false;
    return true;
}

bool lti_invert_lower(int64_t n, double *l)
{
    return n == 0 || LAPACKE_dtrtri(LAPACK_COL_MAJOR, 'U', 'N', (lapack_int)n, l, (lapack_int)n) == 0;
}
