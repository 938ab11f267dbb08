/* C layer: the kernels of rows.h. Compiled once per instruction set, which names the table: -DKERNELS=avx2, ... */

#include "rows.h"
#include "vmath.h"
#include "halves.h"

enum {
    AHEAD = 2048,                                 /* bytes that a row is fetched ahead of its use */
    AHEAD_ACROSS = 6,                             /* classes that rows side by side are fetched ahead */
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
#define LEAST_FRACTION_f64 0x1p-1022
#define MOST_FRACTION_f64 0x1p-53
#define MIDDLE_f32 75
#define NEAR_f32 35
#define FAR_f32 210
#define GUARD_f32 25
#define MOST_POWER_f32 95
#define LEAST_FRACTION_f32 0x1p-126
#define MOST_FRACTION_f32 0x1p-24

#include "rows_sums.h"

INLINE int at_most_8(int n)
{
    return n < 8 ? n : 8;
}

/* round(x / ln 2), by multiplying and adding alone. */
INLINE f64x8 nearest_exponent(f64x8 x)
{
    return sub_f64(add_f64(mul_f64(x, set_f64(LOG2E)), set_f64(MAGIC_f64)), set_f64(MAGIC_f64));
}

/* Cache lines, `step` bytes apart. */
struct lines {
    const char *first;
    ptrdiff_t step;
};

/* The segments of a row, as equal as whole tiles can be. */
INLINE ptrdiff_t segment_length(ptrdiff_t n_classes)
{
    if (n_classes <= SEGMENT)
        return n_classes;
    ptrdiff_t n = (n_classes - 1) / SEGMENT + 1, length = (n_classes - 1) / (n < MOST_SEGMENTS ? n : MOST_SEGMENTS) + 1;
    return ((length - 1) / TILE + 1) * TILE;
}

/* part(context, i, scratch) for the segments i of rows: a context begins with a struct segments. */
struct segments {
    ptrdiff_t n_classes, length;
};

INLINE int count_segments(ptrdiff_t n_classes)
{
    return (int)((n_classes - 1) / segment_length(n_classes) + 1);
}

INLINE int run_segments(const struct team *team, void (*part)(void *context, int i, char *scratch), struct segments *context,
                        ptrdiff_t n_classes, char *scratch)
{
    context->n_classes = n_classes;
    context->length = segment_length(n_classes);
    int n = n_classes == context->length ? 1 : count_segments(n_classes);
    if (team && n > 1)
        team->run(team, part, context, n);
    else
        for (int i = 0; i < n; i++)
            part(context, i, scratch);
    return n;
}

INLINE ptrdiff_t segment_size(const struct segments *segments, int i)
{
    ptrdiff_t left = segments->n_classes - i * segments->length;
    return left < segments->length ? left : segments->length;
}

/* Which of n codes are c. */
INLINE i64x8 code_is(const int64_t *code, int n, int64_t c)
{
    i64x8 bits = bits_f64(load_part_f64((const double *)(const void *)code, n, 0));
    EACH_REGISTER bits.r[i] = bits.r[i] == c;
    return bits;
}

/* e + sum of the rows from i, n of them, with the low parts. */
INLINE f64x8 total_of(const struct pairs *pairs, int i, int n, f64x8 *low)
{
    f64x8 e_low = load_part_f64(pairs->e_low + i, n, 0), sum_low = load_part_f64(pairs->sum_low + i, n, 0);
    f64x8 total = two_sum(load_part_f64(pairs->e + i, n, 1), load_part_f64(pairs->sum + i, n, 0), low);
    *low = add_f64(*low, add_f64(e_low, sum_low));
    return total;
}

/* 1 / (x + low), rounded about once. */
INLINE f64x8 inverse_of(f64x8 x, f64x8 low)
{
    f64x8 one = set_f64(1), inverse = div_f64(one, x);
    return fma_f64(inverse, fnma_f64(inverse, low, fnma_f64(inverse, x, one)), inverse);
}

#define ELEMENT_f64 F64
#define ELEMENT_f32 F32
#define SMALLEST_f64 0x1p-1022
#define SMALLEST_f32 0x1p-126f

typedef i64x8 mask_f64;
typedef i32x16 mask_f32;

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define OP(name) JOIN(name, T)
#define LANES JOIN(LANES, T)
#define WIDEN OP(widen)

/* Elements j to j + n, n <= 8, of float32 values where `single`, else of float64 ones. */
INLINE f64x8 load_as_f64(const void *p, ptrdiff_t j, int single, int n)
{
    if (!single)
        return load_part_f64((const double *)p + j, n, 0);
    const float *values = (const float *)p + j;
    return n == 8 ? load_widened(values) : widen_f32(load_part_f32(values, n, 0), 0);
}

#define BODY "rows_body.h"
#include "each_type.h"
#include "rows_target.h"
#include "rows_terms.h"
#include "rows_binary.h"
#define BODY "rows_soft.h"
#include "each_type.h"
#define BODY "rows_gradient.h"
#include "each_type.h"
#define BODY "rows_proba.h"
#include "each_type.h"

static void gather(struct source x, const int64_t *code, int n_rows, double *out)
{
#define CASE(NAME, TYPE, CONVERT)                                                                                  \
    case NAME:                                                                                                     \
        for (int i = 0; i < n_rows; i++) {                                                                         \
            TYPE value;                                                                                            \
            memcpy(&value, x.rows[i] + code[i] * x.step, sizeof value);                                            \
            out[i] = CONVERT(value);                                                                               \
        }                                                                                                          \
        break;
    switch (x.element) {
        CASE(F64, double, (double))
        CASE(F32, float, (double))
        CASE(F16, uint16_t, (double)widen_f16)
        CASE(BF16, uint16_t, (double)widen_bf16)
    default:
        for (int i = 0; i < n_rows; i++)
            read_f64(x.rows[i] + code[i] * x.step, 0, x.element, 1, out + i);
    }
#undef CASE
}

static int codes(const char *target, ptrdiff_t step, enum element element, int n, int64_t n_codes, int64_t *out)
{
#define EACH(STEP, TYPE)                                                                                           \
    for (int i = 0; i < n; i++) {                                                                                  \
        TYPE value;                                                                                                \
        memcpy(&value, target + i * (ptrdiff_t)(STEP), sizeof value);                                              \
        out[i] = (int64_t)value;                                                                                   \
        outside |= (uint64_t)out[i] >= (uint64_t)n_codes;                                                          \
    }
#define CASE(NAME, TYPE)                                                                                           \
    case NAME:                                                                                                     \
        if (step == sizeof(TYPE))                                                                                  \
            EACH(sizeof(TYPE), TYPE)                                                                               \
        else                                                                                                       \
            EACH(step, TYPE)                                                                                       \
        break;
    int outside = 0;
    switch (element) {
        CASE(I8, int8_t)
        CASE(I16, int16_t)
        CASE(I32, int32_t)
        CASE(I64, int64_t)
        CASE(U8, uint8_t)
        CASE(U16, uint16_t)
        CASE(U32, uint32_t)
    default:
        for (int i = 0; i < n; i++) {
            out[i] = read_code(target + i * step, element);
            outside |= (uint64_t)out[i] >= (uint64_t)n_codes;
        }
    }
#undef CASE
#undef EACH
    return !outside;
}

static void extremes(const int64_t *x, ptrdiff_t n, int64_t *lowest, int64_t *highest)
{
    int64_t low = x[0], high = x[0];
    for (ptrdiff_t i = 1; i < n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    *lowest = low;
    *highest = high;
}

/* float64 logits in float64; all others in float32. */
static void pair(struct source x, int wide, int n_rows, ptrdiff_t n_classes, struct pairs *pairs)
{
    memset(pairs->is_kept, 0, sizeof pairs->is_kept);
    (wide ? pair_wide : x.element == F64 ? pair_f64 : pair_f32)(x, n_rows, n_classes, pairs);
}

static void soft_loss(struct source x, const struct class_target *target, double gamma, int entropy, int n_rows,
                      ptrdiff_t n_classes, const struct pairs *pairs, struct soft_sums *sums)
{
    if (gamma != 0)
        focal_soft_loss(x, target, gamma, n_rows, n_classes, pairs, sums);
    else
        (x.element == F64 ? soft_loss_f64 : soft_loss_f32)(x, target, entropy, n_rows, n_classes, pairs, sums);
}

static void gradient(struct source x, struct sink out, const struct class_target *target, const struct codes *codes,
                     int n_rows, ptrdiff_t n_classes, const struct pairs *pairs, const double *slope, const double *scale)
{
    (x.element == F64 ? gradient_f64 : gradient_f32)(x, out, target, codes, n_rows, n_classes, pairs, slope, scale);
}

static void log_softmax(struct source x, struct sink out, int n_rows, ptrdiff_t n_classes, const struct pairs *pairs)
{
    (x.element == F64 ? log_softmax_f64 : log_softmax_f32)(x, out, n_rows, n_classes, pairs);
}

static void hessian(struct source x, struct sink out, int n_rows, ptrdiff_t n_classes, const struct pairs *pairs,
                    const double *slope, const double *scale)
{
    (x.element == F64 ? hessian_f64 : hessian_f32)(x, out, n_rows, n_classes, pairs, slope, scale);
}

static void range(struct source x, int n_rows, ptrdiff_t n_classes, double tolerance, double *sum, struct range *range)
{
    (x.element == F64 ? range_f64 : range_f32)(x, n_rows, n_classes, sum, range);
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

/* Of codes in float64, eight rows at a time; of all other targets in the probabilities' type. */
static void proba_loss(struct source x, const struct class_target *target, const int64_t *code, int logs, struct clip clip,
                       const double *divisor, int normalized, int n_rows, ptrdiff_t n_classes, struct soft_sums *sums)
{
    const f64x8 zero = set_f64(0), one = set_f64(1);
    if (target) {
        struct limits limits = limits_of(clip);
        enum proba kind = logs ? LOGS : normalized ? NORMALIZED : PLAIN;
        (x.element == F64 ? proba_loss_f64 : proba_loss_f32)(x, target, kind, &limits, divisor, n_rows, n_classes, sums);
    } else {
        gather(x, code, n_rows, sums->slope);
        for (int i = 0; i < n_rows; i += 8) {
            int n = at_most_8(n_rows - i);
            f64x8 p = load_part_f64(sums->slope + i, n, 1), result = sub_f64(zero, p);
            if (!logs) {
                p = normalized ? div_f64(p, load_part_f64(divisor + i, n, 1)) : p;
                f64x8 value = min_f64(set_f64(clip.most), max_f64(set_f64(clip.least), p));
                result = cost(value, zero);
                store_part_f64(sums->slope + i, n, choose_f64(equal_f64(p, value), one, zero));
            }
            store_part_f64(sums->loss + i, n, result);
        }
    }
    for (int i = 0; i < n_rows; i += 8) {         /* NaN in the row is NaN */
        int n = at_most_8(n_rows - i);
        f64x8 total = load_part_f64(divisor + i, n, 0);
        store_part_f64(sums->loss + i, n, choose_f64(equal_f64(total, total), load_part_f64(sums->loss + i, n, 0), total));
    }
}

static void proba_gradient(struct source x, struct sink out, const struct class_target *target, const int64_t *code, int logs,
                           struct clip clip, const double *divisor, int normalized, int n_rows, ptrdiff_t n_classes,
                           const double *slope, const double *scale)
{
    const f64x8 zero = set_f64(0), one = set_f64(1);
    double shift[BLOCK], value[BLOCK];
    for (int i = 0; i < n_rows; i += 8) {
        int n = at_most_8(n_rows - i);
        f64x8 common = div_f64(load_part_f64(slope + i, n, 0), load_part_f64(divisor + i, n, 1));
        store_part_f64(shift + i, n, normalized ? common : zero);
    }
    if (target) {
        struct limits limits = limits_of(clip);
        enum proba kind = logs ? LOGS : normalized ? NORMALIZED : PLAIN;
        (x.element == F64 ? proba_gradient_f64 : proba_gradient_f32)(x, out, target, kind, &limits, shift, divisor, n_rows,
                                                                     n_classes, scale);
        return;
    }
    gather(x, code, n_rows, value);
    for (int i = 0; i < n_rows; i += 8) {
        int n = at_most_8(n_rows - i);
        f64x8 s = load_part_f64(scale + i, n, 0), common = load_part_f64(shift + i, n, 0);
        f64x8 p = load_part_f64(value + i, n, 1), pull = one;
        if (!logs)
            pull = choose_f64(equal_f64(load_part_f64(slope + i, n, 0), zero), zero, div_f64(one, p));
        i64x8 none = equal_f64(s, zero);          /* a class weight of 0 */
        store_part_f64(value + i, n, choose_f64(none, zero, mul_f64(sub_f64(common, pull), s)));
        store_part_f64(shift + i, n, choose_f64(none, zero, mul_f64(common, s)));
    }
    (x.element == F64 ? scatter_f64 : scatter_f32)(out, code, shift, value, n_rows, n_classes);
}

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

/* The multiple of the bin's unit that is nearest to the value goes in; what is left is returned. */
INLINE f64x8 into_bin(f64x8 *bin, f64x8 value, double unit)
{
    f64x8 magic = set_f64(0x1.8p52 * unit), part = sub_f64(add_f64(value, magic), magic);
    *bin = add_f64(*bin, part);
    return sub_f64(value, part);
}

/* Eight values at once; to the chunks goes what is left of one below the last bin, and all where one is a NaN or not `small`. */
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
    const f64x8 zero = set_f64(0);
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
            f64x8 w = load_part_f64(weight + i, n, 0), product = mul_f64(w, value);
            i64x8 counts = less_f64(abs_f64(product), set_f64(INFINITY)), none = equal_f64(w, zero);
            f64x8 low = choose_f64(counts, fma_f64(w, value, sub_f64(zero, product)), zero);
            /* 0 * inf is 0 here, but a NaN stays one. */
            value = choose_f64(none, choose_f64(equal_f64(value, value), zero, value), product);
            add_values(&bins, choose_f64(none, zero, low), &total->exact);
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
        case 3: y = log1p_wide(v, set_f64(0), set_f64(1), set_f64(0), &low); break;
        case 4: y = log_f64(v); break;
        default:
            for (int j = 0; j < part; j++)
                narrow[j] = (float)x[i + j];
            store_f32(result, function == 6 ? log_f32(load_f32(narrow)) : exp_f32(load_f32(narrow),
                      set_f32(MAGIC_f32 + EXPONENT_BIAS_f32), set_f32((float)(-EXPONENT_BIAS_f32 / LOG2E))));
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
    .focal = focal, .soft_loss = soft_loss, .gradient = gradient, .hessian = hessian, .elements = elements,
    .log_softmax = log_softmax, .binary = binary, .bernoulli = bernoulli, .read = read_f64, .derivative = derivative,
    .proba_loss = proba_loss, .proba_gradient = proba_gradient, .range = range, .minus_log = minus_log, .codes = codes,
    .extremes = extremes, .finish = finish, .elementary = elementary};
