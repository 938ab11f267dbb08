# Cython layer: what a call of a loss is, and how a block of its rows is read.

cdef struct array_of_rows:
    view rows
    Py_ssize_t class_stride           # bytes between classes


cdef struct target_of_rows:
    view rows                         # codes, or soft targets with classes
    Py_ssize_t class_stride
    bint soft                         # the target is dense or sparse probabilities
    int64_t lowest_label              # codes may be labels: this far from 0
    const int32_t *positions          # and, where not NULL, listed here
    uint64_t n_positions
    const int64_t *entries            # sparse: row i has the entries entries[i] to entries[i + 1]
    const int64_t *indices            # their classes
    const double *values              # and weights; NULL: 1, and the indices are the target, of a multilabel row
    bint has_ignore
    int64_t ignore_index


cdef struct weights_of_rows:
    const double *class_weight        # one a class, or one for all with a stride of 0
    int class_weight_stride
    bint has_negative                 # some class weight is
    view sample_weight                # float64, broadcast to the rows
    bint weighted                     # some row may not count 1
    view pos_weight                   # the same, of binary targets
    bint pos_weighted                 # some element's is not 1


cdef struct terms_of_loss:
    double keep                       # label smoothing: a target t becomes keep * t + uniform
    double uniform
    double gamma                      # of the focal factor
    double z                          # the weight of logsumexp^2
    bint entropy                      # add sum t log t
    bint logs                         # log-softmax is wanted, not softmax
    bint of_probability               # binary: x are probabilities
    probability_kind kind             # what x are where they are no logits
    clip clip                         # of probabilities
    double tolerance                  # of a row's sum


cdef struct results:
    char *losses                      # one a row, contiguous, or NULL
    element loss_element
    double denominator                # of the derivatives, which are written as float64 for float64 x, else as float32
    array_of_rows grad                # where data is not NULL
    array_of_rows hess                # where data is not NULL
    bint stream                       # the gradient is too large for the caches


cdef struct job:
    Py_ssize_t n_rows
    Py_ssize_t n_classes
    bint single                       # one class: a logit or probability that stands for two, as [0, x] or [1 - x, x]
    array_of_rows x                   # logits or probabilities
    Py_ssize_t x_first                # the row that comes first in x, and in what a derivative is written to
    target_of_rows target
    weights_of_rows weights
    terms_of_loss terms
    results out
    Py_ssize_t n_groups               # where moments are wanted, else 0
    bint by_code                      # the codes are those of the groups; else all rows are of one
    groups groups                     # of each thread, one after the other
    const pairs *pairs                # where not NULL: of each part of the classes, from x_first on, BLOCK rows in one
    int n_parts
    Py_ssize_t pairs_in_part
    const double *x_target            # where not NULL: logits of the targets, and there are no others
    const segment_pool *pool          # of few long rows: shares the segments of each, or NULL


cdef struct gathered:
    int64_t next_block                # of this thread's share: the next one that nobody has taken, atomic
    int64_t end_block
    running_sum total
    running_sum total_weight
    Py_ssize_t bad_row                # the first row with an invalid target, or n_rows
    Py_ssize_t bad_probability        # the first row with a probability outside [0, 1], or n_rows
    value_range range                 # of the probabilities
    groups groups                     # this thread's
    char *scratch                     # this thread's, for what lasts no longer than a block


cdef inline Py_ssize_t n_codes(const job *j) noexcept nogil:
    return j.n_groups if j.by_code else 2 if j.single else j.n_classes


cdef inline Py_ssize_t computed_size(const job *j) noexcept nogil:
    # The bytes of the elements that results are computed in.
    return 8 if j.x.rows.element == F64 else 4


cdef inline bint has_derivatives(const job *j) noexcept nogil:
    return j.out.grad.rows.data != NULL or j.out.hess.rows.data != NULL


ctypedef void (*block_loop)(const job *, Py_ssize_t, int, gathered *) noexcept nogil


cdef ptrdiff_t fill_rows(const view *v, Py_ssize_t first, int n, row_pointer *rows) noexcept nogil:
    # The bytes between neighbouring rows, or 0.
    cdef int i
    cdef row_pointer p
    cdef ptrdiff_t row_stride = stride_of(v, first, n)
    if row_stride or n == 1:
        p = at(v, first)
        for i in range(n):
            rows[i] = p + i * row_stride
    else:
        for i in range(n):
            rows[i] = at(v, first + i)
    return row_stride


cdef inline int run_of(const view *v, Py_ssize_t first, int n) noexcept nogil:
    # How many of the n elements from `first` lie one stride apart.
    cdef Py_ssize_t length = v.shape[v.ndim - 1]
    return n if v.ndim == 1 else <int>min(<Py_ssize_t>n, length - first % length)


cdef void read_elements(const view *v, Py_ssize_t first, int n, double *out) noexcept nogil:
    cdef int i = 0, run
    while i < n:
        run = run_of(v, first + i, n - i)
        KERNELS.memory.read(at(v, first + i), v.stride[v.ndim - 1], v.element, run, out + i)
        i += run


cdef void read_singles(const view *v, Py_ssize_t first, int n, float *out) noexcept nogil:
    cdef int i = 0, run
    while i < n:
        run = run_of(v, first + i, n - i)
        KERNELS.memory.read_single(at(v, first + i), v.stride[v.ndim - 1], v.element, run, out + i)
        i += run


cdef void write_derivative(const job *j, const view *v, Py_ssize_t first, int n, const double *terms, const double *scale,
                           const double *loss) noexcept nogil:
    cdef int i = 0, run
    while i < n:
        run = run_of(v, first + i, n - i)
        KERNELS.binary.derivative(terms + i, scale + i, loss if loss == NULL else loss + i, run, j.x.rows.element,
                                  at(v, first + i), v.stride[v.ndim - 1], v.element)
        i += run
