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
    enum { QUAD = 16 / sizeof(REAL) };
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
    if (n_classes < QUAD) {
        for (int i = 0; i < LANES; i++)
            for (ptrdiff_t j = 0; j < n_classes; j++)
                memcpy(tile + j * LANES + i, rows[i] + j * (ptrdiff_t)sizeof(REAL), sizeof(REAL));
        return;
    }
    for (ptrdiff_t j = 0; j < n_classes; j += QUAD) {
        ptrdiff_t at = j + QUAD <= n_classes ? j : n_classes - QUAD;      /* the last ones overlap */
        VECTOR columns[QUAD];
        TYPED(columns)(rows, at * (ptrdiff_t)sizeof(REAL), columns);
        for (int q = 0; q < QUAD; q++)
            TYPED(store)(tile + (at + q) * LANES, columns[q]);
    }
}

/* What will be wanted after a group of LANES rows that follow each other or lie side by side: as many lines as classes. */
INLINE struct lines TYPED(next_group)(struct source group, ptrdiff_t n_classes)
{
    ptrdiff_t size = LANES * group.row_stride;
    if (TYPED(side_by_side)(group))
        return (struct lines){group.rows[0] + size, group.class_stride};
    if (group.row_stride && group.row_stride == n_classes * group.class_stride)
        return (struct lines){group.rows[0] + (size < AHEAD ? AHEAD : 2 * size), LANES * group.class_stride};
    return (struct lines){group.rows[0], 0};
}

/* The missing rows of the last group repeat its first. */
INLINE void TYPED(fill_group)(struct source *group, int n, int size, const char **rows)
{
    for (int i = 0; i < size; i++)
        rows[i] = group->rows[i < n ? i : 0];
    group->rows = rows;
    group->row_stride = 0;
}

/* pack_group where there is much else to do for a row: a call is nothing then. */
OUTLINE void TYPED(pack_tile)(struct source group, ptrdiff_t n_classes, REAL *tile)
{
    TYPED(pack_group)(group, n_classes, tile);
}

/* Whether results are written as they are, into rows of neighbouring classes or neighbouring rows. */
INLINE int TYPED(is_direct_sink)(struct sink out)
{
    return out.element == TYPED(ELEMENT) && (out.class_stride == sizeof(REAL) || out.row_stride == sizeof(REAL));
}

/* A tile of pack_group back into rows of neighbouring classes. */
INLINE void TYPED(unpack_group)(const REAL *tile, char *const *out, ptrdiff_t n_classes)
{
    enum { QUAD = 16 / sizeof(REAL) };
    if (n_classes < QUAD)
        for (int i = 0; i < LANES; i++)
            for (ptrdiff_t j = 0; j < n_classes; j++)
                memcpy(out[i] + j * (ptrdiff_t)sizeof(REAL), tile + j * LANES + i, sizeof(REAL));
    else
        for (ptrdiff_t j = 0; j < n_classes; j += QUAD) {
            ptrdiff_t at = j + QUAD <= n_classes ? j : n_classes - QUAD;      /* the last ones overlap */
            VECTOR columns[QUAD];
            for (int q = 0; q < QUAD; q++)
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

/* How many of n values go next: a vector, or up to where a stream can begin, past the caches. And puts them there. */
INLINE int TYPED(next_part)(const REAL *result, ptrdiff_t n, int stream)
{
    int room = stream ? LANES - (int)((uintptr_t)result % 64 / sizeof(REAL)) : LANES;
    return n < room ? (int)n : room;
}

INLINE void TYPED(put)(REAL *result, int n, VECTOR value, int stream)
{
    if (n < LANES)
        TYPED(store_part)(result, n, value);
    else if (stream)
        TYPED(stream)(result, value);
    else
        TYPED(store)(result, value);
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
