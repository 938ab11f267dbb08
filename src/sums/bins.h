/* C layer: vectors of float64 taken apart without loss, for sums that are exact. */
#ifndef XENTC_SUMS_BINS_H
#define XENTC_SUMS_BINS_H

#include "simd/vmath.h"

/* The multiple of the bin's unit that is nearest to the value goes in; what is left is returned. */
INLINE f64x8 into_bin(f64x8 *bin, f64x8 value, double unit)
{
    f64x8 magic = set_f64(MAGIC_f64 * unit), part = sub_f64(add_f64(value, magic), magic);
    *bin = add_f64(*bin, part);
    return sub_f64(value, part);
}

/* a b is the result and `low`, where it is finite and not below 2^-969. */
INLINE f64x8 exact_product(f64x8 a, f64x8 b, f64x8 *low)
{
    f64x8 high = mul_f64(a, b);
    *low = fma_f64(a, b, sub_f64(set_f64(0), high));
    return high;
}

/* The same, but `low` is 0 where the result is not finite, and what weighs 0 is 0, unless it is a NaN. */
INLINE f64x8 weighted(f64x8 weight, f64x8 value, f64x8 *low)
{
    const f64x8 zero = set_f64(0);
    f64x8 product = mul_f64(weight, value);
    i64x8 none = equal_f64(weight, zero), finite = less_f64(abs_f64(product), set_f64(INFINITY));
    f64x8 rest = choose_f64(finite, fma_f64(weight, value, sub_f64(zero, product)), zero);
    *low = choose_f64(none, zero, rest);
    return choose_f64(none, choose_f64(equal_f64(value, value), zero, value), product);
}

#endif
