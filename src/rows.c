/* C layer: the kernels of rows.h. Compiled once per instruction set, which names the table: -DKERNELS=avx2, ... */

#include "rows.h"
#include "vmath.h"

enum {
    FEW = 64,                                     /* up to so many classes, lanes are rows; above, lanes are classes */
    TILE = 256,                                   /* classes packed at a time where they do not lie side by side */
};

/* The middle of the exponents (rows_body.h): sums of 2^40 terms must not overflow, and terms 2^-1075 (2^-150 for float32)
 * of the largest must not be lost, for every |m| <= NEAR. FAR: for |x| up to FAR + 746 (FAR + 104) n * LN2_HIGH is
 * exact, and beyond FAR every x that counts lies within a factor of 2 of m. GUARD: a product of the smallest subnormal still
 * comes from normal factors; MOST_POWER: and the largest exponent from one below infinity. */
#define MIDDLE_f64 516
#define NEAR_f64 320
#define FAR_f64 1500
#define GUARD_f64 54
#define MOST_POWER_f64 960
#define MIDDLE_f32 75
#define NEAR_f32 35
#define FAR_f32 210
#define GUARD_f32 25
#define MOST_POWER_f32 95

struct wide {
    f64x8 high, low;
};

INLINE int at_most_8(int n)
{
    return n < 8 ? n : 8;
}

/* round(x / ln 2), by multiplying and adding alone. */
INLINE f64x8 nearest_exponent(f64x8 x)
{
    return sub_f64(add_f64(mul_f64(x, set_f64(LOG2E)), set_f64(MAGIC_f64)), set_f64(MAGIC_f64));
}

INLINE void accumulate_f64(f64x8 *sum, f64x8 *low, f64x8 term)
{
    f64x8 error;
    *sum = two_sum(*sum, term, &error);
    *low = add_f64(*low, error);
}

INLINE void accumulate_f32(f64x8 *sum, f64x8 *low, f32x16 term)
{
    (void)low;
    sum[0] = add_f64(sum[0], widen_f32(term, 0));
    sum[1] = add_f64(sum[1], widen_f32(term, 1));
}

struct lane_sum {
    f64x8 max_x, max_e;
    struct wide sum;
};

/* Of two lanes of a row, each the sum of its terms but the largest: the smaller of the two largest enters. */
INLINE void merge_lanes(struct lane_sum *a, const struct lane_sum *b)
{
    accumulate_f64(&a->sum.high, &a->sum.low, b->sum.high);
    a->sum.low = add_f64(a->sum.low, b->sum.low);
    accumulate_f64(&a->sum.high, &a->sum.low, min_f64(a->max_e, b->max_e));
    a->max_e = max_f64(a->max_e, b->max_e);
    a->max_x = max_f64(a->max_x, b->max_x);
}

/* a / b as quotient + low; a quotient so small that it is rounded as a subnormal has no low part to speak of. */
INLINE f64x8 divide_wide(struct wide a, struct wide b, f64x8 *low)
{
    f64x8 quotient = div_f64(a.high, b.high);
    f64x8 rest = add_f64(fnma_f64(quotient, b.high, a.high), fnma_f64(quotient, b.low, a.low));
    return fast_two_sum(quotient, div_f64(rest, b.high), low);
}

/* 1 / (e * (1 + r)), rounded about once. */
INLINE f64x8 softmax_scale(struct wide e, f64x8 r, f64x8 r_low)
{
    f64x8 u_low, u = two_sum(set_f64(1), r, &u_low), whole = mul_f64(e.high, u);
    u_low = add_f64(u_low, r_low);
    f64x8 rest = add_f64(fma_f64(e.high, u, sub_f64(set_f64(0), whole)), fma_f64(e.high, u_low, mul_f64(e.low, u)));
    f64x8 inverse = div_f64(set_f64(1), whole);
    f64x8 error = fnma_f64(inverse, rest, fnma_f64(inverse, whole, set_f64(1)));
    return fma_f64(inverse, error, inverse);
}

/* Classes [first, first + n) of row i as float64. */
static void read_row(const struct source *source, int i, ptrdiff_t first, int n, double *out)
{
    const char *p = source->rows[i] + first * source->step;
    switch (source->element) {
#define CASE(NAME, C)                                                                                              \
    case NAME:                                                                                                     \
        for (int j = 0; j < n; j++) {                                                                              \
            C value;                                                                                               \
            memcpy(&value, p + j * source->step, sizeof value);                                                    \
            out[j] = (double)value;                                                                                \
        }                                                                                                          \
        break;
        CASE(F64, double)
        CASE(F32, float)
        CASE(I8, int8_t)
        CASE(I16, int16_t)
        CASE(I32, int32_t)
        CASE(I64, int64_t)
        CASE(U8, uint8_t)
        CASE(U16, uint16_t)
        CASE(U32, uint32_t)
        CASE(U64, uint64_t)
#undef CASE
    case ELEMENTS:
        break;
    }
}

/* The soft target's classes [first, first + n) of row i, times their class weights. */
static void soft_weights(const struct soft_target *target, int i, ptrdiff_t first, int n, double *out)
{
    read_row(&target->source, i, first, n, out);
    const double *weight = target->class_weight + first * target->class_weight_step;
    for (int j = 0; j < n; j++)
        out[j] *= weight[j * target->class_weight_step];
}

#define T f64
#define C double
#define V f64x8
#include "rows_body.h"
#undef T
#undef C
#undef V
#define T f32
#define C float
#define V f32x16
#include "rows_body.h"
#undef T
#undef C
#undef V

static void pair(struct source x, int n_rows, ptrdiff_t n_classes, struct pairs *pairs)
{
    if (x.element == F64)
        pair_f64(x, n_rows, n_classes, pairs);
    else
        pair_f32(x, n_rows, n_classes, pairs);
}

static void gradient(struct source x, char *const *out, ptrdiff_t out_step, const struct soft_target *target, int n_rows,
                     ptrdiff_t n_classes, const struct pairs *pairs, const double *mass, const double *scale)
{
    if (x.element == F64)
        gradient_f64(x, out, out_step, target, n_rows, n_classes, pairs, mass, scale);
    else
        gradient_f32(x, out, out_step, target, n_rows, n_classes, pairs, mass, scale);
}

static void pair_binary(const double *x, int n_rows, struct pairs *pairs)
{
    for (int i = 0; i < n_rows; i += 8) {
        int n = at_most_8(n_rows - i);
        f64x8 logit = load_part_f64(x + i, n, 0), e_low;
        f64x8 index = set_f64(EXPONENT_BIAS_f64 + MIDDLE_f64), back = power_of_two(set_f64(-MIDDLE_f64));
        f64x8 e = exp_wide(sub_f64(set_f64(0), abs_f64(logit)), index, &e_low);
        /* Exactly scaled back: once rounded where it is subnormal, then without a low part. */
        f64x8 r = mul_f64(e, back), r_low = mul_f64(e_low, back);
        store_part_f64(pairs->m + i, n, max_f64(set_f64(0), logit));
        store_part_f64(pairs->r + i, n, r);
        store_part_f64(pairs->r_low + i, n, choose_f64(less_f64(r, set_f64(0x1p-960)), set_f64(0), r_low));
    }
}

/* a + b + low, for a >= 0 and b >= 0; inf where a or b is. */
INLINE f64x8 add_wide(f64x8 a, f64x8 b, f64x8 low)
{
    f64x8 error, sum = two_sum(a, b, &error);
    return choose_f64(less_f64(sum, set_f64(INFINITY)), add_f64(sum, add_f64(error, low)), sum);
}

static void target_loss(const struct pairs *pairs, const double *x_target, int n_rows, double *loss, double *off)
{
    for (int i = 0; i < n_rows; i += 8) {
        int n = at_most_8(n_rows - i);
        f64x8 m = load_part_f64(pairs->m + i, n, 0), x = load_part_f64(x_target + i, n, 0), margin_low, tail_low;
        f64x8 margin = two_sum(m, sub_f64(set_f64(0), x), &margin_low);
        margin = choose_f64(equal_f64(m, x), set_f64(0), margin);   /* infinities included */
        margin_low = choose_f64(equal_f64(m, x), set_f64(0), margin_low);
        f64x8 tail = log1p_wide(load_part_f64(pairs->r + i, n, 0), load_part_f64(pairs->r_low + i, n, 0), &tail_low);
        f64x8 value = add_wide(margin, tail, add_f64(margin_low, tail_low));
        store_part_f64(loss + i, n, value);
        f64x8 minus = sub_f64(set_f64(0), value);
        store_part_f64(off + i, n, sub_f64(set_f64(0), expm1_f64(minus)));
    }
}

static void soft_loss(struct source x, const struct soft_target *target, int n_rows, ptrdiff_t n_classes,
                      const struct pairs *pairs, double *loss, double *mass, double *lowest)
{
    for (int i = 0; i < n_rows; i++) {
        f64x8 m = set_f64(pairs->m[i]), zero = set_f64(0), low = zero;
        f64x8 total = zero, total_low = zero, weight = zero, weight_low = zero;
        lowest[i] = INFINITY;
        for (ptrdiff_t first = 0; first < n_classes; first += TILE) {
            int n_tile = n_classes - first < TILE ? (int)(n_classes - first) : TILE;
            double logits[TILE + 8], raw[TILE + 8], weights[TILE + 8];
            read_row(&x, i, first, n_tile, logits);
            read_row(&target->source, i, first, n_tile, raw);
            for (int j = n_tile; j < n_tile + 8; j++)
                logits[j] = raw[j] = weights[j] = 0;
            const double *class_weight = target->class_weight + first * target->class_weight_step;
            for (int j = 0; j < n_tile; j++) {
                weights[j] = raw[j] * class_weight[j * target->class_weight_step];
                lowest[i] = raw[j] < lowest[i] ? raw[j] : lowest[i];
            }
            for (int j = 0; j < n_tile; j += 8) {
                f64x8 a = load_f64(weights + j), distance_low, product_low;
                f64x8 distance = two_sum(m, sub_f64(zero, load_f64(logits + j)), &distance_low);
                f64x8 product = mul_f64(a, distance);
                product_low = fma_f64(a, distance_low, fma_f64(a, distance, sub_f64(zero, product)));
                /* 0 * inf is 0; a term that is not finite has no low part. */
                i64x8 absent = equal_f64(a, zero), finite = less_f64(abs_f64(product), set_f64(INFINITY));
                accumulate_f64(&total, &total_low, choose_f64(absent, zero, product));
                total_low = add_f64(total_low, choose_f64(absent, zero, choose_f64(finite, product_low, zero)));
                accumulate_f64(&weight, &weight_low, a);
            }
        }
        double lanes[4][8];
        store_f64(lanes[0], total);
        store_f64(lanes[1], total_low);
        store_f64(lanes[2], weight);
        store_f64(lanes[3], weight_low);
        struct wide d = {zero, zero}, w = {zero, zero};
        for (int l = 0; l < 8; l++) {
            accumulate_f64(&d.high, &d.low, set_f64(lanes[0][l]));
            accumulate_f64(&w.high, &w.low, set_f64(lanes[2][l]));
            d.low = add_f64(d.low, set_f64(lanes[1][l]));
            w.low = add_f64(w.low, set_f64(lanes[3][l]));
        }
        f64x8 tail = log1p_wide(set_f64(pairs->r[i]), set_f64(pairs->r_low[i]), &low);
        f64x8 share = add_f64(w.high, w.low), term = mul_f64(share, tail);
        f64x8 term_low = fma_f64(share, low, fma_f64(share, tail, sub_f64(zero, term)));
        f64x8 value = add_wide(d.high, term, add_f64(d.low, term_low));
        double result[8], mass_[8];
        store_f64(result, value);
        store_f64(mass_, share);
        loss[i] = result[0];
        mass[i] = mass_[0];
    }
}

static void range(struct source x, int n_rows, ptrdiff_t n_classes, double *sum, double *lowest, double *highest)
{
    for (int i = 0; i < n_rows; i++) {
        double total = 0, low = INFINITY, high = -INFINITY;
        for (ptrdiff_t first = 0; first < n_classes; first += TILE) {
            int n = n_classes - first < TILE ? (int)(n_classes - first) : TILE;
            double values[TILE];
            read_row(&x, i, first, n, values);
            for (int j = 0; j < n; j++) {
                total += values[j];
                low = values[j] < low ? values[j] : low;
                high = values[j] > high ? values[j] : high;
            }
        }
        sum[i] = total;
        lowest[i] = low;
        highest[i] = high;
    }
}

static void minus_log(const double *p, const unsigned char *complement, double eps, ptrdiff_t n, double *out)
{
    for (ptrdiff_t i = 0; i < n; i += 8) {
        int part = n - i < 8 ? (int)(n - i) : 8;
        double flags[8] = {0};
        for (int j = 0; j < part; j++)
            flags[j] = complement[i + j];
        f64x8 value = load_part_f64(p + i, part, 1), low;
        value = min_f64(set_f64(1 - eps), max_f64(set_f64(eps), value));
        i64x8 of_complement = less_f64(set_f64(0), load_f64(flags));
        f64x8 start = choose_f64(of_complement, set_f64(1), value);
        f64x8 minus = choose_f64(of_complement, sub_f64(set_f64(0), value), set_f64(0));
        f64x8 x_low, x = two_sum(start, minus, &x_low), high = log_wide(x, x_low, &low);
        store_part_f64(out + i, part, sub_f64(set_f64(0), add_f64(high, low)));
    }
}

static void add(const double *value, const double *weight, ptrdiff_t n, struct exact_sum *total,
                struct exact_sum *total_weight)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        double w = weight[i], product = w * value[i];
        exact_add(total_weight, w);
        if (w == 0 && value[i] == value[i])
            continue;                             /* 0 * inf is 0 here, but a NaN stays one */
        exact_add(total, product);
        if (fabs(product) < INFINITY && w != 1)
            exact_add(total, fma(w, value[i], -product));
    }
}

static void elementary(int function, const double *x, ptrdiff_t n, double *out)
{
    for (ptrdiff_t i = 0; i < n; i += 8) {
        int part = n - i < 8 ? (int)(n - i) : 8;
        f64x8 v = load_part_f64(x + i, part, 1), low = set_f64(0), y = v;
        float narrow[16] = {0}, result[16];
        switch (function) {
        case 0: y = exp_f64(v, set_f64(MAGIC_f64 + EXPONENT_BIAS_f64), set_f64(-EXPONENT_BIAS_f64 / LOG2E)); break;
        case 1: y = expm1_f64(v); break;
        case 2: y = log_wide(v, set_f64(0), &low); break;
        case 3: y = log1p_wide(v, set_f64(0), &low); break;
        case 4:
            for (int j = 0; j < part; j++)
                narrow[j] = (float)x[i + j];
            store_f32(result, exp_f32(load_f32(narrow), set_f32(MAGIC_f32 + EXPONENT_BIAS_f32),
                                      set_f32((float)(-EXPONENT_BIAS_f32 / LOG2E))));
            for (int j = 0; j < part; j++)
                out[i + j] = result[j];
            continue;
        }
        store_part_f64(out + i, part, add_f64(y, low));
    }
}

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define TABLE_(x) xentc_kernels_##x
#define TABLE(x) TABLE_(x)

const struct kernels TABLE(KERNELS) = {
    .name = TEXT(KERNELS), .pair = pair, .pair_binary = pair_binary, .target_loss = target_loss, .soft_loss = soft_loss,
    .gradient = gradient, .range = range, .minus_log = minus_log, .add = add, .elementary = elementary};
