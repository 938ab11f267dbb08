# Cython layer: targets and weights of a block of rows, and what is done with its losses and derivatives.

cdef struct rows_of_target:
    # The targets and weights of a block. A row's loss counts `weight` times, and `share` in the mean's denominator; where
    # the block is neutral both are 1, no row is ignored, and neither array is filled in.
    int64_t code[BLOCK]
    bint neutral
    double weight[BLOCK]
    double share[BLOCK]
    bint ignored[BLOCK]
    row_pointer rows[BLOCK]
    class_target target


cdef double ONE = 1
cdef int64_t[BLOCK + 1] ENTRIES       # of codes as sparse targets: row i has entry i
for _row in range(BLOCK + 1):
    ENTRIES[_row] = _row
cdef int64_t[BLOCK] FIRST_CLASS
memset(FIRST_CLASS, 0, sizeof(FIRST_CLASS))


cdef inline int64_t code_of(const job *j, int64_t label) noexcept nogil:
    # Labels that came since the table was made have no code.
    cdef uint64_t offset = <uint64_t>label - <uint64_t>j.target.lowest_label
    if j.target.positions == NULL:
        return <int64_t>offset
    return j.target.positions[offset] if offset < j.target.n_positions else -1


cdef void load_codes(const job *j, Py_ssize_t first, int n, rows_of_target *t, gathered *g) noexcept nogil:
    # A label is read once: another thread may be writing the array.
    cdef int i, valid = True
    cdef ptrdiff_t row_stride = stride_of(&j.target.rows, first, n)
    if row_stride or n == 1:
        valid = KERNELS.memory.codes(at(&j.target.rows, first), row_stride, j.target.rows.element, n, n_codes(j), t.code)
    else:
        for i in range(n):
            valid &= KERNELS.memory.codes(at(&j.target.rows, first + i), 0, j.target.rows.element, 1, n_codes(j), &t.code[i])
    if j.target.positions != NULL or j.target.lowest_label != 0:
        valid = True
        for i in range(n):
            t.code[i] = code_of(j, t.code[i])
            valid &= 0 <= t.code[i] < n_codes(j)
    if j.target.has_ignore:
        for i in range(n):
            t.ignored[i] |= t.code[i] == j.target.ignore_index
    if valid and not j.target.has_ignore:
        return
    for i in range(n):
        if j.target.has_ignore and t.ignored[i] and t.code[i] == j.target.ignore_index:
            t.code[i] = 0
        elif not 0 <= t.code[i] < n_codes(j):
            t.code[i] = 0
            g.bad_row = min(g.bad_row, first + i)


cdef void load_weights(const job *j, Py_ssize_t first, int n, rows_of_target *t) noexcept nogil:
    cdef int i
    t.neutral = not j.weights.weighted
    if j.weights.weighted:
        read_elements(&j.weights.sample_weight, first, n, t.weight)
        for i in range(n):
            t.share[i] = t.weight[i]
            t.ignored[i] = t.weight[i] == 0


cdef void load_target(const job *j, Py_ssize_t first, int n, bint one_hot, rows_of_target *t, gathered *g) noexcept nogil:
    # The class weight of a plain code is the row's; in all other targets each class has its own.
    cdef int i
    t.target = [[NULL, 0, F64, 0, NULL, NULL], ENTRIES, t.code, &ONE, 0, &ONE, 0, False, j.terms.keep, j.terms.uniform]
    if not one_hot:
        t.target.class_weight, t.target.class_weight_stride = j.weights.class_weight, j.weights.class_weight_stride
        t.target.has_negative = j.weights.has_negative
    load_weights(j, first, n, t)
    if not j.target.soft:
        load_codes(j, first, n, t, g)
        if j.weights.weighted:
            for i in range(n):
                t.share[i] = j.weights.class_weight[t.code[i] * j.weights.class_weight_stride] * t.weight[i]
                if one_hot:
                    t.weight[i] = t.share[i]
                if t.ignored[i]:
                    t.weight[i] = t.share[i] = 0
    elif j.target.entries != NULL:
        t.target.start, t.target.index = &j.target.entries[first], j.target.indices
        t.target.value, t.target.value_stride = j.target.values, 1
    else:
        t.target.source = [t.rows, j.target.class_stride, j.target.rows.element,
                           fill_rows(&j.target.rows, first, n, t.rows), NULL, NULL]


cdef bint finish_rows(const job *j, Py_ssize_t first, int n, double *loss, rows_of_target *t,
                      gathered *g) noexcept nogil:
    # Row losses in their own precision into the sums and, weighted, into the output; or into moments, and unweighted into
    # the output. Whether some are NaN.
    cdef int i
    cdef char *out = NULL
    cdef const double *weight = NULL
    if j.out.losses != NULL:
        out = j.out.losses + first * (8 if j.out.loss_element == F64 else 4)
    if not t.neutral:
        weight = t.weight
        for i in range(n):
            if t.ignored[i]:
                loss[i] = 0
    if j.n_groups:
        if not j.by_code:
            for i in range(n):
                t.code[i] = i & (<int>TURNS - 1)
        KERNELS.moments.add(loss, weight, t.code, n, g.groups)
        if out != NULL:
            memcpy(out, loss, n * sizeof(double))
        return False
    return KERNELS.sums.finish(loss, weight, t.share, n, j.out.loss_element, out, &g.total, &g.total_weight)


cdef bint finish_singles(const job *j, Py_ssize_t first, int n, float *single, double *loss, rows_of_target *t,
                         gathered *g) noexcept nogil:
    # The same of float32 losses. `loss` is them as float64 where some are NaN or the block is not neutral.
    cdef bint plain = t.neutral and j.n_groups == 0, undefined = False
    cdef int i
    if plain:
        undefined = KERNELS.sums.finish_singles(single, n, NULL if j.out.losses == NULL else j.out.losses + 4 * first,
                                                &g.total, &g.total_weight)
    if not plain or undefined:
        for i in range(n):
            loss[i] = single[i]
    return undefined if plain else finish_rows(j, first, n, loss, t, g)


cdef inline bint counts_for_nothing(const job *j, const rows_of_target *t, int i) noexcept nogil:
    return not t.neutral and (t.ignored[i] or (j.out.denominator == 0 and t.share[i] == 0))


cdef void set_scale(const job *j, int n, const rows_of_target *t, double *scale) noexcept nogil:
    cdef int i
    for i in range(n):
        if t.neutral:
            scale[i] = 1 / j.out.denominator
        elif counts_for_nothing(j, t, i):
            scale[i] = 0
        else:
            scale[i] = t.weight[i] / j.out.denominator if j.out.denominator != 0 else NAN


cdef void fill_row(const job *j, const sink *out, int i, double value) noexcept nogil:
    cdef Py_ssize_t c
    for c in range(j.n_classes):
        write_element(out.rows[i] + c * out.class_stride, out.element, value)


cdef void finish_derivative(const job *j, int n, const sink *out, const double *loss, bint undefined,
                            const rows_of_target *t) noexcept nogil:
    # Rows that count for nothing are exactly 0, rows whose loss is NaN, and all others of a mean over weights that sum to
    # zero, are NaN; where there are none of these, no more.
    cdef int i
    if t.neutral and not undefined:
        return
    for i in range(n):
        if counts_for_nothing(j, t, i):
            fill_row(j, out, i, 0)
        elif isnan(loss[i]) or j.out.denominator == 0:
            fill_row(j, out, i, NAN)


cdef void weights_block(const job *j, Py_ssize_t first, int n, gathered *g) noexcept nogil:
    cdef rows_of_target t
    cdef double[BLOCK] zero
    load_target(j, first, n, True, &t, g)
    memset(zero, 0, sizeof(zero))
    KERNELS.sums.finish(zero, NULL if t.neutral else t.weight, t.share, n, F64, NULL, &g.total, &g.total_weight)
