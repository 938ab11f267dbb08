/* C layer: the softmax of rows of one element type from their pairs. */
#ifndef TYPE
#error "instantiated by simd/instantiate.h"
#endif

/* Factors of the softmax of a row, times slope and scale:
 *
 *     softmax_j * slope * scale = exp(x_j - c) 2^(index - bias) * fraction
 *
 * plain, nearly always: c = 0 and the index are those of the row's sum, so that the exponential may have been cached there,
 * and fraction = slope * scale / total. Otherwise that fraction would be subnormal or so large that exponentials lost in the
 * sum would count: then the index takes over its power of two. The bits are the same either way. */
struct TYPED(softmax_factors) {
    double fraction[BLOCK], inverse[BLOCK];       /* inverse: of the total */
    char plain[BLOCK / LANES];                    /* of LANES rows */
    double c[BLOCK], index[BLOCK];                /* of others */
};

/* Of eight rows: whether their factors are plain, and these. */
INLINE int TYPED(plain_factors)(const struct pairs *pairs, int i, int n, struct derivative of,
                                struct TYPED(softmax_factors) *factors)
{
    const f64x8 zero = set_f64(0);
    f64x8 low, total = total_of(pairs, i, n, &low), inverse = inverse_of(total, low), m = load_part_f64(pairs->m + i, n, 0);
    f64x8 weight = mul_f64(load_part_f64(of.slope + i, n, 0), load_part_f64(of.scale + i, n, 0));
    f64x8 fraction = mul_f64(weight, inverse), size = abs_f64(fraction);
    i64x8 usual = less_f64(size, set_f64(TYPED(MOST_FRACTION))), far = less_f64(set_f64(TYPED(NEAR)), abs_f64(m));
    i64x8 small = less_f64(size, set_f64(TYPED(LEAST_FRACTION))), none = equal_f64(weight, zero);
    EACH_REGISTER usual.r[i] &= ~far.r[i] & (~small.r[i] | none.r[i]);
    store_f64(factors->inverse + i, inverse);
    store_f64(factors->fraction + i, fraction);
    return all_f64(usual);
}

/* The same for any factors. */
OUTLINE void TYPED(other_factors)(const struct pairs *pairs, int i, int n, struct derivative of,
                                  struct TYPED(softmax_factors) *factors)
{
    const f64x8 zero = set_f64(0);
    f64x8 exponent, power, m = load_part_f64(pairs->m + i, n, 0);
    f64x8 weight = mul_f64(load_part_f64(of.slope + i, n, 0), load_part_f64(of.scale + i, n, 0));
    f64x8 rest = mul_f64(weight, split_exponent(load_f64(factors->inverse + i), &exponent));
    split_exponent(abs_f64(rest), &power);
    power = max_f64(min_f64(power, set_f64(TYPED(MOST_POWER))), set_f64(-1000));
    rest = mul_f64(mul_f64(rest, power_of_two(sub_f64(zero, power))), power_of_two(set_f64(-TYPED(GUARD))));
    store_f64(factors->fraction + i, rest);
    store_f64(factors->c + i, TYPED(centre)(m));
    store_f64(factors->index + i, add_f64(add_f64(power, TYPED(index)(m)), add_f64(exponent, set_f64(TYPED(GUARD)))));
}

INLINE void TYPED(set_softmax_factors)(const struct pairs *pairs, int n_rows, struct derivative of,
                                       struct TYPED(softmax_factors) *factors)
{
    for (int first = 0; first < n_rows; first += LANES) {
        int plain = 1;
        for (int i = first; i < first + LANES && i < n_rows; i += 8)
            plain &= TYPED(plain_factors)(pairs, i, at_most_8(n_rows - i), of, factors);
        factors->plain[first / LANES] = (char)plain;
        for (int i = first; !plain && i < first + LANES && i < n_rows; i += 8)
            TYPED(other_factors)(pairs, i, at_most_8(n_rows - i), of, factors);
    }
}

/* The same in the logits' type, for one row in all lanes, or for a row a lane. */
struct TYPED(lane_factors) {
    struct TYPED(lane_scaling) scaling;
    VECTOR fraction;
};

INLINE struct TYPED(lane_factors) TYPED(factors_of_rows)(const struct TYPED(softmax_factors) *factors, int i)
{
    struct TYPED(lane_factors) rows = {TYPED(near_scaling)(), TYPED(narrow)(factors->fraction + i)};
    if (!factors->plain[i / LANES]) {
        double magic[LANES], lowest[LANES];
        for (int h = 0; h < LANES; h += 8) {
            f64x8 index = load_f64(factors->index + i + h);
            store_f64(magic + h, add_f64(set_f64(TYPED(MAGIC)), index));
            store_f64(lowest + h, lowest_f64(index));
        }
        rows.scaling = (struct TYPED(lane_scaling)){TYPED(narrow)(factors->c + i), TYPED(narrow)(magic), TYPED(narrow)(lowest)};
    }
    return rows;
}

INLINE struct TYPED(lane_factors) TYPED(factors_of_row)(const struct TYPED(softmax_factors) *factors, int i)
{
    struct TYPED(lane_factors) row = {TYPED(near_scaling)(), TYPED(set)((REAL)factors->fraction[i])};
    if (!factors->plain[i / LANES]) {
        double index = factors->index[i];
        row.scaling = (struct TYPED(lane_scaling)){TYPED(set)((REAL)factors->c[i]), TYPED(set)((REAL)(TYPED(MAGIC) + index)),
                                                   TYPED(set)((REAL)(index * -0x1.62e42fefa39efp-1))};
    }
    return row;
}

INLINE VECTOR TYPED(scaled_softmax)(VECTOR x, const struct TYPED(lane_factors) *of)
{
    VECTOR exponential = TYPED(exp)(TYPED(sub)(x, of->scaling.c), of->scaling.magic, of->scaling.lowest);
    return TYPED(mul)(exponential, of->fraction);
}

/* Whether rows lie side by side, in the result too. Codes are compared as C. */
INLINE int TYPED(goes_across)(struct source x, struct sink out, const struct class_target *target, ptrdiff_t n_classes)
{
    return !target && TYPED(side_by_side)(x) && out.row_stride == sizeof(REAL) && out.element == TYPED(ELEMENT) &&
           n_classes <= most_classes(CODES_AS_FLOATS, sizeof(REAL));
}
