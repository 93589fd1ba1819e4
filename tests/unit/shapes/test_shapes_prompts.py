"""Prompts of the embedded world: tasks, balance, disjoint splits."""

from __future__ import annotations

from collections import Counter

from advantageflow.records import Prompt
from advantageflow.shapes.prompts import TASKS, all_prompts


def combination(prompt: Prompt) -> tuple[object, ...]:
    """What the prompt asks for, whichever way round it is said."""
    include = prompt.spec["include"]
    objects = sorted((i["class"], i["count"], i.get("color", "")) for i in include)
    relation = next((i["position"][0] for i in include if "position" in i), "")
    if prompt.task == "position" and include[1]["class"] > include[0]["class"]:
        relation = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}[relation]
    return (prompt.task, *objects, relation)


def test_held_out_combinations_are_never_trained_on() -> None:
    prompts = [p for p in all_prompts() if p.task != "single_object"]
    train = {combination(p) for p in prompts if p.split == "train"}
    held_out = {combination(p) for p in prompts if p.split == "eval"}
    assert train
    assert held_out
    assert not train & held_out


def test_every_task_has_prompts_in_both_splits_and_many_held_out() -> None:
    counts = Counter((p.split, p.task) for p in all_prompts())
    for task in TASKS:
        assert counts["train", task] >= 8
        assert counts["eval", task] >= (8 if task == "single_object" else 12)


def test_texts_are_distinct_within_a_split() -> None:
    for split in ("train", "eval"):
        texts = [p.text for p in all_prompts() if p.split == split]
        assert len(texts) == len(set(texts))


def test_seed_decides_what_is_held_out() -> None:
    def held_out(seed: int) -> set[str]:
        return {p.text for p in all_prompts(seed) if p.split == "eval"}

    assert held_out(0) == held_out(0)
    assert held_out(0) != held_out(1)
