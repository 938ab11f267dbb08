"""The cells of the benchmarks and who computes them; as a script, all of them side by side in one process.

    python benchmarks/compare.py                                        every cell, about ten minutes
    python benchmarks/compare.py --cells 'softmax|10 float32' --rounds 1
    python benchmarks/compare.py --json benchmarks/results/avx2.json    what draw.py draws

Implementations take turns in rounds, so that a drifting machine hurts all alike; a figure is the median over the rounds of
the best of a round. The floor is the time that as many threads need to read the inputs once and write the outputs once. Of
linear layers, whose shape is rows x features x classes, it is the time of NumPy's products of the matrices: one, or three
with the gradients. JAX takes every core it may run on: for one thread, run under `taskset -c 0`.
"""

import argparse
import contextlib
import datetime
import functools
import importlib.metadata
import json
import math
import os
import platform
import re
import shlex
import statistics
import sys
import time
import warnings
from pathlib import Path

import numpy as np

# What keeps xentc, PyTorch and JAX from newer instructions than a machine of a set has: the first is that set.
LIMITS = "XENTC_ISA", "ATEN_CPU_CAPABILITY", "XLA_FLAGS"

# Who does a task, and its cells: shape (the classes are axis 1), dtype, and what else is special about the inputs.
TASKS = {
    "log_loss": ("xentc sklearn floor", """
        100x3 float64, 10kx2 float64, 1Mx2 float64, 1Mx10 float64, 1Mx10 float32, 100kx100 float64,
        1Mx10 float64 str-labels, 1Mx10 float64 object-labels, 1Mx10 float64 int8-labels, 1Mx10 float64 negative-labels,
        1Mx10 float64 sparse-labels, 1Mx2 float64 float-labels, 1Mx10 float64 F-order, 1Mx10 float64 DataFrame"""),
    "update": ("xentc floor", "100x3 float64, 1Mx2 float64, 1Mx10 float64"),
    "by_group": ("xentc pandas floor", "1Mx10 float64"),
    "compare": ("xentc scipy floor", "1Mx10 float64"),
    "cross_entropy": ("xentc sklearn torch jax scipy floor", """
        100x3 float64, 1Mx2 float32, 1Mx10 float32, 1Mx10 float64, 500kx37 float32, 200kx100 float32, 200kx100 float16,
        200kx100 bfloat16, 20kx1000 float32, 20kx1000 float64, 20kx1000 float16, 20kx1000 bfloat16, 20kx1000 float32 F-order,
        20kx1000 float32 soft, 20kx1000 float64 soft, 4kx5003 float32, 4096x32000 float32, 512x128256 float32,
        17x300k float32, 64x1000x32x32 float32"""),
    "gradient": ("xentc sklearn torch jax floor", """
        100x3 float64, 1Mx2 float32, 1Mx10 float32, 1Mx10 float64, 500kx37 float32, 200kx100 float32, 20kx1000 float32,
        20kx1000 float64, 20kx1000 float32 F-order, 20kx1000 float32 soft, 4kx5003 float32, 2048x32000 float32,
        512x128256 float32, 17x300k float32, 64x1000x32x32 float32"""),
    "linear": ("xentc torch floor", """
        100x4x3 float64, 200kx50x10 float32, 100kx200x100 float32, 2048x512x32000 float32, 1024x768x128256 float32,
        8192x256x50257 float32"""),
    "linear_gradient": ("xentc torch floor", """
        100x4x3 float64, 200kx50x10 float32, 100kx200x100 float32, 2048x512x32000 float32, 1024x768x128256 float32,
        8192x256x50257 float32"""),
    "binary": ("xentc sklearn torch jax floor", "10M float32"),
    "binary_gradient": ("xentc sklearn torch jax floor", "10M float32"),
    "logsumexp": ("xentc torch jax scipy floor", "20kx1000 float32"),
    "softmax": ("xentc torch jax scipy floor", "20kx1000 float32"),
    "log_softmax": ("xentc torch jax scipy floor", "20kx1000 float64"),
}
LINEAR = ("linear", "linear_gradient")
OF_PROBABILITIES = ("log_loss", "update", "by_group", "compare")
CELLS = [f"{task} {' '.join(cell.split())}" for task, (_, cells) in TASKS.items() for cell in cells.split(",")]

SPECIAL = {
    "str-labels": lambda x, y: (x, names(y)),
    "object-labels": lambda x, y: (x, names(y).astype(object)),
    "int8-labels": lambda x, y: (x, y.astype("int8")),
    "negative-labels": lambda x, y: (x, y - 5),
    "sparse-labels": lambda x, y: (x, y * 1_000_003),
    "float-labels": lambda x, y: (x, y.astype("float64")),
    "soft": lambda x, y: (x, probabilities(x)),
    "F-order": lambda x, y: (np.asfortranarray(x), y),
    "DataFrame": lambda x, y: (__import__("pandas").DataFrame(x), y),
}


def names(y):
    return np.array([f"class_{i:03d}" for i in range(y.max() + 1)])[y]


def probabilities(x):
    p = np.exp(x)
    return np.divide(p, p.sum(axis=1, keepdims=True), out=p)


@functools.lru_cache(maxsize=1)
def inputs(cell):
    """Logits or probabilities x, targets y and the array for the output (None where a task has none) of a cell."""
    task, size, dtype, *special = cell.split()
    if task in LINEAR:
        return linear_inputs(size, dtype)
    n, *rest = shape = [int(part.replace("M", "000k").replace("k", "000")) for part in size.split("x")]
    k = rest[0] if rest else 2
    rng = np.random.default_rng(0)
    if "16" in dtype:
        import ml_dtypes  # noqa: F401 - teaches numpy.dtype the name bfloat16
    # Drawing is slow, so after four million values they repeat.
    x = np.resize(rng.standard_normal(min(np.prod(shape), 1 << 22), dtype="float32") * 3, shape).astype(np.dtype(dtype))
    y = rng.integers(0, k, [n, *rest[1:]])
    y.flat[: min(n, k)] = np.arange(min(n, k))
    if task in OF_PROBABILITIES:
        x = probabilities(x)
        x = np.ascontiguousarray(x[:, 1]) if k == 2 else x
    if task.startswith("binary"):
        y = y.astype(dtype)
    for word in special:
        x, y = SPECIAL[word](x, y)
    takes_target = "softmax" not in task and "sum" not in task
    writes = "gradient" in task or "softmax" in task
    return x, y if takes_target else None, np.zeros_like(x) if writes else None


def linear_inputs(size, dtype):
    """Hidden rows and weights, targets, and arrays for the gradients of both."""
    n, d, k = (int(part.replace("k", "000")) for part in size.split("x"))
    rng = np.random.default_rng(0)
    hidden = rng.standard_normal((n, d), "float32").astype(dtype)
    weight = (rng.standard_normal((k, d), "float32") / np.sqrt(d)).astype(dtype)
    return (hidden, weight), rng.integers(0, k, n), (np.zeros_like(hidden), np.zeros_like(weight))


# ---- Implementations: a task and its arrays to a call without arguments. They import what they need themselves, so that a
# process of asv loads no other library, and one that is not installed is not applicable.


def xentc_call(task, x, y, out):
    import xentc

    if task in ("update", "by_group"):
        metric, groups = xentc.LogLoss(np.unique(y)), np.arange(len(y)) % 1000
    return {
        "log_loss": lambda: xentc.log_loss(y, x),
        "update": lambda: metric.update(y, x),
        "by_group": lambda: metric.reset().update(y, x, groups=groups).by_group(),
        "compare": lambda: xentc.compare_log_loss(y, x, x[::-1]),
        "cross_entropy": lambda: xentc.cross_entropy(x, y, axis=1),
        "gradient": lambda: xentc.cross_entropy(x, y, axis=1, return_grad=True, out_grad=out),
        "linear": lambda: xentc.linear_cross_entropy(*x, y),
        "linear_gradient": lambda: xentc.linear_cross_entropy(*x, y, return_grad=True, out_grad=out),
        "binary": lambda: xentc.binary_cross_entropy_with_logits(x, y),
        "binary_gradient": lambda: xentc.binary_cross_entropy_with_logits(x, y, return_grad=True, out_grad=out),
        "logsumexp": lambda: xentc.special.logsumexp(x, axis=1),
        "softmax": lambda: xentc.special.softmax(x, axis=1, out=out),
        "log_softmax": lambda: xentc.special.log_softmax(x, axis=1, out=out),
    }[task]


def sklearn_call(task, x, y, out):
    """Its metric, and the losses that its own models are trained with."""
    if task == "log_loss":
        from sklearn.metrics import log_loss

        return lambda: log_loss(y, x)
    from sklearn._loss.loss import HalfBinomialLoss, HalfMultinomialLoss

    if x.itemsize < 4 or y.ndim > 1 or x.shape[1:] == (2,):
        raise NotImplementedError("float32 and float64, one integer target a row, at least 3 classes")
    loss = HalfMultinomialLoss(n_classes=x.shape[1]) if x.ndim > 1 else HalfBinomialLoss()
    y, losses, threads = y.astype(x.dtype), np.zeros(len(x), x.dtype), n_threads()
    if out is None:
        return lambda: loss.loss(y, x, loss_out=losses, n_threads=threads)
    return lambda: loss.loss_gradient(y, x, loss_out=losses, gradient_out=out, n_threads=threads)


def torch_call(task, x, y, out):
    import torch
    from torch.nn import functional

    def tensor(array):
        if array is None or array.dtype != "bfloat16":
            return array if array is None else torch.from_numpy(array)
        return torch.from_numpy(array.view("int16")).view(torch.bfloat16)

    torch.set_num_threads(n_threads())
    if task in LINEAR:
        return torch_linear_call(task, [tensor(array) for array in x], tensor(y), [tensor(array) for array in out])
    x, y, out = tensor(x), tensor(y), tensor(out)
    loss = functional.binary_cross_entropy_with_logits if task.startswith("binary") else functional.cross_entropy
    if task == "logsumexp":
        return lambda: torch.logsumexp(x, 1)
    if "softmax" in task:
        return lambda: getattr(torch, task)(x, 1, out=out)
    if out is None:
        return lambda: loss(x, y)
    x.requires_grad_(True).grad = out

    def gradient():
        out.zero_()
        loss(x, y).backward()

    return gradient


def torch_linear_call(task, x, y, out):
    import torch

    loss = torch.nn.functional.linear_cross_entropy
    if task == "linear":
        return lambda: loss(*x, y)
    for array, gradient in zip(x, out, strict=True):
        array.requires_grad_(True).grad = gradient

    def gradients():
        out[0].zero_()  # that of the weights is added up
        loss(*x, y).backward()

    return gradients


def jax_call(task, x, y, out):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA tells how long it compiles
    import jax
    import optax

    jax.config.update("jax_enable_x64", True)
    if not x.flags.c_contiguous:
        raise NotImplementedError("JAX chooses its layout itself")
    if y is None:
        arrays, function = [x], functools.partial(getattr(jax.nn, task), axis=1)
    else:
        losses = functools.partial(optax.softmax_cross_entropy, axis=1)
        if task.startswith("binary"):
            losses = optax.sigmoid_binary_cross_entropy
        elif y.dtype.kind == "i":
            losses = functools.partial(optax.softmax_cross_entropy_with_integer_labels, axis=1)
        arrays, function = [x, y], lambda x, y: losses(x, y).mean()
    function = jax.jit(function if out is None or y is None else jax.value_and_grad(function))
    arrays = [jax.numpy.asarray(array) for array in arrays]
    return lambda: jax.block_until_ready(function(*arrays))


def scipy_call(task, x, y, out):
    """With NumPy, what one writes by hand."""
    from scipy import special, stats

    if task == "compare":
        rows = np.arange(len(x))
        return lambda: stats.ttest_rel(-np.log(x[rows, y]), -np.log(x[::-1][rows, y]))
    if task != "cross_entropy":
        return lambda: getattr(special, task)(x, axis=1)
    if y.ndim > 1 or x.itemsize < 4 or x.size > 1 << 25:
        raise NotImplementedError("one integer target a row, in cells that do not take seconds")
    rows = np.arange(len(x))
    return lambda: (special.logsumexp(x, axis=1) - x[rows, y]).mean()


def pandas_call(task, x, y, out):
    import pandas as pd

    rows, groups = np.arange(len(x)), np.arange(len(y)) % 1000
    return lambda: pd.Series(-np.log(x[rows, y])).groupby(groups).agg(["count", "mean", "sem", "sum"])


@functools.cache
def floor_loops(parallel):
    import numba

    numba.set_num_threads(min(n_threads(), numba.config.NUMBA_NUM_THREADS))

    @numba.njit(parallel=parallel)
    def read(words):
        total = 0
        for i in numba.prange(words.size):
            total += words[i]
        return total

    @numba.njit(parallel=parallel)
    def copy(words, out):
        for i in numba.prange(words.size):
            out[i] = words[i]

    return read, copy


def floor_call(task, x, y, out):
    if task in LINEAR:
        return products_call(task, *x, *out)
    read, copy = floor_loops(x.size >= 1 << 16)  # where the losses, too, take a second thread

    def words(array):
        array = np.ravel(array, order="K")
        array = np.ones(array.size) if array.dtype == object else array  # in place of as many pointers
        return array.view("uint8")[: array.nbytes // 8 * 8].view("int64")

    others = [words(y)] if y is not None else []
    if out is None:
        others.append(words(x))
        return lambda: [read(array) for array in others]
    x, out = words(x), words(out)
    return lambda: (copy(x, out), [read(array) for array in others])


def products_call(task, hidden, weight, d_hidden, d_weight):
    logits = np.empty((len(hidden), len(weight)), hidden.dtype)
    if task == "linear":
        return lambda: np.matmul(hidden, weight.T, out=logits)

    def products():
        np.matmul(hidden, weight.T, out=logits)
        np.matmul(logits, weight, out=d_hidden)
        np.matmul(logits.T, hidden, out=d_weight)

    return products


IMPLEMENTATIONS = {"xentc": xentc_call, "sklearn": sklearn_call, "torch": torch_call, "jax": jax_call, "scipy": scipy_call,
                   "pandas": pandas_call, "floor": floor_call}


def n_threads():
    import xentc

    return xentc.get_num_threads()


def call_of(cell, implementation):
    """The call to measure. NotImplementedError where the implementation is not installed or has no such function."""
    task = cell.split()[0]
    if implementation not in TASKS[task][0].split():
        raise NotImplementedError(f"{implementation} has no {task}")
    try:
        return IMPLEMENTATIONS[implementation](task, *inputs(cell))
    except ImportError as error:
        raise NotImplementedError(str(error)) from error


# ---- Side by side.


def calls_of(cell):
    for implementation in IMPLEMENTATIONS:
        with contextlib.suppress(NotImplementedError):
            yield implementation, call_of(cell, implementation)


def best_of(call, seconds):
    """The best time, in ms, of the calls of so many seconds: three at least, unless they take seconds each."""
    best, count, start = math.inf, 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds or (count < 3 and spent < 2):
        before = time.perf_counter()
        call()
        best, count = min(best, time.perf_counter() - before), count + 1
    return best * 1e3


def measure(cell, rounds, seconds):
    calls = dict(calls_of(cell))
    times = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            time.sleep(0.02)  # threads of the library before spin for a while
            best = best_of(call, seconds if turn else 0)
            if turn:  # the first round warms up
                times[name].append(best)
    return {name: float(f"{statistics.median(t):.4g}") for name, t in times.items()}


def circumstances():
    """What a figure depends on."""
    import xentc

    cpu = re.search("model name.*: (.*)", Path("/proc/cpuinfo").read_text())
    limits = [f"{name}={os.environ[name]}" for name in LIMITS if name in os.environ]
    versions = {}
    for name in ("xentc", "numpy", "scipy", "scikit-learn", "torch", "jax", "optax", "numba"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "date": datetime.date.today().isoformat(),
        "command": shlex.join([*limits, "python", *sys.argv]),
        "machine": cpu[1] if cpu else platform.machine(),
        "instruction_set": xentc.show_config(mode="dicts")["instruction_sets"]["chosen"],
        "threads": n_threads(),
        "versions": {"python": platform.python_version(), **versions},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", default="", help="a regular expression: only cells whose name has it")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.15, help="of each implementation and round")
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # of rows that float32 cannot make sum to one
    results = circumstances() | {"milliseconds": {}}
    print(f"{results['threads']} threads, milliseconds, and how many times as long as the floor")
    for cell in CELLS:
        if re.search(arguments.cells, cell):
            times = results["milliseconds"][cell] = measure(cell, arguments.rounds, arguments.seconds)
            floor = times.get("floor", math.nan)
            print(f"{cell:38}", *(f"{name} {ms:.4g} ({ms / floor:.2f})" for name, ms in times.items()), sep="  ", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
