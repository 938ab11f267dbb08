/* C layer: the parts of rows.template.h that are functions of their own. */
#ifndef T
#error "instantiated by simd/instantiate.h"
#endif

INLINE void OP(read_halves)(const char *p, enum element element, ptrdiff_t n, C *out)
{
    ptrdiff_t j = 0;
    for (; j + 16 <= n; j += 16) {
        __builtin_prefetch(p + 2 * j + AHEAD);
        OP(store_as)(out + j, load_halves(p + 2 * j, element));
    }
    if (j < n) {
        char last[32] = {0};
        C values[16];
        memcpy(last, p + 2 * j, (size_t)(2 * (n - j)));
        OP(store_as)(values, load_halves(last, element));
        memcpy(out + j, values, (size_t)(n - j) * sizeof(C));
    }
}

void OP(read)(const char *p, ptrdiff_t step, enum element element, ptrdiff_t n, C *out)
{
#define EACH(STEP, TYPE, CONVERT)                                                                                  \
    for (ptrdiff_t j = 0; j < n; j++) {                                                                            \
        TYPE value;                                                                                                \
        memcpy(&value, p + j * (STEP), sizeof value);                                                              \
        out[j] = CONVERT(value);                                                                                   \
    }
#define CASE(NAME, TYPE, CONVERT)                                                                                  \
    case NAME:                                                                                                     \
        if (step == sizeof(TYPE))                                                                                  \
            EACH((ptrdiff_t)sizeof(TYPE), TYPE, CONVERT)                                                           \
        else                                                                                                       \
            EACH(step, TYPE, CONVERT)                                                                              \
        break;
    if (step == 2 && element == F16)
        OP(read_halves)(p, F16, n, out);
    else if (step == 2 && element == BF16)
        OP(read_halves)(p, BF16, n, out);
    else switch (element) {
        CASE(F64, double, (C))
        CASE(F32, float, (C))
        CASE(F16, uint16_t, (C)widen_f16)
        CASE(BF16, uint16_t, (C)widen_bf16)
        CASE(I8, int8_t, (C))
        CASE(I16, int16_t, (C))
        CASE(I32, int32_t, (C))
        CASE(I64, int64_t, (C))
        CASE(U8, uint8_t, (C))
        CASE(U16, uint16_t, (C))
        CASE(U32, uint32_t, (C))
        CASE(U64, uint64_t, (C))
    case ELEMENTS:
        break;
    }
#undef CASE
#undef EACH
}

void OP(write)(char *p, ptrdiff_t step, enum element element, ptrdiff_t n, const C *values)
{
    ptrdiff_t j = 0;
    if (step == sizeof(C) && element == OP(ELEMENT)) {
        memcpy(p, values, (size_t)n * sizeof(C));
        return;
    }
    if (OP(ELEMENT) == F32 && step == 2 && is_half(element)) {
        const float *singles = (const float *)(const void *)values;
        for (; j + 16 <= n; j += 16)
            if (element == F16)
                store_halves(p + 2 * j, F16, load_f32(singles + j));
            else
                store_halves(p + 2 * j, BF16, load_f32(singles + j));
    }
    for (; j < n; j++)
        write_element(p + j * step, element, values[j]);
}
