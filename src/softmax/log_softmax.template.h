/* C layer: log-softmax, class by class. */
#ifndef TYPE
#error "instantiated by simd/instantiate.h"
#endif

/* What log-softmax takes from x, of one row in all lanes, or of a row a lane: m and log1p(r). */
struct TYPED(to_subtract) {
    f64x8 m[LANES / 8], tail[LANES / 8], tail_low[LANES / 8];
};

struct TYPED(log_softmax) {
    struct segments segments;
    struct source x;
    struct sink out;
    int n_across, first_row, n_rows;
    const struct pairs *pairs;
    double tail[BLOCK], tail_low[BLOCK];
};

INLINE struct TYPED(to_subtract) TYPED(to_subtract_of)(const struct TYPED(log_softmax) *of, int i, int together)
{
    struct TYPED(to_subtract) less;
    for (int h = 0; h < LANES / 8; h++) {
        int k = i + 8 * h;
        less.m[h] = together ? load_f64(of->pairs->m + k) : set_f64(of->pairs->m[i]);
        less.tail[h] = together ? load_f64(of->tail + k) : set_f64(of->tail[i]);
        less.tail_low[h] = together ? load_f64(of->tail_low + k) : set_f64(of->tail_low[i]);
    }
    return less;
}

/* x - m - tail. Both terms are <= 0, so only float64 has to mind what rounding x - m loses. */
INLINE VECTOR TYPED(log_softmax_of)(const void *of, ptrdiff_t j, int n_valid, VECTOR x)
{
    const struct TYPED(to_subtract) *less = of;
    double results[LANES];
    (void)j, (void)n_valid;
    for (int h = 0; h < LANES / 8; h++) {
        f64x8 low, logit = WIDEN(x, h), margin = sub_f64(logit, less->m[h]), tail = less->tail[h];
        if (TYPED(ELEMENT) == F64) {
            margin = two_sum(logit, sub_f64(set_f64(0), less->m[h]), &low);
            low = sub_f64(less->tail_low[h], low);
            tail = add_f64(tail, choose_f64(less_f64(set_f64(-INFINITY), margin), low, set_f64(0)));
        }
        store_f64(results + 8 * h, sub_f64(margin, tail));
    }
    return TYPED(narrow)(results);
}

static void TYPED(log_softmax_segment)(void *context, int s, char *scratch)
{
    const struct TYPED(log_softmax) *of = context;
    (void)scratch;
    struct source x = of->x;
    struct sink out = of->out;
    ptrdiff_t begin = s * of->segments.length, end = begin + segment_size(&of->segments, s);
    struct TYPED(to_subtract) across[BLOCK / LANES];
    for (int i = 0; i < of->n_across; i += LANES)
        across[i / LANES] = TYPED(to_subtract_of)(of, i, 1);
    if (of->n_across)
        TYPED(map_across)(x, out, of->n_across / LANES, begin, end, TYPED(log_softmax_of), across, sizeof *across);
    for (int i = of->first_row; i < of->n_rows; i++) {
        struct TYPED(to_subtract) less = TYPED(to_subtract_of)(of, i, 0);
        TYPED(map_row)(x, out, i, begin, end, TYPED(log_softmax_of), &less);
    }
}

static void TYPED(log_softmax)(struct source x, struct sink out, int n_rows, ptrdiff_t n_classes, const struct pairs *pairs)
{
    struct TYPED(log_softmax) of;
    of.x = x;
    of.out = out;
    of.n_across = of.first_row = TYPED(goes_across)(x, out, NULL, n_classes) ? n_rows / LANES * LANES : 0;
    of.n_rows = n_rows;
    of.pairs = pairs;
    for (int i = 0; i < n_rows; i += 8) {
        f64x8 low, high = tails(pairs, i, at_most_8(n_rows - i), &low);
        store_part_f64(of.tail + i, at_most_8(n_rows - i), high);
        store_part_f64(of.tail_low + i, at_most_8(n_rows - i), low);
    }
    int rows_in_lanes = TYPED(rows_in_lanes)(n_classes) && TYPED(is_direct_sink)(out) && !of.n_across;
    for (; rows_in_lanes && of.first_row + LANES <= n_rows; of.first_row += LANES) {
        struct TYPED(to_subtract) less = TYPED(to_subtract_of)(&of, of.first_row, 1);
        TYPED(map_rows_in_lanes)(group_of(x, of.first_row, LANES, LANES, NULL), sink_from(out, of.first_row), n_classes,
                                 TYPED(log_softmax_of), &less);
    }
    run_segments(x.pool, TYPED(log_softmax_segment), &of.segments, n_classes, x.scratch);
}
