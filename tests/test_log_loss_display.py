"""The data behind the picture of the worst rows and groups, against NumPy and SciPy, and what is drawn where."""

import numpy as np
import pandas as pd
import pytest
from pictures import drawn, ends
from samples import sample_classes
from scipy import stats

from xentc import LogLoss, d2_log_loss_score, log_loss
from xentc.plotting import LogLossDisplay

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("closed_figures")]  # test_command_line.py draws one of each, too


def student(values, weight, level):
    mean = np.average(values, weights=weight)
    n = weight.sum() ** 2 / (weight**2).sum()
    half = np.sqrt(np.cov(values, aweights=weight) / n) * stats.t.ppf((1 + level) / 2, n - 1)
    return mean - half, mean, mean + half


@pytest.mark.parametrize("weighted", [False, True])
def test_curve_and_worst_rows(rng, weighted):
    y, proba = sample_classes(rng, 200, 3)
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


def test_means_of_classes(rng):
    y, proba = sample_classes(rng, 300, 4)
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


def test_groups_of_the_largest_shares_are_shown(rng):
    y, proba = sample_classes(rng, 400, 2)
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


def test_classes_without_rows_have_no_line():
    display = drawn(LogLossDisplay.from_predictions([0, 2], np.full((2, 4), 0.25), labels=[0, 1, 2, 3]))
    assert display.by_group["label"].tolist() == [0, 2]


def test_one_class_has_no_base_rate():
    display = drawn(LogLossDisplay.from_predictions(["a"], [0.25], labels=["a", "b"]))
    assert np.isnan(display.base_rate_loss)
    assert display.axes_[1].get_legend_handles_labels()[1] == ["all rows: 0.288"]
    assert np.isnan([display.by_group["low"], display.by_group["high"]]).all()


def test_no_loss_at_all():
    display = drawn(LogLossDisplay.from_predictions([0, 1, 1], [-1000.0, 1000.0, 1000.0], from_logits=True))
    np.testing.assert_allclose(display.share_of_loss, [0, 1 / 3, 2 / 3, 1])


def test_far_wider_intervals_end_at_the_frame(rng):
    y, proba = sample_classes(rng, 300, 2)
    groups = np.repeat(np.arange(7), [2, 50, 50, 50, 50, 50, 48])
    display = drawn(LogLossDisplay.from_predictions(y, proba, groups=groups))
    left, right = display.axes_[1].get_xlim()
    assert left >= 0
    assert right < display.by_group["high"][0]
    assert display.by_group["high"][1:].max() < right


def test_labels_are_shown_as_they_are():
    groups = ["$x^2$", "two\nlines", "a" * 50 + "b" * 50, "$"]
    display = drawn(LogLossDisplay.from_predictions([0, 1, 1, 0], [0.4, 0.6, 0.7, 0.3], groups=groups))
    names = [text.get_text() for text in display.axes_[1].get_yticklabels()]
    assert sorted(names) == sorted(["$x^2$", "two lines", "a" * 20 + "..." + "b" * 17, "$"])
    categories = pd.Categorical(["y$", "x$"], categories=["x$", "y$", "z"])
    display = drawn(LogLossDisplay.from_predictions(categories, [0.4, 0.6]))
    assert display.by_group["label"].tolist() == ["x$", "y$"]


def test_what_is_wrong_is_told():
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


def test_it_warns_once():
    with pytest.warns(UserWarning, match="do not sum to one") as told:
        LogLossDisplay.from_predictions([0, 1], [[0.5, 0.4], [0.5, 0.5]])
    assert len(told) == 1
    assert told[0].filename == __file__


def test_an_indicator_in_groups():
    display = LogLossDisplay.from_predictions([[1, 0], [0, 1]], [[0.5, 0.5], [0.25, 0.75]], groups=["x", "y"])
    np.testing.assert_allclose(display.by_group["log_loss"], -np.log([0.5, 0.75]))
