/* C layer: how exponentials are scaled. */
#ifndef XENTC_SOFTMAX_SCALING_H
#define XENTC_SOFTMAX_SCALING_H

#include "memory/rows.h"
#include "simd/vmath.h"
#include "softmax/pair.h"

/* The middle of the exponents (scaling.template.h): sums of 2^40 terms must not overflow, and terms 2^-1075 (2^-150 for
 * float32) of the largest must not be lost, for every |m| <= NEAR. FAR: for |x| up to FAR + 746 (FAR + 104) n * LN2_HIGH is
 * exact, and beyond FAR every x that counts lies within a factor of 2 of m. GUARD: a product of the smallest subnormal still
 * comes from normal factors; MOST_POWER: and the largest exponent from one below infinity. */
#define MIDDLE_f64 516
#define NEAR_f64 320
#define FAR_f64 1500
#define GUARD_f64 54
#define MOST_POWER_f64 960
#define LEAST_FRACTION_f64 0x1p-1022
#define MOST_FRACTION_f64 0x1p-53
#define MIDDLE_f32 75
#define NEAR_f32 35
#define FAR_f32 210
#define GUARD_f32 25
#define MOST_POWER_f32 95
#define LEAST_FRACTION_f32 0x1p-126
#define MOST_FRACTION_f32 0x1p-24

/* round(x / ln 2), by multiplying and adding alone. */
INLINE f64x8 nearest_exponent(f64x8 x)
{
    return sub_f64(add_f64(mul_f64(x, set_f64(LOG2E)), set_f64(MAGIC_f64)), set_f64(MAGIC_f64));
}

#define TEMPLATE "softmax/scaling.template.h"
#include "simd/instantiate.h"

#endif
