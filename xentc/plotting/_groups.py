"""Python layer: means of classes and groups with their intervals, as the pictures show them. Needs SciPy."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from xentc._exact import Moments
from xentc._labels import Labels
from xentc._statistics import interval
from xentc._validation import as_count
from xentc.evaluation import LogLoss, Table, sums_of_tables
from xentc.metrics import log_loss_per_sample
from xentc.plotting._drawing import draw_means, fit_limits, label_lines, percent, shortened, take_axes, text_color


def losses_of_rows(y_true: Any, y_proba: Any, labels: Any, from_logits: bool) -> np.ndarray:
    """Those of rows that have been looked at, without the warnings that have been given."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return log_loss_per_sample(y_true, y_proba, labels=labels, from_logits=from_logits)


def means_of_groups(name: str, values: np.ndarray, weight: np.ndarray | None, groups: Labels | None, level: float) -> Table:
    """The weighted mean of each group, under this name, and its interval. Groups without weight have no line."""
    sums = Moments(0 if groups is None else len(groups.classes))
    if groups is not None:
        sums.add(values, weight, groups=groups)
    return with_intervals(name, sums, np.empty(0, object) if groups is None else groups.classes, level)


def with_intervals(name: str, sums: Moments, labels: np.ndarray, level: float) -> Table:
    some = np.flatnonzero(sums.weights())
    sums = sums.taken(some)
    low, high = np.empty(len(some)), np.empty(len(some))
    means = sums.means()
    for i, mean in enumerate(means.tolist()):
        low[i], high[i] = interval(mean, sums.standard_error(i), sums.effective_count(i), level)
    return Table(
        {"label": labels[some], "rows": sums.counts, "weight": sums.weights(), name: means, "low": low, "high": high}
    )


def largest(table: dict[str, np.ndarray], name: str, max_groups: int) -> tuple[Table, str]:
    """The lines of the groups that have the largest totals, sorted by their means, and what to say of those left out."""
    n = len(table["label"])
    chosen = np.argsort(-np.abs(table["weight"] * table[name]), kind="stable")[: as_count(max_groups, "max_groups", 1)]
    chosen = chosen[np.argsort(-table[name][chosen], kind="stable")]
    hidden = f" ({n - len(chosen)} of {n} not shown)" if len(chosen) < n else ""
    return Table({key: np.asarray(column)[chosen] for key, column in table.items()}), hidden


def draw_tables(metric: LogLoss, level: float = 0.95) -> Any:
    """A figure of the means of all classes and groups of a metric, with their intervals."""
    tables = sums_of_tables(metric)
    axes = take_axes(None, 1, max(len(tables), 1), width=max(len(tables), 1))
    for ax, (kind, (labels, sums)) in zip(axes, tables.items(), strict=False):
        table, hidden = largest(with_intervals("log_loss", sums, labels, level), "log_loss", 30)
        mean = metric.result()
        ax.axvline(mean, linestyle=":", color=text_color(ax))
        draw_means(ax, table, "log_loss", "C0")
        fit_limits(ax, table, "log_loss", [mean], least=0)
        label_lines(ax, list(map(shortened, table["label"])))
        ax.set_ylabel(f"{kind.title()}{hidden}")
        ax.set_xlabel(f"Log-loss, {percent(level)} intervals; dotted: all rows")
    return axes[0].figure
