"""Prompts with a text in double quotes, no text in both splits."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from advantageflow.errors import DataError
from advantageflow.prompts import ocr
from advantageflow.prompts.ocr import HELD_OUT, LONGEST, SCENES, is_held_out, ocr_prompts


def test_the_spec_is_the_first_quoted_text_of_the_prompt() -> None:
    for prompt in ocr_prompts(500, seed=0):
        assert re.findall(r'"([^"]*)"', prompt.text) == [prompt.spec["text"]]
        assert prompt.task == "ocr"
        assert 1 <= len(prompt.spec["text"]) <= LONGEST
        assert prompt.spec["text"].strip() == prompt.spec["text"]


def test_no_text_is_in_both_splits_however_it_is_written() -> None:
    prompts = ocr_prompts(3000, seed=0)
    texts = {split: {p.spec["text"].lower() for p in prompts if p.split == split} for split in ("train", "eval")}
    assert texts["train"]
    assert texts["eval"]
    assert not texts["train"] & texts["eval"]
    assert is_held_out("Open") == is_held_out("OPEN")
    assert Counter(prompt.split for prompt in prompts) == {"train": 3000, "eval": HELD_OUT}
    assert len({prompt.text.lower() for prompt in prompts}) == len(prompts)


def test_texts_are_words_numbers_and_letters_in_several_spellings_and_scenes() -> None:
    prompts = ocr_prompts(1000, seed=0)
    texts = [prompt.spec["text"] for prompt in prompts]
    kinds = [r"[a-z]+", r"[A-Z]+", r"[A-Z][a-z]+", r"[A-Z][a-z]+ [A-Z][a-z]+", r"\d+", r"[A-Z]{2,3}-\d+", r"[a-z]+ \d+"]
    for kind in kinds:
        assert sum(re.fullmatch(kind, text) is not None for text in texts) > 5, kind
    used = {scene for scene in SCENES if any(p.text == scene.format(text=p.spec["text"]) for p in prompts)}
    assert used == set(SCENES)


def test_held_out_prompts_are_always_the_same_and_seeds_differ() -> None:
    one, two = ocr_prompts(50, seed=0), ocr_prompts(50, seed=1)
    assert one == ocr_prompts(50, seed=0)
    assert one[50:] == two[50:]
    assert one[:50] != two[:50]
    assert ocr_prompts(80, seed=0)[:50] == one[:50]


def test_more_than_there_are_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ocr, "_KINDS", (lambda rng: "Stop",))
    with pytest.raises(DataError, match="of 60 prompts could be made") as caught:
        ocr_prompts(60, seed=0)
    assert caught.value.where == "prompts.count"
