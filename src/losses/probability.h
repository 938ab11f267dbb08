/* C layer: the losses of probabilities and of their logarithms. */
#ifndef XENTC_LOSSES_PROBABILITY_H
#define XENTC_LOSSES_PROBABILITY_H

#include "losses/cross_entropy.h"
#include "softmax/softmax.h"

/* Probabilities below `least` count as it, those above `most` as that. */
struct clip {
    double least, most;
};

/* What rows of x are: probabilities, amounts that are divided by their sum, or logarithms of probabilities. */
enum probability_kind { PROBABILITIES, AMOUNTS, LOGARITHMS };

struct probabilities {
    enum probability_kind kind;
    struct clip clip;
    const double *sum;                            /* of each row */
};

/* The smallest and the largest of all values and perhaps of 0, a NaN aside: they tell what lies outside [0, 1]. Whether some
 * row's sum is not finite, or, with NaN, further from 1 than the tolerance. */
struct range {
    double lowest, highest;
    int not_finite, sums_differ;
};

/* Nothing here can fail. */
struct probability_kernels {
    /* loss = sum_c a_c v_c with v = -x of logarithms, else -log of x, which of amounts is divided by the row's sum, and
     * clipped; NaN where the sum is. a is that of the target, or where it is NULL 1 at the class of the code. slope: of what
     * clipping left alone, the sum of a; lowest, of a target, as above. And the derivative. */
    void (*loss)(struct source x, const struct class_target *target, const int64_t *code, struct probabilities of, int n_rows,
                 ptrdiff_t n_classes, struct soft_sums *sums /* OUT */);
    void (*gradient)(struct source x, struct sink out, const struct class_target *target, const int64_t *code,
                     struct probabilities of, int n_rows, ptrdiff_t n_classes, struct derivative given);

    /* The sum of each row, and into `range` what there is to say about all. */
    void (*range)(struct source x, int n_rows, ptrdiff_t n_classes, double tolerance, double *sum /* OUT */,
                  struct range *range /* IN, OUT */);

    /* The same of single probabilities, but for the sums. */
    void (*extent)(const double *p, ptrdiff_t n, struct range *range /* IN, OUT */);

    /* out = -log(p), or -log(1 - p) where there are codes and the code is 0; p is clipped first. */
    void (*clipped_loss)(const double *p, const int64_t *code, struct clip clip, ptrdiff_t n, double *out /* OUT */);
};

#endif
