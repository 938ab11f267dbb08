/* C layer: sums in vectors of twice the precision, and how their lanes come together. Included by rows.c. */

struct wide {
    f64x8 high, low;
};

INLINE void accumulate_f64(f64x8 *sum, f64x8 *low, f64x8 term)
{
    f64x8 error;
    *sum = two_sum(*sum, term, &error);
    *low = add_f64(*low, error);
}

/* The same for a sum of terms >= 0, in half the operations: where the term is larger, its last bit can be lost, but then the
 * sum doubles, so all that is ever lost stays below two ulps of it, and it is rare. */
INLINE void add_terms_f64(f64x8 *sum, f64x8 *low, f64x8 term)
{
    f64x8 error;
    *sum = fast_two_sum(*sum, term, &error);
    *low = add_f64(*low, error);
}

/* float32 terms need no low part: float64 is wide enough. */
INLINE void add_terms_f32(f64x8 *sum, f64x8 *low, f32x16 term)
{
    (void)low;
    sum[0] = add_f64(sum[0], widen_f32(term, 0));
    sum[1] = add_f64(sum[1], widen_f32(term, 1));
}

INLINE void add_product(struct wide *sum, f64x8 product, int cancels)
{
    if (cancels)
        accumulate_f64(&sum->high, &sum->low, product);
    else
        add_terms_f64(&sum->high, &sum->low, product);
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

/* A sum over the classes of a row in eight lanes of twice the precision. */
INLINE void add_term(struct wide *sum, f64x8 term, f64x8 term_low)
{
    accumulate_f64(&sum->high, &sum->low, term);
    sum->low = add_f64(sum->low, term_low);
}

static double lane_total(struct wide sum)
{
    double high[8], low[8], result[8];
    store_f64(high, sum.high);
    store_f64(low, sum.low);
    struct wide total = {set_f64(0), set_f64(0)};
    for (int l = 0; l < 8; l++)
        add_term(&total, set_f64(high[l]), set_f64(low[l]));
    f64x8 finite = add_f64(total.high, total.low);
    store_f64(result, choose_f64(less_f64(abs_f64(total.high), set_f64(INFINITY)), finite, total.high));
    return result[0];
}

/* a * value and its rounding error; both 0 where a is, even if the value is infinite. */
INLINE void add_weighted(struct wide *sum, f64x8 a, f64x8 value)
{
    f64x8 zero = set_f64(0), product = mul_f64(a, value), low = fma_f64(a, value, sub_f64(zero, product));
    i64x8 absent = equal_f64(a, zero), finite = less_f64(abs_f64(product), set_f64(INFINITY));
    add_term(sum, choose_f64(absent, zero, product), choose_f64(absent, zero, choose_f64(finite, low, zero)));
}

/* The lanes of eight rows. */
struct lane_table {
    double high[8][8], low[8][8];
};

INLINE void columns_of(const double (*table)[8], f64x8 out[8])
{
    const char *rows[8];
    for (int i = 0; i < 8; i++)
        rows[i] = (const char *)table[i];
    for (int l = 0; l < 8; l += 2)
        columns_f64(rows, l * (ptrdiff_t)sizeof(double), &out[l]);
}

INLINE void set_lanes(struct lane_table *table, int i, const struct wide halves[2])
{
    struct wide sum = halves[0];
    add_term(&sum, halves[1].high, halves[1].low);
    store_f64(table->high[i], sum.high);
    store_f64(table->low[i], sum.low);
}

INLINE struct wide total_of_lanes(const struct lane_table *table)
{
    f64x8 high[8], low[8];
    columns_of(table->high, high);
    columns_of(table->low, low);
    for (int width = 4; width; width /= 2)
        for (int l = 0; l < width; l++) {
            accumulate_f64(&high[l], &low[l], high[l + width]);
            low[l] = add_f64(low[l], low[l + width]);
        }
    return (struct wide){high[0], low[0]};
}

INLINE f64x8 rounded(struct wide sum)
{
    return choose_f64(less_f64(abs_f64(sum.high), set_f64(INFINITY)), add_f64(sum.high, sum.low), sum.high);
}
