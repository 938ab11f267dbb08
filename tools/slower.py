"""Which cells did a change make slower? Two versions of xentc, each in a process of its own, take turns.

    python tools/slower.py                      the working tree beside main
    python tools/slower.py v0.2.0 my-branch     two commits
    python tools/slower.py --cells 'gradient 2kx10'

A version is a commit, or a folder where one is installed (pip install --target). A cell is called slower if in each of five
pairs of processes the median of its ratios is above 1.05: two processes of one version can differ by that much, each for its
whole life, since their memory lies elsewhere. Where a machine is too noisy to say so, instructions can: valgrind, if it is
there, counts those of a call, and a cell with 5 % more of them is called slower unless the clock says otherwise.
The status is 1 if a cell is slower. The table is Markdown, to be put below a pull request.
"""

import argparse
import contextlib
import functools
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
from compare import best_of, call_of  # noqa: E402 - its folder is known now

LIMIT = 1.05
# Inputs that stay in the caches, on one thread: here a kernel shows.
IN_CACHE = """
log_loss 100x3 float64, log_loss 5kx2 float64, log_loss 2kx10 float64, log_loss 2kx10 float32, log_loss 200x100 float64,
log_loss 2kx10 float64 str-labels, log_loss 2kx10 float64 sparse-labels, log_loss 2kx10 float64 F-order,
update 2kx10 float64, by_group 2kx10 float64, compare 2kx10 float64,
cross_entropy 100x3 float64, cross_entropy 5kx2 float32, cross_entropy 5kx3 float32, cross_entropy 2kx10 float32,
cross_entropy 2kx10 float64, cross_entropy 200x100 float32, cross_entropy 200x100 float64, cross_entropy 200x100 bfloat16,
cross_entropy 20x1000 float32, cross_entropy 20x1000 float64, cross_entropy 20x1000 float32 soft,
cross_entropy 200x100 float32 F-order,
gradient 100x3 float64, gradient 5kx2 float32, gradient 2kx10 float32, gradient 2kx10 float64, gradient 200x100 float32,
gradient 20x1000 float32, gradient 20x1000 float64, gradient 20x1000 float32 soft, gradient 200x100 float32 F-order,
linear 2kx20x10 float32, linear_gradient 2kx20x10 float32, binary 20k float32, binary_gradient 20k float32,
logsumexp 20x1000 float32, softmax 20x1000 float32, log_softmax 20x1000 float64"""
# And what goes to memory, on all threads.
IN_MEMORY = """
log_loss 1Mx10 float64, cross_entropy 1Mx10 float32, cross_entropy 20kx1000 float32, gradient 1Mx10 float32,
gradient 20kx1000 float32, softmax 20kx1000 float32"""
CELLS = dict.fromkeys((" ".join(cell.split()) for cell in IN_CACHE.split(",")), True)
CELLS |= dict.fromkeys((" ".join(cell.split()) for cell in IN_MEMORY.split(",")), False)


# ---- What a version does: a process that answers on its standard output.


def serve():
    """For each line with a cell, the best time of some calls."""
    import xentc

    n_threads = xentc.get_num_threads()
    for line in sys.stdin:
        cell = line.strip()
        xentc.set_num_threads(1 if CELLS[cell] else n_threads)
        with contextlib.suppress(AttributeError, NotImplementedError):  # a version before this function was there
            print(best_of(prepared(cell), 0.02 if CELLS[cell] else 0.1), flush=True)
            continue
        print("nan", flush=True)


@functools.lru_cache(maxsize=1)
def prepared(cell):
    call = call_of(cell, "xentc")
    call()
    return call


def count(cells):
    """Between two of these system calls, valgrind counts the third call of a cell."""
    import xentc

    xentc.set_num_threads(1)
    for cell in cells:
        call = None
        with contextlib.suppress(AttributeError, NotImplementedError):
            call = prepared(cell)
            call()
        os.getppid()
        if call:
            call()
        os.getppid()


# ---- Two versions side by side.


def installed(version, room):
    """A folder with that version."""
    if version and Path(version, "xentc").is_dir() and not Path(version, "pyproject.toml").exists():
        return Path(version).resolve()
    source, target = ROOT, Path(tempfile.mkdtemp(dir=room))
    if version:
        source = Path(tempfile.mkdtemp(dir=room))
        archive = source / "archive.tar"
        if subprocess.run(["git", "-C", ROOT, "archive", "-o", archive, version]).returncode:
            sys.exit(f"{version} is neither a commit nor a folder where xentc is installed")
        with tarfile.open(archive) as file:
            file.extractall(source, filter="data")
    print(f"building {version or 'the working tree'}", file=sys.stderr)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target, source]
    subprocess.run(command, check=True)
    return target


def started(folder, *words, before=(), **how):
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": "0"}
    code = (
        "import pathlib, sys, xentc; folder = pathlib.Path(xentc.__file__).parent.parent\n"
        f"if folder != pathlib.Path({str(folder)!r}): sys.exit(f'another xentc comes first: {{folder}}')\n"
        f"sys.path.insert(0, {str(ROOT / 'tools')!r}); import slower; slower.{words[0]}(*{words[1:]!r})"
    )
    command = [*before, sys.executable, "-P", "-W", "ignore", "-c", code]
    return subprocess.Popen(command, env=environment, text=True, **how)


def instructions(folders, cells, room):
    """Of a call of each cell, in each version."""
    cells = [cell for cell in cells if CELLS[cell]]
    if not shutil.which("valgrind") or not cells:
        return {}
    files = [Path(room, name) for name in ("base", "head")]
    processes = [
        started(folder, "count", cells, stderr=subprocess.PIPE, before=[
            "valgrind", "--tool=callgrind", "--dump-before=getppid", "--combine-dumps=yes", f"--callgrind-out-file={file}"])
        for folder, file in zip(folders, files, strict=True)
    ]
    for process in processes:
        _, messages = process.communicate()
        if process.returncode:
            sys.exit(messages)
    counts = [[int(number) for number in re.findall(r"^summary: (\d+)", file.read_text(), re.M)][1::2] for file in files]
    return {cell: both for cell, *both in zip(cells, *counts, strict=True) if min(both) > 1000}


class Pair:
    """A process of each version."""

    def __init__(self, folders):
        self.processes = [started(folder, "serve", stdin=subprocess.PIPE, stdout=subprocess.PIPE) for folder in folders]

    def times(self, cell, rounds):
        """In ms, of each round. The version that is first changes from round to round."""
        result = []
        for turn in range(rounds + 1):
            both = {side: self.ask(side, cell) for side in ((0, 1) if turn % 2 else (1, 0))}
            result.append((both[0], both[1]))
        return result[1:]  # the first round warms up

    def ask(self, side, cell):
        process = self.processes[side]
        print(cell, file=process.stdin, flush=True)
        answer = process.stdout.readline()
        if not answer:
            sys.exit(f"the process of a version ended at {cell}")
        return float(answer)

    def close(self):
        for process in self.processes:
            process.communicate()


class Cell:
    """What is known of a cell."""

    def __init__(self, counts):
        self.times, self.medians, self.counts = [], [], counts

    def add(self, times):
        self.times += times
        self.medians.append(statistics.median(head / base for base, head in times))

    def more_instructions(self):
        return self.counts[1] / self.counts[0] if self.counts else 1

    def is_open(self):
        """Whether another pair can change what is said."""
        return min(self.medians) > LIMIT or max(self.medians) < 1 / LIMIT or self.more_instructions() > LIMIT

    def verdict(self):
        middle = statistics.median(self.medians)
        if min(self.medians) > LIMIT or (self.more_instructions() > LIMIT and middle > (1 + LIMIT) / 2):
            return "slower"
        return "faster" if max(self.medians) < 1 / LIMIT else ""

    def line(self, name):
        base, head = (f"{statistics.median(times) * 1e3:.4g}" for times in zip(*self.times, strict=True))
        more = f"{self.more_instructions():.3f}" if self.counts else ""
        return f"| {name} | {base} | {head} | {statistics.median(self.medians):.3f} | {more} | {self.verdict()} |"


def compared(folders, cells, counts, pairs, rounds):
    known = {cell: Cell(counts.get(cell)) for cell in cells}
    left = list(known)
    for number in range(pairs):
        print(f"pair {number + 1} of {pairs}: {len(left)} cells", file=sys.stderr)
        with contextlib.closing(Pair(folders)) as pair:
            for cell in left:
                known[cell].add(pair.times(cell, rounds))
        left = [cell for cell in left if known[cell].is_open()]
        if not left:
            break
    return known


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", nargs="?", default="main")
    parser.add_argument("head", nargs="?", help="the working tree, where none is given")
    parser.add_argument("--cells", default="", help="a regular expression: only cells whose name has it")
    parser.add_argument("--pairs", type=int, default=5, help="of processes, before a cell is called slower")
    parser.add_argument("--rounds", type=int, default=9, help="of a pair")
    parser.add_argument("--all", action="store_true", help="print cells that did not change, too")
    arguments = parser.parse_args()
    cells = [cell for cell in CELLS if re.search(arguments.cells, cell)]
    if not cells:
        parser.error(f"no cell has {arguments.cells!r} in its name; there are {', '.join(CELLS)}")
    with tempfile.TemporaryDirectory() as room:
        folders = [installed(version, room) for version in (arguments.base, arguments.head)]
        print("counting instructions", file=sys.stderr)
        counts = instructions(folders, cells, room)
        known = compared(folders, cells, counts, arguments.pairs, arguments.rounds)
    failed = [cell for cell, it in known.items() if math.isnan(it.medians[0])]
    known = {cell: it for cell, it in known.items() if cell not in failed}
    changed = {cell: it for cell, it in known.items() if arguments.all or it.verdict()}
    verdicts = [it.verdict() for it in known.values()]
    print(f"{arguments.head or 'The working tree'} beside {arguments.base}: {verdicts.count('slower')} of {len(known)} cells"
          f" slower, {verdicts.count('faster')} faster.")
    if changed:
        print("\n| cell | before, µs | after, µs | time | instructions | |\n|---|---|---|---|---|---|")
        print("\n".join(it.line(cell) for cell, it in changed.items()))
    if failed:
        print(f"\nOne of the two cannot do these: {', '.join(failed)}.")
    if not counts:
        print("\nInstructions were not counted: valgrind is not installed.")
    sys.exit("slower" in verdicts)


if __name__ == "__main__":
    main()
