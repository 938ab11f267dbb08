# Cython layer: the loss of a linear layer, whose logits exist for a block of rows at a time.
#
# Four steps a block: its logits, their losses (which leave the gradient in the logits' place), the gradient of the hidden
# rows, and what the block adds to that of the weights. Matrices are multiplied by BLAS, which runs on the thread that calls
# it. Where weights are small a thread takes all steps of a chunk of rows, which has derivatives of the weights of its own.
# Where they are large all threads share the steps of one block, most of them by tiles of classes. Each tile has row pairs of
# its own, which are joined: for a loss of codes, without derivatives, a tile's logits are not kept. The shapes of all
# products and the order of sums depend on the plan alone, so the number of threads changes no bit.

# BLAS counts in int and stores columns one after the other: a matrix of ours, rows one after the other, is its transpose.
ctypedef void (*gemm)(char *, char *, int *, int *, int *, void *, void *, int *, void *, int *, void *, void *,
                      int *) noexcept nogil


cdef struct matrix:
    char *data
    int stride                        # elements from row to row


cdef struct room:
    # What belongs to a block of rows while it is worked on.
    job job                           # its x are the logits
    Py_ssize_t first
    int n
    Py_ssize_t chunk
    bint add                          # to the derivatives of the weights
    matrix hidden                     # the block's, or a packed copy
    matrix logits                     # and then their gradient
    matrix d_hidden                   # of each part of the classes, one after the other; or the result itself
    bint direct                       # it is
    char *packed
    char *parts
    pairs *pairs                      # of each tile: of BLOCK rows, and the next ones; or NULL
    int64_t *codes                    # where logits are not kept
    double *x_target


cdef struct layer:
    gemm multiply
    element element                   # that is computed in
    Py_ssize_t size
    Py_ssize_t n_rows
    Py_ssize_t n_classes
    int n_features
    array_of_rows hidden              # with features for classes
    array_of_rows weight
    const int64_t *selected           # the hidden rows that count; NULL: all
    const char *bias                  # or NULL
    bint derivatives
    array_of_rows d_hidden
    char *d_weight                    # those of each chunk, one after the other
    char *d_bias                      # or NULL
    bint add                          # to what is there; else the first block of a chunk writes over it
    char *ones
    Py_ssize_t block_rows
    Py_ssize_t chunk_rows
    int n_chunks
    int tile                          # classes
    int n_parts                       # of the classes, whose gradients of the hidden rows are added at the end
    bint keep                         # the logits of a block, else each thread has those of a tile
    char *tiles
    int rows_at_a_time                # of the losses
    Py_ssize_t logits_stride
    bint by_classes                   # threads share the tiles of a block, else they have blocks of their own
    room *rooms
    int n_rooms                       # one for all, or one for each thread
    char *weight_tiles                # one for each thread, where weights cannot be used as they lie
    workers all


ctypedef void (*layer_step)(const layer *, int, int) noexcept nogil

cdef enum:
    FEATURES_AT_A_TIME = 1024         # of a task of the hidden rows' gradient


cdef int steps_in(Py_ssize_t n, Py_ssize_t step) noexcept nogil:
    return <int>((n + step - 1) // step)


cdef void multiply(const layer *of, const char *transposed, int m, int n, int k, matrix a, matrix b, bint add,
                   matrix c) noexcept nogil:
    cdef float[2] single = [1, add]
    cdef double[2] double_ = [1, add]
    cdef void *alpha = <void *>&double_[0]
    cdef void *beta = <void *>&double_[1]
    if of.element == F32:
        alpha, beta = &single[0], &single[1]
    of.multiply(<char *>&transposed[0], <char *>&transposed[1], &m, &n, &k, alpha, a.data, &a.stride, b.data, &b.stride,
                beta, c.data, &c.stride)


cdef void read_row(const layer *of, const char *row, Py_ssize_t stride, element element, char *out) noexcept nogil:
    if element == of.element and stride == of.size:
        memcpy(out, row, of.n_features * of.size)
    elif of.element == F32:
        KERNELS.memory.read_single(row, stride, element, of.n_features, <float *>out)
    else:
        KERNELS.memory.read(row, stride, element, of.n_features, <double *>out)


cdef bint readable(const layer *of, const array_of_rows *a, Py_ssize_t first, int n, matrix *out) noexcept nogil:
    # Whether BLAS can use n rows where they lie.
    cdef ptrdiff_t stride = of.n_features * of.size if n == 1 else stride_of(&a.rows, first, n)
    out.data, out.stride = at(&a.rows, first), <int>(stride // of.size)
    return (a.rows.element == of.element and (a.class_stride == of.size or of.n_features == 1) and stride % of.size == 0
            and of.n_features <= stride // of.size <= INT_MAX)


cdef inline matrix moved(const layer *of, matrix a, Py_ssize_t elements) noexcept nogil:
    return [a.data + elements * of.size, a.stride]


cdef inline Py_ssize_t bytes_of(const layer *of, Py_ssize_t n, Py_ssize_t m) noexcept nogil:
    return <Py_ssize_t>whole_lines(n * m * of.size)


cdef matrix weight_of(const layer *of, Py_ssize_t first, int n, int thread) noexcept nogil:
    # Of n classes.
    cdef matrix result
    cdef Py_ssize_t i
    if readable(of, &of.weight, first, n, &result):
        return result
    result = [of.weight_tiles + thread * bytes_of(of, of.tile, of.n_features), of.n_features]
    for i in range(n):
        read_row(of, at(&of.weight.rows, first + i), of.weight.class_stride, of.weight.rows.element,
                 result.data + i * of.n_features * of.size)
    return result


cdef inline room *room_of(const layer *of, int thread) noexcept nogil:
    return &of.rooms[thread if of.n_rooms > 1 else 0]


cdef inline Py_ssize_t hidden_row(const layer *of, Py_ssize_t i) noexcept nogil:
    return i if of.selected == NULL else of.selected[i]


# ---- The steps of a block, of which each task is done by one thread.

cdef void start_block(const layer *of, room *r, Py_ssize_t first, int n) noexcept nogil:
    r.first, r.n, r.job.x_first, r.add = first, n, first, of.add or first % of.chunk_rows != 0
    if of.selected != NULL or not readable(of, &of.hidden, first, n, &r.hidden):
        r.hidden = [r.packed, of.n_features]
    r.direct = (of.derivatives and of.n_parts == 1 and of.selected == NULL
                and readable(of, &of.d_hidden, first, n, &r.d_hidden))
    if not r.direct:
        r.d_hidden = [r.parts, of.n_features]


cdef inline int rows_of_task(const layer *of, const room *r, int task) noexcept nogil:
    return min(of.rows_at_a_time, r.n - task * of.rows_at_a_time)


cdef void pack_hidden(const layer *of, int task, int thread) noexcept nogil:
    cdef const room *r = room_of(of, thread)
    cdef int i, first = task * of.rows_at_a_time
    for i in range(first, first + rows_of_task(of, r, task)):
        read_row(of, at(&of.hidden.rows, hidden_row(of, r.first + i)), of.hidden.class_stride, of.hidden.rows.element,
                 r.packed + i * of.n_features * of.size)


cdef void find_logits(const layer *of, int task, int thread) noexcept nogil:
    # Of a tile of classes: bias + hidden weight^T, and their row pairs.
    cdef const room *r = room_of(of, thread)
    cdef Py_ssize_t first = <Py_ssize_t>task * of.tile
    cdef int i, n = <int>min(<Py_ssize_t>of.tile, of.n_classes - first)
    cdef matrix logits
    if of.keep:
        logits = moved(of, r.logits, first)
    else:
        logits = [of.tiles + thread * bytes_of(of, of.block_rows, of.tile), of.tile]
    if of.bias != NULL:
        for i in range(r.n):
            memcpy(logits.data + i * (logits.stride * of.size), of.bias + first * of.size, n * of.size)
    multiply(of, b"TN", n, r.n, of.n_features, weight_of(of, first, n, thread), r.hidden, of.bias != NULL, logits)
    if r.pairs != NULL:
        for i in range(steps_in(r.n, BLOCK)):
            find_tile_pairs(of, r, i, first, n, moved(of, logits, <Py_ssize_t>i * BLOCK * logits.stride), thread)


cdef int groups_of(const layer *of) noexcept nogil:
    return steps_in(of.block_rows, BLOCK)


cdef void find_tile_pairs(const layer *of, const room *r, int group, Py_ssize_t first, int n_classes, matrix logits,
                          int thread) noexcept nogil:
    # Of a group of up to BLOCK rows.
    cdef pairs *tile = &r.pairs[first // of.tile * groups_of(of) + group]
    cdef row_pointer[BLOCK] rows
    cdef int i, row = group * <int>BLOCK, n = min(<int>BLOCK, r.n - row)
    cdef Py_ssize_t code
    cdef source x = [rows, of.size, of.element, logits.stride * of.size, NULL, gathered_by(&of.all, thread).scratch]
    for i in range(n):
        rows[i] = logits.data + i * x.row_stride
    tile.cached_exp = NULL
    KERNELS.pair.rows(x, r.job.terms.gamma != 0, n, n_classes, tile)
    for i in range(n):
        if tile.m[i] == -INFINITY and not has_nan(rows[i], of.size, of.element, n_classes):
            # The other tiles say what the row's loss is.
            tile.e[i], tile.e_low[i], tile.sum[i], tile.sum_low[i] = 1, 0, 0, 0
    for i in range(0 if of.keep else n):
        code = r.codes[row + i] - first
        if 0 <= code < n_classes:
            KERNELS.memory.read(rows[i] + code * of.size, of.size, of.element, 1, &r.x_target[row + i])


cdef void codes_of_rows(const layer *of, int task, int thread) noexcept nogil:
    cdef const room *r = room_of(of, thread)
    cdef rows_of_target t
    cdef int first = task * of.rows_at_a_time, n = rows_of_task(of, r, task)
    load_target(&r.job, r.first + first, n, True, &t, gathered_by(&of.all, thread))
    memcpy(r.codes + first, t.code, n * sizeof(int64_t))


cdef void find_losses(const layer *of, int task, int thread) noexcept nogil:
    cdef const room *r = room_of(of, thread)
    cross_entropy_block(&r.job, r.first + task * of.rows_at_a_time, rows_of_task(of, r, task), gathered_by(&of.all, thread))


cdef int hidden_tasks(const layer *of) noexcept nogil:
    return of.n_parts * steps_in(of.n_features, FEATURES_AT_A_TIME)


cdef void find_derivatives(const layer *of, int task, int thread) noexcept nogil:
    # First come tasks for the hidden rows, then for the weights.
    if task < hidden_tasks(of):
        find_d_hidden(of, task % of.n_parts, task // of.n_parts * FEATURES_AT_A_TIME, thread)
    else:
        add_d_weight(of, task - hidden_tasks(of), thread)


cdef void find_d_hidden(const layer *of, int part, int feature, int thread) noexcept nogil:
    # A part of the classes, as many tiles as others, and some features: gradient weight.
    cdef const room *r = room_of(of, thread)
    cdef int n_tiles = steps_in(of.n_classes, of.tile), tile, n
    cdef int first_tile = part * n_tiles // of.n_parts, n_features = min(<int>FEATURES_AT_A_TIME, of.n_features - feature)
    cdef Py_ssize_t first
    cdef matrix weight, out = moved(of, r.d_hidden, <Py_ssize_t>part * of.block_rows * of.n_features + feature)
    for tile in range(first_tile, (part + 1) * n_tiles // of.n_parts):
        first = <Py_ssize_t>tile * of.tile
        n = <int>min(<Py_ssize_t>of.tile, of.n_classes - first)
        weight = moved(of, weight_of(of, first, n, thread), feature)
        multiply(of, b"NN", n_features, r.n, n, weight, moved(of, r.logits, first), tile > first_tile, out)


cdef void add_d_weight(const layer *of, int tile, int thread) noexcept nogil:
    # Of a tile of classes: gradient^T hidden.
    cdef const room *r = room_of(of, thread)
    cdef Py_ssize_t first = <Py_ssize_t>tile * of.tile
    cdef int n = <int>min(<Py_ssize_t>of.tile, of.n_classes - first)
    cdef Py_ssize_t place = (r.chunk * of.n_classes + first) * of.size
    cdef matrix gradient = moved(of, r.logits, first)
    multiply(of, b"NT", of.n_features, n, r.n, r.hidden, gradient, r.add,
             [of.d_weight + place * of.n_features, of.n_features])
    if of.d_bias != NULL:
        multiply(of, b"NT", 1, n, r.n, [of.ones, 1], gradient, r.add, [of.d_bias + place, 1])


cdef void store_d_hidden(const layer *of, int task, int thread) noexcept nogil:
    # The sum of the parts, in order, to where it belongs.
    cdef const room *r = room_of(of, thread)
    cdef int i, part, first = task * of.rows_at_a_time
    cdef Py_ssize_t j, part_bytes = of.block_rows * of.n_features * of.size
    cdef char *row
    cdef char *out
    for i in range(first, first + rows_of_task(of, r, task)):
        row = r.parts + i * of.n_features * of.size
        for part in range(1, of.n_parts):
            if of.element == F32:
                add_row[float](<const float *>(row + part * part_bytes), of.n_features, <float *>row)
            else:
                add_row[double](<const double *>(row + part * part_bytes), of.n_features, <double *>row)
        out = at(&of.d_hidden.rows, hidden_row(of, r.first + i))
        if of.d_hidden.rows.element == of.element and of.d_hidden.class_stride == of.size:
            memcpy(out, row, of.n_features * of.size)
            continue
        for j in range(of.n_features):
            write_element(out + j * of.d_hidden.class_stride, of.d_hidden.rows.element,
                          (<float *>row)[j] if of.element == F32 else (<double *>row)[j])


ctypedef fused real:
    float
    double


cdef void add_row(const real *x, Py_ssize_t n, real *sum) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        sum[j] += x[j]


# ---- The steps of all blocks.

cdef void run_step(layer_step step, const layer *of, int first, int n_tasks, int n_threads) noexcept nogil:
    cdef int i
    if n_threads == 1 or n_tasks == 1:
        for i in range(first, first + n_tasks):
            run_step_task(step, of, i, 0)
    else:
        for i in prange(first, first + n_tasks, num_threads=n_threads, schedule="dynamic", chunksize=1):
            run_step_task(step, of, i, threadid())


cdef inline void run_step_task(layer_step step, const layer *of, int task, int thread) noexcept nogil:
    cdef uint64_t control = xentc_enter_kernels()
    step(of, task, thread)
    xentc_leave_kernels(control)


cdef void run_block(const layer *of, Py_ssize_t first, int n, int n_threads) noexcept nogil:
    cdef room *r = of.rooms
    cdef int groups = steps_in(n, of.rows_at_a_time), tiles = steps_in(of.n_classes, of.tile)
    start_block(of, r, first, n)
    if r.hidden.data == r.packed:
        run_step(pack_hidden, of, 0, groups, n_threads)
    if not of.keep:
        run_step(codes_of_rows, of, 0, groups, n_threads)
    run_step(find_logits, of, 0, tiles, n_threads)
    run_step(find_losses, of, 0, groups, n_threads)
    if of.derivatives:
        run_step(find_derivatives, of, 0, hidden_tasks(of) + tiles, n_threads)
        if not r.direct:
            run_step(store_d_hidden, of, 0, groups, n_threads)


cdef void run_chunk(const layer *of, int chunk, int thread) noexcept nogil:
    # A thread's own: all tasks one after the other.
    cdef room *r = room_of(of, thread)
    cdef Py_ssize_t first = chunk * of.chunk_rows, end = min(of.n_rows, (chunk + 1) * of.chunk_rows)
    cdef int task, groups
    r.chunk = chunk
    while first < end:
        start_block(of, r, first, <int>min(of.block_rows, end - first))
        groups = steps_in(r.n, of.rows_at_a_time)
        for task in range(groups if r.hidden.data == r.packed else 0):
            pack_hidden(of, task, thread)
        find_logits(of, 0, thread)
        for task in range(groups):
            find_losses(of, task, thread)
        if of.derivatives:
            for task in range(hidden_tasks(of) + 1):
                find_derivatives(of, task, thread)
            for task in range(groups if not r.direct else 0):
                store_d_hidden(of, task, thread)
        first += of.block_rows


cdef run_layer(layer *of, int n_threads):
    # In pieces between which Ctrl-C is looked for.
    cdef Py_ssize_t first = 0
    cdef int chunk = 0, some
    # About a tenth of a second for each thread.
    cdef Py_ssize_t chunks_at_a_time = n_threads * max(
        <Py_ssize_t>1, <Py_ssize_t>2e9 // max(1, of.chunk_rows * of.n_classes * of.n_features))
    if of.by_classes:
        while first < of.n_rows:
            with nogil:
                run_block(of, first, <int>min(of.block_rows, of.n_rows - first), n_threads)
            first += of.block_rows
            PyErr_CheckSignals()
        return
    while chunk < of.n_chunks:
        some = <int>min(chunks_at_a_time, <Py_ssize_t>(of.n_chunks - chunk))
        with nogil:
            run_step(run_chunk, of, chunk, some, n_threads)
        chunk += some
        PyErr_CheckSignals()


@cython.final
cdef class Layer:
    """The logits of a Call: hidden weight^T + bias, of rows of features and classes of features.

    multiply: a capsule with BLAS's sgemm or dgemm, for results of float32 or float64. hidden and weight are floats of any
    type and layout; bias, of the results' type, and selected, int64 numbers of the hidden rows that the call's rows are, may
    be None.
    """
    cdef layer layer
    cdef Call call
    cdef object memory

    def __cinit__(self, Call call, multiply, hidden, weight, bias, selected):
        cdef Rows rows = call.hold(hidden, True)
        cdef layer *of = &self.layer
        self.call = call
        of.multiply = <gemm>PyCapsule_GetPointer(multiply, PyCapsule_GetName(multiply))
        of.element, of.size = call.job.x.rows.element, computed_size(&call.job)
        of.n_rows, of.n_classes, of.n_features = call.job.n_rows, call.job.n_classes, rows.n_classes
        of.hidden.rows, of.hidden.class_stride = floats(rows.view), rows.class_stride
        rows = call.hold(weight, True)
        of.weight.rows, of.weight.class_stride = floats(rows.view), rows.class_stride
        if bias is not None:
            of.bias = call.data(bias)
        if selected is not None:
            of.selected = <const int64_t *>call.data(selected)

    def set_derivatives(self, double denominator, d_hidden, d_weight, d_bias, bint add):
        """d_hidden: of hidden's shape and any float type. d_weight, d_bias: contiguous, of the results' type, those of each
        chunk one after the other; d_bias may be None. add: to what these two hold. All are over the denominator."""
        cdef layer *of = &self.layer
        self.call.job.out.denominator = denominator
        of.derivatives, of.add = True, add
        cdef Rows rows = self.call.hold(d_hidden, True, True)
        of.d_hidden.rows, of.d_hidden.class_stride = floats(rows.view), rows.class_stride
        of.d_weight = self.call.data(d_weight, True)
        if d_bias is not None:
            of.d_bias = self.call.data(d_bias, True)

    def cross_entropy(self, double z_loss, double focal_gamma, *, Py_ssize_t block_rows, Py_ssize_t chunk_rows, int tile,
                      int n_parts, bint by_classes, int n_chunks, bint keep):
        """As Call.cross_entropy. block_rows: of which there are logits at a time.

        by_classes: threads share tiles of classes, and n_parts of them for the gradient of the hidden rows; there is one
        chunk. Else they share n_chunks of chunk_rows, whole blocks; there are one tile and one part. keep: the logits of a
        block are kept, as they are for derivatives, for targets that are no plain codes, and where not by_classes.
        """
        cdef layer *of = &self.layer
        cdef job *j = &self.call.job
        cdef gathered total
        cdef int n_threads = 1 if xentc_forked() else self.call.n_threads
        of.block_rows, of.chunk_rows, of.n_chunks, of.tile, of.n_parts = block_rows, chunk_rows, n_chunks, tile, n_parts
        of.by_classes, of.keep, of.rows_at_a_time = by_classes, keep, BLOCK
        while keep and of.rows_at_a_time > 1 and of.rows_at_a_time * of.n_classes * of.size > BLOCK_BYTES:
            of.rows_at_a_time //= 2       # so that they are of one `pairs`
        j.terms.z, j.terms.gamma = z_loss, focal_gamma
        j.pool = NULL
        try:
            self.hire(n_threads)
            run_layer(of, n_threads)
            gather_all(&of.all, &total)
        finally:
            PyMem_RawFree(of.all.memory)
            of.all.memory = NULL
        return self.call.results(&total)

    cdef int hire(self, int n_threads) except -1:
        # Memory for all threads. What is not used is not touched, and costs nothing.
        import numpy

        cdef layer *of = &self.layer
        cdef segment_pool alone = [run_tasks, 1, NULL, 0]
        cdef size_t scratch = scratch_bytes(of.n_classes, of.size)
        cdef Py_ssize_t i
        cdef int t
        of.logits_stride = of.n_classes * of.size
        if of.logits_stride >= 1024:
            of.logits_stride = whole_lines(of.logits_stride)
            if of.logits_stride % 4096 == 0:
                of.logits_stride += LINE   # rows at one place of a cache's sets would push each other out
        of.n_rooms = 1 if of.by_classes else n_threads
        for i in (of.tile, of.n_classes % of.tile):
            scratch = max(scratch, scratch_bytes(i, of.size))
        hire(&of.all, n_threads, &self.call.job, &alone, scratch)
        self.memory = numpy.empty(LINE + self.deal_out(<char *>LINE, n_threads, True), numpy.uint8)  # on large pages
        self.deal_out(<char *>whole_lines(<size_t>self.call.data(self.memory, True)), n_threads, False)
        for i in range(of.block_rows):
            write_element(of.ones + i * of.size, of.element, 1)
        for t in range(of.n_rooms):
            self.set_job(&of.rooms[t])
        return 0

    cdef size_t deal_out(self, char *memory, int n_threads, bint only_count):
        # The bytes that are taken.
        cdef layer *of = &self.layer
        cdef char *end = memory
        cdef room counted
        cdef room *r = &counted
        cdef int t
        of.rooms = <room *>take(&end, of.n_rooms * sizeof(room))
        of.ones = <char *>take(&end, bytes_of(of, of.block_rows, 1))
        of.weight_tiles = <char *>take(&end, n_threads * bytes_of(of, of.tile, of.n_features))
        of.tiles = <char *>take(&end, 0 if of.keep else n_threads * bytes_of(of, of.block_rows, of.tile))
        for t in range(of.n_rooms):
            if not only_count:
                r = &of.rooms[t]
            memset(r, 0, sizeof(room))
            r.packed = <char *>take(&end, bytes_of(of, of.block_rows, of.n_features))
            if of.keep:
                r.logits.data = <char *>take(&end, of.block_rows * of.logits_stride)
            else:
                r.codes = <int64_t *>take(&end, of.block_rows * sizeof(int64_t))
                r.x_target = <double *>take(&end, of.block_rows * sizeof(double))
            if of.derivatives:
                r.parts = <char *>take(&end, of.n_parts * bytes_of(of, of.block_rows, of.n_features))
            if of.by_classes:
                r.pairs = <pairs *>take(&end, <size_t>steps_in(of.n_classes, of.tile) * groups_of(of) * sizeof(pairs))
        return end - memory

    cdef void set_job(self, room *r):
        cdef layer *of = &self.layer
        r.job = self.call.job
        r.job.pairs, r.job.n_parts, r.job.pairs_in_part = r.pairs, steps_in(of.n_classes, of.tile), groups_of(of)
        r.job.x_target = r.x_target
        if not of.keep:
            return
        r.logits.stride = <int>(of.logits_stride // of.size)
        r.job.x.class_stride = of.size
        r.job.x.rows.data, r.job.x.rows.element = r.logits.data, of.element
        r.job.x.rows.ndim, r.job.x.rows.stride[0] = 1, of.logits_stride
        if of.derivatives:
            r.job.out.grad = r.job.x
