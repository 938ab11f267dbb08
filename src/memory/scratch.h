/* C layer: memory for what a kernel makes and needs no longer when it returns. Each thread has scratch_bytes of it while a
 * call lasts; a function takes pieces from its front and hands on the rest, so that returning gives them back. A thread's
 * stack need not hold more than a few vectors a row. */
#ifndef XENTC_MEMORY_SCRATCH_H
#define XENTC_MEMORY_SCRATCH_H

#include <stddef.h>

#include "memory/shapes.h"

enum { LINE = 64 };                               /* bytes of a vector, and of a line of the caches */

static inline __attribute__((always_inline)) size_t whole_lines(size_t bytes)
{
    return (bytes + LINE - 1) / LINE * LINE;
}

static inline __attribute__((always_inline)) void *take(char **scratch, size_t bytes)
{
    void *piece = __builtin_assume_aligned(*scratch, LINE);
    *scratch += whole_lines(bytes);
    return piece;
}

/* From a row's exponentials to the next one's, in elements of `size` bytes, where a row's classes lie one after the other. */
static inline ptrdiff_t cached_length(ptrdiff_t n_classes, size_t size)
{
    return (ptrdiff_t)(whole_lines((size_t)n_classes * size) / size);
}

/* Of a block's exponentials in elements of `size` bytes, where they are kept for the gradient: class by class of rows in lanes,
 * else row by row, each from where a line begins. */
static inline size_t exponentials_bytes(ptrdiff_t n_classes, size_t size)
{
    if (n_classes <= most_classes(CACHED_IN_LANES, size))
        return (size_t)n_classes * BLOCK * size;
    if (n_classes <= most_classes(ROWS_IN_LANES, size) || n_classes > most_classes(CACHED_ROWS, size))
        return 0;
    return (size_t)(block_rows(n_classes, size) * cached_length(n_classes, size)) * size;
}

/* The most that is taken at a time of rows of so many classes, computed in such elements. */
static inline size_t scratch_bytes(ptrdiff_t n_classes, size_t size)
{
    const size_t block = (size_t)n_classes * BLOCK * size, some = 4096;
    if (n_classes <= most_classes(ROWS_IN_LANES, size))
        /* The exponentials of a block, some rows that are written together; and of a group of 16 rows the logits, the weights
         * in float64, the target they are made from, also in float64, and its copy in that type. */
        return some + exponentials_bytes(n_classes, size) + (block < STAGE ? block : STAGE) +
               (size_t)n_classes * LINE * (1 + 2 + 2 + 1);
    /* The exponentials; the states of a block of rows side by side, six lines for each 16 of them in each of 16 lanes; and the
     * sums of the segments, twice: of at most MOST_SEGMENTS, or as many groups of rows as a block has. */
    const size_t sums = n_classes > SEGMENT ? MOST_SEGMENTS : BLOCK / 8;
    return some + exponentials_bytes(n_classes, size) + 6 * LINE * BLOCK + 2 * 8 * LINE * sums;
}

#endif
