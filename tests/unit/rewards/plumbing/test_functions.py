"""A plain function of prompts and images is a reward; what it gives is taken as it is meant, or refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from advantageflow.errors import RewardError, SettingsError
from advantageflow.records import Prompt
from advantageflow.rewards.base import Result
from advantageflow.rewards.plumbing.checks import score_images
from advantageflow.rewards.plumbing.registry import get_reward

PROMPTS = [Prompt("a", "train", "all"), Prompt("b", "train", "all")]
IMAGES = [np.full((2, 2, 3), value, dtype=np.uint8) for value in (10, 20)]
Own = Callable[[Any], None]


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Own:
    """A module `own_functions` whose function `red` is given."""
    module = ModuleType("own_functions")
    monkeypatch.setitem(sys.modules, "own_functions", module)
    return lambda function: setattr(module, "red", function)


def score(own: Own, given: Any, **attributes: Any) -> list[Result]:
    def red(prompts: Sequence[Prompt], images: Sequence[np.ndarray]) -> Any:
        return given

    vars(red).update(attributes)
    own(red)
    return score_images(get_reward("own_functions:red"), PROMPTS, IMAGES, ["x", "y"])


TWO = {"columns": {"red": (0, 1), "blue": (0, 1)}}


@pytest.mark.parametrize(
    ("given", "attributes", "values"),
    [
        ([1, 0.5], {}, [{"red": 1.0}, {"red": 0.5}]),
        (np.array([1, 0.5], dtype=np.float32), {}, [{"red": 1.0}, {"red": 0.5}]),
        (torch.tensor([1, 0.5]), {}, [{"red": 1.0}, {"red": 0.5}]),
        ((value for value in (np.float16(1), torch.tensor(0.5))), {}, [{"red": 1.0}, {"red": 0.5}]),
        (torch.tensor([[1], [0.5]]), {}, [{"red": 1.0}, {"red": 0.5}]),
        ([{"red": 1}, {"red": 0.5}], {}, [{"red": 1.0}, {"red": 0.5}]),
        ([({"red": 1}, None), ({"red": 0.5}, {})], {}, [{"red": 1.0}, {"red": 0.5}]),
        ({"red": np.array([1, 0.5]), "blue": [0, 1]}, TWO, [{"red": 1.0, "blue": 0.0}, {"red": 0.5, "blue": 1.0}]),
        ([{"red": 1, "blue": 0}, {"red": 0.5, "blue": 1}], TWO, [{"red": 1.0, "blue": 0.0}, {"red": 0.5, "blue": 1.0}]),
    ],
)  # fmt: skip
def test_numbers_arrays_and_dicts_come_back_as_they_are_meant(
    own: Own, given: Any, attributes: dict[str, Any], values: list[dict[str, float]]
) -> None:
    results = score(own, given, **attributes)
    assert [one for one, _ in results] == values
    assert all(type(value) is float for one, _ in results for value in one.values())


def test_what_a_dict_holds_beside_its_columns_is_details_that_json_holds(own: Own) -> None:
    extra = {"pixels": np.int64(3), "box": np.zeros((1, 2)), "why": "dark", "worst": float("nan"), 4: {"a"}}
    details = score(own, [{"red": 1, **extra}, {"red": 0}])[0][1]
    assert json.loads(json.dumps(details, allow_nan=False)) == {
        "pixels": 3, "box": [[0.0, 0.0]], "why": "dark", "worst": "nan", "4": ["a"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "attributes", "words"),
    [
        (None, {}, "gave None, not a score for each of 2 images"),
        (0.5, {}, "gave 0.5, not a score for each of 2 images"),
        ([1.0], {}, "gave 1 scores for 2 images"),
        ({"red": [1.0]}, {}, "gave 1 scores in 'red' for 2 images"),
        ([None, 1], {}, "gave red = None, which is not a number"),
        ([True, 1], {}, "gave red = True, which is not a number"),
        ([float("nan"), 1], {}, "gave red = nan, which is not finite"),
        ([float("inf"), 1], {}, "gave red = inf, which is not finite"),
        (["1", 1], {}, "gave red = '1', which is not a number"),
        ([10**5000, 1], {}, "gave red = a int .*, which is not finite"),
        ([[1, 2], 1], {}, r"gave \[1, 2\], not a number or a dict with 'red'"),
        ([({1: 1, "a": 1}, {})] * 2, {}, r"gave columns \['1', 'a'\], it declares \['red'\]"),
        ([2, 1], {"columns": {"red": (0, 1)}}, r"gave red = 2, outside its declared range \[0, 1\]"),
        ([-0.01, 1], {"columns": {"red": (0, 1)}}, r"gave red = -0.01, outside its declared range \[0, 1\]"),
        ([({}, {})] * 2, {}, r"gave columns \[\], it declares \['red'\]"),
        ([{"rde": 1}, {"red": 1}], {}, "gave no 'red', only rde"),
        ([1, 1], TWO, "gave 1, not a dict with 'red', 'blue'"),
        ([({"red": 1, "blue": 1}, {})] * 2, {}, r"gave columns \['blue', 'red'\], it declares \['red'\]"),
        ([({"red": 1}, {"a": object()})] * 2, {}, "details that JSON cannot hold: .* is of type object"),
        ([({"red": 1}, {"a": "x" * 200_000})] * 2, {}, "details of 200,009 characters"),
        ([({"red": 1}, "why")] * 2, {}, "gave details 'why', not a dict"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_sentence(
    own: Own, given: Any, attributes: dict[str, Any], words: str
) -> None:
    with pytest.raises(RewardError, match=words) as caught:
        score(own, given, **attributes)
    assert "reward 'own_functions:red'" in caught.value.where


def test_attributes_and_options_say_the_rest(own: Own) -> None:
    def red(prompts: Sequence[Prompt], images: Sequence[np.ndarray], *, power: float = 1.0) -> list[float]:
        """How red."""
        return [power] * len(images)

    own(red)
    plain, powered = get_reward("own_functions:red"), get_reward("own_functions:red", {"power": 2.0})
    assert (plain.name, dict(plain.columns), plain.higher_is_better) == (
        "own_functions:red", {"red": (float("-inf"), float("inf"))}, True,
    )  # fmt: skip
    assert plain.version.startswith("source ")
    assert powered.score(PROMPTS, IMAGES) == [2.0, 2.0]
    vars(red).update(columns={"a": (0, 1)}, higher_is_better=False, version="7")
    told = get_reward("own_functions:red")
    assert (told.columns, told.higher_is_better, told.version) == ({"a": (0, 1)}, False, "7")
    with pytest.raises(SettingsError, match="no option 'pwer'"):
        get_reward("own_functions:red", {"pwer": 2.0})


def test_parameters_in_another_order_are_refused_with_the_right_one(own: Own) -> None:
    own(lambda images, prompts: [])
    with pytest.raises(SettingsError, match=r"is a function of \(images, prompts\)") as caught:
        get_reward("own_functions:red")
    assert "score(prompts, images)" in caught.value.remedy
    own(lambda texts, pictures: [])
    with pytest.raises(SettingsError, match="needs the option 'texts'") as caught:
        get_reward("own_functions:red")
    assert "score(prompts, images)" in caught.value.remedy


def test_what_is_called_as_a_function_is_one(own: Own) -> None:
    def score(prompts: Sequence[Prompt], images: Sequence[np.ndarray], power: float) -> list[float]:
        return [power] * len(images)

    own(partial(score, power=3.0))
    reward = get_reward("own_functions:red")
    assert reward.score(PROMPTS, IMAGES) == [3.0, 3.0]
    assert reward.version == get_reward("own_functions:red").version
