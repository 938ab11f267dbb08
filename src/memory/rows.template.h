/* C layer: rows of a block as vectors of one element type. */
#ifndef T
#error "instantiated by simd/instantiate.h"
#endif

enum { OP(FEW) = FEW_BYTES / sizeof(C) };

/* n elements, `step` bytes apart. */
void OP(read)(const char *p, ptrdiff_t step, enum element element, ptrdiff_t n, C *out);

/* And back: n results `step` bytes apart, each rounded once more if the element is narrower. */
void OP(write)(char *p, ptrdiff_t step, enum element element, ptrdiff_t n, const C *values);

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

/* The classes [first, first + n) of a row as contiguous values: where they lie, or copied into `copy`. */
INLINE const C *OP(contiguous)(struct source x, int i, ptrdiff_t first, ptrdiff_t n, C *copy)
{
    const char *p = x.rows[i] + first * x.step;
    if (OP(direct)(x))
        return (const C *)(const void *)p;
    OP(read)(p, x.step, x.element, n, copy);
    return copy;
}

/* Of LANES rows, class by class. */
INLINE size_t OP(tile_bytes)(ptrdiff_t n_classes)
{
    return (size_t)(n_classes * LANES) * sizeof(C);
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

/* The missing rows of the last group repeat its first. */
INLINE void OP(fill_group)(struct source *group, int n, int size, const char **rows)
{
    for (int i = 0; i < size; i++)
        rows[i] = group->rows[i < n ? i : 0];
    group->rows = rows;
    group->between = 0;
}

/* pack_few where there is much else to do for a row: a call is nothing then. */
OUTLINE void OP(pack_tile)(struct source group, ptrdiff_t n_classes, C *tile)
{
    OP(pack_few)(group, n_classes, tile);
}

/* Whether results are written as they are, into rows of neighbouring classes or neighbouring rows. */
INLINE int OP(is_direct_sink)(struct sink out)
{
    return out.element == OP(ELEMENT) && (out.step == sizeof(C) || out.between == sizeof(C));
}

/* A tile of pack_few back into rows of neighbouring classes. */
INLINE void OP(unpack_few)(const C *tile, char *const *out, ptrdiff_t n_classes)
{
    enum { QUAD = 16 / sizeof(C) };
    if (n_classes < QUAD)
        for (int i = 0; i < LANES; i++)
            for (ptrdiff_t j = 0; j < n_classes; j++)
                memcpy(out[i] + j * (ptrdiff_t)sizeof(C), tile + j * LANES + i, sizeof(C));
    else
        for (ptrdiff_t j = 0; j < n_classes; j += QUAD) {
            ptrdiff_t at = j + QUAD <= n_classes ? j : n_classes - QUAD;      /* the last ones overlap */
            V columns[QUAD];
            for (int q = 0; q < QUAD; q++)
                columns[q] = OP(load)(tile + (at + q) * LANES);
            OP(uncolumns)(columns, at * (ptrdiff_t)sizeof(C), out);
        }
}

/* The same, or into neighbouring rows of any step between classes. */
OUTLINE void OP(unpack_tile)(const C *tile, struct sink out, ptrdiff_t n_classes)
{
    if (n_classes == 2 && out.between == 2 * sizeof(C) && out.step == sizeof(C)) {
        V pairs[2] = {OP(load)(tile), OP(load)(tile + LANES)};
        OP(unpairs)(pairs, (C *)(void *)out.rows[0]);
    } else if (out.step == sizeof(C))
        OP(unpack_few)(tile, out.rows, n_classes);
    else
        for (ptrdiff_t j = 0; j < n_classes; j++)
            OP(store)((C *)(void *)(out.rows[0] + j * out.step), OP(load)(tile + j * LANES));
}

/* How many of n values go next: a vector, or up to where a stream can begin, past the caches. And puts them there. */
INLINE int OP(next_part)(const C *result, ptrdiff_t n, int stream)
{
    int room = stream ? LANES - (int)((uintptr_t)result % 64 / sizeof(C)) : LANES;
    return n < room ? (int)n : room;
}

INLINE void OP(put)(C *result, int n, V value, int stream)
{
    if (n < LANES)
        OP(store_part)(result, n, value);
    else if (stream)
        OP(stream)(result, value);
    else
        OP(store)(result, value);
}

/* n values past the caches, where whole lines of them begin. */
INLINE void OP(stream_all)(C *to, const C *from, ptrdiff_t n)
{
    ptrdiff_t head = (ptrdiff_t)(-(uintptr_t)to % 64 / sizeof(C)), j = head < n ? head : n;
    memcpy(to, from, (size_t)j * sizeof(C));
    for (; j + LANES <= n; j += LANES)
        OP(stream)(to + j, OP(load)(from + j));
    memcpy(to + j, from + j, (size_t)(n - j) * sizeof(C));
}
