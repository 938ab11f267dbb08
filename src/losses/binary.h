/* C layer: the losses of binary targets, element by element. */
#ifndef XENTC_LOSSES_BINARY_H
#define XENTC_LOSSES_BINARY_H

#include "losses/probability.h"

/* Binary targets with smoothing as above: class 1 has the weight a1 = pos_weight * (keep * t + uniform), class 0 has a0 =
 * keep * (1 - t) + uniform. A pos_weight of NULL is 1. */
struct binary_target {
    const double *t, *pos_weight;
    double keep, uniform;
};

/* Nothing here can fail. */
struct binary_kernels {
    /* Of one logit: a1 (1 - p)^gamma softplus(-x) + a0 p^gamma softplus(x), and its first and second derivative, the latter or
     * both of which may be NULL. Returns whether all targets are in [0, 1]. */
    int (*sigmoid_loss)(const double *x, const struct binary_target *target, double gamma, int n, double *loss /* OUT */,
                        double *grad /* OUT */, double *hess /* OUT */);

    /* Of a clipped probability: -a1 log(p) - a0 log(1 - p), and where grad is not NULL its derivative (0 where p was
     * clipped). Returns whether all targets and probabilities are in [0, 1]. */
    int (*bernoulli_loss)(const double *p, const struct binary_target *target, struct clip clip, int narrow, int n,
                          double *loss /* OUT */, double *grad /* OUT */);

    /* n <= BLOCK terms of a derivative: times scale, as float64 or float32 like the elements `of` which they are, 0 where scale
     * is, NaN where the loss is; loss = NULL: neither is anywhere. */
    void (*derivative)(const double *terms, const double *scale, const double *loss, int n, enum element of, char *p,
                       ptrdiff_t stride, enum element element);
};

#endif
