"""linear_cross_entropy beside the plain formulas, on numbers whose products and sums are exact.

Logits have no error, and each loss must be that of `cross_entropy`: to the last bit, or nearly so where it is put together
of tiles of classes. What is left of error in the gradients is that of a product of two matrices.
"""

import itertools

import ml_dtypes
import numpy as np
import plain
import pytest
import scipy.sparse
from depth import slow_but
from layers import DTYPES, KEYWORDS, data, eighths
from oracles import ROW_KINDS, bulk_softmax_loss, rows_of, ulps

from xentc import cross_entropy, linear, linear_cross_entropy
from xentc._core import kernel_shapes


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
