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
from libc.math cimport INFINITY, NAN, fabs, isfinite, isinf, isnan
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, INT64_MAX, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from kernels cimport (
    BF16, BLOCK, ELEMENTS, F16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64, XENTC_COMPILER, XENTC_VERSION, element, exact_merge,
    exact_sum, kernels, pairs, soft_sums, source, target, xentc_default_float, xentc_forked, xentc_kernels, xentc_openmp_limit,
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
    if kind == b"e":
        return F16
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

    def __cinit__(self, array, bint with_classes=False, bint writable=False, bint bfloat16=False):
        PyObject_GetBuffer(array, &self.buffer, PyBUF_STRIDES | PyBUF_FORMAT | (PyBUF_WRITABLE if writable else 0))
        cdef Py_buffer *b = &self.buffer
        cdef int d, last = b.ndim - with_classes
        self.view.data = <char *>b.buf
        self.view.element = BF16 if bfloat16 else element_of(b.format, b.itemsize)   # bfloat16 comes as its bits
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


cdef inline void write_real(char *p, element kind, double value) noexcept nogil:
    if kind == F64:
        (<double *>p)[0] = value
    else:
        (<float *>p)[0] = <float>value


cdef inline int64_t read_code(const char *p, element kind) noexcept nogil:
    # What no int64 holds becomes one that is no code.
    if kind == I64:
        return (<const int64_t *>p)[0]
    if kind == I32:
        return (<const int32_t *>p)[0]
    if kind == U8:
        return (<const uint8_t *>p)[0]
    if kind == I8:
        return (<const int8_t *>p)[0]
    if kind == I16:
        return (<const int16_t *>p)[0]
    if kind == U16:
        return (<const uint16_t *>p)[0]
    if kind == U32:
        return (<const uint32_t *>p)[0]
    return <int64_t>min((<const uint64_t *>p)[0], <uint64_t>INT64_MAX)


# ---- One call: what its blocks read and write, and what its threads gather.

cdef struct job:
    Py_ssize_t n_rows
    Py_ssize_t n_classes
    Py_ssize_t n_codes                # n_classes, or 2 where a single logit or probability stands for two classes
    view x                            # IN   logits or probabilities
    Py_ssize_t x_step
    view target                       # IN   codes, or soft targets with classes
    Py_ssize_t target_step
    bint soft                         # the target is dense or sparse probabilities
    const int64_t *entries            # IN   sparse: row i has the entries entries[i] to entries[i + 1]
    const int64_t *indices            # IN   their classes
    const double *values              # IN   and weights; NULL: 1, and the indices are the target, of a multilabel row
    bint has_ignore
    int64_t ignore_index
    const double *class_weight        # IN   n_codes of them, or one with a step of 0
    int class_weight_step
    view sample_weight                # IN   float64, broadcast to the rows
    view pos_weight                   # IN   the same, of binary targets
    double keep                       # label smoothing: a target t becomes keep * t + uniform
    double uniform
    double gamma
    double z
    bint entropy                      # add sum t log t
    bint logs                         # x are log-probabilities
    bint normalized                   # rows of x are divided by their sums
    double denominator                # of the derivatives
    double eps                        # probabilities are clipped to [eps, 1 - eps]
    double tolerance                  # of a row's sum
    char *losses                      # OUT  one a row, contiguous, or NULL
    element loss_element
    view grad                         # OUT  where data is not NULL
    Py_ssize_t grad_step
    view hess                         # OUT  where data is not NULL
    Py_ssize_t hess_step


cdef struct gathered:
    exact_sum total
    exact_sum total_weight
    Py_ssize_t bad_row                # the first row with an invalid target, or n_rows
    Py_ssize_t bad_proba              # the first row with a probability outside [0, 1], or n_rows
    double lowest                     # of the probabilities
    double highest
    bint not_finite
    bint sums_differ                  # some row's probabilities do not sum to one


ctypedef void (*block_loop)(const job *, Py_ssize_t, int, gathered *) noexcept nogil


cdef void fill_rows(const view *v, Py_ssize_t first, int n, const char **rows) noexcept nogil:
    cdef int i
    for i in range(n):
        rows[i] = at(v, first + i)


cdef struct rows_of_target:
    # The targets and weights of a block. A row's loss counts `weight` times, and `share` in the mean's denominator.
    int64_t code[BLOCK]
    double weight[BLOCK]
    double share[BLOCK]
    bint ignored[BLOCK]
    row_pointer rows[BLOCK]
    int64_t start[BLOCK + 1]
    target target


cdef double ONE = 1


cdef void load_target(const job *j, Py_ssize_t first, int n, bint one_hot, rows_of_target *t, gathered *g) noexcept nogil:
    # A label is read once: another thread may be writing the array. The class weight of a plain code is the row's; in all
    # other targets each class has its own.
    cdef int i
    cdef int64_t code
    cdef double sample_weight
    t.target = [[NULL, 0, F64], t.start, t.code, &ONE, 0, &ONE, 0, j.keep, j.uniform]
    if not one_hot:
        t.target.class_weight, t.target.class_weight_step = j.class_weight, j.class_weight_step
    for i in range(n):
        sample_weight = (<const double *>at(&j.sample_weight, first + i))[0]
        t.ignored[i] = sample_weight == 0
        t.weight[i] = t.share[i] = sample_weight
        if j.soft:
            continue
        t.start[i] = i
        code = read_code(at(&j.target, first + i), j.target.element)
        if j.has_ignore and code == j.ignore_index:
            code = 0
            t.ignored[i] = True
        elif not 0 <= code < j.n_codes:
            code = 0
            g.bad_row = min(g.bad_row, first + i)
        t.code[i] = code
        t.share[i] = j.class_weight[code * j.class_weight_step] * sample_weight
        if one_hot:
            t.weight[i] = t.share[i]
        if t.ignored[i]:
            t.weight[i] = t.share[i] = 0
    t.start[n] = n
    if j.soft and j.entries != NULL:
        t.target.start, t.target.index, t.target.value, t.target.value_step = &j.entries[first], j.indices, j.values, 1
    elif j.soft:
        fill_rows(&j.target, first, n, t.rows)
        t.target.source = [t.rows, j.target_step, j.target.element]


cdef void finish_rows(const job *j, Py_ssize_t first, int n, double *loss, const rows_of_target *t,
                      gathered *g) noexcept nogil:
    # Row losses in their own precision into the sums and, weighted, into the output.
    cdef int i
    cdef double weighted
    for i in range(n):
        if t.ignored[i]:
            loss[i] = 0
        elif j.loss_element == F32:
            loss[i] = <float>loss[i]
        if isnan(loss[i]):
            loss[i] = NAN             # one bit pattern
        if j.losses != NULL:
            weighted = 0 if t.weight[i] == 0 and not isnan(loss[i]) else t.weight[i] * loss[i]
            write_real(j.losses + (first + i) * (8 if j.loss_element == F64 else 4), j.loss_element, weighted)
    KERNELS.add(loss, t.weight, t.share, n, &g.total, &g.total_weight)


cdef void set_scale(const job *j, int n, const rows_of_target *t, double *scale) noexcept nogil:
    cdef int i
    for i in range(n):
        scale[i] = 0 if t.ignored[i] or j.denominator == 0 else t.weight[i] / j.denominator


cdef void finish_derivative(const job *j, int n, row_pointer *rows, Py_ssize_t step, element kind, const double *loss,
                            const rows_of_target *t) noexcept nogil:
    # Rows that count for nothing are exactly 0, rows whose loss is NaN are NaN.
    cdef int i
    cdef Py_ssize_t c
    for i in range(n):
        if t.ignored[i] or j.denominator == 0:
            for c in range(j.n_classes):
                write_real(<char *>rows[i] + c * step, kind, 0)
        elif isnan(loss[i]):
            for c in range(j.n_classes):
                write_real(<char *>rows[i] + c * step, kind, NAN)


cdef void weights_block(const job *j, Py_ssize_t first, int n, gathered *g) noexcept nogil:
    cdef rows_of_target t
    cdef double[BLOCK] zero
    load_target(j, first, n, True, &t, g)
    memset(zero, 0, sizeof(zero))
    KERNELS.add(zero, t.weight, t.share, n, &g.total, &g.total_weight)


cdef void cross_entropy_block(const job *j, Py_ssize_t first, int n, gathered *g) noexcept nogil:
    cdef rows_of_target t
    cdef row_pointer[BLOCK] rows, grad_rows, hess_rows
    cdef source x = [rows, j.x_step, j.x.element]
    cdef pairs row_pairs
    cdef soft_sums sums
    cdef double[BLOCK] x_target, off, plain, z, lse, scale
    cdef bint binary = j.n_codes != j.n_classes
    cdef bint one_hot = not j.soft and j.uniform == 0
    cdef element kind = F64 if j.x.element == F64 else F32
    cdef int i
    load_target(j, first, n, one_hot, &t, g)
    fill_rows(&j.x, first, n, rows)
    if binary:
        memset(t.start, 0, sizeof(t.start))
        KERNELS.gather(x, t.start, n, x_target)
        KERNELS.pair_binary(x_target, n, &row_pairs)
        for i in range(n):
            if t.code[i] == 0:
                x_target[i] = 0
    else:
        KERNELS.pair(x, n, j.n_classes, &row_pairs)
        if one_hot:
            KERNELS.gather(x, t.code, n, x_target)
    if one_hot:
        KERNELS.target_loss(&row_pairs, x_target, n, sums.loss, off)
        if j.gamma != 0:
            KERNELS.focal(j.gamma, n, sums.loss, sums.slope, sums.curvature)
        else:
            for i in range(n):
                sums.slope[i], sums.curvature[i] = 1, 0
    else:
        KERNELS.soft_loss(x, &t.target, j.gamma, n, j.n_classes, &row_pairs, &sums)
        for i in range(n):
            if sums.lowest[i] < 0:
                g.bad_row = min(g.bad_row, first + i)
            if j.entropy:
                sums.loss[i] += sums.entropy[i]
    for i in range(n):
        plain[i] = sums.slope[i]
        z[i] = lse[i] = 0
    if j.z != 0:
        KERNELS.logsumexp(&row_pairs, n, lse)
        for i in range(n):
            # The row's class weight is in its weight, or in its terms: then it must be in this one too.
            z[i] = j.z if one_hot or j.soft else j.z * j.class_weight[t.code[i] * j.class_weight_step]
            sums.loss[i] += z[i] * lse[i] * lse[i]
            sums.slope[i] += 2 * z[i] * lse[i]
    finish_rows(j, first, n, sums.loss, &t, g)
    if j.grad.data == NULL and j.hess.data == NULL:
        return
    set_scale(j, n, &t, scale)
    if j.hess.data != NULL:
        fill_rows(&j.hess, first, n, hess_rows)
        KERNELS.elements(x, NULL, 0, <char **>hess_rows, j.hess_step, kind, &t.target, j.gamma, z, n, j.n_classes, &row_pairs,
                         sums.slope, sums.curvature, scale)
        finish_derivative(j, n, hess_rows, j.hess_step, kind, sums.loss, &t)
    if j.grad.data == NULL:
        return
    fill_rows(&j.grad, first, n, grad_rows)
    if j.gamma == 0 or one_hot:
        KERNELS.gradient(x, <char **>grad_rows, j.grad_step, NULL if one_hot else &t.target, n, j.n_classes, &row_pairs,
                         sums.slope, scale)
    else:
        KERNELS.elements(x, <char **>grad_rows, j.grad_step, NULL, 0, kind, &t.target, j.gamma, z, n, j.n_classes, &row_pairs,
                         sums.slope, sums.curvature, scale)
    if one_hot:
        for i in range(n):
            write_real(<char *>grad_rows[i] + t.code[i] * j.grad_step, kind,
                       (2 * z[i] * lse[i] * (1 - off[i]) - plain[i] * off[i]) * scale[i])
    finish_derivative(j, n, grad_rows, j.grad_step, kind, sums.loss, &t)


cdef void binary_block(const job *j, Py_ssize_t first, int n, gathered *g) noexcept nogil:
    # Elements are rows of one class; the target and pos_weight are of their shape.
    cdef rows_of_target t
    cdef row_pointer[BLOCK] rows
    cdef source x = [rows, 0, j.x.element]
    cdef double[BLOCK] value, given, a1, a0, loss, grad, hess, scale
    cdef element kind = F64 if j.x.element == F64 else F32
    cdef double smooth
    cdef int i
    memset(t.start, 0, sizeof(t.start))
    fill_rows(&j.target, first, n, t.rows)
    KERNELS.gather([t.rows, 0, j.target.element], t.start, n, given)
    fill_rows(&j.x, first, n, rows)
    KERNELS.gather(x, t.start, n, value)
    for i in range(n):
        t.weight[i] = t.share[i] = (<const double *>at(&j.sample_weight, first + i))[0]
        t.ignored[i] = t.weight[i] == 0
        if given[i] < 0 or given[i] > 1:
            g.bad_row = min(g.bad_row, first + i)
        if j.eps >= 0 and (value[i] < 0 or value[i] > 1):
            g.bad_proba = min(g.bad_proba, first + i)
        smooth = j.keep * given[i] + j.uniform
        a1[i] = (<const double *>at(&j.pos_weight, first + i))[0] * smooth
        a0[i] = 1 - smooth
    if j.eps >= 0:
        KERNELS.bernoulli(value, a1, a0, j.eps, n, loss, grad)
    else:
        KERNELS.binary(value, a1, a0, j.gamma, n, loss, grad, hess)
    finish_rows(j, first, n, loss, &t, g)
    set_scale(j, n, &t, scale)
    if j.hess.data != NULL:
        fill_rows(&j.hess, first, n, rows)
        for i in range(n):
            write_real(<char *>rows[i], kind, hess[i] * scale[i])
        finish_derivative(j, n, rows, 0, kind, loss, &t)
    if j.grad.data != NULL:
        fill_rows(&j.grad, first, n, rows)
        for i in range(n):
            write_real(<char *>rows[i], kind, grad[i] * scale[i])
        finish_derivative(j, n, rows, 0, kind, loss, &t)


cdef void proba_block(const job *j, Py_ssize_t first, int n, gathered *g) noexcept nogil:
    # Probabilities or their logarithms instead of logits.
    cdef rows_of_target t
    cdef row_pointer[BLOCK] rows, grad_rows
    cdef source x = [rows, j.x_step, j.x.element]
    cdef soft_sums sums
    cdef double[BLOCK] total, lowest, highest, scale
    cdef element kind = F64 if j.x.element == F64 else F32
    cdef int i
    load_target(j, first, n, False, &t, g)
    fill_rows(&j.x, first, n, rows)
    for i in range(n):
        total[i] = 1
    if not j.logs:
        KERNELS.range(x, n, j.n_classes, total, lowest, highest)
        for i in range(n):
            if not t.ignored[i] and (lowest[i] < 0 or (not j.normalized and highest[i] > 1)):
                g.bad_proba = min(g.bad_proba, first + i)
    KERNELS.proba_loss(x, &t.target, j.logs, j.eps, total, j.normalized, n, j.n_classes, &sums)
    for i in range(n):
        if sums.lowest[i] < 0:
            g.bad_row = min(g.bad_row, first + i)
        if not j.logs and isnan(total[i]):
            sums.loss[i] = NAN
    finish_rows(j, first, n, sums.loss, &t, g)
    if j.grad.data == NULL:
        return
    set_scale(j, n, &t, scale)
    fill_rows(&j.grad, first, n, grad_rows)
    KERNELS.proba_gradient(x, <char **>grad_rows, j.grad_step, kind, &t.target, j.logs, j.eps, total, j.normalized, n,
                           j.n_classes, sums.slope, scale)
    finish_derivative(j, n, grad_rows, j.grad_step, kind, sums.loss, &t)


cdef bint has_nan(const job *j, const char *row) noexcept nogil:
    cdef int64_t zero = 0
    cdef double value
    cdef Py_ssize_t c
    cdef row_pointer p
    for c in range(j.n_classes):
        p = row + c * j.x_step
        KERNELS.gather([&p, 0, j.x.element], &zero, 1, &value)
        if isnan(value):
            return True
    return False


cdef void logsumexp_block(const job *j, Py_ssize_t first, int n, gathered *g) noexcept nogil:
    cdef row_pointer[BLOCK] rows
    cdef pairs row_pairs
    cdef double[BLOCK] lse
    cdef int i
    fill_rows(&j.x, first, n, rows)
    KERNELS.pair([rows, j.x_step, j.x.element], n, j.n_classes, &row_pairs)
    KERNELS.logsumexp(&row_pairs, n, lse)
    for i in range(n):
        if isinf(row_pairs.m[i]) and not has_nan(j, rows[i]):
            lse[i] = row_pairs.m[i]
        write_real(j.losses + (first + i) * (8 if j.loss_element == F64 else 4), j.loss_element,
                   NAN if isnan(lse[i]) else lse[i])


cdef void softmax_block(const job *j, Py_ssize_t first, int n, gathered *g) noexcept nogil:
    cdef row_pointer[BLOCK] rows, out_rows
    cdef source x = [rows, j.x_step, j.x.element]
    cdef pairs row_pairs
    cdef double[BLOCK] one
    cdef element kind = F64 if j.x.element == F64 else F32
    cdef int i
    cdef Py_ssize_t c
    fill_rows(&j.x, first, n, rows)
    fill_rows(&j.grad, first, n, out_rows)
    KERNELS.pair(x, n, j.n_classes, &row_pairs)
    for i in range(n):
        one[i] = 1
    if j.logs:
        KERNELS.log_softmax(x, <char **>out_rows, j.grad_step, n, j.n_classes, &row_pairs)
    else:
        KERNELS.gradient(x, <char **>out_rows, j.grad_step, NULL, n, j.n_classes, &row_pairs, one, one)
    for i in range(n):
        if isnan(row_pairs.r[i]):
            for c in range(j.n_classes):
                write_real(<char *>out_rows[i] + c * j.grad_step, kind, NAN)


cdef double minus_log_sum(const job *j, const char *row, int64_t start, int64_t stop, gathered *g,
                          Py_ssize_t i) noexcept nogil:
    # The loss of a row of a multilabel target: the sum of -log p over its codes, in twice the working precision.
    cdef double[BLOCK] p, term
    cdef unsigned char[BLOCK] complement
    cdef row_pointer[BLOCK] same
    cdef int64_t[BLOCK] code
    cdef double total = 0, low = 0, new, part
    cdef int n, e
    memset(complement, 0, sizeof(complement))
    while start < stop:
        n = <int>min(<int64_t>BLOCK, stop - start)
        for e in range(n):
            same[e] = row
            code[e] = j.indices[start + e]
            if not 0 <= code[e] < j.n_codes:
                code[e] = 0
                g.bad_row = min(g.bad_row, i)
        KERNELS.gather([same, j.x_step, j.x.element], code, n, p)
        KERNELS.minus_log(p, complement, j.eps, n, term)
        for e in range(n):
            new = total + term[e]
            part = new - total
            low += (total - (new - part)) + (term[e] - part)
            total = new
        start += n
    return total + low


cdef void log_loss_block(const job *j, Py_ssize_t first, int n, gathered *g) noexcept nogil:
    cdef rows_of_target t
    cdef double[BLOCK] p, loss, row_sum, lowest, highest
    cdef unsigned char[BLOCK] complement
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
    if j.target.data == NULL and j.entries == NULL:
        return
    load_target(j, first, n, True, &t, g)
    if j.entries != NULL:
        for i in range(n):
            loss[i] = minus_log_sum(j, rows[i], j.entries[first + i], j.entries[first + i + 1], g, first + i)
    else:
        for i in range(n):
            complement[i] = binary and t.code[i] == 0
            if binary:
                t.code[i] = 0
        KERNELS.gather(x, t.code, n, p)
        KERNELS.minus_log(p, complement, j.eps, n, loss)
    for i in range(n):
        t.ignored[i] = False          # a row of weight 0 has a loss here: log_loss_per_sample shows it
    finish_rows(j, first, n, loss, &t, g)


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
            all_gathered[t].bad_row = all_gathered[t].bad_proba = j.n_rows
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
            result.bad_proba = min(result.bad_proba, all_gathered[t].bad_proba)
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
    if state is None:
        return 0
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
        value[i] = (<const double *>at(&j.x, first + i))[0]
        weight[i] = (<const double *>at(&j.sample_weight, first + i))[0]
    KERNELS.add(value, weight, weight, n, &g.total, &g.total_weight)


# ---- The calls. Each fills in a job from arrays, which the Rows hold until it returns.

cdef int set_input(job *j, Rows x, Rows sample_weight) except -1:
    memset(j, 0, sizeof(job))
    j.n_rows, j.n_classes, j.n_codes = x.size, x.n_classes, x.n_classes
    j.x, j.x_step = x.view, x.step
    if sample_weight is not None:
        j.sample_weight = sample_weight.view
    j.class_weight = &ONE
    j.keep = 1
    return 0


cdef int set_target(job *j, Rows target, Rows class_weight, ignore_index, double label_smoothing) except -1:
    if target is not None:
        j.target, j.target_step = target.view, target.step
    j.class_weight = <const double *>class_weight.view.data
    j.class_weight_step = class_weight.size != 1
    j.has_ignore = ignore_index is not None
    j.ignore_index = ignore_index if j.has_ignore else 0
    j.keep = 1 - label_smoothing
    j.uniform = label_smoothing / j.n_classes
    return 0


cdef int set_entries(job *j, Rows entries, Rows indices, Rows values) except -1:
    j.soft = True
    j.entries = <const int64_t *>entries.view.data
    j.indices = <const int64_t *>indices.view.data
    j.values = <const double *>values.view.data if values is not None else NULL
    return 0


cdef int set_outputs(job *j, Rows losses, Rows grad, Rows hess, bint narrow, double denominator) except -1:
    j.loss_element = F32 if narrow else F64
    j.denominator = denominator
    if losses is not None:
        j.losses = losses.view.data
    if grad is not None:
        j.grad, j.grad_step = grad.view, grad.step
    if hess is not None:
        j.hess, j.hess_step = hess.view, hess.step
    return 0


cdef Rows output(array, bint with_classes):
    return None if array is None else Rows(array, with_classes, True)


cdef invalid_rows(const job *j, const gathered *g):
    # The first rows with an invalid target, and with an invalid probability; -1 for none.
    return (-1 if g.bad_row == j.n_rows else g.bad_row), (-1 if g.bad_proba == j.n_rows else g.bad_proba)


def total_weight(x, target, class_weight, sample_weight, state, *, ignore_index=None, bint bfloat16=False):
    """The weights of integer targets into the state; the first row whose code is out of range, or -1."""
    cdef job j
    cdef gathered g
    cdef Rows rows = Rows(x, True, False, bfloat16), codes = Rows(target), class_weights = Rows(class_weight)
    cdef Rows sample_weights = Rows(sample_weight)
    set_input(&j, rows, sample_weights)
    set_target(&j, codes, class_weights, ignore_index, 0)
    run(weights_block, &j, 1, state, &g)
    return invalid_rows(&j, &g)[0]


def softmax_loss(x, target, class_weight, sample_weight, losses, grad, hess, double denominator, state, int n_threads, *,
                 bint soft=False, sparse=None, bint binary=False, bint narrow=False, bint bfloat16=False,
                 ignore_index=None, double label_smoothing=0, double z_loss=0, double focal_gamma=0, bint entropy=False):
    """Losses of rows of logits: softmax cross-entropy with all its terms.

    x: float16, float32 or float64 logits, classes last; bfloat16 as the uint16 of their bits. target: integer codes of the
    rows' shape, or of x's shape where `soft`; None where `sparse` is (indptr, indices, data), int64, int64 and float64 with
    sorted indices. class_weight: float64, one a class or a single one. sample_weight: float64 of the rows' shape. losses:
    None or a contiguous array for the weighted row losses. grad, hess: None or arrays of x's shape, float64 for float64
    logits and else float32, for the derivatives divided by the denominator. narrow: row losses are rounded to float32.
    binary: a single logit stands for [0, logit]. entropy: add the sum of t log t. The sums go into the state. Returns the
    first row with an invalid target, or -1.
    """
    cdef job j
    cdef gathered g
    cdef Rows rows = Rows(x, True, False, bfloat16), class_weights = Rows(class_weight)
    cdef Rows sample_weights = Rows(sample_weight), targets = None, indptr, indices, data
    cdef Rows losses_rows = output(losses, False), grad_rows = output(grad, True), hess_rows = output(hess, True)
    set_input(&j, rows, sample_weights)
    if sparse is None:
        targets = Rows(target, soft)
    set_target(&j, targets, class_weights, ignore_index, label_smoothing)
    j.soft = soft
    if sparse is not None:
        indptr, indices, data = Rows(sparse[0]), Rows(sparse[1]), Rows(sparse[2])
        set_entries(&j, indptr, indices, data)
    set_outputs(&j, losses_rows, grad_rows, hess_rows, narrow, denominator)
    j.gamma, j.z, j.entropy = focal_gamma, z_loss, entropy
    if binary:
        j.n_codes = 2
    run(cross_entropy_block, &j, n_threads, state, &g)
    return invalid_rows(&j, &g)[0]


def proba_loss(x, target, class_weight, sample_weight, losses, grad, double denominator, state, int n_threads, *,
               bint soft=False, sparse=None, bint narrow=False, bint bfloat16=False, ignore_index=None,
               double label_smoothing=0, double eps=0, bint normalized=False, bint logs=False):
    """Losses of rows of probabilities, or of their logarithms; arguments as in softmax_loss.

    eps: clip to [eps, 1 - eps]. normalized: rows are divided by their sums. logs: x are log-probabilities. Returns the first
    row with an invalid target, and the first with an invalid probability, or -1.
    """
    cdef job j
    cdef gathered g
    cdef Rows rows = Rows(x, True, False, bfloat16), class_weights = Rows(class_weight)
    cdef Rows sample_weights = Rows(sample_weight), targets = None, indptr, indices, data
    cdef Rows losses_rows = output(losses, False), grad_rows = output(grad, True)
    set_input(&j, rows, sample_weights)
    if sparse is None:
        targets = Rows(target, soft)
    set_target(&j, targets, class_weights, ignore_index, label_smoothing)
    j.soft = soft
    if sparse is not None:
        indptr, indices, data = Rows(sparse[0]), Rows(sparse[1]), Rows(sparse[2])
        set_entries(&j, indptr, indices, data)
    set_outputs(&j, losses_rows, grad_rows, None, narrow, denominator)
    j.eps, j.normalized, j.logs = eps, normalized, logs
    run(proba_block, &j, n_threads, state, &g)
    return invalid_rows(&j, &g)


def binary_loss(x, target, pos_weight, sample_weight, losses, grad, hess, double denominator, state, int n_threads, *,
                eps=None, bint narrow=False, bint bfloat16=False, bint bfloat16_target=False, double label_smoothing=0,
                double focal_gamma=0):
    """Losses of binary targets, element by element: from logits, or with eps from probabilities clipped to [eps, 1 - eps].

    target: of x's shape, of any real dtype. pos_weight, sample_weight: float64 of x's shape. Returns the first element with
    an invalid target, and the first with an invalid probability, or -1.
    """
    cdef job j
    cdef gathered g
    cdef Rows rows = Rows(x, False, False, bfloat16), targets = Rows(target, False, False, bfloat16_target)
    cdef Rows pos_weights = Rows(pos_weight), sample_weights = Rows(sample_weight)
    cdef Rows losses_rows = output(losses, False), grad_rows = output(grad, False), hess_rows = output(hess, False)
    set_input(&j, rows, sample_weights)
    j.target, j.pos_weight = targets.view, pos_weights.view
    j.keep, j.uniform = 1 - label_smoothing, label_smoothing / 2
    set_outputs(&j, losses_rows, grad_rows, hess_rows, narrow, denominator)
    j.eps = -1 if eps is None else eps
    j.gamma = focal_gamma
    run(binary_block, &j, n_threads, state, &g)
    return invalid_rows(&j, &g)


def logsumexp(x, out, int n_threads, *, bint bfloat16=False):
    """log(sum(exp(x))) over the last axis into a contiguous float64 or float32 array of the rows' shape."""
    cdef job j
    cdef gathered g
    cdef Rows rows = Rows(x, True, False, bfloat16), result = Rows(out, False, True)
    set_input(&j, rows, None)
    j.losses, j.loss_element = result.view.data, result.view.element
    run(logsumexp_block, &j, n_threads, None, &g)


def softmax(x, out, bint logs, int n_threads, *, bint bfloat16=False):
    """softmax, or its logarithm, over the last axis into an array of x's shape, float64 for float64 x and else float32."""
    cdef job j
    cdef gathered g
    cdef Rows rows = Rows(x, True, False, bfloat16), result = Rows(out, True, True)
    set_input(&j, rows, None)
    j.grad, j.grad_step, j.logs = result.view, result.step, logs
    run(softmax_block, &j, n_threads, None, &g)


def log_loss(proba, target, entries, sample_weight, losses, double eps, double tolerance, state, int n_threads):
    """Log-loss of rows of probabilities, and what there is to say about them, in one pass.

    proba: float64 or float32, classes last; a single class is P(class 1) of two. target: None (nothing is summed), or
    integer codes, one a row, or row i's codes at target[entries[i]:entries[i + 1]]. The sums go into the state. Returns
    (lowest, highest, finite, rows sum to one within the tolerance, first row with a code out of range or -1).
    """
    cdef job j
    cdef gathered g
    cdef Rows rows = Rows(proba, True), codes, weights = Rows(sample_weight), losses_rows = output(losses, False), indptr
    set_input(&j, rows, weights)
    j.n_codes = 2 if rows.n_classes == 1 else rows.n_classes
    if target is not None:
        codes = Rows(target)
        j.target = codes.view
        if entries is not None:
            indptr = Rows(entries)
            set_entries(&j, indptr, codes, None)
    set_outputs(&j, losses_rows, None, None, False, 1)
    j.eps, j.tolerance = eps, tolerance
    run(log_loss_block, &j, n_threads, state, &g)
    return g.lowest, g.highest, not g.not_finite, not g.sums_differ, invalid_rows(&j, &g)[0]


def elementary(int function, double[::1] x, double[::1] out):
    """exp, expm1, log, log1p (function 0 to 3) of src/vmath.h, or its float32 exp (4), element by element."""
    if x.shape[0]:
        KERNELS.elementary(function, &x[0], x.shape[0], &out[0])
