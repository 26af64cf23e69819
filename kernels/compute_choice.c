/* compute_choice.c - see compute_choice.h.
 *
 * Measured rather than asked of the processor: what has the instructions need not be faster with them (some split
 * them, some lower their clock), and how much faster depends on the provider too. The two types alternate, so that a
 * neighbour who is busy for a moment slows both, and medians are compared. */
#include "kernels/compute_choice.h"
#include "base/clock.h"
#include "base/order.h"
#include "kernels/gemm.h"

#include <pthread.h>
#include <stdlib.h>

enum { SIDE = 512, LEAST_ROUNDS = 3, MOST_ROUNDS = 63 };
static const double ENOUGH_SECONDS = 0.1, WORTH = 1.15;

typedef struct trial {
    lti_gemm *gemm;
    void *a, *b, *scratch;
    double seconds[MOST_ROUNDS];
} trial;

typedef struct choice {
    bool made;
    lt_dtype type;
    double gflops[2];
} choice;

/* Both factors are zeros: units take no less time for them. */
static lt_status trial_make(lt_ctx *ctx, lt_dtype type, trial *t)
{
    const lti_gemm_shape shape = {.m = SIDE, .n = SIDE, .k = SIDE, .tb = true, .a_type = type, .b_type = type};
    size_t bytes = (size_t)SIDE * SIDE * lt_dtype_bytes(type);
    LTI_TRY(lti_gemm_create(ctx, &shape, &t->gemm));
    t->a = lti_alloc(ctx, bytes);
    t->b = lti_alloc(ctx, bytes);
    t->scratch = lti_alloc(ctx, lti_gemm_scratch(t->gemm));
    return t->a && t->b && t->scratch ? LT_OK : LT_ENOMEM;
}

static void trial_free(lt_ctx *ctx, trial *t)
{
    lti_gemm_free(ctx, t->gemm);
    lti_free(ctx, t->a);
    lti_free(ctx, t->b);
    lti_free(ctx, t->scratch);
}

/* The first run of each is not counted. */
static lt_status measure(trial *trials, int n, lt_real *c, double *gflops)
{
    double begin = lti_seconds();
    int rounds = 0;
    for (int i = -1; i < MOST_ROUNDS && (i < LEAST_ROUNDS || lti_seconds() - begin < ENOUGH_SECONDS); i++) {
        for (int k = 0; k < n; k++) {
            double start = lti_seconds();
            LTI_TRY(lti_gemm_run(trials[k].gemm, trials[k].a, trials[k].b, c, trials[k].scratch));
            trials[k].seconds[i < 0 ? 0 : i] = lti_seconds() - start;
        }
        rounds = i + 1;
    }
    for (int k = 0; k < n; k++) {
        qsort(trials[k].seconds, (size_t)rounds, sizeof(double), lti_ascending);
        gflops[k] = 2e-9 * SIDE * SIDE * SIDE / (trials[k].seconds[rounds / 2] + 1e-9);
    }
    return LT_OK;
}

static void choose(lt_ctx *ctx, choice *made)
{
    const lt_dtype types[] = {LT_F32, LT_BF16};
    trial trials[2] = {{0}};
    int n = lti_gemm_native_bf16() ? 2 : 1;
    lt_real *c = lti_alloc_array(ctx, SIDE * SIDE, sizeof *c);
    lt_status status = c ? LT_OK : LT_ENOMEM;
    for (int k = 0; k < n && status == LT_OK; k++) status = trial_make(ctx, types[k], &trials[k]);
    *made = (choice){.type = LT_F32};
    if (status == LT_OK) status = measure(trials, n, c, made->gflops);
    made->made = status == LT_OK;
    if (made->made && made->gflops[1] >= WORTH * made->gflops[0]) made->type = LT_BF16;
    for (int k = 0; k < n; k++) trial_free(ctx, &trials[k]);
    lti_free(ctx, c);
}

lt_dtype lti_compute_auto(lt_ctx *ctx, double *gflops_f32, double *gflops_bf16)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static choice made;
    pthread_mutex_lock(&lock);
    if (!made.made) choose(ctx, &made);
    choice c = made;
    pthread_mutex_unlock(&lock);
    if (gflops_f32) *gflops_f32 = c.gflops[0];
    if (gflops_bf16) *gflops_bf16 = c.gflops[1];
    return c.type;
}
