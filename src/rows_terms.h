/* C layer: the kernels that work on the terms of a loss, in float64 whatever the logits are. Included by rows.c. */

/* exp(x) for x <= 0, subnormal results included. */
INLINE f64x8 exp_full(f64x8 x)
{
    const double middle = EXPONENT_BIAS_f64 + MIDDLE_f64;
    f64x8 e = exp_f64(x, set_f64(MAGIC_f64 + middle), lowest_f64(set_f64(middle)));
    return mul_f64(e, power_of_two(set_f64(-MIDDLE_f64)));
}

/* The row pairs with every exponential and the sum in twice the precision: a focal factor (1 - p)^gamma makes gamma + 1
 * times the error of r, and float32's exponentials would not do. */
static void pair_wide(struct source x, int n_rows, ptrdiff_t n_classes, struct pairs *pairs)
{
    pairs->unit = 0;
    const f64x8 middle = set_f64(EXPONENT_BIAS_f64 + MIDDLE_f64), zero = set_f64(0);
    for (int i = 0; i < n_rows; i++) {
        double tile[TILE], m = -INFINITY;
        ptrdiff_t top = 0;
        int defined = 1;
        for (ptrdiff_t first = 0; first < n_classes; first += TILE) {
            int n = n_classes - first < TILE ? (int)(n_classes - first) : TILE;
            read_f64(x.rows[i] + first * x.step, x.step, x.element, n, tile);
            for (int j = 0; j < n; j++) {
                defined &= tile[j] == tile[j];
                if (tile[j] > m) {
                    m = tile[j];
                    top = first + j;
                }
            }
        }
        struct wide sum = {zero, zero};
        for (ptrdiff_t first = 0; first < n_classes; first += TILE) {
            int n_tile = n_classes - first < TILE ? (int)(n_classes - first) : TILE;
            read_f64(x.rows[i] + first * x.step, x.step, x.element, n_tile, tile);
            if (first <= top && top < first + n_tile)
                tile[top - first] = -INFINITY;    /* the one that is left out */
            for (int j = 0; j < n_tile; j += 8) {
                f64x8 low, e_low, logits = load_part_f64(tile + j, at_most_8(n_tile - j), -INFINITY);
                f64x8 margin = two_sum(logits, set_f64(-m), &low), e = exp_wide(margin, middle, &e_low);
                low = choose_f64(less_f64(set_f64(-INFINITY), margin), low, zero);
                add_term(&sum, e, fma_f64(e, low, e_low));
            }
        }
        f64x8 e_low, e = x.element == F64 ? largest_f64(set_f64(m), 0, &e_low) : largest_f32(set_f64(m), 0, &e_low);
        f64x8 r = set_f64(lane_total(sum)), down = set_f64(0x1p-516);      /* 2^-MIDDLE */
        e = mul_f64(e, down);
        f64x8 total = mul_f64(r, e), total_low = fma_f64(r, e, sub_f64(zero, total));
        pairs->m[i] = m;
        store_part_f64(pairs->e + i, 1, mul_f64(e, set_f64(0x1p516)));
        store_part_f64(pairs->e_low + i, 1, e_low);
        store_part_f64(pairs->sum + i, 1, defined ? total : set_f64(NAN));
        store_part_f64(pairs->sum_low + i, 1, fma_f64(r, mul_f64(e_low, down), total_low));
    }
}

static void pair_binary(const double *x, int n_rows, struct pairs *pairs)
{
    const f64x8 zero = set_f64(0), index = set_f64(EXPONENT_BIAS_f64 + MIDDLE_f64);
    pairs->unit = 0;
    for (int i = 0; i < n_rows; i += 8) {
        int n = at_most_8(n_rows - i);
        f64x8 logit = load_part_f64(x + i, n, 0), low, sum = exp_wide(sub_f64(zero, abs_f64(logit)), index, &low);
        store_part_f64(pairs->m + i, n, max_f64(zero, logit));
        store_part_f64(pairs->e + i, n, set_f64(0x1p516));          /* 2^MIDDLE */
        store_part_f64(pairs->e_low + i, n, zero);
        store_part_f64(pairs->sum + i, n, sum);
        store_part_f64(pairs->sum_low + i, n, low);
    }
}

/* a + b + low with what rounding leaves, for a >= 0 and b >= 0; inf where a or b is. */
INLINE f64x8 add_wide(f64x8 a, f64x8 b, f64x8 low, f64x8 *rest)
{
    f64x8 error, high = two_sum(a, b, &error), sum = fast_two_sum(high, add_f64(error, low), rest);
    i64x8 finite = less_f64(high, set_f64(INFINITY));
    *rest = choose_f64(finite, *rest, set_f64(0));
    return choose_f64(finite, sum, high);
}

/* -log softmax of x in rows of maximum m and log1p(r) = tail. A difference of equal values is 0, infinities included. */
INLINE f64x8 class_loss(f64x8 m, f64x8 x, f64x8 tail, f64x8 tail_low, f64x8 *rest)
{
    f64x8 margin_low, margin = two_sum(m, sub_f64(set_f64(0), x), &margin_low);
    i64x8 equal = equal_f64(m, x);
    margin = choose_f64(equal, set_f64(0), margin);
    margin_low = choose_f64(equal, set_f64(0), margin_low);
    return add_wide(margin, tail, add_f64(margin_low, tail_low), rest);
}

/* A class of loss l + rest: its probability p, and q + q_low, that of all others. */
struct class_terms {
    f64x8 l, rest, p, q, q_low;
};

/* exp(-l) without the rest would be l half-ulps off. */
INLINE struct class_terms terms_of(f64x8 l, f64x8 rest)
{
    f64x8 zero = set_f64(0), one = set_f64(1), high, low, p = exp_full(sub_f64(zero, l));
    f64x8 factor = exp_parts(max_f64(set_f64(-700), sub_f64(zero, l)), set_f64(EXPONENT_BIAS_f64), &high, &low), q_low;
    f64x8 q = two_sum(sub_f64(one, factor), mul_f64(factor, sub_f64(zero, high)), &q_low);   /* 1 - 2^n - 2^n t */
    q_low = add_f64(q_low, fnma_f64(factor, low, mul_f64(p, rest)));
    q = fast_two_sum(q, q_low, &q_low);
    return (struct class_terms){l, rest, fnma_f64(p, rest, p), q, q_low};
}

/* log1p(r) of n rows from i; and of one row, in all lanes. */
INLINE f64x8 tails(const struct pairs *pairs, int i, int n, f64x8 *low)
{
    return log1p_wide(load_part_f64(pairs->sum + i, n, 0), load_part_f64(pairs->sum_low + i, n, 0),
                      load_part_f64(pairs->e + i, n, 1), load_part_f64(pairs->e_low + i, n, 0), low);
}

INLINE f64x8 tail_of_row(const struct pairs *pairs, int i, f64x8 *low)
{
    return log1p_wide(set_f64(pairs->sum[i]), set_f64(pairs->sum_low[i]), set_f64(pairs->e[i]), set_f64(pairs->e_low[i]), low);
}

static void logsumexp(const struct pairs *pairs, int n_rows, double *out)
{
    for (int i = 0; i < n_rows; i += 8) {
        int n = at_most_8(n_rows - i);
        f64x8 m = load_part_f64(pairs->m + i, n, 0), low, error, tail = tails(pairs, i, n, &low);
        f64x8 sum = two_sum(m, tail, &error);
        store_part_f64(out + i, n, add_f64(sum, add_f64(error, low)));
    }
}

static void target_loss(const struct pairs *pairs, const double *x_target, int narrow, int n_rows, double *loss, double *rest)
{
    for (int i = 0; i < n_rows; i += 8) {
        int n = at_most_8(n_rows - i);
        f64x8 m = load_part_f64(pairs->m + i, n, 0), x = load_part_f64(x_target + i, n, 0);
        if (narrow) {
            f64x8 margin = choose_f64(equal_f64(m, x), set_f64(0), sub_f64(m, x));
            f64x8 sum = load_part_f64(pairs->sum + i, n, 0);
            f64x8 tail = pairs->unit ? log1p_of_unit(sum) : log1p_short(sum, load_part_f64(pairs->e + i, n, 1));
            store_part_f64(loss + i, n, add_f64(margin, tail));
        } else {
            f64x8 low, remainder, tail = tails(pairs, i, n, &low);
            store_part_f64(loss + i, n, class_loss(m, x, tail, low, &remainder));
            store_part_f64(rest + i, n, remainder);
        }
    }
}

INLINE int is_small_integer(double gamma)
{
    return gamma == 0 || gamma == 1 || gamma == 2 || gamma == 3 || gamma == 4;
}

/* q^gamma for q + q_low in [0, 1] and gamma >= 0, with its low part: by multiplication up to 4, else exp(gamma log q). */
INLINE f64x8 power(f64x8 q, f64x8 q_low, double gamma, f64x8 *low)
{
    f64x8 zero = set_f64(0);
    if (is_small_integer(gamma)) {
        f64x8 result = set_f64(1);
        *low = zero;
        for (int i = 0; i < (int)gamma; i++) {
            f64x8 product = mul_f64(result, q);
            *low = fma_f64(*low, q, fma_f64(result, q_low, fma_f64(result, q, sub_f64(zero, product))));
            result = product;
        }
        return result;
    }
    /* A small q is scaled into the range of the logarithm. */
    i64x8 small = less_f64(q, set_f64(0x1p-900));
    f64x8 scaled = choose_f64(small, mul_f64(q, set_f64(0x1p200)), q), scaled_low = choose_f64(small, zero, q_low);
    f64x8 log_low, log_q = log_wide(scaled, scaled_low, &log_low), g = set_f64(gamma);
    log_q = choose_f64(small, sub_f64(log_q, set_f64(200 * 0x1.62e42fefa39efp-1)), log_q);
    f64x8 y = mul_f64(log_q, g), y_low = fma_f64(g, log_low, fma_f64(log_q, g, sub_f64(zero, y)));
    f64x8 result = exp_full(y);
    i64x8 none = equal_f64(q, zero);
    *low = choose_f64(none, zero, mul_f64(result, y_low));
    return choose_f64(none, zero, result);
}

/* The focal factor of a class of loss l, p = exp(-l), q = 1 - p: its value is f = q^gamma l. With b = -p df/dp, the gradient
 * of sum_c a_c f_c is (sum_c a_c b_c) p_j - a_j b_j, and with h = p db/dp it has the diagonal of the Hessian
 * P p q + p (a h - p H) - a h q, P and H the sums of a b and a h. gamma = 0 is b = 1, h = 0. rho = l / q is 1 at q = 0. */
struct focal {
    f64x8 f, b, h;
};

INLINE struct focal focal_terms(struct class_terms of, double gamma)
{
    f64x8 zero = set_f64(0), one = set_f64(1), l = of.l, p = of.p, q = of.q, low, lesser_low;
    if (gamma == 0)
        return (struct focal){l, one, zero};
    i64x8 certain = equal_f64(q, zero), never = equal_f64(p, zero);
    f64x8 p_rho = choose_f64(never, zero, mul_f64(p, choose_f64(certain, one, div_f64(l, q))));
    f64x8 factor = power(q, of.q_low, gamma, &low);
    f64x8 value = fma_f64(factor, l, fma_f64(low, l, mul_f64(factor, of.rest)));
    value = choose_f64(less_f64(l, set_f64(INFINITY)), value, l);
    factor = add_f64(factor, low);
    /* q^(gamma - 1); 0 at q = 0, where it may be infinite but counts only times q. */
    f64x8 lesser = is_small_integer(gamma) ? power(q, of.q_low, gamma - 1, &lesser_low)
                                           : choose_f64(certain, zero, div_f64(factor, q));
    f64x8 bracket = sub_f64(sub_f64(l, set_f64(2)), mul_f64(set_f64(gamma - 1), p_rho));
    f64x8 h = mul_f64(mul_f64(set_f64(gamma), p), mul_f64(lesser, bracket));
    return (struct focal){value, mul_f64(factor, fma_f64(set_f64(gamma), p_rho, one)), choose_f64(never, zero, h)};
}

static void focal(double gamma, const double *rest, int n_rows, double *loss, double *slope, double *curvature)
{
    for (int i = 0; i < n_rows; i += 8) {
        int n = at_most_8(n_rows - i);
        struct focal terms = focal_terms(terms_of(load_part_f64(loss + i, n, 0), load_part_f64(rest + i, n, 0)), gamma);
        store_part_f64(loss + i, n, terms.f);
        store_part_f64(slope + i, n, terms.b);
        store_part_f64(curvature + i, n, terms.h);
    }
}

/* The sums of a soft target: of eight classes of a row in each half, or a row a lane. */
struct soft_lanes {
    struct wide loss[2], mass[2];
    f64x8 lowest[2];
};

/* sum_c a_c (m - x_c + tail) = sum_c a_c (m - x_c) + tail * sum_c a_c with tail = log1p(r): one pass over logits and target, and
 * no term has another sign than its a. Those with a = 0 are left out, even if m - x is infinite. An infinite or undefined sum
 * has any low part. */
INLINE void add_soft_terms(struct soft_lanes *lanes, int half, f64x8 a, f64x8 m, f64x8 x, int wide, int cancels)
{
    struct wide *loss = &lanes->loss[half], *mass = &lanes->mass[half];
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
INLINE void add_entropy(struct wide *sum, f64x8 a, int wide)
{
    f64x8 normal = choose_f64(less_f64(a, set_f64(0x1p-1022)), set_f64(1), a), low = set_f64(0);
    f64x8 log_a = wide ? log_wide(normal, set_f64(0), &low) : log_short(normal, set_f64(0));
    add_weighted(sum, a, add_f64(log_a, low));
}

/* Of eight rows, whole or a segment. */
struct soft_row_sums {
    struct wide loss, mass, entropy;
    f64x8 lowest;
};

static void finish_soft(struct soft_row_sums *of, const struct pairs *pairs, int i, int n, struct soft_sums *sums)
{
    const f64x8 zero = set_f64(0);
    f64x8 tail_low, tail = tails(pairs, i, n, &tail_low);
    add_weighted(&of->loss, of->mass.high, tail);
    of->loss.low = add_f64(of->loss.low, fma_f64(of->mass.high, tail_low, mul_f64(of->mass.low, tail)));
    /* NaN in the row is NaN, even without a target. */
    f64x8 sum = load_part_f64(pairs->sum + i, n, 0), e = load_part_f64(pairs->e + i, n, 0);
    f64x8 nothing = add_f64(mul_f64(sum, zero), mul_f64(e, zero));
    store_part_f64(sums->loss + i, n, add_f64(rounded(of->loss), nothing));
    store_part_f64(sums->slope + i, n, rounded(of->mass));
    store_part_f64(sums->curvature + i, n, zero);
    store_part_f64(sums->entropy + i, n, rounded(of->entropy));
    store_part_f64(sums->lowest + i, n, of->lowest);
}

static void focal_soft_loss(struct source x, const struct class_target *target, double gamma, int n_rows,
                            ptrdiff_t n_classes, const struct pairs *pairs, struct soft_sums *sums)
{
    const f64x8 zero = set_f64(0);
    for (int i = 0; i < n_rows; i++) {
        f64x8 m = set_f64(pairs->m[i]), tail_low, tail = tail_of_row(pairs, i, &tail_low);
        struct wide loss = {zero, zero}, slope = loss, curvature = loss;
        sums->lowest[i] = INFINITY;
        for (ptrdiff_t first = 0; first < n_classes; first += TILE) {
            int n_tile = n_classes - first < TILE ? (int)(n_classes - first) : TILE;
            double logits[TILE], weights[TILE];
            read_f64(x.rows[i] + first * x.step, x.step, x.element, n_tile, logits);
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

/* n results `step` bytes apart: of float64 logits, or of others, which are float32 before they are anything else. */
static void write_results(const double *results, int n, enum element of, char *p, ptrdiff_t step, enum element element)
{
    float singles[TILE];
    if (of == F64) {
        write_f64(p, step, element, n, results);
        return;
    }
    for (int j = 0; j < n; j++)
        singles[j] = (float)results[j];
    write_f32(p, step, element, n, singles);
}

static void derivative(const double *terms, const double *scale, const double *loss, int n_all, enum element of, char *p,
                       ptrdiff_t step, enum element element)
{
    double results[BLOCK];
    for (int i = 0; i < n_all; i += 8) {
        int n = at_most_8(n_all - i);
        f64x8 s = load_part_f64(scale + i, n, 0), l = load_part_f64(loss + i, n, 0), zero = set_f64(0);
        f64x8 value = choose_f64(equal_f64(s, zero), zero, mul_f64(load_part_f64(terms + i, n, 0), s));
        store_part_f64(results + i, n, choose_f64(equal_f64(l, l), value, l));
    }
    write_results(results, n_all, of, p, step, element);
}

static void elements(struct source x, struct sink grad, struct sink hess, const struct class_target *target, double gamma,
                     const double *z, int n_rows, ptrdiff_t n_classes, const struct pairs *pairs, const double *slope,
                     const double *curvature, const double *scale)
{
    const f64x8 zero = set_f64(0);
    for (int i = 0; i < n_rows; i++) {
        f64x8 m = set_f64(pairs->m[i]), tail_low, tail = tail_of_row(pairs, i, &tail_low);
        f64x8 slopes = set_f64(slope[i]), curvatures = set_f64(curvature[i]), scales = set_f64(scale[i]);
        for (ptrdiff_t first = 0; first < n_classes; first += TILE) {
            int n_tile = n_classes - first < TILE ? (int)(n_classes - first) : TILE;
            double logits[TILE], weights[TILE], results[TILE];
            read_f64(x.rows[i] + first * x.step, x.step, x.element, n_tile, logits);
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
                    struct focal terms = focal_terms(of, gamma);
                    i64x8 absent = equal_f64(a, zero);
                    f64x8 ab = choose_f64(absent, zero, mul_f64(a, terms.b)), ah = choose_f64(absent, zero, mul_f64(a, terms.h));
                    f64x8 value = fma_f64(slopes, p, sub_f64(zero, ab));
                    if (which) {
                        f64x8 inner = fma_f64(set_f64(2 * z[i]), p, fnma_f64(curvatures, p, ah));
                        value = fma_f64(mul_f64(slopes, p), q, fnma_f64(ah, q, mul_f64(p, inner)));
                    }
                    store_part_f64(results + j, n, mul_f64(value, scales));
                }
                write_results(results, n_tile, x.element, out.rows[i] + first * out.step, out.step, out.element);
            }
        }
    }
}

/* -log(p), with inf for 0 and NaN below it; subnormals scaled into the logarithm's range. */
INLINE f64x8 cost(f64x8 p, f64x8 p_low)
{
    f64x8 low, zero = set_f64(0);
    i64x8 small = less_f64(p, set_f64(0x1p-1000));
    f64x8 log_p = log_wide(choose_f64(small, mul_f64(p, set_f64(0x1p200)), p), choose_f64(small, zero, p_low), &low);
    log_p = choose_f64(small, sub_f64(log_p, set_f64(200 * 0x1.62e42fefa39efp-1)), log_p);
    f64x8 result = sub_f64(zero, add_f64(log_p, low));
    result = choose_f64(equal_f64(p, zero), set_f64(INFINITY), result);
    return choose_f64(less_f64(p, zero), set_f64(NAN), result);
}

static void minus_log(const double *p, const int64_t *code, struct clip clip, ptrdiff_t n_all, double *out)
{
    const f64x8 zero = set_f64(0), one = set_f64(1), least = set_f64(clip.least), most = set_f64(clip.most);
    for (ptrdiff_t i = 0; i < n_all; i += 8) {
        int n = n_all - i < 8 ? (int)(n_all - i) : 8;
        f64x8 x = min_f64(most, max_f64(least, load_part_f64(p + i, n, 1))), x_low = zero, result;
        if (code) {
            i64x8 of_0 = code_is(code + i, n, 0);
            f64x8 other_low, other = two_sum(one, sub_f64(zero, x), &other_low);
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

/* What the losses of probabilities have in common: the clipping, of a probability and of its loss. */
enum proba { PLAIN, NORMALIZED, LOGS };

struct limits {
    double least, most, least_cost, most_cost;
};

static struct limits limits_of(struct clip clip)
{
    double costs[8], ends[8] = {clip.most, clip.least, 1, 1, 1, 1, 1, 1};
    store_f64(costs, cost(load_f64(ends), set_f64(0)));
    return (struct limits){clip.least, clip.most, costs[0], costs[1]};
}

/* The sums of a row's lanes, or of a row a lane: of the losses, and of the weights that clipping left alone. */
struct proba_lanes {
    struct wide loss[2], kept[2];
    f64x8 lowest;
};
