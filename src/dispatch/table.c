/* C layer: the kernels of the instruction set that is compiled: -DINSTRUCTION_SET=avx2, ... */

#include "dispatch/kernels.h"
#include "simd/elementary.h"

extern const struct memory_kernels PER_SET(memory);
extern const struct sums_kernels PER_SET(sums);
extern const struct moments_kernels PER_SET(moments);
extern const struct pair_kernels PER_SET(pair);
extern const struct softmax_kernels PER_SET(softmax);
extern const struct cross_entropy_kernels PER_SET(cross_entropy);
extern const struct focal_kernels PER_SET(focal);
extern const struct probability_kernels PER_SET(probability);
extern const struct binary_kernels PER_SET(binary);
extern const struct logistic_kernels PER_SET(logistic);

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

const struct kernels PER_SET(kernels) = {
    .name = TEXT(INSTRUCTION_SET),
    .memory = &PER_SET(memory),
    .sums = &PER_SET(sums),
    .moments = &PER_SET(moments),
    .pair = &PER_SET(pair),
    .softmax = &PER_SET(softmax),
    .cross_entropy = &PER_SET(cross_entropy),
    .focal = &PER_SET(focal),
    .probability = &PER_SET(probability),
    .binary = &PER_SET(binary),
    .logistic = &PER_SET(logistic),
    .elementary = elementary_functions,
};
