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
INLINE VECTOR TYPED(log_softmax_of)(VECTOR x, const struct TYPED(to_subtract) *less)
{
    double results[LANES];
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

INLINE void TYPED(log_softmax_part)(const REAL *row, ptrdiff_t n, const struct TYPED(to_subtract) *less, int stream,
                                    REAL *result)
{
    for (ptrdiff_t j = 0; j < n;) {
        int part = TYPED(next_part)(result + j, n - j, stream);
        VECTOR x = part == LANES ? TYPED(load)(row + j) : TYPED(load_part)(row + j, part, 0);
        TYPED(put)(result + j, part, TYPED(log_softmax_of)(x, less), stream);
        j += part;
    }
}

static void TYPED(log_softmax_segment)(void *context, int s, char *scratch)
{
    const struct TYPED(log_softmax) *of = context;
    (void)scratch;
    struct source x = of->x;
    struct sink out = of->out;
    ptrdiff_t begin = s * of->segments.length, end = begin + segment_size(&of->segments, s);
    int in_place = out.class_stride == sizeof(REAL) && out.element == TYPED(ELEMENT);
    const ptrdiff_t tile = in_place && TYPED(direct)(x) ? end - begin : TILE;
    struct TYPED(to_subtract) across[BLOCK / LANES];
    for (int i = 0; i < of->n_across; i += LANES)
        across[i / LANES] = TYPED(to_subtract_of)(of, i, 1);
    for (ptrdiff_t j = begin; of->n_across && j < end; j++) {
        const REAL *p = (const REAL *)(const void *)(x.rows[0] + j * x.class_stride);
        REAL *result = (REAL *)(void *)(out.rows[0] + j * out.class_stride);
        for (int i = 0; i < of->n_across; i += LANES) {
            __builtin_prefetch((const char *)(p + i) + AHEAD_ACROSS * x.class_stride);
            __builtin_prefetch((char *)(result + i) + AHEAD_ACROSS * out.class_stride, 1);
            TYPED(store)(result + i, TYPED(log_softmax_of)(TYPED(load)(p + i), &across[i / LANES]));
        }
    }
    for (int i = of->first_row; i < of->n_rows; i++) {
        struct TYPED(to_subtract) less = TYPED(to_subtract_of)(of, i, 0);
        for (ptrdiff_t first = begin; first < end; first += tile) {
            ptrdiff_t n = end - first < tile ? end - first : tile;
            REAL x_copy[TILE], out_copy[TILE];
            const REAL *row = TYPED(contiguous)(x, i, first, n, x_copy);
            char *place = out.rows[i] + first * out.class_stride;
            TYPED(log_softmax_part)(row, n, &less, in_place && out.stream, in_place ? (REAL *)(void *)place : out_copy);
            if (!in_place)
                TYPED(write)(place, out.class_stride, out.element, n, out_copy);
        }
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
        struct source group = x;
        struct sink group_out = out;
        struct TYPED(to_subtract) less = TYPED(to_subtract_of)(&of, of.first_row, 1);
        REAL *tile = take(&group.scratch, TYPED(tile_bytes)(n_classes));
        group.rows += of.first_row;
        group_out.rows += of.first_row;
        TYPED(pack_tile)(group, n_classes, tile);
        for (ptrdiff_t j = 0; j < n_classes; j++)
            TYPED(store)(tile + j * LANES, TYPED(log_softmax_of)(TYPED(load)(tile + j * LANES), &less));
        TYPED(unpack_tile)(tile, group_out, n_classes);
    }
    run_segments(x.pool, TYPED(log_softmax_segment), &of.segments, n_classes, x.scratch);
}
