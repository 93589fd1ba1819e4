"""The pictures: drawn for each kind of plan, and drawn the same again; the front of a trade-off."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from advantageflow_experiments.compare.comparison import Comparison
from advantageflow_experiments.compare.pictures import draw, pareto_front


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("untrained", {"accuracy_by_images.png", "accuracy_by_seconds.png", "tasks.png", "untrained_by_reward.png"}),
        ("grid", {"heatmap.png"}),
        ("pareto", {"pareto.png"}),
    ],
)
def test_each_kind_has_its_pictures_and_equal_figures_give_equal_pictures(
    kind: str, names: set[str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    comparison: Comparison = request.getfixturevalue(kind)
    written = draw(comparison, tmp_path)
    assert {path.name for path in written} == names | {"table.md"}
    first = {path: path.read_bytes() for path in written}
    for name in names:
        with Image.open(tmp_path / name) as picture:
            assert picture.width >= 900
            assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 50, "something is drawn"
    draw(comparison, tmp_path)
    assert {path: path.read_bytes() for path in written} == first


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_the_front_is_what_nothing_beats_and_beats_all_else(points: list[tuple[int, int]]) -> None:
    front = pareto_front(points)
    rising = [points[index] for index in front]
    assert rising == sorted(rising)
    for index, (x, y) in enumerate(points):
        beaten = any(a >= x and b >= y and (a, b) != (x, y) for a, b in points)
        assert (index in front) is not beaten
