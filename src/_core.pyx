# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: freethreading_compatible=True, autotestdict=False, auto_pickle=False
"""Cython layer: typed loops over blocks of rows, each block handed to the kernels of the instruction set in use.

Arguments come validated from the Python layer: arrays are native and aligned, shapes agree. A loop cannot fail; what only
shows while the data is read (a code out of range, a negative soft target) is reduced to the first row that has it and
returned. Everything here works on "rows": an array without its class axis, in C order.
"""
import os

cimport cython
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals
from cython.parallel cimport prange, threadid
from libc.math cimport INFINITY, NAN, fabs, isfinite, isnan
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from kernels cimport (
    BLOCK, ELEMENTS, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64, XENTC_COMPILER, XENTC_VERSION, element, exact_merge,
    exact_sum, kernels, pairs, soft_target, source, xentc_default_float, xentc_forked, xentc_kernels, xentc_openmp_limit,
    xentc_openmp_version, xentc_restore_float, xentc_runtime_start, xentc_usable,
)

ctypedef const char *row_pointer

xentc_runtime_start()

cdef enum:
    MAX_DIMS = 64                     # NumPy's own limit
    BLOCK_BYTES = 131072              # logits of a block: they stay in the second-level cache between its passes
    SLICE = 1 << 22                   # elements a thread works through, about 10 ms, before Ctrl-C is looked for


# ---- The instruction set, chosen once.

cdef const kernels *choose_kernels() except NULL:
    cdef int i = 0
    usable = []
    wanted = os.environ.get("XENTC_ISA", "")
    while xentc_kernels[i] != NULL:
        if xentc_usable(xentc_kernels[i]):
            name = (<bytes>xentc_kernels[i].name).decode()
            if not wanted or wanted == name:
                return xentc_kernels[i]
            usable.append(name)
        i += 1
    raise ImportError(f"XENTC_ISA is {wanted!r}, but the instruction sets usable here are {', '.join(usable)}")


cdef const kernels *KERNELS = choose_kernels()


def build_info():
    """What this build is: version, compiler, OpenMP version (0: without), instruction sets."""
    cdef int i = 0
    built, usable = [], []
    while xentc_kernels[i] != NULL:
        name = (<bytes>xentc_kernels[i].name).decode()
        built.append(name)
        if xentc_usable(xentc_kernels[i]):
            usable.append(name)
        i += 1
    return {
        "version": XENTC_VERSION.decode(),
        "compiler": XENTC_COMPILER.decode(),
        "openmp": xentc_openmp_version(),
        "instruction_sets": {"built": built, "usable": usable, "chosen": (<bytes>KERNELS.name).decode()},
    }


def openmp_limit():
    """The number of threads that OpenMP would use; 1 in a forked child, whose OpenMP threads are gone."""
    return 1 if xentc_forked() else xentc_openmp_limit()


# ---- Arrays as rows.

cdef struct view:
    # An array of any number of dimensions, in C order; neighbouring dimensions that step alike are one.
    char *data
    element element
    int ndim
    Py_ssize_t shape[MAX_DIMS]
    Py_ssize_t stride[MAX_DIMS]


cdef inline char *at(const view *v, Py_ssize_t i) noexcept nogil:
    cdef char *p = v.data
    cdef int d = v.ndim - 1
    if d == 0:
        return p + i * v.stride[0]
    while d >= 0:
        p += (i % v.shape[d]) * v.stride[d]
        i //= v.shape[d]
        d -= 1
    return p


cdef element element_of(const char *fmt, Py_ssize_t size) except ELEMENTS:
    cdef bytes kind = fmt[:1] if fmt != NULL else b"B"
    if kind == b"d":
        return F64
    if kind == b"f":
        return F32
    if kind in b"bhilqn":
        return {1: I8, 2: I16, 4: I32, 8: I64}[size]
    if kind in b"BHILQN?":
        return {1: U8, 2: U16, 4: U32, 8: U64}[size]
    raise TypeError(f"no loop for elements of format {fmt}")


@cython.internal
cdef class Rows:
    """A buffer held for the time of a call; its last axis may be split off as the class axis."""
    cdef Py_buffer buffer
    cdef view view
    cdef Py_ssize_t size              # rows
    cdef Py_ssize_t n_classes
    cdef Py_ssize_t step              # bytes between classes

    def __cinit__(self, array, bint with_classes=False, bint writable=False):
        PyObject_GetBuffer(array, &self.buffer, PyBUF_STRIDES | PyBUF_FORMAT | (PyBUF_WRITABLE if writable else 0))
        cdef Py_buffer *b = &self.buffer
        cdef int d, last = b.ndim - with_classes
        self.view.data = <char *>b.buf
        self.view.element = element_of(b.format, b.itemsize)
        self.n_classes = b.shape[last] if with_classes else 1
        self.step = b.strides[last] if with_classes else 0
        self.size = 1
        self.view.ndim = 0
        for d in range(last):
            self.size *= b.shape[d]
            if b.shape[d] == 1:
                continue
            if self.view.ndim and self.view.stride[self.view.ndim - 1] == b.shape[d] * b.strides[d]:
                self.view.shape[self.view.ndim - 1] *= b.shape[d]
                self.view.stride[self.view.ndim - 1] = b.strides[d]
            else:
                self.view.shape[self.view.ndim] = b.shape[d]
                self.view.stride[self.view.ndim] = b.strides[d]
                self.view.ndim += 1
        if self.view.ndim == 0:
            self.view.ndim, self.view.shape[0], self.view.stride[0] = 1, 1, 0

    def __dealloc__(self):
        PyBuffer_Release(&self.buffer)         # does nothing for a buffer that was never filled


cdef inline double read_real(const char *p, element kind) noexcept nogil:
    return (<const double *>p)[0] if kind == F64 else (<const float *>p)[0]


cdef inline void write_real(char *p, element kind, double value) noexcept nogil:
    if kind == F64:
        (<double *>p)[0] = value
    else:
        (<float *>p)[0] = <float>value


cdef inline int64_t read_code(const char *p, element kind, Py_ssize_t n_codes) noexcept nogil:
    # -1 for whatever is not in [0, n_codes), judged in the target's own type.
    cdef int64_t code = -1
    cdef uint64_t large
    if kind == I64:
        code = (<const int64_t *>p)[0]
    elif kind == I32:
        code = (<const int32_t *>p)[0]
    elif kind == U8:
        code = (<const uint8_t *>p)[0]
    elif kind == I8:
        code = (<const int8_t *>p)[0]
    elif kind == I16:
        code = (<const int16_t *>p)[0]
    elif kind == U16:
        code = (<const uint16_t *>p)[0]
    elif kind == U32:
        code = (<const uint32_t *>p)[0]
    elif kind == U64:
        large = (<const uint64_t *>p)[0]
        code = <int64_t>large if large < <uint64_t>n_codes else -1
    return code if 0 <= code < n_codes else -1


# ---- One call: what its blocks read and write, and what its threads gather.

cdef struct job:
    Py_ssize_t n_rows
    Py_ssize_t n_classes
    Py_ssize_t n_codes                # n_classes, or 2 where a single logit or probability stands for two classes
    view x                            # IN   logits or probabilities
    Py_ssize_t x_step
    view target                       # IN   codes, or soft targets with classes
    Py_ssize_t target_step
    bint soft
    const double *class_weight        # IN   n_codes of them, or one with a step of 0
    int class_weight_step
    view sample_weight                # IN   float64, broadcast to the rows
    double denominator                # of the gradient
    double eps                        # probabilities are clipped to [eps, 1 - eps]
    double tolerance                  # of a row's sum
    const int64_t *entries            # IN   multilabel targets: row i has the codes target[entries[i]:entries[i + 1]]
    char *losses                      # OUT  one a row, contiguous, or NULL
    element loss_element
    view grad                         # OUT  where data is not NULL
    Py_ssize_t grad_step


cdef struct gathered:
    exact_sum total
    exact_sum total_weight
    Py_ssize_t bad_row                # the first row with an invalid target, or n_rows
    double lowest                     # of the probabilities
    double highest
    bint not_finite
    bint sums_differ                  # some row's probabilities do not sum to one


ctypedef void (*block_loop)(const job *, Py_ssize_t, int, gathered *) noexcept nogil


cdef void fill_rows(const view *v, Py_ssize_t first, int n, const char **rows) noexcept nogil:
    cdef int i
    for i in range(n):
        rows[i] = at(v, first + i)


cdef void load_weights(const job *j, Py_ssize_t first, int n, int64_t *code, double *weight, bint *ignored,
                       gathered *g) noexcept nogil:
    # weight = class_weight * sample_weight, rounded once. Soft targets carry their class weights themselves.
    # A label is read once: another thread may be writing the array.
    cdef int i
    cdef double sample_weight
    for i in range(n):
        sample_weight = (<const double *>at(&j.sample_weight, first + i))[0]
        ignored[i] = sample_weight == 0
        weight[i] = sample_weight
        if not j.soft:
            code[i] = read_code(at(&j.target, first + i), j.target.element, j.n_codes)
            if code[i] < 0:
                code[i] = 0
                g.bad_row = min(g.bad_row, first + i)
            weight[i] = j.class_weight[code[i] * j.class_weight_step] * sample_weight


cdef void finish_rows(const job *j, Py_ssize_t first, int n, double *loss, double *weight, const bint *ignored,
                      gathered *g) noexcept nogil:
    # Row losses in their own precision into the sums and, weighted, into the output.
    cdef int i
    cdef double weighted
    for i in range(n):
        if ignored[i]:
            loss[i] = 0
        elif j.loss_element == F32:
            loss[i] = <float>loss[i]
        if isnan(loss[i]):
            loss[i] = NAN             # one bit pattern
        if j.losses != NULL:
            weighted = 0 if weight[i] == 0 and not isnan(loss[i]) else weight[i] * loss[i]
            write_real(j.losses + (first + i) * (8 if j.loss_element == F64 else 4), j.loss_element,
                       NAN if isnan(weighted) else weighted)
    KERNELS.add(loss, weight, n, &g.total, &g.total_weight)


cdef void weights_block(const job *j, Py_ssize_t first, int n, gathered *g) noexcept nogil:
    cdef int64_t[BLOCK] code
    cdef double[BLOCK] weight, zero
    cdef bint[BLOCK] ignored
    load_weights(j, first, n, code, weight, ignored, g)
    memset(zero, 0, sizeof(zero))
    KERNELS.add(zero, weight, n, &g.total, &g.total_weight)


cdef void cross_entropy_block(const job *j, Py_ssize_t first, int n, gathered *g) noexcept nogil:
    cdef int64_t[BLOCK] code
    cdef double[BLOCK] weight, x_target, loss, off, mass, lowest, scale
    cdef bint[BLOCK] ignored
    cdef row_pointer[BLOCK] rows
    cdef row_pointer[BLOCK] target_rows
    cdef row_pointer[BLOCK] grad_rows
    cdef source x = [rows, j.x_step, j.x.element]
    cdef soft_target target = [[target_rows, j.target_step, j.target.element], j.class_weight, j.class_weight_step]
    cdef pairs row_pairs
    cdef bint binary = j.n_codes != j.n_classes
    cdef int i
    cdef Py_ssize_t c
    load_weights(j, first, n, code, weight, ignored, g)
    fill_rows(&j.x, first, n, rows)
    if binary:
        for i in range(n):
            x_target[i] = read_real(rows[i], j.x.element)
        KERNELS.pair_binary(x_target, n, &row_pairs)
    else:
        KERNELS.pair(x, n, j.n_classes, &row_pairs)
    if j.soft:
        fill_rows(&j.target, first, n, target_rows)
        KERNELS.soft_loss(x, &target, n, j.n_classes, &row_pairs, loss, mass, lowest)
        for i in range(n):
            if lowest[i] < 0:
                g.bad_row = min(g.bad_row, first + i)
    else:
        for i in range(n):
            mass[i] = 1
            if not binary:
                x_target[i] = read_real(rows[i] + code[i] * j.x_step, j.x.element)
            elif code[i] == 0:
                x_target[i] = 0
        KERNELS.target_loss(&row_pairs, x_target, n, loss, off)
    finish_rows(j, first, n, loss, weight, ignored, g)
    if j.grad.data == NULL:
        return
    for i in range(n):
        scale[i] = 0 if ignored[i] or j.denominator == 0 else weight[i] / j.denominator
    fill_rows(&j.grad, first, n, grad_rows)
    KERNELS.gradient(x, <char **>grad_rows, j.grad_step, &target if j.soft else NULL, n, j.n_classes, &row_pairs, mass,
                     scale)
    for i in range(n):
        if ignored[i] or j.denominator == 0:
            for c in range(j.n_classes):
                write_real(<char *>grad_rows[i] + c * j.grad_step, j.grad.element, 0)
        elif isnan(loss[i]):
            for c in range(j.n_classes):
                write_real(<char *>grad_rows[i] + c * j.grad_step, j.grad.element, NAN)
        elif not j.soft:
            write_real(<char *>grad_rows[i] + code[i] * j.grad_step, j.grad.element, -off[i] * scale[i])


cdef double minus_log_sum(const job *j, const char *row, int64_t start, int64_t stop, gathered *g,
                          Py_ssize_t i) noexcept nogil:
    # The loss of a row of a multilabel target: the sum of -log p over its codes, in twice the working precision.
    cdef double[BLOCK] p, term
    cdef unsigned char[BLOCK] complement
    cdef double total = 0, low = 0, new, part
    cdef int64_t code
    cdef int n, e
    memset(complement, 0, sizeof(complement))
    while start < stop:
        n = <int>min(<int64_t>BLOCK, stop - start)
        for e in range(n):
            code = read_code(at(&j.target, start + e), j.target.element, j.n_codes)
            if code < 0:
                code = 0
                g.bad_row = min(g.bad_row, i)
            p[e] = read_real(row + code * j.x_step, j.x.element)
        KERNELS.minus_log(p, complement, j.eps, n, term)
        for e in range(n):
            new = total + term[e]
            part = new - total
            low += (total - (new - part)) + (term[e] - part)
            total = new
        start += n
    return total + low


cdef void log_loss_block(const job *j, Py_ssize_t first, int n, gathered *g) noexcept nogil:
    cdef int64_t[BLOCK] code
    cdef double[BLOCK] weight, p, loss, row_sum, lowest, highest
    cdef unsigned char[BLOCK] complement
    cdef bint[BLOCK] ignored
    cdef row_pointer[BLOCK] rows
    cdef source x = [rows, j.x_step, j.x.element]
    cdef bint binary = j.n_classes == 1
    cdef int i
    fill_rows(&j.x, first, n, rows)
    KERNELS.range(x, n, j.n_classes, row_sum, lowest, highest)
    for i in range(n):
        g.lowest = min(g.lowest, lowest[i])
        g.highest = max(g.highest, highest[i])
        g.not_finite |= not isfinite(row_sum[i])
        g.sums_differ |= not binary and not fabs(row_sum[i] - 1) <= j.tolerance
    if j.target.data == NULL:
        return
    if j.entries != NULL:
        for i in range(n):
            weight[i] = (<const double *>at(&j.sample_weight, first + i))[0]
            ignored[i] = False
            loss[i] = minus_log_sum(j, rows[i], j.entries[first + i], j.entries[first + i + 1], g, first + i)
    else:
        load_weights(j, first, n, code, weight, ignored, g)
        for i in range(n):
            ignored[i] = False        # a row of weight 0 has a loss here: it is shown by log_loss_per_sample
            p[i] = read_real(rows[i] if binary else rows[i] + code[i] * j.x_step, j.x.element)
            complement[i] = binary and code[i] == 0
        KERNELS.minus_log(p, complement, j.eps, n, loss)
    finish_rows(j, first, n, loss, weight, ignored, g)


cdef int run(block_loop loop, const job *j, int n_threads, state, gathered *result) except -1:
    # All blocks of the call, in slices between which Ctrl-C is looked for; the sums go into state.
    cdef Py_ssize_t row_bytes = j.n_classes * 8
    cdef Py_ssize_t block = max(1, min(<Py_ssize_t>BLOCK, BLOCK_BYTES // max(row_bytes, 1)))
    cdef Py_ssize_t n_blocks = (j.n_rows + block - 1) // block
    cdef Py_ssize_t blocks_per_slice = max(<Py_ssize_t>n_threads, SLICE * n_threads // max(block * j.n_classes, 1))
    cdef Py_ssize_t start = 0, stop, b
    cdef uint64_t control
    cdef int t
    if xentc_forked() or n_threads > n_blocks:
        n_threads = 1 if xentc_forked() else max(1, <int>n_blocks)
    cdef gathered *all_gathered = <gathered *>calloc(n_threads, sizeof(gathered))
    if all_gathered == NULL:
        raise MemoryError
    try:
        for t in range(n_threads):
            all_gathered[t].bad_row = j.n_rows
            all_gathered[t].lowest = INFINITY
            all_gathered[t].highest = -INFINITY
        while start < n_blocks:
            stop = min(n_blocks, start + blocks_per_slice)
            with nogil:
                if n_threads == 1:
                    control = xentc_default_float()
                    for b in range(start, stop):
                        loop(j, b * block, <int>min(block, j.n_rows - b * block), &all_gathered[0])
                    xentc_restore_float(control)
                else:
                    for b in prange(start, stop, num_threads=n_threads, schedule="static"):
                        run_block(loop, j, b * block, <int>min(block, j.n_rows - b * block), &all_gathered[threadid()])
            start = stop
            PyErr_CheckSignals()
        result[0] = all_gathered[0]
        for t in range(1, n_threads):
            exact_merge(&result.total, &all_gathered[t].total)
            exact_merge(&result.total_weight, &all_gathered[t].total_weight)
            result.bad_row = min(result.bad_row, all_gathered[t].bad_row)
            result.lowest = min(result.lowest, all_gathered[t].lowest)
            result.highest = max(result.highest, all_gathered[t].highest)
            result.not_finite |= all_gathered[t].not_finite
            result.sums_differ |= all_gathered[t].sums_differ
    finally:
        free(all_gathered)
    merge_into(state, result)
    return 0


cdef inline void run_block(block_loop loop, const job *j, Py_ssize_t first, int n, gathered *g) noexcept nogil:
    cdef uint64_t control = xentc_default_float()
    loop(j, first, n, g)
    xentc_restore_float(control)


cdef int merge_into(state, gathered *g) except -1:
    cdef int64_t[:, ::1] sums = state
    exact_merge(<exact_sum *>&sums[0, 0], &g.total)
    exact_merge(<exact_sum *>&sums[1, 0], &g.total_weight)
    return 0


# The shape of the state of two exact sums, of the weighted values and of the weights: an int64 array of this shape.
STATE_SHAPE = (2, sizeof(exact_sum) // 8)


def merge(state, other):
    """Adds the sums of another state to the state."""
    cdef int64_t[:, ::1] from_other = other.copy()
    cdef int64_t[:, ::1] into = state
    exact_merge(<exact_sum *>&into[0, 0], <exact_sum *>&from_other[0, 0])
    exact_merge(<exact_sum *>&into[1, 0], <exact_sum *>&from_other[1, 0])


def add_values(state, values, weights, int n_threads):
    """Adds float64 values of any shape, with float64 weights of the same shape, to the state."""
    cdef job j
    cdef gathered g
    memset(&j, 0, sizeof(job))
    cdef Rows value_rows = Rows(values), weight_rows = Rows(weights)
    j.n_rows, j.n_classes = value_rows.size, 1
    j.x, j.sample_weight = value_rows.view, weight_rows.view
    run(values_block, &j, n_threads, state, &g)


cdef void values_block(const job *j, Py_ssize_t first, int n, gathered *g) noexcept nogil:
    cdef double[BLOCK] value, weight
    cdef int i
    for i in range(n):
        value[i] = read_real(at(&j.x, first + i), F64)
        weight[i] = read_real(at(&j.sample_weight, first + i), F64)
    KERNELS.add(value, weight, n, &g.total, &g.total_weight)


cdef int set_inputs(job *j, Rows x, Rows target, Rows class_weight, Rows sample_weight) except -1:
    memset(j, 0, sizeof(job))
    j.n_rows, j.n_classes, j.n_codes = x.size, x.n_classes, x.n_classes
    j.x, j.x_step = x.view, x.step
    if target is not None:
        j.target, j.target_step = target.view, target.step
    if class_weight is not None:
        j.class_weight = <const double *>class_weight.view.data
        j.class_weight_step = class_weight.size != 1
    j.sample_weight = sample_weight.view
    return 0


cdef Py_ssize_t bad_row(const job *j, const gathered *g) noexcept:
    return -1 if g.bad_row == j.n_rows else g.bad_row


def total_weight(logits, target, class_weight, sample_weight, state):
    """The weights of integer targets into the state; the first row whose code is out of range, or -1."""
    cdef job j
    cdef gathered g
    cdef Rows x = Rows(logits, True), codes = Rows(target), class_weights = Rows(class_weight)
    cdef Rows sample_weights = Rows(sample_weight)
    set_inputs(&j, x, codes, class_weights, sample_weights)
    run(weights_block, &j, 1, state, &g)
    return bad_row(&j, &g)


def cross_entropy(logits, target, class_weight, sample_weight, losses, grad, double denominator, state, int n_threads, *,
                  bint soft=False, bint binary=False, bint narrow=False):
    """Softmax cross-entropy of rows of logits.

    logits: float64 or float32, classes last. target: integer codes of the rows' shape, or of logits' shape where `soft`.
    class_weight: float64, one a class or a single one. sample_weight: float64 of the rows' shape. losses: None or a
    contiguous array for the weighted row losses. grad: None or an array of logits' shape and dtype for the gradient
    divided by the denominator. narrow: row losses are rounded to float32. binary: a single logit stands for [0, logit].
    The sums go into the state. Returns the first row with an invalid target, or -1.
    """
    cdef job j
    cdef gathered g
    cdef Rows x = Rows(logits, True), targets = Rows(target, soft), class_weights = Rows(class_weight)
    cdef Rows sample_weights = Rows(sample_weight), losses_rows, grad_rows
    set_inputs(&j, x, targets, class_weights, sample_weights)
    j.soft = soft
    j.denominator = denominator
    j.loss_element = F32 if narrow else F64
    if binary:
        j.n_codes = 2
    if losses is not None:
        losses_rows = Rows(losses, False, True)
        j.losses = losses_rows.view.data
    if grad is not None:
        grad_rows = Rows(grad, True, True)
        j.grad, j.grad_step = grad_rows.view, grad_rows.step
    run(cross_entropy_block, &j, n_threads, state, &g)
    return bad_row(&j, &g)


def log_loss(proba, target, entries, sample_weight, losses, double eps, double tolerance, state, int n_threads):
    """Log-loss of rows of probabilities, and what there is to say about them, in one pass.

    proba: float64 or float32, classes last; a single class is P(class 1) of two. target: None (nothing is summed), or
    integer codes, one a row, or row i's codes at target[entries[i]:entries[i + 1]]. The sums go into the state. Returns
    (lowest, highest, finite, rows sum to one within the tolerance, first row with a code out of range or -1).
    """
    cdef job j
    cdef gathered g
    cdef double one = 1
    cdef Rows x = Rows(proba, True), codes = None, weights = Rows(sample_weight), losses_rows, entry_rows
    if target is not None:
        codes = Rows(target)
    set_inputs(&j, x, codes, None, weights)
    j.class_weight = &one
    j.n_codes = 2 if x.n_classes == 1 else x.n_classes
    j.eps = eps
    j.tolerance = tolerance
    j.loss_element = F64
    if entries is not None:
        entry_rows = Rows(entries)
        j.entries = <const int64_t *>entry_rows.view.data
    if losses is not None:
        losses_rows = Rows(losses, False, True)
        j.losses = losses_rows.view.data
    run(log_loss_block, &j, n_threads, state, &g)
    return g.lowest, g.highest, not g.not_finite, not g.sums_differ, bad_row(&j, &g)


def elementary(int function, double[::1] x, double[::1] out):
    """exp, expm1, log, log1p (function 0 to 3) of src/vmath.h, or its float32 exp (4), element by element."""
    if x.shape[0]:
        KERNELS.elementary(function, &x[0], x.shape[0], &out[0])
