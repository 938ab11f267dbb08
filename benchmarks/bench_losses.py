"""asv: the cells of compare.py from commit to commit, and what else a commit can make worse."""

import ctypes
import os
import subprocess
import sys

from .compare import CELLS, TASKS, call_of, inputs


class _Calls:
    """A subclass for each task, as asv has a page for each. What is not installed is shown as n/a."""

    param_names = ("cell", "implementation")
    timeout = 300
    rounds = 1  # a contributor who wants more says -a rounds=4
    repeat = (1, 1000, 0.3)  # least, most, seconds

    def __init_subclass__(cls, task):
        cells = [cell.removeprefix(f"{task} ") for cell in CELLS if cell.startswith(f"{task} ")]
        cls.task, cls.params = task, (cells, TASKS[task][0].split())

    def setup(self, cell, implementation):
        if getattr(self, "call", None) is None:  # asv sets up again before each call that it times
            self.call = call_of(f"{self.task} {cell}", implementation)

    def time_call(self, cell, implementation):
        self.call()


class LogLoss(_Calls, task="log_loss"):
    pass


class Update(_Calls, task="update"):
    pass


class ByGroup(_Calls, task="by_group"):
    pass


class Compare(_Calls, task="compare"):
    pass


class CrossEntropy(_Calls, task="cross_entropy"):
    pass


class Gradient(_Calls, task="gradient"):
    pass


class Linear(_Calls, task="linear"):
    pass


class LinearGradient(_Calls, task="linear_gradient"):
    pass


class Binary(_Calls, task="binary"):
    pass


class BinaryGradient(_Calls, task="binary_gradient"):
    pass


class Logsumexp(_Calls, task="logsumexp"):
    pass


class Softmax(_Calls, task="softmax"):
    pass


class LogSoftmax(_Calls, task="log_softmax"):
    pass


class PeakMemory:
    """The most memory that a call holds beyond its inputs and the outputs given to it."""

    params = (CELLS, ["xentc", "sklearn"])
    param_names = _Calls.param_names
    timeout = _Calls.timeout
    unit = "bytes"

    def setup(self, cell, implementation):
        self.call = call_of(cell, implementation)

    def track_peak(self, cell, implementation):
        self.call()  # threads and their stacks are there for good
        ctypes.CDLL(None).malloc_trim(0)  # freed memory that the process keeps would hide the same amount
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        before = resident("VmRSS")
        self.call()
        return max(0, resident("VmHWM") - before)


def resident(field):
    """Of this process, in bytes, by Linux's own count."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(field))


class Threads:
    """Where a second thread begins to pay."""

    params = ([256, 2048, 16384, 131072], [1, 2])
    param_names = ("rows of 16", "threads")

    def setup(self, rows, threads):
        import xentc

        self.cross_entropy, (self.x, self.y, _) = xentc.cross_entropy, inputs(f"cross_entropy {rows}x16 float32")

    def time_call(self, rows, threads):
        self.cross_entropy(self.x, self.y, n_threads=threads)


class Package:
    def track_extension_size(self):
        from xentc import _core

        return os.path.getsize(_core.__file__)

    track_extension_size.unit = "bytes"

    def track_import_beyond_numpy(self):
        """The best of ten fresh interpreters."""
        code = "import time, numpy; start = time.perf_counter(); import xentc; print(time.perf_counter() - start)"
        command = [sys.executable, "-P", "-c", code]
        return min(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(10))

    track_import_beyond_numpy.unit = "seconds"
