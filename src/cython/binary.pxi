# Cython layer: the loop of losses of binary targets.

cdef void binary_block(const job *j, Py_ssize_t first, int n, gathered *g) noexcept nogil:
    # Elements are rows of one class; the target and pos_weight are of their shape.
    cdef rows_of_target t
    cdef double[BLOCK] x, given, pos_weight, loss, grad, hess, scale
    cdef binary_target target = [given, NULL, j.terms.keep, j.terms.uniform]
    cdef double *slope = &grad[0] if has_derivatives(j) else <double *>NULL
    cdef double *curvature = &hess[0] if j.out.hess.rows.data != NULL else <double *>NULL
    cdef bint valid
    cdef int i
    read_elements(&j.x.rows, first, n, x)
    read_elements(&j.target.rows, first, n, given)
    if j.weights.pos_weighted:
        read_elements(&j.weights.pos_weight, first, n, pos_weight)
        target.pos_weight = pos_weight
    load_weights(j, first, n, &t)
    if j.terms.of_probability:
        valid = KERNELS.binary.bernoulli_loss(x, &target, j.terms.clip, j.out.loss_element == F32, n, loss, slope)
    else:
        valid = KERNELS.binary.sigmoid_loss(x, &target, j.terms.gamma, j.out.loss_element == F32, n, loss, slope, curvature)
    if not valid:
        for i in range(n):
            if given[i] < 0 or given[i] > 1:
                g.bad_row = min(g.bad_row, first + i)
            if j.terms.of_probability and (x[i] < 0 or x[i] > 1):
                g.bad_probability = min(g.bad_probability, first + i)
    finish_rows(j, first, n, loss, &t, g)
    if not has_derivatives(j):
        return
    set_scale(j, n, &t, scale)
    if j.out.hess.rows.data != NULL:
        write_derivative(j, &j.out.hess.rows, first, n, hess, scale, loss)
    if j.out.grad.rows.data != NULL:
        write_derivative(j, &j.out.grad.rows, first, n, grad, scale, loss)
