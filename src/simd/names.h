/* C layer: names that are put together. */
#ifndef XENTC_SIMD_NAMES_H
#define XENTC_SIMD_NAMES_H

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)

/* A function that units of one instruction set share has a name for each set: xentc_avx2_read_f64. */
#define PER_SET__(set, name) xentc_##set##_##name
#define PER_SET_(set, name) PER_SET__(set, name)
#define PER_SET(name) PER_SET_(INSTRUCTION_SET, name)

#endif
