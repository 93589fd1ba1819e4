"""The gate between candidate and champion: what promotes, what keeps, and that two cannot each beat the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advantageflow.evaluation.promotion import Trial, decide
from advantageflow.evaluation.statistics import Outcome
from advantageflow.settings_stages import PromotionSettings

GATE = PromotionSettings()
Grid = list[list[bool]]


def outcomes(correct: Grid, seed: int) -> list[Outcome]:
    """A row is a task of prompts with an image each."""
    return [
        Outcome(f"{task}-{number}", f"task {task}", 0, 1000 * seed + 100 * task + number, float(value), float(value))
        for task, row in enumerate(correct)
        for number, value in enumerate(row)
    ]


def trials(champion: Grid, candidate: Grid, seeds: int = 2, alarms: tuple[str, ...] = ()) -> list[Trial]:
    return [Trial(seed, outcomes(champion, seed), outcomes(candidate, seed), alarms) for seed in range(seeds)]


def grid(share: float, tasks: int = 2, prompts: int = 20) -> Grid:
    return [[number < share * prompts for number in range(prompts)] for _ in range(tasks)]


grids = st.lists(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=6, max_size=6), min_size=2, max_size=3)


def test_a_clear_improvement_on_two_seeds_is_promoted_and_told() -> None:
    decision = decide(trials(grid(0.3), grid(0.8)), GATE)
    assert (decision.promote, decision.reasons) == (True, ())
    assert [change.mean for change in decision.changes] == pytest.approx([0.5, 0.5])
    assert all(0 < change.at_least < change.mean for change in decision.changes)
    assert "+0.500" in decision.as_json()["summary"]


@pytest.mark.parametrize(
    ("judged", "words"),
    [
        (trials(grid(0.3), grid(0.3)), "no improvement beyond doubt on seed 0"),
        (trials(grid(0.8), grid(0.3)), "no improvement beyond doubt on seed 1"),
        (trials(grid(0.3), grid(0.35)), "no improvement beyond doubt"),
        (trials(grid(0.3), grid(0.8), seeds=1), "judged on 1 seeds, fewer than 2"),
        (trials(grid(0.3), grid(0.8), alarms=("pictures have become dark",)), "alarm: pictures have become dark"),
        ([*trials(grid(0.3), grid(0.8), 1), *trials(grid(0.3), grid(0.3))[1:]], "on seed 1"),
        (trials([[True] * 20, [False] * 20], [[True] * 18 + [False] * 2, [True] * 20]), "task 'task 0' falls by 0.100"),
    ],
)  # fmt: skip
def test_anything_less_is_kept_with_the_reason(judged: list[Trial], words: str) -> None:
    decision = decide(judged, GATE)
    assert not decision.promote
    assert any(words in reason for reason in decision.reasons), decision.reasons


def test_what_is_better_when_lower_is_promoted_when_it_falls() -> None:
    assert decide(trials(grid(0.8), grid(0.3)), GATE, higher_is_better=False).promote
    assert not decide(trials(grid(0.3), grid(0.8)), GATE, higher_is_better=False).promote


def test_what_training_does_not_see_must_not_fall_beyond_doubt() -> None:
    def judged(watched: float) -> list[Trial]:
        return [
            Trial(one.seed, with_watched(one.champion, 0.8), with_watched(one.candidate, watched))
            for one in trials(grid(0.3), grid(0.8))
        ]

    for rises, falling in ((True, 0.4), (False, 0.95)):
        kept = decide(judged(falling), GATE, watched={"eye": rises})
        assert any("watched reward 'eye' falls beyond doubt" in reason for reason in kept.reasons)
        assert decide(judged(falling), GATE, watched={"eye": not rises}).promote
    assert decide(judged(0.8), GATE, watched={"eye": True}).promote
    assert decide(judged(0.4), replace_settings(watched_must_hold=False), watched={"eye": True}).promote


def with_watched(judged: Sequence[Outcome], value: float) -> list[Outcome]:
    return [replace(one, terms={"eye": value}) for one in judged]


@settings(max_examples=25, deadline=None)
@given(grids)
def test_two_policies_never_both_beat_each_other_and_none_beats_itself(pairs: list[list[tuple[bool, bool]]]) -> None:
    one, other = ([[pair[side] for pair in row] for row in pairs] for side in (0, 1))
    assert not (decide(trials(one, other), GATE).promote and decide(trials(other, one), GATE).promote)
    assert not decide(trials(one, one), GATE).promote


@settings(max_examples=25, deadline=None)
@given(grids, st.floats(0.55, 0.8), st.floats(0.85, 0.99))
def test_a_stricter_gate_promotes_nothing_that_a_laxer_one_keeps(
    pairs: list[list[tuple[bool, bool]]], lax: float, strict: float
) -> None:
    judged = trials(*([[pair[side] for pair in row] for row in pairs] for side in (0, 1)))
    stricter = replace_settings(confidence=strict, task_drop=0.0)
    if decide(judged, stricter).promote:
        assert decide(judged, replace_settings(confidence=lax, task_drop=0.1)).promote
    alarmed = [replace(trial, alarms=("an alarm",)) for trial in judged]
    assert not decide(alarmed, stricter).promote


def replace_settings(**values: float) -> PromotionSettings:
    return PromotionSettings.model_validate(values)
