"""The data behind the picture of two models, against compare_log_loss, and what is drawn where."""

import numpy as np
import pytest
from pictures import drawn, ends
from samples import sample_classes

from xentc import compare_log_loss, log_loss_per_sample
from xentc.plotting import ComparisonDisplay

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("closed_figures")]  # test_command_line.py draws one of each, too


@pytest.mark.parametrize("weighted", [False, True])
def test_groups_are_what_compare_log_loss_says_of_them(rng, weighted):
    y, a = sample_classes(rng, 300, 3)
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


def test_without_groups():
    display = drawn(ComparisonDisplay.from_predictions([0, 1], [0.4, 0.6], [0.3, 0.9]))
    assert [text.get_text() for text in display.ax_.get_yticklabels()] == ["all rows"]
    assert display.ax_.get_ylabel() == ""


@pytest.mark.parametrize("b", [0.4, 0.3])
def test_one_row(b):
    display = drawn(ComparisonDisplay.from_predictions([0], [0.3], [b], labels=[0, 1], groups=["only"]))
    assert display.dots_.get_xdata() == [display.comparison.difference]


def test_groups_that_make_most_of_the_difference(rng):
    y, a = sample_classes(rng, 500, 3)
    b = (a + 0.2) / 1.6
    groups = rng.integers(0, 50, 500)
    display = drawn(ComparisonDisplay.from_predictions(y, a, b, groups=groups, max_groups=4))
    difference = log_loss_per_sample(y, b) - log_loss_per_sample(y, a)
    totals = np.bincount(groups, difference)
    most = np.argsort(-abs(totals))[:4]
    np.testing.assert_allclose(display.dots_.get_xdata(), np.sort((totals / np.bincount(groups))[most])[::-1])
    n = len(np.unique(groups))
    assert display.ax_.get_ylabel() == f"Group ({n - 4} of {n} not shown)"


def test_it_warns_once_of_each():
    wrong = [[0.5, 0.4], [0.5, 0.5]]
    with pytest.warns(UserWarning, match=r"The proba_[ab] values do not sum to one") as told:
        ComparisonDisplay.from_predictions([0, 1], wrong, wrong, groups=[0, 1])
    assert len(told) == 2


def test_what_is_wrong_is_told():
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        ComparisonDisplay.from_predictions([0, 1], [0.4, 0.6], [0.3])
    with pytest.raises(ValueError, match=r"groups has shape \(1,\)"):
        ComparisonDisplay.from_predictions([0, 1], [0.4, 0.6], [0.3, 0.6], groups=["a"])
