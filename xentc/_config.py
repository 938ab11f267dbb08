"""Python layer: how many threads a call uses, and what this build is."""

from __future__ import annotations

import functools
import math
import operator
import os
import sys
import threading
from contextlib import AbstractContextManager
from typing import Any, Literal, overload

from xentc import _core
from xentc._arrays import shown

# Below so many elements, some 50 microseconds of work, waking a second thread costs more than it brings: Threads in
# benchmarks/bench_losses.py.
_SERIAL_BELOW = 1 << 16

# A call that asks for more threads gets so many for each usable CPU.
_MOST_A_CPU = 8

_limit: int | None = None


class _OfThread(threading.local):
    """What holds for the calls that come from one Python thread."""

    alone = False  # others work beside it: its calls start no thread, unless they say `n_threads`


of_thread = _OfThread()


def set_num_threads(n: int | None) -> AbstractContextManager[None]:
    """Limit the threads of every later call, or of those in a ``with`` block.

    Parameters
    ----------
    n : int or None
        At most so many threads, unless a call says ``n_threads``. None takes the limit away.

    Returns
    -------
    context manager
        The limit holds from now on. At the end of a ``with`` block the one from before this call is put back.

    Raises
    ------
    ValueError
        If ``n`` is below 1.

    See Also
    --------
    get_num_threads : how many there are now.
    show_config : where that number comes from.

    Notes
    -----
    The limit is the process's: a ``with`` block in one Python thread limits the calls of all.

    A call starts no more threads than the CPUs that the process may use, or, where it says ``n_threads``, eight for each. A
    process that is at its limit of threads (``ulimit -u``, ``pids.max`` of a cgroup) should use 1, which starts none:
    OpenMP's runtime ends a process for which it cannot start a thread.

    Examples
    --------
    >>> import xentc
    >>> with xentc.set_num_threads(1):
    ...     xentc.get_num_threads()
    1
    >>> xentc.set_num_threads(None)
    set_num_threads(None)
    """
    limit = _Limit(None if n is None else _checked(n, "n"), _limit)
    limit.__enter__()
    return limit


class _Limit(AbstractContextManager[None]):
    def __init__(self, now: int | None, before: int | None) -> None:
        self._now, self._before = now, before

    def __enter__(self) -> None:
        global _limit
        _limit = self._now

    def __exit__(self, *error: object) -> None:
        global _limit
        _limit = self._before

    def __repr__(self) -> str:
        return f"set_num_threads({self._now})"


def get_num_threads() -> int:
    """The number of threads that a large call uses now.

    It is the least of the limit of ``set_num_threads``, OpenMP's own (``OMP_NUM_THREADS``, threadpoolctl), the CPUs that
    the process may run on, and its cgroup quota; and 1 in a forked child.

    See Also
    --------
    set_num_threads : limits them.

    Examples
    --------
    >>> import xentc
    >>> xentc.get_num_threads() >= 1
    True
    """
    return _threads_and_reason()[0]


def threads_for(n_elements: int, n_threads: int | None) -> int:
    """The number of threads for a call over so many elements: an explicit one up to a limit, beyond which starting them
    could only fail, which ends the process."""
    if n_threads is not None:
        return min(_checked(n_threads, "n_threads"), _MOST_A_CPU * _affinity())
    return 1 if n_elements < _SERIAL_BELOW or of_thread.alone else get_num_threads()


@overload
def show_config(mode: Literal["stdout"] = "stdout") -> None: ...
@overload
def show_config(mode: Literal["dicts"]) -> dict[str, Any]: ...
def show_config(mode: str = "stdout") -> dict[str, Any] | None:
    """Show what this build of xentc is and how it runs here.

    Parameters
    ----------
    mode : {"stdout", "dicts"}
        Print it, or return it as a dictionary.

    Returns
    -------
    dict or None
        Versions, compiler, OpenMP, the instruction sets built, usable and chosen (``XENTC_ISA`` forces one), and the number
        of threads with its reason.

    See Also
    --------
    get_num_threads : the number of threads alone.

    Examples
    --------
    >>> import xentc
    >>> config = xentc.show_config(mode="dicts")
    >>> config["instruction_sets"]["chosen"] in config["instruction_sets"]["usable"]
    True
    """
    if not isinstance(mode, str) or mode not in ("stdout", "dicts"):
        raise ValueError(f'mode must be "stdout" or "dicts", got {shown(mode)}')
    import numpy

    build = _core.build_info()
    threads, reason = _threads_and_reason()
    config = {
        "versions": {"xentc": build["version"], "numpy": numpy.__version__, "python": sys.version.split()[0]},
        "compiler": build["compiler"],
        "openmp": build["openmp"] or None,
        "instruction_sets": build["instruction_sets"],
        "threads": {"number": threads, "from": reason},
    }
    if mode == "dicts":
        return config
    sets = build["instruction_sets"]
    print("versions:        ", ", ".join(f"{name} {version}" for name, version in config["versions"].items()))
    print("compiler:        ", build["compiler"])
    print("OpenMP:          ", build["openmp"] or "not built in")
    print("instruction sets:", f"{sets['chosen']} (usable: {', '.join(sets['usable'])}; built: {', '.join(sets['built'])})")
    print("threads:         ", f"{threads} ({reason})")
    return None


def _threads_and_reason() -> tuple[int, str]:
    sources = [(_core.openmp_limit(), "OpenMP's limit"), (_affinity(), "CPUs of the process")]
    quota = _cgroup_quota()
    if quota is not None:
        sources.append((quota, "cgroup CPU quota"))
    if _limit is not None:
        sources.insert(0, (_limit, "set_num_threads"))
    return min(sources, key=operator.itemgetter(0))


def _checked(n: int, name: str) -> int:
    try:
        value = operator.index(n)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {shown(n)}") from None
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {shown(value)}")
    return value


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def _cgroup_quota() -> int | None:
    """The CPUs that the cgroup's quota amounts to, at least 1; None without one."""
    for path, period_path in (
        ("/sys/fs/cgroup/cpu.max", None),
        ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
    ):
        try:
            with open(path) as file:
                words = file.read().split()
            if period_path:
                with open(period_path) as file:
                    words += file.read().split()
            quota, period = int(words[0]), int(words[1])
        except (OSError, ValueError, IndexError):
            continue
        if quota > 0:
            return max(1, math.ceil(quota / period))
    return None
