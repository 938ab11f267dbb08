# Cython layer: sums of the values, of their squares and of the weights, of all rows or of each group.

cdef void values_block(const job *j, Py_ssize_t first, int n, gathered *g) noexcept nogil:
    # Elements that are losses.
    cdef double[BLOCK] value
    cdef rows_of_target t
    cdef int i
    read_elements(&j.x.rows, first, n, value)
    if j.target.rows.data != NULL:
        load_target(j, first, n, True, &t, g)
    else:
        load_weights(j, first, n, &t)
    if not t.neutral:
        for i in range(n):
            t.ignored[i] = False      # a NaN is one, whatever it weighs
    finish_rows(j, first, n, value, &t, g)


cdef enum:
    TURNS = 8                         # a power of 2


cdef inline Py_ssize_t groups_kept(const job *j) noexcept nogil:
    # By each thread. To add to one and the same takes longer than to add to eight by turns.
    return j.n_groups if j.by_code else TURNS


cdef inline Py_ssize_t groups_apart(const job *j) noexcept nogil:
    # From those of a thread to those of the next one, with 8 between that nobody uses: so no two threads share a cache line.
    return groups_kept(j) + 8


cdef inline groups groups_of_thread(const job *j, int t) noexcept nogil:
    cdef Py_ssize_t first = t * groups_apart(j)
    return [j.groups.sums + first, j.groups.bins + first, j.groups.counts + first]


cdef int hire_groups(job *j, int n_threads) except -1:
    cdef Py_ssize_t n = n_threads * groups_apart(j)
    j.groups.sums = <moments *>PyMem_RawCalloc(n, sizeof(moments))
    j.groups.bins = <int64_t (*)[2][8]>PyMem_RawCalloc(n, 16 * sizeof(int64_t))
    j.groups.counts = <int64_t *>PyMem_RawCalloc(n, sizeof(int64_t))
    if j.groups.sums == NULL or j.groups.bins == NULL or j.groups.counts == NULL:
        raise MemoryError
    return 0


cdef void dismiss_groups(job *j) noexcept:
    PyMem_RawFree(j.groups.sums)
    PyMem_RawFree(j.groups.bins)
    PyMem_RawFree(j.groups.counts)
    j.groups = [NULL, NULL, NULL]


cdef void merge_groups(const job *j, int n_threads, exact_sum *sums, int64_t *counts) noexcept nogil:
    # Those of all threads that have rows.
    cdef groups found
    cdef exact_sum *of_group
    cdef Py_ssize_t c, into
    cdef int t, s
    for t in range(n_threads):
        found = groups_of_thread(j, t)
        for c in range(groups_kept(j)):
            if found.counts[c] == 0:
                continue
            KERNELS.moments.flush(found, c)
            if not j.weights.weighted:
                exact_add(&found.sums[c].weight, <double>found.counts[c])
                exact_add(&found.sums[c].weight_square, <double>found.counts[c])
            into = c if j.by_code else 0
            of_group = <exact_sum *>&found.sums[c]
            for s in range(<int>MOMENTS):
                exact_merge(&sums[into * MOMENTS + s], &of_group[s])
            counts[into] += found.counts[c]
