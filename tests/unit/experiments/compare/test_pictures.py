"""The pictures: drawn for each view, and drawn the same again; where names and fronts go."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from advantageflow_experiments.compare.folder import Folder
from advantageflow_experiments.compare.pareto import pareto_front
from advantageflow_experiments.compare.pictures import draw
from advantageflow_experiments.compare.records import Comparison
from advantageflow_experiments.compare.style import spread

coordinates = st.floats(-5, 5, allow_subnormal=False)


@pytest.mark.parametrize(
    ("view", "names"),
    [
        ("lines", {"accuracy_by_images.png", "accuracy_by_seconds.png", "tasks.png"}),
        ("grid", {"heatmap.png"}),
        ("pareto", {"pareto.png"}),
    ],
)
def test_each_view_has_its_pictures_and_equal_figures_give_equal_pictures(
    view: str, names: set[str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    comparison: Comparison = request.getfixturevalue(view)
    written = draw(comparison, Folder(tmp_path))
    assert {path.name for path in written} == names | {"table.md"}
    first = {path: path.read_bytes() for path in written}
    for name in names:
        with Image.open(tmp_path / name) as picture:
            assert picture.width >= 900
            assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 50, "something is drawn"
    draw(comparison, Folder(tmp_path))
    assert {path: path.read_bytes() for path in written} == first


def test_more_variants_than_fit_beside_the_lines_get_a_legend(
    make: Callable[..., Comparison], lines: Comparison, tmp_path: Path
) -> None:
    many = lines.model_copy(update={"variants": lines.variants * 5})
    draw(many, Folder(tmp_path))
    with Image.open(tmp_path / "accuracy_by_images.png") as picture:
        assert picture.width >= 900


@settings(deadline=None)
@given(st.lists(coordinates, min_size=1, max_size=8), st.floats(0.01, 2))
def test_names_are_moved_apart_and_stay_in_order(places: list[float], gap: float) -> None:
    moved = spread(places, gap)
    ranked = [moved[index] for index in sorted(range(len(places)), key=lambda index: places[index])]
    assert all(above - below >= gap * (1 - 1e-6) - 1e-9 for below, above in itertools.pairwise(ranked))
    assert sum(moved) == pytest.approx(sum(places), abs=1e-6)


def test_names_that_are_apart_stay_where_they_are() -> None:
    assert spread([3.0, 1.0, 2.0], 0.5) == [3.0, 1.0, 2.0]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_the_front_is_what_nothing_beats_and_beats_all_else(points: list[tuple[int, int]]) -> None:
    front = pareto_front(points)
    rising = [points[index] for index in front]
    assert rising == sorted(rising)
    for index, (x, y) in enumerate(points):
        beaten = any(a >= x and b >= y and (a, b) != (x, y) for a, b in points)
        assert (index in front) is not beaten
