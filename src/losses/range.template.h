/* C layer: the sums of rows and their smallest and largest values, for one element type. */
#ifndef TYPE
#error "instantiated by simd/instantiate.h"
#endif

/* The smallest and the largest values of lanes, and their sums. */
struct TYPED(lane_range) {
    VECTOR low, high;
    f64x8 total[LANES / 8];
};

INLINE void TYPED(take_in)(struct TYPED(lane_range) *range, const REAL *place)
{
    VECTOR x = TYPED(load)(place);
    range->low = TYPED(min)(range->low, x);
    range->high = TYPED(max)(range->high, x);
    for (int h = 0; h < LANES / 8; h++)
        range->total[h] = add_f64(range->total[h], TYPED(load_wide)(place + 8 * h));
}

/* The classes from `at`, as many as 16 bytes hold, without the first `skip` of them. */
INLINE void TYPED(take_in_columns)(struct TYPED(lane_range) *range, const char *const *rows, ptrdiff_t at, int skip,
                                   struct lines next)
{
    VECTOR columns[TYPED(QUAD)];
    TYPED(columns)(rows, at * (ptrdiff_t)sizeof(REAL), columns);
    for (int q = skip; q < TYPED(QUAD); q++) {
        REAL column[LANES];
        __builtin_prefetch(next.first + next.stride * (at + q));
        TYPED(store)(column, columns[q]);
        TYPED(take_in)(range, column);
    }
}

/* Of as many rows as lanes, of which the first n count. float64 from registers, where it can be: float32 would need too many. */
INLINE void TYPED(range_rows_in_lanes)(struct source group, int n, ptrdiff_t n_classes, double *sum, VECTOR *low, VECTOR *high)
{
    struct TYPED(lane_range) range = {.low = *low, .high = *high};
    struct lines next = TYPED(next_group)(group, n_classes);
    ptrdiff_t j = 0;
    for (int h = 0; h < LANES / 8; h++)
        range.total[h] = set_f64(0);
    if (LANES == 8 && n_classes >= TYPED(QUAD) && TYPED(direct)(group) && !TYPED(side_by_side)(group)) {
        for (; j + TYPED(QUAD) <= n_classes; j += TYPED(QUAD))
            TYPED(take_in_columns)(&range, group.rows, j, 0, next);
        if (j < n_classes)
            TYPED(take_in_columns)(&range, group.rows, n_classes - TYPED(QUAD), TYPED(QUAD) - (int)(n_classes - j), next);
    } else {
        REAL *tile = take(&group.scratch, TYPED(tile_bytes)(n_classes));
        TYPED(pack_group)(group, n_classes, tile);
        for (; j < n_classes; j++) {
            __builtin_prefetch(next.first + next.stride * j);
            TYPED(take_in)(&range, tile + j * LANES);
        }
    }
    *low = range.low;
    *high = range.high;
    for (int h = 0; h < LANES / 8; h++)
        if (8 * h < n)
            store_part_f64(sum + 8 * h, at_most_8(n - 8 * h), range.total[h]);
}

/* TILE classes at a time, so that long rows lose no digits of their sums. */
INLINE void TYPED(range_classes_in_lanes)(struct source group, int n_rows, ptrdiff_t n_classes, double *sum, VECTOR *low,
                                          VECTOR *high)
{
    double parts[8][8];
    VECTOR least = *low, most = *high;
    for (int i = 0; i < 8; i++) {
        struct double_double of_row = {set_f64(0), set_f64(0)};
        for (ptrdiff_t first = 0; first < n_classes; first += TILE) {
            ptrdiff_t n = n_classes - first < TILE ? n_classes - first : TILE;
            f64x8 total[LANES / 8];
            for (int h = 0; h < LANES / 8; h++)
                total[h] = set_f64(0);
            REAL copy[TILE];
            const REAL *row = TYPED(contiguous)(group, i, first, n, copy);
            for (ptrdiff_t j = 0; j < n; j += LANES) {
                int n_valid = n - j < LANES ? (int)(n - j) : LANES;
                __builtin_prefetch((const char *)(row + j) + AHEAD);
                VECTOR x = n_valid == LANES ? TYPED(load)(row + j) : TYPED(load_some)(row + j, n_valid, 0);
                least = TYPED(min)(least, x);
                most = TYPED(max)(most, x);
                for (int h = 0; h < LANES / 8; h++)
                    total[h] = add_f64(total[h], WIDEN(x, h));
            }
            accumulate_f64(&of_row.high, &of_row.low, LANES == 8 ? total[0] : add_f64(total[0], total[LANES / 8 - 1]));
        }
        store_f64(parts[i], rounded(of_row));
    }
    *low = least;
    *high = most;
    f64x8 lanes[8];
    transpose_8(parts, lanes);
    for (int width = 4; width; width /= 2)
        for (int l = 0; l < width; l++)
            lanes[l] = add_f64(lanes[l], lanes[l + width]);
    store_part_f64(sum, n_rows, lanes[0]);
}

static void TYPED(range)(struct source x, int n_rows, ptrdiff_t n_classes, double *sum, struct range *range)
{
    int rows_in_lanes = TYPED(rows_in_lanes)(n_classes), size = rows_in_lanes ? LANES : 8;
    VECTOR low = TYPED(set)(INFINITY), high = TYPED(set)(-INFINITY);
    for (int first = 0; first < n_rows; first += size) {
        const char *rows[LANES];
        int n = n_rows - first < size ? n_rows - first : size;
        struct source group = group_of(x, first, n, size, rows);
        if (rows_in_lanes)
            TYPED(range_rows_in_lanes)(group, n, n_classes, sum + first, &low, &high);
        else
            TYPED(range_classes_in_lanes)(group, n, n_classes, sum + first, &low, &high);
    }
    REAL lows[LANES], highs[LANES];
    TYPED(store)(lows, low);
    TYPED(store)(highs, high);
    for (int l = 0; l < LANES; l++) {
        range->lowest = lows[l] < range->lowest ? lows[l] : range->lowest;
        range->highest = highs[l] > range->highest ? highs[l] : range->highest;
    }
}
