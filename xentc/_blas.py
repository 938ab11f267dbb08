"""Python layer: SciPy's matrix multiply for the loops, which call it from threads of their own."""

from __future__ import annotations

import functools
import threading
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

_SIGNATURE = "void (char *, char *, int *, int *, int *, "


def multiply(dtype: np.dtype) -> Any:
    """sgemm or dgemm, as a capsule with its address."""
    try:
        from scipy.linalg import cython_blas
    except ImportError:
        raise ImportError('linear_cross_entropy needs SciPy and threadpoolctl: pip install "xentc[linear]"') from None
    capsule = cython_blas.__pyx_capi__["sgemm" if dtype.itemsize == 4 else "dgemm"]
    if f'"{_SIGNATURE}' not in repr(capsule):
        raise ImportError(f"this SciPy's matrix multiply is of another kind than expected: {capsule!r}")
    return capsule


@functools.cache
def _libraries() -> tuple[list[Any], list[Any]]:
    """What can be told how many threads a BLAS may use: of a thread, and of the process. SciPy's was loaded before."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        raise ImportError('linear_cross_entropy needs threadpoolctl: pip install "xentc[linear]"') from None
    libraries = ThreadpoolController().select(user_api="blas").lib_controllers
    of_thread = [x for x in libraries if x.internal_api == "openblas" and x.threading_layer == "openmp"]
    return of_thread, [library for library in libraries if library not in of_thread]


def _set_threads(library: Any, n_threads: int) -> None:
    # Of an OpenBLAS with threads of its own, threadpoolctl lets one thread of a program change the number, and says nothing
    # to the others.
    release = getattr(library, "clear_controlling_thread", lambda force: None)
    release(force=True)
    library.set_num_threads(n_threads)
    release(force=True)


class _Limit:
    """Libraries that use one thread while it is in force."""

    def __init__(self, libraries: list[Any]) -> None:
        numbers = [(library, library.get_num_threads()) for library in libraries]
        self._before = [(library, n) for library, n in numbers if n != 1]
        for library, _ in self._before:
            _set_threads(library, 1)

    def undo(self) -> None:
        for library, n in self._before:
            _set_threads(library, n)


class _OneThread(AbstractContextManager[None]):
    """While any thread is in it, BLAS multiplies on the thread that asks; after the last one, its threads are as before.

    Libraries on top of OpenMP have a number of threads for each thread that asks, all others one for the process.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._of_process = _Limit([])
        self._of_thread = threading.local()

    def __enter__(self) -> None:
        of_thread, of_process = _libraries()
        limits = self._of_thread.__dict__.setdefault("limits", [])
        with self._lock:
            if self._inside == 0:
                self._of_process = _Limit(of_process)
            self._inside += 1
            limits.append(_Limit(of_thread))

    def __exit__(self, *error: object) -> None:
        self._of_thread.limits.pop().undo()
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._of_process.undo()


one_thread = _OneThread()
