/* C layer: the softmax of rows from their pairs. */
#ifndef XENTC_SOFTMAX_SOFTMAX_FACTORS_H
#define XENTC_SOFTMAX_SOFTMAX_FACTORS_H

#include "softmax/pairs.h"
#include "softmax/scaling.h"
#include "softmax/softmax.h"
#include "targets/target.h"

#define TEMPLATE "softmax/softmax_factors.template.h"
#include "simd/instantiate.h"

#endif
