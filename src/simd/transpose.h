/* C layer: rows into columns, and back. */
#ifndef XENTC_SIMD_TRANSPOSE_H
#define XENTC_SIMD_TRANSPOSE_H

#include "simd/vec.h"

/* Of two registers: the lower and the upper half of each 16 bytes, in turn; all even, all odd lanes; and
 * their first and their second halves in turn. */
#if WIDTH == 64
#define LOW_f64(a, b) (f64_register)_mm512_unpacklo_pd((__m512d)(a), (__m512d)(b))
#define HIGH_f64(a, b) (f64_register)_mm512_unpackhi_pd((__m512d)(a), (__m512d)(b))
#define LOW_f32(a, b) (f32_register)_mm512_unpacklo_ps((__m512)(a), (__m512)(b))
#define HIGH_f32(a, b) (f32_register)_mm512_unpackhi_ps((__m512)(a), (__m512)(b))
#define EVEN_f64(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14)
#define ODD_f64(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15)
#define FIRST_f64(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define SECOND_f64(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#define FIRST_f32(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define SECOND_f32(a, b) __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#define EVEN_f32(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)
#define ODD_f32(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31)
#elif WIDTH == 32
#define LOW_f64(a, b) (f64_register)_mm256_unpacklo_pd((__m256d)(a), (__m256d)(b))
#define HIGH_f64(a, b) (f64_register)_mm256_unpackhi_pd((__m256d)(a), (__m256d)(b))
#define LOW_f32(a, b) (f32_register)_mm256_unpacklo_ps((__m256)(a), (__m256)(b))
#define HIGH_f32(a, b) (f32_register)_mm256_unpackhi_ps((__m256)(a), (__m256)(b))
#define EVEN_f64(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6)
#define ODD_f64(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7)
#define FIRST_f64(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define SECOND_f64(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#define FIRST_f32(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define SECOND_f32(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#define EVEN_f32(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14)
#define ODD_f32(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15)
#else
#define LOW_f64(a, b) __builtin_shufflevector(a, b, 0, 2)
#define HIGH_f64(a, b) __builtin_shufflevector(a, b, 1, 3)
#define LOW_f32(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define HIGH_f32(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#define EVEN_f64(a, b) LOW_f64(a, b)
#define ODD_f64(a, b) HIGH_f64(a, b)
#define FIRST_f64(a, b) LOW_f64(a, b)
#define SECOND_f64(a, b) HIGH_f64(a, b)
#define FIRST_f32(a, b) LOW_f32(a, b)
#define SECOND_f32(a, b) HIGH_f32(a, b)
#define EVEN_f32(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6)
#define ODD_f32(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7)
#endif

/* 16 bytes from each of four places, one after the other; and back. */
INLINE f64x8 load_pieces(const char *a, const char *b, const char *c, const char *d)
{
    f64x8 v;
#if WIDTH == 64
    __m512d z = _mm512_castpd128_pd512(_mm_loadu_pd((const double *)(const void *)a));
    z = _mm512_insertf64x2(z, _mm_loadu_pd((const double *)(const void *)b), 1);
    z = _mm512_insertf64x2(z, _mm_loadu_pd((const double *)(const void *)c), 2);
    v.r[0] = (f64_register)_mm512_insertf64x2(z, _mm_loadu_pd((const double *)(const void *)d), 3);
#elif WIDTH == 32
    const char *places[4] = {a, b, c, d};
    EACH_REGISTER v.r[i] = (f64_register)_mm256_insertf128_pd(
        _mm256_castpd128_pd256(_mm_loadu_pd((const double *)(const void *)places[2 * i])),
        _mm_loadu_pd((const double *)(const void *)places[2 * i + 1]), 1);
#else
    const char *places[4] = {a, b, c, d};
    EACH_REGISTER memcpy(&v.r[i], places[i], 16);
#endif
    return v;
}

INLINE void store_pieces(f64x8 v, char *a, char *b, char *c, char *d)
{
    char *places[4] = {a, b, c, d};
    for (int i = 0; i < 4; i++)
        memcpy(places[i], (char *)&v + 16 * i, 16);
}

INLINE f64x8 as_f64(f32x16 a) { f64x8 v; EACH_REGISTER v.r[i] = (f64_register)a.r[i]; return v; }
INLINE f32x16 as_f32(f64x8 a) { f32x16 v; EACH_REGISTER v.r[i] = (f32_register)a.r[i]; return v; }
INLINE f64x8 low_f64(f64x8 a, f64x8 b) { EACH_REGISTER a.r[i] = LOW_f64(a.r[i], b.r[i]); return a; }
INLINE f64x8 high_f64(f64x8 a, f64x8 b) { EACH_REGISTER a.r[i] = HIGH_f64(a.r[i], b.r[i]); return a; }
INLINE f32x16 low_f32(f32x16 a, f32x16 b) { EACH_REGISTER a.r[i] = LOW_f32(a.r[i], b.r[i]); return a; }
INLINE f32x16 high_f32(f32x16 a, f32x16 b) { EACH_REGISTER a.r[i] = HIGH_f32(a.r[i], b.r[i]); return a; }

/* The squares of 2 x 2 or 4 x 4 elements that each 16 bytes of the vectors make up, transposed. */
INLINE void transpose_f64(f64x8 a[2])
{
    f64x8 first = low_f64(a[0], a[1]);
    a[1] = high_f64(a[0], a[1]);
    a[0] = first;
}

INLINE void transpose_f32(f32x16 a[4])
{
    f64x8 ab = as_f64(low_f32(a[0], a[1])), cd = as_f64(low_f32(a[2], a[3]));
    f64x8 ab_high = as_f64(high_f32(a[0], a[1])), cd_high = as_f64(high_f32(a[2], a[3]));
    a[0] = as_f32(low_f64(ab, cd));
    a[1] = as_f32(high_f64(ab, cd));
    a[2] = as_f32(low_f64(ab_high, cd_high));
    a[3] = as_f32(high_f64(ab_high, cd_high));
}

enum { QUAD_f64 = 2, QUAD_f32 = 4 };             /* elements in 16 bytes */

/* The 16 bytes at `offset` of as many rows as there are lanes, as columns: out[c] has their c-th elements; and back. */
INLINE void columns_f64(const char *const *rows, ptrdiff_t offset, f64x8 out[2])
{
    for (int q = 0; q < 2; q++)
        out[q] = load_pieces(rows[q] + offset, rows[q + 2] + offset, rows[q + 4] + offset, rows[q + 6] + offset);
    transpose_f64(out);
}

INLINE void columns_f32(const char *const *rows, ptrdiff_t offset, f32x16 out[4])
{
    for (int q = 0; q < 4; q++)
        out[q] = as_f32(load_pieces(rows[q] + offset, rows[q + 4] + offset, rows[q + 8] + offset, rows[q + 12] + offset));
    transpose_f32(out);
}

INLINE void uncolumns_f64(f64x8 columns[2], ptrdiff_t offset, char *const *rows)
{
    transpose_f64(columns);
    for (int q = 0; q < 2; q++)
        store_pieces(columns[q], rows[q] + offset, rows[q + 2] + offset, rows[q + 4] + offset, rows[q + 6] + offset);
}

INLINE void uncolumns_f32(f32x16 columns[4], ptrdiff_t offset, char *const *rows)
{
    transpose_f32(columns);
    for (int q = 0; q < 4; q++)
        store_pieces(as_f64(columns[q]), rows[q] + offset, rows[q + 4] + offset, rows[q + 8] + offset, rows[q + 12] + offset);
}

/* Pairs that lie one after the other into their first and their second elements, and back. */
#define DEFINE_PAIRS(T, C, V)                                                                                      \
    INLINE void pairs_##T(const C *p, V out[2])                                                                    \
    {                                                                                                              \
        EACH_REGISTER {                                                                                            \
            T##_register a, b;                                                                                     \
            memcpy(&a, (const char *)p + 2 * WIDTH * i, WIDTH);                                                    \
            memcpy(&b, (const char *)p + 2 * WIDTH * i + WIDTH, WIDTH);                                            \
            out[0].r[i] = EVEN_##T(a, b);                                                                          \
            out[1].r[i] = ODD_##T(a, b);                                                                           \
        }                                                                                                          \
    }                                                                                                              \
    INLINE void unpairs_##T(const V in[2], C *p)                                                                   \
    {                                                                                                              \
        EACH_REGISTER {                                                                                            \
            T##_register a = FIRST_##T(in[0].r[i], in[1].r[i]), b = SECOND_##T(in[0].r[i], in[1].r[i]);            \
            memcpy((char *)p + 2 * WIDTH * i, &a, WIDTH);                                                          \
            memcpy((char *)p + 2 * WIDTH * i + WIDTH, &b, WIDTH);                                                  \
        }                                                                                                          \
    }

DEFINE_PAIRS(f64, double, f64x8)
DEFINE_PAIRS(f32, float, f32x16)

/* Eight rows of eight as columns. */
INLINE void transpose_8(const double (*rows)[8], f64x8 columns[8])
{
    const char *places[8];
    for (int i = 0; i < 8; i++)
        places[i] = (const char *)rows[i];
    for (int c = 0; c < 8; c += 2)
        columns_f64(places, c * (ptrdiff_t)sizeof(double), &columns[c]);
}

#endif
