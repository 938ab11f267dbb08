/* C layer: the row pairs of a block. */
#ifndef TYPE
#error "instantiated by simd/instantiate.h"
#endif

/* The pairs of up to eight rows; near: all |m| <= NEAR. */
INLINE void TYPED(store_pairs)(f64x8 m, struct double_double sum, int n, struct pairs *pairs, int first, int near)
{
    f64x8 e_low, e = TYPED(largest)(m, near, &e_low), total_low = set_f64(0), total = sum.high;
    if (TYPED(ELEMENT) == F64)
        total = fast_two_sum(sum.high, sum.low, &total_low);
    store_part_f64(pairs->m + first, n, m);
    store_part_f64(pairs->e + first, n, e);
    store_part_f64(pairs->e_low + first, n, e_low);
    store_part_f64(pairs->sum + first, n, total);
    store_part_f64(pairs->sum_low + first, n, total_low);
}

/* The pairs of a group of LANES rows of few classes, n of them from `first`, from its sums. Nearly always all |m| <= NEAR. */
INLINE void TYPED(finish_rows_in_lanes)(struct TYPED(state) *state, REAL *tile, struct source x, int first, int n,
                                        ptrdiff_t n_classes, struct pairs *pairs)
{
    int all_near = !TYPED(any)(TYPED(less)(TYPED(set)(TYPED(NEAR)), TYPED(abs)(state->max_x)));
    if (!all_near) {
        struct TYPED(scaling) far;
        const char *rows[LANES];
        struct source group = group_of(x, first, n, LANES, rows);
        pairs->is_cached[first / 8] = 0;
        TYPED(pack_group)(group, n_classes, tile);
        for (int h = 0; h < LANES / 8; h++)
            TYPED(scale_rows)(WIDEN(state->max_x, h), &far, 8 * h);
        TYPED(sum_rows_in_lanes)(tile, n_classes, (struct lines){group.rows[0], 0}, &far, 1, state);
    }
    for (int h = 0; h < LANES / 8 && 8 * h < n; h++) {
        f64x8 m = TYPED(load_wide)((const REAL *)&state->max_x + 8 * h);
        struct double_double sum = {state->sum[h], state->low[h]};
        EITHER(all_near, TYPED(store_pairs), m, sum, at_most_8(n - 8 * h), pairs, first + 8 * h);
    }
}

/* Groups of LANES rows of few classes, from row `first` of the block on: first the sums of all, then their pairs, so that a
 * group does not wait for the one before. */
INLINE void TYPED(pair_rows_in_lanes)(struct source x, int first, int n_rows, ptrdiff_t n_classes,
                                      const struct TYPED(scaling) *scaling, struct pairs *pairs)
{
    struct TYPED(state) *states = take(&x.scratch, BLOCK / LANES * sizeof *states);
    REAL *tile = take(&x.scratch, TYPED(tile_bytes)(n_classes));
    for (int i = first; i < n_rows; i += LANES) {
        const char *rows[LANES];
        struct source group = group_of(x, i, n_rows - i < LANES ? n_rows - i : LANES, LANES, rows);
        REAL *kept = TYPED(cached_exponentials)(pairs, i, LANES, n_classes), *e = kept ? kept : tile;
        TYPED(pack_group)(group, n_classes, e);
        TYPED(sum_rows_in_lanes)(e, n_classes, TYPED(next_group)(group, n_classes), scaling, 0, &states[i / LANES]);
        pairs->is_cached[i / 8] = 1;
    }
    for (int i = first; i < n_rows; i += LANES)
        TYPED(finish_rows_in_lanes)(&states[i / LANES], tile, x, i, n_rows - i < LANES ? n_rows - i : LANES, n_classes, pairs);
}

/* Groups of LANES rows of few classes that lie side by side. */
INLINE void TYPED(pair_across_in_lanes)(struct source x, int n_groups, ptrdiff_t n_classes,
                                        const struct TYPED(scaling) *scaling, struct pairs *pairs)
{
    struct TYPED(state) *states = take(&x.scratch, BLOCK / LANES * sizeof *states);
    REAL *tile = take(&x.scratch, TYPED(tile_bytes)(n_classes));
    for (int g = 0; g < n_groups; g++)
        TYPED(start)(&states[g]);
    for (ptrdiff_t j = 0; j < n_classes; j += 2)
        EITHER(j + 1 < n_classes, TYPED(add_across), x, n_groups, j, 1, scaling, 0, states);
    for (int g = 0; g < n_groups; g++)
        TYPED(finish_rows_in_lanes)(&states[g], tile, x, g * LANES, LANES, n_classes, pairs);
}

/* Of two classes, r = exp(-|x_0 - x_1|) at once. float32: e = 1. */
INLINE void TYPED(pair_two)(struct source group, int n, struct pairs *pairs, int first)
{
    const f64x8 zero = set_f64(0);
    REAL tile[2 * LANES];
    struct lines next = TYPED(next_group)(group, 2);
    __builtin_prefetch(next.first);
    __builtin_prefetch(next.first + next.stride);
    TYPED(pack_group)(group, 2, tile);
    for (int h = 0; h < LANES / 8 && 8 * h < n; h++) {
        f64x8 a = TYPED(load_wide)(tile + 8 * h), b = TYPED(load_wide)(tile + LANES + 8 * h), m = max_f64(a, b), e = set_f64(1), r, r_low = zero, low;
        if (TYPED(ELEMENT) == F64) {
            f64x8 difference = two_sum(a, sub_f64(zero, b), &low), size = abs_f64(difference);
            e = set_f64(0x1p516);                 /* 2^MIDDLE */
            r = exp_wide(sub_f64(zero, size), set_f64(EXPONENT_BIAS_f64 + MIDDLE_f64), &r_low);
            low = choose_f64(less_f64(zero, difference), sub_f64(zero, low), low);
            r_low = fma_f64(r, choose_f64(less_f64(size, set_f64(INFINITY)), low, zero), r_low);
            r = fast_two_sum(r, r_low, &r_low);
        } else
            r = exp_short(sub_f64(zero, abs_f64(sub_f64(a, b))), set_f64(EXPONENT_BIAS_f64));
        r = fma_f64(m, zero, r);                  /* NaN where m is infinite */
        int i = first + 8 * h, n_valid = at_most_8(n - 8 * h);
        store_part_f64(pairs->m + i, n_valid, m);
        store_part_f64(pairs->e + i, n_valid, e);
        store_part_f64(pairs->e_low + i, n_valid, zero);
        store_part_f64(pairs->sum + i, n_valid, r);
        store_part_f64(pairs->sum_low + i, n_valid, r_low);
    }
}

INLINE void TYPED(pair_classes_in_lanes)(struct source group, int n, ptrdiff_t n_classes, const struct TYPED(scaling) *scaling,
                                         struct pairs *pairs, int first)
{
    REAL *kept = TYPED(cached_exponentials)(pairs, first, n, n_classes);
    for (int i = 1; i < n; i++)
        if (group.rows[i] == group.rows[0])       /* one row again, which is summed once */
            kept = NULL;
    struct lane_sum rows = TYPED(sum_eight_rows)(group, n_classes, scaling, kept, 0);
    if (!any_f64(less_f64(set_f64(TYPED(NEAR)), abs_f64(rows.max_x)))) {
        pairs->is_cached[first / 8] = kept != NULL;
        TYPED(store_pairs)(rows.max_x, rows.sum, n, pairs, first, 1);
        return;
    }
    struct TYPED(scaling) far;
    TYPED(scale_rows)(rows.max_x, &far, 0);
    rows = TYPED(sum_eight_rows)(group, n_classes, &far, NULL, 1);
    TYPED(store_pairs)(rows.max_x, rows.sum, n, pairs, first, 0);
}

static void TYPED(pair_across)(struct source x, int n_groups, ptrdiff_t n_classes, const struct TYPED(scaling) *near,
                               struct pairs *pairs)
{
    struct TYPED(across) of, again;
    int n_segments = count_segments(n_classes), batch = MOST_SEGMENTS / n_segments;
    batch = n_groups < batch ? n_groups : batch;
    of.sum = take(&x.scratch, (size_t)(batch * n_segments) * sizeof *of.sum);
    again.sum = take(&x.scratch, (size_t)n_segments * sizeof *again.sum);
    for (int first = 0; first < n_groups; first += batch) {
        of.x = x;
        of.x.rows += first * LANES;
        of.n_groups = n_groups - first < batch ? n_groups - first : batch;
        of.scaling = near;
        of.centred = 0;
        TYPED(sum_across_rows)(&of, n_classes);
        for (int g = 0; g < of.n_groups; g++) {
            struct TYPED(scaling) far;
            const struct lane_sum *rows = of.sum[g];
            int all_near = 1;
            for (int h = 0; h < LANES / 8; h++)
                all_near &= !any_f64(less_f64(set_f64(TYPED(NEAR)), abs_f64(rows[h].max_x)));
            if (!all_near) {
                again.x = of.x;
                again.x.rows += g * LANES;
                again.n_groups = 1;
                again.scaling = &far;
                again.centred = 1;
                for (int h = 0; h < LANES / 8; h++)
                    TYPED(scale_rows)(rows[h].max_x, &far, 8 * h);
                TYPED(sum_across_rows)(&again, n_classes);
                rows = again.sum[0];
            }
            for (int h = 0; h < LANES / 8; h++)
                TYPED(store_pairs)(rows[h].max_x, rows[h].sum, 8, pairs, (first + g) * LANES + 8 * h, 0);
        }
    }
}

static void TYPED(pair)(struct source x, int n_rows, ptrdiff_t n_classes, struct pairs *pairs)
{
    int rows_in_lanes = TYPED(rows_in_lanes)(n_classes), size = rows_in_lanes ? LANES : 8;
    struct TYPED(scaling) near;
    struct TYPED(lane_scaling) lanes = TYPED(near_scaling)();
    TYPED(store)(near.c, lanes.c);
    TYPED(store)(near.magic, lanes.magic);
    TYPED(store)(near.lowest, lanes.lowest);
    int first = 0;
    if (n_classes > 2 && TYPED(side_by_side)(x)) {
        first = n_rows / LANES * LANES;
        if (rows_in_lanes)
            TYPED(pair_across_in_lanes)(x, n_rows / LANES, n_classes, &near, pairs);
        else
            TYPED(pair_across)(x, n_rows / LANES, n_classes, &near, pairs);
    }
    if (n_classes != 2 && rows_in_lanes) {
        TYPED(pair_rows_in_lanes)(x, first, n_rows, n_classes, &near, pairs);
        return;
    }
    for (; first < n_rows; first += size) {
        const char *rows[LANES];
        int n = n_rows - first < size ? n_rows - first : size;
        struct source group = group_of(x, first, n, size, rows);
        if (n_classes == 2)
            TYPED(pair_two)(group, n, pairs, first);
        else
            TYPED(pair_classes_in_lanes)(group, n, n_classes, &near, pairs, first);
    }
}
