/* C layer: log-softmax, class by class. */
#ifndef T
#error "instantiated by simd/instantiate.h"
#endif

/* What log-softmax takes from x, of one row in all lanes, or of a row a lane: m and log1p(r). */
struct OP(to_subtract) {
    f64x8 m[LANES / 8], tail[LANES / 8], tail_low[LANES / 8];
};

struct OP(log_softmax) {
    struct segments segments;
    struct source x;
    struct sink out;
    int n_across, first_row, n_rows;
    const struct pairs *pairs;
    double tail[BLOCK], tail_low[BLOCK];
};

INLINE struct OP(to_subtract) OP(to_subtract_of)(const struct OP(log_softmax) *of, int i, int together)
{
    struct OP(to_subtract) less;
    for (int h = 0; h < LANES / 8; h++) {
        int k = i + 8 * h;
        less.m[h] = together ? load_f64(of->pairs->m + k) : set_f64(of->pairs->m[i]);
        less.tail[h] = together ? load_f64(of->tail + k) : set_f64(of->tail[i]);
        less.tail_low[h] = together ? load_f64(of->tail_low + k) : set_f64(of->tail_low[i]);
    }
    return less;
}

/* x - m - tail. Both terms are <= 0, so only float64 has to mind what rounding x - m loses. */
INLINE V OP(log_share)(V x, const struct OP(to_subtract) *less)
{
    double results[LANES];
    for (int h = 0; h < LANES / 8; h++) {
        f64x8 low, logit = WIDEN(x, h), margin = sub_f64(logit, less->m[h]), tail = less->tail[h];
        if (OP(ELEMENT) == F64) {
            margin = two_sum(logit, sub_f64(set_f64(0), less->m[h]), &low);
            low = sub_f64(less->tail_low[h], low);
            tail = add_f64(tail, choose_f64(less_f64(set_f64(-INFINITY), margin), low, set_f64(0)));
        }
        store_f64(results + 8 * h, sub_f64(margin, tail));
    }
    return OP(narrow)(results);
}

INLINE void OP(log_softmax_part)(const C *row, ptrdiff_t n, const struct OP(to_subtract) *less, int stream, C *result)
{
    for (ptrdiff_t j = 0; j < n;) {
        int part = OP(next_part)(result + j, n - j, stream);
        V x = part == LANES ? OP(load)(row + j) : OP(load_part)(row + j, part, 0);
        OP(put)(result + j, part, OP(log_share)(x, less), stream);
        j += part;
    }
}

static void OP(log_softmax_segment)(void *context, int s, char *scratch)
{
    const struct OP(log_softmax) *of = context;
    (void)scratch;
    struct source x = of->x;
    struct sink out = of->out;
    ptrdiff_t begin = s * of->segments.length, end = begin + segment_size(&of->segments, s);
    int in_place = out.step == sizeof(C) && out.element == OP(ELEMENT);
    const ptrdiff_t tile = in_place && OP(direct)(x) ? end - begin : TILE;
    struct OP(to_subtract) across[BLOCK / LANES];
    for (int i = 0; i < of->n_across; i += LANES)
        across[i / LANES] = OP(to_subtract_of)(of, i, 1);
    for (ptrdiff_t j = begin; of->n_across && j < end; j++) {
        const C *p = (const C *)(const void *)(x.rows[0] + j * x.step);
        C *result = (C *)(void *)(out.rows[0] + j * out.step);
        for (int i = 0; i < of->n_across; i += LANES) {
            __builtin_prefetch((const char *)(p + i) + AHEAD_ACROSS * x.step);
            __builtin_prefetch((char *)(result + i) + AHEAD_ACROSS * out.step, 1);
            OP(store)(result + i, OP(log_share)(OP(load)(p + i), &across[i / LANES]));
        }
    }
    for (int i = of->first_row; i < of->n_rows; i++) {
        struct OP(to_subtract) less = OP(to_subtract_of)(of, i, 0);
        for (ptrdiff_t first = begin; first < end; first += tile) {
            ptrdiff_t n = end - first < tile ? end - first : tile;
            C x_copy[TILE], out_copy[TILE];
            const C *row = OP(contiguous)(x, i, first, n, x_copy);
            char *place = out.rows[i] + first * out.step;
            OP(log_softmax_part)(row, n, &less, in_place && out.stream, in_place ? (C *)(void *)place : out_copy);
            if (!in_place)
                OP(write)(place, out.step, out.element, n, out_copy);
        }
    }
}

static void OP(log_softmax)(struct source x, struct sink out, int n_rows, ptrdiff_t n_classes, const struct pairs *pairs)
{
    struct OP(log_softmax) of;
    of.x = x;
    of.out = out;
    of.n_across = of.first_row = OP(goes_across)(x, out, NULL, n_classes) ? n_rows / LANES * LANES : 0;
    of.n_rows = n_rows;
    of.pairs = pairs;
    for (int i = 0; i < n_rows; i += 8) {
        f64x8 low, high = tails(pairs, i, at_most_8(n_rows - i), &low);
        store_part_f64(of.tail + i, at_most_8(n_rows - i), high);
        store_part_f64(of.tail_low + i, at_most_8(n_rows - i), low);
    }
    int few = n_classes <= OP(FEW) && OP(is_direct_sink)(out) && !of.n_across;
    for (; few && of.first_row + LANES <= n_rows; of.first_row += LANES) {
        struct source group = x;
        struct sink group_out = out;
        struct OP(to_subtract) less = OP(to_subtract_of)(&of, of.first_row, 1);
        C *tile = take(&group.scratch, OP(tile_bytes)(n_classes));
        group.rows += of.first_row;
        group_out.rows += of.first_row;
        OP(pack_tile)(group, n_classes, tile);
        for (ptrdiff_t j = 0; j < n_classes; j++)
            OP(store)(tile + j * LANES, OP(log_share)(OP(load)(tile + j * LANES), &less));
        OP(unpack_tile)(tile, group_out, n_classes);
    }
    run_segments(x.team, OP(log_softmax_segment), &of.segments, n_classes, x.scratch);
}
