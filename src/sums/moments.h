/* C layer: the exact sums of groups of values. */
#ifndef XENTC_SUMS_MOMENTS_H
#define XENTC_SUMS_MOMENTS_H

#include "sums/exact_sum.h"

/* The sums of a group of values x with weights w: of w x, w, w x^2 and w^2. */
struct moments {
    struct exact_sum value, weight, square, weight_square;
};

enum { MOMENTS = sizeof(struct moments) / sizeof(struct exact_sum) };

/* Groups by their codes. Most values need not touch the chunks: a vector of bins collects those of w x and w x^2, another one
 * those of w and w^2. They are emptied now and then. */
struct groups {
    struct moments *sums;
    int64_t (*bins)[2][8];
    int64_t *counts;                              /* rows */
};

/* Nothing here can fail. */
struct moments_kernels {
    /* Each value into the bins and sums of the group of its code, and into its count; products in their exact halves. A weight
     * of NULL: all are 1, and the sums of weights are left as they are. */
    void (*add)(const double *value, const double *weight, const int64_t *code, int n, struct groups groups);

    /* Empties the bins of one group into its sums. */
    void (*flush)(struct groups groups, int64_t code);
};

#endif
