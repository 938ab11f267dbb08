/* C layer: the weights of rows of few classes, for logits of one element type. */
#ifndef TYPE
#error "instantiated by simd/instantiate.h"
#endif

/* The weights of LANES rows of few classes, of which the first n count: class j of row i at tile[j * LANES + i]. */
OUTLINE void TYPED(weights_of_rows_in_lanes)(const struct class_target *target, int first, int n, ptrdiff_t n_classes,
                                             double *tile, double *lowest, char *scratch)
{
    const f64x8 keep = set_f64(target->keep), uniform = set_f64(target->uniform);
    const double *weight = target->class_weight;
    const int stride = target->class_weight_stride;
    f64x8 least[LANES / 8];
    for (int h = 0; h < LANES / 8; h++)
        least[h] = set_f64(INFINITY);
    if (target->source.rows) {
        /* float64 or as x is; what is neither becomes float64. */
        int same = target->source.element == TYPED(ELEMENT);
        REAL *given = (REAL *)(void *)scratch;          /* the one or the other */
        double *as_f64 = (double *)(void *)scratch;
        const char *rows[LANES];
        struct source group = group_of(target->source, first, n, LANES, rows);
        take(&scratch, (size_t)(n_classes * LANES) * sizeof(double));
        group.scratch = scratch;
        struct lines next = {group.rows[0], 0};
        if (same) {
            next = TYPED(next_group)(group, n_classes);
            TYPED(pack_tile)(group, n_classes, given);
        }
        for (int h = 0; !same && h < LANES / 8; h++, group.rows += 8)
            pack_tile_f64(group, n_classes, as_f64 + h * 8 * n_classes);
        for (ptrdiff_t j = 0; j < n_classes; j++) {
            __builtin_prefetch(next.first + next.stride * j);
            for (int h = 0; h < LANES / 8; h++) {
                f64x8 t = same ? TYPED(load_wide)(given + j * LANES + 8 * h) : load_f64(as_f64 + 8 * (h * n_classes + j));
                least[h] = min_f64(t, least[h]);
                store_f64(tile + j * LANES + 8 * h, mul_f64(set_f64(weight[j * stride]), fma_f64(keep, t, uniform)));
            }
        }
    } else {
        for (ptrdiff_t j = 0; j < n_classes; j++)
            for (int h = 0; h < LANES / 8; h++)
                store_f64(tile + j * LANES + 8 * h, mul_f64(set_f64(weight[j * stride]), uniform));
        for (int i = 0; i < n; i++)
            for (int64_t entry = target->start[first + i]; entry < target->start[first + i + 1]; entry++) {
                ptrdiff_t c = target->index[entry];
                double value = target->value[entry * target->value_stride];
                tile[c * LANES + i] = weight[c * stride] * fma(target->keep, value, target->uniform);
            }
    }
    for (int h = 0; h < LANES / 8; h++)
        store_f64(lowest + 8 * h, least[h]);
}
