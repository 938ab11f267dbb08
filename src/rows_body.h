/* C layer: the kernels that read a row's classes as vectors, for one element type. Included by rows.c once per type, with
 * T (f64 or f32), C (its C type), V (its vector) and the constants below defined. */

enum { OP(FEW) = FEW_BYTES / sizeof(C) };

/* How exp(x_j) is scaled while a row is summed: everything is done with x - c, whose rounding to 2^n (1 + t) needs no
 * subtraction of the maximum, and 2^n is moved by `index` (vmath.h) so that m's lands in the middle of the exponents.
 *
 * Rows with |m| <= NEAR use c = 0 and one fixed index: a single pass, the maximum falls out of it. The other rows are done
 * again knowing m, with the index moved by m's own n. Up to |m| <= FAR c is still 0; beyond it c = m, which is exact for
 * every x_j near enough to m to count.
 */
struct OP(scaling) {
    C c[LANES], magic[LANES], lowest[LANES];
};

/* The running sum over classes. max_e is left out of the sum: a term enters when a larger one takes its place. */
struct OP(state) {
    V max_x, max_e;
    f64x8 sum[LANES / 8], low[LANES / 8];
};

INLINE void OP(start)(struct OP(state) *state)
{
    state->max_x = OP(set)(-INFINITY);
    state->max_e = OP(set)(0);
    for (int h = 0; h < LANES / 8; h++)
        state->sum[h] = state->low[h] = set_f64(0);
}

INLINE V OP(enter)(struct OP(state) *state, V x, V e)
{
    state->max_x = OP(max)(state->max_x, x);
    V term = OP(min)(state->max_e, e);
    state->max_e = OP(max)(state->max_e, e);
    return term;
}

INLINE V OP(term)(struct OP(state) *state, V x, V c, V magic, V lowest, int centred)
{
    return OP(enter)(state, x, OP(exp)(centred ? OP(sub)(x, c) : x, magic, lowest));
}

/* The same for a place in memory, which keeps the exponential. */
INLINE V OP(kept_term)(struct OP(state) *state, C *place, V c, V magic, V lowest, int centred)
{
    V x = OP(load)(place), e = OP(exp)(centred ? OP(sub)(x, c) : x, magic, lowest);
    OP(store)(place, e);
    return OP(enter)(state, x, e);
}

/* Of LANES rows, class by class. */
INLINE size_t OP(tile_bytes)(ptrdiff_t n_classes)
{
    return (size_t)(n_classes * LANES) * sizeof(C);
}

/* Lanes are rows: `tile` holds the classes one after the other, LANES rows each, and then their exponentials. Terms enter the
 * sum in twos. next: as many lines as classes, to be fetched meanwhile. */
INLINE void OP(sum_few)(C *tile, ptrdiff_t n_classes, struct lines next, const struct OP(scaling) *scaling, int centred,
                        struct OP(state) *state)
{
    V c = OP(load)(scaling->c), magic = OP(load)(scaling->magic), lowest = OP(load)(scaling->lowest);
    struct OP(state) local;
    OP(start)(&local);
    ptrdiff_t j = 0;
    for (; j + 2 <= n_classes; j += 2) {
        __builtin_prefetch(next.first + next.step * j);
        __builtin_prefetch(next.first + next.step * (j + 1));
        V term = OP(kept_term)(&local, tile + j * LANES, c, magic, lowest, centred);
        V other = OP(kept_term)(&local, tile + (j + 1) * LANES, c, magic, lowest, centred);
        OP(add_terms)(local.sum, local.low, OP(add)(term, other));
    }
    if (j < n_classes)
        OP(add_terms)(local.sum, local.low, OP(kept_term)(&local, tile + j * LANES, c, magic, lowest, centred));
    *state = local;
}

/* Lanes are classes: `row` holds n_classes of one row; class j goes to lane j % LANES. */
INLINE void OP(sum_many)(const C *row, ptrdiff_t n_classes, const struct OP(scaling) *scaling, int i, int centred,
                         struct OP(state) *state)
{
    V c = OP(set)(scaling->c[i]), magic = OP(set)(scaling->magic[i]), lowest = OP(set)(scaling->lowest[i]);
    struct OP(state) local = *state;
    ptrdiff_t j = 0;
    for (; j + 2 * LANES <= n_classes; j += 2 * LANES) {
        __builtin_prefetch((const char *)(row + j) + AHEAD);
        __builtin_prefetch((const char *)(row + j) + AHEAD + 64);
        V term = OP(term)(&local, OP(load)(row + j), c, magic, lowest, centred);
        V other = OP(term)(&local, OP(load)(row + j + LANES), c, magic, lowest, centred);
        OP(add_terms)(local.sum, local.low, OP(add)(term, other));
    }
    V term = OP(set)(0);
    if (j + LANES <= n_classes) {
        term = OP(term)(&local, OP(load)(row + j), c, magic, lowest, centred);
        j += LANES;
    }
    if (j < n_classes) {
        V last = OP(load_part)(row + j, (int)(n_classes - j), -INFINITY);
        term = OP(add)(term, OP(term)(&local, last, c, magic, lowest, centred));
    }
    OP(add_terms)(local.sum, local.low, term);
    *state = local;
}

/* Whether rows can be read where they lie. */
INLINE int OP(direct)(struct source x)
{
    return x.step == sizeof(C) && x.element == OP(ELEMENT);
}

/* Whether neighbouring rows lie side by side, class by class. */
INLINE int OP(side_by_side)(struct source x)
{
    return x.between == sizeof(C) && x.element == OP(ELEMENT);
}

INLINE void OP(read_halves)(const char *p, enum element element, ptrdiff_t n, C *out)
{
    ptrdiff_t j = 0;
    for (; j + 16 <= n; j += 16) {
        __builtin_prefetch(p + 2 * j + AHEAD);
        OP(store_as)(out + j, load_halves(p + 2 * j, element));
    }
    if (j < n) {
        char last[32] = {0};
        C values[16];
        memcpy(last, p + 2 * j, (size_t)(2 * (n - j)));
        OP(store_as)(values, load_halves(last, element));
        memcpy(out + j, values, (size_t)(n - j) * sizeof(C));
    }
}

/* n elements, `step` bytes apart. */
static void OP(read)(const char *p, ptrdiff_t step, enum element element, ptrdiff_t n, C *out)
{
#define EACH(STEP, TYPE, CONVERT)                                                                                  \
    for (ptrdiff_t j = 0; j < n; j++) {                                                                            \
        TYPE value;                                                                                                \
        memcpy(&value, p + j * (STEP), sizeof value);                                                              \
        out[j] = CONVERT(value);                                                                                   \
    }
#define CASE(NAME, TYPE, CONVERT)                                                                                  \
    case NAME:                                                                                                     \
        if (step == sizeof(TYPE))                                                                                  \
            EACH((ptrdiff_t)sizeof(TYPE), TYPE, CONVERT)                                                           \
        else                                                                                                       \
            EACH(step, TYPE, CONVERT)                                                                              \
        break;
    if (step == 2 && element == F16)
        OP(read_halves)(p, F16, n, out);
    else if (step == 2 && element == BF16)
        OP(read_halves)(p, BF16, n, out);
    else switch (element) {
        CASE(F64, double, (C))
        CASE(F32, float, (C))
        CASE(F16, uint16_t, (C)widen_f16)
        CASE(BF16, uint16_t, (C)widen_bf16)
        CASE(I8, int8_t, (C))
        CASE(I16, int16_t, (C))
        CASE(I32, int32_t, (C))
        CASE(I64, int64_t, (C))
        CASE(U8, uint8_t, (C))
        CASE(U16, uint16_t, (C))
        CASE(U32, uint32_t, (C))
        CASE(U64, uint64_t, (C))
    case ELEMENTS:
        break;
    }
#undef CASE
#undef EACH
}

/* The classes [first, first + n) of a row as contiguous values: where they lie, or copied into `copy`. */
INLINE const C *OP(contiguous)(struct source x, int i, ptrdiff_t first, ptrdiff_t n, C *copy)
{
    const char *p = x.rows[i] + first * x.step;
    if (OP(direct)(x))
        return (const C *)(const void *)p;
    OP(read)(p, x.step, x.element, n, copy);
    return copy;
}

/* And back: n results `step` bytes apart, each rounded once more if the element is narrower. */
static void OP(write)(char *p, ptrdiff_t step, enum element element, ptrdiff_t n, const C *values)
{
    ptrdiff_t j = 0;
    if (step == sizeof(C) && element == OP(ELEMENT)) {
        memcpy(p, values, (size_t)n * sizeof(C));
        return;
    }
    if (OP(ELEMENT) == F32 && step == 2 && is_half(element)) {
        const float *singles = (const float *)(const void *)values;
        for (; j + 16 <= n; j += 16)
            if (element == F16)
                store_halves(p + 2 * j, F16, load_f32(singles + j));
            else
                store_halves(p + 2 * j, BF16, load_f32(singles + j));
    }
    for (; j < n; j++)
        write_element(p + j * step, element, values[j]);
}

/* LANES rows of at most OP(FEW) classes, transposed: class j of row i at tile[j * LANES + i]. */
INLINE void OP(pack_few)(struct source group, ptrdiff_t n_classes, C *tile)
{
    enum { QUAD = 16 / sizeof(C) };
    const char *const *rows = group.rows;
    const char *copies[LANES];
    if (OP(side_by_side)(group)) {
        for (ptrdiff_t j = 0; j < n_classes; j++)
            OP(store)(tile + j * LANES, OP(load)((const C *)(const void *)(rows[0] + j * group.step)));
        return;
    }
    int follow = group.between && group.between == n_classes * group.step;
    if (!OP(direct)(group)) {
        C *copy = take(&group.scratch, (size_t)(LANES * n_classes) * sizeof(C));
        if (follow)
            OP(read)(rows[0], group.step, group.element, LANES * n_classes, copy);
        for (int i = 0; i < LANES; i++) {
            if (!follow)
                OP(read)(rows[i], group.step, group.element, n_classes, copy + i * n_classes);
            copies[i] = (const char *)(copy + i * n_classes);
        }
        rows = copies;
        follow = 1;
    }
    if (follow && n_classes == 2) {
        V pairs[2];
        OP(pairs)((const C *)(const void *)rows[0], pairs);
        OP(store)(tile, pairs[0]);
        OP(store)(tile + LANES, pairs[1]);
        return;
    }
    if (n_classes < QUAD) {
        for (int i = 0; i < LANES; i++)
            for (ptrdiff_t j = 0; j < n_classes; j++)
                memcpy(tile + j * LANES + i, rows[i] + j * (ptrdiff_t)sizeof(C), sizeof(C));
        return;
    }
    for (ptrdiff_t j = 0; j < n_classes; j += QUAD) {
        ptrdiff_t at = j + QUAD <= n_classes ? j : n_classes - QUAD;      /* the last ones overlap */
        V columns[QUAD];
        OP(columns)(rows, at * (ptrdiff_t)sizeof(C), columns);
        for (int q = 0; q < QUAD; q++)
            OP(store)(tile + (at + q) * LANES, columns[q]);
    }
}

/* What will be wanted after a group of LANES rows that follow each other or lie side by side: as many lines as classes. */
INLINE struct lines OP(next_group)(struct source group, ptrdiff_t n_classes)
{
    ptrdiff_t size = LANES * group.between;
    if (OP(side_by_side)(group))
        return (struct lines){group.rows[0] + size, group.step};
    if (group.between && group.between == n_classes * group.step)
        return (struct lines){group.rows[0] + (size < AHEAD ? AHEAD : 2 * size), LANES * group.step};
    return (struct lines){group.rows[0], 0};
}

/* One segment of eight rows. Rows of neighbouring classes are read one after the other; others go through a tile of some classes
 * of all rows, class by class where rows may share their cache lines. The lane of a class is the same. */
INLINE struct lane_sum OP(sum_segment)(struct source group, ptrdiff_t n_classes, const struct OP(scaling) *scaling, int centred)
{
    struct OP(state) states[8];
    C (*copy)[TILE] = take(&group.scratch, 8 * sizeof *copy);
    const int direct = OP(direct)(group), in_order = group.step > 0 && group.step <= (ptrdiff_t)sizeof(C);
    const int by_class = !in_order && group.between && group.element == OP(ELEMENT);
    const ptrdiff_t tile = direct ? n_classes : TILE;
    for (int i = 0; i < 8; i++)
        OP(start)(&states[i]);
    for (int i = 0; in_order && i < 8; i++) {
        if (i && group.rows[i] == group.rows[0]) {
            states[i] = states[0];
            continue;
        }
        for (ptrdiff_t first = 0; first < n_classes; first += tile) {
            ptrdiff_t n = n_classes - first < tile ? n_classes - first : tile;
            OP(sum_many)(OP(contiguous)(group, i, first, n, copy[0]), n, scaling, i, centred, &states[i]);
        }
    }
    for (ptrdiff_t first = 0; !in_order && first < n_classes; first += TILE) {
        ptrdiff_t n = n_classes - first < TILE ? n_classes - first : TILE;
        for (ptrdiff_t j = 0; by_class && j < n; j++)
            for (int i = 0; i < 8; i++)
                memcpy(&copy[i][j], group.rows[0] + i * group.between + (first + j) * group.step, sizeof(C));
        for (int i = 0; i < 8; i++) {
            if (i && group.rows[i] == group.rows[0]) {
                states[i] = states[0];
                continue;
            }
            if (!by_class)
                OP(read)(group.rows[i] + first * group.step, group.step, group.element, n, copy[i]);
            OP(sum_many)(copy[i], n, scaling, i, centred, &states[i]);
        }
    }
    /* Lanes merge by halves: those of a row down to eight, then transposed, all rows together. */
    double parts[4][8][8];
    for (int i = 0; i < 8; i++) {
        struct lane_sum lanes[LANES / 8];
        for (int h = 0; h < LANES / 8; h++)
            lanes[h] = (struct lane_sum){WIDEN(states[i].max_x, h), WIDEN(states[i].max_e, h),
                                         {states[i].sum[h], states[i].low[h]}};
        if (LANES == 16)
            merge_lanes(&lanes[0], &lanes[LANES / 8 - 1]);
        store_f64(parts[0][i], lanes[0].max_x);
        store_f64(parts[1][i], lanes[0].max_e);
        store_f64(parts[2][i], lanes[0].sum.high);
        store_f64(parts[3][i], lanes[0].sum.low);
    }
    f64x8 columns[4][8];
    for (int part = 0; part < 4; part++)
        transpose_8(parts[part], columns[part]);
    struct lane_sum lanes[8];
    for (int l = 0; l < 8; l++)
        lanes[l] = (struct lane_sum){columns[0][l], columns[1][l], {columns[2][l], columns[3][l]}};
    for (int width = 4; width; width /= 2)
        for (int l = 0; l < width; l++)
            merge_lanes(&lanes[l], &lanes[l + width]);
    return lanes[0];
}

struct OP(segments) {
    struct segments segments;
    struct source group;
    const struct OP(scaling) *scaling;
    int centred;
    struct lane_sum *sum;                         /* of each segment */
};

static void OP(sum_one_segment)(void *context, int i, char *scratch)
{
    struct OP(segments) *of = context;
    struct source group = of->group;
    const char *rows[8];
    group.scratch = scratch;
    for (int r = 0; r < 8; r++)
        rows[r] = group.rows[r] + i * of->segments.length * group.step;
    group.rows = rows;
    if (of->centred)
        of->sum[i] = OP(sum_segment)(group, segment_size(&of->segments, i), of->scaling, 1);
    else
        of->sum[i] = OP(sum_segment)(group, segment_size(&of->segments, i), of->scaling, 0);
}

INLINE struct lane_sum OP(sum_many_rows)(struct source group, ptrdiff_t n_classes, const struct OP(scaling) *scaling, int centred)
{
    struct OP(segments) of;
    of.sum = take(&group.scratch, (size_t)count_segments(n_classes) * sizeof *of.sum);
    of.group = group;
    of.scaling = scaling;
    of.centred = centred;
    int n = run_segments(group.team, OP(sum_one_segment), &of.segments, n_classes, group.scratch);
    for (int i = 1; i < n; i++)
        merge_lanes(&of.sum[0], &of.sum[i]);
    return of.sum[0];
}


/* c and the index of rows whose maxima are m: see struct scaling. */
INLINE f64x8 OP(centre)(f64x8 m)
{
    return choose_f64(less_f64(set_f64(OP(FAR)), abs_f64(m)), m, set_f64(0));
}

INLINE f64x8 OP(index)(f64x8 m)
{
    f64x8 n = nearest_exponent(sub_f64(m, OP(centre)(m)));
    n = choose_f64(less_f64(set_f64(OP(NEAR)), abs_f64(m)), n, set_f64(0));
    return sub_f64(set_f64(OP(EXPONENT_BIAS) + OP(MIDDLE)), n);
}

/* exp(m), scaled as in the sums. */
INLINE f64x8 OP(largest)(f64x8 m, int near, f64x8 *low)
{
    f64x8 index = set_f64(EXPONENT_BIAS_f64 + OP(MIDDLE)), x = m;
    if (!near) {
        index = add_f64(OP(index)(m), set_f64(EXPONENT_BIAS_f64 - OP(EXPONENT_BIAS)));
        x = sub_f64(m, OP(centre)(m));
    }
    if (OP(ELEMENT) == F64)
        return exp_wide(x, index, low);
    *low = set_f64(0);
    return exp_f64(x, add_f64(set_f64(MAGIC_f64), index), lowest_f64(index));
}

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

/* The scaling of eight rows whose maxima are m, from place `at`. */
INLINE void OP(scale_rows)(f64x8 m, struct OP(scaling) *scaling, int at)
{
    double c[8], index[8], lowest[8];
    store_f64(c, OP(centre)(m));
    store_f64(index, OP(index)(m));
    store_f64(lowest, lowest_f64(load_f64(index)));
    for (int i = 0; i < 8; i++) {
        scaling->c[at + i] = (C)c[i];
        scaling->magic[at + i] = OP(MAGIC) + (C)index[i];
        scaling->lowest[at + i] = (C)lowest[i];
    }
}

/* Whether there is room for the exponentials of a block. */
INLINE int OP(keeps)(const struct pairs *pairs, ptrdiff_t n_classes)
{
    return pairs->kept && n_classes <= most_classes(CACHED_EXPONENTIALS, sizeof(C));
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

INLINE void OP(pair_few)(struct source group, int n, ptrdiff_t n_classes, const struct OP(scaling) *scaling,
                         struct pairs *pairs, int first)
{
    struct OP(state) state;
    C *tile = OP(keeps)(pairs, n_classes) ? (C *)(void *)pairs->kept + first * n_classes
                                          : take(&group.scratch, OP(tile_bytes)(n_classes));
    OP(pack_few)(group, n_classes, tile);
    OP(sum_few)(tile, n_classes, OP(next_group)(group, n_classes), scaling, 0, &state);
    pairs->is_kept[first / 8] = 1;
    OP(finish_few)(&state, tile, group, n, n_classes, pairs, first);
}

/* Adds class j, or two from j, of groups of rows that lie side by side to their states. */
INLINE void OP(add_across)(struct source x, int n_groups, ptrdiff_t j, ptrdiff_t apart, int two,
                           const struct OP(scaling) *scaling, int centred, struct OP(state) *states)
{
    V c = OP(load)(scaling->c), magic = OP(load)(scaling->magic), lowest = OP(load)(scaling->lowest);
    const char *p = x.rows[0] + j * x.step, *q = p + apart * x.step;
    for (int g = 0; g < n_groups; g++, p += 64, q += 64) {
        __builtin_prefetch(p + AHEAD_ACROSS * x.step, 0, 2);
        V term = OP(term)(&states[g], OP(load)((const C *)(const void *)p), c, magic, lowest, centred);
        if (two) {
            __builtin_prefetch(q + AHEAD_ACROSS * x.step, 0, 2);
            V other = OP(term)(&states[g], OP(load)((const C *)(const void *)q), c, magic, lowest, centred);
            term = OP(add)(term, other);
        }
        OP(add_terms)(states[g].sum, states[g].low, term);
    }
}

/* Groups of LANES rows of few classes that lie side by side. */
INLINE void OP(pair_few_across)(struct source x, int n_groups, ptrdiff_t n_classes, const struct OP(scaling) *scaling,
                                struct pairs *pairs)
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

INLINE void OP(pair_many)(struct source group, int n, ptrdiff_t n_classes, const struct OP(scaling) *scaling,
                          struct pairs *pairs, int first)
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

/* Groups of LANES rows of many classes, where neighbouring rows and not the classes lie side by side: lanes are rows, and
 * states[l] has the lane l that a row of classes would have, so that every sum is the same. A class is read of all rows at once,
 * for each may be on another page of memory; the states stay in the first-level cache. */
INLINE void OP(sum_across)(struct source x, int n_groups, ptrdiff_t begin, ptrdiff_t n_classes,
                           const struct OP(scaling) *scaling, int centred, struct OP(state) (*states)[BLOCK / LANES])
{
    for (int l = 0; l < LANES; l++)
        for (int g = 0; g < n_groups; g++)
            OP(start)(&states[l][g]);
    for (ptrdiff_t first = 0; first < n_classes; first += 2 * LANES)
        for (int l = 0; l < LANES && first + l < n_classes; l++)
            if (first + l + LANES < n_classes)
                OP(add_across)(x, n_groups, begin + first + l, LANES, 1, scaling, centred, states[l]);
            else
                OP(add_across)(x, n_groups, begin + first + l, LANES, 0, scaling, centred, states[l]);
}

INLINE struct lane_sum OP(merge_across)(const struct OP(state) (*states)[BLOCK / LANES], int g, int h)
{
    struct lane_sum lanes[LANES];
    for (int l = 0; l < LANES; l++)
        lanes[l] = (struct lane_sum){WIDEN(states[l][g].max_x, h), WIDEN(states[l][g].max_e, h),
                                     {states[l][g].sum[h], states[l][g].low[h]}};
    for (int width = LANES / 2; width; width /= 2)
        for (int l = 0; l < width; l++)
            merge_lanes(&lanes[l], &lanes[l + width]);
    return lanes[0];
}

struct OP(across) {
    struct segments segments;
    struct source x;
    int n_groups;
    const struct OP(scaling) *scaling;
    int centred;
    struct lane_sum (*sum)[LANES / 8];            /* of each segment, all groups */
};

static void OP(across_segment)(void *context, int i, char *scratch)
{
    struct OP(across) *of = context;
    struct OP(state) (*states)[BLOCK / LANES] = take(&scratch, LANES * sizeof *states);
    ptrdiff_t begin = i * of->segments.length, n = segment_size(&of->segments, i);
    if (of->centred)
        OP(sum_across)(of->x, of->n_groups, begin, n, of->scaling, 1, states);
    else
        OP(sum_across)(of->x, of->n_groups, begin, n, of->scaling, 0, states);
    for (int g = 0; g < of->n_groups; g++)
        for (int h = 0; h < LANES / 8; h++)
            of->sum[i * of->n_groups + g][h] = OP(merge_across)(states, g, h);
}

INLINE void OP(sum_across_rows)(struct OP(across) *of, ptrdiff_t n_classes)
{
    int n = run_segments(of->x.team, OP(across_segment), &of->segments, n_classes, of->x.scratch);
    for (int i = 1; i < n; i++)
        for (int g = 0; g < of->n_groups; g++)
            for (int h = 0; h < LANES / 8; h++)
                merge_lanes(&of->sum[g][h], &of->sum[i * of->n_groups + g][h]);
}

static void OP(pair_across)(struct source x, int n_groups, ptrdiff_t n_classes, const struct OP(scaling) *near,
                            struct pairs *pairs)
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

/* The missing rows of the last group repeat its first. */
INLINE void OP(fill_group)(struct source *group, int n, int size, const char **rows)
{
    for (int i = 0; i < size; i++)
        rows[i] = group->rows[i < n ? i : 0];
    group->rows = rows;
    group->between = 0;
}

/* pack_few where there is much else to do for a row: a call is nothing then. */
static void OP(pack_tile)(struct source group, ptrdiff_t n_classes, C *tile)
{
    OP(pack_few)(group, n_classes, tile);
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
