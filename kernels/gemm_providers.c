/* gemm_providers.c - which provider multiplies (gemm.h), and what is counted of it. */
#include "base/clock.h"
#include "kernels/gemm.h"
#include "kernels/gemm_backend.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const lti_gemm_backend *const providers[] = {
#ifdef LT_WITH_ONEDNN
    &lti_gemm_onednn,
#endif
#ifdef LT_WITH_OPENBLAS
    &lti_gemm_openblas,
#endif
    &lti_gemm_ref,
};

static const lti_gemm_backend *_Atomic forced;
static const lti_gemm_backend *by_default;
static char versions[256];
static atomic_uint_fast64_t provider_mallocs, provider_ns;
static atomic_bool timed;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static const lti_gemm_backend *find(const char *name)
{
    for (int i = 0; name && i < LTI_COUNT(providers); i++)
        if (!strcmp(providers[i]->name, name)) return providers[i];
    return NULL;
}

static void choose(void)
{
    by_default = find(getenv("LT_GEMM"));
    if (!by_default) by_default = providers[0];
    size_t used = 0;
    for (int i = 0; i < LTI_COUNT(providers); i++) {
        char one[96];
        providers[i]->version(one, sizeof one);
        int n = snprintf(versions + used, sizeof versions - used, "%s%s", used ? ", " : "", one);
        used += n > 0 && used + (size_t)n < sizeof versions ? (size_t)n : 0;
    }
}

const lti_gemm_backend *lti_gemm_in_use(void)
{
    pthread_once(&once, choose);
    const lti_gemm_backend *p = atomic_load(&forced);
    return p ? p : by_default;
}

const char *lti_gemm_provider(void)
{
    return lti_gemm_in_use()->name;
}

bool lti_gemm_force(const char *provider)
{
    const lti_gemm_backend *p = find(provider);
    if (provider && !p) return false;
    atomic_store(&forced, p);
    return true;
}

const char *lti_gemm_versions(void)
{
    pthread_once(&once, choose);
    return versions;
}

uint64_t lti_gemm_mallocs(void)
{
    return atomic_load(&provider_mallocs);
}

bool lti_gemm_takes_bf16(const lti_gemm_backend *backend)
{
    return backend->bf16 && backend->bf16();
}

bool lti_gemm_native_bf16(void)
{
    return lti_gemm_takes_bf16(lti_gemm_in_use());
}

double lti_gemm_timing(bool on)
{
    uint64_t ns = atomic_exchange(&provider_ns, 0);
    atomic_store(&timed, on);
    return 1e-9 * (double)ns;
}

lt_status lti_gemm_backend_run(const lti_gemm_backend *backend, const void *kernel, int slot, const void *a,
                               const void *b, lt_real *c, void *scratch)
{
    bool clocked = atomic_load_explicit(&timed, memory_order_relaxed);
    double start = clocked ? lti_seconds() : 0;
    atomic_fetch_add_explicit(&provider_mallocs, backend->mallocs, memory_order_relaxed);
    lt_status status = backend->run(kernel, slot, a, b, c, scratch);
    if (clocked) atomic_fetch_add(&provider_ns, (uint64_t)(1e9 * (lti_seconds() - start)));
    return status;
}
