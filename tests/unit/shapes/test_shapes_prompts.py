"""Prompts of the embedded world: tasks, balance, disjoint splits."""

from __future__ import annotations

from collections import Counter

from advantageflow.records import Prompt
from advantageflow.shapes.architecture import TEXT_TOKENS, build_tokenizer
from advantageflow.shapes.prompts import HARD_TASKS, TASKS, all_prompts, hard_prompts
from advantageflow.shapes.scenes import GRID, RELATIONS


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


def test_hard_prompts_are_of_other_tasks_distinct_and_always_the_same() -> None:
    prompts = hard_prompts()
    assert Counter(prompt.task for prompt in prompts) == dict.fromkeys(HARD_TASKS, 60)
    assert len(HARD_TASKS) == len(TASKS)
    assert not set(HARD_TASKS) & set(TASKS)
    texts = {prompt.text for prompt in prompts}
    assert len(texts) == len(prompts)
    assert not texts & {prompt.text for prompt in all_prompts()}
    assert prompts == hard_prompts(), "drawn from a seed"


def test_hard_prompts_could_be_drawn_and_are_in_words_that_the_model_knows() -> None:
    vocabulary = set(build_tokenizer(clip=True).get_vocab())
    for prompt in hard_prompts():
        words = prompt.text.split()
        assert set(words) <= vocabulary
        assert len(words) <= TEXT_TOKENS - 2, "the frame takes two"
        assert sum(item["count"] for item in prompt.spec["include"]) <= GRID**2


def test_specs_of_hard_prompts_say_what_their_texts_say() -> None:
    prompts = {prompt.task: prompt for prompt in hard_prompts()}
    position = prompts["counting_attr_position"]
    second, first = position.spec["include"]
    numbers = {3: "three", 4: "four"}
    said = [f"{numbers[item['count']]} {item['color']} {item['class']}" for item in (first, second)]
    relation, target = first["position"]
    assert relation in RELATIONS
    assert target == 0
    assert position.text.replace("crosses", "crosss") == f"{said[0]}s {relation} {said[1]}s"
    assert [item["count"] for item in prompts["attr_position"].spec["include"]] == [1, 1]
    assert len(prompts["counting_colors"].spec["include"]) == 1
