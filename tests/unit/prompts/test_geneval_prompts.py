"""GenEval's evaluation prompts are drawn again exactly, and training prompts ask for nothing that they ask for."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from advantageflow.errors import DataError
from advantageflow.prompts import geneval
from advantageflow.prompts.geneval import combination, fingerprint, official_prompts, text_of, training_prompts
from advantageflow.records import Prompt
from advantageflow.rewards.geneval.spec import check_spec

TASKS = {"single_object": 80, "two_object": 99, "counting": 80, "colors": 94, "position": 100, "color_attr": 100}


@pytest.fixture(scope="module")
def official() -> list[Prompt]:
    return official_prompts()


@pytest.fixture(scope="module")
def published() -> list[dict[str, Any]]:
    """GenEval's own file, where it is at hand beside the project."""
    name = Path("shared/data/geneval/evaluation_metadata.jsonl")
    for folder in Path(__file__).parents:
        if (folder / name).is_file():
            return [json.loads(line) for line in (folder / name).read_text().splitlines()]
    pytest.skip(f"no {name} in any folder above the tests")


def test_the_official_prompts_are_553_of_six_tasks_all_held_out(official: list[Prompt]) -> None:
    assert Counter(prompt.task for prompt in official) == TASKS
    assert len({prompt.text for prompt in official}) == 553
    assert {prompt.split for prompt in official} == {"eval"}
    assert fingerprint(official) == geneval.OFFICIAL_SHA256


def test_the_official_prompts_are_the_published_ones_in_their_order(
    official: list[Prompt], published: list[dict[str, Any]]
) -> None:
    assert [{"prompt": one.text, **one.spec} for one in official] == published


def test_the_templates_give_all_published_texts_from_their_specs(published: list[dict[str, Any]]) -> None:
    assert [text_of(record) for record in published] == [record["prompt"] for record in published]


@pytest.mark.parametrize(
    ("include", "text"),
    [
        ([{"class": "bench", "count": 1}], "a photo of a bench"),
        ([{"class": "umbrella", "count": 1}], "a photo of an umbrella"),
        ([{"class": "oven", "count": 1}, {"class": "bed", "count": 1}], "a photo of an oven and a bed"),
        ([{"class": "wine glass", "count": 3}], "a photo of three wine glasses"),
        ([{"class": "bench", "count": 4}], "a photo of four benchs"),  # as in the published prompts
        ([{"class": "scissors", "count": 2}], "a photo of two scissors"),
        ([{"class": "cow", "count": 1, "color": "orange"}], "a photo of an orange cow"),
        ([{"class": "orange", "count": 1, "color": "red"}], "a photo of a red orange"),
        (
            [{"class": "tv", "count": 1}, {"class": "apple", "count": 1, "position": ["above", 0]}],
            "a photo of an apple above a tv",
        ),
        (
            [{"class": "car", "count": 1, "color": "red"}, {"class": "dog", "count": 1, "color": "orange"}],
            "a photo of a red car and an orange dog",
        ),
    ],
)
def test_texts_have_the_right_articles_plurals_and_order(include: list[dict[str, Any]], text: str) -> None:
    assert text_of({"tag": "any", "include": include}) == text


def test_other_random_numbers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geneval, "OFFICIAL_SEED", 44)
    with pytest.raises(DataError, match=r"numpy [\d.]+ does not draw GenEval's"):
        official_prompts()


def test_training_prompts_ask_for_nothing_official_and_nothing_twice(official: list[Prompt]) -> None:
    prompts = training_prompts(3000, seed=0)
    wanted = [combination(prompt.spec) for prompt in prompts]
    assert len(set(wanted)) == len({prompt.text for prompt in prompts}) == 3000
    assert not set(wanted) & {combination(prompt.spec) for prompt in official}
    assert not {prompt.text for prompt in prompts} & {prompt.text for prompt in official}
    for prompt in prompts:
        check_spec(prompt.spec)
        assert (prompt.split, prompt.task, prompt.text) == ("train", prompt.spec["tag"], text_of(prompt.spec))


def test_tasks_have_equal_shares_until_they_run_out() -> None:
    counts = Counter(prompt.task for prompt in training_prompts(2000, seed=0))
    assert counts.pop("counting") == 3 * 80 - 80  # all that the official prompts leave
    assert set(counts.values()) == {460}
    assert set(counts) == {"two_object", "colors", "position", "color_attr"}  # no single class is left to ask for


def test_persons_have_no_colour() -> None:
    coloured = [p for p in training_prompts(1500, seed=0) if p.task in ("colors", "color_attr")]
    assert coloured
    assert not any(item["class"] == "person" for prompt in coloured for item in prompt.spec["include"])


def test_more_prompts_are_added_to_the_fewer_and_seeds_differ() -> None:
    few, many, other = training_prompts(100, 0), training_prompts(200, 0), training_prompts(100, 1)
    assert {prompt.text for prompt in few} < {prompt.text for prompt in many}
    assert few == training_prompts(100, 0)
    assert len({prompt.text for prompt in few} & {prompt.text for prompt in other}) < 50


def test_more_than_there_are_is_a_clear_error() -> None:
    with pytest.raises(DataError, match="1000000 training prompts are wanted") as caught:
        training_prompts(1_000_000, 0)
    assert caught.value.where == "prompts.count"


def position(subject: str, relation: str, target: str) -> dict[str, Any]:
    items = [{"class": target, "count": 1}, {"class": subject, "count": 1, "position": [relation, 0]}]
    return {"tag": "position", "include": items}


def test_one_wish_in_other_words_is_the_same_combination() -> None:
    assert combination(position("dog", "left of", "cat")) == combination(position("cat", "right of", "dog"))
    assert combination(position("dog", "above", "cat")) == combination(position("cat", "below", "dog"))
    assert combination(position("dog", "left of", "cat")) != combination(position("dog", "right of", "cat"))
    assert combination(position("dog", "left of", "cat")) != combination(position("cat", "left of", "dog"))
    red_cat, blue_dog = ({"class": "cat", "count": 1, "color": "red"}, {"class": "dog", "count": 1, "color": "blue"})
    one = {"tag": "color_attr", "include": [red_cat, blue_dog]}
    assert combination(one) == combination({"tag": "color_attr", "include": [blue_dog, red_cat]})
    swapped = [{**red_cat, "color": "blue"}, {**blue_dog, "color": "red"}]
    assert combination(one) != combination({"tag": "color_attr", "include": swapped})
