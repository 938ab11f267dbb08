# Cython layer: the loops of losses and functions of logits.

cdef struct logits_block:
    # What the steps of a block of a loss hand on.
    const job *j
    Py_ssize_t first
    int n
    bint one_hot                      # each row has one class, unsmoothed
    source x
    row_pointer rows[BLOCK]
    rows_of_target t
    pairs pairs
    double x_target[BLOCK]            # of one-hot rows: the logit of their class
    soft_sums sums                    # losses, and their slopes and curvatures
    bint narrow                       # float32 losses of one-hot rows, but focal ones: they are in `single`
    float single[BLOCK]
    double own_slope[BLOCK]           # slopes without the z-loss
    double z[BLOCK]                   # weights of the z-loss


cdef void cross_entropy_block(const job *j, Py_ssize_t first, int n, gathered *g) noexcept nogil:
    cdef logits_block b
    cdef bint undefined
    b.j, b.first, b.n = j, first, n
    b.one_hot = not j.target.soft and j.terms.uniform == 0
    b.narrow = b.one_hot and j.out.loss_element == F32 and j.terms.gamma == 0
    if b.narrow and j.n_classes == 2 and j.terms.z == 0 and j.pairs == NULL:
        two_classes_block(&b, g)
        return
    b.x = [b.rows, j.x.class_stride, j.x.rows.element, fill_rows(&j.x.rows, first - j.x_first, n, b.rows), j.pool, g.scratch]
    load_target(j, first, n, b.one_hot, &b.t, g)
    find_pairs(&b)
    if b.one_hot:
        find_code_losses(&b)
    else:
        find_soft_losses(&b, g)
    if has_derivatives(j):
        memcpy(b.own_slope, b.sums.slope, n * sizeof(double))
    if j.terms.z != 0:
        add_z_loss(&b)
    if b.narrow and j.terms.z == 0:
        undefined = finish_singles(j, first, n, b.single, b.sums.loss, &b.t, g)
    else:
        undefined = finish_rows(j, first, n, b.sums.loss, &b.t, g)
    if has_derivatives(j):
        write_derivatives(&b, undefined)


cdef void two_classes_block(logits_block *b, gathered *g) noexcept nogil:
    # float32 logits of two classes: as binary ones.
    cdef const job *j = b.j
    cdef ptrdiff_t row_stride = fill_rows(&j.x.rows, b.first - j.x_first, b.n, b.rows)
    cdef source x = [b.rows, j.x.class_stride, j.x.rows.element, row_stride, NULL, g.scratch]
    cdef float[BLOCK] logit, low, target
    cdef double[BLOCK] grad, hess, loss, scale
    cdef double *slope = &grad[0] if has_derivatives(j) else <double *>NULL
    cdef double *curvature = &hess[0] if j.out.hess.rows.data != NULL else <double *>NULL
    cdef bint undefined
    load_target(j, b.first, b.n, True, &b.t, g)
    KERNELS.logistic.of_two_classes(x, b.t.code, b.n, logit, low, target)
    KERNELS.logistic.loss(logit, low, target, NULL, b.n, b.single, slope, curvature)
    undefined = finish_singles(j, b.first, b.n, b.single, loss, &b.t, g)
    if not has_derivatives(j):
        return
    set_scale(j, b.n, &b.t, scale)
    if j.out.hess.rows.data != NULL:
        write_both(b, &j.out.hess, curvature, scale, True, loss, undefined)
    if j.out.grad.rows.data != NULL:
        write_both(b, &j.out.grad, slope, scale, False, loss, undefined)


cdef void write_both(logits_block *b, const array_of_rows *results, const double *terms, const double *scale, bint alike,
                     const double *loss, bint undefined) noexcept nogil:
    cdef row_pointer[BLOCK] rows
    cdef sink out = [<char **>rows, results.class_stride, results.rows.element,
                     fill_rows(&results.rows, b.first - b.j.x_first, b.n, rows), False]
    KERNELS.logistic.to_two_classes(terms, scale, alike, b.n, out)
    finish_derivative(b.j, b.n, &out, loss, undefined, &b.t)


cdef void find_pairs(logits_block *b) noexcept nogil:
    cdef const job *j = b.j
    cdef Py_ssize_t at = b.first - j.x_first
    cdef int i
    b.pairs.cached_exp = NULL
    if j.pairs == NULL and j.out.grad.rows.data != NULL and j.terms.gamma == 0:
        b.pairs.cached_exp = <char *>take(&b.x.scratch, exponentials_bytes(j.n_classes, computed_size(j)))
    if j.single:                      # of 0 and the logit
        KERNELS.memory.gather(b.x, FIRST_CLASS, b.n, b.x_target)
        KERNELS.pair.logit(b.x_target, b.n, &b.pairs)
        for i in range(b.n):
            if b.t.code[i] == 0:
                b.x_target[i] = 0
        return
    if j.pairs != NULL:
        KERNELS.pair.join(j.pairs + at // BLOCK, j.n_parts, j.pairs_in_part, <int>(at % BLOCK), b.n, j.x.rows.element,
                          &b.pairs)
    else:
        KERNELS.pair.rows(b.x, j.terms.gamma != 0, b.n, j.n_classes, &b.pairs)
    if j.x_target != NULL:
        memcpy(b.x_target, j.x_target + at, b.n * sizeof(double))
    elif b.one_hot:
        KERNELS.memory.gather(b.x, b.t.code, b.n, b.x_target)


cdef void find_code_losses(logits_block *b) noexcept nogil:
    cdef const job *j = b.j
    cdef double[BLOCK] rest
    cdef int i
    if b.narrow:
        KERNELS.cross_entropy.code_loss_single(&b.pairs, b.x_target, b.n, b.single)
        if j.terms.z != 0:
            for i in range(b.n):
                b.sums.loss[i] = b.single[i]
    else:
        KERNELS.cross_entropy.code_loss(&b.pairs, b.x_target, b.n, b.sums.loss, rest)
    if j.terms.gamma != 0:
        KERNELS.focal.code_loss(j.terms.gamma, rest, b.n, b.sums.loss, b.sums.slope, b.sums.curvature)
    elif has_derivatives(j):
        for i in range(b.n):
            b.sums.slope[i], b.sums.curvature[i] = 1, 0


cdef void find_soft_losses(logits_block *b, gathered *g) noexcept nogil:
    cdef const job *j = b.j
    cdef int i
    if j.terms.gamma != 0:
        KERNELS.focal.soft_loss(b.x, &b.t.target, j.terms.gamma, b.n, j.n_classes, &b.pairs, &b.sums)
    else:
        KERNELS.cross_entropy.soft_loss(b.x, &b.t.target, j.terms.entropy, b.n, j.n_classes, &b.pairs, &b.sums)
    for i in range(b.n):
        if b.sums.lowest[i] < 0:
            g.bad_row = min(g.bad_row, b.first + i)
        if j.terms.entropy:
            b.sums.loss[i] += b.sums.entropy[i]


cdef void add_z_loss(logits_block *b) noexcept nogil:
    # z logsumexp^2, whose gradient adds 2 z logsumexp to the slope.
    cdef const job *j = b.j
    cdef double[BLOCK] lse
    cdef int i
    KERNELS.pair.logsumexp(&b.pairs, b.n, lse)
    for i in range(b.n):
        # The row's class weight is in its weight, or in its terms: then it must be in this one too.
        b.z[i] = j.terms.z
        if not b.one_hot and not j.target.soft:
            b.z[i] *= j.weights.class_weight[b.t.code[i] * j.weights.class_weight_stride]
        b.sums.loss[i] += b.z[i] * lse[i] * lse[i]
        if has_derivatives(j):
            b.sums.slope[i] += 2 * b.z[i] * lse[i]


cdef void write_derivatives(logits_block *b, bint undefined) noexcept nogil:
    cdef const job *j = b.j
    cdef row_pointer[BLOCK] rows
    cdef double[BLOCK] scale
    cdef sink none = [NULL, 0, F64, 0, False]
    cdef sink out = none
    cdef codes hot = [b.t.code, b.x_target, b.own_slope]
    cdef derivative given = [b.sums.slope, scale]
    cdef focal_derivative focal = [j.terms.gamma, b.sums.slope, b.sums.curvature, b.z, scale]
    set_scale(j, b.n, &b.t, scale)
    if j.out.hess.rows.data != NULL:
        out = [<char **>rows, j.out.hess.class_stride, j.out.hess.rows.element,
               fill_rows(&j.out.hess.rows, b.first - j.x_first, b.n, rows), False]
        if j.terms.gamma == 0 and j.terms.z == 0:
            KERNELS.softmax.hessian(b.x, out, b.n, j.n_classes, &b.pairs, given)
        else:
            if j.terms.z == 0:
                memset(b.z, 0, b.n * sizeof(double))
            KERNELS.focal.derivatives(b.x, none, out, &b.t.target, b.n, j.n_classes, &b.pairs, focal)
        finish_derivative(j, b.n, &out, b.sums.loss, undefined, &b.t)
    if j.out.grad.rows.data == NULL:
        return
    out = [<char **>rows, j.out.grad.class_stride, j.out.grad.rows.element,
           fill_rows(&j.out.grad.rows, b.first - j.x_first, b.n, rows), j.out.stream]
    if b.one_hot:
        KERNELS.softmax.gradient(b.x, out, NULL, &hot, b.n, j.n_classes, &b.pairs, given)
    elif j.terms.gamma == 0:
        KERNELS.softmax.gradient(b.x, out, &b.t.target, NULL, b.n, j.n_classes, &b.pairs, given)
    else:
        KERNELS.focal.derivatives(b.x, out, none, &b.t.target, b.n, j.n_classes, &b.pairs, focal)
    finish_derivative(j, b.n, &out, b.sums.loss, undefined, &b.t)


cdef bint has_nan(const char *row, Py_ssize_t class_stride, element element, Py_ssize_t n_classes) noexcept nogil:
    cdef double value
    cdef Py_ssize_t c
    for c in range(n_classes):
        KERNELS.memory.read(row + c * class_stride, class_stride, element, 1, &value)
        if isnan(value):
            return True
    return False


cdef void logsumexp_block(const job *j, Py_ssize_t first, int n, gathered *g) noexcept nogil:
    cdef row_pointer[BLOCK] rows
    cdef pairs row_pairs
    cdef double[BLOCK] lse
    cdef int i
    cdef source x = [rows, j.x.class_stride, j.x.rows.element, fill_rows(&j.x.rows, first, n, rows), j.pool, g.scratch]
    row_pairs.cached_exp = NULL
    KERNELS.pair.rows(x, False, n, j.n_classes, &row_pairs)
    KERNELS.pair.logsumexp(&row_pairs, n, lse)
    for i in range(n):
        if isinf(row_pairs.m[i]) and not has_nan(rows[i], j.x.class_stride, j.x.rows.element, j.n_classes):
            lse[i] = row_pairs.m[i]
        write_element(j.out.losses + (first + i) * (8 if j.out.loss_element == F64 else 4), j.out.loss_element,
                      NAN if isnan(lse[i]) else lse[i])


cdef void softmax_block(const job *j, Py_ssize_t first, int n, gathered *g) noexcept nogil:
    cdef row_pointer[BLOCK] rows, out_rows
    cdef source x = [rows, j.x.class_stride, j.x.rows.element, fill_rows(&j.x.rows, first, n, rows), j.pool, g.scratch]
    cdef sink out = [<char **>out_rows, j.out.grad.class_stride, j.out.grad.rows.element, 0, j.out.stream]
    cdef pairs row_pairs
    cdef double[BLOCK] one
    cdef int i
    out.row_stride = fill_rows(&j.out.grad.rows, first, n, out_rows)
    row_pairs.cached_exp = NULL
    if not j.terms.logs:
        row_pairs.cached_exp = <char *>take(&x.scratch, exponentials_bytes(j.n_classes, computed_size(j)))
    KERNELS.pair.rows(x, False, n, j.n_classes, &row_pairs)
    for i in range(n):
        one[i] = 1
    if j.terms.logs:
        KERNELS.softmax.log_softmax(x, out, n, j.n_classes, &row_pairs)
    else:
        KERNELS.softmax.gradient(x, out, NULL, NULL, n, j.n_classes, &row_pairs, [one, one])
    for i in range(n):
        if isnan(row_pairs.e[i] + row_pairs.sum[i]):
            fill_row(j, &out, i, NAN)
