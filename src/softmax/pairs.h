/* C layer: what is made of row pairs. */
#ifndef XENTC_SOFTMAX_PAIRS_H
#define XENTC_SOFTMAX_PAIRS_H

#include "simd/double_double.h"
#include "simd/vmath.h"
#include "softmax/pair.h"

/* e + sum of the rows from i, n of them, with the low parts. */
INLINE f64x8 total_of(const struct pairs *pairs, int i, int n, f64x8 *low)
{
    f64x8 e_low = load_part_f64(pairs->e_low + i, n, 0), sum_low = load_part_f64(pairs->sum_low + i, n, 0);
    f64x8 total = two_sum(load_part_f64(pairs->e + i, n, 1), load_part_f64(pairs->sum + i, n, 0), low);
    *low = add_f64(*low, add_f64(e_low, sum_low));
    return total;
}

/* log1p(r) of n rows from i; and of one row, in all lanes. */
INLINE f64x8 tails(const struct pairs *pairs, int i, int n, f64x8 *low)
{
    return log1p_wide(load_part_f64(pairs->sum + i, n, 0), load_part_f64(pairs->sum_low + i, n, 0),
                      load_part_f64(pairs->e + i, n, 1), load_part_f64(pairs->e_low + i, n, 0), low);
}

INLINE f64x8 tail_of_row(const struct pairs *pairs, int i, f64x8 *low)
{
    return log1p_wide(set_f64(pairs->sum[i]), set_f64(pairs->sum_low[i]), set_f64(pairs->e[i]), set_f64(pairs->e_low[i]), low);
}

#endif
