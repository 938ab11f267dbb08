/* C layer: the sums of exponentials over the classes of rows. */
#ifndef TYPE
#error "instantiated by simd/instantiate.h"
#endif

/* The running sum over classes. max_e is left out of the sum: a term enters when a larger one takes its place. */
struct TYPED(state) {
    VECTOR max_x, max_e;
    f64x8 sum[LANES / 8], low[LANES / 8];
};

INLINE void TYPED(start)(struct TYPED(state) *state)
{
    state->max_x = TYPED(set)(-INFINITY);
    state->max_e = TYPED(set)(0);
    for (int h = 0; h < LANES / 8; h++)
        state->sum[h] = state->low[h] = set_f64(0);
}

INLINE VECTOR TYPED(enter)(struct TYPED(state) *state, VECTOR e)
{
    VECTOR term = TYPED(min)(state->max_e, e);
    state->max_e = TYPED(max)(state->max_e, e);
    return term;
}

/* Vectors of exponentials enter the sum in twos: only the larger of two can be the largest of all. With a NaN among them, the
 * smaller is the one and the larger the other, too. */
INLINE void TYPED(enter_two)(struct TYPED(state) *state, VECTOR e, VECTOR following)
{
    VECTOR smaller = TYPED(min)(e, following), larger = TYPED(max)(following, e);
    TYPED(add_terms)(state->sum, state->low, TYPED(add)(smaller, TYPED(enter)(state, larger)));
}

INLINE void TYPED(enter_all)(struct TYPED(state) *state, const REAL *e, ptrdiff_t n_vectors)
{
    ptrdiff_t j = 0;
    for (; j + 2 <= n_vectors; j += 2)
        TYPED(enter_two)(state, TYPED(load)(e + j * LANES), TYPED(load)(e + (j + 1) * LANES));
    if (j < n_vectors)
        TYPED(add_terms)(state->sum, state->low, TYPED(enter)(state, TYPED(load)(e + j * LANES)));
}

/* Of two lanes of a row, each the sum of its terms but the largest: the smaller of the two largest enters. */
INLINE void TYPED(merge_lanes)(struct lane_sum *a, const struct lane_sum *b)
{
    TYPED(accumulate)(&a->sum.high, &a->sum.low, b->sum.high);
    a->sum.low = add_f64(a->sum.low, b->sum.low);
    TYPED(accumulate)(&a->sum.high, &a->sum.low, min_f64(a->max_e, b->max_e));
    a->max_e = max_f64(a->max_e, b->max_e);
    a->max_x = max_f64(a->max_x, b->max_x);
}

/* The exponentials of one or two vectors, whose maximum enters too. */
INLINE void TYPED(exponentials)(int n, VECTOR *x, const struct TYPED(lane_scaling) *of, int centred, VECTOR *max_x)
{
    for (int k = 0; k < n; k++) {
        *max_x = TYPED(max)(*max_x, x[k]);
        if (centred)
            x[k] = TYPED(sub)(x[k], of->c);
    }
    TYPED(exps)(n, x, NULL, of->magic, of->lowest);
}

/* Of n values, into whole vectors: the last one is filled up with zeros. next: lines to be fetched meanwhile, one with each
 * vector. First all exponentials, then their sum: one loop of both would wait for each. */
INLINE void TYPED(add_all)(struct TYPED(state) *state, const REAL *x, ptrdiff_t n, const struct TYPED(lane_scaling) *of,
                           int centred, struct lines next, REAL *e)
{
    ptrdiff_t j = 0;
    for (; j + 2 * LANES <= n; j += 2 * LANES) {
        __builtin_prefetch(next.first);
        __builtin_prefetch(next.first + next.stride);
        next.first += 2 * next.stride;
        VECTOR v[2] = {TYPED(load)(x + j), TYPED(load)(x + j + LANES)};
        TYPED(exponentials)(2, v, of, centred, &state->max_x);
        TYPED(store)(e + j, v[0]);
        TYPED(store)(e + j + LANES, v[1]);
    }
    for (; j < n; j += LANES) {
        VECTOR v = j + LANES <= n ? TYPED(load)(x + j) : TYPED(load_some)(x + j, (int)(n - j), -INFINITY);
        TYPED(exponentials)(1, &v, of, centred, &state->max_x);
        TYPED(store)(e + j, v);
    }
    TYPED(enter_all)(state, e, (n + LANES - 1) / LANES);
}

/* Lanes are rows: `tile` holds the classes one after the other, LANES rows each, and then their exponentials. next: as many
 * lines as classes, to be fetched meanwhile. */
INLINE void TYPED(sum_rows_in_lanes)(REAL *tile, ptrdiff_t n_classes, struct lines next, const struct TYPED(scaling) *scaling,
                                     int centred, struct TYPED(state) *state)
{
    struct TYPED(lane_scaling) of = {TYPED(load)(scaling->c), TYPED(load)(scaling->magic), TYPED(load)(scaling->lowest)};
    struct TYPED(state) local;
    TYPED(start)(&local);
    TYPED(add_all)(&local, tile, n_classes * LANES, &of, centred, next, tile);
    *state = local;
}

/* Lanes are classes: `row` holds n_classes of one row; class j goes to lane j % LANES. e: room for the exponentials, of PIECE
 * vectors or, where they are kept, of all. */
INLINE void TYPED(sum_classes_in_lanes)(const REAL *row, ptrdiff_t n_classes, const struct TYPED(scaling) *scaling, int i,
                                        int centred, REAL *e, int kept, struct TYPED(state) *state)
{
    struct TYPED(lane_scaling) of = {TYPED(set)(scaling->c[i]), TYPED(set)(scaling->magic[i]), TYPED(set)(scaling->lowest[i])};
    for (ptrdiff_t first = 0; first < n_classes; first += PIECE * LANES) {
        ptrdiff_t n = n_classes - first < PIECE * LANES ? n_classes - first : PIECE * LANES;
        struct lines next = {(const char *)(row + first) + AHEAD, 64};
        TYPED(add_all)(state, row + first, n, &of, centred, next, kept ? e + first : e);
    }
}

/* Of eight rows the lanes, down to eight of a row, field by field as in struct lane_sum; sums of float32 have no low part. */
struct TYPED(row_lanes) {
    double field[TYPED(FIELDS)][8][8];
};

/* Lanes merge by halves. */
INLINE void TYPED(set_row_lanes)(struct TYPED(row_lanes) *lanes, int i, const struct TYPED(state) *state)
{
    struct lane_sum row = {WIDEN(state->max_x, 0), WIDEN(state->max_e, 0), {state->sum[0], state->low[0]}};
    if (LANES == 16) {
        const int h = LANES / 8 - 1;
        struct lane_sum others = {WIDEN(state->max_x, h), WIDEN(state->max_e, h), {state->sum[h], state->low[h]}};
        TYPED(merge_lanes)(&row, &others);
    }
    store_f64(lanes->field[0][i], row.max_x);
    store_f64(lanes->field[1][i], row.max_e);
    store_f64(lanes->field[2][i], row.sum.high);
    if (TYPED(FIELDS) == 4)
        store_f64(lanes->field[3][i], row.sum.low);
}

INLINE struct lane_sum TYPED(merge_row_lanes)(const struct TYPED(row_lanes) *rows)
{
    f64x8 columns[4][8];
    for (int field = 0; field < TYPED(FIELDS); field++)
        transpose_8(rows->field[field], columns[field]);
    for (int l = 0; TYPED(FIELDS) < 4 && l < 8; l++)
        columns[3][l] = set_f64(0);
    for (int width = 4; width; width /= 2)
        for (int l = 0; l < width; l++) {
            struct lane_sum lanes = lane_of(columns, l), others = lane_of(columns, l + width);
            TYPED(merge_lanes)(&lanes, &others);
            columns[0][l] = lanes.max_x;
            columns[1][l] = lanes.max_e;
            columns[2][l] = lanes.sum.high;
            columns[3][l] = lanes.sum.low;
        }
    return lane_of(columns, 0);
}

/* Where the exponentials of eight rows are kept, `stride` elements apart, or NULL. */
struct TYPED(kept) {
    REAL *e;
    ptrdiff_t stride;
};

/* Of eight rows whose classes lie one after the other: row by row. */
INLINE void TYPED(sum_rows_in_order)(struct source group, ptrdiff_t n_classes, const struct TYPED(scaling) *scaling,
                                     int centred, struct TYPED(kept) kept, struct TYPED(row_lanes) *lanes)
{
    REAL *copy = take(&group.scratch, TILE * sizeof *copy), *piece = take(&group.scratch, PIECE * LINE);
    const ptrdiff_t tile = TYPED(direct)(group) ? n_classes : TILE;
    for (int i = 0; i < 8; i++) {
        struct TYPED(state) state;
        if (i && group.rows[i] == group.rows[0]) {
            for (int field = 0; field < TYPED(FIELDS); field++)
                store_f64(lanes->field[field][i], load_f64(lanes->field[field][0]));
            continue;
        }
        TYPED(start)(&state);
        for (ptrdiff_t first = 0; first < n_classes; first += tile) {
            ptrdiff_t n = n_classes - first < tile ? n_classes - first : tile;
            REAL *e = kept.e ? kept.e + i * kept.stride + first : piece;
            TYPED(sum_classes_in_lanes)(TYPED(contiguous)(group, i, first, n, copy), n, scaling, i, centred, e, kept.e != NULL,
                                        &state);
        }
        TYPED(set_row_lanes)(lanes, i, &state);
    }
}

/* Of any eight rows: through a tile of some classes of all, class by class where rows may share their cache lines. */
INLINE void TYPED(sum_rows_by_tiles)(struct source group, ptrdiff_t n_classes, const struct TYPED(scaling) *scaling,
                                     int centred, struct TYPED(kept) kept, struct TYPED(row_lanes) *lanes)
{
    REAL (*copy)[TILE] = take(&group.scratch, 8 * sizeof *copy), *piece = take(&group.scratch, PIECE * LINE);
    const int by_class = group.row_stride && group.element == TYPED(ELEMENT);
    struct TYPED(state) states[8];
    for (int i = 0; i < 8; i++)
        TYPED(start)(&states[i]);
    for (ptrdiff_t first = 0; first < n_classes; first += TILE) {
        ptrdiff_t n = n_classes - first < TILE ? n_classes - first : TILE;
        for (ptrdiff_t j = 0; by_class && j < n; j++)
            for (int i = 0; i < 8; i++)
                memcpy(&copy[i][j], group.rows[0] + i * group.row_stride + (first + j) * group.class_stride, sizeof(REAL));
        for (int i = 0; i < 8; i++) {
            if (i && group.rows[i] == group.rows[0]) {
                states[i] = states[0];
                continue;
            }
            if (!by_class)
                TYPED(read)(group.rows[i] + first * group.class_stride, group.class_stride, group.element, n, copy[i]);
            struct TYPED(state) local = states[i];
            REAL *e = kept.e ? kept.e + i * kept.stride + first : piece;
            TYPED(sum_classes_in_lanes)(copy[i], n, scaling, i, centred, e, kept.e != NULL, &local);
            states[i] = local;
        }
    }
    for (int i = 0; i < 8; i++)
        TYPED(set_row_lanes)(lanes, i, &states[i]);
}

/* One segment of eight rows. The lane of a class is the same in both ways. */
INLINE struct lane_sum TYPED(sum_segment)(struct source group, ptrdiff_t n_classes, const struct TYPED(scaling) *scaling,
                                          struct TYPED(kept) kept, int centred)
{
    struct TYPED(row_lanes) lanes;
    if (group.class_stride > 0 && group.class_stride <= (ptrdiff_t)sizeof(REAL))
        TYPED(sum_rows_in_order)(group, n_classes, scaling, centred, kept, &lanes);
    else
        TYPED(sum_rows_by_tiles)(group, n_classes, scaling, centred, kept, &lanes);
    return TYPED(merge_row_lanes)(&lanes);
}

struct TYPED(segments) {
    struct segments segments;
    struct source group;
    const struct TYPED(scaling) *scaling;
    struct TYPED(kept) kept;
    int centred;
    struct lane_sum *sum;                         /* of each segment */
};

static void TYPED(sum_one_segment)(void *context, int i, char *scratch)
{
    struct TYPED(segments) *of = context;
    struct source group = of->group;
    const char *rows[8];
    group.scratch = scratch;
    for (int r = 0; r < 8; r++)
        rows[r] = group.rows[r] + i * of->segments.length * group.class_stride;
    group.rows = rows;
    struct TYPED(kept) kept = {of->kept.e ? of->kept.e + i * of->segments.length : NULL, of->kept.stride};
    of->sum[i] = EITHER(of->centred, TYPED(sum_segment), group, segment_size(&of->segments, i), of->scaling, kept);
}

/* kept: or NULL. */
INLINE struct lane_sum TYPED(sum_eight_rows)(struct source group, ptrdiff_t n_classes, const struct TYPED(scaling) *scaling,
                                             REAL *kept, int centred)
{
    struct TYPED(segments) of;
    of.sum = take(&group.scratch, (size_t)count_segments(n_classes) * sizeof *of.sum);
    of.group = group;
    of.scaling = scaling;
    of.kept = (struct TYPED(kept)){kept, cached_length(n_classes, sizeof(REAL))};
    of.centred = centred;
    int n = run_segments(group.pool, TYPED(sum_one_segment), &of.segments, n_classes, group.scratch);
    for (int i = 1; i < n; i++)
        TYPED(merge_lanes)(&of.sum[0], &of.sum[i]);
    return of.sum[0];
}
