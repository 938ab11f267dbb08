/* C layer: names that are put together. */
#ifndef XENTC_SIMD_NAMES_H
#define XENTC_SIMD_NAMES_H

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)

/* A function that units of one instruction set share has a name for each set: xentc_avx2_read_f64. */
#define PER_SET__(set, name) xentc_##set##_##name
#define PER_SET_(set, name) PER_SET__(set, name)
#define PER_SET(name) PER_SET_(INSTRUCTION_SET, name)

/* A call of an inlined function whose last argument is a flag: a copy of its body for each value. */
#define EITHER(flag, function, ...) ((flag) ? function(__VA_ARGS__, 1) : function(__VA_ARGS__, 0))

/* The function for an element type: float64 has its own, all others are computed in float32. */
#define BY_ELEMENT(element, name) ((element) == F64 ? name##_f64 : name##_f32)

#endif
