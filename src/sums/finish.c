/* C layer: row losses into results, and exactly into sums. */

#include "memory/rows.h"
#include "sums/bins.h"
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

const struct sums_kernels PER_SET(sums) = {.finish = finish};
