/* C layer: the focal factor of one class. */
#ifndef XENTC_LOSSES_FOCAL_TERMS_H
#define XENTC_LOSSES_FOCAL_TERMS_H

#include "losses/terms.h"

INLINE int is_small_integer(double gamma)
{
    return gamma == 0 || gamma == 1 || gamma == 2 || gamma == 3 || gamma == 4;
}

/* q^gamma for q + q_low in [0, 1] and gamma >= 0, with its low part: by multiplication up to 4, else exp(gamma log q). */
INLINE f64x8 power(f64x8 q, f64x8 q_low, double gamma, f64x8 *low)
{
    f64x8 zero = set_f64(0);
    if (is_small_integer(gamma)) {
        f64x8 result = set_f64(1);
        *low = zero;
        for (int i = 0; i < (int)gamma; i++) {
            f64x8 product = mul_f64(result, q);
            *low = fma_f64(*low, q, fma_f64(result, q_low, fma_f64(result, q, sub_f64(zero, product))));
            result = product;
        }
        return result;
    }
    /* A small q is scaled into the range of the logarithm. */
    i64x8 small = less_f64(q, set_f64(0x1p-900));
    f64x8 scaled = choose_f64(small, mul_f64(q, set_f64(0x1p200)), q), scaled_low = choose_f64(small, zero, q_low);
    f64x8 log_low, log_q = log_wide(scaled, scaled_low, &log_low), g = set_f64(gamma);
    log_q = choose_f64(small, sub_f64(log_q, set_f64(200 * 0x1.62e42fefa39efp-1)), log_q);
    f64x8 y = mul_f64(log_q, g), y_low = fma_f64(g, log_low, fma_f64(log_q, g, sub_f64(zero, y)));
    f64x8 result = exp_full(y);
    i64x8 none = equal_f64(q, zero);
    *low = choose_f64(none, zero, mul_f64(result, y_low));
    return choose_f64(none, zero, result);
}

/* The focal loss of one class, by its plain loss l, its probability p = exp(-l) and q = 1 - p:
 *
 *     f = q^gamma l
 *     b = -p df/dp = q^gamma (1 + gamma p rho)                    rho = l / q, which is 1 at q = 0
 *     h = p db/dp  = gamma p q^(gamma - 1) (l - 2 - (gamma - 1) p rho)
 *
 * With weights a_c of the classes and the sums P = sum a_c b_c, H = sum a_c h_c, the loss sum a_c f_c of a row has
 *
 *     gradient   P p_j - a_j b_j
 *     Hessian    P p_j q_j + p_j (a_j h_j - p_j H) - a_j h_j q_j    (its diagonal)
 *
 * and gamma = 0 is b = 1, h = 0: plain cross-entropy.
 */
struct focal {
    f64x8 f, b, h;
};

INLINE struct focal focal_terms(struct class_terms of, double gamma)
{
    f64x8 zero = set_f64(0), one = set_f64(1), l = of.l, p = of.p, q = of.q, low, lesser_low;
    if (gamma == 0)
        return (struct focal){l, one, zero};
    i64x8 certain = equal_f64(q, zero), never = equal_f64(p, zero);
    f64x8 p_rho = choose_f64(never, zero, mul_f64(p, choose_f64(certain, one, div_f64(l, q))));
    f64x8 factor = power(q, of.q_low, gamma, &low);
    f64x8 value = fma_f64(factor, l, fma_f64(low, l, mul_f64(factor, of.rest)));
    value = choose_f64(less_f64(l, set_f64(INFINITY)), value, l);
    factor = add_f64(factor, low);
    /* q^(gamma - 1); 0 at q = 0, where it may be infinite but counts only times q. */
    f64x8 lesser = is_small_integer(gamma) ? power(q, of.q_low, gamma - 1, &lesser_low)
                                           : choose_f64(certain, zero, div_f64(factor, q));
    f64x8 bracket = sub_f64(sub_f64(l, set_f64(2)), mul_f64(set_f64(gamma - 1), p_rho));
    f64x8 h = mul_f64(mul_f64(set_f64(gamma), p), mul_f64(lesser, bracket));
    return (struct focal){value, mul_f64(factor, fma_f64(set_f64(gamma), p_rho, one)), choose_f64(never, zero, h)};
}

#endif
