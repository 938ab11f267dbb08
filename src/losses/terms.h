/* C layer: the loss of one class and its probability, in float64 whatever the logits are. */
#ifndef XENTC_LOSSES_TERMS_H
#define XENTC_LOSSES_TERMS_H

#include "softmax/pairs.h"
#include "softmax/scaling.h"

/* exp(x) for x <= 0, subnormal results included. */
INLINE f64x8 exp_full(f64x8 x)
{
    const double middle = EXPONENT_BIAS_f64 + MIDDLE_f64;
    f64x8 e = exp_f64(x, set_f64(MAGIC_f64 + middle), lowest_f64(set_f64(middle)));
    return mul_f64(e, power_of_two(set_f64(-MIDDLE_f64)));
}

/* -log softmax of x in rows of maximum m and log1p(r) = tail, which is NaN where m is infinite; a single logit is finite. */
INLINE f64x8 class_loss(f64x8 m, f64x8 x, f64x8 tail, f64x8 tail_low, f64x8 *rest)
{
    f64x8 margin_low, margin = two_sum(m, sub_f64(set_f64(0), x), &margin_low);
    return add_wide(margin, tail, add_f64(margin_low, tail_low), rest);
}

/* A class of loss l + rest: its probability p, and q + q_low, that of all others. */
struct class_terms {
    f64x8 l, rest, p, q, q_low;
};

/*     p = exp(-(l + rest)) = exp(-l) (1 - rest)         (exp(-l) alone could be off by l half-ulps)
 *     q = 1 - 2^n (1 + t) = (1 - 2^n) - 2^n t           where exp(-l) = 2^n (1 + t), t = high + low: nothing is lost
 *                                                       where p is close to 1
 */
INLINE struct class_terms terms_of(f64x8 l, f64x8 rest)
{
    f64x8 zero = set_f64(0), one = set_f64(1), high, low, p = exp_full(sub_f64(zero, l));
    f64x8 factor = exp_parts(max_f64(set_f64(-700), sub_f64(zero, l)), set_f64(EXPONENT_BIAS_f64), &high, &low), q_low;
    f64x8 q = two_sum(sub_f64(one, factor), mul_f64(factor, sub_f64(zero, high)), &q_low);
    q_low = add_f64(q_low, fnma_f64(factor, low, mul_f64(p, rest)));
    q = fast_two_sum(q, q_low, &q_low);
    return (struct class_terms){l, rest, fnma_f64(p, rest, p), q, q_low};
}

#endif
