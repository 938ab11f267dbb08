/* C layer: from and to memory. */
#ifndef XENTC_MEMORY_MEMORY_H
#define XENTC_MEMORY_MEMORY_H

#include "memory/block.h"

/* Nothing here can fail. */
struct memory_kernels {
    /* n elements, `stride` bytes apart, as float64; and as float32. */
    void (*read)(const char *p, ptrdiff_t stride, enum element element, ptrdiff_t n, double *out /* OUT */);
    void (*read_single)(const char *p, ptrdiff_t stride, enum element element, ptrdiff_t n, float *out /* OUT */);

    /* out = the class of each row's code, as float64. */
    void (*gather)(struct source x, const int64_t *code, int n_rows, double *out /* OUT */);

    /* Codes of any integer type, `stride` bytes apart; what no int64 holds becomes one that is no code. Returns whether all are
     * in [0, n_codes). */
    int (*codes)(const char *target, ptrdiff_t stride, enum element element, int n, int64_t n_codes, int64_t *out /* OUT */);

    /* The lowest and the highest of n > 0 integers. */
    void (*extremes)(const int64_t *x, ptrdiff_t n, int64_t *lowest /* OUT */, int64_t *highest /* OUT */);
};

#endif
