/* C layer: one element of an array, of any type, from and to memory. */
#ifndef XENTC_SIMD_ELEMENTS_H
#define XENTC_SIMD_ELEMENTS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* Element types that a kernel can read. Logits are floats; the narrower ones are computed as float32. */
enum element { F64, F32, F16, BF16, I8, I16, I32, I64, U8, U16, U32, U64, ELEMENTS };

/* Each with its C type; of a float what makes a number of it and, rounding once to nearest, it of a float64; of an integer what
 * makes a code of it. */
#define EACH_FLOAT(CASE)                                                                                           \
    CASE(F64, double, , ) CASE(F32, float, , (float))                                                              \
    CASE(F16, uint16_t, widen_f16, narrow_f16) CASE(BF16, uint16_t, widen_bf16, narrow_bf16)
#define EACH_INTEGER(CASE)                                                                                         \
    CASE(I8, int8_t, ) CASE(I16, int16_t, ) CASE(I32, int32_t, ) CASE(I64, int64_t, )                              \
    CASE(U8, uint8_t, ) CASE(U16, uint16_t, ) CASE(U32, uint32_t, ) CASE(U64, uint64_t, code_of_u64)

static inline float float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t bits_of_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float widen_f16(uint16_t half)
{
    /* The exponent moved into place is 112 too small, for subnormals too; infinity and NaN are too small still. */
    float value = float_of_bits((uint32_t)(half & 0x7fff) << 13) * 0x1p112f;
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    return float_of_bits(bits_of_float(value) | sign | ((half & 0x7c00) == 0x7c00 ? 0x7f800000 : 0));
}

static inline float widen_bf16(uint16_t half)
{
    return float_of_bits((uint32_t)half << 16);
}

/* value rounded to the nearest, ties to even, of a type with so many digits after the point and that lowest exponent: the sum
 * with 1.5 * 2^52 units has its last bit where they end. Too large a value stays too large. */
static inline double rounded_to(double value, int digits, int lowest)
{
    uint64_t bits;
    double magic;
    memcpy(&bits, &value, sizeof bits);
    int exponent = (int)(bits >> 52 & 0x7ff) - 1023;
    if (exponent > 1000)
        return value;                             /* infinite, NaN or far out of range */
    bits = (uint64_t)((exponent < lowest ? lowest : exponent) - digits + 52 + 1023) << 52 | (uint64_t)1 << 51;
    memcpy(&magic, &bits, sizeof magic);
    return copysign((value + magic) - magic, value);
}

/* Rounded to the nearest, ties to even, and each NaN to one bit pattern. Without branches: a loop of them becomes vectors. */
static inline uint16_t f16_of_single(float value)
{
    uint32_t bits = bits_of_float(value), size = bits & 0x7fffffff;
    uint32_t normal = (size - 0x38000000 + 0xfff + (size >> 13 & 1)) >> 13;
    uint32_t subnormal = bits_of_float(float_of_bits(size) + 0.5f) - 0x3f000000;         /* units of 2^-24, those of 0.5 */
    uint32_t result = size < 0x38800000 ? subnormal : normal;                           /* 2^-14 */
    result = size >= 0x477ff000 ? 0x7c00 : result;                                      /* 65520 */
    return (uint16_t)(size > 0x7f800000 ? 0x7e00 : (bits >> 16 & 0x8000) | result);
}

static inline uint16_t bf16_of_single(float value)
{
    uint32_t bits = bits_of_float(value);
    return (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline uint16_t narrow_f16(double value)
{
    return f16_of_single((float)rounded_to(value, 10, -14));
}

static inline uint16_t narrow_bf16(double value)
{
    return bf16_of_single((float)rounded_to(value, 7, -126));
}

/* What no int64 holds becomes INT64_MAX. */
static inline int64_t code_of_u64(uint64_t value)
{
    return value > INT64_MAX ? INT64_MAX : (int64_t)value;
}

/* Rounded once, to nearest. */
static inline void write_element(char *p, enum element element, double value)
{
#define CASE(NAME, TYPE, WIDEN, NARROW)                                                                            \
    case NAME: {                                                                                                   \
        TYPE narrow = NARROW(value);                                                                               \
        memcpy(p, &narrow, sizeof narrow);                                                                         \
        break;                                                                                                     \
    }
    switch (element) {
        EACH_FLOAT(CASE)
    default:
        break;                                    /* results are floats */
    }
#undef CASE
}

#endif
