/* C layer: the fixed-lane vectors that every kernel is written in, for the instruction set being compiled.
 *
 * A vector is 64 bytes on every machine: 8 float64 lanes or 16 float32 lanes, held in as many hardware registers as
 * that takes. Lanes, operations and their order are thus the same everywhere, and so are the bits of the results.
 * Arithmetic and comparison are the compiler's vector extensions; only fma, max and min need the machine's own names.
 */
#ifndef XENTC_VEC_H
#define XENTC_VEC_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define WIDTH 64
#elif defined(__AVX2__)
#include <immintrin.h>
#define WIDTH 32
#else
#define WIDTH 16
#if defined(__ARM_NEON) && !defined(PORTABLE)
#define NEON
#include <arm_neon.h>
#endif
#endif

#define REGISTERS (64 / WIDTH)
#define EACH_REGISTER for (int i = 0; i < REGISTERS; i++)
#define INLINE static inline __attribute__((always_inline, unused))

typedef double f64_register __attribute__((vector_size(WIDTH)));
typedef float f32_register __attribute__((vector_size(WIDTH)));
typedef int64_t i64_register __attribute__((vector_size(WIDTH)));
typedef int32_t i32_register __attribute__((vector_size(WIDTH)));

#define LANES_f64 8
#define LANES_f32 16

typedef struct { f64_register r[REGISTERS]; } f64x8;
typedef struct { f32_register r[REGISTERS]; } f32x16;
typedef struct { i64_register r[REGISTERS]; } i64x8;   /* a mask where it is the result of a comparison: 0 or -1 */
typedef struct { i32_register r[REGISTERS]; } i32x16;

/* fma rounds once everywhere. max and min are x86's: (a > b ? a : b) and (a < b ? a : b), so that a NaN in b is kept. */
#if WIDTH == 64
#define FMA_f64(a, b, c) (f64_register)_mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c))
#define FMA_f32(a, b, c) (f32_register)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c))
#define MAX_f64(a, b) (f64_register)_mm512_max_pd((__m512d)(a), (__m512d)(b))
#define MAX_f32(a, b) (f32_register)_mm512_max_ps((__m512)(a), (__m512)(b))
#define MIN_f64(a, b) (f64_register)_mm512_min_pd((__m512d)(a), (__m512d)(b))
#define MIN_f32(a, b) (f32_register)_mm512_min_ps((__m512)(a), (__m512)(b))
#elif WIDTH == 32
#define FMA_f64(a, b, c) (f64_register)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c))
#define FMA_f32(a, b, c) (f32_register)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c))
#define MAX_f64(a, b) (f64_register)_mm256_max_pd((__m256d)(a), (__m256d)(b))
#define MAX_f32(a, b) (f32_register)_mm256_max_ps((__m256)(a), (__m256)(b))
#define MIN_f64(a, b) (f64_register)_mm256_min_pd((__m256d)(a), (__m256d)(b))
#define MIN_f32(a, b) (f32_register)_mm256_min_ps((__m256)(a), (__m256)(b))
#else
#define CHOOSE_f64(m, a, b) (f64_register)(((i64_register)(a) & (m)) | ((i64_register)(b) & ~(m)))
#define CHOOSE_f32(m, a, b) (f32_register)(((i32_register)(a) & (m)) | ((i32_register)(b) & ~(m)))
#define MAX_f64(a, b) CHOOSE_f64((a) > (b), a, b)
#define MAX_f32(a, b) CHOOSE_f32((a) > (b), a, b)
#define MIN_f64(a, b) CHOOSE_f64((a) < (b), a, b)
#define MIN_f32(a, b) CHOOSE_f32((a) < (b), a, b)
#ifdef NEON
#define FMA_f64(a, b, c) (f64_register)vfmaq_f64((float64x2_t)(c), (float64x2_t)(a), (float64x2_t)(b))
#define FMA_f32(a, b, c) (f32_register)vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b))
#else
INLINE f64_register FMA_f64(f64_register a, f64_register b, f64_register c)
{
    return (f64_register){fma(a[0], b[0], c[0]), fma(a[1], b[1], c[1])};
}
INLINE f32_register FMA_f32(f32_register a, f32_register b, f32_register c)
{
    return (f32_register){fmaf(a[0], b[0], c[0]), fmaf(a[1], b[1], c[1]), fmaf(a[2], b[2], c[2]),
                          fmaf(a[3], b[3], c[3])};
}
#endif
#endif

/* The operations of one element type: T is f64 or f32, C its C type, V and I its vector and the integer vector. */
#define DEFINE_VECTOR(T, C, V, I, IC)                                                                              \
    INLINE V set_##T(C a) { V v; EACH_REGISTER v.r[i] = a - (T##_register){0}; return v; }                         \
    INLINE V load_##T(const C *p) { V v; memcpy(&v, p, sizeof v); return v; }                                      \
    INLINE void store_##T(C *p, V v) { memcpy(p, &v, sizeof v); }                                                  \
    /* The first n lanes; the others are `fill`. */                                                                \
    INLINE V load_part_##T(const C *p, int n, C fill)                                                              \
    {                                                                                                              \
        C lanes[LANES_##T];                                                                                        \
        for (int j = 0; j < LANES_##T; j++)                                                                        \
            lanes[j] = j < n ? p[j] : fill;                                                                        \
        return load_##T(lanes);                                                                                    \
    }                                                                                                              \
    INLINE void store_part_##T(C *p, int n, V v) { memcpy(p, &v, (size_t)n * sizeof(C)); }                         \
    INLINE V add_##T(V a, V b) { EACH_REGISTER a.r[i] += b.r[i]; return a; }                                       \
    INLINE V sub_##T(V a, V b) { EACH_REGISTER a.r[i] -= b.r[i]; return a; }                                       \
    INLINE V mul_##T(V a, V b) { EACH_REGISTER a.r[i] *= b.r[i]; return a; }                                       \
    INLINE V div_##T(V a, V b) { EACH_REGISTER a.r[i] /= b.r[i]; return a; }                                       \
    INLINE V fma_##T(V a, V b, V c) { EACH_REGISTER c.r[i] = FMA_##T(a.r[i], b.r[i], c.r[i]); return c; }          \
    INLINE V fnma_##T(V a, V b, V c) { EACH_REGISTER c.r[i] = FMA_##T(-a.r[i], b.r[i], c.r[i]); return c; }        \
    INLINE V max_##T(V a, V b) { EACH_REGISTER a.r[i] = MAX_##T(a.r[i], b.r[i]); return a; }                       \
    INLINE V min_##T(V a, V b) { EACH_REGISTER a.r[i] = MIN_##T(a.r[i], b.r[i]); return a; }                       \
    INLINE I less_##T(V a, V b) { I m; EACH_REGISTER m.r[i] = a.r[i] < b.r[i]; return m; }                         \
    INLINE I equal_##T(V a, V b) { I m; EACH_REGISTER m.r[i] = a.r[i] == b.r[i]; return m; }                       \
    INLINE I bits_##T(V a) { I b; memcpy(&b, &a, sizeof b); return b; }                                            \
    INLINE V from_bits_##T(I b) { V a; memcpy(&a, &b, sizeof a); return a; }                                       \
    INLINE I shift_left_##T(I a, int n) { EACH_REGISTER a.r[i] = a.r[i] << n; return a; }                          \
    /* mask ? a : b */                                                                                             \
    INLINE V choose_##T(I m, V a, V b)                                                                             \
    {                                                                                                              \
        I x = bits_##T(a), y = bits_##T(b);                                                                        \
        EACH_REGISTER x.r[i] = (x.r[i] & m.r[i]) | (y.r[i] & ~m.r[i]);                                             \
        return from_bits_##T(x);                                                                                   \
    }                                                                                                              \
    INLINE V abs_##T(V a)                                                                                          \
    {                                                                                                              \
        I b = bits_##T(a);                                                                                         \
        EACH_REGISTER b.r[i] &= (IC)(((uint64_t)1 << (8 * sizeof(C) - 1)) - 1);                                    \
        return from_bits_##T(b);                                                                                   \
    }

DEFINE_VECTOR(f64, double, f64x8, i64x8, int64_t)
DEFINE_VECTOR(f32, float, f32x16, i32x16, int32_t)

/* Lanes 8 * half to 8 * half + 7, exactly. */
INLINE f64x8 widen_f32(f32x16 a, int half)
{
    f64x8 v;
#if WIDTH == 64
    v.r[0] = (f64_register)_mm512_cvtps_pd(
        half ? _mm256_castpd_ps(_mm512_extractf64x4_pd((__m512d)a.r[0], 1)) : _mm512_castps512_ps256((__m512)a.r[0]));
#elif WIDTH == 32
    v.r[0] = (f64_register)_mm256_cvtps_pd(_mm256_castps256_ps128((__m256)a.r[half]));
    v.r[1] = (f64_register)_mm256_cvtps_pd(_mm256_extractf128_ps((__m256)a.r[half], 1));
#else
    for (int i = 0; i < 4; i++)
        v.r[i] = (f64_register){a.r[2 * half + i / 2][2 * (i & 1)], a.r[2 * half + i / 2][2 * (i & 1) + 1]};
#endif
    return v;
}

/* a + b = sum + error, exactly (Knuth 1969). */
INLINE f64x8 two_sum(f64x8 a, f64x8 b, f64x8 *error)
{
    f64x8 sum = add_f64(a, b), b_part = sub_f64(sum, a);
    *error = add_f64(sub_f64(a, sub_f64(sum, b_part)), sub_f64(b, b_part));
    return sum;
}

/* The same where |a| >= |b| or a is 0 (Dekker 1971). */
INLINE f64x8 fast_two_sum(f64x8 a, f64x8 b, f64x8 *error)
{
    f64x8 sum = add_f64(a, b);
    *error = sub_f64(b, sub_f64(sum, a));
    return sum;
}

#endif
