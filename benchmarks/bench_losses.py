"""asv: the cells of compare.py from commit to commit, and what else a commit can make worse."""

import os
import subprocess
import sys

from .compare import CELLS, TASKS, call_of, inputs


class _Calls:
    """A subclass for each group of tasks, as asv shows one page for each. What is not installed is shown as n/a."""

    param_names = ("cell", "implementation")
    timeout = 300
    rounds = 1  # a contributor who wants more says -a rounds=4
    repeat = (3, 1000, 0.3)

    def setup(self, cell, implementation):
        if getattr(self, "call", None) is None:  # asv sets up again before each call that it times
            self.call = call_of(cell, implementation)

    def time_call(self, cell, implementation):
        self.call()


def cells_of(*tasks):
    return [cell for cell in CELLS if cell.split()[0] in tasks], TASKS[tasks[0]][0].split()


class LogLoss(_Calls):
    params = cells_of("log_loss")


class CrossEntropy(_Calls):
    params = cells_of("cross_entropy")


class Gradient(_Calls):
    params = cells_of("gradient")


class Binary(_Calls):
    params = cells_of("binary", "binary_gradient")


class Softmax(_Calls):
    params = cells_of("softmax", "log_softmax", "logsumexp")


class PeakMemory:
    """The most memory that a call holds beyond its inputs and the outputs given to it."""

    params = (CELLS, ["xentc", "sklearn"])
    param_names = _Calls.param_names
    timeout = _Calls.timeout
    unit = "bytes"
    setup = _Calls.setup

    def track_peak(self, cell, implementation):
        self.call()  # threads and their stacks are there for good
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

    params = ([f"cross_entropy {rows}x16 float32" for rows in ("256", "2048", "16k", "128k")], [1, 2])
    param_names = ("cell", "threads")

    def setup(self, cell, threads):
        import xentc

        self.cross_entropy, (self.x, self.y, _) = xentc.cross_entropy, inputs(cell)

    def time_call(self, cell, threads):
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
