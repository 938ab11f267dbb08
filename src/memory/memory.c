/* C layer: from and to memory. */

#include "memory/memory.h"
#include "memory/rows.h"

#define TEMPLATE "memory/read_write.template.h"
#include "simd/instantiate.h"

void gather_classes(struct source x, const int64_t *code, int n_rows, double *out)
{
#define CASE(NAME, TYPE, WIDEN, NARROW)                                                                            \
    case NAME:                                                                                                     \
        for (int i = 0; i < n_rows; i++) {                                                                         \
            TYPE value;                                                                                            \
            memcpy(&value, x.rows[i] + code[i] * x.class_stride, sizeof value);                                    \
            out[i] = (double)WIDEN(value);                                                                         \
        }                                                                                                          \
        break;
    switch (x.element) {
        EACH_FLOAT(CASE)
    default:
        break;                                    /* logits and probabilities are floats */
    }
#undef CASE
}

static int codes(const char *target, ptrdiff_t stride, enum element element, int n, int64_t n_codes, int64_t *out)
{
#define EACH(STEP, TYPE, CODE)                                                                                     \
    for (int i = 0; i < n; i++) {                                                                                  \
        TYPE value;                                                                                                \
        memcpy(&value, target + i * (ptrdiff_t)(STEP), sizeof value);                                              \
        out[i] = (int64_t)CODE(value);                                                                             \
        outside |= (uint64_t)out[i] >= (uint64_t)n_codes;                                                          \
    }
#define CASE(NAME, TYPE, CODE)                                                                                     \
    case NAME:                                                                                                     \
        if (stride == sizeof(TYPE))                                                                                \
            EACH(sizeof(TYPE), TYPE, CODE)                                                                         \
        else                                                                                                       \
            EACH(stride, TYPE, CODE)                                                                               \
        break;
    int outside = 0;
    switch (element) {
        EACH_INTEGER(CASE)
    default:
        break;                                    /* codes are integers */
    }
#undef CASE
#undef EACH
    return !outside;
}

static void extremes(const int64_t *x, ptrdiff_t n, int64_t *lowest, int64_t *highest)
{
    int64_t low = x[0], high = x[0];
    for (ptrdiff_t i = 1; i < n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    *lowest = low;
    *highest = high;
}

void write_results(const double *results, int n, enum element of, char *p, ptrdiff_t stride, enum element element)
{
    float singles[TILE];
    if (of == F64) {
        write_f64(p, stride, element, n, results);
        return;
    }
    for (int j = 0; j < n; j++)
        singles[j] = (float)results[j];
    write_f32(p, stride, element, n, singles);
}

const struct memory_kernels PER_SET(memory) = {
    .read = read_f64, .read_single = read_f32, .gather = gather_classes, .codes = codes, .extremes = extremes};
