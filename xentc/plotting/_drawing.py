"""Python layer: axes, means with their intervals, and labels, as all pictures have them. Needs matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xentc._arrays import shown
from xentc.evaluation import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D

# Labels of more characters lose their middle.
LONGEST = 40


def take_axes(
    ax: Any, n_rows: int, n_columns: int, *, width: float = 1, height: float = 1, lines: Sequence[str] = (), **options: Any
) -> list[Axes]:
    """The given axes, or those of a new figure: so many usual ones wide and high, or more for these labels of lines."""
    try:
        from matplotlib import pyplot, rcParams
        from matplotlib.axes import Axes
    except ImportError as error:
        raise ImportError('xentc.plotting needs matplotlib: pip install "xentc[plot]"') from error
    if ax is None:
        usual_width, usual_height = rcParams["figure.figsize"]
        width = width * usual_width + 0.07 * max(map(len, lines), default=0)
        height = max(height * usual_height, 1.6 + 0.2 * len(lines))
        _, ax = pyplot.subplots(n_rows, n_columns, figsize=(width, height), layout="constrained", **options)
    axes = np.ravel(np.asarray(ax, dtype=object)).tolist()
    n = n_rows * n_columns
    if len(axes) != n or not all(isinstance(one, Axes) for one in axes):
        raise TypeError(f"ax is {shown(ax)}; expected {'an Axes' if n == 1 else 'a sequence of two Axes'}, or None")
    for one in axes:
        one.grid(True, alpha=0.3, linewidth=0.5)
        one.set_axisbelow(True)
    return axes


def draw_means(ax: Axes, table: Any, name: str, color: str, first: int = 0) -> tuple[Line2D, LineCollection]:
    """One under the other, as dots with their intervals."""
    means, low, high = (np.asarray(table[key]) for key in (name, "low", "high"))
    lines = np.arange(first, first + len(means))
    dots, _, (intervals,) = ax.errorbar(means, lines, xerr=(means - low, high - means), fmt="o", color=color, capsize=3)
    return dots, intervals


def fit_limits(ax: Axes, table: Table, name: str, others: list[float], least: float = -math.inf) -> None:
    """The axis shows all means, other values, and the intervals, but for some that would leave no room for the rest."""
    width = table["high"] - table["low"]
    finite = np.isfinite(width)
    usual = width <= 4 * np.median(width[finite]) if finite.any() else finite
    values = np.concatenate([table[name], others, table["low"][usual], table["high"][usual]])
    low, high = np.nanmin(values), np.nanmax(values)
    margin = 0.05 * (high - low) or 0.05
    ax.set_xlim(max(low - margin, least), high + margin)


def label_lines(ax: Axes, labels: list[str], below: float = 0) -> None:
    """From top to bottom, in letters that are small enough, with so many inches left free below them."""
    n, height = len(labels), ax.get_window_extent().height / ax.figure.dpi
    below = min(below, height / 2)
    ax.set_yticks(range(n), labels, parse_math=False)
    for text in ax.get_yticklabels():
        text.set_fontsize(min(text.get_fontsize(), 60 * (height - below) / n))
    ax.set_ylim(n - 0.5 + n * below / (height - below), -0.5)


def shortened(label: Any, longest: int = LONGEST) -> str:
    text = " ".join(str(label).split())
    return text if len(text) <= longest else f"{text[: longest // 2]}...{text[3 - longest // 2 :]}"


def percent(share: float, digits: int = 4) -> str:
    return f"{100 * share:.{digits}g}%"


def format_shares(*axes: Any) -> None:
    from matplotlib.ticker import PercentFormatter

    for axis in axes:
        axis.set_major_formatter(PercentFormatter(1))


def text_color(ax: Axes) -> Any:
    """That of these axes, whatever style is in use by now."""
    return ax.xaxis.label.get_color()
