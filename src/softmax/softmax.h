/* C layer: what is written class by class from row pairs: softmax, gradient, Hessian, log-softmax. */
#ifndef XENTC_SOFTMAX_SOFTMAX_H
#define XENTC_SOFTMAX_SOFTMAX_H

#include "softmax/pair.h"
#include "targets/target.h"

/* What a derivative takes of each row: the slope of the loss, and what it is multiplied by at the end. */
struct derivative {
    const double *slope, *scale;
};

/* float64 results for float64 logits, else float32. Nothing here can fail. */
struct softmax_kernels {
    /* out_c = scale * (slope * softmax_c - a_c): a is that of the target, or the slope of the code at its class, or 0 where
     * both are NULL. */
    void (*gradient)(struct source x, struct sink out, const struct class_target *target, const struct codes *codes,
                     int n_rows, ptrdiff_t n_classes, const struct pairs *pairs, struct derivative of);

    /* out_c = scale * slope * softmax_c * (1 - softmax_c): the diagonal of the Hessian, whatever the target. */
    void (*hessian)(struct source x, struct sink out, int n_rows, ptrdiff_t n_classes, const struct pairs *pairs,
                    struct derivative of);

    /* out_c = x_c - logsumexp. */
    void (*log_softmax)(struct source x, struct sink out, int n_rows, ptrdiff_t n_classes, const struct pairs *pairs);
};

#endif
