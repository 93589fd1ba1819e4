"""Pictures are read within bounds that their header is held to, before anything is decoded."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from advantageflow.rewards.plumbing.inputs import MOST_PIXELS, decode_image


def png_header(width: int, height: int) -> bytes:
    """A PNG that says its size and holds next to nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(20_000, 20_000), (13_000, 13_000), (4097, 4096), (2**31 - 1, 2**31 - 1)])
def test_a_picture_of_too_many_pixels_is_refused_by_its_header(size: tuple[int, int]) -> None:
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"more than 16,777,216|exceeds limit|cannot identify"):
        decode_image(png_header(*size))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < MOST_PIXELS


def test_other_modes_become_rgb() -> None:
    out = io.BytesIO()
    Image.new("LA", (3, 2), (7, 255)).save(out, format="PNG")
    assert np.array_equal(decode_image(out.getvalue()), np.full((2, 3, 3), 7, np.uint8))
