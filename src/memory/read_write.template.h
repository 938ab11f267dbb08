/* C layer: the parts of rows.template.h that are functions of their own. */
#ifndef TYPE
#error "instantiated by simd/instantiate.h"
#endif

INLINE void TYPED(read_halves)(const char *p, enum element element, ptrdiff_t n, REAL *out)
{
    ptrdiff_t j = 0;
    for (; j + 16 <= n; j += 16) {
        __builtin_prefetch(p + 2 * j + AHEAD);
        TYPED(store_as)(out + j, load_halves(p + 2 * j, element));
    }
    if (j < n) {
        char last[32] = {0};
        REAL values[16];
        memcpy(last, p + 2 * j, (size_t)(2 * (n - j)));
        TYPED(store_as)(values, load_halves(last, element));
        memcpy(out + j, values, (size_t)(n - j) * sizeof(REAL));
    }
}

void TYPED(read)(const char *p, ptrdiff_t stride, enum element element, ptrdiff_t n, REAL *out)
{
#define EACH(STEP, TYPE, CONVERT)                                                                                  \
    for (ptrdiff_t j = 0; j < n; j++) {                                                                            \
        TYPE value;                                                                                                \
        memcpy(&value, p + j * (STEP), sizeof value);                                                              \
        out[j] = (REAL)CONVERT(value);                                                                             \
    }
#define CASE(NAME, TYPE, CONVERT)                                                                                  \
    case NAME:                                                                                                     \
        if (stride == sizeof(TYPE))                                                                                \
            EACH((ptrdiff_t)sizeof(TYPE), TYPE, CONVERT)                                                           \
        else                                                                                                       \
            EACH(stride, TYPE, CONVERT)                                                                            \
        break;
#define FLOAT(NAME, TYPE, WIDEN, NARROW) CASE(NAME, TYPE, WIDEN)
#define INTEGER(NAME, TYPE, CODE) CASE(NAME, TYPE, )
    if (stride == 2 && element == F16)
        TYPED(read_halves)(p, F16, n, out);
    else if (stride == 2 && element == BF16)
        TYPED(read_halves)(p, BF16, n, out);
    else switch (element) {
        EACH_FLOAT(FLOAT)
        EACH_INTEGER(INTEGER)
    case ELEMENTS:
        break;
    }
#undef INTEGER
#undef FLOAT
#undef CASE
#undef EACH
}

void TYPED(write)(char *p, ptrdiff_t stride, enum element element, ptrdiff_t n, const REAL *values)
{
    ptrdiff_t j = 0;
    if (stride == sizeof(REAL) && element == TYPED(ELEMENT)) {
        memcpy(p, values, (size_t)n * sizeof(REAL));
        return;
    }
    if (TYPED(ELEMENT) == F32 && stride == 2 && is_half(element)) {
        const float *singles = (const float *)(const void *)values;
        for (; j + 16 <= n; j += 16)
            if (element == F16)
                store_halves(p + 2 * j, F16, load_f32(singles + j));
            else
                store_halves(p + 2 * j, BF16, load_f32(singles + j));
    }
    for (; j < n; j++)
        write_element(p + j * stride, element, values[j]);
}
