/* C layer: the diagonal of the Hessian, class by class. */
#ifndef T
#error "instantiated by simd/instantiate.h"
#endif

/* What a row's curvature takes: the shares with and without slope and scale, and the largest logit with its result. */
struct OP(bend) {
    struct OP(factors) slope, plain;
    V m, of_largest;
};

/* slope p (1 - p) for all but the largest class: p is at most 1/2, and nothing cancels. */
INLINE V OP(curvature)(V x, const struct OP(bend) *of)
{
    V p = OP(share)(x, &of->plain), slope = OP(share)(x, &of->slope);
    return OP(choose)(OP(equal)(x, of->m), of->of_largest, OP(fnma)(slope, p, slope));
}

static void OP(hessian)(struct source x, struct sink out, int n_rows, ptrdiff_t n_classes, const struct pairs *pairs,
                        const double *slope, const double *scale)
{
    struct OP(shares) shares, plain;
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
        f64x8 factor = mul_f64(load_part_f64(slope + i, n, 0), load_part_f64(scale + i, n, 0));
        store_part_f64(of_largest + i, n, mul_f64(add_f64(product, rest), factor));
        store_part_f64(ones + i, n, set_f64(1));
    }
    if (n_classes == 2) {                         /* p (1 - p) of both */
        for (int i = 0; i < n_rows; i++)
            for (int c = 0; c < 2; c++)
                write_element(out.rows[i] + c * out.step, out.element, (C)of_largest[i]);
        return;
    }
    OP(softmax_rows)(pairs, n_rows, slope, scale, &shares);
    OP(softmax_rows)(pairs, n_rows, ones, ones, &plain);
    int in_place = out.step == sizeof(C) && out.element == OP(ELEMENT), i = 0;
    for (; n_classes <= OP(FEW) && OP(is_direct_sink)(out) && i + LANES <= n_rows; i += LANES) {
        struct source group = x;
        struct sink group_out = out;
        struct OP(bend) of = {OP(factors_of_rows)(&shares, i), OP(factors_of_rows)(&plain, i), OP(narrow)(pairs->m + i),
                              OP(narrow)(of_largest + i)};
        C *tile = take(&group.scratch, OP(tile_bytes)(n_classes));
        group.rows += i;
        group_out.rows += i;
        OP(pack_tile)(group, n_classes, tile);
        for (ptrdiff_t j = 0; j < n_classes; j++)
            OP(store)(tile + j * LANES, OP(curvature)(OP(load)(tile + j * LANES), &of));
        OP(unpack_tile)(tile, group_out, n_classes);
    }
    const ptrdiff_t tile = in_place && OP(direct)(x) ? n_classes : TILE;
    for (; i < n_rows; i++) {
        struct OP(bend) of = {OP(factors_of_row)(&shares, i), OP(factors_of_row)(&plain, i), OP(set)((C)pairs->m[i]),
                              OP(set)((C)of_largest[i])};
        for (ptrdiff_t first = 0; first < n_classes; first += tile) {
            ptrdiff_t n = n_classes - first < tile ? n_classes - first : tile, j = 0;
            C x_copy[TILE], out_copy[TILE];
            const C *row = OP(contiguous)(x, i, first, n, x_copy);
            C *result = in_place ? (C *)(void *)(out.rows[i] + first * out.step) : out_copy;
            for (; j + LANES <= n; j += LANES)
                OP(store)(result + j, OP(curvature)(OP(load)(row + j), &of));
            if (j < n)
                OP(store_part)(result + j, (int)(n - j), OP(curvature)(OP(load_part)(row + j, (int)(n - j), 0), &of));
            if (!in_place)
                OP(write)(out.rows[i] + first * out.step, out.step, out.element, n, out_copy);
        }
    }
}
