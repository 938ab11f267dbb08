/* C layer: the loss of a probability. */
#ifndef XENTC_LOSSES_COST_H
#define XENTC_LOSSES_COST_H

#include "losses/probability.h"
#include "simd/vmath.h"

/* -log(p), with inf for 0 and NaN below it; subnormals scaled into the logarithm's range. */
INLINE f64x8 cost(f64x8 p, f64x8 p_low)
{
    f64x8 low, zero = set_f64(0);
    i64x8 small = less_f64(p, set_f64(0x1p-1000));
    f64x8 log_p = log_wide(choose_f64(small, mul_f64(p, set_f64(0x1p200)), p), choose_f64(small, zero, p_low), &low);
    log_p = choose_f64(small, sub_f64(log_p, set_f64(200 * 0x1.62e42fefa39efp-1)), log_p);
    f64x8 result = sub_f64(zero, add_f64(log_p, low));
    result = choose_f64(equal_f64(p, zero), set_f64(INFINITY), result);
    return choose_f64(less_f64(p, zero), set_f64(NAN), result);
}

/* -log(p + p_low) of float32 probabilities, which are normal in float64. */
INLINE f64x8 cost_short(f64x8 p, f64x8 p_low)
{
    f64x8 zero = set_f64(0);
    return choose_f64(less_f64(zero, p), sub_f64(zero, log_short(p, p_low)), set_f64(INFINITY));
}

/* The clipping, of a probability and of its loss. */
struct limits {
    double least, most, least_cost, most_cost;
};

static inline struct limits limits_of(struct clip clip)
{
    double costs[8], ends[8] = {clip.most, clip.least, 1, 1, 1, 1, 1, 1};
    store_f64(costs, cost(load_f64(ends), set_f64(0)));
    return (struct limits){clip.least, clip.most, costs[0], costs[1]};
}

#endif
