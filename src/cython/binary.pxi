# Cython layer: the loop of losses of binary targets.

cdef void binary_block(const job *j, Py_ssize_t first, int n, gathered *g) noexcept nogil:
    # Elements are rows of one class; the target and pos_weight are of their shape.
    cdef rows_of_target t
    cdef double[BLOCK] x, given, pos_weight, loss, grad, hess, scale
    cdef float[BLOCK] single_x, single_given, single_loss
    cdef binary_target target = [given, NULL, j.terms.keep, j.terms.uniform]
    cdef double *slope = &grad[0] if has_derivatives(j) else <double *>NULL
    cdef double *curvature = &hess[0] if j.out.hess.rows.data != NULL else <double *>NULL
    cdef bint single = j.out.loss_element == F32 and j.terms.gamma == 0 and not j.terms.of_probability
    cdef bint plain = single and j.target.rows.element != F64 and j.terms.uniform == 0 and not j.weights.pos_weighted
    cdef double *special = NULL       # the losses, where some are NaN or count for nothing
    cdef bint valid, undefined
    cdef int i
    if plain:
        read_singles(&j.target.rows, first, n, single_given)
    else:
        read_elements(&j.target.rows, first, n, given)
    if j.weights.pos_weighted:
        read_elements(&j.weights.pos_weight, first, n, pos_weight)
        target.pos_weight = pos_weight
    load_weights(j, first, n, &t)
    if single:
        read_singles(&j.x.rows, first, n, single_x)
        valid = KERNELS.logistic.loss(single_x, NULL, &single_given[0] if plain else <float *>NULL,
                                      <const binary_target *>NULL if plain else &target, n, single_loss, slope, curvature)
        undefined = finish_singles(j, first, n, single_loss, loss, &t, g)
    else:
        read_elements(&j.x.rows, first, n, x)
        if j.terms.of_probability:
            valid = KERNELS.binary.bernoulli_loss(x, &target, j.terms.clip, j.out.loss_element == F32, n, loss, slope)
        else:
            valid = KERNELS.binary.sigmoid_loss(x, &target, j.terms.gamma, n, loss, slope, curvature)
        undefined = finish_rows(j, first, n, loss, &t, g)
    if not valid:
        for i in range(n):
            if plain:
                given[i] = single_given[i]
            if given[i] < 0 or given[i] > 1:
                g.bad_row = min(g.bad_row, first + i)
            if j.terms.of_probability and (x[i] < 0 or x[i] > 1):
                g.bad_probability = min(g.bad_probability, first + i)
    if not has_derivatives(j):
        return
    if undefined or not t.neutral:
        special = loss
    set_scale(j, n, &t, scale)
    if j.out.hess.rows.data != NULL:
        write_derivative(j, &j.out.hess.rows, first, n, hess, scale, special)
    if j.out.grad.rows.data != NULL:
        write_derivative(j, &j.out.grad.rows, first, n, grad, scale, special)
