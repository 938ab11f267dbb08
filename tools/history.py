"""The speed of the project's own commits, recorded by asv; and charts of it.

    python tools/history.py record     builds and times the recorded commits and the newest one, for hours; then draws
    python tools/history.py            draws benchmarks/history/*.json and writes the list in docs/performance.md
    python tools/history.py --check    fails where the page has another list, and writes nothing

asv goes through all commits several times, so that a drifting machine hurts all alike. Its results stay in .asv; the medians
go to benchmarks/history, a file for each instruction set.
"""

import argparse
import itertools
import json
import math
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "benchmarks"
sys.path.insert(0, str(HERE))
import compare  # noqa: E402 - their folder is known now
import draw  # noqa: E402 - likewise

BEGIN, END = (f"<!-- {word}: written by tools/history.py -->\n" for word in ("begin", "end"))
CHANGED = 1.1
COLUMNS = 4
# asv's class for each task of compare.py, and the cells.
RECORDED = {
    "LogLoss": ("log_loss", "100x3 float64, 1Mx2 float64, 1Mx10 float64, 1Mx10 float64 str-labels"),
    "CrossEntropy": ("cross_entropy", "100x3 float64, 1Mx2 float32, 1Mx10 float32, 20kx1000 float32, 20kx1000 float64"),
    "Gradient": ("gradient", "100x3 float64, 1Mx10 float32, 20kx1000 float32"),
    "Linear": ("linear", "200kx50x10 float32"),
    "Binary": ("binary", "10M float32"),
    "BinaryGradient": ("binary_gradient", "10M float32"),
    "Softmax": ("softmax", "20kx1000 float32"),
}


# ---- Recording.


def git(*words):
    return subprocess.run(["git", "-C", ROOT, *words], check=True, capture_output=True, text=True).stdout


def commits_with(named):
    """The recorded commits, those named and the newest one, of all that touched what is installed. passed: how many are left
    out before it."""
    log = git("log", "--first-parent", "--reverse", "--format=%H%x09%h%x09%as%x09%s", "--", "src", "xentc").splitlines()
    recorded = [it["hash"] for path in HERE.glob("history/*.json") for it in json.loads(path.read_text())["commits"]]
    places = sorted({i for i, line in enumerate(log) if i == len(log) - 1 or line.startswith((*recorded, *named))})
    return [dict(zip(("commit", "hash", "date", "subject"), log[place].split("\t"), strict=True), passed=place - before - 1)
            for before, place in itertools.pairwise([-1, *places])]


def record(named, rounds):
    from asv.results import iter_results

    commits = commits_with(named)
    hashes = [it.pop("commit") for it in commits]
    (ROOT / ".asv").mkdir(exist_ok=True)
    names = ROOT / ".asv" / "commits.txt"
    names.write_text("\n".join(hashes) + "\n")
    cells = [(name, task, cell.strip()) for name, (task, cells) in RECORDED.items() for cell in cells.split(",")]
    wanted = "|".join(re.escape(f"{name}.time_call('{cell}', 'xentc')") for name, _, cell in cells)
    subprocess.run(["asv", "machine", "--yes"], cwd=ROOT, check=True)
    turns = ["--interleave-rounds", "-a", f"rounds={rounds}"]
    circumstances = compare.circumstances()
    environment = os.environ | {"CC": str(compiler_for(circumstances["instruction_set"]))}
    # Its status is 2 where a commit has no such function yet.
    subprocess.run(["asv", "run", f"HASHFILE:{names}", *turns, "--bench", wanted], cwd=ROOT, env=environment)
    results = {it.commit_hash: it for it in iter_results(ROOT / ".asv" / "results")}
    times = {}
    for name, task, cell in cells:
        series = [time_of(results.get(commit), f"bench_losses.{name}.time_call", f"'{cell}'") for commit in hashes]
        times[f"{task} {cell}"] = [None if math.isnan(t) else float(f"{t * 1e3:.4g}") for t in series]
    missing = [cell for cell, series in times.items() if series[-1] is None]
    if missing:
        sys.exit(f"the newest commit has no figures of {', '.join(missing)}; the record is as it was")
    command = f"python tools/history.py record --rounds {rounds}"
    history = circumstances | {"command": command, "commits": commits, "milliseconds": times}
    path = HERE / "history" / f"{history['instruction_set']}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(lines_of(history))


def compiler_for(instruction_set):
    """One that spends no time on kernels of other sets, which will not run: minutes a commit."""
    path = ROOT / ".asv" / "cc"
    others = "|".join(f"*kernels_{name}*" for name in ("avx512", "avx2", "neon", "portable") if name != instruction_set)
    compiler = os.environ.get("CC", "cc")
    path.write_text(f'#!/bin/sh\ncase "$*" in {others}) exec {compiler} "$@" -O0;; *) exec {compiler} "$@";; esac\n')
    path.chmod(0o755)
    return path


def time_of(result, name, cell):
    """In seconds; NaN where a commit has no such function."""
    if result is None or name not in result.get_all_result_keys():
        return math.nan
    cells, implementations = params = result.get_result_params(name)
    values = result.get_result_value(name, params)
    value = values[cells.index(cell) * len(implementations) + implementations.index("'xentc'")]
    return math.nan if value is None else value


def steps_of(times):
    """Cell, index of the commit, and how many times as long it takes from there on: where two commits before and two after
    differ by more than a tenth, whichever are taken, and by more than twice what neighbours usually do."""
    steps = []
    for cell, series in times.items():
        known = [(i, t) for i, t in enumerate(series) if t is not None]
        usual = [abs(math.log(after / before)) for (_, before), (_, after) in itertools.pairwise(known)]
        least = max(CHANGED, math.exp(2 * statistics.median(usual)))
        for k in range(1, len(known) - 1):
            before, after = ([t for _, t in known[max(0, first) : first + 2]] for first in (k - 2, k))
            if max(after) * least < min(before) or min(after) > least * max(before):
                steps.append([cell, known[k][0], float(f"{statistics.mean(after) / statistics.mean(before):.3g}")])
    return steps


def lines_of(history):
    """JSON with a line for each commit and cell, so that a diff can be read."""
    parts = []
    for key, value in history.items():
        if key == "commits":
            parts.append(f'"{key}": [\n ' + ",\n ".join(map(json.dumps, value)) + "\n]")
        elif key == "milliseconds":
            cells = ",\n ".join(f"{json.dumps(cell)}: {json.dumps(series)}" for cell, series in value.items())
            parts.append(f'"{key}": {{\n {cells}\n}}')
        else:
            parts.append(f'"{key}": {json.dumps(value)}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


# ---- Drawing.


def listed(history):
    """The commits at which a cell changed, as a table."""
    lines = ["| number | commit | cells, and how many times as long they take |", "|---|---|---|"]
    for number, (index, steps) in enumerate(by_commit(history).items(), 1):
        commit = history["commits"][index]
        others = f" (or one of {commit['passed']} before it)" if commit["passed"] else ""
        cells = "; ".join(f"`{cell.split()[0]}` {' '.join(cell.split()[1:])} {ratio:.2f}" for cell, ratio in steps)
        lines.append(f"| {number} | {commit['hash']} {commit['subject']}{others} | {cells} |")
    return "\n".join(lines) + f"\n\n{draw.circumstances(history)[0]}; recorded {history['date']}.\n"


def by_commit(history):
    steps = {}
    for cell, index, ratio in steps_of(history["milliseconds"]):
        steps.setdefault(index, []).append((cell, ratio))
    return dict(sorted(steps.items()))


def fastest_other(cell, instruction_set):
    """Its name, and how many times as long as ours it takes by the record of all cells."""
    record = json.loads((HERE / "results" / f"{instruction_set}.json").read_text())["milliseconds"].get(cell, {})
    others = {name: ms for name, ms in record.items() if name in draw.LOOKS and name != "xentc"}
    if not others:
        return None
    name = min(others, key=others.get)
    return name, others[name] / record["xentc"]


def picture(history, path):
    from matplotlib import ticker

    pyplot = draw.plotter()
    cells, commits = history["milliseconds"], history["commits"]
    n_rows = math.ceil(len(cells) / COLUMNS)
    figure, axes = pyplot.subplots(
        n_rows, COLUMNS, figsize=(11, 2.1 * n_rows), squeeze=False, layout="constrained", facecolor="white")
    numbers = {index: number for number, index in enumerate(by_commit(history), 1)}
    for ax, (cell, series) in zip(axes.flat, cells.items(), strict=False):
        first, last = (next(t for t in order if t is not None) for order in (series, series[::-1]))
        relative = [math.nan if t is None else t / first for t in series]
        ax.plot(relative, color=draw.LOOKS["xentc"][1], linewidth=1.3, marker=".", markersize=4)
        other = fastest_other(cell, history["instruction_set"])
        if other:
            name, colour, _ = draw.LOOKS[other[0]]
            level = other[1] * last / first
            ax.axhline(level, color=colour, linewidth=1, linestyle="--")
            ax.annotate(f"{name} {level:.3g}", (1, level), xycoords=("axes fraction", "data"), xytext=(-2, 2),
                        textcoords="offset points", ha="right", va="bottom", fontsize=7, color=colour)
        for _, index, _ in steps_of({cell: series}):
            ax.annotate(str(numbers[index]), (index, relative[index]), xytext=(0, -10), textcoords="offset points",
                        ha="center", fontsize=7, color="#333333")
        ax.set(yscale="log", xlim=(-1, len(commits)), xticks=[])
        low, high = ax.get_ylim()
        ax.set_ylim(low / 1.25, high * 1.25)
        wide = high > 20 * low
        ax.yaxis.set_major_locator(ticker.LogLocator(subs=(1,) if wide else (1, 2, 5)))
        ax.yaxis.set_minor_locator(ticker.NullLocator())
        ax.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
        ax.set_title(f"{cell}: {draw.digits(last)} ms", fontsize=8)
        ax.grid(axis="y", color="#eeeeee")
        ax.spines[["right", "top"]].set_visible(False)
        ax.tick_params(labelsize=7)
    for ax in axes.flat[len(cells):]:
        ax.set_visible(False)
    figure.supxlabel(f"{len(commits)} commits, {commits[0]['date']} to {commits[-1]['date']}", fontsize=8)
    figure.suptitle(
        f"Time beside that of the first commit; dashed: the fastest other\n{draw.circumstances(history)[0]}", fontsize=10)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["record"])
    parser.add_argument("commits", nargs="*", help="to be recorded beside those that are in the record")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    if arguments.what:
        record(arguments.commits, arguments.rounds)
    histories = [json.loads(path.read_text()) for name in draw.SETS if (path := HERE / "history" / f"{name}.json").exists()]
    old, new = draw.page_with("\n".join(map(listed, histories)), BEGIN, END)
    if arguments.check:
        sys.exit(f"{draw.PAGE} has another list than benchmarks/history: run tools/history.py" if old != new else 0)
    draw.PAGE.write_text(new)
    for history in histories:
        picture(history, HERE / f"history_{history['instruction_set']}.svg")


if __name__ == "__main__":
    main()
