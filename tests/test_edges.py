"""The table of edges, one test a row, for every loss over rows of classes: probabilities, their logarithms, or logits."""

import functools
import itertools
import math

import numpy as np
import pytest

from xentc import categorical_cross_entropy, cross_entropy, kl_divergence, nll_loss, special

INF, NAN = np.inf, np.nan
K = 4
P = np.array([[0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25], [0.7, 0.1, 0.1, 0.1]])

# name: function, its input for the probabilities P, whether it takes integer targets
LOSSES = {
    "cross_entropy": (cross_entropy, np.log(P), True),
    "smoothed": (functools.partial(cross_entropy, label_smoothing=0.1), np.log(P), True),
    "z_loss": (functools.partial(cross_entropy, z_loss=0.1), np.log(P), True),
    "focal": (functools.partial(cross_entropy, focal_gamma=2.0), np.log(P), True),
    "focal, not integer": (functools.partial(cross_entropy, focal_gamma=0.5, label_smoothing=0.1), np.log(P), True),
    "categorical": (categorical_cross_entropy, P, True),
    "categorical, clipped": (functools.partial(categorical_cross_entropy, eps=1e-7, normalize_rows=True), P, True),
    "nll": (nll_loss, np.log(P), True),
    "kl": (kl_divergence, np.log(P), False),
}
TARGETS = {"codes": np.array([1, 2, 0]), "soft": np.array([[0, 1, 0, 0], [0, 0, 0.5, 0.5], [0.25] * 4])}
CASES = [(loss, target) for loss, (_, _, codes) in LOSSES.items() for target in TARGETS if codes or target == "soft"]
every_loss = pytest.mark.parametrize(("loss", "target"), CASES)
dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])


def inputs(loss, target, dtype=np.float64):
    function, x, _ = LOSSES[loss]
    return function, x.astype(dtype), TARGETS[target].copy()


@every_loss
@dtypes
def test_nan_stays_in_its_row(loss, target, dtype):
    function, x, t = inputs(loss, target, dtype)
    want, want_grad = function(x, t, reduction="none", return_grad=True)
    x[1, 0] = NAN
    got, grad = function(x, t, reduction="none", return_grad=True)
    assert got[1].tobytes() == dtype(NAN).tobytes()
    assert grad[1].tobytes() == np.full(K, NAN, dtype).tobytes()
    np.testing.assert_array_equal(got[::2], want[::2])
    np.testing.assert_array_equal(grad[::2], want_grad[::2])
    assert math.isnan(function(x, t))


@every_loss
@dtypes
def test_rows_of_no_weight_are_not_there(loss, target, dtype):
    function, x, t = inputs(loss, target, dtype)
    want, want_grad = function(x[::2], t[::2], return_grad=True)
    x[1] = [NAN, INF, -INF, 5]
    got, grad = function(x, t, sample_weight=[1, 0, 1], return_grad=True)
    assert got == want
    np.testing.assert_array_equal(grad[::2], want_grad)
    assert grad[1].tobytes() == np.zeros(K, dtype).tobytes()


@every_loss
def test_mean_over_nothing(loss, target):
    function, x, t = inputs(loss, target)
    value, grad = function(x, t, sample_weight=0.0, return_grad=True)
    assert math.isnan(value)
    assert grad.tobytes() == np.zeros(x.shape).tobytes()
    value, grad = function(x[:0], t[:0], return_grad=True)
    assert math.isnan(value)
    assert grad.shape == (0, K)
    assert function(x[:0], t[:0], reduction="sum") == 0


@pytest.mark.parametrize("loss", [name for name, (_, _, codes) in LOSSES.items() if codes])
def test_codes_out_of_range(loss):
    function, x, t = inputs(loss, "codes")
    for bad in (-1, K, 10**12):
        t[1] = bad
        with pytest.raises(ValueError, match=rf"target\[1\] is {bad}, but .* have 4 classes"):
            function(x, t)
        with pytest.raises(ValueError, match=rf"target\[1\] is {bad}, but .* have 4 classes"):
            function(x, t, sample_weight=[1, 0, 1])  # also where the row counts for nothing
        assert function(x, t, ignore_index=bad) == function(x[::2], t[::2])


@pytest.mark.parametrize("loss", LOSSES)
def test_nan_in_a_soft_target(loss):
    function, x, t = inputs(loss, "soft")
    t[0, 1] = NAN
    for k in (2, K):
        value = function(x[:, :k], t[:, :k], reduction="none")
        assert math.isnan(value[0])
        assert np.isfinite(value[1:]).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_negative_soft_target(loss):
    function, x, t = inputs(loss, "soft")
    t[2, 1] = -0.25
    with pytest.raises(ValueError, match=r"target\[2, 1\] is -0.25; expected probabilities >= 0"):
        function(x, t)


@every_loss
def test_no_classes(loss, target):
    function, x, t = inputs(loss, target)
    with pytest.raises(ValueError, match="have no classes"):
        function(x[:, :0], t[:, :0] if t.ndim == 2 else t)


@every_loss
def test_a_class_of_probability_0_that_is_not_the_target(loss, target):
    function, _, _ = LOSSES[loss]
    p = np.array([[0.0, 0.5, 0.5]])
    with np.errstate(divide="ignore"):
        x = p if "categorical" in loss else np.log(p)
    t = np.array([1]) if target == "codes" else np.array([[0.0, 0.25, 0.75]])
    value, grad = function(x, t, return_grad=True)
    if "smoothed" in loss or "not integer" in loss:
        assert value == INF
    else:
        assert math.isfinite(value)
        assert np.isfinite(grad).all()
    if "categorical" not in loss and "smoothed" not in loss and "not integer" not in loss:
        assert grad[0, 0] == 0


@pytest.mark.parametrize("loss", ["cross_entropy", "focal", "nll", "categorical"])
def test_a_target_of_probability_0(loss):
    function, _, _ = LOSSES[loss]
    p = np.array([[0.0, 0.5, 0.5]])
    with np.errstate(divide="ignore"):
        x = p if loss == "categorical" else np.log(p)
    assert function(x, [0]) == INF
    assert function(x, [[0.5, 0.5, 0]]) == INF


@pytest.mark.parametrize("loss", ["cross_entropy", "smoothed", "focal", "focal, not integer", "kl"])
@pytest.mark.parametrize("row", [[-INF] * 3, [INF, 0, 0], [INF, INF, 0], [INF, -INF, 0]])
def test_logits_that_have_no_softmax(loss, row):
    function, _, codes = LOSSES[loss]
    value, grad = function([row], [1] if codes else [[0.0, 1.0, 0.0]], reduction="none", return_grad=True)
    assert np.isnan(value).all()
    assert np.isnan(grad).all()
    assert np.isnan(special.softmax(row)).all()


@pytest.mark.parametrize("loss", ["cross_entropy", "smoothed", "focal", "focal, not integer"])
def test_one_class(loss):
    function, _, _ = LOSSES[loss]
    for target, x in itertools.product(([0], [[1.0]]), (7.0, -1e300)):
        value, grad, hess = function([[x]], target, return_hess=True)
        assert value == 0
        assert grad[0, 0] == 0
        assert hess[0, 0] == 0


@pytest.mark.parametrize("loss", ["cross_entropy", "smoothed", "focal"])
@pytest.mark.parametrize("shift", [1e6, -1e6, 1e15])
def test_an_offset_changes_nothing(loss, shift):
    function, _, _ = LOSSES[loss]
    x = np.array([[1.0, 2.0, 4.0], [0.5, -8.0, 3.0]])
    want = function(x, [0, 2], reduction="none", return_grad=True)
    got = function(x + shift, [0, 2], reduction="none", return_grad=True)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14, atol=2e-16)


@pytest.mark.parametrize("k", [2, 3, 200])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("soft", [False, True])
class TestRowsOfCrossEntropy:
    """More edges of one loss, with few and with many classes, and that they leave the rows beside them alone."""

    def loss_and_grad(self, k, dtype, soft, values, y=0, weight=None, filler=-1.0):
        """One special row between two ordinary ones, which it must leave alone."""
        x = np.full((3, k), filler, dtype)
        x[1, : len(values)] = values
        target = np.array([0, y, 1])
        target = np.eye(k)[target] if soft else target
        loss, grad = cross_entropy(x, target, sample_weight=weight, reduction="none", return_grad=True)
        ordinary, ordinary_grad = cross_entropy(x[::2], target[::2], reduction="none", return_grad=True)
        np.testing.assert_array_equal(loss[::2], ordinary)
        np.testing.assert_array_equal(grad[::2], ordinary_grad)
        return loss[1], grad[1]

    def test_nan(self, k, dtype, soft):
        loss, grad = self.loss_and_grad(k, dtype, soft, [0, NAN])
        assert math.isnan(loss)
        assert np.isnan(grad).all()
        assert loss.tobytes() == dtype(NAN).tobytes()
        assert grad.tobytes() == np.full(k, NAN, dtype).tobytes()

    def test_masked_class(self, k, dtype, soft):
        loss, grad = self.loss_and_grad(k, dtype, soft, [0, -INF])
        assert math.isfinite(loss)
        assert grad[1].tobytes() == dtype(0).tobytes()         # not -0
        assert np.isfinite(grad).all()

    def test_masked_target(self, k, dtype, soft):
        loss, grad = self.loss_and_grad(k, dtype, soft, [-INF, 2])
        assert loss == INF
        assert grad[0] == -1
        assert np.isfinite(grad).all()

    def test_all_masked(self, k, dtype, soft):
        loss, grad = self.loss_and_grad(k, dtype, soft, [-INF] * k)
        assert math.isnan(loss)
        assert np.isnan(grad).all()

    @pytest.mark.parametrize("place", [0, 1])
    def test_positive_infinity(self, k, dtype, soft, place):
        loss, grad = self.loss_and_grad(k, dtype, soft, np.where(np.arange(2) == place, INF, 0))
        assert math.isnan(loss)
        assert np.isnan(grad).all()

    def test_row_of_no_weight(self, k, dtype, soft):
        loss, grad = self.loss_and_grad(k, dtype, soft, [NAN, INF], weight=[1, 0, 1])
        assert loss == 0
        assert (grad == 0).all()

    @pytest.mark.parametrize("value", [1e308, -1e308, 5e-324, 1e6, -1e30])
    def test_extreme_but_equal(self, k, dtype, soft, value):
        value = dtype(np.clip(value, np.finfo(dtype).min, np.finfo(dtype).max))
        loss, grad = self.loss_and_grad(k, dtype, soft, [value] * k, filler=value)
        eps = float(np.finfo(dtype).eps)
        assert float(loss) == pytest.approx(math.log(k), rel=eps)
        np.testing.assert_allclose(grad[1:], 1 / k, rtol=eps)


def test_class_weight_of_zero():
    # Not as if the row were ignored: a NaN shows. But 0 * inf is 0.
    x = np.array([[0.0, -INF], [0.0, NAN], [1.0, 2.0]])
    loss, grad = cross_entropy(x, [1, 1, 0], class_weight=[1, 0], reduction="none", return_grad=True)
    assert loss[0] == 0
    assert math.isnan(loss[1])
    assert (grad[0] == 0).all()
    assert math.isnan(cross_entropy(x, [1, 1, 0], class_weight=[1, 0]))


def test_soft_target_of_zero_at_a_masked_class():
    assert cross_entropy([[0.0, 0.0, -INF]], [[0.5, 0.5, 0.0]]) == pytest.approx(math.log(2))
