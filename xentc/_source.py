"""Python layer: what files of rows are to their reader, whatever their format: sources of columns, piece by piece."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from xentc._arrays import shown

_Item = TypeVar("_Item")


@dataclass
class Piece:
    """Columns of some rows of a file, from this row on: each an ndarray or, of tables, an Arrow array."""

    file: str
    row: int
    columns: list[Any]

    def __len__(self) -> int:
        return len(self.columns[0])

    def rows(self, start: int, stop: int) -> Piece:
        return Piece(self.file, self.row + start, [column[start:stop] for column in self.columns])


class Source(Protocol):
    """A file, or several that follow each other."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def names(self) -> list[str]:
        """Those of its columns."""

    @property
    def n_rows(self) -> int | None:
        """None where it does not say before it is read."""

    @property
    def decodes(self) -> bool:
        """Whether reading keeps threads busy."""

    def use(self, names: list[str], kind: Literal["string", "float64"] | None) -> None:
        """Columns that will be read, and what text in them is to be read as; None: what it looks like."""

    def is_text(self, name: str) -> bool:
        """Whether the column, which is in use, holds strings."""

    def is_nested(self, name: str) -> bool:
        """Whether it is a matrix by itself."""

    def row_bytes(self, columns: list[str]) -> float:
        """About as many has a row in memory."""

    def read(self, columns: list[str], n_rows: int) -> Generator[Piece, None, None]:
        """All rows, at most so many at a time."""


class Column:
    """One or more columns of a source that are one thing."""

    def __init__(self, source: Source, names: list[str]) -> None:
        self.source, self.names = source, names

    @property
    def text(self) -> str:
        return f"{' and '.join(map(repr, self.names)) if len(self.names) < 3 else shown(self.names)} of {self.source.name}"

    @property
    def is_nested(self) -> bool:
        return len(self.names) == 1 and self.source.is_nested(self.names[0])


def ahead(pieces: Generator[_Item, None, None]) -> Generator[_Item, None, None]:
    """The same, where the next one is made in a thread."""
    with ThreadPoolExecutor(1) as pool, closing(pieces):
        coming = pool.submit(next, pieces, None)
        try:
            while (piece := coming.result()) is not None:
                coming = pool.submit(next, pieces, None)
                yield piece
        finally:
            with suppress(Exception):
                coming.result()


def aligned(roles: list[Column], batch_size: int) -> Generator[list[tuple[Piece, list[Any]]], None, None]:
    """For each of the roles its columns of the same rows."""
    names: dict[Source, list[str]] = {}
    for role in roles:
        known = names.setdefault(role.source, [])
        known += [name for name in role.names if name not in known]
    n_rows = max(1, int(batch_size / max(sum(source.row_bytes(columns) for source, columns in names.items()), 1)))
    streams = {source: source.read(columns, n_rows) for source, columns in names.items()}
    left: dict[Source, Piece | None] = {}
    while True:
        for source, stream in streams.items():
            piece = left.get(source)
            while piece is None or len(piece) == 0:
                piece = next(stream, None)
                if piece is None:
                    break
            left[source] = piece
        pieces = {source: piece for source, piece in left.items() if piece is not None}
        if not pieces:
            return
        if len(pieces) < len(left):
            short, long = (next(s.name for s, p in left.items() if (p is None) == ended) for ended in (True, False))
            raise ValueError(f"{short} has fewer rows than {long}; expected as many")
        n = min(n_rows, *map(len, pieces.values()))
        now = {source: piece.rows(0, n) for source, piece in pieces.items()}
        yield [(now[role.source], [now[role.source].columns[names[role.source].index(name)] for name in role.names])
               for role in roles]
        left = {source: piece.rows(n, len(piece)) for source, piece in pieces.items()}
