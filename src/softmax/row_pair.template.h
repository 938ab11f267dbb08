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

INLINE VECTOR TYPED(enter)(struct TYPED(state) *state, VECTOR x, VECTOR e)
{
    state->max_x = TYPED(max)(state->max_x, x);
    VECTOR term = TYPED(min)(state->max_e, e);
    state->max_e = TYPED(max)(state->max_e, e);
    return term;
}

INLINE VECTOR TYPED(term)(struct TYPED(state) *state, VECTOR x, VECTOR c, VECTOR magic, VECTOR lowest, int centred)
{
    return TYPED(enter)(state, x, TYPED(exp)(centred ? TYPED(sub)(x, c) : x, magic, lowest));
}

/* The same for a place in memory, which keeps the exponential. */
INLINE VECTOR TYPED(cached_term)(struct TYPED(state) *state, REAL *place, VECTOR c, VECTOR magic, VECTOR lowest, int centred)
{
    VECTOR x = TYPED(load)(place), e = TYPED(exp)(centred ? TYPED(sub)(x, c) : x, magic, lowest);
    TYPED(store)(place, e);
    return TYPED(enter)(state, x, e);
}

/* Lanes are rows: `tile` holds the classes one after the other, LANES rows each, and then their exponentials. Terms enter the
 * sum in twos. next: as many lines as classes, to be fetched meanwhile. */
INLINE void TYPED(sum_rows_in_lanes)(REAL *tile, ptrdiff_t n_classes, struct lines next, const struct TYPED(scaling) *scaling,
                                     int centred, struct TYPED(state) *state)
{
    VECTOR c = TYPED(load)(scaling->c), magic = TYPED(load)(scaling->magic), lowest = TYPED(load)(scaling->lowest);
    struct TYPED(state) local;
    TYPED(start)(&local);
    ptrdiff_t j = 0;
    for (; j + 2 <= n_classes; j += 2) {
        __builtin_prefetch(next.first + next.stride * j);
        __builtin_prefetch(next.first + next.stride * (j + 1));
        VECTOR term = TYPED(cached_term)(&local, tile + j * LANES, c, magic, lowest, centred);
        VECTOR other = TYPED(cached_term)(&local, tile + (j + 1) * LANES, c, magic, lowest, centred);
        TYPED(add_terms)(local.sum, local.low, TYPED(add)(term, other));
    }
    if (j < n_classes)
        TYPED(add_terms)(local.sum, local.low, TYPED(cached_term)(&local, tile + j * LANES, c, magic, lowest, centred));
    *state = local;
}

/* Lanes are classes: `row` holds n_classes of one row; class j goes to lane j % LANES. */
INLINE void TYPED(sum_classes_in_lanes)(const REAL *row, ptrdiff_t n_classes, const struct TYPED(scaling) *scaling, int i,
                                        int centred, struct TYPED(state) *state)
{
    VECTOR c = TYPED(set)(scaling->c[i]), magic = TYPED(set)(scaling->magic[i]), lowest = TYPED(set)(scaling->lowest[i]);
    struct TYPED(state) local = *state;
    ptrdiff_t j = 0;
    for (; j + 2 * LANES <= n_classes; j += 2 * LANES) {
        __builtin_prefetch((const char *)(row + j) + AHEAD);
        __builtin_prefetch((const char *)(row + j) + AHEAD + 64);
        VECTOR term = TYPED(term)(&local, TYPED(load)(row + j), c, magic, lowest, centred);
        VECTOR other = TYPED(term)(&local, TYPED(load)(row + j + LANES), c, magic, lowest, centred);
        TYPED(add_terms)(local.sum, local.low, TYPED(add)(term, other));
    }
    VECTOR term = TYPED(set)(0);
    if (j + LANES <= n_classes) {
        term = TYPED(term)(&local, TYPED(load)(row + j), c, magic, lowest, centred);
        j += LANES;
    }
    if (j < n_classes) {
        VECTOR last = TYPED(load_part)(row + j, (int)(n_classes - j), -INFINITY);
        term = TYPED(add)(term, TYPED(term)(&local, last, c, magic, lowest, centred));
    }
    TYPED(add_terms)(local.sum, local.low, term);
    *state = local;
}

/* One segment of eight rows. Rows of neighbouring classes are read one after the other; others go through a tile of some
 * classes of all rows, class by class where rows may share their cache lines. The lane of a class is the same. */
INLINE struct lane_sum TYPED(sum_segment)(struct source group, ptrdiff_t n_classes, const struct TYPED(scaling) *scaling,
                                          int centred)
{
    struct TYPED(state) states[8];
    REAL (*copy)[TILE] = take(&group.scratch, 8 * sizeof *copy);
    const int direct = TYPED(direct)(group),
              in_order = group.class_stride > 0 && group.class_stride <= (ptrdiff_t)sizeof(REAL);
    const int by_class = !in_order && group.row_stride && group.element == TYPED(ELEMENT);
    const ptrdiff_t tile = direct ? n_classes : TILE;
    for (int i = 0; i < 8; i++)
        TYPED(start)(&states[i]);
    for (int i = 0; in_order && i < 8; i++) {
        if (i && group.rows[i] == group.rows[0]) {
            states[i] = states[0];
            continue;
        }
        for (ptrdiff_t first = 0; first < n_classes; first += tile) {
            ptrdiff_t n = n_classes - first < tile ? n_classes - first : tile;
            TYPED(sum_classes_in_lanes)(TYPED(contiguous)(group, i, first, n, copy[0]), n, scaling, i, centred, &states[i]);
        }
    }
    for (ptrdiff_t first = 0; !in_order && first < n_classes; first += TILE) {
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
            TYPED(sum_classes_in_lanes)(copy[i], n, scaling, i, centred, &states[i]);
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
    for (int field = 0; field < 4; field++)
        transpose_8(parts[field], columns[field]);
    struct lane_sum lanes[8];
    for (int l = 0; l < 8; l++)
        lanes[l] = (struct lane_sum){columns[0][l], columns[1][l], {columns[2][l], columns[3][l]}};
    for (int width = 4; width; width /= 2)
        for (int l = 0; l < width; l++)
            merge_lanes(&lanes[l], &lanes[l + width]);
    return lanes[0];
}

struct TYPED(segments) {
    struct segments segments;
    struct source group;
    const struct TYPED(scaling) *scaling;
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
    of->sum[i] = EITHER(of->centred, TYPED(sum_segment), group, segment_size(&of->segments, i), of->scaling);
}

INLINE struct lane_sum TYPED(sum_eight_rows)(struct source group, ptrdiff_t n_classes, const struct TYPED(scaling) *scaling,
                                             int centred)
{
    struct TYPED(segments) of;
    of.sum = take(&group.scratch, (size_t)count_segments(n_classes) * sizeof *of.sum);
    of.group = group;
    of.scaling = scaling;
    of.centred = centred;
    int n = run_segments(group.pool, TYPED(sum_one_segment), &of.segments, n_classes, group.scratch);
    for (int i = 1; i < n; i++)
        merge_lanes(&of.sum[0], &of.sum[i]);
    return of.sum[0];
}
