/* C layer: what binary targets weigh.
 *
 * A target t gives class 1 the weight pos_weight * (keep * t + uniform) and class 0 keep * (1 - t) + uniform.
 */
#ifndef XENTC_LOSSES_BINARY_WEIGHTS_H
#define XENTC_LOSSES_BINARY_WEIGHTS_H

#include "losses/binary.h"
#include "simd/vec.h"

struct class_weights {
    f64x8 of1, of0;
};

/* The smallest and the largest element of each lane but NaNs. */
struct extent {
    f64x8 lowest, highest;
};

INLINE void widen_extent(struct extent *extent, f64x8 value)
{
    extent->lowest = min_f64(value, extent->lowest);
    extent->highest = max_f64(value, extent->highest);
}

INLINE int within_0_and_1(struct extent extent)
{
    return !any_f64(less_f64(extent.lowest, set_f64(0))) && !any_f64(less_f64(set_f64(1), extent.highest));
}

/* Of n elements from i. */
INLINE struct class_weights binary_weights(const struct binary_target *target, int i, int n, struct extent *extent)
{
    f64x8 t = load_part_f64(target->t + i, n, 0), keep = set_f64(target->keep), uniform = set_f64(target->uniform);
    f64x8 of1 = fma_f64(keep, t, uniform), of0 = fma_f64(keep, sub_f64(set_f64(1), t), uniform);
    widen_extent(extent, t);
    if (target->pos_weight)
        of1 = mul_f64(of1, load_part_f64(target->pos_weight + i, n, 0));
    return (struct class_weights){of1, of0};
}

#endif
