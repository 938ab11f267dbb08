/* C layer: the softmax of rows of one element type from their pairs. */
#ifndef TYPE
#error "instantiated by simd/instantiate.h"
#endif

/* Factors of the softmax of a row, times slope and scale:
 *
 *     softmax_j * slope * scale = exp(x_j - c) 2^(index - bias) * fraction
 *
 * plain, nearly always: c and index are those of the row's sum, so that the exponential may have been cached there, and
 * fraction = slope * scale / total. Otherwise that fraction would be subnormal or so large that exponentials lost in the sum
 * would count: then the index takes over its power of two. The bits are the same either way. */
struct TYPED(softmax_factors) {
    double c[BLOCK], magic[BLOCK], lowest[BLOCK], fraction[BLOCK], inverse[BLOCK];       /* inverse: of the total */
    char plain[BLOCK / 8];
};

INLINE void TYPED(set_softmax_factors)(const struct pairs *pairs, int n_rows, struct derivative of,
                                       struct TYPED(softmax_factors) *softmax_factors)
{
    const f64x8 zero = set_f64(0), near_index = set_f64(TYPED(EXPONENT_BIAS) + TYPED(MIDDLE));
    for (int i = 0; i < n_rows; i += 8) {
        int n = at_most_8(n_rows - i);
        f64x8 m = load_part_f64(pairs->m + i, n, 0), low, total = total_of(pairs, i, n, &low);
        f64x8 inverse = inverse_of(total, low), c = zero, index = near_index;
        f64x8 weight = mul_f64(load_part_f64(of.slope + i, n, 0), load_part_f64(of.scale + i, n, 0));
        f64x8 fraction = mul_f64(weight, inverse), size = abs_f64(fraction);
        i64x8 usual = less_f64(size, set_f64(TYPED(MOST_FRACTION))), far = less_f64(set_f64(TYPED(NEAR)), abs_f64(m));
        i64x8 small = less_f64(size, set_f64(TYPED(LEAST_FRACTION))), none = equal_f64(weight, zero);
        EACH_REGISTER usual.r[i] &= ~far.r[i] & (~small.r[i] | none.r[i]);
        softmax_factors->plain[i / 8] = (char)all_f64(usual);
        store_part_f64(softmax_factors->inverse + i, n, inverse);
        if (!softmax_factors->plain[i / 8]) {
            f64x8 exponent, power, rest = mul_f64(weight, split_exponent(inverse, &exponent));
            split_exponent(abs_f64(rest), &power);
            power = max_f64(min_f64(power, set_f64(TYPED(MOST_POWER))), set_f64(-1000));
            fraction = mul_f64(mul_f64(rest, power_of_two(sub_f64(zero, power))), power_of_two(set_f64(-TYPED(GUARD))));
            c = TYPED(centre)(m);
            index = add_f64(add_f64(power, TYPED(index)(m)), add_f64(exponent, set_f64(TYPED(GUARD))));
        }
        store_part_f64(softmax_factors->c + i, n, c);
        store_part_f64(softmax_factors->magic + i, n, add_f64(set_f64(TYPED(MAGIC)), index));
        store_part_f64(softmax_factors->lowest + i, n, lowest_f64(index));
        store_part_f64(softmax_factors->fraction + i, n, fraction);
    }
}

/* The same in the logits' type, for one row in all lanes, or for a row a lane. */
struct TYPED(lane_factors) {
    VECTOR c, magic, lowest, fraction;
};

INLINE struct TYPED(lane_factors) TYPED(factors_of_row)(const struct TYPED(softmax_factors) *softmax_factors, int i)
{
    return (struct TYPED(lane_factors)){TYPED(set)((REAL)softmax_factors->c[i]), TYPED(set)((REAL)softmax_factors->magic[i]),
                                        TYPED(set)((REAL)softmax_factors->lowest[i]),
                                        TYPED(set)((REAL)softmax_factors->fraction[i])};
}

INLINE struct TYPED(lane_factors) TYPED(factors_of_rows)(const struct TYPED(softmax_factors) *softmax_factors, int i)
{
    return (struct TYPED(lane_factors)){TYPED(narrow)(softmax_factors->c + i), TYPED(narrow)(softmax_factors->magic + i),
                                        TYPED(narrow)(softmax_factors->lowest + i),
                                        TYPED(narrow)(softmax_factors->fraction + i)};
}

INLINE VECTOR TYPED(scaled_softmax)(VECTOR x, const struct TYPED(lane_factors) *of)
{
    return TYPED(mul)(TYPED(exp)(TYPED(sub)(x, of->c), of->magic, of->lowest), of->fraction);
}

/* Whether rows lie side by side, in the result too. Codes are compared as C. */
INLINE int TYPED(goes_across)(struct source x, struct sink out, const struct class_target *target, ptrdiff_t n_classes)
{
    return !target && TYPED(side_by_side)(x) && out.row_stride == sizeof(REAL) && out.element == TYPED(ELEMENT) &&
           n_classes <= most_classes(CODES_AS_FLOATS, sizeof(REAL));
}
