# Cython layer: the C declarations that the typed loops use (rows.h, exact_sum.h, runtime.h).
from libc.stdint cimport int64_t, uint64_t

cdef extern from "exact_sum.h" nogil:
    enum:
        CHUNKS
    struct exact_sum:
        int64_t chunk[1]
        int64_t positive_infinities
        int64_t negative_infinities
        int64_t nans
        int64_t pending
    void exact_merge(exact_sum *sum, exact_sum *other)

cdef extern from "rows.h" nogil:
    enum:
        BLOCK
    enum element:
        F64
        F32
        I8
        I16
        I32
        I64
        U8
        U16
        U32
        U64
        ELEMENTS
    struct source:
        const char **rows
        ptrdiff_t step
        element element
    struct pairs:
        double m[1]
        double r[1]
        double r_low[1]
    struct soft_target:
        source source
        const double *class_weight
        int class_weight_step
    struct kernels:
        const char *name
        void (*pair)(source, int, ptrdiff_t, pairs *) noexcept nogil
        void (*pair_binary)(const double *, int, pairs *) noexcept nogil
        void (*target_loss)(const pairs *, const double *, int, double *, double *) noexcept nogil
        void (*soft_loss)(source, const soft_target *, int, ptrdiff_t, const pairs *, double *, double *,
                          double *) noexcept nogil
        void (*gradient)(source, char **, ptrdiff_t, const soft_target *, int, ptrdiff_t, const pairs *, const double *,
                         const double *) noexcept nogil
        void (*range)(source, int, ptrdiff_t, double *, double *, double *) noexcept nogil
        void (*minus_log)(const double *, const unsigned char *, double, ptrdiff_t, double *) noexcept nogil
        void (*add)(const double *, const double *, ptrdiff_t, exact_sum *, exact_sum *) noexcept nogil
        void (*elementary)(int, const double *, ptrdiff_t, double *) noexcept nogil
    const kernels **xentc_kernels
    int xentc_usable(const kernels *)

cdef extern from "runtime.h" nogil:
    void xentc_runtime_start()
    int xentc_forked()
    uint64_t xentc_default_float()
    void xentc_restore_float(uint64_t control)
    int xentc_openmp_limit()
    int xentc_openmp_version()

cdef extern from *:
    const char *XENTC_VERSION
    const char *XENTC_COMPILER
