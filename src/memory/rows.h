/* C layer: rows of a block as vectors. */
#ifndef XENTC_MEMORY_ROWS_H
#define XENTC_MEMORY_ROWS_H

#include "memory/block.h"
#include "simd/halves.h"
#include "simd/transpose.h"
#include "simd/vec.h"

enum {
    AHEAD = 2048,                                 /* bytes that a row is fetched ahead of its use */
    AHEAD_ACROSS = 6,                             /* classes that rows side by side are fetched ahead */
};

/* Cache lines, `stride` bytes apart. */
struct lines {
    const char *first;
    ptrdiff_t stride;
};

/* out = the class of each row's code, as float64. */
#define gather_classes PER_SET(gather_classes)
void gather_classes(struct source x, const int64_t *code, int n_rows, double *out);

/* n results `stride` bytes apart: of float64 logits, or of others, which are float32 before they are anything else. */
#define write_results PER_SET(write_results)
void write_results(const double *results, int n, enum element of, char *p, ptrdiff_t stride, enum element element);

/* A group of `size` rows from `first`, of which n are there: the missing ones repeat the first. rows: room for pointers. */
INLINE struct source group_of(struct source x, int first, int n, int size, const char **rows)
{
    x.rows += first;
    if (n >= size)
        return x;
    for (int i = 0; i < size; i++)
        rows[i] = x.rows[i < n ? i : 0];
    x.rows = rows;
    x.row_stride = 0;
    return x;
}

/* Whole rows of results from `first`. */
INLINE struct sink sink_from(struct sink out, int first)
{
    out.rows += first;
    return out;
}

#define read_f64 PER_SET(read_f64)
#define read_f32 PER_SET(read_f32)
#define write_f64 PER_SET(write_f64)
#define write_f32 PER_SET(write_f32)

#define TEMPLATE "memory/rows.template.h"
#include "simd/instantiate.h"

#endif
