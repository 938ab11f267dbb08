/* C layer: any target as weights of the classes. */
#ifndef XENTC_TARGETS_WEIGHTS_H
#define XENTC_TARGETS_WEIGHTS_H

#include "memory/rows.h"
#include "targets/target.h"

/* The weights a_c of the classes [first, first + n) of row i; lowest, where given, takes in the elements of a dense target. */
#define target_weights PER_SET(target_weights)
void target_weights(const struct class_target *target, int i, ptrdiff_t first, int n, double *out, double *lowest);

/* Which of n codes are c. */
INLINE i64x8 code_is(const int64_t *code, int n, int64_t c)
{
    i64x8 bits = bits_f64(load_part_f64((const double *)(const void *)code, n, 0));
    EACH_REGISTER bits.r[i] = bits.r[i] == c;
    return bits;
}

/* The first entry of row i at class `first` or later. */
static inline int64_t first_entry(const struct class_target *target, int i, ptrdiff_t first)
{
    int64_t low = target->start[i], high = target->start[i + 1];
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (target->index[middle] < first)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The target of one row: n of its classes. plain: the weights are t. */
struct row_target {
    const void *t;                                /* NULL: 1 */
    int single, plain;                            /* t is float32, else float64 */
    f64x8 keep, uniform, alike;
    const double *class_weight;                   /* NULL: all are alike */
};

/* What is known of a target's form when a loop is compiled: t is float32, else float64; the weights are t. */
struct target_form {
    int single, plain;
};

/* The weights a of n <= 8 classes from j, 0 in the lanes beyond; given: what they are without class weights and smoothing. */
INLINE f64x8 weights_of(const struct row_target *target, ptrdiff_t j, int n, struct target_form form, f64x8 *given)
{
    *given = target->t ? load_as_f64(target->t, j, form.single, n) : set_f64(1);
    if (form.plain)
        return *given;
    f64x8 w = target->class_weight ? load_part_f64(target->class_weight + j, n, 0) : first_lanes_f64(target->alike, n);
    return mul_f64(w, fma_f64(target->keep, *given, target->uniform));
}

/* The class weights alone, from a class on. */
static inline struct row_target class_weights_of(const struct class_target *target, ptrdiff_t first)
{
    const double *weight = target->class_weight;
    return (struct row_target){NULL, 0, 0, set_f64(1), set_f64(0), set_f64(*weight),
                               target->class_weight_stride ? weight + first : NULL};
}

/* The target of the classes [first, first + n) of row i, as float64 or float32 that can be loaded in vectors: where it lies
 * if it does so (is_direct), else converted, or made of its entries, in `copy`, which has room for TILE classes. */
static inline struct row_target part_of_target(const struct class_target *target, int i, ptrdiff_t first, ptrdiff_t n,
                                               double *copy)
{
    if (!target->source.rows) {
        target_weights(target, i, first, (int)n, copy, NULL);
        return (struct row_target){copy, 0, 1, set_f64(1), set_f64(0), set_f64(1), NULL};
    }
    struct row_target part = class_weights_of(target, first);
    part.single = direct_f32(target->source);
    part.t = part.single ? target->source.rows[i] + first * (ptrdiff_t)sizeof(float)
                         : (const void *)contiguous_f64(target->source, i, first, n, copy);
    part.keep = set_f64(target->keep);
    part.uniform = set_f64(target->uniform);
    part.plain = target->keep == 1 && target->uniform == 0 && !target->class_weight_stride && *target->class_weight == 1;
    return part;
}

static inline int is_direct(const struct class_target *target)
{
    return target->source.rows && (direct_f32(target->source) || direct_f64(target->source));
}

#define TEMPLATE "targets/weights.template.h"
#include "simd/instantiate.h"

#endif
