"""Which held-out images an evaluation makes."""

from __future__ import annotations

from advantageflow.evaluation.plan import choose_samples, plan_images
from advantageflow.records import Prompt

PROMPTS = [
    Prompt("train", "train", "colors"),
    Prompt("a", "eval", "colors"),
    Prompt("b", "eval", "colors"),
    Prompt("train too", "train", "position"),
    Prompt("c", "eval", "position"),
    Prompt("d", "eval", "colors"),
    Prompt("e", "eval", "position"),
]


def test_images_are_dealt_evenly_over_tasks_each_cycling_its_held_out_prompts_in_file_order() -> None:
    shots = plan_images(PROMPTS, 7, seed=3)
    assert [shot.prompt.text for shot in shots] == ["a", "c", "b", "e", "d", "c", "a"]
    assert [shot.row for shot in shots] == [1, 4, 2, 6, 5, 4, 1]
    assert [shot.repetition for shot in shots] == [0, 0, 0, 0, 0, 1, 1]


def test_seeds_depend_on_run_prompt_and_repetition_alone() -> None:
    shots = plan_images(PROMPTS, 7, seed=3)
    assert plan_images(PROMPTS, 7, seed=3) == shots
    assert plan_images(PROMPTS, 3, seed=3) == shots[:3]
    reordered = plan_images(PROMPTS[::-1], 10, seed=3)
    first = {(s.prompt.text, s.seed) for s in reordered if s.repetition == 0}
    assert first == {(s.prompt.text, s.seed) for s in shots if s.repetition == 0}
    assert len({shot.seed for shot in shots}) == 7
    assert not {shot.seed for shot in plan_images(PROMPTS, 7, seed=4)} & {shot.seed for shot in shots}


def test_samples_are_first_images_dealt_evenly_over_tasks() -> None:
    shots = plan_images(PROMPTS, 10, seed=0)
    assert [shot.prompt.text for shot in choose_samples(shots, 4)] == ["a", "c", "b", "e"]
    assert [shot.prompt.text for shot in choose_samples(shots, 5)] == ["a", "c", "b", "e", "d"]
    assert len(choose_samples(shots, 99)) == 5
    assert all(shot.repetition == 0 for shot in choose_samples(shots, 5))
