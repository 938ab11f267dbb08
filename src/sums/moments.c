/* C layer: values, their squares and their weights exactly into the sums of groups.
 *
 * Most rows touch no sums: they add a vector of integers to the bins of their group. A value goes in as multiples of the units
 * of some bins, found for eight rows at a time; what they leave of it, and values that are too large for them, are rare and go
 * to further bins or to the sums one by one. */

#include <stddef.h>

#include "simd/elements.h"
#include "simd/names.h"
#include "simd/transpose.h"
#include "sums/bins.h"
#include "sums/moments.h"

/* Of values from 2^16, of squares from 2^32 down, each bin of 51 bits. There is room for 63: a row adds up to four terms of at
 * most 2^50 units to one, or to a first bin one of 2^51, so that it takes 2^10 rows. */
enum { OF_VALUE = 3, OF_SQUARE = 5, FLUSH_GROUP_AFTER = 1024 };
static const double value_units[OF_VALUE] = {0x1p-35, 0x1p-86, 0x1p-137};
static const double square_units[OF_SQUARE] = {0x1p-19, 0x1p-70, 0x1p-121, 0x1p-172, 0x1p-223};

/* The bins of eight rows: of values, then of squares. */
struct row_bins {
    i64x8 bin[OF_VALUE + OF_SQUARE];
};

INLINE struct row_bins no_bins(void)
{
    const i64x8 zero = bits_f64(set_f64(0));
    return (struct row_bins){{zero, zero, zero, zero, zero, zero, zero, zero}};
}

/* The multiples of the bins' units go in; what is left is returned. */
INLINE f64x8 into_bins(i64x8 *bin, const double *units, f64x8 value, int first, int stop)
{
    for (int b = first; b < stop; b++) {
        f64x8 magic = set_f64(MAGIC_f64 * units[b]), sum = add_f64(value, magic);
        i64x8 sum_bits = bits_f64(sum), magic_bits = bits_f64(magic);
        EACH_REGISTER bin[b].r[i] += sum_bits.r[i] - magic_bits.r[i];
        value = sub_f64(value, sub_f64(sum, magic));
    }
    return value;
}

/* A value in two halves, or a square, into the bins that most need; what is left of each. */
struct rests {
    f64x8 high, low;
};

INLINE struct rests value_into_bins(struct row_bins *bins, f64x8 high, f64x8 low)
{
    return (struct rests){into_bins(bins->bin, value_units, high, 0, 2), into_bins(bins->bin, value_units, low, 1, 3)};
}

INLINE struct rests square_into_bins(struct row_bins *bins, f64x8 high, f64x8 low)
{
    i64x8 *bin = bins->bin + OF_VALUE;
    return (struct rests){into_bins(bin, square_units, high, 0, 3), into_bins(bin, square_units, low, 1, 4)};
}

/* Whether nothing is left; a lane of -0 counts as something. */
INLINE int nothing(struct rests rests)
{
    i64x8 high = bits_f64(rests.high), low = bits_f64(rests.low);
    EACH_REGISTER high.r[i] |= low.r[i];
    return !any_f64(high);
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

/* What is left of values and squares into the other bins, and what these leave to the sums. */
static RARE void deal_rests(struct row_bins *bins, struct rests value, struct rests square, struct exact_sum *first,
                            const int64_t *code, int n)
{
    i64x8 *of_square = bins->bin + OF_VALUE;
    deal_exactly(into_bins(bins->bin, value_units, value.high, 2, 3), first, code, n);
    deal_exactly(value.low, first, code, n);
    first += offsetof(struct moments, square) / sizeof *first;
    deal_exactly(into_bins(of_square, square_units, square.high, 3, 5), first, code, n);
    deal_exactly(into_bins(of_square, square_units, square.low, 4, 5), first, code, n);
}

/* With x and w x, w x^2 fits too: it is their product. */
INLINE int fits(f64x8 value)
{
    return all_less_f64(abs_f64(value), set_f64(0x1p16));
}

/* Rows of which some do not fit into the bins. Where there are no weights, they are 1, and their sums are left alone. */
static RARE void add_exact_moments(const double *value, const double *weight, const int64_t *code, int n,
                                   struct groups groups)
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

/* The bins of eight rows, of which n count. */
INLINE struct row_bins bins_of_values(f64x8 x, f64x8 square, f64x8 low, const int64_t *code, int n, struct exact_sum *first)
{
    struct row_bins bins = no_bins();
    struct rests value = {into_bins(bins.bin, value_units, x, 0, 2), set_f64(0)};
    struct rests of_square = square_into_bins(&bins, square, low);
    if (nothing(of_square))                       /* then x leaves nothing either: the last bit of x^2 is twice as far down */
        return bins;
    struct row_bins all = bins;
    deal_rests(&all, value, of_square, first, code, n);
    return all;
}

/* Those of w x and w x^2, where `low` is the rest of x^2. */
INLINE struct row_bins bins_of_products(f64x8 w, f64x8 x, f64x8 square, f64x8 low, const int64_t *code, int n,
                                        struct exact_sum *first)
{
    f64x8 x_low, square_low, low_low;
    x = exact_product(w, x, &x_low);
    square = exact_product(w, square, &square_low);
    low = exact_product(w, low, &low_low);
    struct row_bins bins = no_bins();
    struct rests value = value_into_bins(&bins, x, x_low), high = square_into_bins(&bins, square, square_low);
    struct rests rest = square_into_bins(&bins, low, low_low);
    if (nothing(value) && nothing(high) && nothing(rest))
        return bins;
    struct row_bins all = bins;
    deal_rests(&all, value, high, first, code, n);
    deal_rests(&all, (struct rests){set_f64(0), set_f64(0)}, rest, first, code, n);
    return all;
}

/* A vector of bins from each row to its group. */
INLINE void add_bins(struct row_bins of_rows, const int64_t *code, int n, int64_t (*bins)[2][8], int which)
{
    double parts[8][8];
    f64x8 of_row[8];
    for (int b = 0; b < 8; b++)
        store_f64(parts[b], from_bits_f64(of_rows.bin[b]));
    transpose_8(parts, of_row);
    for (int l = 0; l < n; l++) {
        char *group = (char *)bins[code[l]][which];
        i64x8 sum = bits_f64(of_row[l]);
        EACH_REGISTER {
            i64_register so_far;
            memcpy(&so_far, group + WIDTH * i, WIDTH);
            sum.r[i] += so_far;
            memcpy(group + WIDTH * i, &sum.r[i], WIDTH);
        }
    }
}

static void flush_group(struct groups groups, int64_t code)
{
    struct exact_sum *sum = &groups.sums[code].value;
    for (int which = 0; which < 2; which++)
        for (int b = 0; b < OF_VALUE + OF_SQUARE; b++) {
            int64_t *bin = &groups.bins[code][which][b], low = *bin & 0xffffffff;
            double unit = b < OF_VALUE ? value_units[b] : square_units[b - OF_VALUE];
            if (*bin != 0) {
                exact_add(sum + which + 2 * (b >= OF_VALUE), (double)(*bin - low) * unit);
                exact_add(sum + which + 2 * (b >= OF_VALUE), (double)low * unit);
            }
            *bin = 0;
        }
}

/* Of eight rows, of which n count. */
INLINE void add_rows(const double *value, const double *weight, const int64_t *code, int n, struct groups groups)
{
    struct moments *first = groups.sums;
    f64x8 x = load_part_f64(value, n, 0), w = weight ? load_part_f64(weight, n, 0) : set_f64(1);
    f64x8 low, square = exact_product(x, x, &low);
    if (!fits(x) || (weight && (!fits(w) || !fits(mul_f64(w, x))))) {
        add_exact_moments(value, weight, code, n, groups);
    } else if (!weight) {
        add_bins(bins_of_values(x, square, low, code, n, &first->value), code, n, groups.bins, 0);
    } else {
        f64x8 weight_low, weight_square = exact_product(w, w, &weight_low);
        add_bins(bins_of_products(w, x, square, low, code, n, &first->value), code, n, groups.bins, 0);
        add_bins(bins_of_values(w, weight_square, weight_low, code, n, &first->weight), code, n, groups.bins, 1);
    }
    for (int l = 0; l < n; l++)
        if (++groups.counts[code[l]] % FLUSH_GROUP_AFTER == 0)
            flush_group(groups, code[l]);
}

static void add_moments(const double *value, const double *weight, const int64_t *code, int n, struct groups groups)
{
    int i = 0;
    for (; i + 8 <= n; i += 8)
        if (weight)
            add_rows(value + i, weight + i, code + i, 8, groups);
        else
            add_rows(value + i, NULL, code + i, 8, groups);
    if (i < n)
        add_rows(value + i, weight ? weight + i : NULL, code + i, n - i, groups);
}

const struct moments_kernels PER_SET(moments) = {.add = add_moments, .flush = flush_group};
