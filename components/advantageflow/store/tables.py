"""Parquet tables with a declared schema: every column typed, no nulls, page checksums verified on reading."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advantageflow.errors import DataError
from advantageflow.json_text import parse_json
from advantageflow.store.files import reading, writing

if TYPE_CHECKING:
    from torch import Tensor

REMAKE = "make the artifact again with this version's tasks; do not edit it by hand"


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """Write rows (possibly none) as one Parquet file.

    Args:
        path: the file.
        rows: a value for each column.
        columns: pyarrow type name by column name, in file order.

    Raises:
        StoreError: it cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([pa.field(name, pa.type_for_alias(kind), nullable=False) for name, kind in columns.items()])
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    with writing(path):
        pq.write_table(table, str(path), write_page_checksum=True)


def read_table(path: Path, columns: Mapping[str, str]) -> list[dict[str, Any]]:
    """Read the rows of a Parquet file; columns beyond the declared ones are returned too.

    Args:
        path: the file.
        columns: pyarrow type name by name of each column that must be there.

    Raises:
        StoreError: the file is missing or corrupt.
        DataError: a declared column is missing, of another type, or has a null.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    # ParquetFile, not read_table: no dataset layer that would read meaning into folder names, and no threads.
    with reading(path), pq.ParquetFile(str(path), page_checksum_verification=True) as file:
        table = file.read(use_threads=False)
    for name, kind in columns.items():
        if name not in table.column_names:
            found = ", ".join(table.column_names) or "none"
            raise DataError(f"column '{name}' is missing (found: {found})", where=str(path), remedy=REMAKE)
        column = table.column(name)
        if column.type != pa.type_for_alias(kind):
            raise DataError(f"column '{name}' is {column.type}, not {kind}", where=str(path), remedy=REMAKE)
        if column.null_count:
            row = column.is_null().to_pylist().index(True)
            raise DataError(f"column '{name}' has no value", where=f"{path}: row {row}", remedy=REMAKE)
    return table.to_pylist()


def to_json(value: Mapping[str, Any]) -> str:
    """The text of a JSON column, equal for equal objects."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def from_json(text: str, path: Path, row: int, column: str) -> dict[str, Any]:
    """The object in a JSON column.

    Raises:
        DataError: the text is not a JSON object; names file, row and column.
    """
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
