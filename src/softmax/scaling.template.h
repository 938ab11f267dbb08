/* C layer: how exponentials of one element type are scaled. */
#ifndef TYPE
#error "instantiated by simd/instantiate.h"
#endif

/* How the exponentials of a row with the maximum m are scaled, so that none overflows and none that counts is lost:
 *
 *     exp(x_j - c) 2^(index - bias)
 *
 * where the power of two costs nothing (vmath.h). The usual way, to subtract m, takes two passes; this takes one:
 *
 *     |m| <= NEAR          c = 0, index = bias + MIDDLE         one pass, from which m comes too; then, where m is larger,
 *     NEAR < |m| <= FAR    c = 0, index = bias + MIDDLE - n     another one, with n = round(m / ln 2)
 *     FAR < |m|            c = m, index = bias + MIDDLE         x_j - m is exact for every x_j that counts
 */
struct TYPED(scaling) {
    REAL c[LANES], magic[LANES], lowest[LANES];
};

/* The same as vectors, of a row a lane or of one row in all of them. */
struct TYPED(lane_scaling) {
    VECTOR c, magic, lowest;
};

/* Where |m| <= NEAR. */
INLINE struct TYPED(lane_scaling) TYPED(near_scaling)(void)
{
    const REAL index = TYPED(EXPONENT_BIAS) + TYPED(MIDDLE);
    return (struct TYPED(lane_scaling)){TYPED(set)(0), TYPED(set)(TYPED(MAGIC) + index),
                                        TYPED(set)((REAL)(index * -0x1.62e42fefa39efp-1))};
}

/* c, and the index, of rows whose maxima are m. */
INLINE f64x8 TYPED(centre)(f64x8 m)
{
    return choose_f64(less_f64(set_f64(TYPED(FAR)), abs_f64(m)), m, set_f64(0));
}

INLINE f64x8 TYPED(index)(f64x8 m)
{
    f64x8 n = nearest_exponent(sub_f64(m, TYPED(centre)(m)));
    n = choose_f64(less_f64(set_f64(TYPED(NEAR)), abs_f64(m)), n, set_f64(0));
    return sub_f64(set_f64(TYPED(EXPONENT_BIAS) + TYPED(MIDDLE)), n);
}

/* exp(m), scaled as in the sums. */
INLINE f64x8 TYPED(largest)(f64x8 m, int near, f64x8 *low)
{
    f64x8 index = set_f64(EXPONENT_BIAS_f64 + TYPED(MIDDLE)), x = m;
    if (!near) {
        index = add_f64(TYPED(index)(m), set_f64(EXPONENT_BIAS_f64 - TYPED(EXPONENT_BIAS)));
        x = sub_f64(m, TYPED(centre)(m));
    }
    if (TYPED(ELEMENT) == F64)
        return exp_wide(x, index, low);
    *low = set_f64(0);
    return exp_short(x, index);
}

/* The scaling of eight rows whose maxima are m, from place `at`. */
INLINE void TYPED(scale_rows)(f64x8 m, struct TYPED(scaling) *scaling, int at)
{
    double c[8], index[8], lowest[8];
    store_f64(c, TYPED(centre)(m));
    store_f64(index, TYPED(index)(m));
    store_f64(lowest, lowest_f64(load_f64(index)));
    for (int i = 0; i < 8; i++) {
        scaling->c[at + i] = (REAL)c[i];
        scaling->magic[at + i] = TYPED(MAGIC) + (REAL)index[i];
        scaling->lowest[at + i] = (REAL)lowest[i];
    }
}

/* The place for the exponentials of n rows from `first` (scratch.h), or NULL: there is none. */
INLINE REAL *TYPED(cached_exponentials)(const struct pairs *pairs, int first, int n, ptrdiff_t n_classes)
{
    REAL *block = (REAL *)(void *)pairs->cached_exp;
    if (!block || !exponentials_bytes(n_classes, sizeof(REAL)))
        return NULL;
    if (TYPED(rows_in_lanes)(n_classes))
        return block + first * n_classes;
    return first + n > block_rows(n_classes, sizeof(REAL)) ? NULL : block + first * cached_length(n_classes, sizeof(REAL));
}
