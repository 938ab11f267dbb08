"""Python layer: what the command `xentc` shows: progress, tables as text and in a terminal, JSON, pictures.

What ``--json`` prints is one object on a line. Numbers that are not finite are null; keys may be added, but none changes its
meaning while "schema" is 1.

``xentc score``: "schema", "command", "version", "log_loss", "standard_error", "low", "high", "level", "d2", "rows",
"weight", "labels"; "by_class" and "by_group", lists of objects with "label", "rows", "weight", "log_loss",
"standard_error" and "share", or null; "worst", a list of objects with "file", "row", "label" and "log_loss", or null;
"warnings", a list of texts; "failed", of the thresholds that are passed, a list of texts.

``xentc compare``: "schema", "command", "version", "log_loss_a", "log_loss_b", "difference", "standard_error", "low", "high",
"level", "p_value", "rows", "warnings", "failed".

``xentc bench``: "schema", "command", "version"; "cells", a list of objects with "cell" and the "milliseconds" of each
library. ``xentc info``: "schema", "command", "version", what :func:`xentc.show_config` gives, and "packages".
"""

from __future__ import annotations

import html
import io
import json
import math
import os
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

import xentc
from xentc.comparison import LogLossComparison
from xentc.evaluation import LogLoss, Table

_SCHEMA = 1

# Labels and files of more characters lose their middle.
_LONGEST = 30

# The columns of tables that are numbers.
_NUMBERS = ("rows", "weight", "log_loss", "standard_error", "share", "row")

# Titles and what is below them: lines of names and values, a table, or text.
Sections = list[tuple[str, Any]]


class Progress:
    """The rows so far, on stderr at a terminal only."""

    def __init__(self) -> None:
        self.rows, self._start, self._shown = 0, time.monotonic(), 0.0
        self.total: int | None = None
        self._bar: Any = None
        self._task: Any = None

    def begin(self, total: int | None) -> None:
        self.total, self._start = total, time.monotonic()
        if sys.stderr.isatty():
            try:
                from rich import console, progress
            except ImportError:
                return
            self._bar = progress.Progress(
                progress.BarColumn(), progress.TextColumn("{task.description}"), progress.TimeRemainingColumn(),
                console=console.Console(stderr=True), transient=True,
            )
            self._task = self._bar.add_task("", total=total)
            self._bar.start()

    def add(self, rows: int) -> None:
        self.rows += rows
        now = time.monotonic()
        if not sys.stderr.isatty() or now - self._shown < 0.1:
            return
        self._shown = now
        rate = self.rows / max(now - self._start, 1e-9)
        text = f"{self.rows:,} rows, {rate:,.0f} rows/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=self.rows, description=text)
        else:
            left = "" if self.total is None else f", {(self.total - self.rows) / rate:.0f} s left"
            print(f"\r{text}{left}\x1b[K", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        self._bar, self._shown = None, 0.0


class Told:
    """Collects warnings, and says each once."""

    def __enter__(self) -> list[str]:
        self._catch = warnings.catch_warnings(record=True)
        self._found, self.texts = self._catch.__enter__(), list[str]()
        warnings.simplefilter("default")
        return self.texts

    def __exit__(self, *error: Any) -> None:
        self._catch.__exit__(*error)
        self.texts += dict.fromkeys(str(warning.message) for warning in self._found or [])


def header(command: str) -> dict[str, Any]:
    return {"schema": _SCHEMA, "command": command, "version": xentc.__version__}


def finish(found: dict[str, Any], as_json: bool, sections: Callable[[], Sections]) -> int:
    """Print what was found, and the exit status."""
    try:
        if as_json:
            print(json.dumps(_finite(found), allow_nan=False))
        else:
            _print(sections())
        sys.stdout.flush()
    except BrokenPipeError:
        let_go()
    except OSError:
        let_go()
        raise
    for text in found.get("warnings", []):
        say(f"warning: {text}")
    for text in found.get("failed", []):
        say(f"failed: {text}")
    return 1 if found.get("failed") else 0


def say(text: str) -> None:
    """A line on stderr, if somebody reads it."""
    with suppress(OSError):
        print(f"xentc: {clean(text)}", file=sys.stderr, flush=True)


def let_go() -> None:
    """Nobody takes what goes to stdout; Python would flush it at its end, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print(sections: Sections) -> None:
    try:
        if not sys.stdout.isatty():
            raise ImportError
        from rich import box, console, measure, table, text
    except ImportError:
        encoding = sys.stdout.encoding or "utf-8"
        print(_text(sections).encode(encoding, "replace").decode(encoding))
        return
    out = console.Console(highlight=False)
    for title, content in sections:
        if isinstance(content, str):
            out.print(text.Text(content))
        elif isinstance(content, Table):
            shown = table.Table(title=text.Text(title, "bold"), title_justify="left", box=box.SIMPLE_HEAD)
            for i, name in enumerate(content):
                shown.add_column(name, justify="right" if i else "left", overflow="fold")
            for cells in content.lines()[1:]:
                shown.add_row(*map(text.Text, cells))
            width = measure.Measurement.get(out, out.options.update(width=1000), shown).maximum
            # Where it does not fit, the terminal cuts lines; rich would cut numbers.
            out.print(shown if width <= out.width else text.Text(f"{title}\n{content}\n"), soft_wrap=True)
        else:
            grid = table.Table.grid(padding=(0, 2))
            for name, value in content:
                grid.add_row(text.Text(name, "bold"), text.Text(value))
            out.print(grid, *[""] * (len(sections) > 1), sep="\n")


def _text(sections: Sections) -> str:
    parts = []
    for title, content in sections:
        if isinstance(content, list):
            content = "\n".join(f"{name:<10}{value}" for name, value in content)
        parts.append(f"{title}\n{content}" if title else str(content))
    return "\n\n".join(parts)


def score_sections(found: dict[str, Any], by: str | None, weighted: bool) -> Sections:
    interval = f"{100 * found['level']:.4g} % interval {found['low']:.6g} to {found['high']:.6g}"
    if math.isnan(found["low"]):
        interval = f"standard error {found['standard_error']:.3g}"
    head = [
        ("log-loss", f"{found['log_loss']:.6g} ({interval})"), ("D2", f"{found['d2']:.6g}"),
        ("rows", f"{found['rows']:,}"), *([("weight", f"{found['weight']:,.15g}")] if weighted else []),
    ]
    sections: Sections = [("", head)]
    for key, title in (("by_class", "by class"), ("by_group", f"by {by}"), ("worst", "worst rows")):
        lines = found[key]
        if lines:
            columns = {}
            for name in lines[0]:
                columns[name] = np.array([line[name] for line in lines], None if name in _NUMBERS else object)
            if not weighted:
                columns.pop("weight", None)
            if key == "worst" and len(set(columns["file"])) == 1:
                columns.pop("file")
            for name in ("label", "file"):
                if name in columns:
                    columns[name] = np.array([_short(value) for value in columns[name]], object)
            sections.append((title, Table(columns)))
    return sections


def lines_of(table: Table | None) -> list[dict[str, Any]] | None:
    if table is None:
        return None
    columns = [[plain(value) for value in column] for column in table.values()]
    return [dict(zip(table, cells, strict=True)) for cells in zip(*columns, strict=True)]


def plain(value: Any) -> Any:
    """A value as JSON knows it."""
    value = value.item() if isinstance(value, np.generic) and value.dtype.kind not in "mM" else value
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def clean(text: str) -> str:
    """What comes from files controls no terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _short(value: Any) -> str:
    text = clean(str(value))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2 - 1]}...{text[2 - _LONGEST // 2 :]}"


def check_plot(path: str | None) -> None:
    if path is not None:
        if not path.endswith((".png", ".svg", ".html")):
            raise ValueError(f"--plot is {path}; expected a name that ends in .png, .svg or .html")
        if not os.path.isdir(os.path.dirname(path) or "."):
            raise FileNotFoundError(f"--plot is {path}, in a folder that does not exist")
        try:
            import matplotlib
        except ImportError as error:
            raise ImportError('--plot needs matplotlib: pip install "xentc[plot]"') from error
        matplotlib.use("Agg")


def draw_score(path: str, metric: LogLoss, found: dict[str, Any]) -> None:
    from xentc.plotting._groups import draw_tables

    figure = draw_tables(metric, found["level"])
    _save(path, figure, _text(score_sections(found, "group", True)))


def draw_comparison(path: str, comparison: LogLossComparison) -> None:
    from xentc.plotting import ComparisonDisplay

    empty = Table({name: np.empty(0) for name in ("label", "rows", "weight", "difference", "low", "high")})
    _save(path, ComparisonDisplay(comparison, empty).plot().figure_, repr(comparison))


def _save(path: str, figure: Any, text: str) -> None:
    if not path.endswith(".html"):
        figure.savefig(path)
        return
    picture = io.StringIO()
    figure.savefig(picture, format="svg")
    svg = picture.getvalue()
    with open(path, "w", encoding="utf-8") as file:
        file.write(
            f'<!DOCTYPE html>\n<meta charset="utf-8">\n<title>Log-loss</title>\n<pre>{html.escape(text)}</pre>\n'
            f"{svg[svg.index('<svg') :]}\n"
        )
