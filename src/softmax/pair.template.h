/* C layer: the row pairs of a block. */
#ifndef T
#error "instantiated by simd/instantiate.h"
#endif

/* The pairs of up to eight rows; near: all |m| <= NEAR. */
INLINE void OP(store_pairs)(f64x8 m, struct wide sum, int near, int n, struct pairs *pairs, int first)
{
    f64x8 e_low, e = OP(largest)(m, near, &e_low), total_low, total = fast_two_sum(sum.high, sum.low, &total_low);
    store_part_f64(pairs->m + first, n, m);
    store_part_f64(pairs->e + first, n, e);
    store_part_f64(pairs->e_low + first, n, e_low);
    store_part_f64(pairs->sum + first, n, total);
    store_part_f64(pairs->sum_low + first, n, total_low);
}

/* The pairs of a group of LANES rows of few classes, of which the first n count, from its sums. Nearly always all |m| <= NEAR. */
INLINE void OP(finish_few)(struct OP(state) *state, C *tile, struct source group, int n, ptrdiff_t n_classes,
                           struct pairs *pairs, int first)
{
    int all_near = !OP(any)(OP(less)(OP(set)(OP(NEAR)), OP(abs)(state->max_x)));
    if (!all_near) {
        struct OP(scaling) far;
        pairs->is_kept[first / 8] = 0;
        OP(pack_few)(group, n_classes, tile);
        for (int h = 0; h < LANES / 8; h++)
            OP(scale_rows)(WIDEN(state->max_x, h), &far, 8 * h);
        OP(sum_few)(tile, n_classes, (struct lines){group.rows[0], 0}, &far, 1, state);
    }
    for (int h = 0; h < LANES / 8 && 8 * h < n; h++) {
        struct wide sum = {state->sum[h], state->low[h]};
        if (all_near)
            OP(store_pairs)(WIDEN(state->max_x, h), sum, 1, at_most_8(n - 8 * h), pairs, first + 8 * h);
        else
            OP(store_pairs)(WIDEN(state->max_x, h), sum, 0, at_most_8(n - 8 * h), pairs, first + 8 * h);
    }
}

INLINE void OP(pair_few)(struct source group, int n, ptrdiff_t n_classes,
                         const struct OP(scaling) *scaling, struct pairs *pairs, int first)
{
    struct OP(state) state;
    C *tile = OP(keeps)(pairs, n_classes) ? (C *)(void *)pairs->kept + first * n_classes
                                          : take(&group.scratch, OP(tile_bytes)(n_classes));
    OP(pack_few)(group, n_classes, tile);
    OP(sum_few)(tile, n_classes, OP(next_group)(group, n_classes), scaling, 0, &state);
    pairs->is_kept[first / 8] = 1;
    OP(finish_few)(&state, tile, group, n, n_classes, pairs, first);
}

/* Groups of LANES rows of few classes that lie side by side. */
INLINE void OP(pair_few_across)(struct source x, int n_groups, ptrdiff_t n_classes,
                                const struct OP(scaling) *scaling, struct pairs *pairs)
{
    struct OP(state) *states = take(&x.scratch, BLOCK / LANES * sizeof *states);
    C *tile = take(&x.scratch, OP(tile_bytes)(n_classes));
    for (int g = 0; g < n_groups; g++)
        OP(start)(&states[g]);
    for (ptrdiff_t j = 0; j < n_classes; j += 2)
        if (j + 1 < n_classes)
            OP(add_across)(x, n_groups, j, 1, 1, scaling, 0, states);
        else
            OP(add_across)(x, n_groups, j, 1, 0, scaling, 0, states);
    for (int g = 0; g < n_groups; g++, x.rows += LANES)
        OP(finish_few)(&states[g], tile, x, LANES, n_classes, pairs, g * LANES);
}

/* Of two classes, r = exp(-|x_0 - x_1|) at once. float32: e = 1. */
INLINE void OP(pair_two)(struct source group, int n, struct pairs *pairs, int first)
{
    const f64x8 zero = set_f64(0);
    C tile[2 * LANES];
    struct lines next = OP(next_group)(group, 2);
    __builtin_prefetch(next.first);
    __builtin_prefetch(next.first + next.step);
    OP(pack_few)(group, 2, tile);
    V x = OP(load)(tile), y = OP(load)(tile + LANES);
    for (int h = 0; h < LANES / 8 && 8 * h < n; h++) {
        f64x8 a = WIDEN(x, h), b = WIDEN(y, h), m = max_f64(a, b), e = set_f64(1), r, r_low = zero, low;
        if (OP(ELEMENT) == F64) {
            f64x8 difference = two_sum(a, sub_f64(zero, b), &low), size = abs_f64(difference);
            e = set_f64(0x1p516);                 /* 2^MIDDLE */
            r = exp_wide(sub_f64(zero, size), set_f64(EXPONENT_BIAS_f64 + MIDDLE_f64), &r_low);
            low = choose_f64(less_f64(zero, difference), sub_f64(zero, low), low);
            r_low = fma_f64(r, choose_f64(less_f64(size, set_f64(INFINITY)), low, zero), r_low);
            r = fast_two_sum(r, r_low, &r_low);
        } else
            r = exp_short(sub_f64(zero, abs_f64(sub_f64(a, b))));
        r = fma_f64(m, zero, r);                  /* NaN where m is infinite */
        int i = first + 8 * h, part = at_most_8(n - 8 * h);
        store_part_f64(pairs->m + i, part, m);
        store_part_f64(pairs->e + i, part, e);
        store_part_f64(pairs->e_low + i, part, zero);
        store_part_f64(pairs->sum + i, part, r);
        store_part_f64(pairs->sum_low + i, part, r_low);
    }
}

INLINE void OP(pair_many)(struct source group, int n, ptrdiff_t n_classes,
                          const struct OP(scaling) *scaling, struct pairs *pairs, int first)
{
    struct lane_sum rows = OP(sum_many_rows)(group, n_classes, scaling, 0);
    if (!any_f64(less_f64(set_f64(OP(NEAR)), abs_f64(rows.max_x)))) {
        OP(store_pairs)(rows.max_x, rows.sum, 1, n, pairs, first);
        return;
    }
    struct OP(scaling) far;
    OP(scale_rows)(rows.max_x, &far, 0);
    rows = OP(sum_many_rows)(group, n_classes, &far, 1);
    OP(store_pairs)(rows.max_x, rows.sum, 0, n, pairs, first);
}

static void OP(pair_across)(struct source x, int n_groups, ptrdiff_t n_classes,
                            const struct OP(scaling) *near, struct pairs *pairs)
{
    struct OP(across) of, again;
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
        OP(sum_across_rows)(&of, n_classes);
        for (int g = 0; g < of.n_groups; g++) {
            struct OP(scaling) far;
            const struct lane_sum *rows = of.sum[g];
            int all_near = 1;
            for (int h = 0; h < LANES / 8; h++)
                all_near &= !any_f64(less_f64(set_f64(OP(NEAR)), abs_f64(rows[h].max_x)));
            if (!all_near) {
                again.x = of.x;
                again.x.rows += g * LANES;
                again.n_groups = 1;
                again.scaling = &far;
                again.centred = 1;
                for (int h = 0; h < LANES / 8; h++)
                    OP(scale_rows)(rows[h].max_x, &far, 8 * h);
                OP(sum_across_rows)(&again, n_classes);
                rows = again.sum[0];
            }
            for (int h = 0; h < LANES / 8; h++)
                OP(store_pairs)(rows[h].max_x, rows[h].sum, 0, 8, pairs, (first + g) * LANES + 8 * h);
        }
    }
}

static void OP(pair)(struct source x, int n_rows, ptrdiff_t n_classes, struct pairs *pairs)
{
    int few = n_classes <= OP(FEW), size = few ? LANES : 8;
    struct OP(scaling) near;
    pairs->unit = n_classes == 2 && OP(ELEMENT) == F32;
    for (int i = 0; i < LANES; i++) {
        near.c[i] = 0;
        near.magic[i] = OP(MAGIC) + (OP(EXPONENT_BIAS) + OP(MIDDLE));
        near.lowest[i] = (C)((OP(EXPONENT_BIAS) + OP(MIDDLE)) * -0x1.62e42fefa39efp-1);
    }
    int first = 0;
    if (n_classes > 2 && OP(side_by_side)(x)) {
        first = n_rows / LANES * LANES;
        if (few)
            OP(pair_few_across)(x, n_rows / LANES, n_classes, &near, pairs);
        else
            OP(pair_across)(x, n_rows / LANES, n_classes, &near, pairs);
    }
    for (; first < n_rows; first += size) {
        struct source group = x;
        const char *rows[LANES];
        int n = n_rows - first;
        group.rows += first;
        if (n < size)
            OP(fill_group)(&group, n, size, rows);
        if (n_classes == 2)
            OP(pair_two)(group, n, pairs, first);
        else if (few)
            OP(pair_few)(group, n, n_classes, &near, pairs, first);
        else
            OP(pair_many)(group, at_most_8(n), n_classes, &near, pairs, first);
    }
}
