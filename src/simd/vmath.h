/* C layer: exp, expm1 and log on vectors. No libm: the same bits on every machine.
 *
 * The coefficients and the split constants come from tools/derive_constants.py. tests/test_vmath.py measures the errors
 * stated here again on every instruction set; "u" is half a unit in the last place of 1.
 */
#ifndef XENTC_SIMD_VMATH_H
#define XENTC_SIMD_VMATH_H

#include "simd/double_double.h"
#include "simd/vec.h"

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

/* Error of exp: 1.5 u (float64), 1.7 u (float32); of all float32 arguments of the range, and a dense float64 grid.
 *
 * exps takes n <= 2 vectors through it step by step: one alone would wait for its own results. low: of the arguments, below
 * an ulp of them, or NULL. */
#define DEFINE_EXP(T, C, V)                                                                                        \
    INLINE void exp_tails_##T(int n, const V *r, V *q)                                                             \
    {                                                                                                              \
        for (int k = 0; k < n; k++)                                                                                \
            q[k] = set_##T(EXP_##T[EXP_TERMS_##T - 1]);                                                            \
        for (int i = EXP_TERMS_##T - 2; i >= 0; i--)                                                               \
            for (int k = 0; k < n; k++)                                                                            \
                q[k] = fma_##T(q[k], r[k], set_##T(EXP_##T[i]));                                                   \
    }                                                                                                              \
    INLINE void exps_##T(int n, V *x, const V *low, V magic, V lowest)                                             \
    {                                                                                                              \
        V z[2], r[2], q[2];                                                                                        \
        for (int k = 0; k < n; k++)                                                                                \
            x[k] = max_##T(lowest, x[k]);                                                                          \
        for (int k = 0; k < n; k++)                                                                                \
            z[k] = fma_##T(x[k], set_##T((C)LOG2E), magic);                                                        \
        for (int k = 0; k < n; k++)                                                                                \
            q[k] = sub_##T(z[k], magic);                                                                           \
        for (int k = 0; k < n; k++)                                                                                \
            r[k] = fnma_##T(q[k], set_##T(LN2_HIGH_##T), x[k]);                                                    \
        for (int k = 0; k < n; k++)                                                                                \
            r[k] = fnma_##T(q[k], set_##T(LN2_LOW_##T), r[k]);                                                     \
        for (int k = 0; low && k < n; k++)                                                                         \
            r[k] = add_##T(r[k], low[k]);                                                                          \
        exp_tails_##T(n, r, q);                                                                                    \
        for (int k = 0; k < n; k++) {                                                                              \
            V t = fma_##T(mul_##T(r[k], r[k]), q[k], r[k]);                                                        \
            V factor = from_bits_##T(shift_left_##T(bits_##T(z[k]), MANTISSA_##T));                                \
            x[k] = fma_##T(factor, t, factor);                                                                     \
        }                                                                                                          \
    }                                                                                                              \
    INLINE V exp_##T(V x, V magic, V lowest)                                                                       \
    {                                                                                                              \
        exps_##T(1, &x, NULL, magic, lowest);                                                                      \
        return x;                                                                                                  \
    }

DEFINE_EXP(f64, double, f64x8)
DEFINE_EXP(f32, float, f32x16)

INLINE f64x8 lowest_f64(f64x8 index)
{
    return mul_f64(index, set_f64(-0x1.62e42fefa39efp-1));
}

/* exp(x) * 2^(index - bias) right to 2^-28, for float32 results. */
INLINE f64x8 exp_short(f64x8 x, f64x8 index)
{
    f64x8 magic = add_f64(set_f64(MAGIC_f64), index), q = set_f64(EXP_f32[EXP_TERMS_f32 - 1]);
    x = max_f64(lowest_f64(index), x);
    f64x8 z = fma_f64(x, set_f64(LOG2E), magic), r = fnma_f64(sub_f64(z, magic), set_f64(0x1.62e42fefa39efp-1), x);
    for (int i = EXP_TERMS_f32 - 2; i >= 0; i--)
        q = fma_f64(q, r, set_f64(EXP_f32[i]));
    f64x8 factor = from_bits_f64(shift_left_f64(bits_f64(z), MANTISSA_f64));
    return fma_f64(factor, fma_f64(mul_f64(r, r), q, r), factor);
}

/* The parts of exp: 2^(n + index - bias) and t = high + low, right to 0.1 u. */
INLINE f64x8 exp_parts(f64x8 x, f64x8 index, f64x8 *high, f64x8 *low)
{
    f64x8 magic = add_f64(set_f64(MAGIC_f64), index);
    x = max_f64(lowest_f64(index), x);
    f64x8 z = fma_f64(x, set_f64(LOG2E), magic), n = sub_f64(z, magic);
    f64x8 exact = fnma_f64(n, set_f64(LN2_HIGH_f64), x), r = fnma_f64(n, set_f64(LN2_LOW_f64), exact);
    f64x8 r_low = fnma_f64(n, set_f64(LN2_LOW_f64), sub_f64(exact, r));
    f64x8 tail;
    exp_tails_f64(1, &r, &tail);
    *high = fast_two_sum(r, fma_f64(mul_f64(r, r), tail, r_low), low);
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

/* log(2^k w / e) as high + low from w - e and w + e, each with a low part, for w / e in [0.66, 1.51].
 *
 * y = 2 (w - e) / (w + e) with its low part, from one division; log = k ln2 + 2 atanh(y / 2), and 2 atanh(y / 2) = y + y t
 * P(t) with t = y^2 and a minimax P (error 2^-61.1 of y). Error of high + low: 0.1 u; rounded to one float64: 1.1 u.
 */
static const double LOG_f64[8] = {0x1.555555555554fp-4, 0x1.999999999c225p-7, 0x1.24924921da9fcp-9, 0x1.c71c7497ff3acp-12,
                                  0x1.745c48fb927e5p-14, 0x1.3b35fc9cede24p-16, 0x1.0dc7bb66053f6p-18, 0x1.1b9b3d7465e04p-20};

INLINE f64x8 log_quotient(f64x8 k, f64x8 difference, f64x8 difference_low, f64x8 sum, f64x8 sum_low, f64x8 *low)
{
    difference = fast_two_sum(difference, difference_low, &difference_low);
    f64x8 inverse = div_f64(set_f64(2), sum), y = mul_f64(difference, inverse), half_y = mul_f64(set_f64(0.5), y);
    f64x8 missing = add_f64(fnma_f64(half_y, sum, difference), fnma_f64(half_y, sum_low, difference_low));
    f64x8 y_low = mul_f64(missing, inverse), t = mul_f64(y, y), p = set_f64(LOG_f64[7]);
    for (int i = 6; i >= 0; i--)
        p = fma_f64(p, t, set_f64(LOG_f64[i]));
    y_low = fma_f64(y_low, mul_f64(half_y, half_y), y_low);      /* the slope is 1 / (1 - y^2 / 4) */
    f64x8 rest, high = fast_two_sum(mul_f64(k, set_f64(LN2_HIGH_f64)), y, &rest);
    rest = add_f64(rest, fma_f64(k, set_f64(LN2_LOW_f64), fma_f64(mul_f64(y, t), p, y_low)));
    return fast_two_sum(high, rest, low);
}

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

/* log(x + x_low) as high + low for a normal x > 0 and |x_low| <= ulp(x); a NaN stays one, inf becomes one. */
INLINE f64x8 log_wide(f64x8 x, f64x8 x_low, f64x8 *low)
{
    f64x8 k, f = split_exponent(x, &k), one = set_f64(1), f_low = mul_f64(x_low, power_of_two(sub_f64(set_f64(0), k)));
    f64x8 sum_low, sum = two_sum(f, one, &sum_low);
    f64x8 high = log_quotient(k, sub_f64(f, one), f_low, sum, add_f64(sum_low, f_low), low);
    *low = add_f64(*low, sub_f64(x, x));
    return high;
}

/* 2^-k and k, with v / (2^k e) in [0.66, 1.51] for v >= e: the logarithms of floats are their bits, but for 0.09. */
INLINE f64x8 quotient_exponent(f64x8 v, f64x8 e, f64x8 *k)
{
    i64x8 n = bits_f64(v), bits = bits_f64(e), power;
    EACH_REGISTER {
        n.r[i] = (n.r[i] - bits.r[i] + ((int64_t)1 << 51)) >> 52;
        power.r[i] = (1023 - n.r[i]) << 52;
        n.r[i] += 0x4338000000000000;             /* the bits of 1.5 * 2^52 */
    }
    *k = sub_f64(from_bits_f64(n), set_f64(MAGIC_f64));
    return from_bits_f64(power);
}

/* log(1 + (sum + sum_low) / (e + e_low)) as high + low, for sum >= 0, whatever their scale. */
INLINE f64x8 log1p_wide(f64x8 sum, f64x8 sum_low, f64x8 e, f64x8 e_low, f64x8 *low)
{
    f64x8 v_low, v = two_sum(e, sum, &v_low), k, power = quotient_exponent(v, e, &k), w = mul_f64(v, power), whole_low;
    f64x8 w_low = mul_f64(add_f64(v_low, sum_low), power), whole = two_sum(w, e, &whole_low);
    f64x8 difference_low = fma_f64(e_low, sub_f64(power, set_f64(1)), w_low);       /* without e_low, where sum is far below it */
    whole_low = add_f64(whole_low, fma_f64(e_low, add_f64(power, set_f64(1)), w_low));
    return log_quotient(k, sub_f64(w, e), difference_low, whole, whole_low, low);
}

/* The same right to 2^-35, for float32 results. With s = sum / 2^k: y = 2 (s - (1 - 2^-k) e) / (s + (1 + 2^-k) e). */
static const double LOG_SHORT[4] = {0x1.5555541d6948fp-4, 0x1.999be2a1936a2p-7, 0x1.23e84830c5b0dp-9, 0x1.edb4889f993fap-12};

INLINE f64x8 log_quotient_short(f64x8 k, f64x8 difference, f64x8 sum)
{
    f64x8 y = div_f64(add_f64(difference, difference), sum), t = mul_f64(y, y), p = set_f64(LOG_SHORT[3]);
    for (int i = 2; i >= 0; i--)
        p = fma_f64(p, t, set_f64(LOG_SHORT[i]));
    return fma_f64(k, set_f64(0x1.62e42fefa39efp-1), fma_f64(mul_f64(y, t), p, y));
}

INLINE f64x8 log1p_short(f64x8 sum, f64x8 e)
{
    f64x8 k, one = set_f64(1), power = quotient_exponent(add_f64(e, sum), e, &k), s = mul_f64(sum, power);
    return log_quotient_short(k, fma_f64(e, sub_f64(power, one), s), fma_f64(e, add_f64(power, one), s));
}

/* log(x + x_low) for a normal x > 0 and |x_low| <= ulp(x) / 2: that only counts near 1. */
INLINE f64x8 log_short(f64x8 x, f64x8 x_low)
{
    f64x8 k, f = split_exponent(x, &k), one = set_f64(1);
    return log_quotient_short(k, add_f64(sub_f64(f, one), x_low), add_f64(f, one));
}

/* log(x) for a normal x > 0; a NaN stays one. Error 1.5 u.
 *
 * x = 2^k (1 + g), and with y = 2 g / (2 + g) and P as above log(1 + g) = g - y (g / 2 - y^2 P(y^2)). */
INLINE f64x8 log_f64(f64x8 x)
{
    f64x8 k, one = set_f64(1), g = sub_f64(split_exponent(x, &k), one), half = mul_f64(set_f64(0.5), g);
    f64x8 y = div_f64(g, add_f64(one, half)), t = mul_f64(y, y), p = set_f64(LOG_f64[7]);
    for (int i = 6; i >= 0; i--)
        p = fma_f64(p, t, set_f64(LOG_f64[i]));
    f64x8 rest = fnma_f64(y, fnma_f64(t, p, half), fma_f64(k, set_f64(LN2_LOW_f64), sub_f64(x, x)));
    return fma_f64(k, set_f64(LN2_HIGH_f64), add_f64(g, rest));
}

/* The same for float32: log(1 + g) = g + g^2 Q(g), with a minimax Q (error 2^-27.5 of log). Error 1.4 u. */
static const float LOG_f32[9] = {-0x1.fffff8p-2f, 0x1.55555p-2f, -0x1.000426p-2f, 0x1.99a3f4p-3f, -0x1.54276ep-3f,
                                 0x1.22719ap-3f, -0x1.0f375ap-3f, 0x1.08486ep-3f, -0x1.383076p-4f};

INLINE f32x16 log_f32(f32x16 x)
{
    const int32_t root_half = 0x3f3504f3, magic_bits = 0x4b400000;       /* of sqrt(1/2), and of 1.5 * 2^23 */
    i32x16 b = bits_f32(x), k;
    EACH_REGISTER {
        k.r[i] = (b.r[i] - root_half) >> 23;
        b.r[i] -= k.r[i] << 23;
        k.r[i] += magic_bits;
    }
    f32x16 n = sub_f32(from_bits_f32(k), set_f32(MAGIC_f32)), g = sub_f32(from_bits_f32(b), set_f32(1));
    f32x16 q = set_f32(LOG_f32[8]);
    for (int i = 7; i >= 0; i--)
        q = fma_f32(q, g, set_f32(LOG_f32[i]));
    f32x16 rest = fma_f32(mul_f32(g, g), q, fma_f32(n, set_f32(LN2_LOW_f32), sub_f32(x, x)));
    return fma_f32(n, set_f32(LN2_HIGH_f32), add_f32(g, rest));
}

/* log1p(r) for r in [0, 1] as r + r^2 times a polynomial, no division (its error is 2^-27.5 of log1p). Error 1.9 u. */
static const float LOG1P_f32[9] = {-0x1.ffffd2p-2f, 0x1.554ddp-2f, -0x1.ff23e6p-3f, 0x1.934b54p-3f, -0x1.3a436p-3f,
                                   0x1.b4adecp-4f, -0x1.d6af7cp-5f, 0x1.49150ep-6f, -0x1.af40ccp-9f};

INLINE f32x16 log1p_of_unit(f32x16 r)
{
    f32x16 p = set_f32(LOG1P_f32[8]);
    for (int i = 7; i >= 0; i--)
        p = fma_f32(p, r, set_f32(LOG1P_f32[i]));
    return fma_f32(mul_f32(r, r), p, r);
}

#endif
