"""fit_temperature: against mpmath, plain formulas and scikit-learn."""

import math
import sys

import mpmath as mp
import numpy as np
import pytest
from depth import slow_but
from ml_dtypes import bfloat16
from samples import sample_logits
from scipy.optimize import brentq
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from xentc import cross_entropy, fit_temperature, log_loss
from xentc.special import softmax

LOWEST, HIGHEST = math.exp(-10), math.exp(10)


def columns(x):
    """Logits of both classes, where there is one column."""
    x = np.asarray(x, np.float64).reshape(len(x), -1)
    return x if x.shape[1] > 1 else np.concatenate([np.zeros(x.shape), x], axis=1)


def slope(x, codes, weights, temperature):
    """The derivative of the mean loss in 1 / temperature, in plain NumPy."""
    rows = columns(x)
    p = softmax(rows / temperature, axis=1)
    finite = np.where(np.isneginf(rows), 0, rows)
    return np.average((p * finite).sum(axis=1) - finite[np.arange(len(rows)), codes], weights=weights)


def exact_temperature(x, codes, weights, near):
    """By mpmath, from a guess."""
    with mp.workdps(40):
        rows = [[mp.mpf(float(value)) for value in row] for row in columns(x)]

        def exact_slope(beta):
            total = mp.mpf(0)
            for row, code, weight in zip(rows, codes, weights, strict=True):
                finite = [value for value in row if value != -mp.inf]
                e = [mp.exp(beta * value) for value in finite]
                total += float(weight) * (mp.fdot(e, finite) / mp.fsum(e) - row[code])
            return total

        return float(1 / mp.findroot(exact_slope, 1 / mp.mpf(near)))


@pytest.mark.parametrize("dtype", slow_but([np.float64, bfloat16], [np.float64, np.float32, np.float16, bfloat16]))
@pytest.mark.parametrize("weighted", slow_but([True], [False, True]))
@pytest.mark.parametrize("shape", [(30,), (30, 1), (30, 2), (40, 3), (25, 20), (10, 300)])
def test_the_temperature_has_all_digits(rng, shape, weighted, dtype):
    n_classes = 2 if shape[1:] in ((), (1,)) else shape[1]
    x, y = sample_logits(rng, shape[0], n_classes, temperature=0.7)
    if x.shape != shape:
        x = (x[:, 1] - x[:, 0]).reshape(shape)
    x = x.astype(dtype)
    options = {"sample_weight": rng.exponential(size=len(x)) if weighted else None, "labels": range(n_classes)}
    fit = fit_temperature(x, y, **options)
    weights = options["sample_weight"] if weighted else np.ones(len(x))
    assert fit.temperature == pytest.approx(exact_temperature(x, y, weights, fit.temperature), rel=1e-14)
    assert LOWEST < fit.temperature < HIGHEST
    assert abs(slope(x, y, weights, fit.temperature)) < 1e-14
    assert fit.log_loss_before == log_loss(y, x, from_logits=True, **options)
    x = x.astype(np.float64)
    assert fit.log_loss_after == log_loss(y, x / fit.temperature, from_logits=True, **options)
    assert fit.count == len(x)
    for other in (0.999, 1.001):
        assert log_loss(y, x / (fit.temperature * other), from_logits=True, **options) > fit.log_loss_after


@pytest.mark.parametrize("temperature", [1e-3, 0.05, 0.3, 0.99, 1.01, 4.0, 100.0, 5000.0])
def test_far_temperatures(rng, temperature):
    x, y = sample_logits(rng, 500, 4)
    x *= temperature / fit_temperature(x, y).temperature
    fit = fit_temperature(x, y)
    assert fit.temperature == pytest.approx(temperature, rel=1e-13)
    assert abs(slope(x, y, None, fit.temperature)) < 1e-14 * temperature


@pytest.mark.parametrize("masked", slow_but([True], [False, True]))
def test_many_rows_in_pieces_layouts_and_threads(rng, masked):
    x, y = sample_logits(rng, 300_000, 4)
    weights = rng.exponential(size=len(x))
    if masked:
        x[np.arange(0, len(x), 3), (y[::3] + 1) % 4] = -np.inf
    fit = fit_temperature(x, y, sample_weight=weights, n_threads=1)
    root = brentq(lambda t: slope(x, y, weights, t), 0.5, 5, xtol=1e-15, rtol=1e-15)
    assert fit.temperature == pytest.approx(root, rel=1e-12)
    scaled = x / fit.temperature
    assert fit.log_loss_after == cross_entropy(scaled, y, sample_weight=weights)
    if not masked:
        assert fit.log_loss_after == log_loss(y, scaled, sample_weight=weights, from_logits=True)
    assert fit_temperature(x, y, sample_weight=weights, n_threads=3) == fit
    for layout in (np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2]):
        assert fit_temperature(layout, y, sample_weight=weights) == fit


def test_logits_are_not_written_to(rng):
    x, y = sample_logits(rng, 100, 3)
    before = x.copy()
    x.flags.writeable = False
    fit_temperature(x, y)
    np.testing.assert_array_equal(x, before)


def test_masked_classes(rng):
    x, y = sample_logits(rng, 50, 5)
    masked = np.arange(5) == ((y + 2) % 5)[:, None]
    fit = fit_temperature(np.where(masked, -np.inf, x), y)
    assert fit.temperature == pytest.approx(exact_temperature(np.where(masked, -np.inf, x), y, np.ones(50), 1.7), rel=1e-14)
    assert fit.log_loss_before == cross_entropy(np.where(masked, -np.inf, x), y)
    # A whole column, and the same without it.
    assert fit_temperature(np.insert(x, 5, -np.inf, axis=1), y, labels=range(6)) == fit_temperature(x, y)
    # In one column it is a sure prediction of the first class.
    of_two = np.array([-1.0, 2.0, -np.inf, 0.5, -0.5])
    fit = fit_temperature(of_two, [0, 1, 0, 0, 1])
    assert fit.temperature == pytest.approx(exact_temperature(np.delete(of_two, 2), [0, 1, 0, 1], np.ones(4), 2), rel=1e-14)


def test_bounds():
    x = np.array([[4.0, 0.0, 1.0], [0.0, 4.0, 1.0], [0.5, 0.0, 3.0]])
    fit = fit_temperature(x, [0, 1, 2])
    assert fit.temperature == LOWEST
    assert fit.log_loss_after == 0
    fit = fit_temperature(x, [1, 2, 0])
    assert fit.temperature == HIGHEST
    assert math.log(3) < fit.log_loss_after < math.log(3) + 2e-4
    assert fit_temperature(x[:, 0] - 2, [1, 0, 0]).temperature == LOWEST
    assert fit_temperature(x[:, 0] - 2, [0, 1, 1]).temperature == HIGHEST


def test_no_temperature_is_better_than_one():
    assert fit_temperature(np.zeros((4, 3)), [0, 1, 2, 2]).temperature == 1
    assert fit_temperature([800.0, -800.0], [1, 0]).temperature == 1               # both losses are 0
    x = np.array([[math.log(3), 0.0]])
    assert fit_temperature(np.repeat(x, 4, axis=0), [0, 0, 0, 1]).temperature == pytest.approx(1, rel=1e-14)
    assert fit_temperature([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [0, 1, 0]).temperature == HIGHEST


def test_weights_count_rows(rng):
    x, y = sample_logits(rng, 40, 3)
    counts = rng.integers(0, 4, 40)
    repeated = fit_temperature(np.repeat(x, counts, axis=0), np.repeat(y, counts))
    weighted = fit_temperature(x, y, sample_weight=counts)
    assert weighted.temperature == pytest.approx(repeated.temperature, rel=1e-14)
    assert weighted.log_loss_after == pytest.approx(repeated.log_loss_after, rel=1e-15)
    # What a row of weight 0 holds is of no account.
    x[5, y[5]] = -np.inf
    counts[5] = 0
    assert math.isfinite(fit_temperature(x, y, sample_weight=counts).temperature)


def test_labels_of_any_kind(rng):
    x, y = sample_logits(rng, 60, 3)
    fit = fit_temperature(x, y)
    assert fit_temperature(x.tolist(), np.array(["a", "b", "c"])[y]) == fit
    assert fit_temperature(x, y * 10 - 5) == fit
    assert fit_temperature(x, np.eye(3, dtype=int)[y]).temperature == pytest.approx(fit.temperature, rel=1e-14)
    present = y < 2
    assert fit_temperature(x[present], y[present], labels=[0, 1, 2]).count == present.sum()


def test_rows_of_several_classes(rng):
    x, y = sample_logits(rng, 60, 4)
    several = np.eye(4, dtype=int)[y]
    several[::2, 1] = 1
    fit = fit_temperature(x, several)

    def several_slope(temperature):
        p = softmax(x / temperature, axis=1)
        return ((several.sum(axis=1, keepdims=True) * p - several) * x).sum()

    assert fit.temperature == pytest.approx(brentq(several_slope, 0.1, 100, xtol=1e-15, rtol=1e-15), rel=1e-13)
    assert fit.log_loss_after == log_loss(several, x / fit.temperature, from_logits=True)


def test_labels_that_come_late(rng):
    x, y = sample_logits(rng, 140_000, 2)
    assert fit_temperature(x, 5 * y) == fit_temperature(x, y)
    y[-1] = 2
    with pytest.raises(ValueError, match="different number of classes: 3 vs 2"):
        fit_temperature(x, y)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_scikit_learns_temperature(n_classes):
    X, y = load_iris(return_X_y=True)
    X, y = X[y > 2 - n_classes, :2], y[y > 2 - n_classes] - (3 - n_classes)   # codes from 0
    model = LogisticRegression(C=100).fit(X[::5], y[::5])
    frozen = pytest.importorskip("sklearn.frozen")
    calibrated = CalibratedClassifierCV(frozen.FrozenEstimator(model), method="temperature").fit(X, y)
    fit = fit_temperature(model.decision_function(X), y)
    beta = calibrated.calibrated_classifiers_[0].calibrators[0].beta_
    # Of two classes scikit-learn's logits are twice as far apart.
    assert fit.temperature == pytest.approx(1 / beta / (2 if n_classes == 2 else 1), rel=1e-6)
    assert fit.log_loss_after == pytest.approx(log_loss(y, calibrated.predict_proba(X)), rel=1e-12)


def test_a_fit_reads_like_a_sentence():
    fit = fit_temperature([[4.0, 0.0], [5.0, 0.0], [0.0, 3.0], [2.0, 0.0]], [0, 0, 1, 1])
    assert repr(fit) == "A temperature of 2.04251 takes the log-loss from 0.550095 to 0.430046, over 4 rows."
    assert repr(fit_temperature([1.0], [1], labels=[0, 1])).endswith("over 1 row.")
    with pytest.raises(AttributeError):
        fit.temperature = 1.0


@pytest.mark.parametrize(
    ("logits", "y_true", "options", "message"),
    [
        ([[0, math.nan], [1, 0]], [0, 1], {}, "Input logits contains NaN"),
        ([[0, math.inf], [1, 0]], [0, 1], {}, "Input logits contains infinity"),
        ([[0, math.inf], [-math.inf, 0]], [0, 1], {}, "Input logits contains infinity"),
        ([[1, 0], [0, -math.inf]], [0, 1], {}, "the loss of row 1 is inf at any temperature; expected a finite"),
        ([[1, 0], [-math.inf, -math.inf]], [0, 1], {}, "the loss of row 1 is nan at any temperature"),
        ([[1, 0], [0, 1]], [0, 1], {"sample_weight": [1, -2]}, r"sample_weight\[1\] is -2.0; expected weights >= 0"),
        ([[1, 0], [0, 1]], [0, 1], {"sample_weight": [0, 0]}, "at least one non-zero"),
        ([[1, 0], [0, 1]], [0, 1, 1], {}, r"inconsistent numbers of samples: \[2, 3\]"),
        ([[1, 0, 0], [0, 1, 0]], [0, 1], {}, "y_true and logits contain different number of classes: 2 vs 3"),
        ([[1, 0], [0, 1]], [0, 0], {}, "only one label"),
        ([[1, 0], [0, 1]], [0, 2], {"labels": [0, 1]}, "not belonging to the passed labels"),
        (3.0, [0, 1], {}, "The 'logits' parameter of fit_temperature must be an array-like. Got 3.0 instead."),
        ([1.0, 2.0], "ab", {}, "The 'y_true' parameter of fit_temperature must be an array-like"),
        ([1.0, 2.0], [0, 1], {"sample_weight": 2.0}, "The 'sample_weight' parameter of fit_temperature"),
    ],
)
def test_errors_of_a_fit(logits, y_true, options, message):
    with pytest.raises(ValueError, match=message):
        fit_temperature(logits, y_true, **options)


def test_without_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match=r'SciPy: pip install "xentc\[stats\]"'):
        fit_temperature([1.0, 2.0], [0, 1])
