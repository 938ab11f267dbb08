/* C layer: the logistic loss of float32 logits, in float32.
 *
 * With r = exp(-|x|) the likelier class costs log1p(r), the other one |x| more: terms >= 0, so nothing cancels. Their
 * probabilities are 1 - q and q = r / (1 + r). Errors: r 2 u, log1p of it 1.9 u more, the loss of a target of 0 or 1 below 3
 * ulp; q with its low part has that of r, and a derivative one rounding more.
 */

#include "losses/binary_weights.h"
#include "losses/logistic.h"
#include "memory/rows.h"
#include "simd/vmath.h"

static void of_two_classes(struct source x, const int64_t *code, int n_all, float *logit, float *low, float *target)
{
    const f32x16 zero = set_f32(0);
    for (int i = 0; i < n_all; i += 16) {
        const char *rows[16];
        float tile[32];
        struct source group = group_of(x, i, n_all - i < 16 ? n_all - i : 16, 16, rows);
        pack_group_f32(group, 2, tile);
        f32x16 a = load_f32(tile), b = load_f32(tile + 16), difference = sub_f32(b, a), b_part = add_f32(difference, a);
        f32x16 rest = sub_f32(sub_f32(b, b_part), add_f32(a, sub_f32(difference, b_part)));        /* two_sum's */
        store_f32(low + i, choose_f32(less_f32(abs_f32(difference), set_f32(256)), rest, zero));       /* else r is 0 */
        store_f32(logit + i, fma_f32(max_f32(a, b), zero, difference));     /* NaN where the larger is infinite */
    }
    for (int i = 0; i < n_all; i++)
        target[i] = float_of_bits((uint32_t)-(int32_t)code[i] & 0x3f800000);         /* of 1 */
}

/* n lanes from i, where there are so many. */
INLINE f32x16 lanes_from(const float *p, int i, int n_all)
{
    return n_all - i >= 16 ? load_f32(p + i) : n_all > i ? load_part_f32(p + i, n_all - i, 0) : set_f32(0);
}

/* r of all, two vectors step by step. exp finds it times 2^64, so that what is subnormal is rounded once. */
INLINE void find_exponentials(const float *logit, const float *low, int n_all, float *r)
{
    const i32x16 sign = bits_f32(set_f32(-0.0f));
    const f32x16 magic = set_f32(MAGIC_f32 + EXPONENT_BIAS_f32 + 64), lowest = set_f32(-(EXPONENT_BIAS_f32 + 64) * 0x1.62e43p-1f);
    for (int i = 0; i < n_all; i += 32) {
        f32x16 x[2], x_low[2];
        for (int k = 0; k < 2; k++) {
            i32x16 bits = bits_f32(lanes_from(logit, i + 16 * k, n_all)), minus = bits, negative = bits;
            EACH_REGISTER {
                minus.r[i] |= sign.r[i];
                negative.r[i] = minus.r[i] ^ bits.r[i];            /* the sign where x is >= 0 */
            }
            x[k] = from_bits_f32(minus);
            if (low) {
                i32x16 part = bits_f32(lanes_from(low, i + 16 * k, n_all));
                EACH_REGISTER part.r[i] ^= negative.r[i];
                x_low[k] = from_bits_f32(part);
            }
        }
        exps_f32(2, x, low ? x_low : NULL, magic, lowest);
        for (int k = 0; k < 2; k++)
            store_f32(r + i + 16 * k, mul_f32(x[k], set_f32(0x1p-64f)));
    }
}

/* q = r / (1 + r), to half of a float32's digits more. */
INLINE f32x16 smaller_probability(f32x16 r, f32x16 *low)
{
    const f32x16 one = set_f32(1);
    f32x16 total = add_f32(one, r), total_low = sub_f32(r, sub_f32(total, one)), inverse = div_f32(one, total);
    f32x16 q = mul_f32(r, inverse);
    *low = mul_f32(fnma_f32(q, total_low, fnma_f32(q, total, r)), inverse);
    return q;
}

/* What float64 takes from float32 lanes, through memory as load_wide does. unlikely: what the less likely class weighs, of both
 * classes together; q: its probability; sign: that of x. */
struct lanes {
    float size[16], tail[16], unlikely[16], q[16], q_low[16], sign[16];
};

/* Of n elements of half h: sign (unlikely - both q), and both (q - q^2), which knows nothing of a target that is NaN. */
INLINE void store_derivatives(const struct lanes *lanes, int h, int n, f64x8 unlikely, f64x8 both, double *grad, double *hess)
{
    f64x8 q = add_f64(load_wide_f32(lanes->q + 8 * h), load_wide_f32(lanes->q_low + 8 * h));
    f64x8 sign = load_wide_f32(lanes->sign + 8 * h);
    store_part_f64(grad, n, fma_f64(sign, fnma_f64(both, q, unlikely), set_f64(0)));               /* 0, not -0 */
    if (hess)
        store_part_f64(hess, n, mul_f64(both, fnma_f64(q, q, q)));
}

/* Of n elements of half h: the loss of float64 weights, and what the derivatives need. */
INLINE f64x8 weighted_loss(const struct lanes *lanes, int h, struct class_weights a, f64x8 *unlikely, f64x8 *both)
{
    const f64x8 zero = set_f64(0);
    *unlikely = choose_f64(less_f64(load_wide_f32(lanes->sign + 8 * h), zero), a.of1, a.of0);
    *both = add_f64(a.of1, a.of0);
    f64x8 size = choose_f64(equal_f64(*unlikely, zero), zero, load_wide_f32(lanes->size + 8 * h));     /* 0 * inf is 0 */
    return fma_f64(*unlikely, size, mul_f64(*both, load_wide_f32(lanes->tail + 8 * h)));
}

/* First all exponentials, then what is made of them: one loop of both would wait for each. */
INLINE int loss_of(const float *logit, const float *low, const float *target, const struct binary_target *weighted, int n_all,
                   float *loss, double *grad, double *hess, int derivatives)
{
    const f32x16 zero = set_f32(0), one = set_f32(1);
    float all_r[BLOCK];
    f32x16 lowest = zero, highest = one;
    struct extent extent = {set_f64(0), set_f64(1)};
    find_exponentials(logit, low, n_all, all_r);
    for (int i = 0; i < n_all; i += 16) {
        int n = n_all - i < 16 ? n_all - i : 16;
        f32x16 x = lanes_from(logit, i, n_all), size = abs_f32(x), r = load_f32(all_r + i), tail = log1p_of_unit(r);
        i32x16 negative = less_f32(x, zero);
        struct lanes lanes;
        double values[16] = {0};
        if (derivatives || weighted)
            store_f32(lanes.sign, choose_f32(negative, set_f32(-1), one));
        if (derivatives) {
            f32x16 q_low, q = smaller_probability(r, &q_low);
            store_f32(lanes.q, q);
            store_f32(lanes.q_low, q_low);
        }
        if (weighted) {
            store_f32(lanes.size, size);
            store_f32(lanes.tail, tail);
        } else {
            f32x16 t = lanes_from(target, i, n_all), unlikely = choose_f32(negative, t, sub_f32(one, t));
            lowest = min_f32(t, lowest);
            highest = max_f32(t, highest);
            size = choose_f32(equal_f32(unlikely, zero), zero, size);                  /* 0 * inf is 0 */
            store_part_f32(loss + i, n, fma_f32(unlikely, size, tail));
            if (derivatives)
                store_f32(lanes.unlikely, unlikely);
        }
        for (int h = 0; (derivatives || weighted) && h < 2 && 8 * h < n; h++) {
            int at = i + 8 * h, part = at_most_8(n - 8 * h);
            f64x8 unlikely, both = set_f64(1);
            if (weighted) {
                struct class_weights a = binary_weights(weighted, at, part, &extent);
                store_f64(values + 8 * h, weighted_loss(&lanes, h, a, &unlikely, &both));
            } else
                unlikely = load_wide_f32(lanes.unlikely + 8 * h);
            if (derivatives)
                store_derivatives(&lanes, h, part, unlikely, both, grad + at, hess ? hess + at : NULL);
        }
        if (weighted)
            store_part_f32(loss + i, n, narrow_f32(values));
    }
    return within_0_and_1(extent) && !any_f32(less_f32(lowest, zero)) && !any_f32(less_f32(one, highest));
}

/* float64 targets: those that a float32 holds as such, so that a target's type does not matter, and all others again. */
static int loss_of_wide_targets(const float *logit, const struct binary_target *target, int n_all, float *loss, double *grad,
                                double *hess)
{
    float single[BLOCK], x[BLOCK], again[BLOCK];
    double t[BLOCK], slope[BLOCK], curvature[BLOCK] = {0};
    int element[BLOCK], n = 0;
    for (int i = 0; i < n_all; i++) {
        single[i] = (float)target->t[i];
        if (single[i] != target->t[i] && target->t[i] == target->t[i]) {
            element[n] = i;
            x[n] = logit[i];
            t[n++] = target->t[i];
        }
    }
    int valid = EITHER(grad != NULL, loss_of, logit, NULL, single, NULL, n_all, loss, grad, hess);
    const struct binary_target others = {t, NULL, 1, 0};
    if (n)
        valid &= EITHER(grad != NULL, loss_of, x, NULL, NULL, &others, n, again, slope, hess ? curvature : NULL);
    for (int i = 0; i < n; i++) {
        loss[element[i]] = again[i];
        if (grad)
            grad[element[i]] = slope[i];
        if (hess)
            hess[element[i]] = curvature[i];
    }
    return valid;
}

static int loss(const float *logit, const float *low, const float *target, const struct binary_target *weighted, int n_all,
                float *loss, double *grad, double *hess)
{
    if (weighted && weighted->uniform == 0 && !weighted->pos_weight)
        return loss_of_wide_targets(logit, weighted, n_all, loss, grad, hess);
    if (weighted)
        return EITHER(grad != NULL, loss_of, logit, NULL, NULL, weighted, n_all, loss, grad, hess);
    if (low)
        return EITHER(grad != NULL, loss_of, logit, low, target, NULL, n_all, loss, grad, hess);
    return EITHER(grad != NULL, loss_of, logit, NULL, target, NULL, n_all, loss, grad, hess);
}

static void to_two_classes(const double *terms, const double *scale, int alike, int n_all, struct sink out)
{
    const f32x16 zero = set_f32(0);
    const int follow = out.row_stride && out.row_stride == 2 * out.class_stride;
    for (int i = 0; i < n_all; i += 16) {
        int n = n_all - i < 16 ? n_all - i : 16;
        double results[16] = {0};
        float values[32];
        for (int h = 0; h < 2 && 8 * h < n; h++) {
            int part = at_most_8(n - 8 * h);
            store_f64(results + 8 * h, mul_f64(load_part_f64(terms + i + 8 * h, part, 0), load_part_f64(scale + i + 8 * h, part, 0)));
        }
        f32x16 of1 = narrow_f32(results), of0 = alike ? of1 : sub_f32(zero, of1), both[2] = {of0, of1};
        if (follow) {
            unpairs_f32(both, values);
            write_f32(out.rows[i], out.class_stride, out.element, 2 * n, values);
            continue;
        }
        store_f32(values, of0);
        store_f32(values + 16, of1);
        for (int c = 0; c < 2; c++)
            if (out.row_stride)
                write_f32(out.rows[i] + c * out.class_stride, out.row_stride, out.element, n, values + 16 * c);
            else
                for (int k = 0; k < n; k++)
                    write_element(out.rows[i + k] + c * out.class_stride, out.element, values[16 * c + k]);
    }
}

const struct logistic_kernels PER_SET(logistic) = {
    .of_two_classes = of_two_classes, .loss = loss, .to_two_classes = to_two_classes};
