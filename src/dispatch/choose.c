/* C layer: the instruction sets of this build, newest first, and which of them can run here. */

#include "dispatch/kernels.h"

#include "runtime/runtime.h"

#include <string.h>

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

int xentc_usable(const struct kernels *kernels)
{
    if (!strcmp(kernels->name, "avx512"))
        return xentc_has_avx512();
    if (!strcmp(kernels->name, "avx2"))
        return xentc_has_avx2();
    return 1;                                     /* every AArch64 has NEON */
}
