"""The arguments of linear_cross_entropy: layouts and types, rows that count for nothing, NaN and infinity, and mistakes."""

import numpy as np
import pytest
import scipy.sparse
from depth import slow_but
from layers import DTYPES, data, eighths

from xentc import linear_cross_entropy

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


def test_input_is_left_alone(rng, cut):
    hidden, weight, target, options = data(rng, 40, 6, 70, np.float32, ("class_weight", "sample_weight", "ignore_index"))
    arrays = [hidden, weight, target, options["class_weight"], options["sample_weight"]]
    before = [a.copy() for a in arrays]
    for a in arrays:
        a.flags.writeable = False
    linear_cross_entropy(hidden, weight, target, return_grad=True, **options)
    for a, b in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(a, b)
