/* C layer: losses with a focal factor, in float64 whatever the logits are. */
#ifndef XENTC_LOSSES_FOCAL_H
#define XENTC_LOSSES_FOCAL_H

#include "losses/cross_entropy.h"

/* What its derivatives take: as struct derivative, and of each row the curvature, and z, the weight of logsumexp^2, whose
 * 2 z logsumexp is already in the slope. */
struct focal_derivative {
    double gamma;
    const double *slope, *curvature, *z, *scale;
};

/* Nothing here can fail. */
struct focal_kernels {
    /* Row losses into (1 - p)^gamma * loss, with their slope and curvature. */
    void (*code_loss)(double gamma, const double *rest, int n_rows, double *loss /* IN, OUT */, double *slope /* OUT */,
                      double *curvature /* OUT */);

    /* sum_c a_c (1 - p_c)^gamma (m - x_c + log1p(r)), terms with a_c = 0 left out, and its kin but the entropy. */
    void (*soft_loss)(struct source x, const struct class_target *target, double gamma, int n_rows, ptrdiff_t n_classes,
                      const struct pairs *pairs, struct soft_sums *sums /* OUT */);

    /* Gradient and diagonal of the Hessian; the rows of either may be NULL. */
    void (*derivatives)(struct source x, struct sink grad, struct sink hess, const struct class_target *target, int n_rows,
                        ptrdiff_t n_classes, const struct pairs *pairs, struct focal_derivative of);
};

#endif
