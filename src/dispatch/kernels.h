/* C layer: the kernels of one instruction set, and the sets of this build.
 *
 * Nothing here knows about Python, labels or threads.
 */
#ifndef XENTC_DISPATCH_KERNELS_H
#define XENTC_DISPATCH_KERNELS_H

#include "losses/binary.h"
#include "losses/cross_entropy.h"
#include "losses/focal.h"
#include "losses/logistic.h"
#include "losses/probability.h"
#include "memory/memory.h"
#include "softmax/pair.h"
#include "softmax/softmax.h"
#include "sums/moments.h"
#include "sums/sums.h"

struct kernels {
    const char *name;
    const struct memory_kernels *memory;
    const struct sums_kernels *sums;
    const struct moments_kernels *moments;
    const struct pair_kernels *pair;
    const struct softmax_kernels *softmax;
    const struct cross_entropy_kernels *cross_entropy;
    const struct focal_kernels *focal;
    const struct probability_kernels *probability;
    const struct binary_kernels *binary;
    const struct logistic_kernels *logistic;

    /* out = f(x) with f of "exp", "expm1", "log", "log1p", and "log" of one rounding, in this order; functions 5 to 7 are exp,
     * log, and log1p up to 1, on float32 values. */
    void (*elementary)(int function, const double *x, ptrdiff_t n, double *out /* OUT */);
};

/* The sets that this build has, newest first, ending with NULL; and whether this machine and its system can run one. */
extern const struct kernels *const xentc_kernels[];
int xentc_usable(const struct kernels *kernels);

#endif
