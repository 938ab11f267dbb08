/* C layer: rows of a block as vectors of one element type. */
#ifndef TYPE
#error "instantiated by simd/instantiate.h"
#endif

/* Whether lanes are rows; for more classes they are classes. */
INLINE int TYPED(rows_in_lanes)(ptrdiff_t n_classes)
{
    return n_classes <= most_classes(ROWS_IN_LANES, sizeof(REAL));
}

/* n elements, `stride` bytes apart. */
void TYPED(read)(const char *p, ptrdiff_t stride, enum element element, ptrdiff_t n, REAL *out);

/* And back: n results `stride` bytes apart, each rounded once more if the element is narrower. */
void TYPED(write)(char *p, ptrdiff_t stride, enum element element, ptrdiff_t n, const REAL *values);

/* Whether rows can be read where they lie. */
INLINE int TYPED(direct)(struct source x)
{
    return x.class_stride == sizeof(REAL) && x.element == TYPED(ELEMENT);
}

/* Whether neighbouring rows lie side by side, class by class. */
INLINE int TYPED(side_by_side)(struct source x)
{
    return x.row_stride == sizeof(REAL) && x.element == TYPED(ELEMENT);
}

/* The classes [first, first + n) of a row as contiguous values: where they lie, or copied into `copy`. */
INLINE const REAL *TYPED(contiguous)(struct source x, int i, ptrdiff_t first, ptrdiff_t n, REAL *copy)
{
    const char *p = x.rows[i] + first * x.class_stride;
    if (TYPED(direct)(x))
        return (const REAL *)(const void *)p;
    TYPED(read)(p, x.class_stride, x.element, n, copy);
    return copy;
}

/* Of LANES rows, class by class. */
INLINE size_t TYPED(tile_bytes)(ptrdiff_t n_classes)
{
    return (size_t)(n_classes * LANES) * sizeof(REAL);
}

/* LANES rows of few classes, transposed: class j of row i at tile[j * LANES + i]. */
INLINE void TYPED(pack_group)(struct source group, ptrdiff_t n_classes, REAL *tile)
{
    const char *const *rows = group.rows;
    const char *copies[LANES];
    if (TYPED(side_by_side)(group)) {
        for (ptrdiff_t j = 0; j < n_classes; j++)
            TYPED(store)(tile + j * LANES, TYPED(load)((const REAL *)(const void *)(rows[0] + j * group.class_stride)));
        return;
    }
    int follow = group.row_stride && group.row_stride == n_classes * group.class_stride;
    if (!TYPED(direct)(group)) {
        REAL *copy = take(&group.scratch, (size_t)(LANES * n_classes) * sizeof(REAL));
        if (follow)
            TYPED(read)(rows[0], group.class_stride, group.element, LANES * n_classes, copy);
        for (int i = 0; i < LANES; i++) {
            if (!follow)
                TYPED(read)(rows[i], group.class_stride, group.element, n_classes, copy + i * n_classes);
            copies[i] = (const char *)(copy + i * n_classes);
        }
        rows = copies;
        follow = 1;
    }
    if (follow && n_classes == 2) {
        VECTOR pairs[2];
        TYPED(pairs)((const REAL *)(const void *)rows[0], pairs);
        TYPED(store)(tile, pairs[0]);
        TYPED(store)(tile + LANES, pairs[1]);
        return;
    }
    if (follow && n_classes == TYPED(QUAD) - 1) {
        /* With the first class of the row after each; what is after the last may not be there. */
        const char *places[LANES];
        REAL last[TYPED(QUAD)] = {0};
        VECTOR columns[TYPED(QUAD)];
        for (int i = 0; i < LANES - 1; i++)
            places[i] = rows[i];
        memcpy(last, rows[LANES - 1], (size_t)n_classes * sizeof(REAL));
        places[LANES - 1] = (const char *)last;
        TYPED(columns)(places, 0, columns);
        for (ptrdiff_t j = 0; j < n_classes; j++)
            TYPED(store)(tile + j * LANES, columns[j]);
        return;
    }
    if (n_classes < TYPED(QUAD)) {
        for (int i = 0; i < LANES; i++)
            for (ptrdiff_t j = 0; j < n_classes; j++)
                memcpy(tile + j * LANES + i, rows[i] + j * (ptrdiff_t)sizeof(REAL), sizeof(REAL));
        return;
    }
    for (ptrdiff_t j = 0; j < n_classes; j += TYPED(QUAD)) {
        ptrdiff_t at = j + TYPED(QUAD) <= n_classes ? j : n_classes - TYPED(QUAD);      /* the last ones overlap */
        VECTOR columns[TYPED(QUAD)];
        TYPED(columns)(rows, at * (ptrdiff_t)sizeof(REAL), columns);
        for (int q = 0; q < TYPED(QUAD); q++)
            TYPED(store)(tile + (at + q) * LANES, columns[q]);
    }
}

/* The cache lines of the rows after a group, to be fetched while that is worked on, one with each class: those of the next
 * group where rows lie side by side or follow each other without a gap (AHEAD bytes on at least); else, none are known. */
INLINE struct lines TYPED(next_group)(struct source group, ptrdiff_t n_classes)
{
    ptrdiff_t size = LANES * group.row_stride;
    if (TYPED(side_by_side)(group))
        return (struct lines){group.rows[0] + size, group.class_stride};
    if (group.row_stride && group.row_stride == n_classes * group.class_stride)
        return (struct lines){group.rows[0] + (size < AHEAD ? AHEAD : 2 * size), LANES * group.class_stride};
    return (struct lines){group.rows[0], 0};
}

/* pack_group where there is much else to do for a row: a call is nothing then. */
OUTLINE void TYPED(pack_tile)(struct source group, ptrdiff_t n_classes, REAL *tile)
{
    TYPED(pack_group)(group, n_classes, tile);
}

/* Whether results are written where they belong, into rows of neighbouring classes. */
INLINE int TYPED(in_place)(struct sink out)
{
    return out.class_stride == sizeof(REAL) && out.element == TYPED(ELEMENT);
}

/* The same, or into neighbouring rows. */
INLINE int TYPED(is_direct_sink)(struct sink out)
{
    return TYPED(in_place)(out) || (out.row_stride == sizeof(REAL) && out.element == TYPED(ELEMENT));
}

/* A tile of pack_group back into rows of neighbouring classes. */
INLINE void TYPED(unpack_group)(const REAL *tile, char *const *out, ptrdiff_t n_classes)
{
    if (n_classes < TYPED(QUAD))
        for (int i = 0; i < LANES; i++)
            for (ptrdiff_t j = 0; j < n_classes; j++)
                memcpy(out[i] + j * (ptrdiff_t)sizeof(REAL), tile + j * LANES + i, sizeof(REAL));
    else
        for (ptrdiff_t j = 0; j < n_classes; j += TYPED(QUAD)) {
            ptrdiff_t at = j + TYPED(QUAD) <= n_classes ? j : n_classes - TYPED(QUAD);      /* the last ones overlap */
            VECTOR columns[TYPED(QUAD)];
            for (int q = 0; q < TYPED(QUAD); q++)
                columns[q] = TYPED(load)(tile + (at + q) * LANES);
            TYPED(uncolumns)(columns, at * (ptrdiff_t)sizeof(REAL), out);
        }
}

/* The same, or into neighbouring rows of any stride between classes. */
OUTLINE void TYPED(unpack_tile)(const REAL *tile, struct sink out, ptrdiff_t n_classes)
{
    if (n_classes == 2 && out.row_stride == 2 * sizeof(REAL) && out.class_stride == sizeof(REAL)) {
        VECTOR pairs[2] = {TYPED(load)(tile), TYPED(load)(tile + LANES)};
        TYPED(unpairs)(pairs, (REAL *)(void *)out.rows[0]);
    } else if (out.class_stride == sizeof(REAL))
        TYPED(unpack_group)(tile, out.rows, n_classes);
    else
        for (ptrdiff_t j = 0; j < n_classes; j++)
            TYPED(store)((REAL *)(void *)(out.rows[0] + j * out.class_stride), TYPED(load)(tile + j * LANES));
}

/* A function of every element: the results of n_valid <= LANES classes from j, given those of x. Lanes are classes of a row,
 * or a class of LANES rows. */
typedef VECTOR (*TYPED(elementwise))(const void *of, ptrdiff_t j, int n_valid, VECTOR x);

/* Of n neighbouring classes from j. stream: past the caches, from where a line begins. */
INLINE void TYPED(map_classes)(const REAL *row, ptrdiff_t j, ptrdiff_t n, TYPED(elementwise) function, const void *of,
                               REAL *result, int stream)
{
    for (ptrdiff_t k = 0; k < n;) {
        int room = stream ? LANES - (int)((uintptr_t)(result + k) % 64 / sizeof(REAL)) : LANES;
        int n_valid = n - k < room ? (int)(n - k) : room;
        if (n_valid < LANES)
            TYPED(store_some)(result + k, n_valid, function(of, j + k, n_valid, TYPED(load_some)(row + k, n_valid, 1)));
        else if (stream)
            TYPED(stream)(result + k, function(of, j + k, LANES, TYPED(load)(row + k)));
        else
            TYPED(store)(result + k, function(of, j + k, LANES, TYPED(load)(row + k)));
        k += n_valid;
    }
}

/* Of the classes [begin, end) of row i: read and written where they lie, or through copies of some at a time. */
INLINE void TYPED(map_row)(struct source x, struct sink out, int i, ptrdiff_t begin, ptrdiff_t end,
                           TYPED(elementwise) function, const void *of)
{
    const int in_place = TYPED(in_place)(out);
    const ptrdiff_t tile = in_place && TYPED(direct)(x) ? end - begin : TILE;
    for (ptrdiff_t first = begin; first < end; first += tile) {
        ptrdiff_t n = end - first < tile ? end - first : tile;
        REAL x_copy[TILE], out_copy[TILE];
        const REAL *row = TYPED(contiguous)(x, i, first, n, x_copy);
        char *place = out.rows[i] + first * out.class_stride;
        EITHER(in_place && out.stream, TYPED(map_classes), row, first, n, function, of,
               in_place ? (REAL *)(void *)place : out_copy);
        if (!in_place)
            TYPED(write)(place, out.class_stride, out.element, n, out_copy);
    }
}

/* Of a tile of LANES rows. */
INLINE void TYPED(map_tile)(const REAL *from, ptrdiff_t n_classes, TYPED(elementwise) function, const void *of, REAL *tile)
{
    for (ptrdiff_t j = 0; j < n_classes; j++)
        TYPED(store)(tile + j * LANES, function(of, j, LANES, TYPED(load)(from + j * LANES)));
}

/* Of LANES rows of few classes, into rows of neighbouring classes or neighbouring rows. */
INLINE void TYPED(map_rows_in_lanes)(struct source group, struct sink out, ptrdiff_t n_classes, TYPED(elementwise) function,
                                     const void *of)
{
    REAL *tile = take(&group.scratch, TYPED(tile_bytes)(n_classes));
    TYPED(pack_tile)(group, n_classes, tile);
    TYPED(map_tile)(tile, n_classes, function, of, tile);
    TYPED(unpack_tile)(tile, out, n_classes);
}

/* Of the classes [begin, end) of groups of LANES rows that lie side by side, in the results too: one class of all of them at
 * a time. `of` has `size` bytes for each group. Not past the caches: parts of many lines would be. */
INLINE void TYPED(map_across)(struct source x, struct sink out, int n_groups, ptrdiff_t begin, ptrdiff_t end,
                              TYPED(elementwise) function, const void *of, size_t size)
{
    for (ptrdiff_t j = begin; j < end; j++) {
        const REAL *p = (const REAL *)(const void *)(x.rows[0] + j * x.class_stride);
        REAL *result = (REAL *)(void *)(out.rows[0] + j * out.class_stride);
        for (int g = 0; g < n_groups; g++, p += LANES, result += LANES) {
            __builtin_prefetch((const char *)p + AHEAD_ACROSS * x.class_stride);
            __builtin_prefetch((char *)result + AHEAD_ACROSS * out.class_stride, 1);
            TYPED(store)(result, function((const char *)of + (size_t)g * size, j, LANES, TYPED(load)(p)));
        }
    }
}

/* n values past the caches, where whole lines of them begin. */
INLINE void TYPED(stream_all)(REAL *to, const REAL *from, ptrdiff_t n)
{
    ptrdiff_t head = (ptrdiff_t)(-(uintptr_t)to % 64 / sizeof(REAL)), j = head < n ? head : n;
    memcpy(to, from, (size_t)j * sizeof(REAL));
    for (; j + LANES <= n; j += LANES)
        TYPED(stream)(to + j, TYPED(load)(from + j));
    memcpy(to + j, from + j, (size_t)(n - j) * sizeof(REAL));
}
