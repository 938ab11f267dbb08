/* C layer: the sizes at which kernels change their shape. The tests read them here (_core.kernel_shapes): each is tried on
 * both sides, so a new one is covered the day it is added. A kernel asks for class counts by name: most_classes(PAIRS,
 * sizeof(C)). */
#ifndef XENTC_MEMORY_SHAPES_H
#define XENTC_MEMORY_SHAPES_H

#include <stddef.h>

enum {
    BLOCK = 128,                                  /* rows of a block at the most */
    ROWS_IN_LANES_BYTES = 768,                    /* up to so many of classes, lanes are rows; above, lanes are classes */
    CACHED_IN_LANES_BYTES = 512,                  /* the same for rows in lanes whose exponentials are kept for the gradient */
    CACHED_ROW_BYTES = 1 << 19,                   /* the same for a row of classes in lanes */
    PIECE = 16,                                   /* vectors of a long row whose exponentials are found before their sum */
    WIDE_COLUMNS = 8,                             /* classes that are read once where each is computed in twice the precision */
    TILE = 256,                                   /* classes packed at a time where they do not lie side by side */
    STAGE = 16384,                                /* bytes of short rows that are written together */
    SEGMENT = 16384,                              /* classes: longer rows are summed in segments */
    MOST_SEGMENTS = 64,                           /* of a row; the longest rows have longer ones */
    BLOCK_BYTES = 1 << 17,                        /* of a block's logits: they stay in the second-level cache between its passes */
    STREAM_BYTES = 1 << 25,                       /* a gradient that no cache will hold until it is read again */
};

/* Shapes of kernels by the number of classes, each up to most_classes. */
enum shape {
    ONE_CLASS,
    TWO_CLASSES,                                  /* one exponential a row */
    LESS_THAN_A_PIECE,                            /* of 16 bytes: classes are packed one by one */
    ONE_VECTOR,                                   /* of classes */
    READ_ONCE,                                    /* where each is computed in twice the precision */
    WHOLE_BLOCKS,                                 /* BLOCK rows of a block; above, fewer */
    CACHED_IN_LANES,                              /* the gradient has the exponentials of the sum, of rows in lanes */
    ROWS_IN_LANES,                                /* above, classes are */
    CACHED_ROWS,                                  /* of classes in lanes, the gradient has the exponentials of the sum */
    ONE_PIECE,                                    /* of a long row's exponentials */
    STAGED,                                       /* short rows are written together */
    ONE_TILE,
    ONE_SEGMENT,
    EQUAL_SEGMENTS,                               /* above, segments grow instead of their number */
    CODES_AS_FLOATS,                              /* rows side by side compare codes as float32 */
    SHAPES,
};

/* The most classes of a shape, where results are computed in elements of `size` bytes: 8 or 4. */
static inline ptrdiff_t most_classes(enum shape shape, size_t size)
{
    const ptrdiff_t bytes = (ptrdiff_t)size;
    switch (shape) {
    case ONE_CLASS: return 1;
    case TWO_CLASSES: return 2;
    case LESS_THAN_A_PIECE: return 16 / bytes - 1;
    case ONE_VECTOR: return 64 / bytes;
    case READ_ONCE: return WIDE_COLUMNS;
    case WHOLE_BLOCKS: return BLOCK_BYTES / (BLOCK * bytes);
    case CACHED_IN_LANES: return CACHED_IN_LANES_BYTES / bytes;
    case ROWS_IN_LANES: return ROWS_IN_LANES_BYTES / bytes;
    case CACHED_ROWS: return CACHED_ROW_BYTES / bytes;
    case ONE_PIECE: return PIECE * 64 / bytes;
    case STAGED: return STAGE / 64;
    case ONE_TILE: return TILE;
    case ONE_SEGMENT: return SEGMENT;
    case EQUAL_SEGMENTS: return (ptrdiff_t)SEGMENT * MOST_SEGMENTS;
    case CODES_AS_FLOATS: return (1 << 24) - 1;
    case SHAPES: break;
    }
    return 0;
}

/* Rows of a block. */
static inline ptrdiff_t block_rows(ptrdiff_t n_classes, size_t size)
{
    const ptrdiff_t bytes = n_classes * (ptrdiff_t)size, rows = BLOCK_BYTES / (bytes > 0 ? bytes : 1);
    return rows < 1 ? 1 : rows < BLOCK ? rows : BLOCK;
}

#endif
