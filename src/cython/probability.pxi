# Cython layer: the loops of losses of probabilities and of their logarithms, and of log-loss.

cdef void probability_block(const job *j, Py_ssize_t first, int n, gathered *g) noexcept nogil:
    # Probabilities or their logarithms instead of logits.
    cdef rows_of_target t
    cdef row_pointer[BLOCK] rows, grad_rows
    cdef source x = [rows, j.x.class_stride, j.x.rows.element, fill_rows(&j.x.rows, first, n, rows), j.pool, g.scratch]
    cdef sink grad = [<char **>grad_rows, j.out.grad.class_stride, j.out.grad.rows.element, 0, j.out.stream]
    cdef soft_sums sums
    cdef double[BLOCK] total, scale
    cdef bint one_hot = not j.target.soft and j.terms.uniform == 0
    cdef const class_target *target = <const class_target *>NULL if one_hot else &t.target
    cdef probabilities of
    cdef value_range one_row, all_values = [INFINITY, -INFINITY, False, False]
    cdef bint undefined
    cdef int i
    load_target(j, first, n, one_hot, &t, g)
    KERNELS.probability.range(x, n, j.n_classes, INFINITY, total, &all_values)
    if j.terms.kind != LOGARITHMS and (all_values.lowest < 0 or (j.terms.kind == PROBABILITIES and all_values.highest > 1)):
        for i in range(n):
            if t.neutral or not t.ignored[i]:
                one_row = [INFINITY, -INFINITY, False, False]
                x.rows = &rows[i]
                KERNELS.probability.range(x, 1, j.n_classes, INFINITY, total, &one_row)
                if one_row.lowest < 0 or (j.terms.kind == PROBABILITIES and one_row.highest > 1):
                    g.bad_probability = min(g.bad_probability, first + i)
        x.rows = rows
        KERNELS.probability.range(x, n, j.n_classes, INFINITY, total, &all_values)
    of.kind, of.clip, of.sum = j.terms.kind, j.terms.clip, total
    KERNELS.probability.loss(x, target, t.code, of, n, j.n_classes, &sums)
    if not one_hot:
        for i in range(n):
            if sums.lowest[i] < 0:
                g.bad_row = min(g.bad_row, first + i)
    undefined = finish_rows(j, first, n, sums.loss, &t, g)
    if j.out.grad.rows.data == NULL:
        return
    set_scale(j, n, &t, scale)
    grad.row_stride = fill_rows(&j.out.grad.rows, first, n, grad_rows)
    KERNELS.probability.gradient(x, grad, target, t.code, of, n, j.n_classes, [sums.slope, scale])
    finish_derivative(j, n, &grad, sums.loss, undefined, &t)


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
            code[e] = j.target.indices[start + e]
            if not 0 <= code[e] < n_codes(j):
                code[e] = 0
                g.bad_row = min(g.bad_row, i)
        KERNELS.memory.gather([same, j.x.class_stride, j.x.rows.element, 0, NULL, NULL], code, n, p)
        KERNELS.probability.clipped_loss(p, NULL, j.terms.clip, n, term)
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
    cdef source x
    cdef int i
    if j.single:
        read_elements(&j.x.rows, first, n, p)
        KERNELS.probability.extent(p, n, &g.range)
    else:
        x = [rows, j.x.class_stride, j.x.rows.element, fill_rows(&j.x.rows, first, n, rows), j.pool, g.scratch]
        KERNELS.probability.range(x, n, j.n_classes, j.terms.tolerance, p, &g.range)
    if j.target.rows.data == NULL and j.target.entries == NULL:
        return
    load_target(j, first, n, True, &t, g)
    if j.target.entries != NULL:
        for i in range(n):
            loss[i] = minus_log_sum(j, rows[i], j.target.entries[first + i], j.target.entries[first + i + 1], g, first + i)
    elif j.single:
        KERNELS.probability.clipped_loss(p, t.code, j.terms.clip, n, loss)
    else:
        KERNELS.memory.gather(x, t.code, n, p)
        KERNELS.probability.clipped_loss(p, NULL, j.terms.clip, n, loss)
    if not t.neutral:
        for i in range(n):
            t.ignored[i] = False      # a row of weight 0 has a loss here: log_loss_per_sample shows it
    finish_rows(j, first, n, loss, &t, g)
