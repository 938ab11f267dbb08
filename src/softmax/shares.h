/* C layer: the softmax of rows from their pairs. */
#ifndef XENTC_SOFTMAX_SHARES_H
#define XENTC_SOFTMAX_SHARES_H

#include "softmax/pairs.h"
#include "softmax/scaling.h"
#include "targets/target.h"

#define TEMPLATE "softmax/shares.template.h"
#include "simd/instantiate.h"

#endif
