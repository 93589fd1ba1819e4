"""GenEval's rules, each on hand-built detections."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from advantageflow.errors import DataError
from advantageflow.shapes.detector import Detection, detect
from advantageflow.shapes.prompts import all_prompts
from advantageflow.shapes.renderer import render
from advantageflow.shapes.scenes import scene_for
from advantageflow.shapes.scoring import check_spec, score


def at(shape: str | None, color: str | None, x: int = 8, y: int = 8) -> Detection:
    return Detection(shape, color, (x - 6, y - 6, x + 6, y + 6), 1.0)


def spec(*include: dict[str, Any], tag: str = "any") -> dict[str, Any]:
    return {"tag": tag, "include": list(include)}


CIRCLE = {"class": "circle", "count": 1}
RED_CIRCLE = {**CIRCLE, "color": "red"}
THREE = {"class": "star", "count": 3}
LEFT_OF_CIRCLE = {"class": "star", "count": 1, "position": ["left of", 0]}


@pytest.mark.parametrize(
    ("wanted", "found", "strict", "soft"),
    [
        pytest.param(spec(CIRCLE), [at("circle", "red")], 1, 1, id="right object"),
        pytest.param(spec(CIRCLE), [], 0, 0.5, id="nothing drawn"),
        pytest.param(spec(CIRCLE), [at("circle", "red")] * 2, 0, 0.5, id="one too many of the named class"),
        pytest.param(spec(CIRCLE), [at("circle", "red")] * 9, 0, 0.5, id="soft parts never fall below zero"),
        pytest.param(spec(CIRCLE), [at("circle", "red"), at("star", "red")], 1, 0.5, id="extra costs soft only"),
        pytest.param(spec(CIRCLE), [at("circle", "red"), at(None, "red")], 1, 0.5, id="unknown blob costs soft"),
        pytest.param(spec(RED_CIRCLE), [at("circle", "blue")], 0, 2 / 3, id="wrong colour"),
        pytest.param(spec(RED_CIRCLE), [at("circle", None)], 0, 2 / 3, id="unknown colour"),
        pytest.param(spec(THREE), [at("star", "red")] * 2, 0, (2 / 3 + 1) / 2, id="two of three"),
        pytest.param(spec(THREE), [at("star", "red")] * 3, 1, 1, id="three of three"),
        pytest.param(
            spec(CIRCLE, LEFT_OF_CIRCLE), [at("circle", "red", 40), at("star", "red", 8)], 1, 1, id="relation holds"
        ),
        pytest.param(
            spec(CIRCLE, LEFT_OF_CIRCLE), [at("circle", "red", 8), at("star", "red", 40)], 0, 0.75, id="relation fails"
        ),
        pytest.param(
            spec(CIRCLE, LEFT_OF_CIRCLE), [at("circle", "red", 10), at("star", "red", 8)], 0, 0.75, id="within margin"
        ),
        pytest.param(spec(CIRCLE, LEFT_OF_CIRCLE), [at("star", "red")], 0, 0.5, id="relation to a missing object"),
    ],
)
def test_rule(wanted: dict[str, Any], found: list[Detection], strict: float, soft: float) -> None:
    verdict = score(wanted, found)
    assert verdict.strict == strict
    assert verdict.soft == pytest.approx(soft)
    assert bool(verdict.reasons) == (verdict.soft < 1)


@pytest.mark.parametrize(
    ("bad", "place"),
    [
        ({}, ""),
        (spec({"class": "dog", "count": 1}), "include[0].class"),
        (spec({"class": "circle", "count": 0}), "include[0]"),
        (spec({"class": "circle", "count": True}), "include[0]"),
        (spec({**CIRCLE, "color": "mauve"}), "include[0].color"),
        (spec(CIRCLE, {**CIRCLE, "position": ["inside", 0]}), "include[1].position[0]"),
        (spec(CIRCLE, {**CIRCLE, "position": ["above", 1]}), "include[1].position[1]"),
        (spec(CIRCLE, {**CIRCLE, "position": "above"}), "include[1].position"),
    ],
)
def test_unreadable_spec_names_the_field(bad: dict[str, Any], place: str) -> None:
    with pytest.raises(DataError) as caught:
        check_spec(bad)
    assert caught.value.where == place


def test_a_scene_that_obeys_its_prompt_scores_one_in_every_task() -> None:
    rng = np.random.default_rng(0)
    for prompt in all_prompts()[::7]:
        check_spec(prompt.spec)
        verdict = score(prompt.spec, detect(render(scene_for(prompt.spec, rng))))
        assert (verdict.strict, verdict.soft) == (1, 1), prompt.text
