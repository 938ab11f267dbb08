/* C layer: the losses of probabilities and of their logarithms. */

#include "losses/cost.h"
#include "losses/probability.h"
#include "memory/rows.h"
#include "sums/lanes.h"
#include "targets/weights.h"

#define SMALLEST_f64 0x1p-1022
#define SMALLEST_f32 0x1p-126f

/* What all rows have in common. cancels: the weights may be of both signs; shift and scale: of the gradient. */
struct probability_terms {
    struct limits limits;
    int cancels;
    const double *divisor, *shift, *scale;
};

/* What the gradient of a row in all lanes, or of a row a lane, takes. */
struct probability_slope {
    enum probability_kind kind;
    struct limits limits;
    f64x8 divisor[2], shift[2], scale[2];
    const double *weights;                        /* of rows in lanes, class by class */
    struct row_target target;                     /* of a row, from class `begin` */
    ptrdiff_t begin;
};

/* The sums of a row's lanes, or of a row a lane: of the losses, and of the weights that clipping left alone. */
struct probability_lanes {
    struct double_double loss[2], unclipped[2];
    f64x8 lowest;
};

/* A call of an inlined function whose last argument is the kind: a copy of its body for each. */
#define BY_KIND(kind, function, ...)                                                                               \
    ((kind) == PROBABILITIES ? function(__VA_ARGS__, PROBABILITIES)                                                \
     : (kind) == AMOUNTS     ? function(__VA_ARGS__, AMOUNTS)                                                      \
                             : function(__VA_ARGS__, LOGARITHMS))

#define TEMPLATE "losses/probability.template.h"
#include "simd/instantiate.h"
#define TEMPLATE "losses/range.template.h"
#include "simd/instantiate.h"

/* Of codes in float64, eight rows at a time; of all other targets in the probabilities' type. */
static void loss(struct source x, const struct class_target *target, const int64_t *code, struct probabilities of, int n_rows,
                 ptrdiff_t n_classes, struct soft_sums *sums)
{
    const f64x8 zero = set_f64(0), one = set_f64(1);
    if (target) {
        struct probability_terms terms = {limits_of(of.clip), target->has_negative, of.sum, NULL, NULL};
        BY_ELEMENT(x.element, probability_loss)(x, target, of.kind, &terms, n_rows, n_classes, sums);
    } else {
        gather_classes(x, code, n_rows, sums->slope);
        for (int i = 0; i < n_rows; i += 8) {
            int n = at_most_8(n_rows - i);
            f64x8 p = load_part_f64(sums->slope + i, n, 1), result = sub_f64(zero, p);
            if (of.kind != LOGARITHMS) {
                p = of.kind == AMOUNTS ? div_f64(p, load_part_f64(of.sum + i, n, 1)) : p;
                f64x8 value = min_f64(set_f64(of.clip.most), max_f64(set_f64(of.clip.least), p));
                result = cost(value, zero);
                store_part_f64(sums->slope + i, n, choose_f64(equal_f64(p, value), one, zero));
            }
            store_part_f64(sums->loss + i, n, result);
        }
    }
    for (int i = 0; i < n_rows; i += 8) {         /* NaN in the row is NaN */
        int n = at_most_8(n_rows - i);
        f64x8 total = load_part_f64(of.sum + i, n, 0);
        store_part_f64(sums->loss + i, n, choose_f64(equal_f64(total, total), load_part_f64(sums->loss + i, n, 0), total));
    }
}

static void gradient(struct source x, struct sink out, const struct class_target *target, const int64_t *code,
                     struct probabilities of, int n_rows, ptrdiff_t n_classes, struct derivative given)
{
    const f64x8 zero = set_f64(0), one = set_f64(1);
    double shift[BLOCK], value[BLOCK];
    for (int i = 0; i < n_rows; i += 8) {
        int n = at_most_8(n_rows - i);
        f64x8 common = div_f64(load_part_f64(given.slope + i, n, 0), load_part_f64(of.sum + i, n, 1));
        store_part_f64(shift + i, n, of.kind == AMOUNTS ? common : zero);
    }
    if (target) {
        struct probability_terms terms = {limits_of(of.clip), target->has_negative, of.sum, shift, given.scale};
        BY_ELEMENT(x.element, probability_gradient)(x, out, target, of.kind, &terms, n_rows, n_classes);
        return;
    }
    gather_classes(x, code, n_rows, value);
    for (int i = 0; i < n_rows; i += 8) {
        int n = at_most_8(n_rows - i);
        f64x8 s = load_part_f64(given.scale + i, n, 0), common = load_part_f64(shift + i, n, 0);
        f64x8 p = load_part_f64(value + i, n, 1), pull = one;
        if (of.kind != LOGARITHMS)
            pull = choose_f64(equal_f64(load_part_f64(given.slope + i, n, 0), zero), zero, div_f64(one, p));
        i64x8 none = equal_f64(s, zero);          /* a class weight of 0 */
        store_part_f64(value + i, n, choose_f64(none, zero, mul_f64(sub_f64(common, pull), s)));
        store_part_f64(shift + i, n, choose_f64(none, zero, mul_f64(common, s)));
    }
    BY_ELEMENT(x.element, scatter)(out, code, shift, value, n_rows, n_classes);
}

static void clipped_loss(const double *p, const int64_t *code, struct clip clip, ptrdiff_t n_all, double *out)
{
    const f64x8 zero = set_f64(0), one = set_f64(1), least = set_f64(clip.least), most = set_f64(clip.most);
    for (ptrdiff_t i = 0; i < n_all; i += 8) {
        int n = n_all - i < 8 ? (int)(n_all - i) : 8;
        f64x8 x = min_f64(most, max_f64(least, load_part_f64(p + i, n, 1))), x_low = zero, result;
        if (code) {
            i64x8 of_0 = code_is(code + i, n, 0);
            f64x8 other_low, other = fast_two_sum(one, sub_f64(zero, x), &other_low);
            x = choose_f64(of_0, other, x);
            x_low = choose_f64(of_0, other_low, zero);
        }
        if (clip.least < 0x1p-1000)
            result = cost(x, x_low);
        else if (code)                            /* x_low / x: where it counts, x is almost 1 */
            result = sub_f64(zero, fma_f64(x_low, sub_f64(set_f64(2), x), log_f64(x)));
        else
            result = sub_f64(zero, log_f64(x));
        store_part_f64(out + i, n, result);
    }
}

static void extent(const double *p, ptrdiff_t n_all, struct range *range)
{
    const f64x8 zero = set_f64(0);
    f64x8 low = set_f64(range->lowest), high = set_f64(range->highest), off = zero;
    double lows[8], highs[8];
    for (ptrdiff_t i = 0; i < n_all; i += 8) {
        f64x8 x = load_part_f64(p + i, n_all - i < 8 ? (int)(n_all - i) : 8, p[0]);
        low = min_f64(x, low);
        high = max_f64(x, high);
        off = fma_f64(x, zero, off);              /* NaN where x is not finite */
    }
    range->not_finite |= !all_equal_f64(off, zero);
    store_f64(lows, low);
    store_f64(highs, high);
    for (int l = 0; l < 8; l++) {
        range->lowest = lows[l] < range->lowest ? lows[l] : range->lowest;
        range->highest = highs[l] > range->highest ? highs[l] : range->highest;
    }
}

static void range(struct source x, int n_rows, ptrdiff_t n_classes, double tolerance, double *sum, struct range *range)
{
    BY_ELEMENT(x.element, range)(x, n_rows, n_classes, sum, range);
    for (int i = 0; i < n_rows; i += 8) {
        f64x8 total = load_part_f64(sum + i, at_most_8(n_rows - i), 1), off = abs_f64(sub_f64(total, set_f64(1)));
        /* Compared so that a NaN fails. */
        i64x8 finite = less_f64(off, set_f64(INFINITY)), near = less_f64(set_f64(tolerance), off);
        EACH_REGISTER finite.r[i] = ~finite.r[i];
        EACH_REGISTER near.r[i] |= finite.r[i];
        range->not_finite |= any_f64(finite);
        range->sums_differ |= any_f64(near);
    }
}

const struct probability_kernels PER_SET(probability) = {
    .loss = loss, .gradient = gradient, .range = range, .extent = extent, .clipped_loss = clipped_loss};
