"""How the golden set was drawn: `python -m advantageflow.golden_checks.draw FOLDER` draws it again."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advantageflow.golden_checks.pictures import PROMPTS
from advantageflow.shapes.renderer import render
from advantageflow.shapes.scenes import Scene, SceneObject, cell_centre

if TYPE_CHECKING:
    from PIL import Image

SIDE = 192  # pixels of a drawn text
_Objects = list[tuple[str, str, int]]  # shape, colour, cell (0 .. 8, row by row)


def draw_golden_set(folder: Path) -> None:
    """Write pictures and prompts.jsonl: scenes and texts, some of which are not what their prompts ask for."""
    from PIL import Image

    lines = []
    for name, text, task, include, objects in _scenes():
        Image.fromarray(render(_scene(objects))).save(folder / f"{name}.png", optimize=True)
        spec: dict[str, Any] = {"tag": task, "include": include}
        lines.append({"image": f"{name}.png", "text": text, "task": task, "spec": spec})
    for name, wanted, drawn, font, size, ink, paper in _TEXTS:
        _write(drawn, font, size, ink, paper).save(folder / f"{name}.png", optimize=True)
        lines.append({"image": f"{name}.png", "text": f'a sign that says "{wanted}"', "task": "text"})
    (folder / PROMPTS).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def _scenes() -> list[tuple[str, str, str, list[dict[str, Any]], _Objects]]:
    """Name, prompt, task, what the spec includes, and what is drawn."""
    red_circle = [{"class": "circle", "count": 1, "color": "red"}]
    three_squares = [{"class": "square", "count": 3}]
    relation = [{"class": "ring", "count": 1}, {"class": "heart", "count": 1, "position": ["left of", 0]}]
    two_colours = [{"class": "cross", "count": 1, "color": "black"}, {"class": "heart", "count": 1, "color": "pink"}]
    return [
        ("red-circle", "a red circle", "colors", red_circle, [("circle", "red", 4)]),
        ("blue-circle", "a red circle", "colors", red_circle, [("circle", "blue", 1)]),
        ("nothing", "a red circle", "colors", red_circle, []),
        ("three-squares", "three squares", "counting", three_squares, [("square", "green", n) for n in (0, 5, 7)]),
        ("two-squares", "three squares", "counting", three_squares, [("square", "orange", n) for n in (2, 6)]),
        ("left", "a heart left of a ring", "position", relation, [("heart", "purple", 3), ("ring", "yellow", 5)]),
        ("right", "a heart left of a ring", "position", relation, [("heart", "purple", 8), ("ring", "yellow", 6)]),
        ("cross-and-heart", "a black cross and a pink heart", "color_attr", two_colours,
         [("cross", "black", 0), ("heart", "pink", 8)]),
        ("two-stars", "a black cross and a pink heart", "color_attr", two_colours,
         [("star", "black", 0), ("star", "pink", 1)]),
    ]  # fmt: skip


# Name, text asked for, lines drawn, font of matplotlib, size, ink, paper.
_TEXTS: list[tuple[str, str, tuple[str, ...], str, int, str, str]] = [
    ("open-today", "Open Today", ("Open Today",), "DejaVuSans.ttf", 26, "#202060", "#fafaf5"),
    ("coffee-house", "Coffee House", ("COFFEE", "HOUSE"), "DejaVuSerif-Bold.ttf", 34, "#f0e0c0", "#502010"),
    ("fresh-fish", "Fresh Fish", ("Flesh Fist",), "DejaVuSans-Bold.ttf", 24, "#900000", "#d0f0ff"),
    ("unwritten", "Hello World", (), "DejaVuSans.ttf", 24, "#000000", "#c0c0c0"),
]  # fmt: skip


def _scene(objects: _Objects) -> Scene:
    return Scene(tuple(SceneObject(shape, color, *cell_centre(cell)) for shape, color, cell in objects))


def _write(lines: tuple[str, ...], font: str, size: int, ink: str, paper: str) -> Image.Image:
    import matplotlib as mpl
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (SIDE, SIDE), paper)
    face = ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / font, size)
    for number, line in enumerate(lines):
        place = (SIDE / 2, SIDE * (number + 1) / (len(lines) + 1))
        ImageDraw.Draw(image).text(place, line, font=face, fill=ink, anchor="mm")
    return image


if __name__ == "__main__":
    draw_golden_set(Path(sys.argv[1]))
