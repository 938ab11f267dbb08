/* C layer: the parts of weights.h that are functions of their own. */

#include "targets/weights.h"

void target_weights(const struct class_target *target, int i, ptrdiff_t first, int n, double *out, double *lowest)
{
    const int stride = target->class_weight_stride;
    const double *weight = target->class_weight + first * stride;
    if (target->source.rows) {
        read_f64(target->source.rows[i] + first * target->source.class_stride, target->source.class_stride,
                 target->source.element, n, out);
        if (lowest)
            for (int j = 0; j < n; j++)
                *lowest = out[j] < *lowest ? out[j] : *lowest;
        for (int j = 0; j < n; j += 8) {
            int n_valid = at_most_8(n - j);
            f64x8 t = fma_f64(set_f64(target->keep), load_part_f64(out + j, n_valid, 0), set_f64(target->uniform));
            f64x8 w = stride ? load_part_f64(weight + j, n_valid, 0) : set_f64(*weight);
            store_part_f64(out + j, n_valid, mul_f64(w, t));
        }
    } else {
        for (int j = 0; j < n; j += 8) {
            int n_valid = at_most_8(n - j);
            f64x8 w = stride ? load_part_f64(weight + j, n_valid, 0) : set_f64(*weight);
            store_part_f64(out + j, n_valid, mul_f64(w, set_f64(target->uniform)));
        }
        const int64_t stop = target->start[i + 1];
        for (int64_t entry = first_entry(target, i, first); entry < stop && target->index[entry] < first + n; entry++) {
            ptrdiff_t j = target->index[entry] - first;
            out[j] = weight[j * stride] * fma(target->keep, target->value[entry * target->value_stride], target->uniform);
        }
    }
}
