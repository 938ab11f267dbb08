# Cython layer: the C declarations that the typed loops use of src/. The headers are the contract: what Cython makes of this
# includes them, and does not compile where a name, a type or a number of arguments is another one there.
from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef extern from "sums/exact_sum.h" nogil:
    enum:
        CHUNKS
    struct exact_sum:
        int64_t chunk[1]
        int64_t positive_infinities
        int64_t negative_infinities
        int64_t nans
        int64_t pending
    void exact_carry(exact_sum *sum)
    void exact_add(exact_sum *sum, double value)
    void exact_merge(exact_sum *sum, exact_sum *other)
    double exact_rounded(const exact_sum *sum)
    struct running_sum:
        exact_sum exact
    void exact_flush(running_sum *sum)

cdef extern from "sums/moments.h" nogil:
    enum:
        MOMENTS
    struct moments:
        exact_sum weight
        exact_sum weight_square
    struct groups:
        moments *sums
        int64_t (*bins)[2][8]
        int64_t *counts

cdef extern from "simd/elements.h" nogil:
    enum element:
        F64
        F32
        F16
        BF16
        I8
        I16
        I32
        I64
        U8
        U16
        U32
        U64
        ELEMENTS
    void write_element(char *, element, double)

cdef extern from "memory/shapes.h" nogil:
    enum:
        BLOCK
        BLOCK_BYTES
        SEGMENT
        STREAM_BYTES
    enum shape:
        SHAPES
    ptrdiff_t most_classes(shape, size_t)
    ptrdiff_t block_rows(ptrdiff_t, size_t)

cdef extern from "memory/scratch.h" nogil:
    enum:
        LINE
    void *take(char **, size_t)
    size_t whole_lines(size_t)
    size_t exponentials_bytes(ptrdiff_t, size_t)
    size_t scratch_bytes(ptrdiff_t, size_t)

cdef extern from "targets/items.h" nogil:
    struct item:
        const char *p
        ptrdiff_t length
    struct seen_items:
        uint32_t *slot
        int slot_bits
        item *item
        int64_t *row
        ptrdiff_t limit
        ptrdiff_t n
    int codes_of_items(seen_items *, const item *, int, int64_t, uint32_t *)
    int codes_of_elements(seen_items *, const char *, ptrdiff_t, ptrdiff_t, int, int64_t, uint32_t *)

cdef extern from "dispatch/kernels.h" nogil:
    struct segment_pool:
        void (*run)(const segment_pool *, void (*task)(void *, int, char *) noexcept nogil, void *, int) noexcept nogil
        int n_threads
        char *scratch
        size_t scratch_bytes
    struct source:
        const char **rows
        ptrdiff_t class_stride
        element element
        ptrdiff_t row_stride
        const segment_pool *pool
        char *scratch
    struct sink:
        char **rows
        ptrdiff_t class_stride
        element element
        ptrdiff_t row_stride
        int stream
    struct pairs:
        double m[1]
        double e[1]
        double e_low[1]
        double sum[1]
        double sum_low[1]
        char *cached_exp
    struct class_target:
        source source
        const int64_t *start
        const int64_t *index
        const double *value
        int value_stride
        const double *class_weight
        int class_weight_stride
        int has_negative
        double keep
        double uniform
    struct clip:
        double least
        double most
    enum probability_kind:
        PROBABILITIES
        AMOUNTS
        LOGARITHMS
    struct probabilities:
        probability_kind kind
        clip clip
        const double *sum
    struct derivative:
        const double *slope
        const double *scale
    struct focal_derivative:
        double gamma
        const double *slope
        const double *curvature
        const double *z
        const double *scale
    struct codes:
        const int64_t *code
        const double *x
        const double *slope
    struct value_range "range":
        double lowest
        double highest
        int not_finite
        int sums_differ
    struct binary_target:
        const double *t
        const double *pos_weight
        double keep
        double uniform
    struct soft_sums:
        double loss[1]
        double slope[1]
        double curvature[1]
        double entropy[1]
        double lowest[1]
    struct memory_kernels:
        void (*read)(const char *, ptrdiff_t, element, ptrdiff_t, double *) noexcept nogil
        void (*read_single)(const char *, ptrdiff_t, element, ptrdiff_t, float *) noexcept nogil
        void (*gather)(source, const int64_t *, int, double *) noexcept nogil
        int (*codes)(const char *, ptrdiff_t, element, int, int64_t, int64_t *) noexcept nogil
        void (*extremes)(const int64_t *, ptrdiff_t, int64_t *, int64_t *) noexcept nogil
    struct sums_kernels:
        int (*finish)(double *, const double *, const double *, int, element, char *, running_sum *,
                      running_sum *) noexcept nogil
        int (*finish_singles)(float *, int, char *, running_sum *, running_sum *) noexcept nogil
    struct moments_kernels:
        void (*add)(const double *, const double *, const int64_t *, int, groups) noexcept nogil
        void (*flush)(groups, int64_t) noexcept nogil
    struct pair_kernels:
        void (*rows)(source, int, int, ptrdiff_t, pairs *) noexcept nogil
        void (*logit)(const double *, int, pairs *) noexcept nogil
        void (*join)(const pairs *, int, ptrdiff_t, int, int, element, pairs *) noexcept nogil
        void (*logsumexp)(const pairs *, int, double *) noexcept nogil
    struct softmax_kernels:
        void (*gradient)(source, sink, const class_target *, const codes *, int, ptrdiff_t, const pairs *,
                         derivative) noexcept nogil
        void (*hessian)(source, sink, int, ptrdiff_t, const pairs *, derivative) noexcept nogil
        void (*log_softmax)(source, sink, int, ptrdiff_t, const pairs *) noexcept nogil
    struct cross_entropy_kernels:
        void (*code_loss)(const pairs *, const double *, int, double *, double *) noexcept nogil
        void (*code_loss_single)(const pairs *, const double *, int, float *) noexcept nogil
        void (*soft_loss)(source, const class_target *, int, int, ptrdiff_t, const pairs *, soft_sums *) noexcept nogil
    struct focal_kernels:
        void (*code_loss)(double, const double *, int, double *, double *, double *) noexcept nogil
        void (*soft_loss)(source, const class_target *, double, int, ptrdiff_t, const pairs *, soft_sums *) noexcept nogil
        void (*derivatives)(source, sink, sink, const class_target *, int, ptrdiff_t, const pairs *,
                            focal_derivative) noexcept nogil
    struct probability_kernels:
        void (*loss)(source, const class_target *, const int64_t *, probabilities, int, ptrdiff_t,
                     soft_sums *) noexcept nogil
        void (*gradient)(source, sink, const class_target *, const int64_t *, probabilities, int, ptrdiff_t,
                         derivative) noexcept nogil
        void (*range)(source, int, ptrdiff_t, double, double *, value_range *) noexcept nogil
        void (*extent)(const double *, ptrdiff_t, value_range *) noexcept nogil
        void (*clipped_loss)(const double *, const int64_t *, clip, ptrdiff_t, double *) noexcept nogil
    struct binary_kernels:
        int (*sigmoid_loss)(const double *, const binary_target *, double, int, double *, double *, double *) noexcept nogil
        int (*bernoulli_loss)(const double *, const binary_target *, clip, int, int, double *, double *) noexcept nogil
        void (*derivative)(const double *, const double *, const double *, int, element, char *, ptrdiff_t,
                           element) noexcept nogil
    struct logistic_kernels:
        void (*of_two_classes)(source, const int64_t *, int, float *, float *, float *) noexcept nogil
        int (*loss)(const float *, const float *, const float *, const binary_target *, int, float *, double *,
                    double *) noexcept nogil
        void (*to_two_classes)(const double *, const double *, int, int, sink) noexcept nogil
    struct kernels:
        const char *name
        const memory_kernels *memory
        const sums_kernels *sums
        const moments_kernels *moments
        const pair_kernels *pair
        const softmax_kernels *softmax
        const cross_entropy_kernels *cross_entropy
        const focal_kernels *focal
        const probability_kernels *probability
        const binary_kernels *binary
        const logistic_kernels *logistic
        void (*elementary)(int, const double *, ptrdiff_t, double *) noexcept nogil
    const kernels **xentc_kernels
    int xentc_usable(const kernels *)

cdef extern from "runtime/runtime.h" nogil:
    void xentc_runtime_start()
    int xentc_forked()
    uint64_t xentc_enter_kernels()
    void xentc_leave_kernels(uint64_t control)
    int xentc_openmp_limit()
    int xentc_openmp_version()

cdef extern from *:
    const char *XENTC_VERSION
    const char *XENTC_COMPILER
