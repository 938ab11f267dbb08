/* C layer: the diagonal of the Hessian, class by class. */
#ifndef TYPE
#error "instantiated by simd/instantiate.h"
#endif

/* What the curvature of a row in all lanes, or of a row a lane, takes: the factors with and without slope and scale, and the
 * largest logit with its result. */
struct TYPED(curvature_terms) {
    struct TYPED(lane_factors) slope, plain;
    VECTOR m, of_largest;
};

/* slope p (1 - p) for all but the largest class: p is at most 1/2, and nothing cancels. */
INLINE VECTOR TYPED(curvature)(const void *terms, ptrdiff_t j, int n_valid, VECTOR x)
{
    const struct TYPED(curvature_terms) *of = terms;
    (void)j, (void)n_valid;
    VECTOR p = TYPED(scaled_softmax)(x, &of->plain), slope = TYPED(scaled_softmax)(x, &of->slope);
    return TYPED(choose)(TYPED(equal)(x, of->m), of->of_largest, TYPED(fnma)(slope, p, slope));
}

static void TYPED(hessian)(struct source x, struct sink out, int n_rows, ptrdiff_t n_classes, const struct pairs *pairs,
                           struct derivative of)
{
    struct TYPED(softmax_factors) softmax_factors, plain;
    double of_largest[BLOCK], ones[BLOCK];
    for (int i = 0; i < n_rows; i += 8) {
        int n = at_most_8(n_rows - i);
        f64x8 low, total = total_of(pairs, i, n, &low), inverse = inverse_of(total, low), zero = set_f64(0);
        f64x8 e = load_part_f64(pairs->e + i, n, 1), sum = load_part_f64(pairs->sum + i, n, 0);
        f64x8 p = mul_f64(e, inverse), q = mul_f64(sum, inverse), product = mul_f64(p, q);
        /* What rounding took from p, q and p q, and twice from the inverse. */
        f64x8 p_low = fma_f64(e, inverse, sub_f64(zero, p)), q_low = fma_f64(sum, inverse, sub_f64(zero, q));
        f64x8 missing = fnma_f64(inverse, low, fnma_f64(inverse, total, set_f64(1)));
        f64x8 rest = fma_f64(product, add_f64(missing, missing), fma_f64(p, q, sub_f64(zero, product)));
        rest = fma_f64(p, q_low, fma_f64(p_low, q, rest));
        f64x8 factor = mul_f64(load_part_f64(of.slope + i, n, 0), load_part_f64(of.scale + i, n, 0));
        store_part_f64(of_largest + i, n, mul_f64(add_f64(product, rest), factor));
        store_part_f64(ones + i, n, set_f64(1));
    }
    if (n_classes == 2) {                         /* p (1 - p) of both */
        for (int i = 0; i < n_rows; i++)
            for (int c = 0; c < 2; c++)
                write_element(out.rows[i] + c * out.class_stride, out.element, (REAL)of_largest[i]);
        return;
    }
    TYPED(set_softmax_factors)(pairs, n_rows, of, &softmax_factors);
    TYPED(set_softmax_factors)(pairs, n_rows, (struct derivative){ones, ones}, &plain);
    int i = 0;
    for (; TYPED(rows_in_lanes)(n_classes) && TYPED(is_direct_sink)(out) && i + LANES <= n_rows; i += LANES) {
        struct TYPED(curvature_terms) rows = {TYPED(factors_of_rows)(&softmax_factors, i), TYPED(factors_of_rows)(&plain, i),
                                              TYPED(narrow)(pairs->m + i), TYPED(narrow)(of_largest + i)};
        TYPED(map_rows_in_lanes)(group_of(x, i, LANES, LANES, NULL), sink_from(out, i), n_classes, TYPED(curvature), &rows);
    }
    for (; i < n_rows; i++) {
        struct TYPED(curvature_terms) row = {TYPED(factors_of_row)(&softmax_factors, i), TYPED(factors_of_row)(&plain, i),
                                             TYPED(set)((REAL)pairs->m[i]), TYPED(set)((REAL)of_largest[i])};
        TYPED(map_row)(x, out, i, 0, n_classes, TYPED(curvature), &row);
    }
}
