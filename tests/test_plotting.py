"""The data behind the pictures, against NumPy and SciPy, and what is drawn where."""

import itertools
import subprocess
import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

from xentc import LogLoss, compare_log_loss, d2_log_loss_score, log_loss, log_loss_per_sample
from xentc._statistics import proportion_intervals
from xentc.plotting import ComparisonDisplay, LogLossDisplay, ReliabilityDisplay

pytestmark = pytest.mark.slow  # test_command_line.py draws one of each, too


@pytest.fixture(autouse=True)
def closed_figures():
    pyplot.switch_backend("Agg")
    yield
    pyplot.close("all")


def drawn(display):
    """Whatever can go wrong in drawing is an error here."""
    display.figure_.canvas.draw()
    return display


def of_classes(rng, n_rows, n_classes):
    proba = rng.dirichlet(np.ones(n_classes), n_rows)
    return (proba.cumsum(axis=1) < rng.random((n_rows, 1))).sum(axis=1).clip(0, n_classes - 1), proba


def ends(intervals):
    """The lower and the upper ends of error bars."""
    x = np.array([segment[:, 0] for segment in intervals.get_segments()])
    y = np.array([segment[:, 1] for segment in intervals.get_segments()])
    return (x[:, 0], x[:, 1]) if (y[:, 0] == y[:, 1]).all() else (y[:, 0], y[:, 1])


def student(values, weight, level):
    mean = np.average(values, weights=weight)
    n = weight.sum() ** 2 / (weight**2).sum()
    half = np.sqrt(np.cov(values, aweights=weight) / n) * stats.t.ppf((1 + level) / 2, n - 1)
    return mean - half, mean, mean + half


class TestLogLoss:
    @pytest.mark.parametrize("weighted", [False, True])
    def test_curve_and_worst_rows(self, rng, weighted):
        y, proba = of_classes(rng, 200, 3)
        weight = rng.integers(0, 4, 200) if weighted else np.ones(200)
        display = LogLossDisplay.from_predictions(y, proba, sample_weight=weight if weighted else None, n_worst=7)
        losses = -np.log(proba[np.arange(200), y])
        order = [row for row in sorted(range(200), key=lambda row: -losses[row]) if weight[row]]
        x, share = display.line_.get_data()
        np.testing.assert_allclose(x, np.append(0, weight[order].cumsum()) / weight.sum(), rtol=1e-13)
        np.testing.assert_allclose(share, np.append(0, (weight * losses)[order].cumsum()) / (weight @ losses), rtol=1e-13)
        assert display.worst_rows_.tolist() == order[:7]
        np.testing.assert_array_equal(display.worst_.get_data(), (x[1:8], share[1:8]))
        assert f"7 worst rows: {100 * share[7]:.3g}% of the loss" in display.axes_[0].get_legend_handles_labels()[1]
        assert drawn(display).axes_[0].get_legend() is not None

    def test_means_of_classes(self, rng):
        y, proba = of_classes(rng, 300, 4)
        weight = rng.random(300)
        display = drawn(LogLossDisplay.from_predictions(y, proba, sample_weight=weight, labels=[0, 1, 2, 3], level=0.9))
        losses = -np.log(proba[np.arange(300), y])
        expected = sorted((student(losses[y == c], weight[y == c], 0.9) for c in range(4)), key=lambda one: -one[1])
        low, mean, high = np.transpose(expected)
        np.testing.assert_allclose(display.dots_.get_xdata(), mean, rtol=1e-13)
        np.testing.assert_allclose(ends(display.intervals_), (low, high), rtol=1e-12)
        table = LogLoss([0, 1, 2, 3]).update(y, proba, sample_weight=weight).by_class()
        for name in ("label", "rows", "weight", "log_loss"):
            np.testing.assert_array_equal(display.by_group[name], table[name])
        names = [text.get_text() for text in display.axes_[1].get_yticklabels()]
        assert names == [str(c) for c in np.argsort(-table["log_loss"])]
        loss = log_loss(y, proba, sample_weight=weight)
        base = loss / (1 - d2_log_loss_score(y, proba, sample_weight=weight))
        assert display.mean_line_.get_xdata() == [loss, loss]
        np.testing.assert_allclose(display.base_rate_line_.get_xdata(), base, rtol=1e-14)
        assert display.axes_[1].get_xlabel() == "Mean log-loss, 90% intervals"

    def test_groups_of_the_largest_shares_are_shown(self, rng):
        y, proba = of_classes(rng, 400, 2)
        groups = rng.zipf(1.3, 400) % 50
        display = drawn(LogLossDisplay.from_predictions(y, proba, groups=groups, max_groups=5))
        table = LogLoss([0, 1]).update(y, proba, groups=groups).by_group()
        np.testing.assert_array_equal(display.by_group["log_loss"], table["log_loss"])
        most = sorted(np.argsort(-table["share"])[:5], key=lambda i: -table["log_loss"][i])
        np.testing.assert_array_equal(display.dots_.get_xdata(), table["log_loss"][most])
        assert [text.get_text() for text in display.axes_[1].get_yticklabels()] == [str(table["label"][i]) for i in most]
        n = len(table["label"])
        assert display.axes_[1].get_ylabel() == f"Group ({n - 5} of {n} not shown)"
        display.plot(max_groups=n)
        assert len(display.dots_.get_xdata()) == n
        assert display.axes_[1].get_ylabel() == "Group"

    def test_classes_without_rows_have_no_line(self):
        display = drawn(LogLossDisplay.from_predictions([0, 2], np.full((2, 4), 0.25), labels=[0, 1, 2, 3]))
        assert display.by_group["label"].tolist() == [0, 2]

    def test_one_class_has_no_base_rate(self):
        display = drawn(LogLossDisplay.from_predictions(["a"], [0.25], labels=["a", "b"]))
        assert np.isnan(display.base_rate_loss)
        assert display.axes_[1].get_legend_handles_labels()[1] == ["all rows: 0.288"]
        assert np.isnan([display.by_group["low"], display.by_group["high"]]).all()

    def test_no_loss_at_all(self):
        display = drawn(LogLossDisplay.from_predictions([0, 1, 1], [-1000.0, 1000.0, 1000.0], from_logits=True))
        np.testing.assert_allclose(display.share_of_loss, [0, 1 / 3, 2 / 3, 1])

    def test_far_wider_intervals_end_at_the_frame(self, rng):
        y, proba = of_classes(rng, 300, 2)
        groups = np.repeat(np.arange(7), [2, 50, 50, 50, 50, 50, 48])
        display = drawn(LogLossDisplay.from_predictions(y, proba, groups=groups))
        left, right = display.axes_[1].get_xlim()
        assert left >= 0
        assert right < display.by_group["high"][0]
        assert display.by_group["high"][1:].max() < right

    def test_labels_are_shown_as_they_are(self):
        groups = ["$x^2$", "two\nlines", "a" * 50 + "b" * 50, "$"]
        display = drawn(LogLossDisplay.from_predictions([0, 1, 1, 0], [0.4, 0.6, 0.7, 0.3], groups=groups))
        names = [text.get_text() for text in display.axes_[1].get_yticklabels()]
        assert sorted(names) == sorted(["$x^2$", "two lines", "a" * 20 + "..." + "b" * 17, "$"])
        categories = pd.Categorical(["y$", "x$"], categories=["x$", "y$", "z"])
        display = drawn(LogLossDisplay.from_predictions(categories, [0.4, 0.6]))
        assert display.by_group["label"].tolist() == ["x$", "y$"]

    def test_what_is_wrong_is_told(self):
        y, proba = [0, 1, 1], [0.2, 0.7, 0.6]
        draw = LogLossDisplay.from_predictions
        with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[3, 2\]"):
            draw(y[:2], proba)
        with pytest.raises(ValueError, match=r"groups has shape \(2,\); expected one label a row, \(3,\)"):
            draw(y, proba, groups=["a", "b"])
        with pytest.raises(ValueError, match=r"sample_weight\[1\] is -1.0; expected weights >= 0"):
            draw(y, proba, sample_weight=[1, -1, 2])
        with pytest.raises(ValueError, match="y_true is an indicator, and no groups are given"):
            draw([[1, 0], [0, 1]], [[0.5, 0.5], [0.5, 0.5]])
        with pytest.raises(ValueError, match=r"level is 1\.0; expected a number between 0 and 1"):
            draw(y, proba, level=1)
        with pytest.raises(ValueError, match="n_worst is -1; expected an integer >= 0"):
            draw(y, proba, n_worst=-1)
        with pytest.raises(ValueError, match="max_groups is 0; expected an integer >= 1"):
            draw(y, proba, max_groups=0)
        with pytest.raises(TypeError, match=r"n_worst must be an integer, got 1\.5"):
            draw(y, proba, n_worst=1.5)
        with pytest.raises(ValueError, match="contains values greater than 1"):
            draw(y, [0.2, 1.7, 0.6])
        with pytest.raises(ValueError, match=r"'y_true' parameter of LogLossDisplay\.from_predictions must be an array"):
            draw("spam", proba)

    def test_it_warns_once(self):
        with pytest.warns(UserWarning, match="do not sum to one") as told:
            LogLossDisplay.from_predictions([0, 1], [[0.5, 0.4], [0.5, 0.5]])
        assert len(told) == 1
        assert told[0].filename == __file__

    def test_an_indicator_in_groups(self):
        display = LogLossDisplay.from_predictions([[1, 0], [0, 1]], [[0.5, 0.5], [0.25, 0.75]], groups=["x", "y"])
        np.testing.assert_allclose(display.by_group["log_loss"], -np.log([0.5, 0.75]))


class TestReliability:
    @pytest.mark.parametrize("strategy", ["quantile", "uniform"])
    def test_bins_and_intervals(self, rng, strategy):
        y, proba = of_classes(rng, 500, 2)
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
    def test_clopper_pearson(self, n):
        hits = np.unique([0, 1, n // 3, n - 1, n])
        low, high = proportion_intervals(hits, np.full(len(hits), n), 0.99)
        exact = [stats.binomtest(k, n).proportion_ci(0.99, "exact") for k in hits.tolist()]
        np.testing.assert_allclose(np.transpose([low, high]), exact, rtol=1e-9 if n < 100 else 1e-3)  # whose root is rough
        np.testing.assert_allclose(stats.binom.sf(hits - 1, n, low)[hits > 0], 0.005, rtol=1e-6)
        np.testing.assert_allclose(stats.binom.cdf(hits, n, high)[hits < n], 0.005, rtol=1e-6)

    def test_one_class_against_the_rest(self, rng):
        y, proba = of_classes(rng, 300, 3)
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

    def test_a_vector_is_of_the_second_class(self):
        y, p = ["a", "b", "b", "a"], np.array([0.25, 0.75, 0.5, 0.375])
        of_b = ReliabilityDisplay.from_predictions(y, p)
        assert of_b.pos_label == "b"
        of_a = ReliabilityDisplay.from_predictions(y, p, pos_label="a")
        np.testing.assert_array_equal(of_a.by_bin["predicted"][::-1], 1 - of_b.by_bin["predicted"])
        np.testing.assert_array_equal(of_a.by_bin["observed"][::-1], 1 - of_b.by_bin["observed"])

    @pytest.mark.parametrize("n_classes", [1, 2, 4])
    def test_from_logits(self, rng, n_classes):
        logits = rng.standard_normal((50, n_classes))
        y = rng.integers(0, max(n_classes, 2), 50)
        odds = np.exp(logits)
        proba = odds / (1 + odds if n_classes == 1 else odds.sum(axis=1, keepdims=True))
        ours = ReliabilityDisplay.from_predictions(y, logits, from_logits=True, pos_label=1)
        theirs = ReliabilityDisplay.from_predictions(y, proba, pos_label=1)
        for key, column in ours.by_bin.items():
            np.testing.assert_allclose(column, theirs.by_bin[key], rtol=1e-12)

    def test_rare_classes_fill_the_axes(self, rng):
        p = rng.beta(1, 100, 20_000)
        display = drawn(ReliabilityDisplay.from_predictions((rng.random(20_000) < p).astype(int), p))
        for ax in display.axes_:
            assert ax.get_xlim()[1] < 1.1 * p.max()
        assert display.axes_[0].get_ylim() == display.axes_[0].get_xlim()

    @pytest.mark.parametrize("p", [[0.3], [0.0, 0.0], [1.0, 1.0, 1.0], [0.3, np.nextafter(0.3, 1)]])
    def test_predictions_that_are_all_alike(self, p):
        display = drawn(ReliabilityDisplay.from_predictions([0] * len(p), p, labels=[0, 1]))
        assert display.histogram.sum() == len(p)
        assert display.edges[[0, -1]].tolist() == [0, 1]

    def test_two_in_the_same_axes(self, rng):
        y, proba = of_classes(rng, 100, 2)
        a = ReliabilityDisplay.from_predictions(y, proba, name="A")
        b = drawn(ReliabilityDisplay.from_predictions(y, proba**2 / (proba**2).sum(1, keepdims=True), ax=a.axes_, name="B"))
        assert a.line_.get_color() != b.line_.get_color()
        assert b.axes_[0].get_legend_handles_labels()[1] == ["perfectly calibrated", "A, 95% intervals", "B, 95% intervals"]

    def test_what_is_wrong_is_told(self):
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


class TestComparison:
    @pytest.mark.parametrize("weighted", [False, True])
    def test_groups_are_what_compare_log_loss_says_of_them(self, rng, weighted):
        y, a = of_classes(rng, 300, 3)
        b = (a + 0.1) / 1.3
        groups = np.array(["de", "en", "fr", "it"])[rng.integers(0, 4, 300)]
        weight = rng.random(300) if weighted else None
        options = {"labels": [0, 1, 2], "level": 0.8}
        display = ComparisonDisplay.from_predictions(
            y, a, b, groups=groups, sample_weight=weight, names=("old", "new"), **options
        )
        drawn(display)
        assert display.comparison == compare_log_loss(y, a, b, sample_weight=weight, **options)
        expected = {}
        for group in ("de", "en", "fr", "it"):
            some = groups == group
            of_rows = None if weight is None else weight[some]
            expected[group] = compare_log_loss(y[some], a[some], b[some], sample_weight=of_rows, **options)
        table = display.by_group
        assert table["label"].tolist() == list(expected)
        for name in ("difference", "low", "high"):
            assert table[name].tolist() == [getattr(one, name) for one in expected.values()]
        assert table["rows"].tolist() == [one.count for one in expected.values()]
        order = sorted(expected, key=lambda group: -expected[group].difference)
        assert [text.get_text() for text in display.ax_.get_yticklabels()] == ["all rows", *order]
        assert display.dots_.get_xdata().tolist() == [expected[group].difference for group in order]
        bounds = [(expected[group].low, expected[group].high) for group in order]
        np.testing.assert_allclose(np.transpose(ends(display.intervals_)), bounds, rtol=1e-12)
        assert display.all_rows_.get_xdata() == [display.comparison.difference]
        np.testing.assert_allclose(
            np.ravel(ends(display.all_rows_interval_)), (display.comparison.low, display.comparison.high), rtol=1e-12
        )
        assert display.zero_line_.get_xdata() == [0, 0]
        assert display.ax_.get_xlabel() == "Log-loss of new minus that of old, 80% intervals\nleft of 0: new is better"

    def test_without_groups(self):
        display = drawn(ComparisonDisplay.from_predictions([0, 1], [0.4, 0.6], [0.3, 0.9]))
        assert [text.get_text() for text in display.ax_.get_yticklabels()] == ["all rows"]
        assert display.ax_.get_ylabel() == ""

    @pytest.mark.parametrize("b", [0.4, 0.3])
    def test_one_row(self, b):
        display = drawn(ComparisonDisplay.from_predictions([0], [0.3], [b], labels=[0, 1], groups=["only"]))
        assert display.dots_.get_xdata() == [display.comparison.difference]

    def test_groups_that_make_most_of_the_difference(self, rng):
        y, a = of_classes(rng, 500, 3)
        b = (a + 0.2) / 1.6
        groups = rng.integers(0, 50, 500)
        display = drawn(ComparisonDisplay.from_predictions(y, a, b, groups=groups, max_groups=4))
        difference = log_loss_per_sample(y, b) - log_loss_per_sample(y, a)
        totals = np.bincount(groups, difference)
        most = np.argsort(-abs(totals))[:4]
        np.testing.assert_allclose(display.dots_.get_xdata(), np.sort((totals / np.bincount(groups))[most])[::-1])
        n = len(np.unique(groups))
        assert display.ax_.get_ylabel() == f"Group ({n - 4} of {n} not shown)"

    def test_it_warns_once_of_each(self):
        wrong = [[0.5, 0.4], [0.5, 0.5]]
        with pytest.warns(UserWarning, match=r"The proba_[ab] values do not sum to one") as told:
            ComparisonDisplay.from_predictions([0, 1], wrong, wrong, groups=[0, 1])
        assert len(told) == 2

    def test_what_is_wrong_is_told(self):
        with pytest.raises(ValueError, match="inconsistent numbers of samples"):
            ComparisonDisplay.from_predictions([0, 1], [0.4, 0.6], [0.3])
        with pytest.raises(ValueError, match=r"groups has shape \(1,\)"):
            ComparisonDisplay.from_predictions([0, 1], [0.4, 0.6], [0.3, 0.6], groups=["a"])


def test_from_estimator_is_from_predictions(rng):
    x = rng.standard_normal((100, 2))
    y = np.array(["a", "b", "c"])[(x[:, 0] + rng.standard_normal(100) > 0) + (x[:, 1] > 1).astype(int)]
    model = LogisticRegression().fit(x, y)
    some = y != "c"  # which has classes of its own
    proba = model.predict_proba(x[some])
    ours = LogLossDisplay.from_estimator(model, x[some], y[some], groups=y[some], n_worst=3)
    theirs = LogLossDisplay.from_predictions(y[some], proba, labels=["a", "b", "c"], groups=y[some], n_worst=3)
    np.testing.assert_array_equal(ours.line_.get_data(), theirs.line_.get_data())
    np.testing.assert_array_equal(ours.dots_.get_data(), theirs.dots_.get_data())
    np.testing.assert_array_equal(ours.worst_rows_, theirs.worst_rows_)
    ours = ReliabilityDisplay.from_estimator(model, x[some], y[some], pos_label="b", n_bins=4)
    theirs = ReliabilityDisplay.from_predictions(y[some], proba, labels=["a", "b", "c"], pos_label="b", n_bins=4)
    np.testing.assert_array_equal(ours.line_.get_data(), theirs.line_.get_data())
    assert (ours.name, theirs.name) == ("LogisticRegression", None)


def test_given_axes_keep_their_figure():
    y, p = [0, 1, 1, 0], [0.4, 0.6, 0.7, 0.3]
    figure, axes = pyplot.subplots(2, 4)
    layout, size = figure.get_layout_engine(), figure.get_size_inches().tolist()
    for display, given in (
        (LogLossDisplay.from_predictions(y, p, ax=axes[0, :2]), axes[0, :2]),
        (ReliabilityDisplay.from_predictions(y, p, ax=tuple(axes[:, 2])), axes[:, 2]),
        (LogLossDisplay.from_predictions(y, p, groups=range(4), ax=axes[1:, :2]), axes[1, :2]),
    ):
        assert display.axes_ == given.tolist()
        assert display.figure_ is figure
    assert ComparisonDisplay.from_predictions(y, p, p, ax=axes[0, 3]).ax_ is axes[0, 3]
    assert figure.get_layout_engine() is layout
    assert figure.get_size_inches().tolist() == size
    assert pyplot.get_fignums() == [figure.number]
    for wrong in (axes[0, 0], axes[0], "axes", [axes[0, 0], None]):
        with pytest.raises(TypeError, match="expected a sequence of two Axes, or None"):
            LogLossDisplay.from_predictions(y, p, ax=wrong)
    with pytest.raises(TypeError, match="expected an Axes, or None"):
        ComparisonDisplay.from_predictions(y, p, p, ax=axes[0])


def test_displays_of_stored_data(rng):
    y, proba = of_classes(rng, 50, 2)
    first = LogLossDisplay.from_predictions(y, proba)
    plain = {name: column.tolist() for name, column in first.by_group.items()}
    stored = LogLossDisplay(
        first.rows, first.share_of_rows, first.share_of_loss, {name: np.array(column) for name, column in plain.items()},
        first.log_loss, first.base_rate_loss,
    )
    assert not hasattr(stored, "axes_")
    np.testing.assert_array_equal(drawn(stored.plot()).dots_.get_data(), first.dots_.get_data())
    first = ReliabilityDisplay.from_predictions(y, proba)
    stored = ReliabilityDisplay(dict(first.by_bin), first.histogram, first.edges, 1)
    np.testing.assert_array_equal(drawn(stored.plot(name="B")).line_.get_data(), first.line_.get_data())
    assert stored.axes_[0].get_legend_handles_labels()[1] == ["perfectly calibrated", "B, 95% intervals"]
    first = ComparisonDisplay.from_predictions(y, proba, proba[::-1], groups=y)
    stored = ComparisonDisplay(first.comparison, dict(first.by_group))
    np.testing.assert_array_equal(drawn(stored.plot()).dots_.get_data(), first.dots_.get_data())


def inside(figure):
    """Whether all that is drawn is inside the figure."""
    tight = figure.get_tightbbox()
    return tight.x0 >= 0 and tight.y0 >= 0 and tight.x1 <= figure.bbox_inches.x1 and tight.y1 <= figure.bbox_inches.y1


@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_nothing_is_cut_off_or_unseen(rng, style):
    y, proba = of_classes(rng, 500, 3)
    groups = np.array([f"{'a long name of a group ' * (i % 4)}{i}" for i in range(50)])[rng.integers(0, 50, 500)]
    with pyplot.style.context(style):
        displays = [
            LogLossDisplay.from_predictions(y, proba, groups=groups),
            ReliabilityDisplay.from_predictions(np.array(["a" * 60, "b" * 60, "c" * 60])[y], proba, pos_label="b" * 60),
            ComparisonDisplay.from_predictions(y, proba, proba[:, [1, 0, 2]], groups=groups, names=("A" * 50, "B" * 50)),
        ]
        background = pyplot.rcParams["axes.facecolor"]
        for display in displays:
            assert inside(drawn(display).figure_)
            for ax in display.figure_.axes:
                for line in ax.lines:
                    assert not matplotlib.colors.same_color(line.get_color(), background)
                boxes = [text.get_window_extent() for text in ax.get_yticklabels()]
                assert not any(one.overlaps(other) for one, other in itertools.pairwise(boxes))


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for draw in (LogLossDisplay.from_predictions, ReliabilityDisplay.from_predictions):
        with pytest.raises(ImportError, match=r'xentc.plotting needs matplotlib: pip install "xentc\[plot\]"'):
            draw([0, 1], [0.1, 0.6])


def test_matplotlib_is_imported_where_something_is_drawn():
    code = "import sys, xentc.plotting; assert 'matplotlib' not in sys.modules and 'scipy' not in sys.modules"
    subprocess.run([sys.executable, "-P", "-c", code], check=True)
