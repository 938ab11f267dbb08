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
    BF16, BLOCK, ELEMENTS, F16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64, XENTC_COMPILER, XENTC_VERSION, class_target,
    element, exact_merge, exact_sum, kernels, pairs, soft_sums, source, xentc_default_float, xentc_forked, xentc_kernels,
    xentc_openmp_limit, xentc_openmp_version, xentc_restore_float, xentc_runtime_start, xentc_usable,
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


include "arrays.pxi"
include "loops.pxi"


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


def log_loss(proba, target, entries, sample_weight, losses, double eps, double tolerance, state, int n_threads, *,
             bint bfloat16=False):
    """Log-loss of rows of probabilities, and what there is to say about them, in one pass.

    proba: as x in softmax_loss; a single class is P(class 1) of two. target: None (nothing is summed), or
    integer codes, one a row, or row i's codes at target[entries[i]:entries[i + 1]]. The sums go into the state. Returns
    (lowest, highest, finite, rows sum to one within the tolerance, first row with a code out of range or -1).
    """
    cdef job j
    cdef gathered g
    cdef Rows rows = Rows(proba, True, False, bfloat16), weights = Rows(sample_weight), codes, indptr
    cdef Rows losses_rows = output(losses, False)
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
