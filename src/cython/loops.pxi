# Cython layer: the loops over blocks of rows, one a family of losses, and how their blocks are dealt to threads.

cdef struct job:
    Py_ssize_t n_rows
    Py_ssize_t n_classes
    Py_ssize_t n_codes                # n_classes, or 2 where a single logit or probability stands for two classes
    view x                            # IN   logits or probabilities
    Py_ssize_t x_class_stride
    view target                       # IN   codes, or soft targets with classes
    Py_ssize_t target_class_stride
    int64_t lowest_label              # IN   codes may be labels: this far from 0
    const int32_t *positions          # IN   and, where not NULL, listed here
    uint64_t n_positions
    bint soft                         # the target is dense or sparse probabilities
    const int64_t *entries            # IN   sparse: row i has the entries entries[i] to entries[i + 1]
    const int64_t *indices            # IN   their classes
    const double *values              # IN   and weights; NULL: 1, and the indices are the target, of a multilabel row
    bint has_ignore
    int64_t ignore_index
    const double *class_weight        # IN   n_codes of them, or one with a stride of 0
    int class_weight_stride
    bint has_negative                 # some class weight is
    view sample_weight                # IN   float64, broadcast to the rows
    bint weighted                     # some row may not count 1
    view pos_weight                   # IN   the same, of binary targets
    bint pos_weighted                 # some element's is not 1
    double keep                       # label smoothing: a target t becomes keep * t + uniform
    double uniform
    double gamma
    double z
    bint entropy                      # add sum t log t
    bint logs                         # log-softmax is wanted, not softmax
    probability_kind kind             # what x are where they are no logits
    double denominator                # of the derivatives, which are written as float64 for float64 x, else as float32
    bint proba                        # binary: x are probabilities
    clip clip                         # of probabilities
    double tolerance                  # of a row's sum
    char *losses                      # OUT  one a row, contiguous, or NULL
    element loss_element
    view grad                         # OUT  where data is not NULL
    bint stream                       # it is too large for the caches
    Py_ssize_t grad_class_stride
    view hess                         # OUT  where data is not NULL
    Py_ssize_t hess_class_stride
    const segment_pool *pool                  # of few long rows: shares the segments of each, or NULL


cdef struct gathered:
    running_sum total
    running_sum total_weight
    Py_ssize_t bad_row                # the first row with an invalid target, or n_rows
    Py_ssize_t bad_proba              # the first row with a probability outside [0, 1], or n_rows
    value_range range                 # of the probabilities
    char *scratch                     # this thread's, for what lasts no longer than a block


cdef inline Py_ssize_t computed_size(const job *j) noexcept nogil:
    # The bytes of the elements that results are computed in.
    return 8 if j.x.element == F64 else 4


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


cdef void write_derivative(const job *j, const view *v, Py_ssize_t first, int n, const double *terms, const double *scale,
                           const double *loss) noexcept nogil:
    cdef int i = 0, run
    while i < n:
        run = run_of(v, first + i, n - i)
        KERNELS.binary.derivative(terms + i, scale + i, loss + i, run, j.x.element, at(v, first + i), v.stride[v.ndim - 1],
                                  v.element)
        i += run


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
    cdef uint64_t offset = <uint64_t>label - <uint64_t>j.lowest_label
    if j.positions == NULL:
        return <int64_t>offset
    return j.positions[offset] if offset < j.n_positions else -1


cdef void load_codes(const job *j, Py_ssize_t first, int n, rows_of_target *t, gathered *g) noexcept nogil:
    # A label is read once: another thread may be writing the array.
    cdef int i, valid = True
    cdef ptrdiff_t row_stride = stride_of(&j.target, first, n)
    if row_stride or n == 1:
        valid = KERNELS.memory.codes(at(&j.target, first), row_stride, j.target.element, n, j.n_codes, t.code)
    else:
        for i in range(n):
            valid &= KERNELS.memory.codes(at(&j.target, first + i), 0, j.target.element, 1, j.n_codes, &t.code[i])
    if j.positions != NULL or j.lowest_label != 0:
        valid = True
        for i in range(n):
            t.code[i] = code_of(j, t.code[i])
            valid &= 0 <= t.code[i] < j.n_codes
    if j.has_ignore:
        for i in range(n):
            t.ignored[i] |= t.code[i] == j.ignore_index
    if valid and not j.has_ignore:
        return
    for i in range(n):
        if j.has_ignore and t.ignored[i] and t.code[i] == j.ignore_index:
            t.code[i] = 0
        elif not 0 <= t.code[i] < j.n_codes:
            t.code[i] = 0
            g.bad_row = min(g.bad_row, first + i)


cdef void load_weights(const job *j, Py_ssize_t first, int n, rows_of_target *t) noexcept nogil:
    cdef int i
    t.neutral = not j.weighted
    if j.weighted:
        read_elements(&j.sample_weight, first, n, t.weight)
        for i in range(n):
            t.share[i] = t.weight[i]
            t.ignored[i] = t.weight[i] == 0


cdef void load_target(const job *j, Py_ssize_t first, int n, bint one_hot, rows_of_target *t, gathered *g) noexcept nogil:
    # The class weight of a plain code is the row's; in all other targets each class has its own.
    cdef int i
    t.target = [[NULL, 0, F64, 0, NULL, NULL], ENTRIES, t.code, &ONE, 0, &ONE, 0, False, j.keep, j.uniform]
    if not one_hot:
        t.target.class_weight, t.target.class_weight_stride = j.class_weight, j.class_weight_stride
        t.target.has_negative = j.has_negative
    load_weights(j, first, n, t)
    if not j.soft:
        load_codes(j, first, n, t, g)
        if j.weighted:
            for i in range(n):
                t.share[i] = j.class_weight[t.code[i] * j.class_weight_stride] * t.weight[i]
                if one_hot:
                    t.weight[i] = t.share[i]
                if t.ignored[i]:
                    t.weight[i] = t.share[i] = 0
    elif j.entries != NULL:
        t.target.start, t.target.index, t.target.value, t.target.value_stride = &j.entries[first], j.indices, j.values, 1
    else:
        t.target.source = [t.rows, j.target_class_stride, j.target.element, fill_rows(&j.target, first, n, t.rows), NULL,
                           NULL]


cdef bint finish_rows(const job *j, Py_ssize_t first, int n, double *loss, rows_of_target *t,
                      gathered *g) noexcept nogil:
    # Row losses in their own precision into the sums and, weighted, into the output. Whether some are NaN.
    cdef int i
    cdef char *out = NULL
    cdef const double *weight = NULL
    if j.losses != NULL:
        out = j.losses + first * (8 if j.loss_element == F64 else 4)
    if not t.neutral:
        weight = t.weight
        for i in range(n):
            if t.ignored[i]:
                loss[i] = 0
    return KERNELS.sums.finish(loss, weight, t.share, n, j.loss_element, out, &g.total, &g.total_weight)


cdef void set_scale(const job *j, int n, const rows_of_target *t, double *scale) noexcept nogil:
    cdef int i
    for i in range(n):
        if t.neutral:
            scale[i] = 1 / j.denominator
        elif t.ignored[i] or (j.denominator == 0 and t.share[i] == 0):
            scale[i] = 0
        else:
            scale[i] = t.weight[i] / j.denominator if j.denominator != 0 else NAN


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
        if not t.neutral and (t.ignored[i] or (j.denominator == 0 and t.share[i] == 0)):
            fill_row(j, out, i, 0)
        elif isnan(loss[i]) or j.denominator == 0:
            fill_row(j, out, i, NAN)


cdef inline void write_result(const job *j, const sink *out, int i, int64_t c, double value) noexcept nogil:
    write_element(out.rows[i] + c * out.class_stride, out.element, value if j.x.element == F64 else <float>value)


cdef void weights_block(const job *j, Py_ssize_t first, int n, gathered *g) noexcept nogil:
    cdef rows_of_target t
    cdef double[BLOCK] zero
    load_target(j, first, n, True, &t, g)
    memset(zero, 0, sizeof(zero))
    KERNELS.sums.finish(zero, NULL if t.neutral else t.weight, t.share, n, F64, NULL, &g.total, &g.total_weight)


cdef void cross_entropy_block(const job *j, Py_ssize_t first, int n, gathered *g) noexcept nogil:
    cdef rows_of_target t
    cdef row_pointer[BLOCK] rows, grad_rows, hess_rows
    cdef source x = [rows, j.x_class_stride, j.x.element, fill_rows(&j.x, first, n, rows), j.pool, g.scratch]
    cdef sink none = [NULL, 0, F64, 0, False]
    cdef sink grad = [<char **>grad_rows, j.grad_class_stride, j.grad.element, 0, j.stream]
    cdef sink hess = [<char **>hess_rows, j.hess_class_stride, j.hess.element, 0, False]
    cdef pairs row_pairs
    cdef soft_sums sums
    cdef double[BLOCK] x_target, rest, plain, z, lse, scale
    cdef codes hot = [t.code, x_target, plain]
    cdef derivative given = [sums.slope, scale]
    cdef focal_derivative focal = [j.gamma, sums.slope, sums.curvature, z, scale]
    cdef bint binary = j.n_codes != j.n_classes
    cdef bint one_hot = not j.soft and j.uniform == 0
    cdef bint derivatives = j.grad.data != NULL or j.hess.data != NULL
    cdef bint narrow = j.loss_element == F32 and j.gamma == 0
    cdef bint undefined
    cdef int i
    load_target(j, first, n, one_hot, &t, g)
    row_pairs.cached_exp = NULL
    if j.grad.data != NULL and j.gamma == 0:
        row_pairs.cached_exp = <char *>take(&x.scratch, exponentials_bytes(j.n_classes, computed_size(j)))
    if binary:
        KERNELS.memory.gather(x, FIRST_CLASS, n, x_target)
        KERNELS.pair.logit(x_target, n, &row_pairs)
        for i in range(n):
            if t.code[i] == 0:
                x_target[i] = 0
    else:
        KERNELS.pair.rows(x, j.gamma != 0, n, j.n_classes, &row_pairs)
        if one_hot:
            KERNELS.memory.gather(x, t.code, n, x_target)
    if one_hot:
        KERNELS.cross_entropy.code_loss(&row_pairs, x_target, narrow, n, sums.loss, rest)
        if j.gamma != 0:
            KERNELS.focal.code_loss(j.gamma, rest, n, sums.loss, sums.slope, sums.curvature)
        elif derivatives:
            for i in range(n):
                sums.slope[i], sums.curvature[i] = 1, 0
    else:
        if j.gamma != 0:
            KERNELS.focal.soft_loss(x, &t.target, j.gamma, n, j.n_classes, &row_pairs, &sums)
        else:
            KERNELS.cross_entropy.soft_loss(x, &t.target, j.entropy, n, j.n_classes, &row_pairs, &sums)
        for i in range(n):
            if sums.lowest[i] < 0:
                g.bad_row = min(g.bad_row, first + i)
            if j.entropy:
                sums.loss[i] += sums.entropy[i]
    if derivatives:
        for i in range(n):
            plain[i] = sums.slope[i]
            z[i] = lse[i] = 0
    if j.z != 0:
        KERNELS.pair.logsumexp(&row_pairs, n, lse)
        for i in range(n):
            # The row's class weight is in its weight, or in its terms: then it must be in this one too.
            z[i] = j.z if one_hot or j.soft else j.z * j.class_weight[t.code[i] * j.class_weight_stride]
            sums.loss[i] += z[i] * lse[i] * lse[i]
            if derivatives:
                sums.slope[i] += 2 * z[i] * lse[i]
    undefined = finish_rows(j, first, n, sums.loss, &t, g)
    if not derivatives:
        return
    set_scale(j, n, &t, scale)
    if j.hess.data != NULL:
        hess.row_stride = fill_rows(&j.hess, first, n, hess_rows)
        if j.gamma == 0 and j.z == 0:
            KERNELS.softmax.hessian(x, hess, n, j.n_classes, &row_pairs, given)
        else:
            KERNELS.focal.derivatives(x, none, hess, &t.target, n, j.n_classes, &row_pairs, focal)
        finish_derivative(j, n, &hess, sums.loss, undefined, &t)
    if j.grad.data == NULL:
        return
    grad.row_stride = fill_rows(&j.grad, first, n, grad_rows)
    if one_hot:
        KERNELS.softmax.gradient(x, grad, NULL, &hot, n, j.n_classes, &row_pairs, given)
    elif j.gamma == 0:
        KERNELS.softmax.gradient(x, grad, &t.target, NULL, n, j.n_classes, &row_pairs, given)
    else:
        KERNELS.focal.derivatives(x, grad, none, &t.target, n, j.n_classes, &row_pairs, focal)
    finish_derivative(j, n, &grad, sums.loss, undefined, &t)


cdef void binary_block(const job *j, Py_ssize_t first, int n, gathered *g) noexcept nogil:
    # Elements are rows of one class; the target and pos_weight are of their shape.
    cdef rows_of_target t
    cdef double[BLOCK] x, given, pos_weight, loss, grad, hess, scale
    cdef binary_target target = [given, NULL, j.keep, j.uniform]
    cdef bint derivatives = j.grad.data != NULL or j.hess.data != NULL
    cdef double *slope = &grad[0] if derivatives else <double *>NULL
    cdef bint valid
    cdef int i
    read_elements(&j.x, first, n, x)
    read_elements(&j.target, first, n, given)
    if j.pos_weighted:
        read_elements(&j.pos_weight, first, n, pos_weight)
        target.pos_weight = pos_weight
    load_weights(j, first, n, &t)
    if j.proba:
        valid = KERNELS.binary.bernoulli_loss(x, &target, j.clip, j.loss_element == F32, n, loss, slope)
    else:
        valid = KERNELS.binary.sigmoid_loss(x, &target, j.gamma, j.loss_element == F32, n, loss, slope, hess)
    if not valid:
        for i in range(n):
            if given[i] < 0 or given[i] > 1:
                g.bad_row = min(g.bad_row, first + i)
            if j.proba and (x[i] < 0 or x[i] > 1):
                g.bad_proba = min(g.bad_proba, first + i)
    finish_rows(j, first, n, loss, &t, g)
    if not derivatives:
        return
    set_scale(j, n, &t, scale)
    if j.hess.data != NULL:
        write_derivative(j, &j.hess, first, n, hess, scale, loss)
    if j.grad.data != NULL:
        write_derivative(j, &j.grad, first, n, grad, scale, loss)


cdef void proba_block(const job *j, Py_ssize_t first, int n, gathered *g) noexcept nogil:
    # Probabilities or their logarithms instead of logits.
    cdef rows_of_target t
    cdef row_pointer[BLOCK] rows, grad_rows
    cdef source x = [rows, j.x_class_stride, j.x.element, fill_rows(&j.x, first, n, rows), j.pool, g.scratch]
    cdef sink grad = [<char **>grad_rows, j.grad_class_stride, j.grad.element, 0, j.stream]
    cdef soft_sums sums
    cdef double[BLOCK] total, scale
    cdef bint one_hot = not j.soft and j.uniform == 0
    cdef const class_target *target = <const class_target *>NULL if one_hot else &t.target
    cdef probabilities of
    cdef value_range one_row, all_values = [INFINITY, -INFINITY, False, False]
    cdef bint undefined
    cdef int i
    load_target(j, first, n, one_hot, &t, g)
    KERNELS.probability.range(x, n, j.n_classes, INFINITY, total, &all_values)
    if j.kind != LOGARITHMS and (all_values.lowest < 0 or (j.kind == PROBABILITIES and all_values.highest > 1)):
        for i in range(n):
            if t.neutral or not t.ignored[i]:
                one_row = [INFINITY, -INFINITY, False, False]
                x.rows = &rows[i]
                KERNELS.probability.range(x, 1, j.n_classes, INFINITY, total, &one_row)
                if one_row.lowest < 0 or (j.kind == PROBABILITIES and one_row.highest > 1):
                    g.bad_proba = min(g.bad_proba, first + i)
        x.rows = rows
        KERNELS.probability.range(x, n, j.n_classes, INFINITY, total, &all_values)
    of.kind, of.clip, of.sum = j.kind, j.clip, total
    KERNELS.probability.loss(x, target, t.code, of, n, j.n_classes, &sums)
    if not one_hot:
        for i in range(n):
            if sums.lowest[i] < 0:
                g.bad_row = min(g.bad_row, first + i)
    undefined = finish_rows(j, first, n, sums.loss, &t, g)
    if j.grad.data == NULL:
        return
    set_scale(j, n, &t, scale)
    grad.row_stride = fill_rows(&j.grad, first, n, grad_rows)
    KERNELS.probability.gradient(x, grad, target, t.code, of, n, j.n_classes, [sums.slope, scale])
    finish_derivative(j, n, &grad, sums.loss, undefined, &t)


cdef bint has_nan(const job *j, const char *row) noexcept nogil:
    cdef int64_t zero = 0
    cdef double value
    cdef Py_ssize_t c
    cdef row_pointer p
    for c in range(j.n_classes):
        p = row + c * j.x_class_stride
        KERNELS.memory.gather([&p, 0, j.x.element, 0, NULL, NULL], &zero, 1, &value)
        if isnan(value):
            return True
    return False


cdef void logsumexp_block(const job *j, Py_ssize_t first, int n, gathered *g) noexcept nogil:
    cdef row_pointer[BLOCK] rows
    cdef pairs row_pairs
    cdef double[BLOCK] lse
    cdef int i
    cdef source x = [rows, j.x_class_stride, j.x.element, fill_rows(&j.x, first, n, rows), j.pool, g.scratch]
    row_pairs.cached_exp = NULL
    KERNELS.pair.rows(x, False, n, j.n_classes, &row_pairs)
    KERNELS.pair.logsumexp(&row_pairs, n, lse)
    for i in range(n):
        if isinf(row_pairs.m[i]) and not has_nan(j, rows[i]):
            lse[i] = row_pairs.m[i]
        write_element(j.losses + (first + i) * (8 if j.loss_element == F64 else 4), j.loss_element,
                      NAN if isnan(lse[i]) else lse[i])


cdef void softmax_block(const job *j, Py_ssize_t first, int n, gathered *g) noexcept nogil:
    cdef row_pointer[BLOCK] rows, out_rows
    cdef source x = [rows, j.x_class_stride, j.x.element, fill_rows(&j.x, first, n, rows), j.pool, g.scratch]
    cdef sink out = [<char **>out_rows, j.grad_class_stride, j.grad.element, 0, j.stream]
    cdef pairs row_pairs
    cdef double[BLOCK] one
    cdef int i
    out.row_stride = fill_rows(&j.grad, first, n, out_rows)
    row_pairs.cached_exp = NULL if j.logs else <char *>take(&x.scratch, exponentials_bytes(j.n_classes, computed_size(j)))
    KERNELS.pair.rows(x, False, n, j.n_classes, &row_pairs)
    for i in range(n):
        one[i] = 1
    if j.logs:
        KERNELS.softmax.log_softmax(x, out, n, j.n_classes, &row_pairs)
    else:
        KERNELS.softmax.gradient(x, out, NULL, NULL, n, j.n_classes, &row_pairs, [one, one])
    for i in range(n):
        if isnan(row_pairs.e[i] + row_pairs.sum[i]):
            fill_row(j, &out, i, NAN)


cdef double minus_log_sum(const job *j, const char *row, int64_t start, int64_t stop, gathered *g,
                          Py_ssize_t i) noexcept nogil:
    # The loss of a row of a multilabel target: the sum of -log p over its codes, in twice the working precision.
    cdef double[BLOCK] p, term
    cdef row_pointer[BLOCK] same
    cdef int64_t[BLOCK] code
    cdef double total = 0, low = 0, new, part
    cdef int n, e
    while start < stop:
        n = <int>min(<int64_t>BLOCK, stop - start)
        for e in range(n):
            same[e] = row
            code[e] = j.indices[start + e]
            if not 0 <= code[e] < j.n_codes:
                code[e] = 0
                g.bad_row = min(g.bad_row, i)
        KERNELS.memory.gather([same, j.x_class_stride, j.x.element, 0, NULL, NULL], code, n, p)
        KERNELS.probability.clipped_loss(p, NULL, j.clip, n, term)
        for e in range(n):
            new = total + term[e]
            part = new - total
            low += (total - (new - part)) + (term[e] - part)
            total = new
        start += n
    return total + low


cdef void log_loss_block(const job *j, Py_ssize_t first, int n, gathered *g) noexcept nogil:
    cdef rows_of_target t
    cdef double[BLOCK] p, loss
    cdef row_pointer[BLOCK] rows
    cdef source x = [rows, j.x_class_stride, j.x.element, fill_rows(&j.x, first, n, rows), j.pool, g.scratch]
    cdef bint binary = j.n_classes == 1
    cdef int i
    KERNELS.probability.range(x, n, j.n_classes, j.tolerance, p, &g.range)
    if j.target.data == NULL and j.entries == NULL:
        return
    load_target(j, first, n, True, &t, g)
    if j.entries != NULL:
        for i in range(n):
            loss[i] = minus_log_sum(j, rows[i], j.entries[first + i], j.entries[first + i + 1], g, first + i)
    elif binary:
        KERNELS.memory.gather(x, FIRST_CLASS, n, p)
        KERNELS.probability.clipped_loss(p, t.code, j.clip, n, loss)
    else:
        KERNELS.memory.gather(x, t.code, n, p)
        KERNELS.probability.clipped_loss(p, NULL, j.clip, n, loss)
    if not t.neutral:
        for i in range(n):
            t.ignored[i] = False      # a row of weight 0 has a loss here: log_loss_per_sample shows it
    finish_rows(j, first, n, loss, &t, g)


cdef void run_parts(const segment_pool *of, void (*part)(void *, int, char *) noexcept nogil, void *context,
                    int n_parts) noexcept nogil:
    cdef int i
    for i in prange(n_parts, num_threads=of.n_threads, schedule="static"):
        run_part(part, context, i, of.scratch + threadid() * of.scratch_bytes)


cdef inline void run_part(void (*part)(void *, int, char *) noexcept nogil, void *context, int i,
                          char *scratch) noexcept nogil:
    cdef uint64_t control = xentc_enter_kernels()
    part(context, i, scratch)
    xentc_leave_kernels(control)


cdef struct workers:
    # What each thread gathers, followed by its scratch memory.
    char *memory
    char *first
    size_t apart
    int n


cdef inline gathered *gathered_by(const workers *all, int t) noexcept nogil:
    return <gathered *>(all.first + t * all.apart)


cdef int hire(workers *all, int n, const job *j, segment_pool *sharing) except -1:
    # `sharing` gets scratch memory for its threads too.
    cdef size_t room = scratch_bytes(j.n_classes, computed_size(j)), size = whole_lines(sizeof(gathered))
    cdef int t
    cdef gathered *g
    all.n, all.apart = n, size + room
    sharing.scratch_bytes = room
    all.memory = <char *>PyMem_RawMalloc(LINE + n * all.apart + (sharing.n_threads * room if j.pool != NULL else 0))
    if all.memory == NULL:
        raise MemoryError
    all.first = <char *>whole_lines(<size_t>all.memory)
    sharing.scratch = all.first + n * all.apart
    for t in range(n):
        g = gathered_by(all, t)
        memset(g, 0, sizeof(gathered))
        g.bad_row = g.bad_proba = j.n_rows
        g.range.lowest, g.range.highest = INFINITY, -INFINITY
        g.scratch = <char *>g + size
    return 0


cdef void gather_all(const workers *all, gathered *result) noexcept:
    cdef int t
    cdef gathered *g
    for t in range(all.n):
        g = gathered_by(all, t)
        exact_flush(&g.total)
        exact_flush(&g.total_weight)
        if t == 0:
            result[0] = g[0]
            continue
        exact_merge(&result.total.exact, &g.total.exact)
        exact_merge(&result.total_weight.exact, &g.total_weight.exact)
        result.bad_row = min(result.bad_row, g.bad_row)
        result.bad_proba = min(result.bad_proba, g.bad_proba)
        result.range.lowest = min(result.range.lowest, g.range.lowest)
        result.range.highest = max(result.range.highest, g.range.highest)
        result.range.not_finite |= g.range.not_finite
        result.range.sums_differ |= g.range.sums_differ


cdef int run(block_loop loop, job *j, int n_threads, gathered *result) except -1:
    # All blocks of the call, in slices between which Ctrl-C is looked for.
    cdef Py_ssize_t row_bytes = j.n_classes * computed_size(j)
    # Rows that share their cache lines go together, whatever their length.
    cdef bint across = not -8 <= j.x_class_stride <= 8
    cdef Py_ssize_t block = BLOCK if across else max(1, min(<Py_ssize_t>BLOCK, BLOCK_BYTES // max(row_bytes, 1)))
    cdef Py_ssize_t n_blocks = (j.n_rows + block - 1) // block
    cdef Py_ssize_t blocks_per_slice = max(<Py_ssize_t>n_threads, SLICE * n_threads // max(block * j.n_classes, 1))
    cdef Py_ssize_t start = 0, stop
    cdef segment_pool all_threads = [run_parts, n_threads, NULL, 0]
    cdef workers all
    cdef int t
    if n_blocks < 4 * n_threads and n_blocks % n_threads != 0 and j.n_classes > SEGMENT and not xentc_forked():
        # Too few blocks to share: one by one, by all threads.
        j.pool, n_threads = &all_threads, 1
    if xentc_forked() or n_threads > n_blocks:
        n_threads = 1 if xentc_forked() else max(1, <int>n_blocks)
    hire(&all, n_threads, j, &all_threads)
    try:
        while start < n_blocks:
            stop = min(n_blocks, start + blocks_per_slice)
            with nogil:
                if n_threads == 1:
                    run_blocks(loop, j, block, start, stop, gathered_by(&all, 0))
                else:
                    for t in prange(n_threads, num_threads=n_threads, schedule="static"):
                        run_blocks(loop, j, block, start + (stop - start) * t // n_threads,
                                   start + (stop - start) * (t + 1) // n_threads, gathered_by(&all, t))
            start = stop
            PyErr_CheckSignals()
        gather_all(&all, result)
    finally:
        PyMem_RawFree(all.memory)
    return 0


cdef inline void run_blocks(block_loop loop, const job *j, Py_ssize_t block, Py_ssize_t start, Py_ssize_t stop,
                            gathered *g) noexcept nogil:
    cdef Py_ssize_t b
    cdef uint64_t control = xentc_enter_kernels()
    for b in range(start, stop):
        loop(j, b * block, <int>min(block, j.n_rows - b * block), g)
    xentc_leave_kernels(control)


cdef void values_block(const job *j, Py_ssize_t first, int n, gathered *g) noexcept nogil:
    cdef double[BLOCK] value, weight
    read_elements(&j.x, first, n, value)
    read_elements(&j.sample_weight, first, n, weight)
    KERNELS.sums.finish(value, weight, weight, n, F64, NULL, &g.total, &g.total_weight)
