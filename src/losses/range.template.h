/* C layer: the sums of rows and their smallest and largest values, for one element type. */
#ifndef TYPE
#error "instantiated by simd/instantiate.h"
#endif

/* The sums of n rows, of as many rows as lanes, or eight; low and high take in all values. */
INLINE void TYPED(range_rows_in_lanes)(struct source group, int n, ptrdiff_t n_classes, double *sum, VECTOR *low, VECTOR *high)
{
    REAL *tile = take(&group.scratch, TYPED(tile_bytes)(n_classes));
    TYPED(pack_group)(group, n_classes, tile);
    f64x8 total[LANES / 8];
    struct lines next = TYPED(next_group)(group, n_classes);
    for (int h = 0; h < LANES / 8; h++)
        total[h] = set_f64(0);
    for (ptrdiff_t j = 0; j < n_classes; j++) {
        __builtin_prefetch(next.first + next.stride * j);
        VECTOR x = TYPED(load)(tile + j * LANES);
        *low = TYPED(min)(*low, x);
        *high = TYPED(max)(*high, x);
        for (int h = 0; h < LANES / 8; h++)
            total[h] = add_f64(total[h], TYPED(load_wide)(tile + j * LANES + 8 * h));
    }
    for (int h = 0; h < LANES / 8; h++)
        if (8 * h < n)
            store_part_f64(sum + 8 * h, at_most_8(n - 8 * h), total[h]);
}

INLINE void TYPED(range_classes_in_lanes)(struct source group, int n_rows, ptrdiff_t n_classes, double *sum, VECTOR *low,
                                          VECTOR *high)
{
    double parts[8][8];
    VECTOR least = *low, most = *high;
    ptrdiff_t tile = TYPED(direct)(group) ? n_classes : TILE;
    for (int i = 0; i < 8; i++) {
        f64x8 total[LANES / 8];
        for (int h = 0; h < LANES / 8; h++)
            total[h] = set_f64(0);
        for (ptrdiff_t first = 0; first < n_classes; first += tile) {
            ptrdiff_t n = n_classes - first < tile ? n_classes - first : tile;
            REAL copy[TILE];
            const REAL *row = TYPED(contiguous)(group, i, first, n, copy);
            for (ptrdiff_t j = 0; j < n; j += LANES) {
                int n_valid = n - j < LANES ? (int)(n - j) : LANES;
                __builtin_prefetch((const char *)(row + j) + AHEAD);
                VECTOR x = n_valid == LANES ? TYPED(load)(row + j) : TYPED(load_part)(row + j, n_valid, 0);
                least = TYPED(min)(least, x);
                most = TYPED(max)(most, x);
                for (int h = 0; h < LANES / 8; h++)
                    total[h] = add_f64(total[h], WIDEN(x, h));
            }
        }
        store_f64(parts[i], LANES == 8 ? total[0] : add_f64(total[0], total[LANES / 8 - 1]));
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
