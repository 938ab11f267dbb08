/* C layer: float16 and bfloat16 in vectors of float32. */
#ifndef XENTC_SIMD_HALVES_H
#define XENTC_SIMD_HALVES_H

#include "simd/elements.h"
#include "simd/vec.h"

INLINE int is_half(enum element element)
{
    return element == F16 || element == BF16;
}

/* Sixteen of them, exactly. */
INLINE f32x16 load_halves(const char *p, enum element element)
{
#if WIDTH == 64
    __m256i halves = _mm256_loadu_si256((const __m256i *)(const void *)p);
    if (element == F16)
        return (f32x16){{(f32_register)_mm512_cvtph_ps(halves)}};
    return (f32x16){{(f32_register)_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16)}};
#elif WIDTH == 32
    f32x16 v;
    for (int i = 0; i < 2; i++) {
        __m128i halves = _mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i));
        v.r[i] = element == F16 ? (f32_register)_mm256_cvtph_ps(halves)
                                : (f32_register)_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16);
    }
    return v;
#else
    uint16_t halves[16];
    float values[16];
    memcpy(halves, p, sizeof halves);
    for (int i = 0; i < 16; i++)
        values[i] = element == F16 ? widen_f16(halves[i]) : widen_bf16(halves[i]);
    return load_f32(values);
#endif
}

/* And back, each rounded once, and each NaN to one bit pattern. */
INLINE void store_halves(char *p, enum element element, f32x16 v)
{
    v = choose_f32(equal_f32(v, v), v, set_f32(NAN));
    if (element == BF16) {
        i32x16 bits = bits_f32(v);
        EACH_REGISTER bits.r[i] = (bits.r[i] + 0x7fff + (bits.r[i] >> 16 & 1)) >> 16;
#if WIDTH == 64
        _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtepi32_epi16((__m512i)bits.r[0]));
#else
        int32_t wide[16];
        uint16_t halves[16];
        EACH_REGISTER memcpy((char *)wide + WIDTH * i, &bits.r[i], WIDTH);
        for (int i = 0; i < 16; i++)
            halves[i] = (uint16_t)wide[i];
        memcpy(p, halves, sizeof halves);
#endif
        return;
    }
#if WIDTH == 64
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtps_ph((__m512)v.r[0], _MM_FROUND_TO_NEAREST_INT));
#elif WIDTH == 32
    for (int i = 0; i < 2; i++)
        _mm_storeu_si128((__m128i *)(void *)(p + 16 * i), _mm256_cvtps_ph((__m256)v.r[i], _MM_FROUND_TO_NEAREST_INT));
#else
    uint16_t halves[16];
    float values[16];
    store_f32(values, v);
    for (int i = 0; i < 16; i++)
        halves[i] = f16_of_single(values[i]);
    memcpy(p, halves, sizeof halves);
#endif
}

#endif
