"""asv: time and memory of the losses beside scikit-learn and plain NumPy."""

import os
import subprocess
import sys

import numpy as np

import xentc

from .common import CROSS_ENTROPY, GRADIENT, LOG_LOSS, make_logits, make_proba

SHAPES = ["1000000x2", "1000000x10", "20000x1000"]


def rows_and_classes(shape):
    return map(int, shape.split("x"))


class LogLoss:
    params = (["1000000x2", "1000000x10", "100000x100"], ["int", "str", "object"], list(LOG_LOSS))
    param_names = ("shape", "labels", "implementation")
    timeout = 120

    def setup(self, shape, labels, implementation):
        if implementation == "numpy" and labels != "int":
            raise NotImplementedError("the hand-written formula takes codes only")
        self.inputs = make_proba(*rows_and_classes(shape), labels)

    def time_log_loss(self, shape, labels, implementation):
        LOG_LOSS[implementation](*self.inputs)


class CrossEntropy:
    params = (SHAPES, ["f4", "f8"], list(CROSS_ENTROPY))
    param_names = ("shape", "dtype", "implementation")
    timeout = 120

    def setup(self, shape, dtype, implementation):
        self.inputs = make_logits(*rows_and_classes(shape), dtype)
        if implementation == "sklearn" and shape.endswith("x2"):
            raise NotImplementedError("scikit-learn's multinomial loss starts at 3 classes")

    def time_loss(self, shape, dtype, implementation):
        CROSS_ENTROPY[implementation](*self.inputs)

    def time_gradient(self, shape, dtype, implementation):
        GRADIENT[implementation](*self.inputs)


class SoftTargets:
    params = (["f4", "f8"],)
    param_names = ("dtype",)

    def setup(self, dtype):
        x, _ = make_logits(20_000, 1000, dtype)
        self.inputs = x, np.abs(x)

    def time_loss(self, dtype):
        xentc.cross_entropy(*self.inputs)


class Binary:
    params = (["f4", "f8"],)
    param_names = ("dtype",)

    def setup(self, dtype):
        x, y = make_logits(10_000_000, 2, dtype)
        self.inputs = np.ascontiguousarray(x[:, 0]), y.astype(dtype)

    def time_loss(self, dtype):
        xentc.binary_cross_entropy_with_logits(*self.inputs)

    def time_gradient(self, dtype):
        xentc.binary_cross_entropy_with_logits(*self.inputs, return_grad=True)


class Threads:
    """Where a second thread begins to pay: elements against threads."""

    params = ([1 << 12, 1 << 15, 1 << 18, 1 << 21], [1, 2])
    param_names = ("elements", "threads")

    def setup(self, elements, threads):
        self.inputs = make_logits(elements // 16, 16, "f4")

    def time_loss(self, elements, threads):
        xentc.cross_entropy(*self.inputs, n_threads=threads)


class CallOverhead:
    """A hundred rows of three classes: nothing but the way in and out."""

    params = (["xentc", "sklearn"],)
    param_names = ("implementation",)

    def setup(self, implementation):
        self.logits = make_logits(100, 3, "f8")
        self.proba = make_proba(100, 3, "int")

    def time_log_loss(self, implementation):
        LOG_LOSS[implementation](*self.proba)

    def time_cross_entropy(self, implementation):
        CROSS_ENTROPY[implementation](*self.logits)


class PeakMemory:
    """The most memory that a call holds beyond its inputs, in bytes."""

    params = (["log_loss", "cross_entropy"], ["xentc", "sklearn", "numpy"])
    param_names = ("function", "implementation")
    unit = "bytes"

    def track_peak(self, function, implementation):
        table, inputs = {
            "log_loss": (LOG_LOSS, make_proba(1_000_000, 10, "int")),
            "cross_entropy": (CROSS_ENTROPY, make_logits(1_000_000, 10, "f8")),
        }[function]
        return peak_memory(lambda: table[implementation](*inputs))


def peak_memory(call):
    """The rise of the process's resident peak over a call, by Linux's own count."""
    call()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = resident("VmRSS")
    call()
    return max(0, resident("VmHWM") - before)


def resident(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(field))


class Import:
    unit = "ms"

    def track_import_beyond_numpy(self):
        """The best of ten fresh interpreters."""
        code = "import time, numpy; start = time.perf_counter(); import xentc; print((time.perf_counter() - start) * 1e3)"
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        return min(
            float(subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True,
                                 cwd="/").stdout)
            for _ in range(10)
        )
