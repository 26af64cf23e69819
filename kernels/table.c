/* table.c - which set of kernels this process uses: decided once, by what the CPU has and by LT_ISA.
 *
 * Every set is a whole table: a SIMD set starts as a copy of a lesser one and overrides what it does better, so that
 * nobody asks whether a kernel exists. An LT_ISA that this build or CPU has not is passed over for the best one;
 * lti_isa() says what is in use. */
#include "kernels/kernels.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#ifdef LT_WITH_SIMD
#include <cpuid.h>
#endif

static const lti_kernels ref_set = {
#define LTI_KERNEL(name, result, parameters, arguments) .name = lti_k_##name##_ref,
#include "kernels/kernels.def"
#undef LTI_KERNEL
};

static struct {
    const char *isa;
    const lti_kernels *in_use;
    lti_kernels avx2, avx512;
    int has_avx2, has_avx512;
} sets;

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fill_simd(void)
{
#ifdef LT_WITH_SIMD
    unsigned a, b, c = 0, d;
    __builtin_cpu_init();
    int f16c = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
    sets.has_avx2 = f16c && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    sets.has_avx512 = sets.has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    sets.avx2 = ref_set;
    if (sets.has_avx2) lti_kernels_fill_avx2(&sets.avx2); /* the function itself is made of these instructions */
    sets.avx512 = sets.avx2;
    if (sets.has_avx512) lti_kernels_fill_avx512(&sets.avx512);
#endif
}

/* The set of that name, once the tables are filled. */
static const lti_kernels *find(const char *isa)
{
    if (!strcmp(isa, "ref")) return &ref_set;
    if (!strcmp(isa, "avx2") && sets.has_avx2) return &sets.avx2;
    if (!strcmp(isa, "avx512") && sets.has_avx512) return &sets.avx512;
    return NULL;
}

static void choose(void)
{
    fill_simd();
    const char *wanted = getenv("LT_ISA");
    const char *const names[] = {wanted ? wanted : "", "avx512", "avx2", "ref"};
    for (size_t i = 0; !sets.in_use; i++) sets.in_use = find(names[i]);
    sets.isa = sets.in_use == &sets.avx512 ? "avx512" : sets.in_use == &sets.avx2 ? "avx2" : "ref";
}

const lti_kernels *lti_k(void)
{
    pthread_once(&once, choose);
    return sets.in_use;
}

const lti_kernels *lti_kernels_of(const char *isa)
{
    pthread_once(&once, choose);
    return find(isa);
}

const char *lti_isa(void)
{
    pthread_once(&once, choose);
    return sets.isa;
}
