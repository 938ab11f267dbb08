/* C layer: a block of rows.
 *
 * A row is a pointer to its first class and a stride in bytes to the next one, so any layout, axis or order of rows is just
 * another list of pointers. Whatever one row gives is independent of its neighbours in the block.
 */
#ifndef XENTC_MEMORY_BLOCK_H
#define XENTC_MEMORY_BLOCK_H

#include <stddef.h>
#include <stdint.h>

#include "simd/elements.h"
#include "memory/scratch.h"
#include "memory/shapes.h"

/* Rows longer than SEGMENT classes are summed in segments, whatever computes these, and the segments in order. `pool` runs
 * task(context, i, scratch) for all i < n_tasks, in any order, each with scratch memory of its own. */
struct segment_pool {
    void (*run)(const struct segment_pool *pool, void (*task)(void *context, int i, char *scratch), void *context,
                int n_tasks);
    int n_threads;
    char *scratch;                                /* scratch_bytes of each thread, one after the other */
    size_t scratch_bytes;
};

struct source {
    const char *const *rows;
    ptrdiff_t class_stride;                       /* bytes between neighbouring classes */
    enum element element;
    ptrdiff_t row_stride;                         /* bytes between neighbouring rows, where all are so, or 0 */
    const struct segment_pool *pool;              /* shares the segments of these rows, or NULL */
    char *scratch;                                /* for the kernel: see scratch.h */
};

/* Where results go, each rounded once more if the element is narrower. It may be where the logits are. */
struct sink {
    char *const *rows;
    ptrdiff_t class_stride;
    enum element element;
    ptrdiff_t row_stride;                         /* as in struct source */
    int stream;                                   /* too much for the caches: past them, where rows are contiguous */
};

#endif
