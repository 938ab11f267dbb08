/* C layer: the instruction sets of this build, newest first, and which of them can run here. */

#include "dispatch/kernels.h"

#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

extern const struct kernels xentc_avx512_kernels, xentc_avx2_kernels, xentc_neon_kernels, xentc_portable_kernels;

const struct kernels *const xentc_kernels[] = {
#ifdef XENTC_HAS_AVX512
    &xentc_avx512_kernels,
#endif
#ifdef XENTC_HAS_AVX2
    &xentc_avx2_kernels,
#endif
#ifdef XENTC_HAS_NEON
    &xentc_neon_kernels,
#endif
#ifdef XENTC_HAS_PORTABLE
    &xentc_portable_kernels,
#endif
    NULL,
};

/* __builtin_cpu_supports asks the operating system too (XGETBV): the processor alone is not enough. */
int xentc_usable(const struct kernels *kernels)
{
#if defined(__x86_64__)
    unsigned a, b, c, d;
    __builtin_cpu_init();
    if (!strcmp(kernels->name, "avx512"))
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma");
    if (!strcmp(kernels->name, "avx2"))
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __get_cpuid(1, &a, &b, &c, &d) &&
               c & bit_F16C;
#endif
    return !strcmp(kernels->name, "neon") || !strcmp(kernels->name, "portable");
}
