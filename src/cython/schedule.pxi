# Cython layer: how the blocks of a call are dealt to threads.
#
# Each thread has a share of its own, neighbouring blocks, and takes a chunk of it at a time; when that is done, it takes
# chunks of the others' shares. So nobody waits long for a thread that woke late or whose processor somebody else uses, and
# each finds what it worked on in an earlier call in its cache. Who takes what changes no result: sums are exact.

cdef extern from * nogil:
    int64_t __atomic_fetch_add(int64_t *, int64_t, int)

cdef void run_tasks(const segment_pool *of, void (*task)(void *, int, char *) noexcept nogil, void *context,
                    int n_tasks) noexcept nogil:
    cdef int i
    for i in prange(n_tasks, num_threads=of.n_threads, schedule="static"):
        run_task(task, context, i, of.scratch + threadid() * of.scratch_bytes)


cdef inline void run_task(void (*task)(void *, int, char *) noexcept nogil, void *context, int i,
                          char *scratch) noexcept nogil:
    cdef uint64_t control = xentc_enter_kernels()
    task(context, i, scratch)
    xentc_leave_kernels(control)


cdef struct workers:
    # What each thread gathers, followed by its scratch memory.
    char *memory
    char *first
    size_t apart
    int n


cdef inline gathered *gathered_by(const workers *all, int t) noexcept nogil:
    return <gathered *>(all.first + t * all.apart)


cdef int hire(workers *all, int n, const job *j, segment_pool *sharing, size_t scratch) except -1:
    # `sharing` gets scratch memory for its threads too.
    cdef size_t size = whole_lines(sizeof(gathered))
    cdef int t
    cdef gathered *g
    all.n, all.apart = n, size + scratch
    sharing.scratch_bytes = scratch
    all.memory = <char *>PyMem_RawMalloc(LINE + n * all.apart + (sharing.n_threads * scratch if j.pool != NULL else 0))
    if all.memory == NULL:
        raise MemoryError
    all.first = <char *>whole_lines(<size_t>all.memory)
    sharing.scratch = all.first + n * all.apart
    for t in range(n):
        g = gathered_by(all, t)
        memset(g, 0, sizeof(gathered))
        g.bad_row = g.bad_probability = j.n_rows
        g.range.lowest, g.range.highest = INFINITY, -INFINITY
        g.scratch = <char *>g + size
        g.groups = groups_of_thread(j, t)
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
        result.bad_probability = min(result.bad_probability, g.bad_probability)
        result.range.lowest = min(result.range.lowest, g.range.lowest)
        result.range.highest = max(result.range.highest, g.range.highest)
        result.range.not_finite |= g.range.not_finite
        result.range.sums_differ |= g.range.sums_differ


cdef int run(block_loop loop, job *j, int n_threads, gathered *result) except -1:
    # All blocks of the call, in slices between which Ctrl-C is looked for.
    # Rows that share their cache lines go together, whatever their length.
    cdef bint across = not -8 <= j.x.class_stride <= 8
    cdef Py_ssize_t block = BLOCK if across else block_rows(j.n_classes, computed_size(j))
    cdef Py_ssize_t n_blocks = (j.n_rows + block - 1) // block
    cdef Py_ssize_t blocks_per_slice = max(<Py_ssize_t>n_threads, SLICE * n_threads // max(block * j.n_classes, 1))
    cdef Py_ssize_t chunk = max(1, CHUNK // max(block * j.n_classes, 1))
    cdef Py_ssize_t start = 0, stop
    cdef segment_pool all_threads = [run_tasks, n_threads, NULL, 0]
    cdef workers all
    cdef int t
    j.pool = NULL                     # that of an earlier loop of the same call is gone
    if n_blocks < 4 * n_threads and n_blocks % n_threads != 0 and j.n_classes > SEGMENT and not xentc_forked():
        # Too few blocks to share: one by one, by all threads.
        j.pool, n_threads = &all_threads, 1
    if xentc_forked() or n_threads > n_blocks:
        n_threads = 1 if xentc_forked() else max(1, <int>n_blocks)
    hire(&all, n_threads, j, &all_threads, scratch_bytes(j.n_classes, computed_size(j)))
    try:
        while start < n_blocks:
            stop = min(n_blocks, start + blocks_per_slice)
            for t in range(n_threads):
                gathered_by(&all, t).next_block = start + (stop - start) * t // n_threads
                gathered_by(&all, t).end_block = start + (stop - start) * (t + 1) // n_threads
            with nogil:
                if n_threads == 1:
                    run_blocks(loop, j, block, chunk, &all, 0)
                else:
                    for t in prange(n_threads, num_threads=n_threads, schedule="static"):
                        run_blocks(loop, j, block, chunk, &all, t)
            start = stop
            PyErr_CheckSignals()
        gather_all(&all, result)
    finally:
        PyMem_RawFree(all.memory)
    return 0


cdef void run_blocks(block_loop loop, const job *j, Py_ssize_t block, Py_ssize_t chunk, const workers *all,
                     int t) noexcept nogil:
    # What thread t does: its share, and then what is left of the next ones.
    cdef Py_ssize_t first, b
    cdef int of
    cdef gathered *share
    cdef uint64_t control = xentc_enter_kernels()
    for of in range(t, t + all.n):
        share = gathered_by(all, of % all.n)
        while True:
            first = __atomic_fetch_add(&share.next_block, chunk, 0)     # 0: no order of other memory is needed
            if first >= share.end_block:
                break
            for b in range(first, min(first + chunk, <Py_ssize_t>share.end_block)):
                loop(j, b * block, <int>min(block, j.n_rows - b * block), gathered_by(all, t))
    xentc_leave_kernels(control)
