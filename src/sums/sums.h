/* C layer: the exact sums over rows. */
#ifndef XENTC_SUMS_SUMS_H
#define XENTC_SUMS_SUMS_H

#include "simd/elements.h"
#include "sums/exact_sum.h"

/* The sums of a group of values x with weights w: of w x, w, w x^2 and w^2. */
struct moments {
    struct exact_sum value, weight, square, weight_square;
};

enum { MOMENTS = sizeof(struct moments) / sizeof(struct exact_sum) };

/* Groups by their codes. Most values need not touch the chunks: a vector of bins collects those of w x and w x^2, another one
 * those of w and w^2. They are emptied after FLUSH_GROUP_AFTER rows. */
struct groups {
    struct moments *sums;
    double (*bins)[2][8];
    int64_t *counts;                              /* rows */
};

/* Nothing here can fail. */
struct sums_kernels {
    /* Row losses to the precision that `element` has, each NaN to one bit pattern; then weight * loss (0 where weight is,
     * unless the loss is NaN) into `out` where that is not NULL, and its two exact halves into total. share, the row's part of
     * a mean's denominator, goes into total_share. A weight of NULL: weights and shares are 1. Returns whether there was a
     * NaN. */
    int (*finish)(double *loss /* IN, OUT */, const double *weight, const double *share, int n, enum element element,
                   char *out /* OUT */, struct running_sum *total, struct running_sum *total_share);

    /* Each value into the bins and sums of the group of its code, and into its count; products in their exact halves. A weight
     * of NULL: all are 1, and the sums of weights are left as they are. flush_group empties the bins of one. */
    void (*add_moments)(const double *value, const double *weight, const int64_t *code, int n, struct groups groups);
    void (*flush_group)(struct groups groups, int64_t code);
};

#endif
