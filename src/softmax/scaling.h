/* C layer: how exponentials are scaled. */
#ifndef XENTC_SOFTMAX_SCALING_H
#define XENTC_SOFTMAX_SCALING_H

#include "memory/rows.h"
#include "simd/vmath.h"
#include "softmax/pair.h"

/* The exponentials of a row are multiplied by 2^MIDDLE: then 2^40 of them do not overflow, and one of 2^-1075 (float32:
 * 2^-150) times the largest is not lost, for every |m| <= NEAR. */
#define MIDDLE_f64 516
#define MIDDLE_f32 75

/* The largest |m| of a row for which that holds; other rows are summed again (scaling.template.h). */
#define NEAR_f64 320
#define NEAR_f32 35

/* The largest |m| for which x needs no centre: for |x| <= FAR + 746 (float32: 104) n * LN2_HIGH is exact. Beyond it every x
 * that counts lies within a factor of 2 of m, so that x - m is exact. */
#define FAR_f64 1500
#define FAR_f32 210

/* The fraction of a softmax is 2^-GUARD smaller and its exponential as much larger: the smallest subnormal result still is a
 * product of two normal numbers. */
#define GUARD_f64 54
#define GUARD_f32 25

/* The largest power of two of a softmax's scale that its exponential can take: more would be infinite. */
#define MOST_POWER_f64 960
#define MOST_POWER_f32 95

/* A fraction between these goes with exponentials scaled as in the sums: it is a normal number, and what it makes of an
 * exponential too small for the sums is nothing. */
#define LEAST_FRACTION_f64 0x1p-1022
#define LEAST_FRACTION_f32 0x1p-126
#define MOST_FRACTION_f64 0x1p-53
#define MOST_FRACTION_f32 0x1p-24

/* round(x / ln 2), by multiplying and adding alone. */
INLINE f64x8 nearest_exponent(f64x8 x)
{
    return sub_f64(add_f64(mul_f64(x, set_f64(LOG2E)), set_f64(MAGIC_f64)), set_f64(MAGIC_f64));
}

#define TEMPLATE "softmax/scaling.template.h"
#include "simd/instantiate.h"

#endif
