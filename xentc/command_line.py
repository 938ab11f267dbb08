"""Python layer: the command `xentc`, which scores and compares files of predictions, and measures this machine.

Exit status: 0; 1 if a threshold is passed; 2 for bad input or arguments; 130 if interrupted.

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

import argparse
import csv
import heapq
import html
import importlib.metadata
import io
import json
import math
import os
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

import numpy as np

import xentc
from xentc import _statistics, files
from xentc.evaluation import LogLoss, LogLossComparison, Table

_SCHEMA = 1

# What may be installed beside this package.
_PACKAGES = ("numpy", "scipy", "scikit-learn", "pyarrow", "matplotlib", "rich", "torch")

# For each cell and library of the benchmark.
_SECONDS = 0.5

# Labels and files of more characters lose their middle.
_LONGEST = 30


class _Parser(argparse.ArgumentParser):
    """Help of one line an option, and errors of one line."""

    def format_help(self) -> str:
        lines = [f"usage: {self.usage}", ""]
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                lines += [f"  {choice.dest:<28}{choice.help}" for choice in action._get_subactions()]
            else:
                name = " ".join(filter(None, [", ".join(action.option_strings), str(action.metavar or "")])) or action.dest
                lines.append(f"  {name:<28}{action.help}")
        return "\n".join([*lines, "", self.epilog or "", ""])

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="xentc", usage="xentc {score,compare,bench,info} ... [--help]",
        epilog="examples:\n"
        "  xentc score predictions.parquet --target y --proba 'p_*' --by country\n"
        "  xentc compare truth.npy old.npy new.npy --fail-above 0.001\n"
        "exit status: 0, 1 if a --fail threshold is passed, 2 for bad input",
    )
    parser.add_argument("--version", action="version", version=xentc.__version__, help="say it and exit")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True, prog="xentc", parser_class=_Parser)

    score = commands.add_parser(
        "score", help="the log-loss of predictions in files", usage="xentc score data [predictions] [options]",
        epilog="examples:\n"
        "  xentc score predictions.parquet --target y --proba 'p_*' --by country\n"
        "  xentc score truth.npy proba.npy --labels a,b,c --weight w.npy --json",
    )
    score.add_argument("data", help="a table, a folder of tables, or the labels alone")
    score.add_argument("predictions", nargs="?", help="the probabilities, where not in data")
    _add_columns(score, ["--proba"])
    score.add_argument("--by", metavar="NAME|FILE", help="groups: a column of data, or a file")
    score.add_argument("--worst", metavar="N", type=_natural, default=0, help="list the N rows of the largest loss")
    score.add_argument("--plot", metavar="FILE", help="draw it into a .png, .svg or .html")
    score.add_argument("--fail-above", metavar="X", type=float, help="exit with 1 if the log-loss is above X")
    score.add_argument("--fail-if-worse-than", metavar="JSON", help="... or above that of an earlier --json")
    score.set_defaults(run=_score)

    compare = commands.add_parser(
        "compare", help="whether predictions B are better than A", usage="xentc compare data [A B] [options]",
        epilog="examples:\n"
        "  xentc compare truth.npy old.npy new.npy --fail-above 0.001\n"
        "  xentc compare t.parquet --target y --proba-a 'old_*' --proba-b 'new_*'",
    )
    compare.add_argument("data", help="a table, a folder of tables, or the labels alone")
    compare.add_argument("a", metavar="A", nargs="?", help="the probabilities of A, where not in data")
    compare.add_argument("b", metavar="B", nargs="?", help="those of B")
    _add_columns(compare, ["--proba-a", "--proba-b"])
    compare.add_argument("--plot", metavar="FILE", help="draw it into a .png, .svg or .html")
    compare.add_argument("--fail-above", metavar="X", type=float, help="exit with 1 if B minus A is above X")
    compare.set_defaults(run=_compare)

    bench = commands.add_parser(
        "bench", help="time it beside what is installed here", usage="xentc bench [--json]",
        epilog="Milliseconds, the best of half a second; all takes less than a minute.",
    )
    info = commands.add_parser("info", help="versions, instruction sets, threads", usage="xentc info [--json]")
    for command, run in ((bench, _bench), (info, _info)):
        command.add_argument("--json", action="store_true", help="print JSON instead of text")
        command.set_defaults(run=run)
    return parser


def _add_columns(command: argparse.ArgumentParser, probas: list[str]) -> None:
    command.add_argument("--target", metavar="NAME", help="the column of the labels")
    for option in probas:
        command.add_argument(option, metavar="NAMES", help="the columns of probabilities: 'p_*', or p_a,p_b")
    command.add_argument("--weight", metavar="NAME|FILE", help="weights: a column of data, or a file")
    command.add_argument("--labels", metavar="A,B,...", help="all labels, where data may lack some")
    command.add_argument("--from-logits", action="store_true", help="logits, not probabilities")
    command.add_argument("--level", metavar="X", type=_level, default=0.95, help="that of the interval (0.95)")
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rows")
    return int(text)


def _level(text: str) -> float:
    with suppress(ValueError):
        if 0 < float(text) < 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number between 0 and 1")


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments : list of str, optional
        Where not given, those of the process.

    Returns
    -------
    status : int
        0; 1 if a threshold is passed; 2 for bad input; 130 if interrupted.

    Raises
    ------
    SystemExit
        With 2 for bad arguments, and with 0 after help.

    Examples
    --------
    >>> from xentc.command_line import main
    >>> main(["score", "none.npy", "none.npy"])
    2
    """
    progress = _Progress()
    try:
        options = _parser().parse_args(arguments)
        status: int = options.run(options, progress)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        progress.end()
        print(f"xentc: interrupted after {progress.rows:,} rows", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _let_go()
        return 0
    except (ValueError, TypeError, OSError, ImportError, ZeroDivisionError, MemoryError) as error:
        progress.end()
        print(f"xentc: {_clean(' '.join(str(error).split())) or type(error).__name__}", file=sys.stderr)
        return 2


class _Progress:
    """The rows so far, on stderr at a terminal only."""

    def __init__(self) -> None:
        self.rows, self.total, self._start, self._shown, self._bar = 0, None, time.monotonic(), 0.0, None
        self._task: Any = None

    rows: int
    total: int | None
    _bar: Any

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


class _Told:
    """Collects warnings, and says each once."""

    def __enter__(self) -> list[str]:
        self._catch = warnings.catch_warnings(record=True)
        self._found, self.texts = self._catch.__enter__(), list[str]()
        warnings.simplefilter("default")
        return self.texts

    def __exit__(self, *error: Any) -> None:
        self._catch.__exit__(*error)
        self.texts += dict.fromkeys(str(warning.message) for warning in self._found or [])


def _names(text: str | None) -> Any:
    """One name or pattern, or several, with commas between them."""
    if text is None:
        return None
    names = next(csv.reader([text], skipinitialspace=True), [])
    return names[0] if len(names) == 1 else names


def _labels(options: argparse.Namespace) -> list[str] | None:
    names = _names(options.labels)
    return [names] if isinstance(names, str) else names


# score

def _score(options: argparse.Namespace, progress: _Progress) -> int:
    old = None if options.fail_if_worse_than is None else _old_loss(options.fail_if_worse_than)
    _check_plot(options.plot)
    worst: list[tuple[float, int, str, int, Any]] = []

    def seen(batch: files.Batch) -> None:
        if options.worst:
            worst[:] = _worst(worst, batch, progress.rows, rows.labels, options)
        progress.add(len(batch))

    with _Told() as told:
        rows = files.Batches(
            options.data, [(options.predictions, _names(options.proba))], options.target, options.weight, options.by,
            _labels(options), 1 << 24,
        )
        progress.begin(rows.n_rows)
        metric = files.score_batches(rows, options.from_logits, seen=seen)
        progress.end()
        found = _found(metric, options, worst)
    loss = found["log_loss"]
    # NaN passes no threshold.
    if options.fail_above is not None and not loss <= options.fail_above:
        found["failed"].append(f"the log-loss of {loss!r} is above {options.fail_above!r}")
    if old is not None and not loss <= old:
        found["failed"].append(f"the log-loss of {loss!r} is above the {old!r} of {options.fail_if_worse_than}")
    found["warnings"] = told
    if options.plot:
        _draw_score(options.plot, metric, found)
    return _finish(options, found, lambda: _score_sections(metric, found, options))


def _old_loss(path: str) -> float:
    try:
        with open(path, encoding="utf-8") as file:
            loss = json.load(file)["log_loss"]
    except (ValueError, TypeError, KeyError):
        loss = None
    if not isinstance(loss, (int, float)) or isinstance(loss, bool):
        raise ValueError(f'{path} has no number "log_loss"; expected what xentc score --json printed')
    return float(loss)


def _worst(
    so_far: list[Any], batch: files.Batch, count: int, labels: np.ndarray, options: argparse.Namespace
) -> list[Any]:
    """The rows of the largest losses, of these and a batch's that comes after `count` rows; of equal ones the first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        losses = xentc.log_loss_per_sample(batch.truth, batch.proba, labels=labels, from_logits=options.from_logits)
    if batch.weight is not None:
        losses = np.where(batch.weight == 0, -1.0, losses)
    n = min(options.worst, len(losses))
    chosen = np.argpartition(-losses, n - 1)[:n]
    least = losses[chosen].min()
    chosen = np.concatenate([np.flatnonzero(losses > least), np.flatnonzero(losses == least)[:n]])
    new = [
        (float(losses[i]), -count - int(i), batch.file, batch.row + int(i), batch.truth[i]) for i in chosen if losses[i] >= 0
    ]
    return heapq.nlargest(options.worst, so_far + new, key=lambda row: row[:2])


def _found(metric: LogLoss, options: argparse.Namespace, worst: list[Any]) -> dict[str, Any]:
    by_class = metric.by_class() if len(metric.classes_) <= 1000 else None
    try:
        low, high = metric.confidence_interval(options.level)
    except ImportError:                                        # SciPy's quantile
        low = high = math.nan
    d2 = metric.d2() if by_class is not None or options.weight is None else math.nan
    of_worst = [
        {"file": file, "row": row, "label": _plain(label), "log_loss": loss} for loss, _, file, row, label in worst
    ]
    return _header("score") | {
        "log_loss": metric.result(), "standard_error": metric.standard_error(), "low": low, "high": high,
        "level": options.level, "d2": d2, "rows": metric.count, "weight": metric.weight_sum,
        "labels": metric.classes_.tolist(), "by_class": _lines(by_class),
        "by_group": _lines(metric.by_group()) if options.by else None, "worst": of_worst if options.worst else None,
        "warnings": [], "failed": [],
    }


def _score_sections(metric: LogLoss, found: dict[str, Any], options: argparse.Namespace) -> list[tuple[str, Any]]:
    interval = f"{100 * found['level']:.4g} % interval {found['low']:.6g} to {found['high']:.6g}"
    if math.isnan(found["low"]):
        interval = f"standard error {found['standard_error']:.3g}"
    head = [
        ("log-loss", f"{found['log_loss']:.6g} ({interval})"), ("D2", f"{found['d2']:.6g}"),
        ("rows", f"{found['rows']:,}"), *([("weight", f"{found['weight']:,.15g}")] if options.weight else []),
    ]
    sections: list[tuple[str, Any]] = [("", head)]
    for key, title in (("by_class", "by class"), ("by_group", f"by {options.by}"), ("worst", "worst rows")):
        lines = found[key]
        if lines:
            columns = {}
            for name in lines[0]:
                columns[name] = np.array([line[name] for line in lines], None if name in _NUMBERS else object)
            if not options.weight:
                columns.pop("weight", None)
            if key == "worst" and len(set(columns["file"])) == 1:
                columns.pop("file")
            for name in ("label", "file"):
                if name in columns:
                    columns[name] = np.array([_short(value) for value in columns[name]], object)
            sections.append((title, Table(columns)))
    return sections


_NUMBERS = ("rows", "weight", "log_loss", "standard_error", "share", "row")


# compare

def _compare(options: argparse.Namespace, progress: _Progress) -> int:
    _check_plot(options.plot)
    if (options.a is None) != (options.b is None):
        raise ValueError("the predictions of A are given, but not those of B; expected both, or columns of data")
    _statistics.p_value(1.0, 1.0, 2.0)                         # without SciPy nothing need be read
    with _Told() as told:
        both = [(options.a, _names(options.proba_a)), (options.b, _names(options.proba_b))]
        rows = files.Batches(options.data, both, options.target, options.weight, None, _labels(options), 1 << 24)
        progress.begin(rows.n_rows)
        losses = files.compare_batches(rows, options.from_logits, seen=lambda batch: progress.add(len(batch)))
        progress.end()
        comparison = losses.comparison(options.level)
    found = _header("compare") | {
        name: getattr(comparison, name)
        for name in ("log_loss_a", "log_loss_b", "difference", "standard_error", "low", "high", "level", "p_value")
    } | {"rows": comparison.count, "warnings": told, "failed": []}
    if options.fail_above is not None and not comparison.difference <= options.fail_above:
        text = f"B's log-loss minus A's is {comparison.difference!r}, above {options.fail_above!r}"
        found["failed"].append(text)
    if options.plot:
        _draw_comparison(options.plot, comparison)
    return _finish(options, found, lambda: [("", repr(comparison))])


# Output

def _header(command: str) -> dict[str, Any]:
    return {"schema": _SCHEMA, "command": command, "version": xentc.__version__}


def _finish(options: argparse.Namespace, found: dict[str, Any], sections: Callable[[], list[tuple[str, Any]]]) -> int:
    """Print what was found, and the exit status."""
    try:
        if options.json:
            print(json.dumps(_finite(found), allow_nan=False))
        else:
            _print(sections())
        sys.stdout.flush()
    except BrokenPipeError:
        _let_go()
    for text in found.get("warnings", []):
        print(f"xentc: warning: {_clean(text)}", file=sys.stderr)
    for text in found.get("failed", []):
        print(f"xentc: failed: {text}", file=sys.stderr)
    return 1 if found.get("failed") else 0


def _let_go() -> None:
    """Nobody reads stdout any more; Python would flush it at its end, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print(sections: list[tuple[str, Any]]) -> None:
    try:
        if not sys.stdout.isatty():
            raise ImportError
        from rich import box, console, table, text
    except ImportError:
        print(_text(sections))
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
            out.print(shown)
        else:
            grid = table.Table.grid(padding=(0, 2))
            for name, value in content:
                grid.add_row(text.Text(name, "bold"), text.Text(value))
            out.print(grid, *[""] * (len(sections) > 1), sep="\n")


def _text(sections: list[tuple[str, Any]]) -> str:
    parts = []
    for title, content in sections:
        if isinstance(content, list):
            content = "\n".join(f"{name:<10}{value}" for name, value in content)
        parts.append(f"{title}\n{content}" if title else str(content))
    return "\n\n".join(parts)


def _lines(table: Table | None) -> list[dict[str, Any]] | None:
    if table is None:
        return None
    columns = [[_plain(value) for value in column] for column in table.values()]
    return [dict(zip(table, cells, strict=True)) for cells in zip(*columns, strict=True)]


def _plain(value: Any) -> Any:
    """A value as JSON knows it."""
    value = value.item() if isinstance(value, np.generic) and value.dtype.kind not in "mM" else value
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _clean(text: str) -> str:
    """What comes from files controls no terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _short(value: Any) -> str:
    text = _clean(str(value))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2 - 1]}...{text[2 - _LONGEST // 2 :]}"


# Pictures

def _check_plot(path: str | None) -> None:
    if path is not None:
        if not path.endswith((".png", ".svg", ".html")):
            raise ValueError(f"--plot is {path}; expected a name that ends in .png, .svg or .html")
        if not os.path.isdir(os.path.dirname(path) or "."):
            raise FileNotFoundError(f"--plot is {path}, in a folder that does not exist")
        import matplotlib

        matplotlib.use("Agg")


def _draw_score(path: str, metric: LogLoss, found: dict[str, Any]) -> None:
    from xentc import plotting

    figure = plotting.draw_tables(metric, found["level"])
    _save(path, figure, _text(_score_sections(metric, found, argparse.Namespace(by="group", weight=True))))


def _draw_comparison(path: str, comparison: LogLossComparison) -> None:
    from xentc import plotting

    empty = Table({name: np.empty(0) for name in ("label", "rows", "weight", "difference", "low", "high")})
    _save(path, plotting.ComparisonDisplay(comparison, empty).plot().figure_, repr(comparison))


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


# bench and info

def _bench(options: argparse.Namespace, progress: _Progress) -> int:
    cells = []
    for name, calls in _cells():
        cells.append({"cell": name, "milliseconds": {library: _best(call) for library, call in calls.items()}})
    libraries = list(dict.fromkeys(library for cell in cells for library in cell["milliseconds"]))
    columns = {"milliseconds": np.array([cell["cell"] for cell in cells], object)}
    for library in libraries:
        times = [cell["milliseconds"].get(library) for cell in cells]
        columns[library] = np.array(["" if t is None else f"{t:.3g}" if t < 100 else f"{t:,.0f}" for t in times], object)
    return _finish(options, _header("bench") | {"cells": cells}, lambda: [("", Table(columns))])


def _cells() -> Any:
    """Names, and for each library that is installed the call."""
    rng = np.random.default_rng(0)
    others = _libraries()
    for n, k in ((100, 3), (1_000_000, 2), (1_000_000, 10)):
        x = rng.random((n, k))
        proba, y = x / x.sum(axis=1, keepdims=True), rng.integers(0, k, n)
        calls: dict[str, Any] = {"xentc": lambda y=y, p=proba: xentc.log_loss(y, p)}
        if "scikit-learn" in others:
            calls["scikit-learn"] = lambda y=y, p=proba: others["scikit-learn"](y, p)
        yield f"log_loss {n}x{k} float64", calls
    for n, k in ((100, 3), (1_000_000, 10), (20_000, 1000)):
        logits, y = rng.standard_normal((n, k), np.float32), rng.integers(0, k, n)
        calls = {"xentc": lambda x=logits, y=y: xentc.cross_entropy(x, y)}
        if "scipy" in others:
            calls["scipy"] = lambda x=logits, y=y: (others["scipy"](x, axis=1) - x[np.arange(len(y)), y]).mean()
        if "torch" in others:
            tensors = others["torch"].from_numpy(logits), others["torch"].from_numpy(y)
            calls["torch"] = lambda t=tensors: others["torch"].nn.functional.cross_entropy(*t)
        yield f"cross_entropy {n}x{k} float32", calls


def _libraries() -> dict[str, Any]:
    found: dict[str, Any] = {}
    try:
        from sklearn.metrics import log_loss

        found["scikit-learn"] = log_loss
    except ImportError:
        pass
    try:
        from scipy.special import logsumexp

        found["scipy"] = logsumexp
    except ImportError:
        pass
    try:
        import torch  # type: ignore[import-not-found,unused-ignore]

        found["torch"] = torch
    except ImportError:
        pass
    return found


def _best(call: Callable[[], Any]) -> float:
    """Milliseconds: the best run."""
    end, best, runs = time.perf_counter() + _SECONDS, math.inf, 0
    while runs < 2 or (time.perf_counter() < end and runs < 1000):
        start = time.perf_counter()
        call()
        best, runs = min(best, time.perf_counter() - start), runs + 1
    return 1e3 * best


def _info(options: argparse.Namespace, progress: _Progress) -> int:
    packages: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            packages[name] = None
    if options.json:
        return _finish(options, _header("info") | xentc.show_config(mode="dicts") | {"packages": packages}, list)
    xentc.show_config()
    print("packages:        ", ", ".join(f"{name} {version or '(missing)'}" for name, version in packages.items()))
    return 0
