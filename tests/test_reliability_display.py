"""The data behind the picture of reliability, against scikit-learn and SciPy, and what is drawn where."""

import numpy as np
import pytest
from pictures import drawn, ends
from samples import sample_classes
from scipy import stats
from sklearn.calibration import calibration_curve

from xentc._statistics import proportion_intervals
from xentc.plotting import ReliabilityDisplay

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("closed_figures")]  # test_command_line.py draws one of each, too


@pytest.mark.parametrize("strategy", ["quantile", "uniform"])
def test_bins_and_intervals(rng, strategy):
    y, proba = sample_classes(rng, 500, 2)
    p = proba[:, 1].round(1)  # with ties, and bins that are empty
    display = drawn(ReliabilityDisplay.from_predictions(y, p, n_bins=13, strategy=strategy, level=0.9))
    observed, predicted = calibration_curve(y, p, n_bins=13, strategy=strategy)
    np.testing.assert_allclose(display.line_.get_data(), (predicted, observed), rtol=1e-12)
    rows = display.by_bin["rows"]
    assert rows.sum() == 500
    assert (rows > 0).all()
    assert len(rows) < 13
    exact = [
        stats.binomtest(round(k * n), n).proportion_ci(0.9, "exact")
        for k, n in zip(observed, rows.tolist(), strict=True)
    ]
    np.testing.assert_allclose(np.transpose(ends(display.intervals_)), exact, rtol=1e-9, atol=1e-12)
    counts, edges, _ = display.histogram_.get_data()
    np.testing.assert_array_equal(counts, np.histogram(p, 20)[0])
    np.testing.assert_array_equal(edges, np.histogram(p, 20)[1])


@pytest.mark.parametrize("n", [1, 2, 30, 10**7])
def test_clopper_pearson(n):
    hits = np.unique([0, 1, n // 3, n - 1, n])
    low, high = proportion_intervals(hits, np.full(len(hits), n), 0.99)
    exact = [stats.binomtest(k, n).proportion_ci(0.99, "exact") for k in hits.tolist()]
    np.testing.assert_allclose(np.transpose([low, high]), exact, rtol=1e-9 if n < 100 else 1e-3)  # whose root is rough
    np.testing.assert_allclose(stats.binom.sf(hits - 1, n, low)[hits > 0], 0.005, rtol=1e-6)
    np.testing.assert_allclose(stats.binom.cdf(hits, n, high)[hits < n], 0.005, rtol=1e-6)


def test_one_class_against_the_rest(rng):
    y, proba = sample_classes(rng, 300, 3)
    names = np.array(["ham", "rest", "spam"])
    for c, name in enumerate(names.tolist()):
        display = ReliabilityDisplay.from_predictions(names[y], proba, pos_label=name)
        observed, predicted = calibration_curve(y == c, proba[:, c], n_bins=10, strategy="quantile")
        np.testing.assert_allclose(display.by_bin["observed"], observed)
        np.testing.assert_allclose(display.by_bin["predicted"], predicted)
        assert display.axes_[1].get_xlabel() == f"Predicted probability of class {name}"
        indicator = ReliabilityDisplay.from_predictions(np.eye(3, dtype=int)[y], proba, pos_label=c)
        for key, column in indicator.by_bin.items():
            np.testing.assert_array_equal(column, display.by_bin[key])


def test_a_vector_is_of_the_second_class():
    y, p = ["a", "b", "b", "a"], np.array([0.25, 0.75, 0.5, 0.375])
    of_b = ReliabilityDisplay.from_predictions(y, p)
    assert of_b.pos_label == "b"
    of_a = ReliabilityDisplay.from_predictions(y, p, pos_label="a")
    np.testing.assert_array_equal(of_a.by_bin["predicted"][::-1], 1 - of_b.by_bin["predicted"])
    np.testing.assert_array_equal(of_a.by_bin["observed"][::-1], 1 - of_b.by_bin["observed"])


@pytest.mark.parametrize("n_classes", [1, 2, 4])
def test_from_logits(rng, n_classes):
    logits = rng.standard_normal((50, n_classes))
    y = rng.integers(0, max(n_classes, 2), 50)
    odds = np.exp(logits)
    proba = odds / (1 + odds if n_classes == 1 else odds.sum(axis=1, keepdims=True))
    ours = ReliabilityDisplay.from_predictions(y, logits, from_logits=True, pos_label=1)
    theirs = ReliabilityDisplay.from_predictions(y, proba, pos_label=1)
    for key, column in ours.by_bin.items():
        np.testing.assert_allclose(column, theirs.by_bin[key], rtol=1e-12)


def test_rare_classes_fill_the_axes(rng):
    p = rng.beta(1, 100, 20_000)
    display = drawn(ReliabilityDisplay.from_predictions((rng.random(20_000) < p).astype(int), p))
    for ax in display.axes_:
        assert ax.get_xlim()[1] < 1.1 * p.max()
    assert display.axes_[0].get_ylim() == display.axes_[0].get_xlim()


@pytest.mark.parametrize("p", [[0.3], [0.0, 0.0], [1.0, 1.0, 1.0], [0.3, np.nextafter(0.3, 1)]])
def test_predictions_that_are_all_alike(p):
    display = drawn(ReliabilityDisplay.from_predictions([0] * len(p), p, labels=[0, 1]))
    assert display.histogram.sum() == len(p)
    assert display.edges[[0, -1]].tolist() == [0, 1]


def test_two_in_the_same_axes(rng):
    y, proba = sample_classes(rng, 100, 2)
    a = ReliabilityDisplay.from_predictions(y, proba, name="A")
    b = drawn(ReliabilityDisplay.from_predictions(y, proba**2 / (proba**2).sum(1, keepdims=True), ax=a.axes_, name="B"))
    assert a.line_.get_color() != b.line_.get_color()
    assert b.axes_[0].get_legend_handles_labels()[1] == ["perfectly calibrated", "A, 95% intervals", "B, 95% intervals"]


def test_what_is_wrong_is_told():
    draw = ReliabilityDisplay.from_predictions
    with pytest.raises(ValueError, match=r"pos_label is 'x'; expected one of the classes \['a', 'b'\]"):
        draw(["a", "b"], [0.1, 0.6], pos_label="x")
    with pytest.raises(ValueError, match=r"pos_label is not given; expected one of the 3 classes \[0, 1, 2\]"):
        draw([0, 1, 2], np.full((3, 3), 1 / 3))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        draw([0, 1, 0], [0.1, 0.6])
    with pytest.raises(ValueError, match="strategy is 'kmeans'; expected 'quantile' or 'uniform'"):
        draw([0, 1], [0.1, 0.6], strategy="kmeans")
    with pytest.raises(ValueError, match="n_bins is 0; expected an integer >= 1"):
        draw([0, 1], [0.1, 0.6], n_bins=0)
    with pytest.raises(ValueError, match="level is 2; expected a finite number from 0 to 1"):
        draw([0, 1], [0.1, 0.6], level=2)
