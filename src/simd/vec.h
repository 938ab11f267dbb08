/* C layer: the fixed-lane vectors that every kernel is written in, for the instruction set being compiled.
 *
 * A vector is 64 bytes on every machine: 8 float64 lanes or 16 float32 lanes, held in as many hardware registers as
 * that takes. Lanes, operations and their order are thus the same everywhere, and so are the bits of the results.
 * Arithmetic and comparison are the compiler's vector extensions; only fma, max and min need the machine's own names.
 */
#ifndef XENTC_SIMD_VEC_H
#define XENTC_SIMD_VEC_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "simd/names.h"

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
/* A call is nothing beside such a function, but each unit has its own: a struct that is an argument stays in registers. */
#define OUTLINE static __attribute__((unused))
/* What few rows need: apart, so that it takes no registers from the others. */
#define RARE __attribute__((noinline, cold))

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

/* fma, and fnma = c - a b, round once everywhere. max and min are x86's: (a > b ? a : b) and (a < b ? a : b), so that a NaN in
 * b is kept. */
#if WIDTH == 64
#define FMA_f64(a, b, c) (f64_register)_mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c))
#define FMA_f32(a, b, c) (f32_register)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c))
#define FNMA_f64(a, b, c) (f64_register)_mm512_fnmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c))
#define FNMA_f32(a, b, c) (f32_register)_mm512_fnmadd_ps((__m512)(a), (__m512)(b), (__m512)(c))
#define MAX_f64(a, b) (f64_register)_mm512_max_pd((__m512d)(a), (__m512d)(b))
#define MAX_f32(a, b) (f32_register)_mm512_max_ps((__m512)(a), (__m512)(b))
#define MIN_f64(a, b) (f64_register)_mm512_min_pd((__m512d)(a), (__m512d)(b))
#define MIN_f32(a, b) (f32_register)_mm512_min_ps((__m512)(a), (__m512)(b))
#elif WIDTH == 32
#define FMA_f64(a, b, c) (f64_register)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c))
#define FMA_f32(a, b, c) (f32_register)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c))
#define FNMA_f64(a, b, c) (f64_register)_mm256_fnmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c))
#define FNMA_f32(a, b, c) (f32_register)_mm256_fnmadd_ps((__m256)(a), (__m256)(b), (__m256)(c))
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
#define FNMA_f64(a, b, c) FMA_f64(-(a), b, c)
#define FNMA_f32(a, b, c) FMA_f32(-(a), b, c)
#endif

/* The operations of one element type: T is f64 or f32, C its C type, V and I its vector and the integer vector. */
#define DEFINE_VECTOR(T, C, V, I, IC)                                                                              \
    INLINE V set_##T(C a) { V v; EACH_REGISTER v.r[i] = a - (T##_register){0}; return v; }                         \
    /* Register by register: a copy of the whole in smaller pieces would stall the loads behind it. */             \
    INLINE V load_##T(const C *p)                                                                                  \
    {                                                                                                              \
        V v;                                                                                                       \
        EACH_REGISTER memcpy(&v.r[i], (const char *)p + WIDTH * i, WIDTH);                                         \
        return v;                                                                                                  \
    }                                                                                                              \
    INLINE void store_##T(C *p, V v) { EACH_REGISTER memcpy((char *)p + WIDTH * i, &v.r[i], WIDTH); }              \
    INLINE V add_##T(V a, V b) { EACH_REGISTER a.r[i] += b.r[i]; return a; }                                       \
    INLINE V sub_##T(V a, V b) { EACH_REGISTER a.r[i] -= b.r[i]; return a; }                                       \
    INLINE V mul_##T(V a, V b) { EACH_REGISTER a.r[i] *= b.r[i]; return a; }                                       \
    INLINE V div_##T(V a, V b) { EACH_REGISTER a.r[i] /= b.r[i]; return a; }                                       \
    INLINE V fma_##T(V a, V b, V c) { EACH_REGISTER c.r[i] = FMA_##T(a.r[i], b.r[i], c.r[i]); return c; }          \
    INLINE V fnma_##T(V a, V b, V c) { EACH_REGISTER c.r[i] = FNMA_##T(a.r[i], b.r[i], c.r[i]); return c; }        \
    INLINE V max_##T(V a, V b) { EACH_REGISTER a.r[i] = MAX_##T(a.r[i], b.r[i]); return a; }                       \
    INLINE V min_##T(V a, V b) { EACH_REGISTER a.r[i] = MIN_##T(a.r[i], b.r[i]); return a; }                       \
    INLINE I less_##T(V a, V b) { I m; EACH_REGISTER m.r[i] = a.r[i] < b.r[i]; return m; }                         \
    INLINE I equal_##T(V a, V b) { I m; EACH_REGISTER m.r[i] = a.r[i] == b.r[i]; return m; }                       \
    INLINE I bits_##T(V a) { I b; EACH_REGISTER b.r[i] = (__typeof__(b.r[0]))a.r[i]; return b; }                   \
    INLINE V from_bits_##T(I b) { V a; EACH_REGISTER a.r[i] = (T##_register)b.r[i]; return a; }                    \
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

/* The first n lanes, n from 1, and nothing else in memory; where loaded, the others are `fill`. */
#if WIDTH == 64
INLINE f64x8 load_some_f64(const double *p, int n, double fill)
{
    return (f64x8){{(f64_register)_mm512_mask_loadu_pd(_mm512_set1_pd(fill), (__mmask8)(0xff >> (8 - n)), p)}};
}
INLINE f32x16 load_some_f32(const float *p, int n, float fill)
{
    return (f32x16){{(f32_register)_mm512_mask_loadu_ps(_mm512_set1_ps(fill), (__mmask16)(0xffff >> (16 - n)), p)}};
}
INLINE void store_some_f64(double *p, int n, f64x8 v)
{
    _mm512_mask_storeu_pd(p, (__mmask8)(0xff >> (8 - n)), (__m512d)v.r[0]);
}
INLINE void store_some_f32(float *p, int n, f32x16 v)
{
    _mm512_mask_storeu_ps(p, (__mmask16)(0xffff >> (16 - n)), (__m512)v.r[0]);
}
#elif WIDTH == 32
INLINE f64x8 load_some_f64(const double *p, int n, double fill)
{
    const __m256i lanes = _mm256_setr_epi64x(0, 1, 2, 3);
    f64x8 v;
    EACH_REGISTER {
        __m256i valid = _mm256_cmpgt_epi64(_mm256_set1_epi64x(n - 4 * i), lanes);
        v.r[i] = (f64_register)_mm256_blendv_pd(_mm256_set1_pd(fill), _mm256_maskload_pd(p + 4 * i, valid), (__m256d)valid);
    }
    return v;
}
INLINE f32x16 load_some_f32(const float *p, int n, float fill)
{
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    f32x16 v;
    EACH_REGISTER {
        __m256i valid = _mm256_cmpgt_epi32(_mm256_set1_epi32(n - 8 * i), lanes);
        v.r[i] = (f32_register)_mm256_blendv_ps(_mm256_set1_ps(fill), _mm256_maskload_ps(p + 8 * i, valid), (__m256)valid);
    }
    return v;
}
/* In pieces: stores under a mask take long on some processors. */
INLINE void store_bytes(char *p, const char *v, int bytes)
{
    for (int piece = 32; piece >= 4; piece /= 2)
        if (bytes & piece) {
            memcpy(p, v, (size_t)piece);
            p += piece;
            v += piece;
        }
}
INLINE void store_some_f64(double *p, int n, f64x8 v) { store_bytes((char *)p, (const char *)&v, 8 * n); }
INLINE void store_some_f32(float *p, int n, f32x16 v) { store_bytes((char *)p, (const char *)&v, 4 * n); }
#else
INLINE f64x8 load_some_f64(const double *p, int n, double fill)
{
    f64x8 v = set_f64(fill);
    memcpy(&v, p, (size_t)n * sizeof *p);
    return v;
}
INLINE f32x16 load_some_f32(const float *p, int n, float fill)
{
    f32x16 v = set_f32(fill);
    memcpy(&v, p, (size_t)n * sizeof *p);
    return v;
}
INLINE void store_some_f64(double *p, int n, f64x8 v) { memcpy(p, &v, (size_t)n * sizeof *p); }
INLINE void store_some_f32(float *p, int n, f32x16 v) { memcpy(p, &v, (size_t)n * sizeof *p); }
#endif

/* The same where n is nearly always all of them, which only masks need not be asked for. */
#define DEFINE_PART(T, C, V, ALL)                                                                                  \
    INLINE V load_part_##T(const C *p, int n, C fill)                                                              \
    {                                                                                                              \
        return WIDTH < 64 && n == ALL ? load_##T(p) : load_some_##T(p, n, fill);                                   \
    }                                                                                                              \
    INLINE void store_part_##T(C *p, int n, V v)                                                                   \
    {                                                                                                              \
        if (WIDTH < 64 && n == ALL)                                                                                \
            store_##T(p, v);                                                                                       \
        else                                                                                                       \
            store_some_##T(p, n, v);                                                                               \
    }

DEFINE_PART(f64, double, f64x8, 8)
DEFINE_PART(f32, float, f32x16, 16)

/* v in the first n lanes, 0 in the others. */
INLINE f64x8 first_lanes_f64(f64x8 v, int n)
{
    if (n == 8)
        return v;
#if WIDTH == 64
    return (f64x8){{(f64_register)_mm512_maskz_mov_pd((__mmask8)(0xff >> (8 - n)), (__m512d)v.r[0])}};
#else
    f64x8 first = set_f64(0);
    memcpy(&first, &v, (size_t)n * sizeof(double));
    return first;
#endif
}

/* Whether any lane of a mask is set. */
INLINE int any_f64(i64x8 mask)
{
    i64_register all = mask.r[0];
    for (int i = 1; i < REGISTERS; i++)
        all |= mask.r[i];
#if WIDTH == 64
    return _mm512_test_epi64_mask((__m512i)all, (__m512i)all) != 0;
#elif WIDTH == 32
    return !_mm256_testz_si256((__m256i)all, (__m256i)all);
#else
    return (all[0] | all[1]) != 0;
#endif
}

INLINE int all_f64(i64x8 mask)
{
    i64_register all = mask.r[0];
    for (int i = 1; i < REGISTERS; i++)
        all &= mask.r[i];
#if WIDTH == 64
    return _mm512_movepi64_mask((__m512i)all) == 0xff;
#elif WIDTH == 32
    return _mm256_movemask_pd((__m256d)all) == 15;
#else
    return (all[0] & all[1]) != 0;
#endif
}

INLINE int any_f32(i32x16 mask)
{
    i64x8 same;
    EACH_REGISTER same.r[i] = (i64_register)mask.r[i];
    return any_f64(same);
}

INLINE int all_f32(i32x16 mask)
{
    EACH_REGISTER mask.r[i] = ~mask.r[i];
    return !any_f32(mask);
}

/* Whether a comparison holds in all lanes; a NaN's does not. */
INLINE int all_less_f64(f64x8 a, f64x8 b)
{
#if WIDTH == 64
    return _mm512_cmp_pd_mask((__m512d)a.r[0], (__m512d)b.r[0], _CMP_LT_OQ) == 0xff;
#else
    return all_f64(less_f64(a, b));
#endif
}

INLINE int all_equal_f64(f64x8 a, f64x8 b)
{
#if WIDTH == 64
    return _mm512_cmp_pd_mask((__m512d)a.r[0], (__m512d)b.r[0], _CMP_EQ_OQ) == 0xff;
#else
    return all_f64(equal_f64(a, b));
#endif
}

/* v, but 0 where a is. */
INLINE f64x8 where_not_0_f64(f64x8 a, f64x8 v)
{
#if WIDTH == 64
    __mmask8 mask = _mm512_cmp_pd_mask((__m512d)a.r[0], _mm512_setzero_pd(), _CMP_NEQ_UQ);
    return (f64x8){{(f64_register)_mm512_maskz_mov_pd(mask, (__m512d)v.r[0])}};
#else
    return choose_f64(equal_f64(a, set_f64(0)), set_f64(0), v);
#endif
}

/* A store past the caches to an address that 64 divides. Other threads see it after xentc_leave_kernels. */
#if WIDTH == 64
INLINE void stream_f64(double *p, f64x8 v) { _mm512_stream_pd(p, (__m512d)v.r[0]); }
INLINE void stream_f32(float *p, f32x16 v) { _mm512_stream_ps(p, (__m512)v.r[0]); }
#elif WIDTH == 32
INLINE void stream_f64(double *p, f64x8 v) { EACH_REGISTER _mm256_stream_pd(p + 4 * i, (__m256d)v.r[i]); }
INLINE void stream_f32(float *p, f32x16 v) { EACH_REGISTER _mm256_stream_ps(p + 8 * i, (__m256)v.r[i]); }
#else
INLINE void stream_f64(double *p, f64x8 v) { store_f64(p, v); }
INLINE void stream_f32(float *p, f32x16 v) { store_f32(p, v); }
#endif

/* Each lane as the float32 nearest to it. */
INLINE f64x8 single_f64(f64x8 a)
{
#if WIDTH == 64
    a.r[0] = (f64_register)_mm512_cvtps_pd(_mm512_cvtpd_ps((__m512d)a.r[0]));
#elif WIDTH == 32
    EACH_REGISTER a.r[i] = (f64_register)_mm256_cvtps_pd(_mm256_cvtpd_ps((__m256d)a.r[i]));
#else
    typedef float pair __attribute__((vector_size(8)));
    EACH_REGISTER a.r[i] = __builtin_convertvector(__builtin_convertvector(a.r[i], pair), f64_register);
#endif
    return a;
}

/* Lanes 8 * half to 8 * half + 7, exactly. */
INLINE f64x8 widen_f64(f64x8 a, int half)
{
    (void)half;
    return a;
}

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

/* As many float64 as there are lanes, in the lanes' type. */
INLINE f64x8 narrow_f64(const double *p)
{
    return load_f64(p);
}

INLINE f32x16 narrow_f32(const double *p)
{
    f64x8 a = load_f64(p), b = load_f64(p + 8);
    f32x16 v;
#if WIDTH == 64
    v.r[0] = (f32_register)_mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps((__m512d)a.r[0])),
                                              _mm512_cvtpd_ps((__m512d)b.r[0]), 1);
#elif WIDTH == 32
    v.r[0] = (f32_register)_mm256_set_m128(_mm256_cvtpd_ps((__m256d)a.r[1]), _mm256_cvtpd_ps((__m256d)a.r[0]));
    v.r[1] = (f32_register)_mm256_set_m128(_mm256_cvtpd_ps((__m256d)b.r[1]), _mm256_cvtpd_ps((__m256d)b.r[0]));
#else
    for (int i = 0; i < 4; i++) {
        const f64x8 *half = i < 2 ? &a : &b;
        f64_register low = half->r[2 * (i & 1)], high = half->r[2 * (i & 1) + 1];
        v.r[i] = (f32_register){(float)low[0], (float)low[1], (float)high[0], (float)high[1]};
    }
#endif
    return v;
}

/* Back from float32 lanes to as many values. */
INLINE void store_as_f64(double *p, f32x16 v)
{
    store_f64(p, widen_f32(v, 0));
    store_f64(p + 8, widen_f32(v, 1));
}

INLINE void store_as_f32(float *p, f32x16 v)
{
    store_f32(p, v);
}

/* Eight values as float64, exactly. From memory: half a vector in registers, the first or the second, would go through it. */
INLINE f64x8 load_wide_f64(const double *p)
{
    return load_f64(p);
}

INLINE f64x8 load_wide_f32(const float *p)
{
    f64x8 v;
#if WIDTH == 64
    v.r[0] = (f64_register)_mm512_cvtps_pd(_mm256_loadu_ps(p));
#elif WIDTH == 32
    EACH_REGISTER v.r[i] = (f64_register)_mm256_cvtps_pd(_mm_loadu_ps(p + 4 * i));
#else
    EACH_REGISTER v.r[i] = (f64_register){p[2 * i], p[2 * i + 1]};
#endif
    return v;
}

INLINE int at_most_8(int n)
{
    return n < 8 ? n : 8;
}

/* Elements j to j + n, n <= 8, of float32 values where `single`, else of float64 ones. */
INLINE f64x8 load_as_f64(const void *p, ptrdiff_t j, int single, int n)
{
    if (!single)
        return load_part_f64((const double *)p + j, n, 0);
    const float *values = (const float *)p + j;
    return n == 8 ? load_wide_f32(values) : widen_f32(load_part_f32(values, n, 0), 0);
}

#endif
