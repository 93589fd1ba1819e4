"""Prompts that ask for a text in the picture: a scene with the text in double quotes, for the OCR reward."""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.random import Generator

from advantageflow.errors import DataError
from advantageflow.records import Prompt, derive_seed

TASK = "ocr"
HELD_OUT = 500  # prompts to judge by
LONGEST = 24  # letters of a text, spaces included
_HELD_OUT_SHARE = 10  # one text in this many is held out
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

SCENES = (
    'a shop window with the words "{text}" painted on the glass',
    'a wooden signpost on a hiking trail that reads "{text}"',
    'a neon sign glowing "{text}" above a bar at night',
    'a white coffee mug with "{text}" printed on it',
    'a chalkboard in a cafe that says "{text}"',
    'a road sign beside a desert highway that reads "{text}"',
    'a birthday cake with "{text}" written in icing',
    'the cover of a hardback book titled "{text}"',
    'a cardboard box labelled "{text}" in black marker',
    'a t-shirt on a hanger with "{text}" across the chest',
    'a poster on a brick wall that says "{text}"',
    'a train station board that shows "{text}"',
    'a paper note on a fridge that reads "{text}"',
    'a brass plate on an office door engraved with "{text}"',
    'a scoreboard in a stadium that displays "{text}"',
    'a delivery van with "{text}" on its side',
    'a glass bottle with a label that says "{text}"',
    'a bus whose destination sign shows "{text}"',
    'a laptop screen that shows "{text}" in large letters',
    'a flag on a beach with "{text}" written on it',
    'a stone above a gate carved with "{text}"',
    'a billboard over a city street that advertises "{text}"',
    'a notebook page with "{text}" written by hand',
    'a market stall with a banner that reads "{text}"',
)
_WORDS = (
    "apple autumn bakery banana beach bicycle bird blue bread bridge bright butter cactus camera candle castle "
    "cherry cinema cloud coffee comet copper coral corner cotton crystal daily dance desert diamond dinner dragon "
    "dream early earth east electric emerald engine evening family farm festival fire flower forest fresh friday "
    "future galaxy garden ginger glass gold grand green happy harbor harvest hello hidden holiday honey hotel house "
    "island jazz jungle kitchen lake lemon light lion little lucky magic maple market meadow melody midnight mint "
    "monday moon morning mountain music north ocean olive open orange orchid paper peace pepper piano planet pocket "
    "quiet rainbow river road rocket royal saffron sale school secret silver simple sky smile spring star station "
    "stone storm summer sunday sunset table tea theater thunder tiger today tomorrow travel valley vanilla velvet "
    "village violet water welcome west wild willow window winter wonder yellow young zebra"
)
WORDS = tuple(_WORDS.split())


def ocr_prompts(count: int, seed: int) -> list[Prompt]:
    """Training prompts, then 500 held-out ones, which are always the same. No text is in both, and there are no
    duplicates.

    Texts are words, numbers, and letters with digits, in capitals, in small letters or with a capital; their spec is
    {"text": ...}. The seed decides which are trained on. Raises DataError: `count` exceeds what there is.
    """
    return [*_draw("train", count, seed), *_draw("eval", HELD_OUT, 0)]


def is_held_out(text: str) -> bool:
    """Whether a text, however it is written, belongs to the held-out ones."""
    return derive_seed("ocr held out", text.lower()) % _HELD_OUT_SHARE == 0


def _draw(split: Literal["train", "eval"], count: int, seed: int) -> list[Prompt]:
    rng = np.random.default_rng(derive_seed("ocr", split, seed))
    prompts: dict[str, Prompt] = {}
    draws = 0
    while len(prompts) < count:
        draws += 1
        if draws > 50 * (count + 500):
            message = f"only {len(prompts)} of {count} prompts could be made"
            raise DataError(message, where="prompts.count", remedy="lower prompts.count")
        text = _KINDS[rng.integers(len(_KINDS))](rng)
        scene = SCENES[rng.integers(len(SCENES))].format(text=text)
        if is_held_out(text) == (split == "eval"):
            prompts.setdefault(scene.lower(), Prompt(scene, split, TASK, {"text": text}))
    return list(prompts.values())


def _words(rng: Generator) -> str:
    """Two or three words."""
    chosen = rng.choice(len(WORDS), size=int(rng.integers(2, 3, endpoint=True)), replace=False)
    text = " ".join(WORDS[number] for number in chosen)
    return _written(rng, text) if len(text) <= LONGEST else _words(rng)


def _number(rng: Generator) -> str:
    """Of one to five digits."""
    return str(rng.integers(1, 10 ** int(rng.integers(1, 5, endpoint=True))))


def _letters_and_digits(rng: Generator) -> str:
    """Such as KX-204 or B7."""
    letters = "".join(_LETTERS[number] for number in rng.integers(len(_LETTERS), size=int(rng.integers(1, 4))))
    return f"{letters}{'-' if len(letters) > 1 else ''}{_number(rng)[:3]}"


def _written(rng: Generator, text: str) -> str:
    return (text.upper(), text, text.capitalize(), text.title())[rng.integers(4)]


_KINDS: tuple[Callable[[Generator], str], ...] = (
    lambda rng: _written(rng, WORDS[rng.integers(len(WORDS))]),
    _words,
    _words,
    lambda rng: _written(rng, f"{WORDS[rng.integers(len(WORDS))]} {rng.integers(1, 100)}"),
    _number,
    _letters_and_digits,
)
