/* C layer: the logistic loss of float32 logits, in float32: of binary targets, and of two classes. */
#ifndef XENTC_LOSSES_LOGISTIC_H
#define XENTC_LOSSES_LOGISTIC_H

#include "losses/binary.h"

/* Of n <= BLOCK rows. Nothing here can fail. */
struct logistic_kernels {
    /* Two classes as one: the logit of class 1 less that of class 0 as logit + low, NaN where one of them is NaN or inf or both
     * are -inf; and the code as a target. The source's elements are not float64. */
    void (*of_two_classes)(struct source x, const int64_t *code, int n, float *logit /* OUT */, float *low /* OUT */,
                           float *target /* OUT */);

    /* t softplus(-x) + (1 - t) softplus(x) of x = logit + low (NULL: 0), and its first and second derivative with respect to x,
     * the latter or both of which may be NULL; where a loss is NaN, they may not be. The targets t, or where these are NULL targets with weights, and no low. Returns
     * whether all targets are in [0, 1]. */
    int (*loss)(const float *logit, const float *low, const float *target, const struct binary_target *weighted, int n,
                float *loss /* OUT */, double *grad /* OUT */, double *hess /* OUT */);

    /* The derivatives with respect to the logits of both classes, times scale: a Hessian's are alike, a gradient's are not. */
    void (*to_two_classes)(const double *terms, const double *scale, int alike, int n, struct sink out);
};

#endif
