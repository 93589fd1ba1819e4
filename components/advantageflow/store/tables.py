"""Parquet tables with a declared schema: every column typed, no nulls, page checksums verified on reading."""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from advantageflow.annotations import Tensor
from advantageflow.errors import DataError
from advantageflow.json_text import parse_json
from advantageflow.store.files import reading, writing

_ROWS = 64  # that are in memory at a time
_BUFFER = 1 << 20  # bytes of a file
REMAKE = "make the artifact again with this version's tasks; do not edit it by hand"


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """Write rows (possibly none) as one Parquet file; `columns` are pyarrow type names by name, in file order."""
    with table_writer(path, columns) as write:
        write(rows)


@contextmanager
def table_writer(path: Path, columns: Mapping[str, str]) -> Iterator[Callable[[Sequence[Mapping[str, Any]]], None]]:
    """Write one Parquet file part by part: each call of what is yielded writes rows as a row group of their own, and
    holds none of them afterwards. Arguments and errors as of `write_table`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([pa.field(name, pa.type_for_alias(kind), nullable=False) for name, kind in columns.items()])
    with writing(path):
        file = pq.ParquetWriter(str(path), schema, write_page_checksum=True)

    def write(rows: Sequence[Mapping[str, Any]]) -> None:
        with writing(path):
            file.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema=schema))

    try:
        yield write
    finally:
        with writing(path):
            file.close()


def read_table(path: Path, columns: Mapping[str, str]) -> list[dict[str, Any]]:
    """Read the rows of a Parquet file; columns beyond the declared ones are returned too.
    Raises DataError: a declared column is missing, of another type, or has a null.
    """
    return list(iterate_table(path, columns))


def iterate_table(path: Path, columns: Mapping[str, str], *, others: bool = True) -> Iterator[dict[str, Any]]:
    """As `read_table`, a few rows in memory at a time; without the other columns where `others` is false."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    # ParquetFile, not read_table: no dataset layer that would read meaning into folder names, and no threads.
    with reading(path):
        file = pq.ParquetFile(str(path), page_checksum_verification=True, buffer_size=_BUFFER)
    with file:
        schema, row = file.schema_arrow, 0
        for name, kind in columns.items():
            if name not in schema.names:
                found = ", ".join(schema.names) or "none"
                raise DataError(f"column '{name}' is missing (found: {found})", where=str(path), remedy=REMAKE)
            found = schema.field(name).type
            if found != pa.type_for_alias(kind):
                raise DataError(f"column '{name}' is {found}, not {kind}", where=str(path), remedy=REMAKE)
        wanted = None if others else list(columns)
        batches = itertools.chain.from_iterable(  # one reader for all groups would keep what it has read
            file.iter_batches(_ROWS, row_groups=[group], columns=wanted, use_threads=False)
            for group in range(file.num_row_groups)
        )
        while True:
            with reading(path):
                batch = next(batches, None)
            if batch is None:
                return
            for name in columns:
                if batch.column(name).null_count:
                    where = f"{path}: row {row + batch.column(name).is_null().to_pylist().index(True)}"
                    raise DataError(f"column '{name}' has no value", where=where, remedy=REMAKE)
            yield from batch.to_pylist()
            row += len(batch)


def to_json(value: Mapping[str, Any]) -> str:
    """The text of a JSON column, equal for equal objects."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def from_json(text: str, path: Path, row: int, column: str) -> dict[str, Any]:
    """The object in a JSON column. Raises DataError: the text is not a JSON object; names file, row and column."""
    try:
        value = parse_json(text)
    except ValueError as error:
        raise DataError(f"'{column}' is not JSON: {error}", where=f"{path}: row {row}", remedy=REMAKE) from error
    if not isinstance(value, dict):
        raise DataError(f"'{column}' is not a JSON object", where=f"{path}: row {row}", remedy=REMAKE)
    return value


def check_tensors(tensors: Mapping[str, Tensor], names: Sequence[str], path: Path, rows: int | None = None) -> None:
    """Raise a DataError when a tensor is not in the file, or has another number of rows than its table."""
    for name in names:
        if name not in tensors:
            raise DataError(f"tensor '{name}' is missing", where=str(path), remedy=REMAKE)
        if rows is not None and len(tensors[name]) != rows:
            message = f"'{name}' has {len(tensors[name])} rows, its table {rows}"
            raise DataError(message, where=str(path), remedy=REMAKE)
