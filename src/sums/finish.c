/* C layer: row losses into results, and exactly into sums. */

#include "memory/rows.h"
#include "sums/bins.h"
#include "sums/sums.h"

/* Each lane to the chunks. */
static RARE void add_exactly(f64x8 value, struct exact_sum *exact)
{
    double values[8];
    store_f64(values, value);
    for (int l = 0; l < 8; l++)
        if (values[l] != 0)
            exact_add(exact, values[l]);
}

/* The first bins of a sum while values are added, in registers; the others are where the sum is. */
enum { FIRST_BINS = 2 };
struct bins {
    f64x8 bin[FIRST_BINS];
    struct running_sum *sum;
};

/* What the first bins leave; and what the last one leaves to the chunks. */
static __attribute__((noinline)) void add_rest(f64x8 rest, struct running_sum *sum)
{
    f64x8 third = load_f64(sum->bin[2]), fourth = load_f64(sum->bin[3]);
    rest = into_bin(&fourth, into_bin(&third, rest, 0x1p-106), 0x1p-146);
    store_f64(sum->bin[2], third);
    store_f64(sum->bin[3], fourth);
    if (!all_equal_f64(rest, set_f64(0)))
        add_exactly(rest, &sum->exact);
}

/* Eight values at once; to the chunks goes what is left of one below the last bin, and all where one is a NaN or not `small`.
 */
INLINE int small(f64x8 value)
{
    return all_less_f64(abs_f64(value), set_f64(1 << MOST_OF_BINS));
}

INLINE void add_small(struct bins *bins, f64x8 value)
{
    f64x8 rest = into_bin(&bins->bin[1], into_bin(&bins->bin[0], value, 0x1p-26), 0x1p-66);
    if (!all_equal_f64(rest, set_f64(0)))
        add_rest(rest, bins->sum);
}

INLINE void add_values(struct bins *bins, f64x8 value)
{
    if (small(value))
        add_small(bins, value);
    else
        add_exactly(value, &bins->sum->exact);
}

INLINE struct bins open_bins(struct running_sum *sum, int vectors)
{
    if (sum->pending + vectors > FLUSH_AFTER)
        exact_flush(sum);
    sum->pending += vectors;
    return (struct bins){{load_f64(sum->bin[0]), load_f64(sum->bin[1])}, sum};
}

INLINE void close_bins(const struct bins *bins)
{
    for (int b = 0; b < FIRST_BINS; b++)
        store_f64(bins->sum->bin[b], bins->bin[b]);
}

INLINE int finish_rows(double *loss, const double *weight, const double *share, int n_all, enum element element,
                       double *results, struct running_sum *total, struct running_sum *total_share, int has_weight)
{
    struct bins bins = open_bins(total, n_all / 4 + 2), share_bins = open_bins(total_share, n_all / 8 + 1);
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
        if (has_weight) {
            f64x8 low;
            value = weighted(load_part_f64(weight + i, n, 0), value, &low);
            add_values(&bins, low);
            add_values(&bins, value);
            add_values(&share_bins, load_part_f64(share + i, n, 0));
        } else if (usual)
            add_small(&bins, value);
        else
            add_exactly(value, &total->exact);
        if (results)
            store_part_f64(results + i, n, value);
    }
    close_bins(&bins);
    close_bins(&share_bins);
    return undefined;
}

static int finish(double *loss, const double *weight, const double *share, int n_all, enum element element, char *out,
                  struct running_sum *total, struct running_sum *total_share)
{
    double results[BLOCK];
    int undefined = EITHER(weight != NULL, finish_rows, loss, weight, share, n_all, element, out ? results : NULL, total,
                           total_share);
    if (out)
        write_results(results, n_all, element, out, element == F64 ? 8 : 4, element);
    if (!weight)
        total_share->ones += n_all;
    return undefined;
}

/* Losses from 2^-21 to 2^6 are multiples of 2^-44 that float64 can add exactly until the bins take their sum. */
INLINE int can_be_added(f32x16 value)
{
    i32x16 too_small = less_f32(value, set_f32(0x1p-21f)), small = less_f32(value, set_f32(0x1p6f));
    EACH_REGISTER small.r[i] &= ~too_small.r[i];
    return all_f32(small);
}

static RARE int add_others(float *loss, int n, struct bins *bins)
{
    int undefined = 0;
    for (int i = 0; i < n; i++)
        if (loss[i] != loss[i]) {
            loss[i] = NAN;
            undefined = 1;
        }
    for (int i = 0; i < n; i += 8)
        add_values(bins, load_as_f64(loss, i, 1, at_most_8(n - i)));
    return undefined;
}

static int finish_singles(float *loss, int n_all, char *out, struct running_sum *total, struct running_sum *total_share)
{
    struct bins bins = open_bins(total, n_all / 8 + 4);
    f64x8 sum[2] = {set_f64(0), set_f64(0)};
    int undefined = 0;
    for (int i = 0; i < n_all; i += 16) {
        int n = n_all - i < 16 ? n_all - i : 16;
        f32x16 value = n == 16 ? load_f32(loss + i) : set_f32(0);
        if (can_be_added(value)) {
            sum[0] = add_f64(sum[0], load_wide_f32(loss + i));
            sum[1] = add_f64(sum[1], load_wide_f32(loss + i + 8));
        } else
            undefined |= add_others(loss + i, n, &bins);
    }
    for (int h = 0; h < 2; h++)
        add_small(&bins, sum[h]);
    close_bins(&bins);
    if (out)
        memcpy(out, loss, (size_t)n_all * sizeof *loss);
    total_share->ones += n_all;
    return undefined;
}

const struct sums_kernels PER_SET(sums) = {.finish = finish, .finish_singles = finish_singles};
