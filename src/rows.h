/* C layer: the contract between the typed loops and the kernels.
 *
 * A kernel works on a block of rows. A row is a pointer to its first class and a step in bytes to the next one, so any
 * layout, axis or order of rows is just another list of pointers. Whatever one row gives is independent of its
 * neighbours in the block. Nothing here knows about Python, labels or threads, and nothing can fail.
 */
#ifndef XENTC_ROWS_H
#define XENTC_ROWS_H

#include <stddef.h>
#include <stdint.h>

#include "elements.h"
#include "exact_sum.h"
#include "scratch.h"
#include "shapes.h"

/* Rows longer than SEGMENT classes are summed in segments, whatever computes these, and the segments in order. `team` runs
 * part(context, i, scratch) for all i < n_parts, in any order, each with scratch memory of its own. */
struct team {
    void (*run)(const struct team *team, void (*part)(void *context, int i, char *scratch), void *context, int n_parts);
    int n_threads;
    char *scratch;                                /* scratch_bytes of each thread, one after the other */
    size_t scratch_bytes;
};

struct source {
    const char *const *rows;
    ptrdiff_t step;                               /* bytes between neighbouring classes */
    enum element element;
    ptrdiff_t between;                            /* bytes between neighbouring rows, where all are so, or 0 */
    const struct team *team;                      /* shares the segments of these rows, or NULL */
    char *scratch;                                /* for the kernel: see scratch.h */
};

/* Where results go, each rounded once more if the element is narrower. It may be where the logits are. */
struct sink {
    char *const *rows;
    ptrdiff_t step;
    enum element element;
    ptrdiff_t between;                            /* as in struct source */
    int stream;                                   /* too much for the caches: past them, where rows are contiguous */
};

/* The row pair of each row: m is the largest logit; r the sum of exp(x_j - m) over all classes but one that attains m. Then
 * logsumexp = m + log1p(r). r is kept as sum / e: the sum of exp(x_j) and exp(m) on one scale, each with a low part within
 * its ulp. NaN in the row, or m = +-inf: one of them is NaN. */
struct pairs {
    double m[BLOCK], e[BLOCK], e_low[BLOCK], sum[BLOCK], sum_low[BLOCK];
    int unit;                                     /* each e is 1 and each sum in [0, 1], or NaN */
    char *kept;                                   /* IN   room for KEPT bytes of exponentials that the gradient needs again, or NULL */
    char is_kept[BLOCK / 8];
};

/* Any target as weights of the classes: a_c = class_weight_c * (keep * t_c + uniform). t is dense, or where source.rows is
 * NULL the entries start[i] to start[i + 1] of row i: value at class index, sorted. An integer code is one entry of 1. Label
 * smoothing is keep and uniform; its neutral values are 1 and 0, a neutral class weight is 1 with a step of 0. Where no class
 * weight is negative, no term of a loss is. */
struct class_target {
    struct source source;
    const int64_t *start, *index;
    const double *value;
    int value_step;
    const double *class_weight;
    int class_weight_step, has_negative;          /* some class weight is */
    double keep, uniform;
};

/* Probabilities below `least` count as it, those above `most` as that. */
struct clip {
    double least, most;
};

/* Integer targets of rows: the class, its logit, and the part of the row's slope that is its alone. */
struct codes {
    const int64_t *code;
    const double *x, *slope;
};

/* Binary targets with smoothing as above: class 1 has the weight a1 = pos_weight * (keep * t + uniform), class 0 has a0 =
 * keep * (1 - t) + uniform. A pos_weight of NULL is 1. */
struct binary_target {
    const double *t, *pos_weight;
    double keep, uniform;
};

/* What the soft kernels find out about a row, all summed over its classes with the weights a: the loss, its slope and its
 * curvature (see focal in rows.c), sum a log a, and the smallest element of a dense target. */
struct soft_sums {
    double loss[BLOCK], slope[BLOCK], curvature[BLOCK], entropy[BLOCK], lowest[BLOCK];
};

/* The smallest and the largest of all values, a NaN aside; whether some row's sum is not finite, or, with NaN, further from 1
 * than the tolerance. */
struct range {
    double lowest, highest;
    int not_finite, sums_differ;
};

struct kernels {
    const char *name;

    /* out = the class of each row's code, as float64. */
    void (*gather)(struct source x, const int64_t *code, int n_rows, double *out /* OUT */);

    /* wide: slower, with r right to the last bits. */
    void (*pair)(struct source x, int wide, int n_rows, ptrdiff_t n_classes, struct pairs *pairs /* OUT */);

    /* x: one float64 a row, the logit of class 1 beside a logit of 0. */
    void (*pair_binary)(const double *x, int n_rows, struct pairs *pairs /* OUT */);

    void (*logsumexp)(const struct pairs *pairs, int n_rows, double *out /* OUT */);

    /* loss + rest = (m - x_target) + log1p(r). narrow: enough for float32 results, and no rest. */
    void (*target_loss)(const struct pairs *pairs, const double *x_target, int narrow, int n_rows, double *loss /* OUT */,
                        double *rest /* OUT */);

    /* Row losses into (1 - p)^gamma * loss, with their slope and curvature. */
    void (*focal)(double gamma, const double *rest, int n_rows, double *loss /* IN, OUT */, double *slope /* OUT */,
                  double *curvature /* OUT */);

    /* sum_c a_c (1 - p_c)^gamma (m - x_c + log1p(r)), terms with a_c = 0 left out, and its kin; the entropy where it is
     * wanted, of gamma = 0. */
    void (*soft_loss)(struct source x, const struct class_target *target, double gamma, int entropy, int n_rows,
                      ptrdiff_t n_classes, const struct pairs *pairs, struct soft_sums *sums /* OUT */);

    /* out_c = scale * (slope * softmax_c - a_c): a is that of the target, or the slope of the code at its class, or 0 where
     * both are NULL. This and all below are float64 results for float64 logits, else float32. */
    void (*gradient)(struct source x, struct sink out, const struct class_target *target, const struct codes *codes, int n_rows,
                     ptrdiff_t n_classes, const struct pairs *pairs, const double *slope, const double *scale);

    /* out_c = scale * slope * softmax_c * (1 - softmax_c): the diagonal of the Hessian, whatever the target. */
    void (*hessian)(struct source x, struct sink out, int n_rows, ptrdiff_t n_classes, const struct pairs *pairs,
                    const double *slope, const double *scale);

    /* Gradient and diagonal of the Hessian with a focal factor; the rows of either may be NULL. z: the weight of
     * logsumexp^2, whose 2 z logsumexp is already in the slope. */
    void (*elements)(struct source x, struct sink grad, struct sink hess, const struct class_target *target, double gamma,
                     const double *z, int n_rows, ptrdiff_t n_classes, const struct pairs *pairs, const double *slope,
                     const double *curvature, const double *scale);

    /* out_c = x_c - logsumexp. */
    void (*log_softmax)(struct source x, struct sink out, int n_rows, ptrdiff_t n_classes, const struct pairs *pairs);

    /* Of one logit: a1 (1 - p)^gamma softplus(-x) + a0 p^gamma softplus(x), and where grad is not NULL its first and second
     * derivative. narrow: enough for float32 results. Returns whether all targets are in [0, 1]. */
    int (*binary)(const double *x, const struct binary_target *target, double gamma, int narrow, int n,
                  double *loss /* OUT */, double *grad /* OUT */, double *hess /* OUT */);

    /* Of a clipped probability: -a1 log(p) - a0 log(1 - p), and where grad is not NULL its derivative (0 where p was
     * clipped). Returns whether all targets and probabilities are in [0, 1]. */
    int (*bernoulli)(const double *p, const struct binary_target *target, struct clip clip, int narrow, int n,
                     double *loss /* OUT */, double *grad /* OUT */);

    /* n <= BLOCK elements, `step` bytes apart, as float64. And back, for terms of a derivative: times scale, as float64 or
     * float32 like the elements `of` which they are, 0 where scale is, NaN where the loss is. */
    void (*read)(const char *p, ptrdiff_t step, enum element element, ptrdiff_t n, double *out /* OUT */);
    void (*derivative)(const double *terms, const double *scale, const double *loss, int n, enum element of, char *p,
                       ptrdiff_t step, enum element element);

    /* loss = sum_c a_c v_c with v = -x where `logs`, else -log of x, which is divided by the row's sum where `normalized` and
     * clipped; NaN where the sum is. a is that of the target, or where it is NULL 1 at the class of the code.
     * slope: of what clipping left alone, the sum of a; lowest, of a target, as above. And scale times the derivative. */
    void (*proba_loss)(struct source x, const struct class_target *target, const int64_t *code, int logs, struct clip clip,
                       const double *sum, int normalized, int n_rows, ptrdiff_t n_classes, struct soft_sums *sums /* OUT */);
    void (*proba_gradient)(struct source x, struct sink out, const struct class_target *target, const int64_t *code, int logs,
                           struct clip clip, const double *sum, int normalized, int n_rows, ptrdiff_t n_classes,
                           const double *slope, const double *scale);

    /* The sum of each row, and into `range` what there is to say about all. */
    void (*range)(struct source x, int n_rows, ptrdiff_t n_classes, double tolerance, double *sum /* OUT */,
                  struct range *range /* IN, OUT */);

    /* out = -log(p), or -log(1 - p) where there are codes and the code is 0; p is clipped first. */
    void (*minus_log)(const double *p, const int64_t *code, struct clip clip, ptrdiff_t n, double *out /* OUT */);

    /* Codes of any integer type, `step` bytes apart; what no int64 holds becomes one that is no code. Returns whether all are
     * in [0, n_codes). */
    int (*codes)(const char *target, ptrdiff_t step, enum element element, int n, int64_t n_codes, int64_t *out /* OUT */);

    /* The lowest and the highest of n > 0 integers. */
    void (*extremes)(const int64_t *x, ptrdiff_t n, int64_t *lowest /* OUT */, int64_t *highest /* OUT */);

    /* Row losses to the precision that `element` has, each NaN to one bit pattern; then weight * loss (0 where weight is,
     * unless the loss is NaN) into `out` where that is not NULL, and its two exact halves into total. share, the row's part of a
     * mean's denominator, goes into total_share. A weight of NULL: weights and shares are 1. Returns whether there was a NaN. */
    int (*finish)(double *loss /* IN, OUT */, const double *weight, const double *share, int n, enum element element,
                   char *out /* OUT */, struct running_sum *total, struct running_sum *total_share);

    /* out = f(x) with f of "exp", "expm1", "log", "log1p", and "log" of one rounding, in this order; functions 5 and 6 are exp
     * and log on float32 values. */
    void (*elementary)(int function, const double *x, ptrdiff_t n, double *out /* OUT */);
};

/* The sets that this build has, newest first, ending with NULL; and whether this machine and its system can run one. */
extern const struct kernels *const xentc_kernels[];
int xentc_usable(const struct kernels *kernels);

#endif
