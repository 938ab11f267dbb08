/* C layer: the functions of vmath.h over arrays, for the tests. */

#include "simd/elementary.h"
#include "simd/vmath.h"

void elementary_functions(int function, const double *x, ptrdiff_t n, double *out)
{
    for (ptrdiff_t i = 0; i < n; i += 8) {
        int part = n - i < 8 ? (int)(n - i) : 8;
        f64x8 v = load_part_f64(x + i, part, 1), low = set_f64(0), y = v;
        float narrow[16] = {0}, result[16];
        switch (function) {
        case 0: y = exp_f64(v, set_f64(MAGIC_f64 + EXPONENT_BIAS_f64), set_f64(-EXPONENT_BIAS_f64 / LOG2E)); break;
        case 1: y = expm1_f64(v); break;
        case 2: y = log_wide(v, set_f64(0), &low); break;
        case 3: y = log1p_wide(v, set_f64(0), set_f64(1), set_f64(0), &low); break;
        case 4: y = log_f64(v); break;
        default:
            for (int j = 0; j < part; j++)
                narrow[j] = (float)x[i + j];
            store_f32(result, function == 6   ? log_f32(load_f32(narrow))
                              : function == 7 ? log1p_of_unit(load_f32(narrow))
                                              : exp_f32(load_f32(narrow), set_f32(MAGIC_f32 + EXPONENT_BIAS_f32),
                                                        set_f32((float)(-EXPONENT_BIAS_f32 / LOG2E))));
            for (int j = 0; j < part; j++)
                out[i + j] = result[j];
            continue;
        }
        store_part_f64(out + i, part, add_f64(y, low));
    }
}
