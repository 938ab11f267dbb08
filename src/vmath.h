/* C layer: exp, expm1 and log on the vectors of vec.h. No libm: the same bits on every machine.
 *
 * The coefficients and the split constants come from tools/derive_constants.py. tests/test_vmath.py measures the errors
 * stated here again on every instruction set; "u" is half a unit in the last place of 1.
 */
#ifndef XENTC_VMATH_H
#define XENTC_VMATH_H

#include "vec.h"

#define LOG2E 0x1.71547652b82fep+0

/* exp(x) = 2^n (1 + t), n = round(x / ln 2), t = expm1(x - n ln 2), |x - n ln 2| <= 0.3467.
 *
 * Adding `magic` = 1.5 * 2^MANTISSA + index to x / ln 2 leaves n + index in the low bits of the sum; shifted into the
 * exponent field they are the factor 2^(n + index - bias). The caller chooses the index: with it he scales the results
 * by any power of two for free, so none overflows or is lost. Index 0 is the factor 0, and `lowest` = -index * ln 2 is the
 * argument that gives it: -inf and all that is too small to matter end there.
 *
 * ln 2 is split so that n * LN2_HIGH is exact for every |n| < 2^9 (float32) or 2^12 (float64): the reduction is exact but
 * for one rounding of its low part. (expm1(r) - r) / r^2 is a minimax polynomial.
 */
#define MANTISSA_f64 52
#define MAGIC_f64 0x1.8p52
#define EXPONENT_BIAS_f64 1023
#define LN2_HIGH_f64 0x1.62e42fefa3p-1        /* 41 bits */
#define LN2_LOW_f64 0x1.3de6af278ece6p-42
#define EXP_TERMS_f64 10                      /* error 2^-56.3 of exp */
static const double EXP_f64[EXP_TERMS_f64] = {
    0x1.000000000000ap-1, 0x1.55555555554f9p-3, 0x1.555555555083fp-5, 0x1.1111111127d07p-7, 0x1.6c16c18438972p-10,
    0x1.a01a012a119e1p-13, 0x1.a01999e2a73d9p-16, 0x1.71df25adaf96cp-19, 0x1.28ad9b479b0fep-22, 0x1.ad7f47409cf8dp-26};

#define MANTISSA_f32 23
#define MAGIC_f32 0x1.8p23f
#define EXPONENT_BIAS_f32 127
#define LN2_HIGH_f32 0x1.62e4p-1f             /* 15 bits */
#define LN2_LOW_f32 0x1.7f7d1cp-20f
#define EXP_TERMS_f32 5                       /* error 2^-28.0 of exp */
static const float EXP_f32[EXP_TERMS_f32] = {
    0x1.fffffcp-2f, 0x1.555492p-3f, 0x1.5558f2p-5f, 0x1.123a2p-7f, 0x1.6a23cep-10f};

/* Error of exp: 1.5 u (float64), 1.7 u (float32); of all float32 arguments of the range, and a dense float64 grid. */
#define DEFINE_EXP(T, C, V)                                                                                        \
    INLINE V exp_tail_##T(V r)                                                                                     \
    {                                                                                                              \
        V q = set_##T(EXP_##T[EXP_TERMS_##T - 1]);                                                                 \
        for (int i = EXP_TERMS_##T - 2; i >= 0; i--)                                                               \
            q = fma_##T(q, r, set_##T(EXP_##T[i]));                                                                \
        return q;                                                                                                  \
    }                                                                                                              \
    INLINE V exp_##T(V x, V magic, V lowest)                                                                       \
    {                                                                                                              \
        x = max_##T(lowest, x);                                                                                    \
        V z = fma_##T(x, set_##T((C)LOG2E), magic), n = sub_##T(z, magic);                                         \
        V r = fnma_##T(n, set_##T(LN2_LOW_##T), fnma_##T(n, set_##T(LN2_HIGH_##T), x));                            \
        V t = fma_##T(mul_##T(r, r), exp_tail_##T(r), r);                                                          \
        V factor = from_bits_##T(shift_left_##T(bits_##T(z), MANTISSA_##T));                                       \
        return fma_##T(factor, t, factor);                                                                         \
    }

DEFINE_EXP(f64, double, f64x8)
DEFINE_EXP(f32, float, f32x16)

INLINE f64x8 lowest_f64(f64x8 index)
{
    return mul_f64(index, set_f64(-0x1.62e42fefa39efp-1));
}

/* The parts of exp: 2^(n + index - bias) and t = high + low, right to 0.1 u. */
INLINE f64x8 exp_parts(f64x8 x, f64x8 index, f64x8 *high, f64x8 *low)
{
    f64x8 magic = add_f64(set_f64(MAGIC_f64), index);
    x = max_f64(lowest_f64(index), x);
    f64x8 z = fma_f64(x, set_f64(LOG2E), magic), n = sub_f64(z, magic);
    f64x8 exact = fnma_f64(n, set_f64(LN2_HIGH_f64), x), r = fnma_f64(n, set_f64(LN2_LOW_f64), exact);
    f64x8 r_low = fnma_f64(n, set_f64(LN2_LOW_f64), sub_f64(exact, r));
    *high = fast_two_sum(r, fma_f64(mul_f64(r, r), exp_tail_f64(r), r_low), low);
    return from_bits_f64(shift_left_f64(bits_f64(z), MANTISSA_f64));
}

/* exp(x) * 2^(index - bias) as high + low, right to 0.1 u. */
INLINE f64x8 exp_wide(f64x8 x, f64x8 index, f64x8 *low)
{
    f64x8 t, t_low, factor = exp_parts(x, index, &t, &t_low);
    f64x8 high = fast_two_sum(set_f64(1), t, low);
    *low = mul_f64(add_f64(*low, t_low), factor);
    return mul_f64(high, factor);
}

/* expm1 on [-inf, 700]: 2^n t + (2^n - 1), where 2^n - 1 is exact while it matters. Below -40 it is -1. Error 1.6 u. */
INLINE f64x8 expm1_f64(f64x8 x)
{
    f64x8 t, t_low, factor = exp_parts(max_f64(set_f64(-40), x), set_f64(EXPONENT_BIAS_f64), &t, &t_low);
    return fma_f64(factor, t, sub_f64(factor, set_f64(1)));
}

/* log(x + x_low) as high + low for a normal x > 0 and |x_low| <= ulp(x); a NaN stays one, inf becomes one.
 *
 * x = 2^k f with f in [sqrt(1/2), sqrt(2)), s = f - 1 (exact), z = s / (2 + s), and
 * log(f) = 2 atanh(z) = s - (s^2 / 2 - z (s^2 / 2 + R)), R = z^2 P(z^2) with a minimax P (error 2^-57.9 of z R; the form is
 * fdlibm's). The large terms k ln2 + s are added exactly, and s^2 / 2 keeps its low part. Error of high + low: 0.4 u;
 * rounded to one float64: 1.4 u. log1p(r) is the log of 1 + r with its rounding error as x_low.
 */
static const double LOG_f64[7] = {0x1.5555555555593p-1, 0x1.999999997fc75p-2, 0x1.24924942045e2p-2, 0x1.c71c51f8adfc5p-3,
                                  0x1.74664289e6c8bp-3, 0x1.39a157e62eab1p-3, 0x1.2f0978f0912cep-3};

/* x = 2^exponent * (a value in [sqrt(1/2), sqrt(2))); the value is returned. */
INLINE f64x8 split_exponent(f64x8 x, f64x8 *exponent)
{
    typedef uint64_t u64_register __attribute__((vector_size(WIDTH)));
    const uint64_t root_half = 0x3fe6a09e667f3bcd, magic_bits = 0x4338000000000000;   /* of 1.5 * 2^52 */
    i64x8 b = bits_f64(x), k;
    EACH_REGISTER {
        u64_register biased = ((u64_register)b.r[i] - root_half + ((uint64_t)1024 << 52)) >> 52;   /* k + 1024 */
        b.r[i] -= (i64_register)((biased - 1024) << 52);
        k.r[i] = (i64_register)(biased + (magic_bits - 1024));
    }
    *exponent = sub_f64(from_bits_f64(k), set_f64(MAGIC_f64));
    return from_bits_f64(b);
}

/* 2^n for an integral n in [-1022, 1023]. */
INLINE f64x8 power_of_two(f64x8 n)
{
    return from_bits_f64(shift_left_f64(bits_f64(add_f64(n, set_f64(MAGIC_f64 + EXPONENT_BIAS_f64))), MANTISSA_f64));
}

INLINE f64x8 log_wide(f64x8 x, f64x8 x_low, f64x8 *low)
{
    f64x8 k, f = split_exponent(x, &k), s = sub_f64(f, set_f64(1));
    f64x8 s_low = div_f64(mul_f64(x_low, power_of_two(sub_f64(set_f64(0), k))), f);
    f64x8 z = div_f64(s, add_f64(set_f64(2), s)), w = mul_f64(z, z), p = set_f64(LOG_f64[6]);
    for (int i = 5; i >= 0; i--)
        p = fma_f64(p, w, set_f64(LOG_f64[i]));
    f64x8 half_s = mul_f64(set_f64(0.5), s), half = mul_f64(half_s, s);
    f64x8 half_low = fma_f64(half_s, s, sub_f64(set_f64(0), half));
    f64x8 high, rest, bend = mul_f64(z, fma_f64(w, p, half));
    high = fast_two_sum(mul_f64(k, set_f64(LN2_HIGH_f64)), s, &rest);
    rest = add_f64(rest, fma_f64(k, set_f64(LN2_LOW_f64), sub_f64(s_low, half_low)));
    rest = sub_f64(rest, sub_f64(half, bend));
    high = fast_two_sum(high, add_f64(rest, sub_f64(x, x)), low);   /* x - x: 0, or NaN */
    return high;
}

/* log(1 + r + r_low) for r >= 0 or r in (-1, 0). */
INLINE f64x8 log1p_wide(f64x8 r, f64x8 r_low, f64x8 *low)
{
    f64x8 x_low, x = two_sum(set_f64(1), r, &x_low);
    return log_wide(x, add_f64(x_low, r_low), low);
}

#endif
