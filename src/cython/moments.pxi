# Cython layer: sums of values, of all together or of each group.

cdef void values_block(const job *j, Py_ssize_t first, int n, gathered *g) noexcept nogil:
    cdef double[BLOCK] value, weight
    read_elements(&j.x.rows, first, n, value)
    read_elements(&j.weights.sample_weight, first, n, weight)
    KERNELS.sums.finish(value, weight, weight, n, F64, NULL, &g.total, &g.total_weight)


# What goes to no group goes, by turns, to these, which are then merged: to add to one and the same takes longer.
cdef enum:
    TURNS = 8


cdef inline groups groups_of_thread(const job *j, int t) noexcept nogil:
    cdef Py_ssize_t first = t * j.n_groups
    return [j.groups.sums + first, j.groups.bins + first, j.groups.counts + first]


cdef int hire_groups(job *j, int n_threads) except -1:
    j.groups.sums = <moments *>calloc(n_threads * j.n_groups, sizeof(moments))
    j.groups.bins = <double (*)[2][8]>calloc(n_threads * j.n_groups, 16 * sizeof(double))
    j.groups.counts = <int64_t *>calloc(n_threads * j.n_groups, sizeof(int64_t))
    if j.groups.sums == NULL or j.groups.bins == NULL or j.groups.counts == NULL:
        raise MemoryError
    return 0


cdef void dismiss_groups(job *j) noexcept:
    free(j.groups.sums)
    free(j.groups.bins)
    free(j.groups.counts)
    j.groups = [NULL, NULL, NULL]


cdef void moments_block(const job *j, Py_ssize_t first, int n, gathered *g) noexcept nogil:
    cdef double[BLOCK] value
    cdef rows_of_target t
    cdef int i
    read_elements(&j.x.rows, first, n, value)
    if j.target.rows.data != NULL:
        load_target(j, first, n, True, &t, g)
    else:
        load_weights(j, first, n, &t)
        for i in range(n):
            t.code[i] = i % TURNS
    KERNELS.sums.add_moments(value, NULL if t.neutral else t.weight, t.code, n, g.groups)


cdef void merge_groups(const job *j, int n_threads, exact_sum *sums, int64_t *counts) noexcept nogil:
    # Of all threads, what there is.
    cdef groups found
    cdef exact_sum *of_group
    cdef Py_ssize_t c, into
    cdef int t, s
    for t in range(n_threads):
        found = groups_of_thread(j, t)
        for c in range(j.n_groups):
            if found.counts[c] == 0:
                continue
            KERNELS.sums.flush_group(found, c)
            if not j.weights.weighted:
                exact_add(&found.sums[c].weight, <double>found.counts[c])
                exact_add(&found.sums[c].weight_square, <double>found.counts[c])
            into = 0 if j.target.rows.data == NULL else c
            of_group = <exact_sum *>&found.sums[c]
            for s in range(<int>MOMENTS):
                exact_merge(&sums[into * MOMENTS + s], &of_group[s])
            counts[into] += found.counts[c]
