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

#include "exact_sum.h"

enum { BLOCK = 64 };                              /* rows of a block at the most */

/* Element types that a kernel can read; logits are float64 or float32. */
enum element { F64, F32, I8, I16, I32, I64, U8, U16, U32, U64, ELEMENTS };

struct source {
    const char *const *rows;
    ptrdiff_t step;                               /* bytes between neighbouring classes */
    enum element element;
};

/* The row pair of each row: m is the largest logit; r + r_low, with |r_low| <= ulp(r), is the sum of exp(x_j - m) over
 * all classes but one that attains m. Then logsumexp = m + log1p(r). NaN in the row or m = +-inf: r is NaN. */
struct pairs {
    double m[BLOCK], r[BLOCK], r_low[BLOCK];
};

/* Soft targets: row i's class c weighs target[i][c] * class_weight[c * class_weight_step]; a step of 0 is one weight. */
struct soft_target {
    struct source source;
    const double *class_weight;
    int class_weight_step;
};

struct kernels {
    const char *name;

    /* x: float64 or float32 logits. */
    void (*pair)(struct source x, int n_rows, ptrdiff_t n_classes, struct pairs *pairs /* OUT */);

    /* x: one float64 a row, the logit of class 1 beside a logit of 0. */
    void (*pair_binary)(const double *x, int n_rows, struct pairs *pairs /* OUT */);

    /* loss = (m - x_target) + log1p(r); off = the probability of all classes but the target's. */
    void (*target_loss)(const struct pairs *pairs, const double *x_target, int n_rows, double *loss /* OUT */,
                        double *off /* OUT */);

    /* loss = sum_c a_c (m - x_c) + mass * log1p(r), with a the soft target and mass its sum; terms with a_c = 0 are 0.
     * lowest = the smallest element of the target row, before class weights. */
    void (*soft_loss)(struct source x, const struct soft_target *target, int n_rows, ptrdiff_t n_classes,
                      const struct pairs *pairs, double *loss /* OUT */, double *mass /* OUT */,
                      double *lowest /* OUT */);

    /* out_c = mass * scale * softmax_c - scale * a_c in x's element type, with a of 0 where target is NULL. out may be x. */
    void (*gradient)(struct source x, char *const *out, ptrdiff_t out_step, const struct soft_target *target, int n_rows,
                     ptrdiff_t n_classes, const struct pairs *pairs, const double *mass, const double *scale);

    /* The sum, the smallest and the largest element of each row; a NaN shows in the sum. */
    void (*range)(struct source x, int n_rows, ptrdiff_t n_classes, double *sum /* OUT */, double *lowest /* OUT */,
                  double *highest /* OUT */);

    /* out = -log(p), or -log(1 - p) where complement is set; p is clipped to [eps, 1 - eps] first. */
    void (*minus_log)(const double *p, const unsigned char *complement, double eps, ptrdiff_t n, double *out /* OUT */);

    /* weight * value as its two exact halves into total (0 where weight is), weight into total_weight. */
    void (*add)(const double *value, const double *weight, ptrdiff_t n, struct exact_sum *total,
                struct exact_sum *total_weight);

    /* out = f(x) with f of "exp", "expm1", "log", "log1p" in this order; function 4 is exp on float32 values. */
    void (*elementary)(int function, const double *x, ptrdiff_t n, double *out /* OUT */);
};

/* The sets that this build has, newest first, ending with NULL; and whether this machine and its system can run one. */
extern const struct kernels *const xentc_kernels[];
int xentc_usable(const struct kernels *kernels);

#endif
