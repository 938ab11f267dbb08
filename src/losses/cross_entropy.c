/* C layer: the cross-entropy of codes and of soft targets. */

#include "losses/cross_entropy.h"
#include "losses/terms.h"
#include "memory/segments.h"
#include "sums/lanes.h"
#include "targets/weights.h"

static void code_loss(const struct pairs *pairs, const double *x_target, int n_rows, double *loss, double *rest)
{
    for (int i = 0; i < n_rows; i += 8) {
        int n = at_most_8(n_rows - i);
        f64x8 m = load_part_f64(pairs->m + i, n, 0), x = load_part_f64(x_target + i, n, 0);
        f64x8 low, remainder, tail = tails(pairs, i, n, &low);
        store_part_f64(loss + i, n, class_loss(m, x, tail, low, &remainder));
        store_part_f64(rest + i, n, remainder);
    }
}

static void code_loss_single(const struct pairs *pairs, const double *x_target, int n_rows, float *loss)
{
    for (int i = 0; i < n_rows; i += 16) {
        double values[16] = {0};
        for (int h = 0; h < 16 && i + h < n_rows; h += 8) {
            int n = at_most_8(n_rows - i - h);
            f64x8 margin = sub_f64(load_part_f64(pairs->m + i + h, n, 0), load_part_f64(x_target + i + h, n, 0));
            f64x8 sum = load_part_f64(pairs->sum + i + h, n, 0), e = load_part_f64(pairs->e + i + h, n, 1);
            store_f64(values + h, add_f64(margin, log1p_short(sum, e)));
        }
        store_part_f32(loss + i, n_rows - i < 16 ? n_rows - i : 16, narrow_f32(values));
    }
}

/* What is known when a loop over a soft target is compiled. cancels: its weights may be of both signs. */
struct soft_form {
    struct target_form target;
    int cancels;
};

/* The sums of a soft target: of eight classes of a row in each half, or a row a lane. */
struct soft_lanes {
    struct double_double loss[2], mass[2];
    f64x8 lowest[2];
};

/* sum_c a_c (m - x_c + tail) = sum_c a_c (m - x_c) + tail * sum_c a_c with tail = log1p(r): one pass over logits and target,
 * and no term has another sign than its a. Those with a = 0 are left out, even if m - x is infinite. An infinite or undefined
 * sum has any low part. */
INLINE void add_soft_terms(struct soft_lanes *lanes, int half, f64x8 a, f64x8 m, f64x8 x, int wide, int cancels)
{
    struct double_double *loss = &lanes->loss[half], *mass = &lanes->mass[half];
    f64x8 margin = where_not_0_f64(a, sub_f64(m, x));
    if (wide) {
        f64x8 product = mul_f64(a, margin), low = fma_f64(a, margin, sub_f64(set_f64(0), product));
        add_product(loss, product, cancels);
        loss->low = add_f64(loss->low, low);
        add_product(mass, a, cancels);
    } else {
        loss->high = fma_f64(a, margin, loss->high);
        mass->high = add_f64(mass->high, a);
    }
}

/* a log a. */
INLINE void add_entropy(struct double_double *sum, f64x8 a, int wide)
{
    f64x8 normal = choose_f64(less_f64(a, set_f64(0x1p-1022)), set_f64(1), a), low = set_f64(0);
    f64x8 log_a = wide ? log_wide(normal, set_f64(0), &low) : log_short(normal, set_f64(0));
    add_weighted(sum, a, add_f64(log_a, low));
}

/* The sums of eight rows over all of their classes or those of a segment, a row a lane, with the weights a_c: of
 * a_c (m - x_c), a_c and a_c log a_c; and the lowest weight that was given. */
struct soft_row_sums {
    struct double_double loss, mass, entropy;
    f64x8 lowest;
};

static void finish_soft(struct soft_row_sums *of, const struct pairs *pairs, int i, int n, struct soft_sums *sums)
{
    const f64x8 zero = set_f64(0);
    f64x8 tail_low, tail = tails(pairs, i, n, &tail_low);
    add_weighted(&of->loss, of->mass.high, tail);
    of->loss.low = add_f64(of->loss.low, fma_f64(of->mass.high, tail_low, mul_f64(of->mass.low, tail)));
    store_part_f64(sums->loss + i, n, rounded(of->loss));         /* NaN in the row is one in the low part, target or not */
    store_part_f64(sums->slope + i, n, rounded(of->mass));
    store_part_f64(sums->curvature + i, n, zero);
    store_part_f64(sums->entropy + i, n, rounded(of->entropy));
    store_part_f64(sums->lowest + i, n, of->lowest);
}

#define TEMPLATE "losses/soft.template.h"
#include "simd/instantiate.h"

static void soft_loss(struct source x, const struct class_target *target, int entropy, int n_rows, ptrdiff_t n_classes,
                      const struct pairs *pairs, struct soft_sums *sums)
{
    BY_ELEMENT(x.element, soft_loss)(x, target, entropy, n_rows, n_classes, pairs, sums);
}

const struct cross_entropy_kernels PER_SET(cross_entropy) = {
    .code_loss = code_loss, .code_loss_single = code_loss_single, .soft_loss = soft_loss};
