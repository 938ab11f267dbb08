# Cython layer: the loops of losses and functions of logits.

cdef void cross_entropy_block(const job *j, Py_ssize_t first, int n, gathered *g) noexcept nogil:
    cdef rows_of_target t
    cdef row_pointer[BLOCK] rows, grad_rows, hess_rows
    cdef source x = [rows, j.x.class_stride, j.x.rows.element, fill_rows(&j.x.rows, first, n, rows), j.pool, g.scratch]
    cdef sink none = [NULL, 0, F64, 0, False]
    cdef sink grad = [<char **>grad_rows, j.out.grad.class_stride, j.out.grad.rows.element, 0, j.out.stream]
    cdef sink hess = [<char **>hess_rows, j.out.hess.class_stride, j.out.hess.rows.element, 0, False]
    cdef pairs row_pairs
    cdef soft_sums sums
    cdef double[BLOCK] x_target, rest, plain, z, lse, scale
    cdef codes hot = [t.code, x_target, plain]
    cdef derivative given = [sums.slope, scale]
    cdef focal_derivative focal = [j.terms.gamma, sums.slope, sums.curvature, z, scale]
    cdef bint one_hot = not j.target.soft and j.terms.uniform == 0
    cdef bint derivatives = j.out.grad.rows.data != NULL or j.out.hess.rows.data != NULL
    cdef bint narrow = j.out.loss_element == F32 and j.terms.gamma == 0
    cdef bint undefined
    cdef int i
    load_target(j, first, n, one_hot, &t, g)
    row_pairs.cached_exp = NULL
    if j.out.grad.rows.data != NULL and j.terms.gamma == 0:
        row_pairs.cached_exp = <char *>take(&x.scratch, exponentials_bytes(j.n_classes, computed_size(j)))
    if j.single:
        KERNELS.memory.gather(x, FIRST_CLASS, n, x_target)
        KERNELS.pair.logit(x_target, n, &row_pairs)
        for i in range(n):
            if t.code[i] == 0:
                x_target[i] = 0
    else:
        KERNELS.pair.rows(x, j.terms.gamma != 0, n, j.n_classes, &row_pairs)
        if one_hot:
            KERNELS.memory.gather(x, t.code, n, x_target)
    if one_hot:
        KERNELS.cross_entropy.code_loss(&row_pairs, x_target, narrow, n, sums.loss, rest)
        if j.terms.gamma != 0:
            KERNELS.focal.code_loss(j.terms.gamma, rest, n, sums.loss, sums.slope, sums.curvature)
        elif derivatives:
            for i in range(n):
                sums.slope[i], sums.curvature[i] = 1, 0
    else:
        if j.terms.gamma != 0:
            KERNELS.focal.soft_loss(x, &t.target, j.terms.gamma, n, j.n_classes, &row_pairs, &sums)
        else:
            KERNELS.cross_entropy.soft_loss(x, &t.target, j.terms.entropy, n, j.n_classes, &row_pairs, &sums)
        for i in range(n):
            if sums.lowest[i] < 0:
                g.bad_row = min(g.bad_row, first + i)
            if j.terms.entropy:
                sums.loss[i] += sums.entropy[i]
    if derivatives:
        for i in range(n):
            plain[i] = sums.slope[i]
            z[i] = lse[i] = 0
    if j.terms.z != 0:
        KERNELS.pair.logsumexp(&row_pairs, n, lse)
        for i in range(n):
            # The row's class weight is in its weight, or in its terms: then it must be in this one too.
            z[i] = j.terms.z
            if not one_hot and not j.target.soft:
                z[i] *= j.weights.class_weight[t.code[i] * j.weights.class_weight_stride]
            sums.loss[i] += z[i] * lse[i] * lse[i]
            if derivatives:
                sums.slope[i] += 2 * z[i] * lse[i]
    undefined = finish_rows(j, first, n, sums.loss, &t, g)
    if not derivatives:
        return
    set_scale(j, n, &t, scale)
    if j.out.hess.rows.data != NULL:
        hess.row_stride = fill_rows(&j.out.hess.rows, first, n, hess_rows)
        if j.terms.gamma == 0 and j.terms.z == 0:
            KERNELS.softmax.hessian(x, hess, n, j.n_classes, &row_pairs, given)
        else:
            KERNELS.focal.derivatives(x, none, hess, &t.target, n, j.n_classes, &row_pairs, focal)
        finish_derivative(j, n, &hess, sums.loss, undefined, &t)
    if j.out.grad.rows.data == NULL:
        return
    grad.row_stride = fill_rows(&j.out.grad.rows, first, n, grad_rows)
    if one_hot:
        KERNELS.softmax.gradient(x, grad, NULL, &hot, n, j.n_classes, &row_pairs, given)
    elif j.terms.gamma == 0:
        KERNELS.softmax.gradient(x, grad, &t.target, NULL, n, j.n_classes, &row_pairs, given)
    else:
        KERNELS.focal.derivatives(x, grad, none, &t.target, n, j.n_classes, &row_pairs, focal)
    finish_derivative(j, n, &grad, sums.loss, undefined, &t)


cdef bint has_nan(const job *j, const char *row) noexcept nogil:
    cdef int64_t zero = 0
    cdef double value
    cdef Py_ssize_t c
    cdef row_pointer p
    for c in range(j.n_classes):
        p = row + c * j.x.class_stride
        KERNELS.memory.gather([&p, 0, j.x.rows.element, 0, NULL, NULL], &zero, 1, &value)
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
        if isinf(row_pairs.m[i]) and not has_nan(j, rows[i]):
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
