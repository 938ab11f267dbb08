"""What all displays have in common: where they are drawn, and what they need for it."""

import itertools
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from pictures import drawn
from samples import sample_classes
from sklearn.linear_model import LogisticRegression

from xentc.plotting import ComparisonDisplay, LogLossDisplay, ReliabilityDisplay

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("closed_figures")]  # test_command_line.py draws one of each, too


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
    y, proba = sample_classes(rng, 50, 2)
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
    y, proba = sample_classes(rng, 500, 3)
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
