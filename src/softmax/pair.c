/* C layer: the row pairs of a block. */

#include "memory/segments.h"
#include "simd/double_double.h"
#include "softmax/pair.h"
#include "softmax/pairs.h"
#include "softmax/scaling.h"
#include "sums/lanes.h"

struct lane_sum {
    f64x8 max_x, max_e;
    struct double_double sum;
};

enum { FIELDS_f64 = 4, FIELDS_f32 = 3 };

INLINE struct lane_sum lane_of(const f64x8 (*columns)[8], int l)
{
    return (struct lane_sum){columns[0][l], columns[1][l], {columns[2][l], columns[3][l]}};
}

#define TEMPLATE "softmax/row_pair.template.h"
#include "simd/instantiate.h"

#define TEMPLATE "softmax/across.template.h"
#include "simd/instantiate.h"

#define TEMPLATE "softmax/pair.template.h"
#include "simd/instantiate.h"

/* n <= WIDE_COLUMNS classes of eight rows as float64, a row a lane. */
INLINE void wide_columns(struct source group, ptrdiff_t first, int n, f64x8 columns[WIDE_COLUMNS])
{
    double rows[8][WIDE_COLUMNS];
    for (int i = 0; i < 8; i++) {
        const char *p = group.rows[i] + first * group.class_stride;
        if (n == 8 && direct_f32(group))
            store_f64(rows[i], load_wide_f32((const float *)(const void *)p));
        else if (n == 8 && direct_f64(group))
            store_f64(rows[i], load_f64((const double *)(const void *)p));
        else
            read_f64(p, group.class_stride, group.element, n, rows[i]);
    }
    transpose_8(rows, columns);
}

/* The pairs of up to eight rows from m, and r times 2^MIDDLE. */
INLINE void store_ratio(f64x8 m, f64x8 r, int n, enum element element, struct pairs *pairs, int first)
{
    const f64x8 down = set_f64(0x1p-516);                           /* 2^-MIDDLE */
    f64x8 e_low, e = mul_f64(BY_ELEMENT(element, largest)(m, 0, &e_low), down), total = mul_f64(r, e);
    f64x8 total_low = fma_f64(r, e, sub_f64(set_f64(0), total));
    store_part_f64(pairs->m + first, n, m);
    store_part_f64(pairs->e + first, n, mul_f64(e, set_f64(0x1p516)));
    store_part_f64(pairs->e_low + first, n, e_low);
    store_part_f64(pairs->sum + first, n, total);
    store_part_f64(pairs->sum_low + first, n, fma_f64(r, mul_f64(e_low, down), total_low));
}

/* The row pairs with every exponential and the sum in twice the precision: a focal factor (1 - p)^gamma makes gamma + 1
 * times the error of r, and float32's exponentials would not do. */
static void pair_wide(struct source x, int n_rows, ptrdiff_t n_classes, struct pairs *pairs)
{
    const f64x8 middle = set_f64(EXPONENT_BIAS_f64 + MIDDLE_f64), zero = set_f64(0);
    for (int i = 0; i < n_rows; i += 8) {
        const char *rows[8];
        int n = at_most_8(n_rows - i);
        struct source group = group_of(x, i, n, 8, rows);
        f64x8 columns[WIDE_COLUMNS], m = set_f64(-INFINITY), top = zero;
        for (ptrdiff_t j = 0; j < n_classes; j++) {
            if (j % WIDE_COLUMNS == 0)
                wide_columns(group, j, at_most_8((int)(n_classes - j)), columns);
            i64x8 larger = less_f64(m, columns[j % WIDE_COLUMNS]);
            m = choose_f64(larger, columns[j % WIDE_COLUMNS], m);
            top = choose_f64(larger, set_f64((double)j), top);
        }
        struct double_double sum = {zero, zero};
        for (ptrdiff_t j = 0; j < n_classes; j++) {
            if (j % WIDE_COLUMNS == 0 && n_classes > WIDE_COLUMNS)
                wide_columns(group, j, at_most_8((int)(n_classes - j)), columns);
            /* The largest is left out. */
            f64x8 logits = choose_f64(equal_f64(top, set_f64((double)j)), set_f64(-INFINITY), columns[j % WIDE_COLUMNS]);
            f64x8 low, e_low, margin = two_sum(logits, sub_f64(zero, m), &low), e = exp_wide(margin, middle, &e_low);
            low = choose_f64(less_f64(set_f64(-INFINITY), margin), low, zero);
            add_term(&sum, e, fma_f64(e, low, e_low));
        }
        store_ratio(m, rounded(sum), n, x.element, pairs, i);
    }
}

static void pair_of_logit(const double *x, int n_rows, struct pairs *pairs)
{
    const f64x8 zero = set_f64(0), index = set_f64(EXPONENT_BIAS_f64 + MIDDLE_f64);
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

/* m, and r times 2^MIDDLE, of up to eight rows from `first` of a part. */
INLINE f64x8 ratio_of(const struct pairs *part, int first, int n, struct double_double *r)
{
    const f64x8 down = set_f64(0x1p-516);                           /* 2^-MIDDLE */
    f64x8 e = mul_f64(load_part_f64(part->e + first, n, 1), down), sum = load_part_f64(part->sum + first, n, 0);
    f64x8 e_low = mul_f64(load_part_f64(part->e_low + first, n, 0), down), m = load_part_f64(part->m + first, n, 0);
    r->high = div_f64(sum, e);
    f64x8 rest = add_f64(fnma_f64(r->high, e, sum), load_part_f64(part->sum_low + first, n, 0));
    r->low = div_f64(fnma_f64(r->high, e_low, rest), e);
    return m;
}

/* Of the same rows over two parts: exp(-|m - next_m|) (1 + r), with the r of the smaller m, joins the other r. */
INLINE f64x8 join_two(f64x8 m, f64x8 next_m, struct double_double *r, struct double_double next)
{
    const f64x8 zero = set_f64(0), index = set_f64(EXPONENT_BIAS_f64 + MIDDLE_f64), down = set_f64(0x1p-516);
    i64x8 larger = less_f64(m, next_m);
    struct double_double big = {choose_f64(larger, next.high, r->high), choose_f64(larger, next.low, r->low)};
    struct double_double small = {choose_f64(larger, r->high, next.high), choose_f64(larger, r->low, next.low)};
    f64x8 low, margin = two_sum(choose_f64(larger, m, next_m), sub_f64(zero, choose_f64(larger, next_m, m)), &low);
    low = choose_f64(less_f64(set_f64(-INFINITY), margin), low, zero);
    f64x8 rest, one_more = two_sum(set_f64(1), mul_f64(small.high, down), &rest), e_low, e = exp_wide(margin, index, &e_low);
    f64x8 term = mul_f64(e, one_more), term_low = fma_f64(e, one_more, sub_f64(zero, term));
    rest = fma_f64(small.low, down, rest);
    e_low = fma_f64(e, low, e_low);
    add_term(&big, term, add_f64(term_low, fma_f64(e, rest, mul_f64(e_low, one_more))));
    r->high = fast_two_sum(big.high, big.low, &r->low);
    return choose_f64(larger, next_m, m);
}

static void join(const struct pairs *parts, int n_parts, ptrdiff_t stride, int first, int n_rows, enum element element,
                 struct pairs *pairs)
{
    for (int i = 0; i < n_rows; i += 8) {
        int n = at_most_8(n_rows - i);
        struct double_double r, next;
        f64x8 m = ratio_of(parts, first + i, n, &r);
        for (int part = 1; part < n_parts; part++) {
            f64x8 next_m = ratio_of(&parts[part * stride], first + i, n, &next);
            m = join_two(m, next_m, &r, next);
        }
        store_ratio(m, rounded(r), n, element, pairs, i);
    }
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

/* float64 logits in float64; all others in float32. */
static void pair(struct source x, int wide, int n_rows, ptrdiff_t n_classes, struct pairs *pairs)
{
    memset(pairs->is_cached, 0, sizeof pairs->is_cached);
    (wide ? pair_wide : BY_ELEMENT(x.element, pair))(x, n_rows, n_classes, pairs);
}

const struct pair_kernels PER_SET(pair) = {.rows = pair, .logit = pair_of_logit, .join = join, .logsumexp = logsumexp};
