"""Single rows of the tensors in a safetensors file, read where they lie: in a file on disk, or in an object of S3.

A row is a range of bytes. Rows are written one after the other too, so that nobody holds the whole file in memory.
"""

import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advantageflow.annotations import Tensor
from advantageflow.errors import StoreError
from advantageflow.json_text import parse_json
from advantageflow.store.files import reading, writing
from advantageflow.store.s3 import is_s3
from advantageflow.store.s3_client import CONNECTIONS, MissingObject, make_client
from advantageflow.store.s3_transfer import read_range

_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "BOOL": "bool"}
_LENGTH = struct.Struct("<Q")  # of the header, at the beginning of the file
_LONGEST_HEADER = 1 << 20
_AGAIN = "run the task that makes it again, without Kubeflow's cache"
_FIRST_READ = 1 << 14  # bytes, which hold the header of a few tensors


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file."""

    dtype: str  # its name in torch
    shape: tuple[int, ...]  # rows first
    start: int  # its first byte in the file
    row_bytes: int  # of a row

    def range_of(self, row: int, count: int = 1) -> tuple[int, int]:
        """The bytes of `count` rows from this one on."""
        return self.start + row * self.row_bytes, self.start + (row + count) * self.row_bytes


def write_rows(path: Path, count: int, batches: Iterator[Mapping[str, Tensor]]) -> None:
    """Write tensors of `count` rows (at least one) that come by name in batches of consecutive rows.

    Names, dtypes and shapes of rows are those of the first batch.
    """
    import torch

    names = {name: key for key, name in _DTYPES.items()}
    with writing(path), Path(path).open("wb") as file:
        stored: dict[str, StoredTensor] = {}
        row = 0
        for batch in batches:
            if not stored:
                header: dict[str, Any] = {}
                end = 0
                for name, tensor in batch.items():
                    size = count * math.prod(tensor.shape[1:]) * tensor.element_size()
                    header[name] = {
                        "dtype": names[str(tensor.dtype).removeprefix("torch.")],
                        "shape": [count, *tensor.shape[1:]],
                        "data_offsets": [end, end + size],
                    }
                    end += size
                text = json.dumps(header, separators=(",", ":")).encode()
                text += b" " * (-len(text) % 8)
                file.write(_LENGTH.pack(len(text)) + text)
                stored = _tensors(header, _LENGTH.size + len(text))
            for name, tensor in batch.items():
                file.seek(stored[name].range_of(row)[0])
                file.write(tensor.detach().contiguous().flatten().view(torch.uint8).numpy().data)
            row += len(tensor)


class TensorRows:
    """The tensors of a file, at a path or an s3:// address, of which rows can be read. Raises StoreError: it is not
    there, cannot be read, or is not a safetensors file.
    """

    def __init__(self, place: str) -> None:
        self._place, self._remote = place, is_s3(place)
        self._client = make_client(place) if self._remote else None
        with reading(Path(place)):
            self.tensors = self._read_header()

    def rows(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """These rows of every tensor, in this order, on the CPU; a row that is asked for twice is read once.

        Raises:
            StoreError: they cannot be read.
            IndexError: there is no such row.
        """
        import torch

        distinct = sorted(set(rows))
        if list(rows) == distinct:
            return {name: self._rows(one, distinct) for name, one in self.tensors.items()}
        index = {row: number for number, row in enumerate(distinct)}
        order = torch.tensor([index[row] for row in rows], dtype=torch.long)
        return {name: self._rows(one, distinct)[order] for name, one in self.tensors.items()}

    def _rows(self, stored: StoredTensor, rows: Sequence[int]) -> Tensor:
        import torch

        if rows and not 0 <= rows[0] <= rows[-1] < stored.shape[0]:
            raise IndexError(f"{self._place} has {stored.shape[0]} rows, and no row {rows[-1]}")
        content = torch.empty(len(rows) * stored.row_bytes, dtype=torch.uint8)
        view = content.numpy()

        def read(run: tuple[int, int, int]) -> None:
            index, row, count = run
            start, end = stored.range_of(row, count)
            found = self._read(start, end)
            if len(found) < end - start:
                raise _corrupt(self._place, "it was cut short")
            first = index * stored.row_bytes
            view[first : first + end - start] = memoryview(found)

        runs = list(_runs(rows))
        if self._remote:
            with ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="s3") as pool:
                list(pool.map(read, runs))
        else:
            for run in runs:
                read(run)
        return content.view(getattr(torch, stored.dtype)).reshape(len(rows), *stored.shape[1:])

    def _read(self, start: int, end: int) -> bytes:
        if self._remote:
            try:
                return read_range(self._client, self._place, start, end)
            except MissingObject as error:
                raise StoreError("is no longer in the store", where=self._place, remedy=_AGAIN) from error
        with reading(Path(self._place)), Path(self._place).open("rb") as file:
            file.seek(start)
            return file.read(end - start)

    def _read_header(self) -> dict[str, StoredTensor]:
        beginning = self._read(0, _FIRST_READ)
        if len(beginning) < _LENGTH.size:
            raise _corrupt(self._place, "it is empty, or not there")
        (length,) = _LENGTH.unpack_from(beginning)
        end = _LENGTH.size + length
        if length > _LONGEST_HEADER:
            raise _corrupt(self._place, "it does not begin as a safetensors file")
        text = beginning[_LENGTH.size : end] if end <= len(beginning) else self._read(_LENGTH.size, end)
        try:
            return _tensors(parse_json(text), end)
        except (ValueError, KeyError, TypeError) as error:
            raise _corrupt(self._place, f"its header cannot be read: {error}") from error


def _tensors(header: Mapping[str, Any], start: int) -> dict[str, StoredTensor]:
    found = {}
    for name, one in header.items():
        if name != "__metadata__":
            first, last = one["data_offsets"]
            shape = tuple(one["shape"])
            found[name] = StoredTensor(_DTYPES[one["dtype"]], shape, start + first, (last - first) // max(1, shape[0]))
    return found


def _runs(rows: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Rows that follow each other, as (index in `rows`, first row, how many); the rows are in order, each once."""
    first = 0
    for index in range(1, len(rows) + 1):
        if index == len(rows) or rows[index] != rows[index - 1] + 1:
            yield first, rows[first], index - first
            first = index


def _corrupt(place: str, reason: str) -> StoreError:
    return StoreError(f"cannot be read, it is corrupt ({reason})", where=place, remedy=_AGAIN)
