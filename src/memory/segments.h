/* C layer: long rows in segments, which several threads may share. */
#ifndef XENTC_MEMORY_SEGMENTS_H
#define XENTC_MEMORY_SEGMENTS_H

#include "memory/block.h"
#include "simd/vec.h"

/* The segments of a row, as equal as whole tiles can be. */
INLINE ptrdiff_t segment_length(ptrdiff_t n_classes)
{
    if (n_classes <= SEGMENT)
        return n_classes;
    ptrdiff_t n = (n_classes - 1) / SEGMENT + 1, length = (n_classes - 1) / (n < MOST_SEGMENTS ? n : MOST_SEGMENTS) + 1;
    return ((length - 1) / TILE + 1) * TILE;
}

/* task(context, i, scratch) for the segments i of rows: a context begins with a struct segments. */
struct segments {
    ptrdiff_t n_classes, length;
};

INLINE int count_segments(ptrdiff_t n_classes)
{
    return (int)((n_classes - 1) / segment_length(n_classes) + 1);
}

INLINE int run_segments(const struct segment_pool *pool, void (*task)(void *context, int i, char *scratch),
                        struct segments *context, ptrdiff_t n_classes, char *scratch)
{
    context->n_classes = n_classes;
    context->length = segment_length(n_classes);
    int n = n_classes == context->length ? 1 : count_segments(n_classes);
    if (pool && n > 1)
        pool->run(pool, task, context, n);
    else
        for (int i = 0; i < n; i++)
            task(context, i, scratch);
    return n;
}

INLINE ptrdiff_t segment_size(const struct segments *segments, int i)
{
    ptrdiff_t left = segments->n_classes - i * segments->length;
    return left < segments->length ? left : segments->length;
}

#endif
