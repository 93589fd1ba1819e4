"""Captions in any script: each letter in the first font that has it, so that they are legible on every machine."""

import base64
import io
import logging
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby
from pathlib import Path

from advantageflow.annotations import FreeTypeFont, ImageDraw

HAN_FONT = Path(__file__).with_name("typefaces") / "DroidSansFallback.ttf"
"""Han, kana and hangul; by Google, under the Apache License 2.0, from Debian's package fonts-droid-fallback."""

logger = logging.getLogger(__name__)


def text_width(text: str, size: int) -> float:
    """Pixels that a line takes at a size."""
    return sum(font.getlength(part) for part, font in _parts(text, size))


def write_text(draw: ImageDraw, left: float, baseline: float, text: str, colour: str, size: int) -> None:
    """Write a line that starts at `left` and stands on `baseline`."""
    for part, font in _parts(text, size):
        draw.text((left, baseline), part, colour, font, anchor="ls")
        left += font.getlength(part)


def page_font(text: str) -> str:
    """CSS that gives a page those letters of its text that machines often lack, as font 'Captions'; empty without."""
    letters = "".join(sorted(letter for letter in set(text) if _file_of(letter) == str(HAN_FONT)))
    if not letters:
        return ""
    from fontTools.subset import Options, Subsetter
    from fontTools.ttLib import TTFont

    buffer, subsetter = io.BytesIO(), Subsetter(Options(layout_features=[], hinting=False))
    with TTFont(HAN_FONT, lazy=True) as font:
        subsetter.populate(text=letters)
        subsetter.subset(font)
        font.save(buffer)
    source = base64.b64encode(buffer.getvalue()).decode()
    return f'@font-face {{ font-family: "Captions"; src: url("data:font/ttf;base64,{source}"); }}\n'


def _parts(text: str, size: int) -> Iterator[tuple[str, FreeTypeFont]]:
    """The text in parts of one font each; blanks go with what is before them."""
    from PIL import ImageFont

    files: list[str | None] = []
    letters = unicodedata.normalize("NFC", text)
    for letter in letters:
        files.append(files[-1] if letter.isspace() and files else _file_of(letter))
    for file, part in groupby(zip(files, letters, strict=True), key=lambda one: one[0]):
        font = ImageFont.load_default(size) if file is None else ImageFont.truetype(file, size)
        yield "".join(letter for _, letter in part), font  # type: ignore[misc]


@lru_cache(maxsize=4096)
def _file_of(letter: str) -> str | None:
    """The first font that has a letter; None for Pillow's own."""
    if letter in _own_letters() or letter.isspace() or not letter.isprintable():
        return None
    for file in _files():
        if letter in _letters(file):
            return file
    name = unicodedata.name(letter, f"U+{ord(letter):04X}")
    logger.warning("no font on this machine has %s: install one, such as Debian's fonts-noto-core", name)
    return None


@lru_cache(maxsize=1)
def _files() -> list[str]:
    """Fonts after Pillow's own: matplotlib's for Latin, Greek, Cyrillic and Arabic; ours; then the machine's."""
    from matplotlib import font_manager

    dejavu = font_manager.findfont("DejaVu Sans")
    return [dejavu, str(HAN_FONT), *sorted(font_manager.findSystemFonts(), key=lambda file: ("Bold" in file, file))]


@lru_cache(maxsize=64)
def _letters(file: str) -> frozenset[str]:
    """The letters that a font has; none of a file that cannot be read."""
    from fontTools.ttLib import TTFont, TTLibError

    try:
        with TTFont(file, fontNumber=0, lazy=True) as font:
            return frozenset(map(chr, font.getBestCmap() or ()))
    except (OSError, TTLibError):
        return frozenset()


@lru_cache(maxsize=1)
def _own_letters() -> frozenset[str]:
    """The letters of Pillow's own font."""
    from fontTools.ttLib import TTFont
    from PIL import ImageFont

    with TTFont(io.BytesIO(ImageFont.load_default(10).font_bytes), lazy=True) as font:  # type: ignore[union-attr]
        return frozenset(map(chr, font.getBestCmap()))
