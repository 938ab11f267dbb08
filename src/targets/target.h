/* C layer: the targets of a block of rows. */
#ifndef XENTC_TARGETS_TARGET_H
#define XENTC_TARGETS_TARGET_H

#include "memory/block.h"

/* Any target as weights of the classes: a_c = class_weight_c * (keep * t_c + uniform). t is dense, or where source.rows is
 * NULL the entries start[i] to start[i + 1] of row i: value at class index, sorted. An integer code is one entry of 1. Label
 * smoothing is keep and uniform; its neutral values are 1 and 0, a neutral class weight is 1 with a stride of 0. Where no
 * class weight is negative, no term of a loss is. */
struct class_target {
    struct source source;
    const int64_t *start, *index;
    const double *value;
    int value_stride;
    const double *class_weight;
    int class_weight_stride, has_negative;        /* some class weight is */
    double keep, uniform;
};

/* Integer targets of rows: the class, its logit, and the part of the row's slope that is its alone. */
struct codes {
    const int64_t *code;
    const double *x, *slope;
};

#endif
