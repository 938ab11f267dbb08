"""Python layer: tables in Parquet, CSV and Feather files, read by pyarrow."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Literal

from xentc._source import Piece


class Tables:
    """Parquet, CSV or Feather files, read by pyarrow."""

    decodes = True

    def __init__(self, paths: list[str], kind: str) -> None:
        try:
            import pyarrow.dataset
        except ImportError as error:
            raise ImportError('xentc.files needs pyarrow for tables: pip install "xentc[files]"') from error
        self.name = paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
        self._paths, self._kind, self._types, self._api = paths, kind, dict[str, Any](), pyarrow.dataset
        self.names: list[str] = []
        self._open()
        self.n_rows: int | None = None
        if kind == "parquet":                                  # CSV files do not say; of damaged Feather files it crashes
            self.n_rows = sum(map(self._count, self._fragments()))

    def _open(self) -> None:
        source = self._paths[0] if len(self._paths) == 1 else self._paths
        with _naming(self.name, self._kind):
            self._dataset = self._api.dataset(source, format=self._csv() or self._kind, partitioning="hive")
            self.names = self._dataset.schema.names

    def _csv(self) -> Any:
        if self._kind != "csv":
            return None
        from pyarrow import csv

        # An empty cell is missing, also of labels, and where it is all of its line; NaN and NA are what they are elsewhere.
        return self._api.CsvFileFormat(
            csv.ParseOptions(ignore_empty_lines=len(self.names) != 1),
            convert_options=csv.ConvertOptions(
                column_types=self._types, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
            ),
        )

    def _fragments(self) -> list[Any]:
        found = list(self._dataset.get_fragments())
        return sorted(found, key=lambda fragment: fragment.path) if len(self._paths) == 1 else found

    def _count(self, fragment: Any) -> int:
        with _naming(fragment.path, self._kind):
            return int(fragment.count_rows())

    def use(self, names: list[str], kind: Literal["string", "float64"] | None) -> None:
        import pyarrow

        for name in names:
            if self._kind != "csv":
                self._types[name] = self._common_type(name)
            elif kind or pyarrow.types.is_temporal(self._type(name)):  # a label that looks like a date
                self._types[name] = getattr(pyarrow, kind or "string")()
        if self._kind == "csv":
            self._open()

    def _type(self, name: str) -> Any:
        return self._types.get(name) or self._dataset.schema.field(name).type

    def _common_type(self, name: str) -> Any:
        """One that has room for the values of all files."""
        import pyarrow

        found = dict[Any, str]()
        for fragment in self._fragments():
            with _naming(fragment.path, self._kind):
                schema = fragment.physical_schema
            if name in schema.names:
                found.setdefault(schema.field(name).type, fragment.path)
        if len(found) < 2:
            return next(iter(found), self._type(name))         # that of the folders' names
        fields = [
            pyarrow.schema([(name, kind.value_type if pyarrow.types.is_dictionary(kind) else kind)]) for kind in found
        ]
        try:
            return pyarrow.unify_schemas(fields, promote_options="permissive").field(name).type
        except pyarrow.ArrowTypeError:
            text = ", ".join(f"{kind} in {path}" for kind, path in found.items())
            raise ValueError(f"{name} has types that do not go together: {text}") from None

    def is_text(self, name: str) -> bool:
        return is_text(self._type(name))

    def is_nested(self, name: str) -> bool:
        return bool(self._type(name).num_fields)

    def _batches(self, fragment: Any, columns: list[str], n_rows: int) -> Generator[list[Any], None, None]:
        if self._kind == "csv":
            scanner = fragment.scanner(schema=self._dataset.schema, columns=columns, batch_size=n_rows, batch_readahead=2)
            for batch in scanner.to_batches():
                yield batch.columns
            return
        import pyarrow

        # The scanner holds several times as much memory, and crashes on damaged Feather files.
        of_folder = self._api.get_partition_keys(fragment.partition_expression)
        opened = fragment.filesystem.open_input_file(fragment.path)
        read = _parquet if self._kind == "parquet" else _feather
        for batch in read(opened, [name for name in columns if name not in of_folder], n_rows):
            yield [
                pyarrow.repeat(pyarrow.scalar(of_folder[name], self._type(name)), batch.num_rows)
                if name in of_folder else _cast(batch.column(name), self._type(name)) for name in columns
            ]

    def _next(self, fragment: Any, batches: Any) -> Any:
        with _naming(fragment.path, self._kind):
            return next(batches, None)

    def row_bytes(self, columns: list[str]) -> float:
        """Of the first rows."""
        for fragment in self._fragments()[:1]:
            first = self._next(fragment, self._batches(fragment, columns, 1000))
            if first is not None and len(first[0]):
                return float(sum(column.nbytes for column in first) / len(first[0]))
        return 8.0 * len(columns)

    def read(self, columns: list[str], n_rows: int) -> Generator[Piece, None, None]:
        for fragment in self._fragments():
            row, pieces = 0, self._batches(fragment, columns, n_rows)
            while (arrays := self._next(fragment, pieces)) is not None:
                yield Piece(fragment.path, row, arrays)
                row += len(arrays[0])


def is_text(kind: Any) -> bool:
    """Whether a type, also in a dictionary, is one of strings."""
    import pyarrow

    kind = kind.value_type if pyarrow.types.is_dictionary(kind) else kind
    return str(kind) in ("string", "large_string", "string_view")


def _cast(column: Any, kind: Any) -> Any:
    import pyarrow

    if pyarrow.types.is_dictionary(column.type) and column.dictionary.null_count:
        column = column.dictionary_decode()                    # else its nulls do not count
    return column.cast(kind)


def _parquet(opened: Any, columns: list[str], n_rows: int) -> Generator[Any, None, None]:
    from pyarrow import parquet

    with parquet.ParquetFile(opened, buffer_size=1 << 20, pre_buffer=False, page_checksum_verification=True) as file:
        yield from file.iter_batches(n_rows, columns=_present(columns, file.schema_arrow.names))


def _feather(opened: Any, columns: list[str], n_rows: int) -> Generator[Any, None, None]:
    from pyarrow import ipc

    names = ipc.open_file(opened).schema.names
    places = [names.index(name) for name in _present(columns, names)]
    file = ipc.open_file(opened, options=ipc.IpcReadOptions(included_fields=places))
    for i in range(file.num_record_batches):
        batch = file.get_batch(i)
        batch.validate(full=True)                              # pyarrow does not look where strings lie
        yield from (batch.slice(start, n_rows) for start in range(0, batch.num_rows, n_rows))


def _present(columns: list[str], names: list[str]) -> list[str]:
    """The columns, of which a file has to have all; where none is wanted, one that says how many rows there are."""
    missing = [name for name in columns if name not in names]
    if missing:
        raise KeyError(f"it has no column {missing[0]}")
    return columns or names[:1]


@contextmanager
def _naming(file: str, kind: str) -> Generator[None, None, None]:
    """pyarrow's errors, with the file."""
    import pyarrow

    try:
        yield
    except (FileNotFoundError, PermissionError):
        raise
    except (pyarrow.ArrowException, OSError, KeyError, TypeError, UnicodeDecodeError) as error:
        # Its first row is the header.
        text = str(error.args[0] if isinstance(error, KeyError) else error).splitlines()[0]
        text = re.sub(r"Row #(\d+)", lambda found: f"row {int(found[1]) - 2}", text)
        text = text.partition("file?: ")[2] or text
        raise ValueError(f"{file} cannot be read as {kind}: {text}") from None
