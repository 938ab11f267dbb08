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

#define ELEMENT_f64 F64
#define ELEMENT_f32 F32

/* The weights a_c of the classes [first, first + n) of row i; lowest, where given, takes in the elements of a dense target. */
static void target_weights(const struct class_target *target, int i, ptrdiff_t first, int n, double *out, double *lowest);

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

#include "rows_terms.h"

static void gather(struct source x, const int64_t *code, int n_rows, double *out)
{
    for (int i = 0; i < n_rows; i++)
        read_f64(x.rows[i] + code[i] * x.step, 0, x.element, 1, out + i, 1);
}

/* float64 logits in float64; all others in float32. */
static void pair(struct source x, int wide, int n_rows, ptrdiff_t n_classes, struct pairs *pairs)
{
    (wide ? pair_wide : x.element == F64 ? pair_f64 : pair_f32)(x, n_rows, n_classes, pairs);
}

static void gradient(struct source x, struct sink out, const struct class_target *target, int n_rows, ptrdiff_t n_classes,
                     const struct pairs *pairs, const double *slope, const double *scale)
{
    (x.element == F64 ? gradient_f64 : gradient_f32)(x, out, target, n_rows, n_classes, pairs, slope, scale);
}

static void range(struct source x, int n_rows, ptrdiff_t n_classes, double *sum, double *lowest, double *highest)
{
    for (int i = 0; i < n_rows; i++) {
        double total = 0, low = INFINITY, high = -INFINITY;
        for (ptrdiff_t first = 0; first < n_classes; first += TILE) {
            int n = n_classes - first < TILE ? (int)(n_classes - first) : TILE;
            double copy[TILE];
            const double *values = contiguous_f64(x, i, first, n, copy);
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

static void add(const double *value, const double *weight, const double *share, ptrdiff_t n, struct exact_sum *total,
                struct exact_sum *total_share)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        double w = weight[i], product = w * value[i];
        exact_add(total_share, share[i]);
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
    .name = TEXT(KERNELS), .gather = gather, .pair = pair, .pair_binary = pair_binary, .logsumexp = logsumexp, .target_loss = target_loss,
    .focal = focal, .soft_loss = soft_loss, .gradient = gradient, .elements = elements, .log_softmax = log_softmax,
    .binary = binary, .bernoulli = bernoulli, .proba_loss = proba_loss, .proba_gradient = proba_gradient, .range = range,
    .minus_log = minus_log, .add = add, .elementary = elementary};
