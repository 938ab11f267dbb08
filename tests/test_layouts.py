"""Bits do not depend on how arrays lie in memory: every loss over arrays, in all shapes, layouts and dtypes.

Each is compared with the same call on plain copies: C-contiguous, aligned, native, the classes last, and as wide as what is
computed from them.
"""

import math
import re
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest
import scipy.sparse
from depth import slow_but
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from xentc import (
    _core,
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    categorical_cross_entropy,
    cross_entropy,
    kl_divergence,
    log_loss,
    log_loss_per_sample,
    nll_loss,
    perplexity,
    special,
)

FLOATS = F64, F32, F16, BF16 = [np.dtype(kind) for kind in (np.float64, np.float32, np.float16, ml_dtypes.bfloat16)]
INTEGERS = [np.dtype(sign + size) for sign in "iu" for size in "1248"]

# ---- Arrays in layouts.


class Layout(NamedTuple):
    order: tuple[int, ...]  # the axes as they lie in memory, the innermost last
    steps: tuple[int, ...]  # along each axis, in elements; 0: one element stands for all
    swapped: bool
    misaligned: bool
    read_only: bool


@st.composite
def layouts(draw, ndim, writable=False):
    # Half of them without gaps, as most arrays are: neighbours in memory have loops of their own.
    step = st.sampled_from([1, 2, 3, -1, -2] + [0] * (not writable))
    steps = draw(st.just((1,) * ndim) | st.tuples(*[step] * ndim))
    order = draw(st.just(tuple(range(ndim))) | st.permutations(range(ndim)).map(tuple))
    # These are copied first, so their order and steps matter little: not too often.
    odd = draw(st.sampled_from(["", "", "", "", "swapped", "misaligned", "swapped, misaligned"]))
    return Layout(order, steps, "swapped" in odd, "misaligned" in odd, not writable and draw(st.booleans()))


def lay(a, layout):
    """The values of `a` in new memory, with a margin around them; along an axis with a step of 0 the first of them."""
    # ml_dtypes cannot write a swapped bfloat16.
    dtype = a.dtype.newbyteorder() if layout.swapped and a.dtype != BF16 else a.dtype
    taken = [n * abs(step) if step else min(n, 1) for n, step in zip(a.shape, layout.steps, strict=True)]
    shape = [taken[axis] for axis in layout.order]
    memory = np.full(math.prod(shape) * dtype.itemsize + 129, 0xA5, np.uint8)
    view = np.ndarray(shape, dtype, memory, 64 + layout.misaligned).transpose(np.argsort(layout.order))
    view = view[(..., *(slice(None, None, step or 1) for step in layout.steps))]
    view[...] = a[(..., *(slice(None if step else 1) for step in layout.steps))]
    if 0 in layout.steps:
        view = np.broadcast_to(view, a.shape)
    if layout.read_only:
        view.flags.writeable = False
    return view


def plain(a, dtype=None):
    return np.array(a, dtype or a.dtype.type, order="C")


def computed(dtype):
    return F64 if dtype == F64 else F32


def assert_same(got, want):
    got, want = np.asarray(got), np.asarray(want)
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    np.testing.assert_array_equal(*(np.ascontiguousarray(a).view(f"u{a.itemsize}") for a in (got, want)))


def narrowed(a, dtype):
    """Rounded once. ml_dtypes goes from float64 to bfloat16 by way of float32: truncated, with a last bit that says so, that
    rounds nothing."""
    if (a.dtype, dtype) == (F64, BF16):
        single = a.astype(F32)
        single = np.where(np.abs(single.astype(F64)) > np.abs(a), np.nextafter(single, F32.type(0)), single)
        a = (single.view(np.uint32) | (single.astype(F64) != a)).view(F32)
    return a.astype(dtype)


class Out(NamedTuple):
    """An array that results go into."""

    array: np.ndarray
    dtype: np.dtype
    layout: Layout

    def assert_holds(self, want):
        """That it has these values, rounded to nearest even, and that the memory around and between them is as it was."""
        np.testing.assert_array_equal(self.array.base, lay(narrowed(np.asarray(want), self.dtype), self.layout).base)


def new_out(data, name, shape, dtype):
    layout = data.draw(layouts(len(shape), writable=True), name)
    return Out(lay(np.zeros(shape, dtype), layout), dtype, layout)


# ---- The losses, and what they are called with.

IGNORED = -100
SIGNS = [1, 1, -1]  # of weights


class Loss(NamedTuple):
    call: Callable[..., Any]
    of: str
    targets: list[str]
    derivatives: list[str]
    weight: str | None  # the keyword of the weights beside sample_weight
    keywords: dict[str, list[Any]]  # and what they may be given


EPS = [2.0**-7]  # 1 - eps is a number of every dtype too: it is the same limit for a wider copy
LOSSES = {
    loss.call.__name__: loss for loss in [
        Loss(cross_entropy, "logits", ["codes", "soft", "sparse"], ["grad", "hess"], "class_weight",
             {"label_smoothing": [0.1], "z_loss": [0.01, 0.1], "focal_gamma": [2, 0.7], "ignore_index": [IGNORED]}),
        Loss(kl_divergence, "logits", ["soft", "sparse"], ["grad"], None, {}),
        Loss(categorical_cross_entropy, "proba", ["codes", "soft", "sparse"], ["grad"], "class_weight",
             {"label_smoothing": [0.1], "eps": EPS, "normalize_rows": [True], "ignore_index": [IGNORED]}),
        Loss(nll_loss, "logs", ["codes", "soft", "sparse"], ["grad"], "class_weight", {"ignore_index": [IGNORED]}),
        Loss(binary_cross_entropy_with_logits, "logits", ["binary"], ["grad", "hess"], "pos_weight",
             {"label_smoothing": [0.1], "focal_gamma": [2, 0.7]}),
        Loss(binary_cross_entropy, "proba", ["binary"], ["grad"], "pos_weight", {"label_smoothing": [0.1], "eps": EPS}),
    ]
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)

NO_ROWS = st.sampled_from([(0,), (3, 0), (0, 2), (2, 0, 3)])
SOME_ROWS = st.lists(st.integers(1, 5), max_size=3).map(tuple) | st.sampled_from([(8,), (17,), (65,), (13, 5), (129,)])
ROWS = SOME_ROWS | SOME_ROWS | NO_ROWS
# Kernels change their shape at the numbers of classes of kernel_shapes; codes of one byte end at 127 and 255.
SHAPES = {n for size in (8, 4) for n in _core.kernel_shapes(size)["classes"]} | {127, 255, 600}
AROUND = sorted({n + d for n in SHAPES for d in (-1, 0, 1) if n + d})
MOST = 40_000  # elements


def classes(rows):
    """Their number, not too many for so many rows."""
    n = math.prod(rows)
    return st.integers(1, 20) | st.sampled_from([k for k in AROUND if k <= 601 or k * n <= MOST])


RARE = {"logits": [np.nan, np.inf, -np.inf, -0.0, 6e-8, 3e4], "logs": [np.nan, -np.inf, -0.0], "proba": [np.nan, 0, 1, 6e-8]}


def numbers(rng, of, shape, dtype):
    size = rng.choice([0.1, 3, 50, 1000], (*shape[:-1], 1))
    a = rng.random(shape) if of == "proba" else rng.standard_normal(shape) * size
    a = np.where(rng.random(shape) < rng.choice([0, 0.01]), rng.choice(RARE[of], shape), -np.abs(a) if of == "logs" else a)
    return a.astype(dtype)


def targets(data, rng, kind, shape, ignores):
    """A target, the classes last. Codes are often the last one that the dtype and the classes have."""
    dtype = data.draw(st.sampled_from(INTEGERS if kind == "codes" else [*FLOATS, *INTEGERS, np.dtype(bool)]))
    ignores = ignores and dtype.kind == "i"
    if kind == "codes":
        last = min(np.iinfo(dtype).max, shape[-1] - 1)
        codes = np.where(rng.random(shape[:-1]) < 0.3, last, rng.integers(0, last + 1, shape[:-1]))
        return np.where((rng.random(shape[:-1]) < 0.1) & ignores, IGNORED, codes).astype(dtype)
    t = rng.random(shape) * (rng.random(shape) < 0.7)
    return (t if dtype in FLOATS else np.round(t if kind == "binary" else 3 * t)).astype(dtype)


class Case(NamedTuple):
    x: np.ndarray
    dtype: np.dtype
    layout: Layout
    target: Any
    kind: str
    axis: int
    rows: tuple[int, ...]  # the shape of the losses
    options: dict[str, Any]
    copies: tuple[np.ndarray, Any, dict[str, Any]]


def draw_case(data, loss, rows=ROWS, kinds=("codes", "soft", "sparse", "binary"), writable=False):
    """Arguments of a loss in layouts, the first and the target in such as can be written to; and plain copies of all."""
    rng = np.random.default_rng(data.draw(st.integers(0, 999), "seed"))
    kind = data.draw(st.sampled_from([kind for kind in loss.targets if kind in kinds]), "target")
    rows, dtype = data.draw(rows, "rows"), data.draw(st.sampled_from(FLOATS), "dtype")
    k = data.draw(classes(rows), "classes")
    if kind == "sparse":
        rows = (math.prod(rows),)
    ndim = len(rows) + 1
    axis = ndim - 1 if kind in ("sparse", "binary") else data.draw(st.integers(0, ndim - 1), "axis")
    layout = data.draw(layouts(ndim, writable), "x")
    x = lay(np.moveaxis(numbers(rng, loss.of, (*rows, k), dtype), -1, axis), layout)

    options = {name: data.draw(st.sampled_from(values), name) for name, values in loss.keywords.items()
               if (name != "ignore_index" or kind == "codes") and data.draw(st.booleans(), f"with {name}")}
    copied_options = options.copy()
    target = targets(data, rng, kind, (*rows, k), "ignore_index" in options)
    if kind == "sparse":
        copy = scipy.sparse.csr_array(target.astype(np.float64))
        target = copy.astype(target.dtype if target.dtype.itemsize > 2 else F32)
        target = target.asformat(data.draw(st.sampled_from(["csr", "csc", "coo"]), "format"))
    elif kind == "codes":
        target = lay(target, data.draw(layouts(ndim - 1, writable), "codes"))
        copy = plain(target, np.int64)
    else:
        target = lay(np.moveaxis(target, -1, axis), data.draw(layouts(ndim, writable), kind))
        copy = plain(np.moveaxis(target, axis, -1), F64)

    losses, weights = (x.shape, x.shape) if kind == "binary" else (rows, (k,))
    for name, shape in (("sample_weight", losses), (loss.weight, weights)):
        if name and data.draw(st.booleans(), name):
            weight = rng.random(shape) * (rng.random(shape) < 0.8) * rng.choice(SIGNS, shape)
            weight = weight.astype(data.draw(st.sampled_from(FLOATS)))
            options[name] = lay(weight, data.draw(layouts(len(shape)), name))
            copied_options[name] = plain(options[name], F64)
    if kind != "binary":
        options["axis"] = data.draw(st.sampled_from([axis, axis - ndim]), "axis")
    copies = plain(np.moveaxis(x, axis, -1), computed(dtype)), copy, copied_options
    return Case(x, dtype, layout, target, kind, axis, losses, options, copies)


def examples(n):
    return lambda test: settings(max_examples=n, deadline=None)(given(data=st.data())(test))


# ---- The tests.


@every_loss
@pytest.mark.parametrize("part", slow_but([0], range(5)))
@examples(40)
def test_every_layout_gives_the_bits_of_plain_copies(loss, data, part):
    derivatives = loss.derivatives[: data.draw(st.integers(0, len(loss.derivatives)), "derivatives")]
    into = {name: data.draw(st.sampled_from(["new", *FLOATS] + ["x"] * (name == "grad")), name) for name in derivatives}
    reduction = data.draw(st.sampled_from(["none", "sum", "mean"]), "reduction")
    case = draw_case(data, loss, writable="x" in into.values())
    outs = {name: Out(case.x, case.dtype, case.layout) if dtype == "x" else new_out(data, name, case.x.shape, dtype)
            for name, dtype in into.items() if dtype != "new"}
    options = {"reduction": reduction, **{f"return_{name}": True for name in derivatives}}
    arrays = {f"out_{name}": out.array for name, out in outs.items()}

    with np.errstate(all="ignore"):
        want = loss.call(*case.copies[:2], **case.copies[2], **options)
        got = loss.call(case.x, case.target, **case.options, **options, **arrays)
        (got, *got_derivatives), (want, *want_derivatives) = (got, want) if derivatives else ((got,), (want,))
        assert_same(got, want)
        for name, a, b in zip(derivatives, got_derivatives, want_derivatives, strict=True):
            b = np.moveaxis(b, -1, case.axis)
            if name in outs:
                assert a is outs[name].array
                outs[name].assert_holds(b)
            else:
                assert_same(a, b)
                if 0 not in case.layout.steps:  # a broadcast array has no order to keep
                    assert a.squeeze().strides == np.empty_like(case.x.squeeze(), a.dtype).strides


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_rows_that_come_again(dtype):
    """Next to each other and apart, of as many classes as have a way of their own."""
    rng = np.random.default_rng(0)
    for k in (k for k in AROUND if k <= 600 or k in (4096, 16384)):
        two = (rng.standard_normal((2, k)) * 3).astype(dtype)
        for x in (np.broadcast_to(two[:, None], (2, 9, k)), np.broadcast_to(two, (9, 2, k))):
            target = rng.integers(0, k, x.shape[:-1])
            got, want = (cross_entropy(a, target, axis=-1, reduction="none", return_grad=True) for a in (x, x.copy()))
            for result, expected in zip((*got, special.softmax(x)), (*want, special.softmax(x.copy())), strict=True):
                np.testing.assert_array_equal(result, expected, strict=True)


@every_loss
@examples(10)
def test_no_rows(loss, data):
    case = draw_case(data, loss, NO_ROWS)
    result = computed(case.dtype)
    for reduction, want in (("none", np.empty(case.rows, result)), ("sum", 0.0), ("mean", math.nan)):
        value, grad = loss.call(case.x, case.target, **case.options, reduction=reduction, return_grad=True)
        assert_same(value, want)
        assert_same(grad, np.empty(case.x.shape, result))


@every_loss
@pytest.mark.parametrize("part", slow_but([0], range(3)))
@examples(10)
def test_the_first_invalid_target_is_named_and_the_logits_are_kept(loss, data, part):
    case = draw_case(data, loss, SOME_ROWS, ["codes", "soft", "binary"], writable=True)
    target = np.moveaxis(case.target, case.axis, -1) if case.kind == "soft" else case.target
    k, dtype = case.x.shape[case.axis], np.dtype(target.dtype.type)
    least, most = (np.iinfo(dtype).min, np.iinfo(dtype).max) if dtype in INTEGERS else (-1, 2) if dtype in FLOATS else (0, 1)
    largest = {"codes": k - 1, "soft": math.inf, "binary": 1}[case.kind]
    wrong = [value for value in (-1, 2, k, least, most) if least <= value <= most and not 0 <= value <= largest]
    assume(wrong)
    places = sorted(data.draw(st.sets(st.integers(0, target.size - 1), min_size=1, max_size=3), "places"))
    values = [data.draw(st.sampled_from(wrong), "value") for _ in places]
    for place, value in zip(places, values, strict=True):
        target[np.unravel_index(place, target.shape)] = value
    first = list(np.unravel_index(places[0], target.shape))
    if case.kind == "soft":
        first.insert(case.axis, first.pop())
    name = re.escape(f"target[{', '.join(map(str, first))}]" if first else "target")

    options, kept = {"reduction": data.draw(st.sampled_from(["none", "sum", "mean"]))}, plain(case.x)
    if data.draw(st.booleans(), "in place"):
        options |= {"return_grad": True, "out_grad": case.x}
    with pytest.raises(ValueError, match=rf"{name} is {values[0]}(\.0)?[,;]"):
        loss.call(case.x, case.target, **case.options, **options)
    assert_same(plain(case.x), kept)


@examples(60)
def test_perplexity(data):
    loss = LOSSES["cross_entropy"]._replace(weight=None, keywords={"ignore_index": [IGNORED]})
    case = draw_case(data, loss)
    copied, target, options = case.copies
    got = perplexity(case.x, case.target, **case.options)
    assert_same(got, perplexity(copied, target, **options))
    mean = cross_entropy(copied, target, **options)
    with np.errstate(over="ignore"):
        assert got == pytest.approx(np.exp(mean), rel=1e-15, nan_ok=True)


@pytest.mark.parametrize("function", [special.logsumexp, special.softmax, special.log_softmax])
@pytest.mark.parametrize("part", slow_but([0], range(4)))
@examples(25)
def test_special(function, data, part):
    rng = np.random.default_rng(data.draw(st.integers(0, 999), "seed"))
    rows = data.draw(ROWS, "rows")
    shape = data.draw(st.permutations([*rows, data.draw(classes(rows), "classes")]), "shape")
    dtype, layout = data.draw(st.sampled_from(FLOATS), "dtype"), data.draw(layouts(len(shape), writable=True), "x")
    x = lay(numbers(rng, "logits", shape, dtype), layout)
    axes = sorted(data.draw(st.sets(st.sampled_from([axis for axis, n in enumerate(shape) if n]), min_size=1), "axes"))
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    moved = x.transpose(kept + axes)
    rows = plain(moved, computed(dtype)).reshape(*moved.shape[: len(kept)], math.prod(moved.shape[len(kept) :]))
    with np.errstate(all="ignore"):
        want = function(rows, axis=-1)
        if function is not special.logsumexp:
            want = want.reshape(moved.shape).transpose(np.argsort(kept + axes))
        axis = axes[0] if len(axes) == 1 else tuple(axes)
        assert_same(function(x, axis=axis), want)
        out = new_out(data, "out", np.shape(want), data.draw(st.sampled_from(FLOATS)))
        if function is not special.logsumexp and data.draw(st.booleans(), "in place"):
            out = Out(x, dtype, layout)
        assert function(x, axis=axis, out=out.array) is out.array
        out.assert_holds(want)


@pytest.mark.parametrize("part", slow_but([0], range(4)))
@examples(30)
def test_log_loss(data, part):
    rng = np.random.default_rng(data.draw(st.integers(0, 999), "seed"))
    n = data.draw(st.sampled_from([1, 2, 5, 17, 65, 129]), "rows")
    k = data.draw(classes([n]), "classes")
    dtype = data.draw(st.sampled_from(FLOATS), "dtype")
    one_axis, logits, indicator = (data.draw(st.booleans(), name) for name in ("one axis", "logits", "indicator"))
    values = rng.standard_normal((n, k)) * 30 if logits else rng.random((n, k)) * (rng.random((n, k)) < 0.9)
    values = (values[:, 0] if one_axis else values).astype(dtype)
    proba = lay(values, data.draw(layouts(values.ndim), "proba"))
    known = range(2 if one_axis else max(k, 2))
    y, options = rng.integers(0, len(known), n), {"labels": known, "from_logits": logits}
    if indicator and not one_axis and k > 1:
        y, options = rng.integers(0, 2, (n, k)), {"from_logits": logits}
    # Probabilities are clipped by the eps of their own dtype, so copies have that.
    copy = plain(proba, computed(dtype) if logits else dtype)
    weight = lay(rng.random(n) + 0.1, data.draw(layouts(1), "sample_weight"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows that do not sum to one
        assert_same(log_loss_per_sample(y, proba, **options), log_loss_per_sample(y, copy, **options))
        for normalize in (True, False):
            got = log_loss(y, proba, sample_weight=weight, normalize=normalize, **options)
            assert_same(got, log_loss(y, copy, sample_weight=plain(weight), normalize=normalize, **options))
