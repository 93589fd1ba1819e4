"""The formats of prompt files: each as records with the place where each stands, in bounded memory."""

import csv
from collections.abc import Iterator, Mapping
from datetime import date, time
from pathlib import Path
from typing import Any

from advantageflow.errors import DataError
from advantageflow.json_text import parse_json

LONGEST_LINE = 1_000_000  # bytes
_COMMENT = "#"

Records = Iterator[tuple[Any, str]]
"""Each record, and where it stands: 'file:line' or 'file: row n'."""


def read_txt(path: Path, shown: str) -> Records:
    """A prompt a line."""
    for text, where in _content(path, shown):
        yield {"text": text}, where


def read_jsonl(path: Path, shown: str) -> Records:
    """A JSON object a line."""
    for text, where in _content(path, shown):
        yield _json(text, where, "is", "one JSON object a line"), where


def read_csv(path: Path, shown: str) -> Records:
    """A header, then a record a line; between cells stands what the header has most of: comma, semicolon or tab."""
    number, quoted, separator = 0, False, ","  # the line on which a record begins

    def lines() -> Iterator[str]:
        nonlocal number, quoted
        for line_number, line in _lines(path, shown):
            number = number if quoted else line_number
            if quoted or not line.startswith(_COMMENT):
                quoted ^= line.count('"') % 2 == 1  # a quoted cell may go on for lines
                yield line

    source = lines()
    header: list[str] = []
    try:
        first = next(source, "")
        separator = max(",;\t", key=first.count)
        header = [name.strip() for name in next(csv.reader([first], delimiter=separator, strict=True), [])]
        if doubled := sorted({name for name in header if name and header.count(name) > 1}):
            raise DataError(f"two columns are called '{doubled[0]}'", where=f"{shown}:{number}", remedy="rename one")
        for cells in csv.reader(source, delimiter=separator, strict=True):
            where = f"{shown}:{number}"
            if len(cells) not in (0, len(header)):
                message = f"has {len(cells)} cells, the header has {len(header)}"
                remedy = f'put a text that holds a {_NAMES[separator]} into double quotes, as in "a cat, asleep"'
                raise DataError(message, where=where, remedy=remedy)
            record = {name: cell.strip() for name, cell in zip(header, cells, strict=False) if name and cell.strip()}
            if record:
                yield _with_spec(record, where), where
    except csv.Error as error:
        remedy = 'write a quote within a quoted cell twice, as in "a sign that says ""hi"""'
        raise DataError(f"is not CSV: {error}", where=f"{shown}:{number}", remedy=remedy) from error


def read_parquet(path: Path, shown: str) -> Records:
    """A record a row. Texts stay coded until it is known how long they are: a file of 1 MB may repeat one of 1 GB."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    def checked(batch: Any) -> Any:
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if pa.types.is_dictionary(column.type):
                longest = pc.max(pc.binary_length(column.dictionary)).as_py() or 0
                if longest > LONGEST_LINE:
                    message = f"'{name}' holds a text of {longest:,} bytes, more than {LONGEST_LINE:,}"
                    raise DataError(message, where=shown, remedy="write prompts of a few hundred words at most")
        return batch

    try:
        texts = [field.name for field in pq.read_schema(str(path)) if pa.types.is_string(field.type)]
        with pq.ParquetFile(str(path), read_dictionary=texts) as file:
            batches = file.iter_batches(1024, use_threads=False)
            rows = (row for batch in batches for row in checked(batch).to_pylist())
            for number, row in enumerate(rows):
                where = f"{shown}: row {number}"
                yield _with_spec(_without_nulls(row), where), where
    except (OSError, ValueError, RecursionError) as error:  # pyarrow's errors are such
        if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
            raise
        raise DataError(f"is not a Parquet file: {error}", where=shown, remedy="write the file again") from error


READERS = {".txt": read_txt, ".jsonl": read_jsonl, ".csv": read_csv, ".tsv": read_csv, ".parquet": read_parquet}
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab"}


def _content(path: Path, shown: str) -> Iterator[tuple[str, str]]:
    """Text and place of each line that is neither blank nor a comment."""
    for number, line in _lines(path, shown):
        text = line.strip()
        if text and not text.startswith(_COMMENT):
            yield text, f"{shown}:{number}"


def _lines(path: Path, shown: str) -> Iterator[tuple[int, str]]:
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), start=1):
            where = f"{shown}:{number}"
            if len(line) > LONGEST_LINE:
                message = f"is longer than {LONGEST_LINE:,} bytes"
                raise DataError(message, where=where, remedy="write one prompt a line, of a few hundred words at most")
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DataError("is not UTF-8 text", where=where, remedy="save the file as UTF-8") from error


def _with_spec(record: dict[str, Any], where: str) -> dict[str, Any]:
    """The record with its spec as an object: tables have no column of free objects, so JSON text stands for one."""
    if isinstance(record.get("spec"), str):
        record["spec"] = _json(record["spec"], where, "'spec' is", "a JSON object")
    return record


def _json(text: str, where: str, what: str, remedy: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise DataError(f"{what} not JSON: {error}", where=where, remedy=f"write {remedy}") from error


def _without_nulls(value: Any) -> Any:
    """Drops absent fields, which Parquet fills with nulls; dates and times become texts."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value.isoformat() if isinstance(value, date | time) else value
