"""Whether a file is what S3 says of an object: the best checksum that S3 has and Python's library can compute."""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

_CHUNK = 1 << 20


class Checksum(NamedTuple):
    """A checksum of an object.

    Attributes:
        name: of its kind.
        fits: whether a file has it.
    """

    name: str
    fits: Callable[[Path], bool]


def checksum_of(head: Mapping[str, Any], etag: str, part: Callable[[int], Mapping[str, Any]]) -> Checksum | None:
    """The checksum to compare with: one of the whole object, else the ETag, else None.

    An ETag is the MD5 of the content, or, of an object that came in parts, of the parts' MD5s and then their number
    ('...-3'); of one that is encrypted with KMS or own keys it tells nothing.

    Args:
        head: S3's reply to HEAD with ChecksumMode.
        etag: without quotes.
        part: S3's reply to HEAD of a part, by number from 1.
    """
    kinds: dict[str, Callable[[], _Hash]] = {"SHA256": hashlib.sha256, "SHA1": hashlib.sha1, "CRC32": _Crc32}
    for name, algorithm in kinds.items():
        value = head.get(f"Checksum{name}")
        if value and "-" not in value and head.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT":
            return Checksum(name, _whole(algorithm, base64.b64decode(value)))
    if head.get("ServerSideEncryption") not in (None, "AES256") or head.get("SSECustomerAlgorithm"):
        return None
    match re.fullmatch("([0-9a-f]{32})(-[0-9]+)?", etag):
        case None:
            return None
        case found if found[2] is None:
            return Checksum("MD5", _whole(_md5, bytes.fromhex(etag)))
        case found:
            count, first = int(found[2][1:]), part(1)
            if first.get("PartsCount") != count:  # a store that does not tell of parts
                return None
            fits = _in_parts(bytes.fromhex(found[1]), count, lambda number: int(part(number)["ContentLength"]))
            return Checksum("MD5 of its parts", fits)


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


class _Crc32:
    """zlib's CRC-32 in the manner of hashlib; S3 gives it big-endian."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


def _md5() -> _Hash:
    return hashlib.md5(usedforsecurity=False)


def _whole(algorithm: Callable[[], _Hash], expected: bytes) -> Callable[[Path], bool]:
    def fits(path: Path) -> bool:
        return _digests(path, algorithm, [path.stat().st_size]) == expected

    return fits


def _in_parts(expected: bytes, count: int, part_size: Callable[[int], int]) -> Callable[[Path], bool]:
    def fits(path: Path) -> bool:
        def equal(sizes: Sequence[int]) -> bool:
            parts = _digests(path, _md5, sizes)
            return hashlib.md5(parts, usedforsecurity=False).digest() == expected

        total, first = path.stat().st_size, part_size(1)
        last = total - (count - 1) * first
        # Nearly all uploads have parts of one size, which spares thousands of questions about a large object.
        if 0 < last <= first and equal([first] * (count - 1) + [last]):
            return True
        return equal([part_size(number) for number in range(1, count + 1)])

    return fits


def _digests(path: Path, algorithm: Callable[[], _Hash], sizes: Sequence[int]) -> bytes:
    """The digests of consecutive parts of a file, joined."""
    digests = []
    with path.open("rb") as file:
        for size in sizes:
            hasher, left = algorithm(), size
            while left and (chunk := file.read(min(left, _CHUNK))):
                hasher.update(chunk)
                left -= len(chunk)
            digests.append(hasher.digest())
    return b"".join(digests)
