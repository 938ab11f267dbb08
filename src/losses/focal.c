/* C layer: losses and derivatives with a focal factor, in float64 whatever the logits are. */

#include "losses/focal.h"
#include "losses/focal_terms.h"
#include "memory/rows.h"
#include "sums/lanes.h"
#include "targets/weights.h"

static void code_loss(double gamma, const double *rest, int n_rows, double *loss, double *slope, double *curvature)
{
    for (int i = 0; i < n_rows; i += 8) {
        int n = at_most_8(n_rows - i);
        struct focal terms = focal_terms(terms_of(load_part_f64(loss + i, n, 0), load_part_f64(rest + i, n, 0)), gamma);
        store_part_f64(loss + i, n, terms.f);
        store_part_f64(slope + i, n, terms.b);
        store_part_f64(curvature + i, n, terms.h);
    }
}

static void soft_loss(struct source x, const struct class_target *target, double gamma, int n_rows, ptrdiff_t n_classes,
                      const struct pairs *pairs, struct soft_sums *sums)
{
    const f64x8 zero = set_f64(0);
    for (int i = 0; i < n_rows; i++) {
        f64x8 m = set_f64(pairs->m[i]), tail_low, tail = tail_of_row(pairs, i, &tail_low);
        struct double_double loss = {zero, zero}, slope = loss, curvature = loss;
        sums->lowest[i] = INFINITY;
        for (ptrdiff_t first = 0; first < n_classes; first += TILE) {
            int n_tile = n_classes - first < TILE ? (int)(n_classes - first) : TILE;
            double logits[TILE], weights[TILE];
            read_f64(x.rows[i] + first * x.class_stride, x.class_stride, x.element, n_tile, logits);
            target_weights(target, i, first, n_tile, weights, &sums->lowest[i]);
            for (int j = 0; j < n_tile; j += 8) {
                int n = at_most_8(n_tile - j);
                f64x8 a = load_part_f64(weights + j, n, 0);
                f64x8 rest, l = class_loss(m, load_part_f64(logits + j, n, 0), tail, tail_low, &rest);
                struct focal terms = focal_terms(terms_of(l, rest), gamma);
                add_weighted(&loss, a, terms.f);
                add_weighted(&slope, a, terms.b);
                add_weighted(&curvature, a, terms.h);
            }
        }
        double nothing = pairs->sum[i] * 0 + pairs->e[i] * 0;         /* NaN in the row is NaN, even without a target */
        sums->loss[i] = lane_total(loss) + nothing;
        sums->slope[i] = lane_total(slope);
        sums->curvature[i] = lane_total(curvature);
        sums->entropy[i] = 0;
    }
}

static void derivatives(struct source x, struct sink grad, struct sink hess, const struct class_target *target, int n_rows,
                        ptrdiff_t n_classes, const struct pairs *pairs, struct focal_derivative given)
{
    const f64x8 zero = set_f64(0);
    for (int i = 0; i < n_rows; i++) {
        f64x8 m = set_f64(pairs->m[i]), tail_low, tail = tail_of_row(pairs, i, &tail_low);
        f64x8 slopes = set_f64(given.slope[i]), curvatures = set_f64(given.curvature[i]),
              scales = set_f64(given.scale[i]);
        for (ptrdiff_t first = 0; first < n_classes; first += TILE) {
            int n_tile = n_classes - first < TILE ? (int)(n_classes - first) : TILE;
            double logits[TILE], weights[TILE], results[TILE];
            read_f64(x.rows[i] + first * x.class_stride, x.class_stride, x.element, n_tile, logits);
            target_weights(target, i, first, n_tile, weights, NULL);
            for (int which = 0; which < 2; which++) {
                struct sink out = which ? hess : grad;
                if (!out.rows)
                    continue;
                for (int j = 0; j < n_tile; j += 8) {
                    int n = at_most_8(n_tile - j);
                    f64x8 a = load_part_f64(weights + j, n, 0), rest;
                    f64x8 l = class_loss(m, load_part_f64(logits + j, n, 0), tail, tail_low, &rest);
                    struct class_terms of = terms_of(l, rest);
                    f64x8 p = of.p, q = of.q;
                    struct focal terms = focal_terms(of, given.gamma);
                    i64x8 absent = equal_f64(a, zero);
                    f64x8 ab = choose_f64(absent, zero, mul_f64(a, terms.b)),
                          ah = choose_f64(absent, zero, mul_f64(a, terms.h));
                    f64x8 value = fma_f64(slopes, p, sub_f64(zero, ab));
                    if (which) {
                        f64x8 inner = fma_f64(set_f64(2 * given.z[i]), p, fnma_f64(curvatures, p, ah));
                        value = fma_f64(mul_f64(slopes, p), q, fnma_f64(ah, q, mul_f64(p, inner)));
                    }
                    store_part_f64(results + j, n, mul_f64(value, scales));
                }
                write_results(results, n_tile, x.element, out.rows[i] + first * out.class_stride, out.class_stride,
                              out.element);
            }
        }
    }
}

const struct focal_kernels PER_SET(focal) = {.code_loss = code_loss, .soft_loss = soft_loss, .derivatives = derivatives};
