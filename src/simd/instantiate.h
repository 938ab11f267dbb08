/* C layer: includes TEMPLATE once per element type that results are computed in.
 *
 * In it T is the type's name, C its C type, V its vector of LANES lanes, OP(name) is name_f64 or name_f32, and WIDEN(v, h) gives
 * lanes 8 h to 8 h + 7 of a vector as float64.
 */
#ifndef TEMPLATE
#error "TEMPLATE names the file to instantiate"
#endif
#include "simd/vec.h"

#ifndef OP
#define OP(name) JOIN(name, T)
#define LANES JOIN(LANES, T)
#define WIDEN OP(widen)
#define ELEMENT_f64 F64
#define ELEMENT_f32 F32
typedef i64x8 mask_f64;
typedef i32x16 mask_f32;
#endif

#define T f64
#define C double
#define V f64x8
#include TEMPLATE
#undef T
#undef C
#undef V

#define T f32
#define C float
#define V f32x16
#include TEMPLATE
#undef T
#undef C
#undef V
#undef TEMPLATE
