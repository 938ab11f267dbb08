/* C layer: the row pair, from which all of softmax follows. */
#ifndef XENTC_SOFTMAX_PAIR_H
#define XENTC_SOFTMAX_PAIR_H

#include "memory/block.h"

/* The row pair of each row: m is the largest logit; r the sum of exp(x_j - m) over all classes but one that attains m. Then
 * logsumexp = m + log1p(r). r is kept as sum / e: the sum of exp(x_j) and exp(m) on one scale, each with a low part within
 * its ulp. NaN in the row, or m = +-inf: one of them is NaN. */
struct pairs {
    double m[BLOCK], e[BLOCK], e_low[BLOCK], sum[BLOCK], sum_low[BLOCK];
    char *cached_exp;                             /* IN   room for exponentials that the gradient needs again, or NULL */
    char is_cached[BLOCK / 8];
};

/* float64 logits are computed in float64, all others in float32. Nothing here can fail. */
struct pair_kernels {
    /* wide: every exponential has a low part (as exp_wide): slower, with r right to the last bits. */
    void (*rows)(struct source x, int wide, int n_rows, ptrdiff_t n_classes, struct pairs *pairs /* OUT */);

    /* x: one float64 a row, the logit of class 1 beside a logit of 0. */
    void (*logit)(const double *x, int n_rows, struct pairs *pairs /* OUT */);

    /* Of n_rows rows from their pairs over parts of the classes, from place `first` of parts[0], parts[stride] and so on. A
     * part where m = -inf and r = 0 counts for nothing. element: of the logits. */
    void (*join)(const struct pairs *parts, int n_parts, ptrdiff_t stride, int first, int n_rows, enum element element,
                 struct pairs *pairs /* OUT */);

    void (*logsumexp)(const struct pairs *pairs, int n_rows, double *out /* OUT */);
};

#endif
