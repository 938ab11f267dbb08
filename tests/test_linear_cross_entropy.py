"""linear_cross_entropy beside the plain formulas, on numbers whose products and sums are exact.

Hidden rows and weights are small multiples of 1/8, so that logits have no error whatever BLAS does, and each loss must be
that of `cross_entropy`: to the last bit, or nearly so where it is put together of tiles of classes. What is left of error in
the gradients is that of a product of two matrices.
"""

import _thread
import itertools
import signal
import threading
import tracemalloc

import ml_dtypes
import numpy as np
import plain
import pytest
import scipy.sparse
from depth import slow_but
from oracles import ROW_KINDS, bulk_softmax_loss, rows_of, ulps
from threadpoolctl import threadpool_info, threadpool_limits

from xentc import cross_entropy, linear, linear_cross_entropy
from xentc._core import kernel_shapes

DTYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16]
KEYWORDS = {
    "class_weight": lambda rng, n, k: rng.uniform(0.5, 2, k),
    "sample_weight": lambda rng, n, k: rng.choice([0.0, 0.5, 1.0, 3.0], n),
    "label_smoothing": lambda rng, n, k: 0.125,
    "ignore_index": lambda rng, n, k: -100,
    "z_loss": lambda rng, n, k: 0.01,
    "focal_gamma": lambda rng, n, k: 1.5,
}
# How rows and classes are cut: each thread has rows, or threads share tiles of classes, which are added up in one part or
# several.
CUTS = {
    "rows": {},
    "many chunks": {"_FEW_ROWS": 1, "_PARTS": 1 << 20},
    "classes": {"_SMALL_WEIGHT": 0},
    "one part": {"_SMALL_WEIGHT": 0, "_PARTS": 1},
    "short blocks": {"_SMALL_WEIGHT": 0, "_LOGITS": 1 << 13},
}


@pytest.fixture(params=CUTS)
def cut(request, monkeypatch):
    for name, value in CUTS[request.param].items():
        monkeypatch.setattr(linear, name, value)
    return request.param


def eighths(rng, shape, dtype):
    return (rng.integers(-8, 9, shape) / 8).astype(dtype)


def data(rng, n, d, k, dtype=np.float64, names=(), kind="codes"):
    options = {name: KEYWORDS[name](rng, n, k) for name in names}
    target = rng.integers(0, k, n)
    if "ignore_index" in options:
        target[rng.random(n) < 0.3] = -100
    if kind != "codes":
        target = rng.integers(0, 3, (n, k)) / 4 * (rng.random((n, k)) < 0.5)
    if kind == "sparse":
        target = scipy.sparse.csr_array(target)
    return eighths(rng, (n, d), dtype), eighths(rng, (k, d), dtype), target, options


def logits_of(hidden, weight, bias=None):
    return hidden.astype(float) @ weight.T.astype(float) + (0 if bias is None else bias.astype(float))


def expected(
    hidden, weight, target, bias=None, *, reduction="mean", sample_weight=None, ignore_index=None, class_weight=None,
    label_smoothing=0.0, z_loss=0.0, focal_gamma=0.0,
):  # fmt: skip
    """The loss and its gradients, each with its size."""
    x, k = logits_of(hidden, weight, bias), len(weight)
    n = len(x)
    row_weight = np.ones(n) if sample_weight is None else sample_weight.astype(float)
    target = target.toarray() if scipy.sparse.issparse(target) else target
    if ignore_index is not None:
        row_weight = np.where(target == ignore_index, 0, row_weight)
        target = np.where(target == ignore_index, 0, target)
    a, share = plain.target_weights(target, k, class_weight, label_smoothing)
    rows = plain.cross_entropy(plain.softmax(x), a, z_loss * share, focal_gamma)
    loss, grad, _ = plain.reduced(rows, row_weight, share * row_weight, reduction)
    h, w = hidden.astype(float), weight.astype(float)
    products = [(grad[0] @ w, grad[1] @ np.abs(w)), (grad[0].T @ h, grad[1].T @ np.abs(h)), [g.sum(axis=0) for g in grad]]
    return loss, products[: 2 if bias is None else 3]


def check(got, want, eps, terms, what=""):
    """That an error is below a rounding for each term that was added, and some more of the arithmetic before."""
    value, size = want
    assert (np.abs(got.astype(float) - value) <= (terms + 16) * eps * size).all(), what


def check_loss(loss, of_logits, dtype, what="", tiles=None):
    if linear._SMALL_WEIGHT == 0 if tiles is None else tiles:
        assert (ulps(np.asarray(loss, dtype), np.asarray(of_logits, dtype)) <= 2).all(), what
    else:
        np.testing.assert_array_equal(loss, of_logits, what)


# ---- Values.


@pytest.mark.parametrize("dtype", slow_but([np.float64, ml_dtypes.bfloat16], DTYPES))
@pytest.mark.parametrize("kind", ["codes", "soft", "sparse"])
def test_every_keyword(rng, cut, kind, dtype):
    names = [name for name in KEYWORDS if name != "ignore_index" or kind == "codes"]
    result = np.float64 if dtype == np.float64 else np.float32
    eps = np.finfo(result).eps
    selections = [(), *((name,) for name in names), tuple(names)]
    for selection, reduction in zip(selections, itertools.cycle(["none", "mean", "sum"])):
        for has_bias in (False, True):
            hidden, weight, target, options = data(rng, 40, 9, 150, dtype, selection, kind)
            bias = eighths(rng, 150, dtype) if has_bias else None
            options["reduction"] = reduction
            what = f"{selection}, {reduction}, {has_bias}"
            loss, grads = linear_cross_entropy(hidden, weight, target, bias=bias, return_grad=True, n_threads=2, **options)
            of_logits = cross_entropy(logits_of(hidden, weight, bias).astype(result), target, **options)
            check_loss(loss, of_logits, result, what)
            want, want_grads = expected(hidden, weight, target, bias, **options)
            check(np.asarray(loss), want, eps, 150, what)
            for grad, of, terms in zip(grads, want_grads, (150, 40, 40), strict=False):
                assert grad.dtype == result
                check(grad, of, eps, terms, what)
            only = linear_cross_entropy(hidden, weight, target, bias=bias, **options)
            np.testing.assert_array_equal(only, loss, what)


# Both sides of: a vector, rows in lanes, rows of logits that lie apart, tiles of 64 to 1024 classes, features of a task,
# 1 MiB of weights, 4 MiB of a thread's own logits.
SHAPES = [
    (1, 1, 1), (1, 1, 2), (3, 1, 5), (5, 2, 1), (17, 3, 2), (40, 5, 16), (40, 5, 17), (129, 4, 63), (129, 4, 65),
    (20, 7, 1023), (20, 7, 1024), (20, 7, 1025), (140, 2, 8192), (140, 2, 8193),
    (9, 1023, 255), (9, 1024, 256), (9, 1025, 257), (9, 1025, 31), (70, 60, 5000),
    (33, 16, 16385), (100, 2050, 140), (4500, 50, 10),
]  # fmt: skip


@pytest.mark.parametrize(("n", "d", "k"), SHAPES)
@pytest.mark.parametrize("dtype", slow_but([np.float32], [np.float64, np.float32]))
def test_shapes(rng, n, d, k, dtype):
    hidden, weight, target, _ = data(rng, n, d, k, dtype)
    bias = eighths(rng, k, dtype)
    eps = np.finfo(dtype).eps
    want, want_grads = expected(hidden, weight, target, bias)
    results = []
    for n_threads, block_rows in ((1, None), (2, None), (3, None), (2, 7), (2, n)):
        loss, grads = linear_cross_entropy(
            hidden, weight, target, bias=bias, return_grad=True, n_threads=n_threads, block_rows=block_rows)
        of_logits = cross_entropy(logits_of(hidden, weight, bias).astype(dtype), target)
        check_loss(loss, of_logits, dtype, tiles=weight.nbytes > 1 << 20 or 128 * k * weight.itemsize > 1 << 22)
        check(np.asarray(loss), want, eps, k)
        for grad, of, terms in zip(grads, want_grads, (k, n, n), strict=True):
            check(grad, of, eps, terms)
        results.append(grads)
    for grads in results[1:3]:
        for grad, of in zip(grads, results[0], strict=True):
            np.testing.assert_array_equal(grad, of)


@pytest.mark.parametrize("dtype", slow_but([np.float32], [np.float64, np.float32]))
@pytest.mark.parametrize("small_weight", [linear._SMALL_WEIGHT, 0])
def test_every_keyword_where_kernels_change_their_shape(rng, monkeypatch, dtype, small_weight):
    # With one feature the logits are products without a sum, and the gradient of a hidden row is one of weights. Tiles have
    # 64 classes and more, and the last one what is left.
    monkeypatch.setattr(linear, "_SMALL_WEIGHT", small_weight)
    eps = np.finfo(dtype).eps
    for last in kernel_shapes(np.dtype(dtype).itemsize)["classes"]:
        for k in (last, last + 1):
            if k > 20_000:
                continue
            n = 130 if k < 300 else 17 if k < 2000 else 5
            for kind, names in (("codes", []), ("codes", [*KEYWORDS]), ("soft", [*KEYWORDS.keys() - {"ignore_index"}])):
                hidden, weight, target, options = data(rng, n, 1, k, dtype, sorted(names), kind)
                loss, (d_hidden, _) = linear_cross_entropy(hidden, weight, target, return_grad=True, n_threads=2, **options)
                of_logits, grad = cross_entropy(hidden @ weight.T, target, return_grad=True, **options)
                check_loss(loss, of_logits, dtype, f"{k} {kind} {names}")
                wide = grad.astype(float), weight.astype(float)
                check(d_hidden, (wide[0] @ wide[1], np.abs(wide[0]) @ np.abs(wide[1])), eps, k, f"{k} {kind} {names}")


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kind", ROW_KINDS)
def test_tiles_are_joined_to_the_last_digits(monkeypatch, kind, dtype):
    # The weights are the logits of rows that are 1 for one feature each.
    monkeypatch.setattr(linear, "_SMALL_WEIGHT", 0)
    for k in (2, 63, 64, 65, 128, 129, 700, 3000):
        x, y = rows_of(kind, 40, k, dtype)
        rows, weight = np.eye(40, dtype=dtype), np.ascontiguousarray(x.T)
        loss, (_, d_weight) = linear_cross_entropy(rows, weight, y, reduction="none", return_grad=True)
        exact_loss, exact_grad = bulk_softmax_loss(x, y)
        assert ulps(loss, exact_loss).max() <= 3
        assert ulps(d_weight.T, exact_grad).max() <= 4
        np.testing.assert_array_equal(linear_cross_entropy(rows, weight, y, reduction="none"), loss)
        for options in ({"z_loss": 0.5}, {"label_smoothing": 0.1}):
            got = linear_cross_entropy(rows, weight, y, reduction="none", **options)
            assert ulps(got, cross_entropy(x, y, reduction="none", **options)).max() <= 4
        got = linear_cross_entropy(rows, weight, y, reduction="none", focal_gamma=2.0)
        focal = exact_grad[range(40), y] ** 2 * exact_loss
        assert ulps(got, focal).max() <= 4


@pytest.mark.parametrize("falls", [False, True])
def test_a_thousand_tiles_lose_no_more_than_two(monkeypatch, falls):
    # Each has a larger maximum, or a smaller one, than the tile before; a loss below 1e-9 shows their whole sum.
    monkeypatch.setattr(linear, "_SMALL_WEIGHT", 0)
    monkeypatch.setattr(linear, "_TILE", 1)
    k = 64_000
    x = np.sort(np.random.default_rng(0).uniform(-1, 1, (10, k)))
    x[:, -1] = 32
    y = np.full(10, k - 1)
    if falls:
        x, y = np.ascontiguousarray(x[:, ::-1]), np.zeros(10, int)
    loss = linear_cross_entropy(np.eye(10), np.ascontiguousarray(x.T), y, reduction="none")
    assert ulps(loss, bulk_softmax_loss(x, y)[0]).max() <= 3


def test_tiles_without_a_class_that_counts(monkeypatch):
    monkeypatch.setattr(linear, "_SMALL_WEIGHT", 0)
    k, nothing = 200, -np.inf
    x = np.linspace(-3, 3, k)
    for first, last, value, nan in (
        (0, 64, nothing, None), (64, 128, nothing, None), (64, 200, nothing, None), (0, 200, nothing, None),
        (0, 64, nothing, 63), (128, 200, nothing, 130), (70, 71, np.inf, None), (3, 190, np.inf, None), (3, 4, np.nan, None),
    ):  # fmt: skip
        bias = x.copy()
        bias[first:last] = value
        if nan is not None:
            bias[nan] = np.nan
        for y in (0, 100, 199):
            for gamma in (0, 2):
                got, grads = linear_cross_entropy(
                    [[0.0]], np.zeros((k, 1)), [y], bias=bias, focal_gamma=gamma, return_grad=True)
                want, grad = cross_entropy([bias], [y], focal_gamma=gamma, return_grad=True)
                np.testing.assert_allclose(got, want, rtol=1e-15)
                np.testing.assert_allclose(grads[2], grad[0], rtol=1e-15)
                only = linear_cross_entropy([[0.0]], np.zeros((k, 1)), [y], bias=bias, focal_gamma=gamma)
                np.testing.assert_array_equal(only, got)


def test_bits_do_not_depend_on_threads(rng, cut):
    hidden, weight = rng.standard_normal((300, 40), np.float32), rng.standard_normal((700, 40), np.float32)
    target = rng.integers(0, 700, 300)
    results = [linear_cross_entropy(hidden, weight, target, return_grad=True, n_threads=n) for n in (1, 2, 5, 16)]
    for loss, grads in results[1:]:
        assert loss == results[0][0]
        for grad, of in zip(grads, results[0][1], strict=True):
            np.testing.assert_array_equal(grad, of)


def test_errors_of_float32(rng):
    # Of random numbers, logits have an error: a loss is within 1e-6 of the size of its terms, a gradient within 4 ulp of
    # what the products lose.
    n, d, k = 200, 100, 3000
    hidden, weight = rng.standard_normal((n, d), np.float32), rng.standard_normal((k, d), np.float32) / np.float32(10)
    target = rng.integers(0, k, n)
    loss, (d_hidden, d_weight) = linear_cross_entropy(hidden, weight, target, return_grad=True)
    want, ((hidden_grad, hidden_size), (weight_grad, weight_size)) = expected(hidden, weight, target)
    assert abs(loss - want[0]) <= 1e-6 * want[1]
    # The gradient of a logit moves by that of the logits, of which each is off by so much.
    moved = np.finfo(np.float32).eps * np.sqrt(d) * (np.abs(hidden) @ np.abs(weight).T).max()
    assert np.abs(d_hidden - hidden_grad).max() <= (4 * np.finfo(np.float32).eps + moved) * hidden_size.max()
    assert np.abs(d_weight - weight_grad).max() <= (4 * np.finfo(np.float32).eps + moved) * weight_size.max()


def test_per_token_log_probabilities_in_the_shape_of_the_rows(rng):
    hidden, weight = eighths(rng, (2, 5, 6), np.float64), eighths(rng, (11, 6), np.float64)
    tokens = rng.integers(0, 11, (2, 5))
    tokens[1, 3:] = -100
    loss = linear_cross_entropy(hidden, weight, tokens, ignore_index=-100, reduction="none")
    assert loss.shape == (2, 5)
    assert (loss[1, 3:] == 0).all()
    log_proba = -cross_entropy(hidden @ weight.T, tokens, ignore_index=-100, reduction="none")
    np.testing.assert_array_equal(-loss, log_proba)
    assert linear_cross_entropy(hidden[0, 0], weight, tokens[0, 0], reduction="none").shape == ()


# ---- Layouts.


def laid(a, layout):
    if layout == "F":
        return np.asarray(a, order="F")
    if layout == "stepped":
        wide = np.zeros((a.shape[0], 2 * a.shape[1]), a.dtype)
        wide[:, ::2] = a
        return wide[:, ::2]
    if layout == "padded":
        wide = np.zeros((a.shape[0], a.shape[1] + 3), a.dtype)
        wide[:, 1:-2] = a
        return wide[:, 1:-2]
    if layout == "backwards":
        return np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1]
    if layout == "swapped":
        return a.astype(a.dtype.newbyteorder()) if a.dtype.kind == "f" else a
    assert layout == "unaligned"
    return np.frombuffer(b"0" + a.tobytes(), a.dtype, offset=1).reshape(a.shape)


@pytest.mark.parametrize("dtype", slow_but([np.float32, np.float16], DTYPES))
@pytest.mark.parametrize("layout", ["F", "stepped", "padded", "backwards", "swapped", "unaligned"])
def test_layouts(rng, cut, layout, dtype):
    hidden, weight, target, _ = data(rng, 50, 12, 130, dtype)
    want = linear_cross_entropy(hidden, weight, target, return_grad=True)
    other_hidden, other_weight = laid(hidden, layout), laid(weight, layout)
    for h, w in ((other_hidden, weight), (hidden, other_weight), (other_hidden, other_weight)):
        loss, grads = linear_cross_entropy(h, w, target, return_grad=True, n_threads=2)
        assert loss == want[0]
        for grad, of in zip(grads, want[1], strict=True):
            np.testing.assert_array_equal(grad, of)


def test_rows_that_cannot_be_one_axis(rng, cut):
    # The tokens but the last of each text, whose next one is the target.
    whole, weight = eighths(rng, (3, 6, 4), np.float32), eighths(rng, (9, 4), np.float32)
    target = rng.integers(0, 9, (3, 5))
    d_whole = np.full_like(whole, 7)
    loss, (d_hidden, d_weight) = linear_cross_entropy(
        whole[:, :-1], weight, target, return_grad=True, out_grad=(d_whole[:, :-1], None))
    assert d_hidden.base is d_whole
    assert (d_whole[:, -1] == 7).all()
    want = linear_cross_entropy(whole[:, :-1].copy(), weight, target, return_grad=True)
    assert loss == want[0]
    np.testing.assert_array_equal(d_hidden, want[1][0])
    np.testing.assert_array_equal(d_weight, want[1][1])


def test_types_that_differ(rng):
    hidden, weight, target, _ = data(rng, 30, 8, 40)
    want = linear_cross_entropy(hidden, weight, target, return_grad=True)
    for narrow in DTYPES[1:]:
        for h, w in ((hidden.astype(narrow), weight), (hidden, weight.astype(narrow))):
            loss, grads = linear_cross_entropy(h, w, target, return_grad=True)
            assert loss == want[0]
            for grad, of in zip(grads, want[1], strict=True):
                assert grad.dtype == np.float64
                np.testing.assert_array_equal(grad, of)
    counts = linear_cross_entropy(np.array([[1, 2]]), np.array([[1, 0], [0, 1]]), [0], return_grad=True)
    assert counts[1][0].dtype == np.float64


# ---- Where gradients go.


@pytest.mark.parametrize("out_dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16, ">f8"])
def test_gradients_add_up(rng, cut, out_dtype):
    hidden, weight, target, _ = data(rng, 60, 8, 100)
    bias = eighths(rng, 100, float)
    wanted = linear_cross_entropy(hidden, weight, target, bias=bias, return_grad=True)[1]
    out = tuple(np.full(x.shape, 2, out_dtype) for x in (hidden, weight, bias))
    returned = linear_cross_entropy(hidden, weight, target, bias=bias, return_grad=True, out_grad=out)[1]
    for mine, given in zip(returned, out, strict=True):
        assert mine is given
    eps = float(ml_dtypes.finfo(np.dtype(out_dtype).newbyteorder("=")).eps)
    np.testing.assert_allclose(out[0].astype(float), wanted[0], rtol=eps, atol=1e-7)   # written over
    np.testing.assert_allclose(out[1].astype(float), wanted[1] + 2, rtol=4 * eps)      # added to
    np.testing.assert_allclose(out[2].astype(float), wanted[2] + 2, rtol=4 * eps)


def test_batches_add_up_to_one_call(rng, cut):
    hidden, weight, target, _ = data(rng, 64, 5, 90)
    loss, (d_hidden, d_weight) = linear_cross_entropy(hidden, weight, target, reduction="sum", return_grad=True)
    total, d_sum = 0.0, np.zeros_like(weight)
    for rows in np.split(np.arange(64), 4):
        part, (d_rows, same) = linear_cross_entropy(
            hidden[rows], weight, target[rows], reduction="sum", return_grad=True, out_grad=(None, d_sum))
        assert same is d_sum
        np.testing.assert_allclose(d_rows, d_hidden[rows], rtol=1e-13, atol=1e-15)
        total += part
    assert total == pytest.approx(loss, rel=1e-14)
    np.testing.assert_allclose(d_sum, d_weight, rtol=1e-12, atol=1e-14)


def test_only_some_gradients_have_a_place(rng, cut):
    hidden, weight, target, _ = data(rng, 60, 8, 100)
    bias = eighths(rng, 100, float)
    want = linear_cross_entropy(hidden, weight, target, bias=bias, return_grad=True)[1]
    for given in itertools.product([False, True], repeat=3):
        out = tuple(np.zeros(x.shape) if has else None for has, x in zip(given, (hidden, weight, bias), strict=True))
        grads = linear_cross_entropy(hidden, weight, target, bias=bias, return_grad=True, out_grad=out)[1]
        for grad, of in zip(grads, want, strict=True):
            np.testing.assert_array_equal(grad, of)


@pytest.mark.parametrize("order", ["C", "F"])
def test_gradients_go_into_any_layout(rng, cut, order):
    hidden, weight, target, _ = data(rng, 40, 6, 70, np.float32)
    want = linear_cross_entropy(hidden, weight, target, return_grad=True)[1]
    d_hidden = np.zeros((40, 12), np.float32, order=order)[:, ::2]
    d_weight = np.zeros((70, 12), np.float32, order=order)[:, ::2]
    linear_cross_entropy(hidden, weight, target, return_grad=True, out_grad=[d_hidden, d_weight])
    np.testing.assert_array_equal(d_hidden, want[0])
    np.testing.assert_array_equal(d_weight, want[1])


# ---- Rows that count for nothing, and values that are no numbers.


def test_rows_that_count_for_nothing(rng, cut):
    hidden, weight, target, _ = data(rng, 50, 7, 80, np.float32)
    sample_weight = rng.choice([0.0, 1.0, 2.0], 50)
    target[::7] = -100
    nothing = (sample_weight == 0) | (target == -100)
    hidden[nothing] = rng.choice([np.nan, np.inf, -np.inf], (nothing.sum(), 7))
    options = {"ignore_index": -100, "reduction": "sum", "return_grad": True}
    loss, (d_hidden, d_weight) = linear_cross_entropy(hidden, weight, target, sample_weight=sample_weight, **options)
    kept, (d_kept, d_weight_kept) = linear_cross_entropy(
        hidden[~nothing], weight, target[~nothing], sample_weight=sample_weight[~nothing], **options)
    assert loss == kept
    assert (d_hidden[nothing] == 0).all()
    np.testing.assert_array_equal(d_hidden[~nothing], d_kept)
    np.testing.assert_array_equal(d_weight, d_weight_kept)
    one_hot = np.eye(80)[np.where(target < 0, 0, target)]
    for soft in (one_hot, scipy.sparse.csr_array(one_hot)):
        other, (d_hidden, d_weight) = linear_cross_entropy(
            hidden, weight, soft, sample_weight=np.where(nothing, 0, sample_weight), reduction="sum", return_grad=True)
        assert other == pytest.approx(loss, rel=1e-6)
        assert (d_hidden[nothing] == 0).all()
        np.testing.assert_allclose(d_weight, d_weight_kept, rtol=1e-4, atol=1e-5)


def test_nothing_counts(rng, cut):
    weight = eighths(rng, (5, 3), np.float64)
    for shape in ((4,), (0,), (2, 0)):
        hidden, target = np.ones((*shape, 3)), np.full(shape, -1)
        loss, (d_hidden, d_weight) = linear_cross_entropy(hidden, weight, target, ignore_index=-1, return_grad=True)
        assert np.isnan(loss)
        assert d_hidden.shape == hidden.shape
        assert (d_hidden == 0).all()
        assert (d_weight == 0).all()
        assert linear_cross_entropy(hidden, weight, target, ignore_index=-1, reduction="sum") == 0


def test_a_nan_stays_in_its_row(rng, cut):
    hidden, weight, target, _ = data(rng, 40, 6, 70)
    clean = linear_cross_entropy(hidden, weight, target, reduction="none")
    hidden[3, 2] = np.nan
    loss, (d_hidden, _) = linear_cross_entropy(hidden, weight, target, reduction="none", return_grad=True)
    others = np.arange(40) != 3
    np.testing.assert_array_equal(loss[others], clean[others])
    assert np.isnan(loss[3])
    assert np.isnan(d_hidden[3]).all()
    assert np.isfinite(d_hidden[others]).all()


def test_classes_that_a_bias_masks(rng, cut):
    hidden, weight, target, _ = data(rng, 40, 6, 70)
    bias = np.zeros(70)
    bias[35:] = -np.inf
    target %= 35
    loss, (d_hidden, d_weight, d_bias) = linear_cross_entropy(hidden, weight, target, bias=bias, return_grad=True)
    kept, (d_hidden_kept, d_weight_kept) = linear_cross_entropy(hidden, weight[:35], target, return_grad=True)
    assert loss == kept
    np.testing.assert_allclose(d_hidden, d_hidden_kept, atol=1e-15)
    np.testing.assert_allclose(d_weight[:35], d_weight_kept, atol=1e-15)
    assert (d_weight[35:] == 0).all()
    assert (d_bias[35:] == 0).all()


def test_a_mean_over_weights_that_sum_to_zero(rng):
    hidden, weight, target, _ = data(rng, 4, 3, 5)
    loss, grads = linear_cross_entropy(hidden, weight, target, sample_weight=[1.0, -1.0, 0.0, 0.0], return_grad=True)
    assert np.isnan(loss)
    assert np.isnan(grads[0][:2]).all()
    assert (grads[0][2:] == 0).all()
    assert np.isnan(grads[1]).all()


# ---- Errors.

H, W, Y = np.ones((4, 3)), np.ones((5, 3)), np.array([0, 1, 2, 3])


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((np.float64(1), W, Y), {}, ValueError, r"hidden has shape \(\); expected \(\.\.\., n_features\)"),
        ((np.ones((4, 0)), np.ones((5, 0)), Y), {}, ValueError, r"hidden has shape \(4, 0\); .* at least one feature"),
        ((H, W.T, Y), {}, ValueError, r"weight has shape \(3, 5\); expected \(n_classes, 3\) .*; use weight\.T"),
        ((H, np.ones((5, 4)), Y), {}, ValueError, r"weight has shape \(5, 4\); expected \(n_classes, 3\)"),
        ((H, np.ones((0, 3)), Y), {}, ValueError, r"weight has shape \(0, 3\)"),
        ((H, np.ones(3), Y), {}, ValueError, r"weight has shape \(3,\)"),
        ((H, W, Y[:3]), {}, ValueError, r"target has shape \(3,\); expected \(4,\) .* for hidden @ weight\.T of"),
        ((H, W, Y + 2), {}, ValueError, r"target\[3\] is 5, but hidden @ weight\.T have 5 classes"),
        ((H, W, Y - 101), {"ignore_index": -100}, ValueError, r"target\[0\] is -101, but"),
        ((H, W, -np.eye(4, 5)), {}, ValueError, r"target\[0, 0\] is -1\.0; expected probabilities >= 0"),
        ((H, W, Y), {"bias": np.ones(4)}, ValueError, r"bias has shape \(4,\); expected \(5,\), one a class"),
        ((H, W, Y), {"bias": np.ones(5) * 1j}, TypeError, "bias has dtype complex128"),
        ((H * 1j, W, Y), {}, TypeError, "hidden has dtype complex128"),
        ((H, W > 0, Y), {}, TypeError, "weight are booleans"),
        ((H, W, Y), {"block_rows": 0}, ValueError, "block_rows is 0; expected at least 1"),
        ((H, W, Y), {"block_rows": 1.5}, TypeError, "block_rows must be an integer, got 1.5"),
        ((H, W, Y), {"reduction": "total"}, ValueError, "reduction must be"),
        ((H, W, Y), {"focal_gamma": -1}, ValueError, "focal_gamma is -1"),
        ((H, W, Y), {"n_threads": 0}, ValueError, "n_threads must be at least 1"),
        ((H, W, Y), {"out_grad": (None, None)}, ValueError, "out_grad is given, but return_grad is False"),
        ((H, W, Y), {"return_grad": True, "out_grad": (None,)}, TypeError,
         "out_grad must be a tuple of d_hidden, d_weight, got 1 items"),
        ((H, W, Y), {"return_grad": True, "out_grad": np.ones((2, 5))}, TypeError, "must be a tuple .* got ndarray"),
        ((H, W, Y), {"return_grad": True, "bias": np.ones(5), "out_grad": (None, None)}, TypeError, "d_bias, got 2 items"),
        ((H, W, Y), {"return_grad": True, "out_grad": (None, W[:4].copy())}, ValueError,
         r"out_grad\[1\] has shape \(4, 3\); expected that of weight, \(5, 3\)"),
        ((H, W, Y), {"return_grad": True, "out_grad": (None, np.ones((5, 3), int))}, TypeError, r"\[1\] has dtype int"),
        ((H, W, Y), {"return_grad": True, "out_grad": (H, None)}, ValueError, r"out_grad\[0\] shares memory with hidden"),
        ((H, W, Y), {"return_grad": True, "out_grad": (None, W)}, ValueError, r"out_grad\[1\] shares memory with weight"),
    ],
)  # fmt: skip
def test_errors(arguments, options, error, message):
    with pytest.raises(error, match=message):
        linear_cross_entropy(*arguments, **options)


def test_two_outputs_that_are_one():
    square, target = np.ones((4, 4)), np.arange(4)
    out = np.zeros((4, 4))
    with pytest.raises(ValueError, match=r"out_grad\[1\] shares memory with out_grad\[0\]"):
        linear_cross_entropy(square, square.copy(), target, return_grad=True, out_grad=(out, out))


@pytest.mark.parametrize("target", [np.array([0, 1, 9]), np.array([[0.5, 0.5], [0.5, 0.5], [0.5, -0.5]])])
def test_nothing_is_added_after_an_error(cut, target):
    out = (np.full((3, 2), 7.0), np.full((2, 2), 7.0))
    with pytest.raises(ValueError, match="target"):
        linear_cross_entropy(np.ones((3, 2)), np.eye(2), target, return_grad=True, out_grad=out)
    assert (out[0] == 7).all()
    assert (out[1] == 7).all()


def test_input_is_left_alone(rng, cut):
    hidden, weight, target, options = data(rng, 40, 6, 70, np.float32, ("class_weight", "sample_weight", "ignore_index"))
    arrays = [hidden, weight, target, options["class_weight"], options["sample_weight"]]
    before = [a.copy() for a in arrays]
    for a in arrays:
        a.flags.writeable = False
    linear_cross_entropy(hidden, weight, target, return_grad=True, **options)
    for a, b in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(a, b)


# ---- What a call takes of the machine.


def blas_threads():
    return sorted((info["filepath"], info["num_threads"]) for info in threadpool_info() if info["user_api"] == "blas")


def test_limits_of_blas_are_as_before(rng):
    before = blas_threads()
    hidden, weight, target, _ = data(rng, 40, 6, 70)
    linear_cross_entropy(hidden, weight, target)
    assert blas_threads() == before
    with pytest.raises(ValueError, match="target"):
        linear_cross_entropy(hidden, weight, target + 70)
    assert blas_threads() == before



@pytest.mark.thread_unsafe
def test_an_interrupt_ends_a_call_and_leaves_no_limit(rng):
    before = blas_threads()
    hidden, weight = np.ones((200_000, 64), np.float32), np.ones((6000, 64), np.float32)

    def call_and_call():
        for _ in range(100):
            linear_cross_entropy(hidden, weight, np.zeros(200_000, int), return_grad=True)

    timer = threading.Timer(0.3, _thread.interrupt_main)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)       # a shell's background job has none
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            call_and_call()
    finally:
        timer.join()
        signal.signal(signal.SIGINT, handler)
    assert blas_threads() == before


@pytest.mark.thread_unsafe
def test_limits_of_others_change_no_bit(rng):
    # threadpoolctl lets the thread that set a limit change it, and no other one.
    hidden, weight = rng.standard_normal((300, 40), np.float32), rng.standard_normal((700, 40), np.float32)
    target = rng.integers(0, 700, 300)
    results = []

    def work():
        results.append(linear_cross_entropy(hidden, weight, target, return_grad=True))

    work()
    for limit in (1, 2):
        with threadpool_limits(limit, user_api="blas"):
            inside = blas_threads()
            work()
            assert blas_threads() == inside
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            assert blas_threads() == inside
    for loss, grads in results[1:]:
        assert loss == results[0][0]
        for grad, of in zip(grads, results[0][1], strict=True):
            np.testing.assert_array_equal(grad, of)


@pytest.mark.thread_unsafe
def test_calls_of_several_threads(rng):
    before = blas_threads()
    hidden, weight, target, _ = data(rng, 200, 20, 800, np.float32)
    want = linear_cross_entropy(hidden, weight, target, return_grad=True)
    results = []

    def work():
        for _ in range(5):
            results.append(linear_cross_entropy(hidden, weight, target, return_grad=True, n_threads=2))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 20
    for loss, grads in results:
        assert loss == want[0]
        for grad, of in zip(grads, want[1], strict=True):
            np.testing.assert_array_equal(grad, of)
    assert blas_threads() == before


@pytest.mark.thread_unsafe
@pytest.mark.parametrize(("n", "d", "k"), [(2000, 16, 30_000), (400_000, 16, 20)])
def test_logits_are_never_stored(n, d, k):
    # All would take 240 and 32 MB.
    hidden, weight, target = np.zeros((n, d), np.float32), np.zeros((k, d), np.float32), np.zeros(n, int)
    out = (np.zeros_like(hidden), np.zeros_like(weight))
    linear_cross_entropy(hidden[:2], weight, target[:2])
    tracemalloc.start()
    linear_cross_entropy(hidden, weight, target, return_grad=True, out_grad=out, n_threads=2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < (64 << 20 if k > 100 else 8 << 20)
    tracemalloc.start()
    linear_cross_entropy(hidden, weight, target, n_threads=2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < (16 << 20 if k > 100 else 8 << 20)
