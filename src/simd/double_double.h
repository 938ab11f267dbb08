/* C layer: a float64 and what rounding took from it: vectors of twice the precision. */
#ifndef XENTC_SIMD_DOUBLE_DOUBLE_H
#define XENTC_SIMD_DOUBLE_DOUBLE_H

#include "simd/vec.h"

/* a + b = sum + error, exactly (Knuth 1969). */
INLINE f64x8 two_sum(f64x8 a, f64x8 b, f64x8 *error)
{
    f64x8 sum = add_f64(a, b), b_part = sub_f64(sum, a);
    *error = add_f64(sub_f64(a, sub_f64(sum, b_part)), sub_f64(b, b_part));
    return sum;
}

/* The same where |a| >= |b| or a is 0 (Dekker 1971). */
INLINE f64x8 fast_two_sum(f64x8 a, f64x8 b, f64x8 *error)
{
    f64x8 sum = add_f64(a, b);
    *error = sub_f64(b, sub_f64(sum, a));
    return sum;
}

struct double_double {
    f64x8 high, low;
};

INLINE void accumulate_f64(f64x8 *sum, f64x8 *low, f64x8 term)
{
    f64x8 error;
    *sum = two_sum(*sum, term, &error);
    *low = add_f64(*low, error);
}

/* The same for a sum of terms >= 0, in half the operations: where the term is larger, its last bit can be lost, but then the
 * sum doubles, so all that is ever lost stays below two ulps of it, and it is rare. */
INLINE void add_terms_f64(f64x8 *sum, f64x8 *low, f64x8 term)
{
    f64x8 error;
    *sum = fast_two_sum(*sum, term, &error);
    *low = add_f64(*low, error);
}

/* Sums of float32 terms need no low part: float64 is wide enough. */
INLINE void accumulate_f32(f64x8 *sum, f64x8 *low, f64x8 term)
{
    (void)low;
    *sum = add_f64(*sum, term);
}

INLINE void add_terms_f32(f64x8 *sum, f64x8 *low, f32x16 term)
{
    (void)low;
    sum[0] = add_f64(sum[0], widen_f32(term, 0));
    sum[1] = add_f64(sum[1], widen_f32(term, 1));
}

INLINE void add_product(struct double_double *sum, f64x8 product, int cancels)
{
    if (cancels)
        accumulate_f64(&sum->high, &sum->low, product);
    else
        add_terms_f64(&sum->high, &sum->low, product);
}

/* A sum over the classes of a row in eight lanes of twice the precision. */
INLINE void add_term(struct double_double *sum, f64x8 term, f64x8 term_low)
{
    accumulate_f64(&sum->high, &sum->low, term);
    sum->low = add_f64(sum->low, term_low);
}

/* a * value and its rounding error; both 0 where a is, even if the value is infinite. */
INLINE void add_weighted(struct double_double *sum, f64x8 a, f64x8 value)
{
    f64x8 zero = set_f64(0), product = mul_f64(a, value), low = fma_f64(a, value, sub_f64(zero, product));
    i64x8 absent = equal_f64(a, zero), finite = less_f64(abs_f64(product), set_f64(INFINITY));
    add_term(sum, choose_f64(absent, zero, product), choose_f64(absent, zero, choose_f64(finite, low, zero)));
}

INLINE f64x8 rounded(struct double_double sum)
{
    return choose_f64(less_f64(abs_f64(sum.high), set_f64(INFINITY)), add_f64(sum.high, sum.low), sum.high);
}

/* a + b + low with what rounding leaves, for a >= 0 and b >= 0; inf where a or b is. */
INLINE f64x8 add_wide(f64x8 a, f64x8 b, f64x8 low, f64x8 *rest)
{
    f64x8 error, high = two_sum(a, b, &error), sum = fast_two_sum(high, add_f64(error, low), rest);
    i64x8 finite = less_f64(high, set_f64(INFINITY));
    *rest = choose_f64(finite, *rest, set_f64(0));
    return choose_f64(finite, sum, high);
}

/* 1 / (x + low), rounded about once. */
INLINE f64x8 inverse_of(f64x8 x, f64x8 low)
{
    f64x8 one = set_f64(1), inverse = div_f64(one, x);
    return fma_f64(inverse, fnma_f64(inverse, low, fnma_f64(inverse, x, one)), inverse);
}

#endif
