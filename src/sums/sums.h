/* C layer: the exact sums over rows. */
#ifndef XENTC_SUMS_SUMS_H
#define XENTC_SUMS_SUMS_H

#include "simd/elements.h"
#include "sums/exact_sum.h"

/* Nothing here can fail. */
struct sums_kernels {
    /* Row losses to the precision that `element` has, each NaN to one bit pattern; then weight * loss (0 where weight is,
     * unless the loss is NaN) into `out` where that is not NULL, and its two exact halves into total. share, the row's part of
     * a mean's denominator, goes into total_share. A weight of NULL: weights and shares are 1. Returns whether there was a
     * NaN. */
    int (*finish)(double *loss /* IN, OUT */, const double *weight, const double *share, int n, enum element element,
                   char *out /* OUT */, struct running_sum *total, struct running_sum *total_share);

    /* The same of float32 losses that all weigh 1. */
    int (*finish_singles)(float *loss /* IN, OUT */, int n, char *out /* OUT */, struct running_sum *total,
                          struct running_sum *total_share);
};

#endif
