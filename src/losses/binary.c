/* C layer: the losses of binary targets, element by element, in float64 whatever the elements are. */

#include "losses/binary.h"
#include "losses/binary_weights.h"
#include "losses/cost.h"
#include "losses/focal_terms.h"
#include "memory/rows.h"

struct binary_terms {
    f64x8 loss, grad, hess;
};

/* With r = exp(-|x|) the likelier class costs log1p(r), the other one |x| more: terms >= 0, so nothing cancels. Their
 * probabilities are 1 / (1 + r) and r / (1 + r). */
INLINE struct binary_terms sigmoid_terms(f64x8 x, f64x8 r, f64x8 r_low, struct class_weights a, int first, int second)
{
    const f64x8 zero = set_f64(0), one = set_f64(1);
    f64x8 size = abs_f64(x), both = add_f64(a.of1, a.of0);
    i64x8 negative = less_f64(x, zero);
    f64x8 likely = choose_f64(negative, a.of0, a.of1), unlikely = choose_f64(negative, a.of1, a.of0), tail_low;
    f64x8 tail = log1p_wide(r, r_low, set_f64(0x1p516), zero, &tail_low);              /* 2^MIDDLE */
    tail = fma_f64(both, tail, mul_f64(both, tail_low));
    r = mul_f64(r, set_f64(0x1p-516));
    struct binary_terms terms = {zero, zero, zero};
    terms.loss = fma_f64(unlikely, choose_f64(equal_f64(unlikely, zero), zero, size), tail);        /* 0 * inf is 0 */
    f64x8 total = add_f64(one, r);
    if (first) {
        f64x8 slope = div_f64(fnma_f64(likely, r, unlikely), total);
        terms.grad = choose_f64(negative, sub_f64(zero, slope), slope);
    }
    if (second) {
        f64x8 q = div_f64(r, total);
        terms.hess = mul_f64(both, fnma_f64(q, q, q));
    }
    return terms;
}

/* a1 (1 - p)^gamma l1 + a0 p^gamma l0 with l1 and l0 the losses of the classes. */
INLINE struct binary_terms focal_sigmoid_terms(f64x8 x, struct class_weights a, double gamma)
{
    const f64x8 zero = set_f64(0), one = set_f64(1);
    f64x8 size = abs_f64(x), r = exp_full(sub_f64(zero, size)), low, near = log1p_wide(r, zero, one, zero, &low);
    f64x8 rest, far = add_wide(size, near, low, &rest), near_rest;
    near = fast_two_sum(near, low, &near_rest);
    f64x8 likely = div_f64(one, add_f64(one, r)), unlikely = mul_f64(r, likely);
    i64x8 negative = less_f64(x, zero);
    f64x8 p1 = choose_f64(negative, unlikely, likely), p0 = choose_f64(negative, likely, unlikely);
    struct class_terms of1 = {choose_f64(negative, far, near), choose_f64(negative, rest, near_rest), p1, p0, zero};
    struct class_terms of0 = {choose_f64(negative, near, far), choose_f64(negative, near_rest, rest), p0, p1, zero};
    struct focal terms1 = focal_terms(of1, gamma), terms0 = focal_terms(of0, gamma);
    struct double_double total = {zero, zero};
    add_weighted(&total, a.of1, terms1.f);
    add_weighted(&total, a.of0, terms0.f);
    f64x8 b1 = mul_f64(a.of1, terms1.b), b0 = mul_f64(a.of0, terms0.b);
    f64x8 h1 = mul_f64(a.of1, terms1.h), h0 = mul_f64(a.of0, terms0.h);
    f64x8 spread = mul_f64(mul_f64(p1, p0), add_f64(b1, b0));
    f64x8 bend = add_f64(mul_f64(h0, mul_f64(p1, p1)), mul_f64(h1, mul_f64(p0, p0)));
    return (struct binary_terms){add_f64(rounded(total), sub_f64(r, r)), sub_f64(mul_f64(b0, p1), mul_f64(b1, p0)),
                                 sub_f64(spread, bend)};
}

struct binary_results {
    double *loss, *grad, *hess;                   /* grad and hess may be NULL */
};

INLINE void store_terms(struct binary_results out, int i, int n, struct binary_terms terms, int derivatives)
{
    store_part_f64(out.loss + i, n, terms.loss);
    if (derivatives)
        store_part_f64(out.grad + i, n, terms.grad);
    if (derivatives && out.hess)
        store_part_f64(out.hess + i, n, terms.hess);
}

static int focal_sigmoid_loss(const double *x, const struct binary_target *target, double gamma, int n_all,
                              struct binary_results out)
{
    struct extent extent = {set_f64(0), set_f64(1)};
    for (int i = 0; i < n_all; i += 8) {
        int n = at_most_8(n_all - i);
        struct class_weights a = binary_weights(target, i, n, &extent);
        store_terms(out, i, n, focal_sigmoid_terms(load_part_f64(x + i, n, 0), a, gamma), out.grad != NULL);
    }
    return within_0_and_1(extent);
}

/* First all exponentials, then what is made of them: one loop of both would wait for each. */
INLINE int plain_sigmoid_loss(const double *x, const struct binary_target *target, int n_all, struct binary_results out,
                              int derivatives)
{
    struct extent extent = {set_f64(0), set_f64(1)};
    double r[BLOCK], r_low[BLOCK];
    for (int i = 0; i < n_all; i += 8) {
        f64x8 size = abs_f64(load_part_f64(x + i, at_most_8(n_all - i), 0)), low;
        store_f64(r + i, exp_wide(sub_f64(set_f64(0), size), set_f64(EXPONENT_BIAS_f64 + MIDDLE_f64), &low));
        store_f64(r_low + i, low);
    }
    for (int i = 0; i < n_all; i += 8) {
        int n = at_most_8(n_all - i);
        struct class_weights a = binary_weights(target, i, n, &extent);
        store_terms(out, i, n, sigmoid_terms(load_part_f64(x + i, n, 0), load_f64(r + i), load_f64(r_low + i), a, derivatives,
                                             derivatives && out.hess), derivatives);
    }
    return within_0_and_1(extent);
}

static int sigmoid_loss(const double *x, const struct binary_target *target, double gamma, int n_all, double *loss, double *grad,
                        double *hess)
{
    struct binary_results out = {loss, grad, hess};
    if (gamma != 0)
        return focal_sigmoid_loss(x, target, gamma, n_all, out);
    return EITHER(grad != NULL, plain_sigmoid_loss, x, target, n_all, out);
}

INLINE struct binary_terms bernoulli_terms(f64x8 p, struct class_weights a, struct clip clip, int narrow, int derivatives)
{
    const f64x8 zero = set_f64(0);
    f64x8 value = min_f64(set_f64(clip.most), max_f64(set_f64(clip.least), p)), undefined = sub_f64(p, p), other_low;
    f64x8 other = two_sum(set_f64(1), sub_f64(zero, value), &other_low);
    struct binary_terms terms = {zero, zero, zero};
    struct double_double total = {zero, zero};
    add_weighted(&total, a.of1, narrow ? cost_short(value, zero) : cost(value, zero));
    add_weighted(&total, a.of0, narrow ? cost_short(other, other_low) : cost(other, other_low));
    terms.loss = add_f64(rounded(total), undefined);
    if (derivatives) {
        f64x8 up = choose_f64(equal_f64(a.of1, zero), zero, div_f64(a.of1, value));
        f64x8 down = choose_f64(equal_f64(a.of0, zero), zero, div_f64(a.of0, add_f64(other, other_low)));
        terms.grad = choose_f64(equal_f64(value, p), sub_f64(down, up), undefined);
    }
    return terms;
}

static int bernoulli_loss(const double *p, const struct binary_target *target, struct clip clip, int narrow, int n_all,
                          double *loss, double *grad)
{
    struct extent extent = {set_f64(0), set_f64(1)};
    for (int i = 0; i < n_all; i += 8) {
        int n = at_most_8(n_all - i);
        f64x8 given = load_part_f64(p + i, n, 0.5);
        struct class_weights a = binary_weights(target, i, n, &extent);
        struct binary_terms terms;
        widen_extent(&extent, given);
        if (narrow)
            terms = bernoulli_terms(given, a, clip, 1, grad != NULL);
        else
            terms = bernoulli_terms(given, a, clip, 0, grad != NULL);
        store_part_f64(loss + i, n, terms.loss);
        if (grad)
            store_part_f64(grad + i, n, terms.grad);
    }
    return within_0_and_1(extent);
}

static void derivative(const double *terms, const double *scale, const double *loss, int n_all, enum element of, char *p,
                       ptrdiff_t stride, enum element element)
{
    double results[BLOCK];
    for (int i = 0; i < n_all; i += 8) {
        int n = at_most_8(n_all - i);
        f64x8 s = load_part_f64(scale + i, n, 0), value = mul_f64(load_part_f64(terms + i, n, 0), s);
        if (loss) {
            f64x8 l = load_part_f64(loss + i, n, 0), zero = set_f64(0);
            value = choose_f64(equal_f64(l, l), choose_f64(equal_f64(s, zero), zero, value), l);
        }
        store_part_f64(results + i, n, value);
    }
    write_results(results, n_all, of, p, stride, element);
}

const struct binary_kernels PER_SET(binary) = {
    .sigmoid_loss = sigmoid_loss, .bernoulli_loss = bernoulli_loss, .derivative = derivative};
