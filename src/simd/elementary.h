/* C layer: see elementary.c. */
#ifndef XENTC_SIMD_ELEMENTARY_H
#define XENTC_SIMD_ELEMENTARY_H

#include <stddef.h>

#include "simd/names.h"

#define elementary_functions PER_SET(elementary_functions)

/* out = f(x) with f of "exp", "expm1", "log", "log1p", and "log" of one rounding, in this order; functions 5 to 7 are exp,
 * log, and log1p up to 1, on float32 values. */
void elementary_functions(int function, const double *x, ptrdiff_t n, double *out /* OUT */);

#endif
