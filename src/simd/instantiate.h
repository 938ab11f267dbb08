/* C layer: includes TEMPLATE once per element type that results are computed in.
 *
 * In it TYPE is f64 or f32, REAL its C type and VECTOR its vector, of LANES lanes; TYPED(name) is name_f64 or name_f32, and
 * WIDEN(v, h) gives lanes 8 h to 8 h + 7 of a vector as float64.
 */
#ifndef TEMPLATE
#error "TEMPLATE names the file to instantiate"
#endif
#include "simd/vec.h"

#ifndef TYPED
#define TYPED(name) JOIN(name, TYPE)
#define LANES JOIN(LANES, TYPE)
#define WIDEN TYPED(widen)
#define ELEMENT_f64 F64
#define ELEMENT_f32 F32
typedef i64x8 mask_f64;
typedef i32x16 mask_f32;
#endif

#define TYPE f64
#define REAL double
#define VECTOR f64x8
#include TEMPLATE
#undef TYPE
#undef REAL
#undef VECTOR

#define TYPE f32
#define REAL float
#define VECTOR f32x16
#include TEMPLATE
#undef TYPE
#undef REAL
#undef VECTOR
#undef TEMPLATE
