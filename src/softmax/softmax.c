/* C layer: what is written class by class from row pairs. */

#include "memory/segments.h"
#include "softmax/softmax_factors.h"
#include "softmax/softmax.h"
#include "targets/weights.h"

#define TEMPLATE "softmax/gradient.template.h"
#include "simd/instantiate.h"
#define TEMPLATE "softmax/hessian.template.h"
#include "simd/instantiate.h"
#define TEMPLATE "softmax/log_softmax.template.h"
#include "simd/instantiate.h"

static void gradient(struct source x, struct sink out, const struct class_target *target, const struct codes *codes,
                     int n_rows, ptrdiff_t n_classes, const struct pairs *pairs, struct derivative of)
{
    BY_ELEMENT(x.element, gradient)(x, out, target, codes, n_rows, n_classes, pairs, of);
}

static void hessian(struct source x, struct sink out, int n_rows, ptrdiff_t n_classes, const struct pairs *pairs,
                    struct derivative of)
{
    BY_ELEMENT(x.element, hessian)(x, out, n_rows, n_classes, pairs, of);
}

static void log_softmax(struct source x, struct sink out, int n_rows, ptrdiff_t n_classes, const struct pairs *pairs)
{
    BY_ELEMENT(x.element, log_softmax)(x, out, n_rows, n_classes, pairs);
}

const struct softmax_kernels PER_SET(softmax) = {.gradient = gradient, .hessian = hessian, .log_softmax = log_softmax};
