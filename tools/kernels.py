"""How long kernels take a row, beside their exponentials alone, and beside those of another version.

    python tools/kernels.py                     of the working tree
    python tools/kernels.py v0.2.0              beside a commit, or a folder with a checkout
    python tools/kernels.py main --set avx512 --rows 'float32 10, float64 100'

tools/slower.py times whole calls, of two processes whose memory lies elsewhere: it sees 5 %. Here the kernels of both
versions are loaded into one process and take turns over the same block of rows, in the caches: the medians of the ratios of
a thousand turns agree within 1 % on a machine whose speed changes by half. Needs meson, ninja, cython and a C compiler.
"""

import argparse
import ctypes
import io
import json
import platform
import shlex
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORK = ["exponentials", "pair", "pair + gradient"]
SETS = {"x86_64": "avx2", "AMD64": "avx2", "aarch64": "neon", "arm64": "neon"}
ROWS = """float32 3, float32 10, float32 37, float32 100, float32 1000, float32 16000,
float64 3, float64 10, float64 100, float64 1000"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", nargs="?", help="a commit, or a folder")
    parser.add_argument("--set", default=SETS.get(platform.machine(), "portable"), help="the instruction set")
    parser.add_argument("--rows", default=ROWS, help="dtypes and numbers of classes")
    parser.add_argument("--turns", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        room = Path(folder)
        versions = [Kernels(ROOT, room / "new", options.set)]
        if options.old is not None:
            versions.append(Kernels(checkout(options.old, room / "tree"), room / "old", options.set))
        beside = f" | beside {options.old}" if options.old else ""
        print(f"{options.set}, one thread\n")
        print(f"| rows | kernel | ns a row | ns a 64 bytes | beside its exponentials{beside} |")
        print(f"|---|---|---|---|---{'|---' * len(versions[1:])}|")
        for rows in options.rows.split(","):
            dtype, n_classes = rows.split()
            measure(versions, dtype, int(n_classes), options.turns)


def measure(versions, dtype, n_classes, turns):
    """Prints a line a kernel."""
    for version in versions:
        n_rows = version.prepare(dtype == "float64", n_classes)
    times = [[[] for _ in WORK] for _ in versions]
    repeats = max(1, 30_000 // (n_rows * n_classes))              # some 30 microseconds, far more than a call from Python
    for _ in range(turns):
        for version, of_version in zip(versions, times, strict=True):
            for work, of_work in enumerate(of_version):
                of_work.append(version.seconds(work, dtype == "float64", n_classes, repeats))
    for work, name in enumerate(WORK):
        new = times[0][work]
        ns = statistics.median(new) * 1e9 / n_rows
        line = f"| {dtype} {n_classes} | {name} | {ns:.4g} | {ns * 64 / (n_classes * (8 if dtype == 'float64' else 4)):.3g}"
        line += f" | {ratio(new, times[0][0]):.2f}"
        for old in times[1:]:
            line += f" | {ratio(new, old[work]):.3f}"
        print(line + " |", flush=True)


def ratio(new, old):
    return statistics.median(a / b for a, b in zip(new, old, strict=True))


class Kernels:
    """Those of one instruction set of a checkout, as its own build compiles them."""

    def __init__(self, tree, room, name):
        room.mkdir()
        run([sys.executable, "-m", "mesonbuild.mesonmain", "setup", room, tree, f"-Dinstruction_sets={name}"])
        library = f"src/libkernels_{name}.a"
        run(["ninja", "-C", room, library])
        commands = json.loads((room / "compile_commands.json").read_text())
        flags = shlex.split(next(c["command"] for c in commands if c["file"].endswith("softmax/pair.c")))
        compiler, *flags = flags[: flags.index("-MD")]
        driver = [*flags, "-fdiagnostics-color=never", "-shared", Path(__file__).with_suffix(".c"), library, "-lm"]
        run([compiler, *driver, "-o", "driver.so"], cwd=room)
        self.driver = ctypes.CDLL(str(room / "driver.so"), mode=ctypes.RTLD_LOCAL)
        self.driver.seconds.restype = ctypes.c_double

    def prepare(self, is_f64, n_classes):
        n_rows = self.driver.prepare(int(is_f64), ctypes.c_ssize_t(n_classes))
        if n_rows == 0:
            raise MemoryError
        return n_rows

    def seconds(self, work, is_f64, n_classes, repeats):
        return self.driver.seconds(work, int(is_f64), ctypes.c_ssize_t(n_classes), repeats)


def checkout(version, tree):
    """A folder as it is, or the files of a commit."""
    if Path(version).is_dir():
        return Path(version).resolve()
    done = subprocess.run(["git", "-C", str(ROOT), "archive", version], capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"{version} is neither a folder nor a commit: {done.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as files:
        files.extractall(tree, filter="data")
    return tree


def run(command, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **options)
    if done.returncode:
        sys.exit(f"{shlex.join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


if __name__ == "__main__":
    main()
