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
def _libraries() -> list[Any]:
    """What can be told how many threads a BLAS may use; SciPy's was loaded before."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        raise ImportError('linear_cross_entropy needs threadpoolctl: pip install "xentc[linear]"') from None
    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


class _OneThread(AbstractContextManager[None]):
    """While any thread is in it, BLAS multiplies on the thread that asks; after the last one, its threads are as before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before: list[tuple[Any, int]] = []

    def __enter__(self) -> None:
        libraries = _libraries()
        with self._lock:
            if self._inside == 0:
                self._before = [(library, library.get_num_threads()) for library in libraries]
                for library, n_threads in self._before:
                    if n_threads != 1:
                        library.set_num_threads(1)
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                for library, n_threads in self._before:
                    if n_threads != 1:
                        library.set_num_threads(n_threads)


one_thread = _OneThread()
