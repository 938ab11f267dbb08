/* What tools/kernels.py times: loops of one instruction set over a block of rows that stays in the caches. */

#define _POSIX_C_SOURCE 199309L                   /* clock_gettime */

#include <stdlib.h>
#include <time.h>

#include "dispatch/kernels.h"
#include "simd/names.h"
#include "simd/vmath.h"

extern const struct kernels PER_SET(kernels);

enum work { EXPONENTIALS, PAIR, GRADIENT, KINDS_OF_WORK };

/* A block of rows of uniform logits between -6 and 6, and what becomes of them. */
static struct {
    char *x, *out, *scratch;
    const char *rows[BLOCK];
    char *results[BLOCK];
    int64_t code[BLOCK];
    double x_code[BLOCK], ones[BLOCK];
    struct pairs pairs;
} block;

/* Makes the block; returns its number of rows, or 0 without memory. */
__attribute__((visibility("default"))) int prepare(int is_f64, ptrdiff_t n_classes)
{
    const size_t size = is_f64 ? 8 : 4;
    const int n_rows = block_rows(n_classes, size);
    const size_t bytes = whole_lines((size_t)(n_rows * n_classes) * size) + 2 * LINE;
    free(block.x);
    free(block.out);
    free(block.scratch);
    block.x = aligned_alloc(LINE, bytes);
    block.out = aligned_alloc(LINE, bytes);
    block.scratch = aligned_alloc(LINE, scratch_bytes(n_classes, size));
    if (!block.x || !block.out || !block.scratch)
        return 0;
    srand(1);
    for (ptrdiff_t i = 0; i < (ptrdiff_t)(bytes / size); i++) {
        double value = 12 * (rand() / (double)RAND_MAX - 0.5);
        if (is_f64)
            ((double *)(void *)block.x)[i] = value;
        else
            ((float *)(void *)block.x)[i] = (float)value;
    }
    for (int i = 0; i < n_rows; i++) {
        block.rows[i] = block.x + (size_t)(i * n_classes) * size;
        block.results[i] = block.out + (size_t)(i * n_classes) * size;
        block.code[i] = i % n_classes;
        block.ones[i] = 1;
        block.x_code[i] = is_f64 ? ((const double *)(const void *)block.rows[i])[block.code[i]]
                                 : ((const float *)(const void *)block.rows[i])[block.code[i]];
    }
    return n_rows;
}

static void exponentials(int is_f64, ptrdiff_t n)
{
    const f64x8 magic = set_f64(MAGIC_f64 + EXPONENT_BIAS_f64), lowest = set_f64(-700);
    const f32x16 magic_single = set_f32(MAGIC_f32 + EXPONENT_BIAS_f32), lowest_single = set_f32(-87);
    double *x = (double *)(void *)block.x, *out = (double *)(void *)block.out;
    float *single = (float *)(void *)block.x, *out_single = (float *)(void *)block.out;
    for (ptrdiff_t i = 0; is_f64 && i < n; i += 16) {
        f64x8 v[2] = {load_f64(x + i), load_f64(x + i + 8)};
        exps_f64(2, v, NULL, magic, lowest);
        store_f64(out + i, v[0]);
        store_f64(out + i + 8, v[1]);
    }
    for (ptrdiff_t i = 0; !is_f64 && i < n; i += 32) {
        f32x16 v[2] = {load_f32(single + i), load_f32(single + i + 16)};
        exps_f32(2, v, NULL, magic_single, lowest_single);
        store_f32(out_single + i, v[0]);
        store_f32(out_single + i + 16, v[1]);
    }
}

/* Seconds a block, of so many in a row. */
__attribute__((visibility("default"))) double seconds(int work, int is_f64, ptrdiff_t n_classes, int repeats)
{
    const struct kernels *kernels = &PER_SET(kernels);
    const size_t size = is_f64 ? 8 : 4;
    const int n_rows = block_rows(n_classes, size);
    const ptrdiff_t element = (ptrdiff_t)size;
    char *rest = block.scratch, *cached = take(&rest, exponentials_bytes(n_classes, size));
    struct source x = {block.rows, element, is_f64 ? F64 : F32, n_classes * element, NULL, rest};
    struct sink out = {block.results, element, x.element, n_classes * element, 0};
    struct codes codes = {block.code, block.x_code, block.ones};
    struct derivative slope = {block.ones, block.ones};
    struct timespec start, stop;
    block.pairs.cached_exp = work == GRADIENT ? cached : NULL;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int i = 0; i < repeats; i++) {
        if (work == EXPONENTIALS) {
            exponentials(is_f64, n_rows * n_classes);
            continue;
        }
        kernels->pair->rows(x, 0, n_rows, n_classes, &block.pairs);
        if (work == GRADIENT)
            kernels->softmax->gradient(x, out, NULL, &codes, n_rows, n_classes, &block.pairs, slope);
    }
    clock_gettime(CLOCK_MONOTONIC, &stop);
    return ((double)(stop.tv_sec - start.tv_sec) + 1e-9 * (double)(stop.tv_nsec - start.tv_nsec)) / repeats;
}
