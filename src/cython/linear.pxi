# Cython layer: the loss of a linear layer, whose logits exist for a block of rows at a time.
#
# Four steps a block: its logits, their losses (which leave the gradient in the logits' place), the gradient of the hidden
# rows, and what the block adds to that of the weights. Matrices are multiplied by BLAS, which runs on the thread that calls
# it. Where weights are small a thread takes all steps of a chunk of rows, which has derivatives of the weights of its own.
# Where they are large all threads share the steps of one block, most of them by tiles of classes. The shapes of all products
# and the order of sums depend on the plan alone, so the number of threads changes no bit.

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
    matrix hidden                     # the block's, or a packed copy
    matrix logits                     # and then their gradient
    matrix d_hidden                   # of each part of the classes, one after the other; or the result itself
    bint direct                       # it is
    char *packed
    char *parts


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
    char *d_weight                    # to be added to, those of each chunk one after the other
    char *d_bias                      # or NULL
    char *ones
    Py_ssize_t block_rows
    Py_ssize_t chunk_rows
    int n_chunks
    int tile                          # classes
    int n_parts                       # of the classes, whose gradients of the hidden rows are added at the end
    int rows_at_a_time                # of the losses
    Py_ssize_t logits_stride
    room *rooms
    int n_rooms                       # one for each thread, or one for all
    char *weight_tiles                # one for each thread, where weights cannot be used as they lie
    char *memory
    workers all


ctypedef void (*layer_step)(const layer *, int, int) noexcept nogil

cdef enum:
    FEATURES_AT_A_TIME = 1024         # of a task of the hidden rows' gradient


cdef int steps_in(Py_ssize_t n, Py_ssize_t step) noexcept nogil:
    return <int>((n + step - 1) // step)


cdef void multiply(const layer *l, const char *transposed, int m, int n, int k, matrix a, matrix b, bint add,
                   matrix c) noexcept nogil:
    cdef float[2] single = [1, add]
    cdef double[2] double_ = [1, add]
    cdef void *alpha = <void *>&double_[0]
    cdef void *beta = <void *>&double_[1]
    if l.element == F32:
        alpha, beta = &single[0], &single[1]
    l.multiply(<char *>&transposed[0], <char *>&transposed[1], &m, &n, &k, alpha, a.data, &a.stride, b.data, &b.stride, beta,
               c.data, &c.stride)


cdef void read_row(const layer *l, const char *row, Py_ssize_t stride, element element, char *out) noexcept nogil:
    if element == l.element and stride == l.size:
        memcpy(out, row, l.n_features * l.size)
    elif l.element == F32:
        KERNELS.memory.read_single(row, stride, element, l.n_features, <float *>out)
    else:
        KERNELS.memory.read(row, stride, element, l.n_features, <double *>out)


cdef bint readable(const layer *l, const array_of_rows *a, Py_ssize_t first, int n, matrix *out) noexcept nogil:
    # Whether BLAS can use n rows where they lie.
    cdef ptrdiff_t stride = l.n_features * l.size if n == 1 else stride_of(&a.rows, first, n)
    out.data, out.stride = at(&a.rows, first), <int>(stride // l.size)
    return (a.rows.element == l.element and (a.class_stride == l.size or l.n_features == 1) and stride % l.size == 0
            and l.n_features <= stride // l.size <= INT_MAX)


cdef inline matrix moved(const layer *l, matrix a, Py_ssize_t elements) noexcept nogil:
    return [a.data + elements * l.size, a.stride]


cdef matrix weight_of(const layer *l, Py_ssize_t first, int n, int thread) noexcept nogil:
    # Of n classes.
    cdef matrix result
    cdef Py_ssize_t i
    if readable(l, &l.weight, first, n, &result):
        return result
    result = [l.weight_tiles + thread * (<Py_ssize_t>l.tile * l.n_features * l.size), l.n_features]
    for i in range(n):
        read_row(l, at(&l.weight.rows, first + i), l.weight.class_stride, l.weight.rows.element,
                 result.data + i * l.n_features * l.size)
    return result


cdef inline room *room_of(const layer *l, int thread) noexcept nogil:
    return &l.rooms[thread if l.n_rooms > 1 else 0]


cdef inline Py_ssize_t hidden_row(const layer *l, Py_ssize_t i) noexcept nogil:
    return i if l.selected == NULL else l.selected[i]


# ---- The steps of a block, of which each task is done by one thread.

cdef void start_block(const layer *l, room *r, Py_ssize_t first, int n) noexcept nogil:
    r.first, r.n, r.job.x_first = first, n, first
    if l.selected != NULL or not readable(l, &l.hidden, first, n, &r.hidden):
        r.hidden = [r.packed, l.n_features]
    r.direct = l.derivatives and l.n_parts == 1 and l.selected == NULL and readable(l, &l.d_hidden, first, n, &r.d_hidden)
    if not r.direct:
        r.d_hidden = [r.parts, l.n_features]


cdef inline int rows_of_task(const layer *l, const room *r, int task) noexcept nogil:
    return min(l.rows_at_a_time, r.n - task * l.rows_at_a_time)


cdef void pack_hidden(const layer *l, int task, int thread) noexcept nogil:
    cdef const room *r = room_of(l, thread)
    cdef int i, first = task * l.rows_at_a_time
    for i in range(first, first + rows_of_task(l, r, task)):
        read_row(l, at(&l.hidden.rows, hidden_row(l, r.first + i)), l.hidden.class_stride, l.hidden.rows.element,
                 r.packed + i * l.n_features * l.size)


cdef void find_logits(const layer *l, int task, int thread) noexcept nogil:
    # Of a tile of classes: bias + hidden weight^T.
    cdef const room *r = room_of(l, thread)
    cdef Py_ssize_t first = <Py_ssize_t>task * l.tile
    cdef int i, n = <int>min(<Py_ssize_t>l.tile, l.n_classes - first)
    cdef matrix logits = moved(l, r.logits, first)
    if l.bias != NULL:
        for i in range(r.n):
            memcpy(logits.data + i * l.logits_stride, l.bias + first * l.size, n * l.size)
    multiply(l, b"TN", n, r.n, l.n_features, weight_of(l, first, n, thread), r.hidden, l.bias != NULL, logits)


cdef void find_losses(const layer *l, int task, int thread) noexcept nogil:
    cdef const room *r = room_of(l, thread)
    cross_entropy_block(&r.job, r.first + task * l.rows_at_a_time, rows_of_task(l, r, task), gathered_by(&l.all, thread))


cdef int hidden_tasks(const layer *l) noexcept nogil:
    return l.n_parts * steps_in(l.n_features, FEATURES_AT_A_TIME)


cdef void find_derivatives(const layer *l, int task, int thread) noexcept nogil:
    # First come tasks for the hidden rows, then for the weights.
    if task < hidden_tasks(l):
        find_d_hidden(l, task % l.n_parts, task // l.n_parts * FEATURES_AT_A_TIME, thread)
    else:
        add_d_weight(l, task - hidden_tasks(l), thread)


cdef void find_d_hidden(const layer *l, int part, int feature, int thread) noexcept nogil:
    # A part of the classes, as many tiles as others, and some features: gradient weight.
    cdef const room *r = room_of(l, thread)
    cdef int n_tiles = steps_in(l.n_classes, l.tile), tile, n
    cdef int first_tile = part * n_tiles // l.n_parts, n_features = min(<int>FEATURES_AT_A_TIME, l.n_features - feature)
    cdef Py_ssize_t first
    cdef matrix out = moved(l, r.d_hidden, <Py_ssize_t>part * l.block_rows * l.n_features + feature)
    for tile in range(first_tile, (part + 1) * n_tiles // l.n_parts):
        first = <Py_ssize_t>tile * l.tile
        n = <int>min(<Py_ssize_t>l.tile, l.n_classes - first)
        multiply(l, b"NN", n_features, r.n, n, moved(l, weight_of(l, first, n, thread), feature), moved(l, r.logits, first),
                 tile > first_tile, out)


cdef void add_d_weight(const layer *l, int tile, int thread) noexcept nogil:
    # Of a tile of classes: gradient^T hidden.
    cdef const room *r = room_of(l, thread)
    cdef Py_ssize_t first = <Py_ssize_t>tile * l.tile
    cdef int n = <int>min(<Py_ssize_t>l.tile, l.n_classes - first)
    cdef Py_ssize_t place = (r.chunk * l.n_classes + first) * l.size
    cdef matrix gradient = moved(l, r.logits, first)
    multiply(l, b"NT", l.n_features, n, r.n, r.hidden, gradient, True, [l.d_weight + place * l.n_features, l.n_features])
    if l.d_bias != NULL:
        multiply(l, b"NT", 1, n, r.n, [l.ones, 1], gradient, True, [l.d_bias + place, 1])


cdef void store_d_hidden(const layer *l, int task, int thread) noexcept nogil:
    # The sum of the parts, in order, to where it belongs.
    cdef const room *r = room_of(l, thread)
    cdef int i, part, first = task * l.rows_at_a_time
    cdef Py_ssize_t j, part_bytes = l.block_rows * l.n_features * l.size
    cdef char *row
    cdef char *out
    for i in range(first, first + rows_of_task(l, r, task)):
        row = r.parts + i * l.n_features * l.size
        for part in range(1, l.n_parts):
            if l.element == F32:
                add_row[float](<const float *>(row + part * part_bytes), l.n_features, <float *>row)
            else:
                add_row[double](<const double *>(row + part * part_bytes), l.n_features, <double *>row)
        out = at(&l.d_hidden.rows, hidden_row(l, r.first + i))
        if l.d_hidden.rows.element == l.element and l.d_hidden.class_stride == l.size:
            memcpy(out, row, l.n_features * l.size)
            continue
        for j in range(l.n_features):
            write_element(out + j * l.d_hidden.class_stride, l.d_hidden.rows.element,
                          (<float *>row)[j] if l.element == F32 else (<double *>row)[j])


ctypedef fused real:
    float
    double


cdef void add_row(const real *x, Py_ssize_t n, real *sum) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        sum[j] += x[j]


# ---- The steps of all blocks.

cdef void run_step(layer_step step, const layer *l, int first, int n_tasks, int n_threads) noexcept nogil:
    cdef int i
    if n_threads == 1 or n_tasks == 1:
        for i in range(first, first + n_tasks):
            run_step_task(step, l, i, 0)
    else:
        for i in prange(first, first + n_tasks, num_threads=n_threads, schedule="dynamic", chunksize=1):
            run_step_task(step, l, i, threadid())


cdef inline void run_step_task(layer_step step, const layer *l, int task, int thread) noexcept nogil:
    cdef uint64_t control = xentc_enter_kernels()
    step(l, task, thread)
    xentc_leave_kernels(control)


cdef void run_block(const layer *l, Py_ssize_t first, int n, int n_threads) noexcept nogil:
    cdef room *r = l.rooms
    cdef int groups = steps_in(n, l.rows_at_a_time), tiles = steps_in(l.n_classes, l.tile)
    start_block(l, r, first, n)
    if r.hidden.data == r.packed:
        run_step(pack_hidden, l, 0, groups, n_threads)
    run_step(find_logits, l, 0, tiles, n_threads)
    run_step(find_losses, l, 0, groups, n_threads)
    if l.derivatives:
        run_step(find_derivatives, l, 0, hidden_tasks(l) + tiles, n_threads)
        if not r.direct:
            run_step(store_d_hidden, l, 0, groups, n_threads)


cdef void run_chunk(const layer *l, int chunk, int thread) noexcept nogil:
    # A thread's own: all tasks one after the other.
    cdef room *r = room_of(l, thread)
    cdef Py_ssize_t first = chunk * l.chunk_rows, end = min(l.n_rows, (chunk + 1) * l.chunk_rows)
    cdef int task, groups
    r.chunk = chunk
    while first < end:
        start_block(l, r, first, <int>min(l.block_rows, end - first))
        groups = steps_in(r.n, l.rows_at_a_time)
        for task in range(groups if r.hidden.data == r.packed else 0):
            pack_hidden(l, task, thread)
        find_logits(l, 0, thread)
        for task in range(groups):
            find_losses(l, task, thread)
        if l.derivatives:
            for task in range(hidden_tasks(l) + 1):
                find_derivatives(l, task, thread)
            for task in range(groups if not r.direct else 0):
                store_d_hidden(l, task, thread)
        first += l.block_rows


cdef run_layer(layer *l, bint by_classes, int n_threads):
    # In pieces between which Ctrl-C is looked for.
    cdef Py_ssize_t first = 0
    cdef int chunk = 0, some
    # About a tenth of a second for each thread.
    cdef Py_ssize_t chunks_at_a_time = n_threads * max(
        <Py_ssize_t>1, <Py_ssize_t>2e9 // max(1, l.chunk_rows * l.n_classes * l.n_features))
    if by_classes:
        while first < l.n_rows:
            with nogil:
                run_block(l, first, <int>min(l.block_rows, l.n_rows - first), n_threads)
            first += l.block_rows
            PyErr_CheckSignals()
        return
    while chunk < l.n_chunks:
        some = <int>min(chunks_at_a_time, <Py_ssize_t>(l.n_chunks - chunk))
        with nogil:
            run_step(run_chunk, l, chunk, some, n_threads)
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

    def __cinit__(self, Call call, multiply, hidden, weight, bias, selected):
        cdef Rows rows = call.hold(hidden, True)
        cdef layer *l = &self.layer
        self.call = call
        l.multiply = <gemm>PyCapsule_GetPointer(multiply, PyCapsule_GetName(multiply))
        l.element, l.size = call.job.x.rows.element, computed_size(&call.job)
        l.n_rows, l.n_classes, l.n_features = call.job.n_rows, call.job.n_classes, rows.n_classes
        l.hidden.rows, l.hidden.class_stride = floats(rows.view), rows.class_stride
        rows = call.hold(weight, True)
        l.weight.rows, l.weight.class_stride = floats(rows.view), rows.class_stride
        if bias is not None:
            l.bias = call.data(bias)
        if selected is not None:
            l.selected = <const int64_t *>call.data(selected)

    def set_derivatives(self, d_hidden, d_weight, d_bias, double denominator):
        """Arrays to write to, of hidden's shape and any float type, and to add to, contiguous and of the results' type:
        d_weight and d_bias of each chunk. d_bias may be None. They are over the denominator."""
        cdef layer *l = &self.layer
        self.call.job.out.denominator = denominator
        l.derivatives = True
        cdef Rows rows = self.call.hold(d_hidden, True, True)
        l.d_hidden.rows, l.d_hidden.class_stride = floats(rows.view), rows.class_stride
        l.d_weight = self.call.data(d_weight, True)
        if d_bias is not None:
            l.d_bias = self.call.data(d_bias, True)

    def cross_entropy(self, double z_loss, double focal_gamma, *, Py_ssize_t block_rows, Py_ssize_t chunk_rows, int tile,
                      int n_parts, bint by_classes, int n_chunks):
        """As Call.cross_entropy. block_rows: of which there are logits at a time.

        by_classes: threads share tiles of classes, and n_parts of them for the gradient of the hidden rows; there is one
        chunk. Else they share n_chunks of chunk_rows, whole blocks; there are one tile and one part.
        """
        cdef layer *l = &self.layer
        cdef job *j = &self.call.job
        cdef gathered total
        cdef int n_threads = 1 if xentc_forked() else self.call.n_threads
        l.block_rows, l.chunk_rows, l.n_chunks, l.tile, l.n_parts = block_rows, chunk_rows, n_chunks, tile, n_parts
        l.rows_at_a_time = <int>max(1, min(<Py_ssize_t>BLOCK, BLOCK_BYTES // (l.n_classes * l.size)))
        j.terms.z, j.terms.gamma = z_loss, focal_gamma
        j.pool = NULL
        try:
            self.hire(n_threads, by_classes)
            run_layer(l, by_classes, n_threads)
            gather_all(&l.all, &total)
        finally:
            PyMem_RawFree(l.all.memory)
            PyMem_RawFree(l.memory)
            l.all.memory = l.memory = NULL
        return self.call.results(&total)

    cdef int hire(self, int n_threads, bint by_classes) except -1:
        # Memory for all threads. What is not used is not touched, and costs nothing.
        cdef layer *l = &self.layer
        cdef segment_pool alone = [run_tasks, 1, NULL, 0]
        cdef Py_ssize_t row_bytes = l.n_features * l.size, block_bytes = whole_lines(l.block_rows * row_bytes)
        cdef Py_ssize_t tile_bytes = whole_lines(l.tile * row_bytes), ones_bytes = whole_lines(l.block_rows * l.size), i
        cdef char *memory
        cdef int t
        l.logits_stride = l.n_classes * l.size
        if l.logits_stride >= 1024:
            l.logits_stride = whole_lines(l.logits_stride)
            if l.logits_stride % 4096 == 0:
                l.logits_stride += LINE   # rows at one place of a cache's sets would push each other out
        l.n_rooms = 1 if by_classes else n_threads
        hire(&l.all, n_threads, &self.call.job, &alone)
        l.memory = memory = <char *>PyMem_RawMalloc(
            2 * LINE + l.n_rooms * (sizeof(room) + l.block_rows * l.logits_stride + (1 + l.n_parts) * block_bytes)
            + ones_bytes + n_threads * tile_bytes)
        if memory == NULL:
            raise MemoryError
        memory = <char *>whole_lines(<size_t>memory)
        l.rooms = <room *>take(&memory, l.n_rooms * sizeof(room))
        l.ones = <char *>take(&memory, ones_bytes)
        l.weight_tiles = <char *>take(&memory, n_threads * tile_bytes)
        for i in range(l.block_rows):
            write_element(l.ones + i * l.size, l.element, 1)
        for t in range(l.n_rooms):
            self.furnish(&l.rooms[t], &memory, block_bytes)
        return 0

    cdef void furnish(self, room *r, char **memory, Py_ssize_t block_bytes):
        cdef layer *l = &self.layer
        r.chunk = 0
        r.logits = [<char *>take(memory, l.block_rows * l.logits_stride), <int>(l.logits_stride // l.size)]
        r.packed, r.parts = <char *>take(memory, block_bytes), <char *>take(memory, l.n_parts * block_bytes)
        r.job = self.call.job
        r.job.x.class_stride = l.size
        r.job.x.rows.data, r.job.x.rows.element = r.logits.data, l.element
        r.job.x.rows.ndim, r.job.x.rows.stride[0] = 1, l.logits_stride
        if l.derivatives:
            r.job.out.grad = r.job.x
