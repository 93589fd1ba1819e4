"""Prompts of the embedded world: GenEval's six tasks, with disjoint training and held-out combinations."""

from __future__ import annotations

import itertools
import random
from typing import Any, Literal

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


def all_prompts(seed: int = 0) -> list[Prompt]:
    """Every prompt of the embedded world: the training prompts, then the held-out ones.

    A combination (for example the two shapes of a two_object prompt, in either order) is in one split only.

    Args:
        seed: decides which combinations are held out.
    """
    prompts: list[Prompt] = []
    for shape in SHAPES:
        for split in _SPLITS:
            prompts.append(_prompt(split, "single_object", f"{_article(shape)}", [_object(shape)]))
    for task in TASKS[1:]:
        combinations = sorted(_combinations(task), key=lambda c: derive_seed(seed, task, *map(str, c)))
        if task == "color_attr":
            combinations = combinations[:_COLOR_ATTR_COMBINATIONS]
        for rank, combination in enumerate(combinations):
            prompts.extend(_phrase("eval" if rank < _HELD_OUT[task] else "train", task, combination))
    return sorted(prompts, key=lambda p: _SPLITS.index(p.split))


def hard_prompts(seed: int = 0) -> list[Prompt]:
    """Training prompts that combine the tasks, such as 'three red crosses and four blue hearts': as many tasks again.

    The embedded model practically never gets them right, so that their groups are all 0 and teach nothing: like those
    prompts of users that ask for too much.

    Args:
        seed: decides what is combined.
    """
    prompts: list[Prompt] = []
    for task in HARD_TASKS:
        draw = random.Random(derive_seed(seed, task))  # noqa: S311 - drawn by the seed, no secret
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
    word = draw.choice(RELATIONS) if task.endswith("position") else "and"
    text = f" {word} ".join(_article(s, c) if n == 1 else _many(s, n, c) for s, n, c in things)
    include = [_object(s, count=n, **({"color": c} if c else {})) for s, n, c in things]
    if word != "and":
        include = [include[1], include[0] | {"position": [word, 0]}]
    return _prompt("train", task, text, include)


_SPLITS: tuple[Literal["train", "eval"], ...] = ("train", "eval")


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


def _phrase(split: Literal["train", "eval"], task: str, combination: tuple[Any, ...]) -> list[Prompt]:
    """The prompts that say a combination."""
    if task == "two_object":
        a, b = combination
        return [
            _prompt(split, task, f"{_article(p)} and {_article(q)}", [_object(p), _object(q)])
            for p, q in ((a, b), (b, a))
        ]
    if task == "counting":
        shape, count = combination
        return [_prompt(split, task, _many(shape, count), [_object(shape, count=count)])]
    if task == "colors":
        shape, color = combination
        return [_prompt(split, task, _article(shape, color), [_object(shape, color=color)])]
    if task == "position":
        a, b, relation = combination
        phrases = ((a, b, relation), (b, a, _CONVERSE[relation]))
        return [
            _prompt(split, task, f"{_article(p)} {r} {_article(q)}", [_object(q), _object(p, position=[r, 0])])
            for p, q, r in phrases
        ]
    a, b, color_a, color_b = combination
    text = f"{_article(a, color_a)} and {_article(b, color_b)}"
    return [_prompt(split, task, text, [_object(a, color=color_a), _object(b, color=color_b)])]


def _prompt(split: Literal["train", "eval"], task: str, text: str, include: list[dict[str, Any]]) -> Prompt:
    spec: dict[str, Any] = {"tag": task, "include": include}
    if task == "counting":
        spec["exclude"] = [{"class": include[0]["class"], "count": include[0]["count"] + 1}]
    return Prompt(text=text, split=split, task=task, spec=spec)


def _object(shape: str, count: int = 1, **more: Any) -> dict[str, Any]:
    return {"class": shape, "count": count, **more}


def _many(shape: str, count: int, color: str = "") -> str:
    return " ".join(filter(None, (_NUMBERS[count], color, _PLURALS.get(shape, f"{shape}s"))))


def _article(shape: str, color: str = "") -> str:
    words = f"{color} {shape}".strip()
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"
