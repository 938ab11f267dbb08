/* C layer: the cross-entropy of codes and of soft targets. */
#ifndef XENTC_LOSSES_CROSS_ENTROPY_H
#define XENTC_LOSSES_CROSS_ENTROPY_H

#include "softmax/pair.h"
#include "targets/target.h"

/* What the soft kernels find out about a row, all summed over its classes with the weights a: the loss, its slope and its
 * curvature (losses/focal.h), sum a log a, and the smallest element of a dense target. */
struct soft_sums {
    double loss[BLOCK], slope[BLOCK], curvature[BLOCK], entropy[BLOCK], lowest[BLOCK];
};

/* Nothing here can fail. */
struct cross_entropy_kernels {
    /* loss + rest = (m - x_target) + log1p(r); and rounded to float32, from pairs of float32 logits. */
    void (*code_loss)(const struct pairs *pairs, const double *x_target, int n_rows, double *loss /* OUT */,
                      double *rest /* OUT */);
    void (*code_loss_single)(const struct pairs *pairs, const double *x_target, int n_rows, float *loss /* OUT */);

    /* sum_c a_c (m - x_c + log1p(r)), terms with a_c = 0 left out, and its kin; the entropy where it is wanted. */
    void (*soft_loss)(struct source x, const struct class_target *target, int entropy, int n_rows, ptrdiff_t n_classes,
                      const struct pairs *pairs, struct soft_sums *sums /* OUT */);
};

#endif
