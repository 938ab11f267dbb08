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
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawMalloc
from cpython.pycapsule cimport PyCapsule_GetName, PyCapsule_GetPointer
from cpython.ref cimport PyObject
from cython.parallel cimport prange, threadid
from libc.limits cimport INT_MAX
from libc.math cimport INFINITY, NAN, isinf, isnan
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, INT64_MAX, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memchr, memcpy, memset

from kernels cimport (
    AMOUNTS, BF16, BLOCK, BLOCK_BYTES, CHUNKS, ELEMENTS, F16, F32, F64, I16, I32, I64, I8, LINE, LOGARITHMS, MOMENTS,
    PROBABILITIES, SEGMENT, SHAPES, STREAM_BYTES, U16, U32, U64, U8, XENTC_COMPILER, XENTC_VERSION, binary_target,
    block_rows, class_target, clip, codes, codes_of_elements, codes_of_items, derivative, element, exact_add, exact_carry,
    exact_flush, exact_merge, exact_rounded, exact_sum, exponentials_bytes, focal_derivative, groups, item, kernels,
    moments, most_classes, pairs, probabilities, probability_kind, running_sum, scratch_bytes, seen_items, segment_pool,
    shape, sink, soft_sums, source, take, value_range, whole_lines, write_element, xentc_enter_kernels, xentc_forked,
    xentc_kernels, xentc_leave_kernels, xentc_openmp_limit, xentc_openmp_version, xentc_runtime_start, xentc_usable,
)

ctypedef const char *row_pointer

xentc_runtime_start()

cdef enum:
    MAX_DIMS = 64                     # NumPy's own limit
    SLICE = 1 << 22                   # elements a thread works through, about 10 ms, before Ctrl-C is looked for
    CHUNK = 1 << 16                   # elements that a thread takes at a time, about 0.1 ms


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
        "classes": sorted({most_classes(<shape>i, itemsize) for i in range(<int>SHAPES)}),
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
include "moments.pxi"
include "schedule.pxi"


# An exact sum is so many int64: the chunks, and then the numbers of values that are not finite, and of those since a carry.
SUM_SIZE = sizeof(exact_sum) // 8
SUM_CHUNKS = CHUNKS


def rounded(const int64_t[::1] sum):
    """The float64 nearest to an exact sum, ties to even."""
    return exact_rounded(<const exact_sum *>&sum[0])


def carry(int64_t[:, :, ::1] sums):
    """Makes exact sums of what was added up chunk by chunk."""
    cdef Py_ssize_t g, s
    for g in range(sums.shape[0]):
        for s in range(sums.shape[1]):
            exact_carry(<exact_sum *>&sums[g, s, 0])


def is_sum_of(const int64_t[::1] state, int64_t count):
    """Whether additions of so many values, and merges, can lead to an exact sum."""
    cdef const exact_sum *sum = <const exact_sum *>&state[0]
    cdef int64_t terms = 4 * count    # a weighted square is added in that many
    cdef int i
    for special in (sum.positive_infinities, sum.negative_infinities, sum.nans):
        if not 0 <= special <= count:
            return False
    for i in range(CHUNKS - 1):
        if not 0 <= sum.chunk[i] <= (((<int64_t>1 << 32) - 1) if count else 0):
            return False
    return sum.pending == 0 and -(terms >> 12) - (count > 0) <= sum.chunk[CHUNKS - 1] <= (terms >> 12)


cdef double rounded_to(element kind, double value) noexcept:
    cdef char[8] place
    cdef double result
    write_element(place, kind, value)
    KERNELS.memory.read(place, 0, kind, 1, &result)
    return result


# ---- The calls.

@cython.final
@cython.freelist(2)                   # 6 kB: malloc and free would be a tenth of a small call
cdef class Call:
    """One call: rows of x with what else is set, which one of the losses at the end then runs through.

    x: float16, float32 or float64, classes last; bfloat16 as the uint16 of their bits. sample_weight: float64 of the rows'
    shape, or None: all are 1. with_classes=False: each element is a row, and stands for two classes: a logit for
    [0, logit], a probability for [1 - p, p].

    A loss returns the sum of the weighted row losses, that of the weights, the first row with an invalid target and the
    first with an invalid probability, or -1. The sums are exact and rounded once.
    """
    cdef job job                      # the Rows that it points into live as long as the Call
    cdef list held
    cdef readonly int n_threads
    cdef exact_sum *sums              # where sums are added, or NULL
    cdef int64_t *counts

    cdef Rows hold(self, array, bint with_classes=False, bint writable=False):
        rows = Rows(array, with_classes, writable)
        self.held.append(rows)
        return rows

    cdef char *data(self, array, bint writable=False) except? NULL:
        cdef Rows rows = self.hold(array, False, writable)
        return rows.view.data

    def __cinit__(self, x, sample_weight, int n_threads, bint with_classes=True):
        self.held = []
        self.n_threads = n_threads
        cdef Rows rows = self.hold(x, with_classes)
        self.job.n_rows, self.job.n_classes = rows.size, rows.n_classes
        self.job.x.rows, self.job.x.class_stride = floats(rows.view), rows.class_stride
        self.set_weight(&self.job.weights.sample_weight, sample_weight)
        self.job.weights.weighted = sample_weight is not None
        self.job.weights.class_weight = &ONE
        self.job.terms.keep = 1
        self.job.single = not with_classes

    cdef int set_weight(self, view *v, weight) except -1:
        if weight is None:
            v.data, v.element, v.ndim = <char *>&ONE, F64, 1       # of stride 0
        else:
            v[0] = self.hold(weight).view
        return 0

    # What is computed from.

    def set_target(self, target, bint soft=False):
        """Integer codes of the rows' shape, or where `soft` probabilities of x's shape; of elements their targets."""
        cdef Rows rows = self.hold(target, soft)
        self.job.target.rows, self.job.target.class_stride, self.job.target.soft = rows.view, rows.class_stride, soft

    def set_entries(self, indptr, indices, data):
        """A sparse target: row i has the entries from indptr[i] to indptr[i + 1], classes ascending.

        int64, int64, and float64; data may be None: all are 1.
        """
        self.job.target.soft = True
        self.job.target.entries = <const int64_t *>self.data(indptr)
        self.job.target.indices = <const int64_t *>self.data(indices)
        if data is not None:
            self.job.target.values = <const double *>self.data(data)

    def set_labels(self, int64_t lowest_label, positions):
        """The target is labels, of code label - lowest_label, or positions[label - lowest_label] (int32, -1 for none)."""
        cdef Rows rows
        self.job.target.lowest_label = lowest_label
        if positions is not None:
            rows = self.hold(positions)
            self.job.target.positions, self.job.target.n_positions = <const int32_t *>rows.view.data, rows.size

    def set_ignored(self, int64_t ignore_index):
        """Rows of this code count for nothing."""
        self.job.target.has_ignore, self.job.target.ignore_index = True, ignore_index
        self.job.weights.weighted = True

    def set_class_weight(self, class_weight):
        """float64, one a class."""
        cdef Py_ssize_t c
        self.job.weights.class_weight, self.job.weights.class_weight_stride = <const double *>self.data(class_weight), 1
        self.job.weights.weighted = True
        for c in range(self.job.n_classes):
            self.job.weights.has_negative |= self.job.weights.class_weight[c] < 0

    def set_pos_weight(self, pos_weight):
        """float64 of x's shape, of binary targets."""
        self.set_weight(&self.job.weights.pos_weight, pos_weight)
        self.job.weights.pos_weighted = True

    def set_smoothing(self, double label_smoothing):
        """So much of every target is spread over the classes."""
        self.job.terms.keep, self.job.terms.uniform = 1 - label_smoothing, label_smoothing / n_codes(&self.job)

    cdef int set_clip(self, double eps) except -1:
        # To [eps, 1 - eps], in the probabilities' own type.
        self.job.terms.clip = [rounded_to(self.job.x.rows.element, eps), rounded_to(self.job.x.rows.element, 1 - eps)]
        return 0

    # Where results go.

    def set_losses(self, losses, bint narrow=False):
        """A contiguous array for the weighted row losses, or None; narrow: they are rounded to float32, its type."""
        self.job.out.loss_element = F32 if narrow else F64
        if losses is not None:
            self.job.out.losses = self.data(losses, True)

    def set_sums(self, sums, counts):
        """int64 arrays to which the exact sums and the number of rows are added; of no use if some row is found wrong.

        sums: of w x and w, over the losses x and the weights w of all rows, in the shape (1, 2, SUM_SIZE). Or of w x, w,
        w x^2 and w^2 in the shape (groups, 4, SUM_SIZE): of each code, or of all in one group. counts: one a group.
        """
        cdef Rows rows = self.hold(counts, False, True)
        cdef Py_ssize_t n_groups = rows.size
        self.counts = <int64_t *>rows.view.data
        rows = self.hold(sums, False, True)
        self.sums = <exact_sum *>rows.view.data
        if rows.buffer.shape[1] == MOMENTS:
            self.job.n_groups, self.job.by_code = n_groups, n_groups > 1

    def set_derivatives(self, grad, hess, double denominator, bint stream=False):
        """Arrays of x's shape for the derivatives over the denominator, of any of x's dtypes, or None.

        stream: a large gradient is written past the caches, which is slower where its memory is new.
        """
        cdef bint is_large
        self.job.out.denominator = denominator
        if grad is not None:
            is_large = self.set_array(&self.job.out.grad, grad) >= STREAM_BYTES
            self.job.out.stream = stream and is_large and self.job.out.grad.rows.data != self.job.x.rows.data
        if hess is not None:
            self.set_array(&self.job.out.hess, hess)

    cdef Py_ssize_t set_array(self, array_of_rows *a, array) except -1:
        # Returns its bytes.
        cdef Rows rows = self.hold(array, not self.job.single, True)
        a.rows, a.class_stride = floats(rows.view), rows.class_stride
        return rows.buffer.len

    # The losses.

    def weights(self):
        """Losses that are all 0: what is of use are the weights and the check of the codes."""
        return self.sums_of(weights_block)

    def cross_entropy(self, double z_loss=0, double focal_gamma=0, bint entropy=False):
        """Of logits, with all its terms. entropy: add the sum of t log t."""
        self.job.terms.z, self.job.terms.gamma, self.job.terms.entropy = z_loss, focal_gamma, entropy
        return self.sums_of(cross_entropy_block)

    def probability(self, double eps=0, bint normalized=False, bint logs=False):
        """Of probabilities, clipped to [eps, 1 - eps]. normalized: over their sums; logs: x are logarithms. No Hessian."""
        self.set_clip(eps)
        self.job.terms.kind = LOGARITHMS if logs else AMOUNTS if normalized else PROBABILITIES
        return self.sums_of(probability_block)

    def binary(self, double focal_gamma=0):
        """Of elements that are logits."""
        self.job.terms.gamma = focal_gamma
        return self.sums_of(binary_block)

    def binary_probability(self, double eps):
        """Of elements that are probabilities, clipped to [eps, 1 - eps]. No Hessian."""
        self.job.terms.of_probability = True
        self.set_clip(eps)
        return self.sums_of(binary_block)

    def log_loss(self, double eps, double tolerance):
        """Of probabilities and one code a row, or the codes of set_entries; without a target nothing is summed.

        Then come the lowest and the highest probability, whether all are finite, and whether rows sum to one within the
        tolerance.
        """
        cdef gathered g
        self.set_clip(eps)
        self.job.terms.tolerance = tolerance
        sums = self.sums_of(log_loss_block, &g)
        sums_to_one = self.job.single or not g.range.sums_differ
        return *sums, g.range.lowest, g.range.highest, not g.range.not_finite, sums_to_one

    def values(self):
        """The elements are the losses."""
        return self.sums_of(values_block)

    cdef tuple sums_of(self, block_loop loop, gathered *all=NULL):
        cdef gathered g
        if all == NULL:
            all = &g
        if self.job.n_groups:
            self.run_with_groups(loop, all)
        else:
            run(loop, &self.job, self.n_threads, all)
            if self.sums != NULL:
                exact_merge(&self.sums[0], &all.total.exact)
                exact_merge(&self.sums[1], &all.total_weight.exact)
                self.counts[0] += self.job.n_rows
        return self.results(all)

    cdef tuple results(self, gathered *all):
        return (exact_rounded(&all.total.exact), exact_rounded(&all.total_weight.exact), self.found(all.bad_row),
                self.found(all.bad_probability))

    cdef int run_with_groups(self, block_loop loop, gathered *all) except -1:
        cdef job *j = &self.job
        # To merge a group takes as long as to go through a hundred elements.
        cdef Py_ssize_t worth = j.n_rows * j.n_classes // (128 * groups_kept(j))
        cdef int n_threads = max(1, <int>min(<Py_ssize_t>self.n_threads, worth))
        try:
            hire_groups(j, n_threads)
            run(loop, j, n_threads, all)
            merge_groups(j, n_threads, self.sums, self.counts)
        finally:
            dismiss_groups(j)
        return 0

    cdef Py_ssize_t found(self, Py_ssize_t row):
        return -1 if row == self.job.n_rows else row

    # Functions of logits.

    def logsumexp(self, out):
        """log(sum(exp(x))) into a contiguous float64 or float32 array of the rows' shape."""
        cdef gathered g
        cdef Rows rows = self.hold(out, False, True)
        self.job.out.losses, self.job.out.loss_element = rows.view.data, rows.view.element
        run(logsumexp_block, &self.job, self.n_threads, &g)

    def softmax(self, bint logs):
        """softmax, or its logarithm, into the gradient of set_derivatives."""
        cdef gathered g
        self.job.terms.logs = logs
        run(softmax_block, &self.job, self.n_threads, &g)


def elementary(int function, double[::1] x, double[::1] out):
    """exp, expm1, log, log1p, short log (0 to 4) of src/simd/vmath.h, or float32 exp, log, log1p up to 1 (5 to 7)."""
    if x.shape[0]:
        KERNELS.elementary(function, &x[0], x.shape[0], &out[0])


include "linear.pxi"
include "labels.pxi"
