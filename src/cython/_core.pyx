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
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from cpython.ref cimport PyObject
from cython.parallel cimport prange, threadid
from libc.math cimport INFINITY, NAN, isinf, isnan
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, INT64_MAX, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from kernels cimport (
    AMOUNTS, BF16, BLOCK, BLOCK_BYTES, CARRY_AFTER, CHUNKS, ELEMENTS, F16, F32, F64, I16, I32, I64, I8, LINE,
    LOGARITHMS, PROBABILITIES, SEGMENT, SHAPES, STREAM_BYTES, U16, U32, U64, U8, XENTC_COMPILER, XENTC_VERSION,
    binary_target, class_target, clip, codes, derivative, element, exact_add, exact_carry, exact_flush, exact_merge,
    exact_rounded, exact_sum, exponentials_bytes, focal_derivative, kernels, most_classes, pairs, probabilities,
    probability_kind, read_code, running_sum, scratch_bytes, segment_pool, shape, sink, soft_sums, source, take,
    value_range, whole_lines, write_element, xentc_enter_kernels, xentc_forked, xentc_kernels, xentc_leave_kernels,
    xentc_openmp_limit, xentc_openmp_version, xentc_runtime_start, xentc_usable,
)

ctypedef const char *row_pointer

xentc_runtime_start()

cdef enum:
    MAX_DIMS = 64                     # NumPy's own limit
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


def kernel_shapes(int itemsize):
    """Where kernels change their shape, for results of 8 or 4 bytes: see src/memory/shapes.h.

    "classes": each number is the most classes of a shape. "rows": likewise. "stream_bytes": gradients from here on are
    written past the caches.
    """
    cdef int i
    lanes = 64 // itemsize
    return {
        "classes": sorted({most_classes(<shape>i, itemsize) for i in range(SHAPES)}),
        "rows": sorted({8, lanes, BLOCK}),
        "stream_bytes": STREAM_BYTES,
    }


def openmp_limit():
    """The number of threads that OpenMP would use; 1 in a forked child, whose OpenMP threads are gone."""
    return 1 if xentc_forked() else xentc_openmp_limit()


include "arrays.pxi"
include "job.pxi"
include "targets.pxi"
include "softmax.pxi"
include "probability.pxi"
include "binary.pxi"
include "schedule.pxi"


# The shape of the state of two exact sums, of the weighted values and of the weights: an int64 array of this shape.
STATE_SHAPE = (2, sizeof(exact_sum) // 8)


def merge(state, other):
    """Adds the sums of another state to the state."""
    cdef int64_t[:, ::1] from_other = other.copy()
    cdef int64_t[:, ::1] into = state
    exact_merge(<exact_sum *>&into[0, 0], <exact_sum *>&from_other[0, 0])
    exact_merge(<exact_sum *>&into[1, 0], <exact_sum *>&from_other[1, 0])


def rounded(const int64_t[::1] state):
    """The float64 nearest to one of the sums of a state, ties to even."""
    return exact_rounded(<const exact_sum *>&state[0])


def is_sum_of(const int64_t[:, ::1] state, int64_t count):
    """Whether a state can be the sums of so many values: whether additions and merges lead to it."""
    cdef const exact_sum *sum
    cdef int64_t most
    cdef int i, s
    for s in range(2):
        sum = <const exact_sum *>&state[s, 0]
        if not 0 <= sum.pending < CARRY_AFTER or (count == 0 and sum.pending != 0):
            return False
        for special in (sum.positive_infinities, sum.negative_infinities, sum.nans):
            if not 0 <= special <= 2 * count:     # a weighted value is added in two halves
                return False
        most = sum.pending * ((<int64_t>1 << 53) + (<int64_t>1 << 32)) if count else 0
        for i in range(CHUNKS - 1):
            if not -most <= sum.chunk[i] <= most + (((<int64_t>1 << 32) - 1) if count else 0):
                return False
        if not -(count >> 12) - (count > 0) <= sum.chunk[CHUNKS - 1] <= (count >> 12):
            return False
    return True


def add_values(int64_t[:, ::1] state, values, weights, int n_threads):
    """Adds float64 values of any shape, with float64 weights of the same shape or None, to the state."""
    cdef Call call = Call(values, weights, with_classes=False)
    cdef gathered g
    run(values_block, &call.job, n_threads, &g)
    exact_merge(<exact_sum *>&state[0, 0], &g.total.exact)
    exact_merge(<exact_sum *>&state[1, 0], &g.total_weight.exact)


cdef double rounded_to(element kind, double value) noexcept:
    cdef char[8] place
    cdef double result
    write_element(place, kind, value)
    KERNELS.memory.read(place, 0, kind, 1, &result)
    return result


# ---- The calls. Each fills in a job; the Rows that it points into live as long as the Call.

@cython.internal
@cython.final
@cython.freelist(2)                   # 6 kB: malloc and free would be a tenth of a small call
cdef class Call:
    cdef job job
    cdef list held

    cdef Rows hold(self, array, bint with_classes=False, bint writable=False):
        rows = Rows(array, with_classes, writable)
        self.held.append(rows)
        return rows

    cdef char *data(self, array, bint writable=False) except? NULL:
        cdef Rows rows = self.hold(array, False, writable)
        return rows.view.data

    def __cinit__(self, x, sample_weight, *, bint with_classes=True):
        self.held = []
        cdef Rows rows = self.hold(x, with_classes)
        self.job.n_rows, self.job.n_classes, self.job.n_codes = rows.size, rows.n_classes, rows.n_classes
        self.job.x.rows, self.job.x.class_stride = floats(rows.view), rows.class_stride
        self.set_weight(&self.job.weights.sample_weight, sample_weight)
        self.job.weights.weighted = sample_weight is not None
        self.job.weights.class_weight = &ONE
        self.job.terms.keep = 1

    cdef int set_weight(self, view *v, weight) except -1:
        if weight is None:
            v.data, v.element, v.ndim = <char *>&ONE, F64, 1       # of stride 0
        else:
            v[0] = self.hold(weight).view
        return 0

    cdef int set_target(self, target, bint soft, sparse, class_weight, ignore_index, double label_smoothing) except -1:
        cdef Rows rows
        if sparse is not None:
            self.set_entries(*sparse)
        else:
            rows = self.hold(target, soft)
            self.job.target.rows, self.job.target.class_stride, self.job.target.soft = rows.view, rows.class_stride, soft
        cdef Py_ssize_t c
        if class_weight is not None:
            self.job.weights.class_weight, self.job.weights.class_weight_stride = <const double *>self.data(class_weight), 1
            self.job.weights.weighted = True
            for c in range(self.job.n_classes):
                self.job.weights.has_negative |= self.job.weights.class_weight[c] < 0
        if ignore_index is not None:
            self.job.target.has_ignore, self.job.target.ignore_index = True, ignore_index
            self.job.weights.weighted = True
        self.job.terms.keep, self.job.terms.uniform = 1 - label_smoothing, label_smoothing / self.job.n_classes
        return 0

    def set_entries(self, indptr, indices, data):
        self.job.target.soft = True
        self.job.target.entries = <const int64_t *>self.data(indptr)
        self.job.target.indices = <const int64_t *>self.data(indices)
        if data is not None:
            self.job.target.values = <const double *>self.data(data)

    cdef int set_labels(self, int64_t lowest_label, positions) except -1:
        # The target is labels: the code of one is its distance from the lowest, or the position there in a table.
        cdef Rows rows
        self.job.target.lowest_label = lowest_label
        if positions is not None:
            rows = self.hold(positions)
            self.job.target.positions, self.job.target.n_positions = <const int32_t *>rows.view.data, rows.size
        return 0

    cdef int set_clip(self, double eps) except -1:
        # To [eps, 1 - eps], in the probabilities' own type.
        self.job.terms.clip = [rounded_to(self.job.x.rows.element, eps), rounded_to(self.job.x.rows.element, 1 - eps)]
        return 0

    cdef int set_outputs(self, losses, grad, hess, bint narrow, double denominator, bint stream=False,
                         bint with_classes=True) except -1:
        cdef Rows rows
        self.job.out.loss_element = F32 if narrow else F64
        self.job.out.denominator = denominator
        if losses is not None:
            self.job.out.losses = self.data(losses, True)
        if grad is not None:
            rows = self.hold(grad, with_classes, True)
            self.job.out.grad.rows, self.job.out.grad.class_stride = floats(rows.view), rows.class_stride
            self.job.out.stream = stream and rows.buffer.len >= STREAM_BYTES and rows.view.data != self.job.x.rows.data
        if hess is not None:
            rows = self.hold(hess, with_classes, True)
            self.job.out.hess.rows, self.job.out.hess.class_stride = floats(rows.view), rows.class_stride
        return 0

    cdef run(self, block_loop loop, int n_threads):
        # What the calls return. The sums are exact and rounded once.
        cdef gathered g
        run(loop, &self.job, n_threads, &g)
        return (exact_rounded(&g.total.exact), exact_rounded(&g.total_weight.exact), self.found(g.bad_row),
                self.found(g.bad_proba))

    cdef Py_ssize_t found(self, Py_ssize_t row):
        return -1 if row == self.job.n_rows else row


# The losses return the sum of the weighted losses, that of the weights, the first row with an invalid target, and the first
# with an invalid probability, or -1. sample_weight and class_weight may be None: all are 1.

def total_weight(x, target, class_weight, sample_weight, *, ignore_index=None):
    """As softmax_loss for integer targets, but of losses that are all 0: what is of use are the weights and the check."""
    cdef Call call = Call(x, sample_weight)
    call.set_target(target, False, None, class_weight, ignore_index, 0)
    return call.run(weights_block, 1)


def softmax_loss(x, target, bint soft, sparse, class_weight, sample_weight, ignore_index, double label_smoothing, losses,
                 grad, hess, bint narrow, double denominator, int n_threads, double z_loss=0, double focal_gamma=0,
                 bint entropy=False, *, bint stream=False, bint binary=False, int64_t lowest_label=0, positions=None):
    """Losses of rows of logits: softmax cross-entropy with all its terms.

    x: float16, float32 or float64 logits, classes last; bfloat16 as the uint16 of their bits. target: integer codes of the
    rows' shape, or of x's shape where `soft`; None where `sparse` is (indptr, indices, data), int64, int64 and float64 with
    sorted indices. class_weight: float64, one a class. sample_weight: float64 of the rows' shape. losses: None or a
    contiguous array for the weighted row losses. grad, hess: None or arrays of x's shape, of any of x's dtypes, for the
    derivatives divided by the denominator. narrow: row losses are rounded to float32. entropy: add the sum of t log t.
    stream: a large grad is written past the caches, which is slower where its memory is new.
    binary: a single logit stands for [0, logit]. lowest_label, positions: as in log_loss.
    """
    cdef Call call = Call(x, sample_weight)
    call.set_target(target, soft, sparse, class_weight, ignore_index, label_smoothing)
    call.set_outputs(losses, grad, hess, narrow, denominator, stream)
    call.set_labels(lowest_label, positions)
    call.job.terms.gamma, call.job.terms.z, call.job.terms.entropy = focal_gamma, z_loss, entropy
    if binary:
        call.job.n_codes = 2
    return call.run(cross_entropy_block, n_threads)


def proba_loss(x, target, bint soft, sparse, class_weight, sample_weight, ignore_index, double label_smoothing, losses,
               grad, hess, bint narrow, double denominator, int n_threads, double eps=0, bint normalized=False,
               bint logs=False, *, bint stream=False):
    """Losses of rows of probabilities, or of their logarithms; arguments as in softmax_loss, but hess, which is None.

    eps: clip to [eps, 1 - eps], both rounded to x's dtype. normalized: rows are divided by their sums. logs: x are
    log-probabilities.
    """
    cdef Call call = Call(x, sample_weight)
    call.set_target(target, soft, sparse, class_weight, ignore_index, label_smoothing)
    call.set_outputs(losses, grad, hess, narrow, denominator, stream)
    call.set_clip(eps)
    call.job.terms.kind = LOGARITHMS if logs else AMOUNTS if normalized else PROBABILITIES
    return call.run(proba_block, n_threads)


def binary_loss(x, target, pos_weight, sample_weight, losses, grad, hess, double denominator, int n_threads, *,
                eps=None, bint narrow=False, double label_smoothing=0, double focal_gamma=0):
    """Losses of binary targets, element by element: from logits, or with eps from probabilities clipped to [eps, 1 - eps].

    target: of x's shape, of any real dtype. pos_weight, sample_weight: float64 of x's shape, or None.
    """
    cdef Call call = Call(x, sample_weight, with_classes=False)
    call.job.target.rows = call.hold(target).view
    call.set_weight(&call.job.weights.pos_weight, pos_weight)
    call.job.weights.pos_weighted = pos_weight is not None
    call.set_outputs(losses, grad, hess, narrow, denominator, False, False)
    call.job.terms.keep, call.job.terms.uniform, call.job.terms.gamma = 1 - label_smoothing, label_smoothing / 2, focal_gamma
    if eps is not None:
        call.job.terms.proba = True
        call.set_clip(eps)
    return call.run(binary_block, n_threads)


def logsumexp(x, out, int n_threads):
    """log(sum(exp(x))) over the last axis into a contiguous float64 or float32 array of the rows' shape."""
    cdef Call call = Call(x, None)
    cdef Rows result = call.hold(out, False, True)
    call.job.out.losses, call.job.out.loss_element = result.view.data, result.view.element
    call.run(logsumexp_block, n_threads)


def softmax(x, out, bint logs, int n_threads, *, bint stream=False):
    """softmax, or its logarithm, over the last axis into an array of x's shape, of any of x's dtypes; stream as above."""
    cdef Call call = Call(x, None)
    call.set_outputs(None, out, None, False, 1, stream)
    call.job.terms.logs = logs
    call.run(softmax_block, n_threads)


def log_loss(proba, target, entries, sample_weight, losses, double eps, double tolerance, int n_threads, *,
             int64_t lowest_label=0, positions=None):
    """Log-loss of rows of probabilities, and what there is to say about them, in one pass.

    proba: as x in softmax_loss; a single class is P(class 1) of two. target: None (nothing is summed), or
    integer codes, one a row, or row i's codes at target[entries[i]:entries[i + 1]]. One a row, they may be labels, of code
    label - lowest_label, or positions[label - lowest_label] (int32, -1 for none). Returns the sums of the losses and of the
    weights, and the first row with a code out of range or -1, as the other losses do; then the lowest and the highest
    probability, whether all are finite, and whether the rows sum to one within the tolerance.
    """
    cdef Call call = Call(proba, sample_weight)
    cdef gathered g
    if call.job.n_classes == 1:
        call.job.n_codes = 2
    if target is not None and entries is not None:
        call.set_entries(entries, target, None)
    elif target is not None:
        call.job.target.rows = call.hold(target).view
    call.set_labels(lowest_label, positions)
    call.set_outputs(losses, None, None, False, 1)
    call.set_clip(eps)
    call.job.terms.tolerance = tolerance
    run(log_loss_block, &call.job, n_threads, &g)
    return (exact_rounded(&g.total.exact), exact_rounded(&g.total_weight.exact), call.found(g.bad_row), g.range.lowest,
            g.range.highest, not g.range.not_finite, call.job.n_classes == 1 or not g.range.sums_differ)


def elementary(int function, double[::1] x, double[::1] out):
    """exp, expm1, log, log1p, short log (0 to 4) of src/simd/vmath.h, or its float32 exp and log (5, 6), by element."""
    if x.shape[0]:
        KERNELS.elementary(function, &x[0], x.shape[0], &out[0])


include "labels.pxi"
