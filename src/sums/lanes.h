/* C layer: how the lanes of a sum come together. */
#ifndef XENTC_SUMS_LANES_H
#define XENTC_SUMS_LANES_H

#include "simd/double_double.h"
#include "simd/transpose.h"

static inline double lane_total(struct double_double sum)
{
    double high[8], low[8], result[8];
    store_f64(high, sum.high);
    store_f64(low, sum.low);
    struct double_double total = {set_f64(0), set_f64(0)};
    for (int l = 0; l < 8; l++)
        add_term(&total, set_f64(high[l]), set_f64(low[l]));
    f64x8 finite = add_f64(total.high, total.low);
    store_f64(result, choose_f64(less_f64(abs_f64(total.high), set_f64(INFINITY)), finite, total.high));
    return result[0];
}

/* The lanes of eight rows. */
struct lane_table {
    double high[8][8], low[8][8];
};

INLINE void set_lanes(struct lane_table *table, int i, const struct double_double halves[2])
{
    struct double_double sum = halves[0];
    add_term(&sum, halves[1].high, halves[1].low);
    store_f64(table->high[i], sum.high);
    store_f64(table->low[i], sum.low);
}

INLINE struct double_double total_of_lanes(const struct lane_table *table)
{
    f64x8 high[8], low[8];
    transpose_8(table->high, high);
    transpose_8(table->low, low);
    for (int width = 4; width; width /= 2)
        for (int l = 0; l < width; l++) {
            accumulate_f64(&high[l], &low[l], high[l + width]);
            low[l] = add_f64(low[l], low[l + width]);
        }
    return (struct double_double){high[0], low[0]};
}

#endif
