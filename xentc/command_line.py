"""Python layer: the command `xentc`, which scores and compares files of predictions, and measures this machine.

Exit status: 0; 1 if a threshold is passed; 2 for bad input or arguments; 130 if interrupted.
What it prints is in `_report`.
"""

from __future__ import annotations

import argparse
import csv
import heapq
import json
import math
import os
import sys
import warnings
from contextlib import suppress
from typing import Any, NoReturn

import numpy as np

import xentc
from xentc import _bench, _report, _statistics, files
from xentc.evaluation import LogLoss


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
    score.add_argument("--fail-above", metavar="X", type=_number, help="exit with 1 if the log-loss is above X")
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
    compare.add_argument("--fail-above", metavar="X", type=_number, help="exit with 1 if B minus A is above X")
    compare.set_defaults(run=_compare)

    bench = commands.add_parser(
        "bench", help="time it beside what is installed here", usage="xentc bench [--json]",
        epilog="Milliseconds, the best of half a second; all takes less than a minute.",
    )
    info = commands.add_parser("info", help="versions, instruction sets, threads", usage="xentc info [--json]")
    for command, run in ((bench, _bench.bench), (info, _bench.info)):
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


def _number(text: str) -> float:
    with suppress(ValueError):
        if math.isfinite(float(text)):
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no finite number")


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
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:                         # closed
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
    progress = _report.Progress()
    try:
        try:
            options = _parser().parse_args(arguments)
            status: int = options.run(options, progress)
        finally:
            sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        progress.end()
        _report.say(f"interrupted after {progress.rows:,} rows")
        return 130
    except BrokenPipeError:
        _report.let_go()
        return 0
    except (ValueError, TypeError, OSError, ImportError, ZeroDivisionError, MemoryError) as error:
        progress.end()
        _report.say(" ".join(str(error).split()) or type(error).__name__)
        return 2


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

def _score(options: argparse.Namespace, progress: _report.Progress) -> int:
    old = None if options.fail_if_worse_than is None else _old_loss(options.fail_if_worse_than)
    _report.check_plot(options.plot)
    worst: list[tuple[float, int, str, int, Any]] = []

    def seen(batch: files.Batch) -> None:
        if options.worst:
            worst[:] = _worst(worst, batch, progress.rows, rows.labels, options)
        progress.add(len(batch))

    with _report.Told() as told:
        rows = files.Batches(
            options.data, [(options.predictions, _names(options.proba))], options.target, options.weight, options.by,
            _labels(options),
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
        _report.draw_score(options.plot, metric, found)
    return _report.finish(found, options.json, lambda: _report.score_sections(found, options.by, bool(options.weight)))


def _old_loss(path: str) -> float:
    with open(path, encoding="utf-8") as file, suppress(ValueError, TypeError, KeyError, OverflowError, RecursionError):
        loss = json.load(file)["log_loss"]
        if not isinstance(loss, bool) and math.isfinite(loss):
            return float(loss)
    raise ValueError(f'{path} has no number "log_loss"; expected what xentc score --json printed')


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
        {"file": file, "row": row, "label": _report.plain(label), "log_loss": loss} for loss, _, file, row, label in worst
    ]
    return _report.header("score") | {
        "log_loss": metric.result(), "standard_error": metric.standard_error(), "low": low, "high": high,
        "level": options.level, "d2": d2, "rows": metric.count, "weight": metric.weight_sum,
        "labels": metric.classes_.tolist(), "by_class": _report.lines_of(by_class),
        "by_group": _report.lines_of(metric.by_group()) if options.by else None,
        "worst": of_worst if options.worst else None,
        "warnings": [], "failed": [],
    }


# compare

def _compare(options: argparse.Namespace, progress: _report.Progress) -> int:
    _report.check_plot(options.plot)
    if (options.a is None) != (options.b is None):
        raise ValueError("the predictions of A are given, but not those of B; expected both, or columns of data")
    _statistics.p_value(1.0, 1.0, 2.0)                         # without SciPy nothing need be read
    with _report.Told() as told:
        both = [(options.a, _names(options.proba_a)), (options.b, _names(options.proba_b))]
        rows = files.Batches(options.data, both, options.target, options.weight, None, _labels(options))
        progress.begin(rows.n_rows)
        losses = files.compare_batches(rows, options.from_logits, seen=lambda batch: progress.add(len(batch)))
        progress.end()
        comparison = losses.comparison(options.level)
    found = _report.header("compare") | {
        name: getattr(comparison, name)
        for name in ("log_loss_a", "log_loss_b", "difference", "standard_error", "low", "high", "level", "p_value")
    } | {"rows": comparison.count, "warnings": told, "failed": []}
    if options.fail_above is not None and not comparison.difference <= options.fail_above:
        text = f"B's log-loss minus A's is {comparison.difference!r}, above {options.fail_above!r}"
        found["failed"].append(text)
    if options.plot:
        _report.draw_comparison(options.plot, comparison)
    return _report.finish(found, options.json, lambda: [("", repr(comparison))])
