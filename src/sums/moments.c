/* C layer: values, their squares and their weights exactly into the sums of groups. */

#include "simd/elements.h"
#include "simd/names.h"
#include "simd/transpose.h"
#include "sums/bins.h"
#include "sums/moments.h"

/* The bins of a group: of values from 2^16, of squares from 2^32 down, each of 43 bits. A row adds up to four terms of 2^42 units
 * to one, so that a bin takes 2^9 rows. */
enum { OF_VALUE = 3, OF_SQUARE = 5, FLUSH_GROUP_AFTER = 256 };
static const double value_units[OF_VALUE] = {0x1p-27, 0x1p-70, 0x1p-113};
static const double square_units[OF_SQUARE] = {0x1p-11, 0x1p-54, 0x1p-97, 0x1p-140, 0x1p-183};

INLINE f64x8 into_bins(f64x8 *bin, const double *units, f64x8 value, int first, int stop)
{
    for (int b = first; b < stop; b++)
        value = into_bin(&bin[b], value, units[b]);
    return value;
}

/* Each lane to the sum of its row's group: the first of them is given. */
static void deal_exactly(f64x8 value, struct exact_sum *first, const int64_t *code, int n)
{
    double values[8];
    store_f64(values, value);
    for (int l = 0; l < n; l++)
        if (values[l] != 0)
            exact_add(first + MOMENTS * code[l], values[l]);
}

/* With x and w x, w x^2 fits too: it is their product. */
INLINE int fits(f64x8 value)
{
    return all_less_f64(abs_f64(value), set_f64(0x1p16));
}

/* What fits into the bins; what they do not take goes to the sums. */
INLINE void deal_value(f64x8 value, f64x8 low, f64x8 *bin, struct exact_sum *first, const int64_t *code, int n)
{
    const f64x8 zero = set_f64(0);
    value = into_bins(bin, value_units, value, 0, 3);
    low = into_bins(bin, value_units, low, 1, 3);
    if (!all_equal_f64(value, zero) || !all_equal_f64(low, zero)) {
        deal_exactly(value, first, code, n);
        deal_exactly(low, first, code, n);
    }
}

INLINE void deal_square(f64x8 square, f64x8 low, f64x8 *bin, struct exact_sum *first, const int64_t *code, int n)
{
    const f64x8 zero = set_f64(0);
    square = into_bins(bin, square_units, square, 0, 3);
    low = into_bins(bin, square_units, low, 1, 4);
    if (!all_equal_f64(square, zero) || !all_equal_f64(low, zero)) {
        deal_exactly(into_bins(bin, square_units, square, 3, 5), first, code, n);
        deal_exactly(into_bins(bin, square_units, low, 4, 5), first, code, n);
    }
}

/* A vector of bins from each row to its group. */
INLINE void add_bins(const f64x8 bin[8], const int64_t *code, int n, double (*bins)[2][8], int which)
{
    double parts[8][8];
    f64x8 of_row[8];
    for (int b = 0; b < 8; b++)
        store_f64(parts[b], bin[b]);
    transpose_8(parts, of_row);
    for (int l = 0; l < n; l++) {
        double *group = bins[code[l]][which];
        store_f64(group, add_f64(load_f64(group), of_row[l]));
    }
}

static void flush_group(struct groups groups, int64_t code)
{
    struct exact_sum *sum = &groups.sums[code].value;
    for (int which = 0; which < 2; which++)
        for (int b = 0; b < OF_VALUE + OF_SQUARE; b++) {
            double *bin = &groups.bins[code][which][b];
            if (*bin != 0)
                exact_add(sum + which + 2 * (b >= OF_VALUE), *bin);
            *bin = 0;
        }
}

/* Rows of which some do not fit into the bins, with weights of 1 where there are none; sums of weights not where there are none. */
static void add_exact_moments(const double *value, const double *weight, const int64_t *code, int n, struct groups groups)
{
    struct moments *first = groups.sums;
    f64x8 x = load_part_f64(value, n, 0), w = set_f64(1), low, square_low, square = weighted(x, x, &square_low);
    if (weight) {
        w = load_part_f64(weight, n, 0);
        deal_exactly(w, &first->weight, code, n);
        deal_exactly(weighted(w, w, &low), &first->weight_square, code, n);
        deal_exactly(low, &first->weight_square, code, n);
    }
    deal_exactly(weighted(w, x, &low), &first->value, code, n);
    deal_exactly(low, &first->value, code, n);
    deal_exactly(weighted(w, square, &low), &first->square, code, n);
    deal_exactly(low, &first->square, code, n);
    deal_exactly(weighted(w, square_low, &low), &first->square, code, n);
    deal_exactly(low, &first->square, code, n);
}

static void add_moments(const double *value, const double *weight, const int64_t *code, int n_all, struct groups groups)
{
    const f64x8 zero = set_f64(0);
    struct moments *first = groups.sums;
    for (int i = 0; i < n_all; i += 8, code += 8) {
        int n = at_most_8(n_all - i);
        f64x8 x = load_part_f64(value + i, n, 0), bin[8] = {zero, zero, zero, zero, zero, zero, zero, zero};
        f64x8 x_low = zero, low, square = exact_product(x, x, &low);
        if (!fits(x)) {
            add_exact_moments(value + i, weight ? weight + i : NULL, code, n, groups);
        } else if (!weight) {
            deal_value(x, zero, bin, &first->value, code, n);
            deal_square(square, low, bin + OF_VALUE, &first->square, code, n);
            add_bins(bin, code, n, groups.bins, 0);
        } else {
            f64x8 w = load_part_f64(weight + i, n, 0), of_weight[8] = {zero, zero, zero, zero, zero, zero, zero, zero};
            f64x8 weight_low, square_low, rest_low, weight_square = exact_product(w, w, &weight_low);
            f64x8 rest = exact_product(w, low, &rest_low);
            x = exact_product(w, x, &x_low);
            square = exact_product(w, square, &square_low);
            if (fits(w) && fits(x)) {
                deal_value(x, x_low, bin, &first->value, code, n);
                deal_square(square, square_low, bin + OF_VALUE, &first->square, code, n);
                deal_square(rest, rest_low, bin + OF_VALUE, &first->square, code, n);
                deal_value(w, zero, of_weight, &first->weight, code, n);
                deal_square(weight_square, weight_low, of_weight + OF_VALUE, &first->weight_square, code, n);
                add_bins(bin, code, n, groups.bins, 0);
                add_bins(of_weight, code, n, groups.bins, 1);
            } else {
                add_exact_moments(value + i, weight + i, code, n, groups);
            }
        }
        for (int l = 0; l < n; l++)
            if (++groups.counts[code[l]] % FLUSH_GROUP_AFTER == 0)
                flush_group(groups, code[l]);
    }
}

const struct moments_kernels PER_SET(moments) = {.add = add_moments, .flush = flush_group};
