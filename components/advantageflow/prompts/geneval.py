"""GenEval's prompts: the official evaluation set, drawn again from its seed, and training prompts apart from it.

The templates, the six tasks and the order of random draws are those of GenEval (github.com/djghosh13/geneval, MIT
licence; Ghosh et al., arXiv 2310.11513), so that its seed gives its 553 evaluation prompts; none of its data is kept
here but their SHA-256, against which they are checked.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
from numpy.random import Generator

from advantageflow.balance import balanced_counts
from advantageflow.errors import DataError
from advantageflow.records import Prompt, derive_seed
from advantageflow.rewards.geneval.spec import CLASSES, COLORS, RELATIONS

OFFICIAL_SEED = 43
OFFICIAL_SHA256 = "94bc1c23d27e1ac4aa6d9415ac49a6e72263694e5149eb1d895cf61f9da1c083"  # of `fingerprint`
_OFFICIAL_DRAWS = 100  # of each task but single_object; equal draws are dropped
_NUMBERS = {2: "two", 3: "three", 4: "four"}
_ALREADY_PLURAL = ("scissors", "skis")
_CONVERSE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}

Spec = dict[str, Any]


def official_prompts() -> list[Prompt]:
    """The 553 evaluation prompts of GenEval, in its order, as the split 'eval'.
    Raises DataError: this version of numpy draws other random numbers than theirs, so the prompts would be others.
    """
    specs = list({json.dumps(spec): spec for spec in _official_draws()}.values())
    prompts = [_prompt(spec, "eval") for spec in specs]
    if fingerprint(prompts) != OFFICIAL_SHA256:
        raise DataError(
            f"numpy {np.__version__} does not draw GenEval's evaluation prompts from their seed",
            where="prompts.source geneval",
            remedy="install the numpy that this package pins, or give a file of prompts as prompts.source",
        )
    return prompts


def training_prompts(count: int, seed: int) -> list[Prompt]:
    """Prompts that ask for none of what the official ones ask for, in equal numbers of each task.
    Raises DataError: there are fewer than `count`.

    The same objects in another order, or a relation said from the other side, count as the same. Of single_object there
    are none: the official prompts ask for each of the 80 classes. Tasks that run out (counting has 160) leave their
    share to the others. A larger `count` adds prompts to those of a smaller one.
    """
    official = {combination(prompt.spec) for prompt in official_prompts()}
    sizes = {task: size - sum(key[0] == task for key in official) for task, size in _combinations().items()}
    if count > sum(sizes.values()):
        message = f"{count} training prompts are wanted, there are {sum(sizes.values())}"
        raise DataError(message, where="prompts.count", remedy="lower prompts.count")
    prompts: list[Prompt] = []
    for task, wanted in balanced_counts(sizes, count).items():
        rng = np.random.default_rng(derive_seed("geneval", seed, task))
        taken = set(official)
        while wanted:
            spec = _DRAWS[task](rng)
            if combination(spec) not in taken:
                taken.add(combination(spec))
                prompts.append(_prompt(spec, "train"))
                wanted -= 1
    return prompts


def combination(spec: Mapping[str, Any]) -> tuple[Any, ...]:
    """Task and objects that a spec asks for, however its text puts it: equal for 'a left of b' and 'b right of a'."""
    include = spec["include"]
    objects = sorted((item["class"], item["count"], item.get("color") or "") for item in include)
    relation = ""
    for item in include:
        if item.get("position"):
            relation, index = item["position"]
            if item["class"] > include[index]["class"]:
                relation = _CONVERSE[relation]
    return spec["tag"], relation, *objects


def text_of(spec: Mapping[str, Any]) -> str:
    """The prompt that GenEval's templates make of a spec of one of its six tasks."""
    first, *others = spec["include"]
    if first["count"] > 1:
        return f"a photo of {_NUMBERS[first['count']]} {_plural(first['class'])}"
    if not others:
        return f"a photo of {_named(first)}"
    (second,) = others
    if second.get("position"):
        return f"a photo of {_named(second)} {second['position'][0]} {_named(first)}"
    return f"a photo of {_named(first)} and {_named(second)}"


def fingerprint(prompts: list[Prompt]) -> str:
    """SHA-256 of texts and specs, in their order."""
    lines = (json.dumps({"prompt": prompt.text, **prompt.spec}, sort_keys=True) for prompt in prompts)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _prompt(spec: Spec, split: Literal["train", "eval"]) -> Prompt:
    return Prompt(text_of(spec), split, spec["tag"], spec)


def _named(item: Mapping[str, Any]) -> str:
    """Such as 'an orange cow'."""
    words = f"{item['color']} {item['class']}" if item.get("color") else item["class"]
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def _plural(name: str) -> str:
    """By GenEval's rule, faults ('benchs', 'sheeps') included: the model is judged by prompts that read so."""
    if name in _ALREADY_PLURAL:  # GenEval counts none of these
        return name
    return f"{name}es" if name.endswith("s") else f"{name}s"


def _official_draws() -> Iterator[Spec]:
    rng = np.random.default_rng(OFFICIAL_SEED)
    for number in rng.choice(len(CLASSES), size=len(CLASSES), replace=False):
        yield {"tag": "single_object", "include": [_object(number)]}
    for draw in _DRAWS.values():
        for _ in range(_OFFICIAL_DRAWS):
            yield draw(rng)


def _two_object(rng: Generator) -> Spec:
    one, other = rng.choice(len(CLASSES), size=2, replace=False)
    return {"tag": "two_object", "include": [_object(one), _object(other)]}


def _counting(rng: Generator) -> Spec:
    number, count = rng.choice(len(CLASSES)), int(rng.integers(min(_NUMBERS), max(_NUMBERS), endpoint=True))
    exclude = {"class": CLASSES[number], "count": count + 1}
    return {"tag": "counting", "include": [{**_object(number), "count": count}], "exclude": [exclude]}


def _colors(rng: Generator) -> Spec:
    number = 1 + rng.choice(len(CLASSES) - 1)  # nobody asks for the colour of a person, class 0
    return {"tag": "colors", "include": [_object(number, color=COLORS[rng.choice(len(COLORS))])]}


def _position(rng: Generator) -> Spec:
    one, other = rng.choice(len(CLASSES), size=2, replace=False)
    relation = RELATIONS[rng.choice(len(RELATIONS))]
    return {"tag": "position", "include": [_object(other), _object(one, position=[relation, 0])]}


def _color_attr(rng: Generator) -> Spec:
    objects = 1 + rng.choice(len(CLASSES) - 1, size=2, replace=False)
    colors = rng.choice(len(COLORS), size=2, replace=False)
    include = [_object(number, color=COLORS[color]) for number, color in zip(objects, colors, strict=True)]
    return {"tag": "color_attr", "include": include}


_DRAWS: dict[str, Callable[[Generator], Spec]] = {
    "two_object": _two_object,
    "counting": _counting,
    "colors": _colors,
    "position": _position,
    "color_attr": _color_attr,
}  # in the order of the official draws


def _object(number: int, **more: Any) -> dict[str, Any]:
    return {"class": CLASSES[number], "count": 1, **more}


def _combinations() -> dict[str, int]:
    """How many combinations each task has."""
    classes, colors = len(CLASSES), len(COLORS)
    pairs, coloured_pairs = classes * (classes - 1) // 2, (classes - 1) * (classes - 2) // 2
    return {
        "two_object": pairs,
        "counting": classes * len(_NUMBERS),
        "colors": (classes - 1) * colors,
        "position": pairs * len(RELATIONS),
        "color_attr": coloured_pairs * colors * (colors - 1),
    }
