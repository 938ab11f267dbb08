"""Files of gigabytes: seconds and peak memory of `xentc score` beside a reader that does nothing else, and scikit-learn.

    python benchmarks/large_files.py FOLDER                          20 GB of space, and minutes
    python benchmarks/large_files.py FOLDER --rows 1_000_000

The folder keeps predictions.parquet, truth.npy and proba.npy for the next time. Each figure is the best of three processes;
where the files fit into memory beside them, they come from the system's cache. scikit-learn needs all of a file in memory.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np

N_CLASSES, STEP = 10, 1 << 20

PARQUET = {
    "xentc score": ["-m", "xentc", "score", "predictions.parquet", "--target", "y", "--proba", "p_*"],
    "pyarrow, read only": ["-c", """
from pyarrow import parquet
with parquet.ParquetFile("predictions.parquet", buffer_size=1 << 20, pre_buffer=False) as file:
    for batch in file.iter_batches(1 << 17):
        pass
"""],
    "pandas and scikit-learn": ["-c", """
import pandas, sklearn.metrics
table = pandas.read_parquet("predictions.parquet")
print(sklearn.metrics.log_loss(table.pop("y"), table))
"""],
}
NPY = {
    "xentc score": ["-m", "xentc", "score", "truth.npy", "proba.npy"],
    "Python, read only": ["-c", """
buffer = memoryview(bytearray(1 << 24))
for name in ("truth.npy", "proba.npy"):
    with open(name, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
"""],
    "NumPy and scikit-learn": ["-c", """
import numpy, sklearn.metrics
print(sklearn.metrics.log_loss(numpy.load("truth.npy"), numpy.load("proba.npy")))
"""],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=lambda text: int(text.replace("_", "")), default=100_000_000, help="%(default)s")
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True, parents=True)
    write(options.folder, options.rows)
    for names, calls in ((["predictions.parquet"], PARQUET), (["truth.npy", "proba.npy"], NPY)):
        size = sum((options.folder / name).stat().st_size for name in names)
        print(f"\n{' and '.join(names)}: {size / 1e9:.2f} GB")
        for who, arguments in calls.items():
            print(f"  {who:25}{measured(options.folder, arguments)}", flush=True)


def write(folder, n_rows):
    """Half of the rows into a table, all of them into arrays; not again where they are there."""
    import pyarrow as pa  # not where asv looks for its benchmarks
    from pyarrow import parquet

    proba, truth = folder / "proba.npy", folder / "truth.npy"
    if proba.exists() and np.load(proba, mmap_mode="r").shape == (n_rows, N_CLASSES):
        return
    rng = np.random.default_rng(0)
    probas = np.lib.format.open_memmap(proba, "w+", np.float64, (n_rows, N_CLASSES))
    truths = np.lib.format.open_memmap(truth, "w+", np.int64, (n_rows,))
    schema = pa.schema([("y", pa.int64()), *((f"p_{j}", pa.float64()) for j in range(N_CLASSES))])
    with parquet.ParquetWriter(folder / "predictions.parquet", schema) as table:
        for start in range(0, n_rows, STEP):
            stop = min(n_rows, start + STEP)
            p, y = rng.random((stop - start, N_CLASSES)), rng.integers(0, N_CLASSES, stop - start)
            p /= p.sum(axis=1, keepdims=True)
            probas[start:stop], truths[start:stop] = p, y
            if start < n_rows // 2:
                table.write_table(pa.table([y, *p.T.copy()], schema=schema))


# A process of its own, since a process begins with the peak of the one that has started it.
LAUNCHER = """
import resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run([sys.executable, *sys.argv[1:]], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
if done.returncode:
    sys.exit((done.stderr.strip() or f"status {done.returncode}").splitlines()[-1])
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def measured(folder, arguments):
    """Seconds and peak memory, or what went wrong."""
    runs = []
    for _ in range(3):
        command = [sys.executable, "-S", "-c", LAUNCHER, *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"fails: {done.stderr.strip()}"
        runs.append(list(map(float, done.stdout.split())))
    seconds, kilobytes = zip(*runs, strict=True)
    return f"{min(seconds):7.2f} s {max(kilobytes) / 1e3:9,.0f} MB"


if __name__ == "__main__":
    main()
