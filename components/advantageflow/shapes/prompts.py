"""Prompts of the embedded world: GenEval's six tasks, with disjoint training and held-out combinations."""

import itertools
import random
from typing import Any

from advantageflow.records import Prompt, derive_seed
from advantageflow.shapes.scenes import COLORS, MAX_COUNT, RELATIONS, SHAPES

TASKS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
_NUMBERS = {2: "two", 3: "three", 4: "four"}
_PLURALS = {"cross": "crosses"}
_CONVERSE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
# Held-out combinations of each task; single_object has too few to split, so its prompts serve both.
_HELD_OUT = {"two_object": 10, "counting": 12, "colors": 20, "position": 30, "color_attr": 40}
_COLOR_ATTR_COMBINATIONS = 400
HARD_TASKS = (
    "counting_colors", "counting_two", "counting_attr", "counting_position", "attr_position", "counting_attr_position",
)  # fmt: skip
_HARD_PROMPTS = 60  # of each


Things = list[tuple[str, int, str]]
"""One or two of: a shape, how many, and a colour or ''."""


def all_prompts() -> list[Prompt]:
    """Every prompt of the embedded world: the training prompts, then the held-out ones.

    A combination (for example the two shapes of a two_object prompt, in either order) is in one split only.
    """
    prompts: dict[str, list[Prompt]] = {"train": [], "eval": []}
    for shape in SHAPES:
        for split in ("train", "eval"):
            prompts[split].append(_prompt(split, "single_object", [(shape, 1, "")]))
    for task in TASKS[1:]:
        combinations = sorted(_combinations(task), key=lambda c: derive_seed(0, task, *map(str, c)))
        if task == "color_attr":
            combinations = combinations[:_COLOR_ATTR_COMBINATIONS]
        for rank, combination in enumerate(combinations):
            split = "eval" if rank < _HELD_OUT[task] else "train"
            prompts[split] += [_prompt(split, task, things, word) for things, word in _phrases(task, combination)]
    return prompts["train"] + prompts["eval"]


def hard_prompts() -> list[Prompt]:
    """Training prompts that combine the tasks, such as 'three red crosses and four blue hearts': as many tasks again.

    The embedded model practically never gets them right, so that their groups are all 0 and teach nothing: like those
    prompts of users that ask for too much.
    """
    prompts: list[Prompt] = []
    for task in HARD_TASKS:
        draw = random.Random(derive_seed(0, task))  # noqa: S311 - drawn by the seed, no secret
        of_task: dict[str, Prompt] = {}
        while len(of_task) < _HARD_PROMPTS:
            prompt = _hard_prompt(task, draw)
            of_task[prompt.text] = prompt
        prompts += of_task.values()
    return prompts


def _hard_prompt(task: str, draw: random.Random) -> Prompt:
    """Three or four of a shape, but for 'attr_position'; two shapes, but for 'counting_colors'."""
    shapes = draw.sample(SHAPES, 2)
    counts = [1, 1] if task == "attr_position" else [draw.choice((3, 4)) for _ in shapes]
    colors = ["", ""] if task in ("counting_two", "counting_position") else draw.sample(list(COLORS), 2)
    things = list(zip(shapes, counts, colors, strict=True))[: 1 if task == "counting_colors" else 2]
    return _prompt("train", task, things, draw.choice(RELATIONS) if task.endswith("position") else "and")


def _combinations(task: str) -> list[tuple[Any, ...]]:
    pairs = list(itertools.combinations(SHAPES, 2))
    if task == "two_object":
        return list(pairs)
    if task == "counting":
        return list(itertools.product(SHAPES, range(2, MAX_COUNT + 1)))
    if task == "colors":
        return list(itertools.product(SHAPES, COLORS))
    if task == "position":  # 'a left of b' and 'b right of a' are one combination
        return [(a, b, r) for a, b in pairs for r in RELATIONS]
    return [(a, b, c, d) for a, b in pairs for c, d in itertools.permutations(COLORS, 2)]


def _phrases(task: str, combination: tuple[Any, ...]) -> list[tuple[Things, str]]:
    """The ways to say a combination: the things, and what stands between them."""
    first, second, *more = combination
    if task == "counting":
        return [([(first, second, "")], "and")]
    if task == "colors":
        return [([(first, 1, second)], "and")]
    if task == "color_attr":
        return [([(first, 1, more[0]), (second, 1, more[1])], "and")]
    pair: Things = [(first, 1, ""), (second, 1, "")]
    word, back = (more[0], _CONVERSE[more[0]]) if more else ("and", "and")
    return [(pair, word), (pair[::-1], back)]


def _prompt(split: str, task: str, things: Things, word: str = "and") -> Prompt:
    include: list[dict[str, Any]]
    include = [{"class": s, "count": n, **({"color": color} if color else {})} for s, n, color in things]
    if word != "and":
        include = [include[1], include[0] | {"position": [word, 0]}]
    spec: dict[str, Any] = {"tag": task, "include": include}
    if task == "counting":
        spec["exclude"] = [{"class": include[0]["class"], "count": include[0]["count"] + 1}]
    text = f" {word} ".join(_said(*thing) for thing in things)
    return Prompt(text, "eval" if split == "eval" else "train", task, spec)


def _said(shape: str, count: int, color: str) -> str:
    """Such as 'an orange star' or 'two red crosses'."""
    if count > 1:
        return " ".join(filter(None, (_NUMBERS[count], color, _PLURALS.get(shape, f"{shape}s"))))
    words = f"{color} {shape}".strip()
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"
