/* C layer: row losses into results, and exactly into sums; and values into the sums of their groups. */

#include "memory/rows.h"
#include "sums/sums.h"

/* Each lane to the chunks. */
static void add_exactly(f64x8 value, struct exact_sum *exact)
{
    double values[8];
    store_f64(values, value);
    for (int l = 0; l < 8; l++)
        if (values[l] != 0)
            exact_add(exact, values[l]);
}

struct bins {
    f64x8 bin[BINS];
};

/* The multiple of the bin's unit that is nearest to the value goes in; what is left is returned. */
INLINE f64x8 into_bin(f64x8 *bin, f64x8 value, double unit)
{
    f64x8 magic = set_f64(0x1.8p52 * unit), part = sub_f64(add_f64(value, magic), magic);
    *bin = add_f64(*bin, part);
    return sub_f64(value, part);
}

/* Eight values at once; to the chunks goes what is left of one below the last bin, and all where one is a NaN or not `small`.
 */
INLINE int small(f64x8 value)
{
    return all_less_f64(abs_f64(value), set_f64(1 << -LEAST_OF_BINS));
}

INLINE void add_small(struct bins *bins, f64x8 value, struct exact_sum *exact)
{
    f64x8 rest = into_bin(&bins->bin[1], into_bin(&bins->bin[0], value, 0x1p-20), 0x1p-60), zero = set_f64(0);
    if (!all_equal_f64(rest, zero)) {
        rest = into_bin(&bins->bin[3], into_bin(&bins->bin[2], rest, 0x1p-100), 0x1p-140);
        if (!all_equal_f64(rest, zero))
            add_exactly(rest, exact);
    }
}

INLINE void add_values(struct bins *bins, f64x8 value, struct exact_sum *exact)
{
    if (small(value))
        add_small(bins, value, exact);
    else
        add_exactly(value, exact);
}

INLINE struct bins open_bins(struct running_sum *sum, int vectors)
{
    if (sum->pending + vectors > FLUSH_AFTER)
        exact_flush(sum);
    sum->pending += vectors;
    return (struct bins){{load_f64(sum->bin[0]), load_f64(sum->bin[1]), load_f64(sum->bin[2]), load_f64(sum->bin[3])}};
}

INLINE void close_bins(struct running_sum *sum, struct bins bins)
{
    for (int b = 0; b < BINS; b++)
        store_f64(sum->bin[b], bins.bin[b]);
}

/* The exact product is the result and `low`, which is 0 where the result is no finite number. What weighs 0 is 0, but a NaN. */
INLINE f64x8 weighted(f64x8 weight, f64x8 value, f64x8 *low)
{
    const f64x8 zero = set_f64(0);
    f64x8 product = mul_f64(weight, value);
    i64x8 none = equal_f64(weight, zero), finite = less_f64(abs_f64(product), set_f64(INFINITY));
    f64x8 rest = choose_f64(finite, fma_f64(weight, value, sub_f64(zero, product)), zero);
    *low = choose_f64(none, zero, rest);
    return choose_f64(none, choose_f64(equal_f64(value, value), zero, value), product);
}

static int finish(double *loss, const double *weight, const double *share, int n_all, enum element element, char *out,
                  struct running_sum *total, struct running_sum *total_share)
{
    struct bins bins = open_bins(total, n_all / 4 + 2), share_bins = open_bins(total_share, n_all / 8 + 1);
    double results[BLOCK];
    int undefined = 0;
    for (int i = 0; i < n_all; i += 8) {
        int n = at_most_8(n_all - i);
        f64x8 value = load_part_f64(loss + i, n, 0);
        if (element != F64)
            value = single_f64(value);
        int usual = small(value);
        if (!usual) {
            i64x8 defined = equal_f64(value, value);
            undefined |= !all_f64(defined);
            value = choose_f64(defined, value, set_f64(NAN));
        }
        store_part_f64(loss + i, n, value);
        if (weight) {
            f64x8 low;
            value = weighted(load_part_f64(weight + i, n, 0), value, &low);
            add_values(&bins, low, &total->exact);
            add_values(&bins, value, &total->exact);
            add_values(&share_bins, load_part_f64(share + i, n, 0), &total_share->exact);
        } else if (usual)
            add_small(&bins, value, &total->exact);
        else
            add_exactly(value, &total->exact);
        store_part_f64(results + i, n, value);
    }
    close_bins(total, bins);
    close_bins(total_share, share_bins);
    if (out)
        write_results(results, n_all, element, out, element == F64 ? 8 : 4, element);
    if (!weight)
        total_share->ones += n_all;
    return undefined;
}

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

INLINE int fit(f64x8 value, f64x8 square)
{
    return all_less_f64(abs_f64(value), set_f64(0x1p16)) && all_less_f64(abs_f64(square), set_f64(0x1p32));
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

INLINE f64x8 exact_product(f64x8 a, f64x8 b, f64x8 *low)
{
    f64x8 high = mul_f64(a, b);
    *low = fma_f64(a, b, sub_f64(set_f64(0), high));
    return high;
}

static void add_moments(const double *value, const double *weight, const int64_t *code, int n_all, struct groups groups)
{
    const f64x8 zero = set_f64(0);
    struct moments *first = groups.sums;
    for (int i = 0; i < n_all; i += 8, code += 8) {
        int n = at_most_8(n_all - i);
        f64x8 x = load_part_f64(value + i, n, 0), bin[8] = {zero, zero, zero, zero, zero, zero, zero, zero};
        f64x8 x_low = zero, low, square = exact_product(x, x, &low);
        if (!fit(x, square)) {
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
            if (fit(w, weight_square) && fit(x, square)) {
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

const struct sums_kernels PER_SET(sums) = {.finish = finish, .add_moments = add_moments, .flush_group = flush_group};
