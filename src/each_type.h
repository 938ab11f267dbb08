/* C layer: includes BODY once per element type. T is its name, C its C type, V its vector. */

#define T f64
#define C double
#define V f64x8
#include BODY
#undef T
#undef C
#undef V

#define T f32
#define C float
#define V f32x16
#include BODY
#undef T
#undef C
#undef V
#undef BODY
