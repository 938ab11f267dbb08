"""Python layer: .npy files, mapped into memory, and .npz archives, unpacked as they are read."""

from __future__ import annotations

import io
import math
import mmap
import os
import warnings
import zipfile
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np

from xentc._arrays import shown
from xentc._source import Piece

# A file starts with its header, which NumPy keeps below 10,000 bytes.
_HEADER = 16384


class Npy:
    """An array, mapped into memory."""

    decodes = False

    def __init__(self, path: str) -> None:
        self.name = path
        self.names = [os.path.basename(path).removesuffix(".npy")]
        with open(path, "rb") as file:
            self._shape, fortran, self._dtype, self._offset = _header(file.read(_HEADER), path)
            size = os.fstat(file.fileno()).st_size
        self._order: Any = "F" if fortran else "C"
        self.n_rows = self._shape[0]
        _check_size(path, self._shape, self._dtype, size - self._offset)

    def use(self, names: list[str], kind: Literal["string", "float64"] | None) -> None:
        pass

    def is_text(self, name: str) -> bool:
        return self._dtype.kind == "U"

    def is_nested(self, name: str) -> bool:
        return len(self._shape) > 1 and self._shape[1] > 1

    def row_bytes(self, columns: list[str]) -> int:
        return _row_bytes(self._shape, self._dtype)

    def read(self, columns: list[str], n_rows: int) -> Generator[Piece, None, None]:
        with open(self.name, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        array: np.ndarray = np.ndarray(self._shape, self._dtype, mapped, self._offset, order=self._order)
        for row in range(0, self.n_rows, n_rows):
            # Pages that have been read stay in the system's cache, but do not count as this process's.
            mapped.madvise(mmap.MADV_DONTNEED)
            yield Piece(self.name, row, [array[row : row + n_rows]])


class Npz:
    """Arrays in a zip archive, which are unpacked as they are read: never more than a batch, whatever the archive says."""

    decodes = True

    def __init__(self, path: str) -> None:
        self.name, self._arrays = path, dict[str, Any]()
        with self._telling(), zipfile.ZipFile(path) as archive:
            self.names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        if not self.names:
            raise ValueError(f"{path} holds no arrays")
        self.n_rows: int | None = None

    @contextmanager
    def _telling(self) -> Generator[None, None, None]:
        try:
            yield
        except (FileNotFoundError, PermissionError):
            raise
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, OverflowError, UnicodeDecodeError) as error:
            raise ValueError(f"{self.name} is damaged, or no .npz file: {error}") from None

    def _array(self, name: str) -> Any:
        """Shape, dtype and where the values start."""
        if name not in self._arrays:
            text = f"{name} in {self.name}"
            with self._telling(), zipfile.ZipFile(self.name) as archive, archive.open(f"{name}.npy") as file:
                shape, fortran, dtype, offset = _header(file.read(_HEADER), text)
                size = archive.getinfo(f"{name}.npy").file_size
            _check_size(text, shape, dtype, size - offset)
            if fortran and len(shape) == 2 and min(shape) > 1:
                raise ValueError(f"{text} is in Fortran order, whose rows an archive cannot give one by one; use C order")
            self._arrays[name] = shape, dtype, offset
        return self._arrays[name]

    def use(self, names: list[str], kind: Literal["string", "float64"] | None) -> None:
        lengths = {name: self._array(name)[0][0] for name in {*names, *self._arrays}}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"the arrays in {self.name} have different numbers of rows: {lengths}")
        (self.n_rows,) = set(lengths.values())

    def is_text(self, name: str) -> bool:
        return bool(self._array(name)[1].kind == "U")

    def is_nested(self, name: str) -> bool:
        shape = self._array(name)[0]
        return len(shape) > 1 and shape[1] > 1

    def row_bytes(self, columns: list[str]) -> int:
        return sum(_row_bytes(*self._array(name)[:2]) for name in columns)

    def read(self, columns: list[str], n_rows: int) -> Generator[Piece, None, None]:
        with self._telling(), zipfile.ZipFile(self.name) as archive:
            files = [archive.open(f"{name}.npy") for name in columns]
            for file, name in zip(files, columns, strict=True):
                file.read(self._array(name)[2])
            total = self._array(columns[0])[0][0]
            for row in range(0, total, n_rows):
                n, pieces = min(n_rows, total - row), []
                for file, name in zip(files, columns, strict=True):
                    shape, dtype, _ = self._array(name)
                    width = _row_bytes(shape, dtype)
                    data = file.read(n * width)
                    if len(data) < n * width:
                        raise ValueError(f"{name} in {self.name} is truncated: it ends in row {row + len(data) // width}")
                    pieces.append(np.frombuffer(data, dtype).reshape(n, *shape[1:]))
                if row + n == total and any(file.read(1) for file in files):   # which also looks at the checksums
                    raise ValueError(f"{self.name} holds more than its headers say")
                yield Piece(self.name, row, pieces)


def _header(start: bytes, name: str) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Of an .npy file its shape, whether it is in Fortran order, its dtype, and where the values start."""
    file = io.BytesIO(start)
    versions = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(file)
        if version not in versions:
            raise ValueError(f"version {version} of the format")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shape, fortran, dtype = versions[version](file)
    except Exception as error:
        raise ValueError(f"{name} cannot be read as .npy: {str(error).splitlines()[0]}") from None
    if dtype.kind not in "biufUSmM" or dtype.itemsize == 0:
        raise ValueError(f"{name} has the dtype {dtype}; expected numbers or strings")
    if len(shape) not in (1, 2) or min(shape) < 0 or 0 in shape[1:]:
        raise ValueError(f"{name} has the shape {shown(shape)}; expected rows, or rows and columns")
    return shape, fortran, dtype, file.tell()


def _row_bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
    return math.prod(shape[1:]) * dtype.itemsize


def _check_size(name: str, shape: tuple[int, ...], dtype: np.dtype, size: int) -> None:
    expected = shape[0] * _row_bytes(shape, dtype)
    if size != expected:
        what = "truncated, or has a wrong header" if size < expected else "longer than its header says"
        raise ValueError(f"{name} is {what}: shape {shown(shape)} of {dtype} is {expected:,} bytes, but {size:,} follow")
