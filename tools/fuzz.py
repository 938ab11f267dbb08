"""Random calls of every public function, with inputs that are odd or hostile.

    python tools/fuzz.py 42                    one call, by its seed: what it was and what came of it
    python tools/fuzz.py 0 100000 --jobs 2     a range of seeds, in child processes; the last line has the figures

Each call returns or raises an exception that its docstring names, leaves its inputs alone, and gives no warning but
documented ones. Where the inputs mean something, the value is compared with the plain formulas of tests/plain.py. A crash
or a hang is told with its seed, and the next seed goes on. The exit code is 1 if anything was found.
"""

import argparse
import collections
import concurrent.futures
import json
import mmap
import os
import struct
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import scipy.sparse

sys.path.insert(0, str(Path(__file__).resolve().parent))
from fuzz_calls import OUTPUTS, hostile, usual
from fuzz_values import Mischief

BATCH = 2000  # calls of a child process
HANGS = 120  # seconds without a call that ends
ALLOWED = ValueError, TypeError, ZeroDivisionError, MemoryError


# ---- One call.


def bits(value):
    """What must not change of an argument."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.tobytes()
    if scipy.sparse.issparse(value):
        parts = [getattr(value, name, 0) for name in ("data", "indices", "indptr", "coords")]
        return [np.asarray(part).tobytes() for part in parts if np.asarray(part).dtype != object]
    return None


def meddle(rng, arguments):
    """Another thread that writes into an argument while the call reads it."""
    stop = threading.Event()
    arrays = [a for a in arguments if isinstance(a, np.ndarray) and a.flags.writeable and 0 < a.ndim < 9 and a.size]
    kinds = [a for a in arrays if a.dtype.kind in "iuf"]

    def write():
        while not stop.is_set():
            for a in kinds:
                a.flat[0] = 99 if a.dtype.kind in "iu" else np.nan
                a.flat[0] = 0

    thread = threading.Thread(target=write)
    thread.start()
    return stop, thread


def one(seed):
    """(what came of it, what is wrong with that or None, the call)."""
    rng = np.random.default_rng(seed)
    function, arguments, options, check = usual(rng) if rng.random() < 0.6 else hostile(rng)
    name = getattr(function, "__qualname__", "call")
    outputs = [options[key] for key in OUTPUTS if isinstance(options.get(key), np.ndarray)]

    def is_output(key, value):
        return key in OUTPUTS or (isinstance(value, np.ndarray) and any(np.may_share_memory(value, out) for out in outputs))

    inputs = [*enumerate(arguments), *options.items()]
    kept = [(key, value, bits(value)) for key, value in inputs if not is_output(key, value)]
    stop = None
    if rng.random() < 0.02:
        check, kept, (stop, thread) = None, [], meddle(rng, arguments)
    came, wrong = "returned", None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for category in (UserWarning, FutureWarning):
            warnings.simplefilter("ignore", category)
        try:
            result = function(*arguments, **options)
            if check is not None:
                wrong = check(result)
        except Mischief:
            came = "Mischief"
        except ALLOWED as error:
            came = type(error).__name__
            if check is not None:
                wrong = f"raised {error!r}"
        except BaseException as error:
            came = type(error).__name__
            wrong = f"raised {error!r}"
    if stop is not None:
        stop.set()
        thread.join()
    changed = [str(key) for key, value, before in kept if before is not None and bits(value) != before]
    if changed:
        wrong = f"changed its argument {', '.join(changed)}"
    return came, wrong, (name, arguments, options)


# ---- Many calls.


def child(first, stop, path):
    """The calls of a range of seeds; the seed at work is in a file that the parent reads if this process ends."""
    came, findings = collections.Counter(), []
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 8) as place:
        for seed in range(first, stop):
            struct.pack_into("q", place, 0, seed)
            outcome, wrong, (name, *_) = one(seed)
            came[outcome] += 1
            if wrong:
                findings.append((seed, name, wrong[:500]))
    print(json.dumps([came, findings]))


def run(first, stop):
    """The same in child processes, whatever becomes of them."""
    came, findings = collections.Counter(), []
    with tempfile.NamedTemporaryFile() as file:
        while first < stop:
            file.seek(0)
            file.write(struct.pack("q", first))
            file.flush()
            command = [sys.executable, "-P", __file__, "--child", file.name, str(first), str(stop)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            seen, since = first, time.monotonic()
            while True:
                try:
                    out, err = process.communicate(timeout=5)
                    break
                except subprocess.TimeoutExpired:
                    seed = seed_in(file.name)
                    if seed != seen:
                        seen, since = seed, time.monotonic()
                    elif time.monotonic() - since > HANGS:
                        process.kill()
            if process.returncode == 0:
                more, found = json.loads(out)
                came.update(more)
                findings += found
                break
            seed = seed_in(file.name)
            came["crashed"] += 1
            findings.append((seed, "?", f"the process ended with {process.returncode}: {err[-800:]}"))
            if seed > first:  # what was before it counts, and is done again
                more, found = run(first, seed)
                came.update(more)
                findings += found
            first = seed + 1
    return came, findings


def seed_in(path):
    return struct.unpack("q", Path(path).read_bytes())[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=int, help="a seed, or the first of a range")
    parser.add_argument("stop", type=int, nargs="?", help="the end of the range")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time (%(default)s)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.first, options.stop, options.child)
        return
    if options.stop is None:
        came, wrong, (name, arguments, keywords) = one(options.first)
        for place, value in [*enumerate(arguments), *keywords.items()]:
            try:
                print(f"{place}: {value!r}")
            except Exception as error:  # what is hostile need not be shown
                print(f"{place}: {type(value).__name__} whose repr raises {type(error).__name__}")
        print(f"{name}: {came}" + (f", and that is wrong: {wrong}" if wrong else ""))
        sys.exit(bool(wrong))
    start, came, findings = time.monotonic(), collections.Counter(), []
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        starts = range(options.first, options.stop, BATCH)
        for more, found in pool.map(lambda first: run(first, min(first + BATCH, options.stop)), starts):
            came.update(more)
            findings += found
            for seed, name, wrong in found:
                print(f"seed {seed}, {name}: {wrong}", flush=True)
    kinds = ", ".join(f"{count} {kind}" for kind, count in came.most_common())
    seconds = time.monotonic() - start
    print(f"{came.total()} calls: {kinds}; {len(findings)} wrong; {seconds:.0f} s, {came.total() / seconds:.0f} calls/s")
    sys.exit(bool(findings))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
