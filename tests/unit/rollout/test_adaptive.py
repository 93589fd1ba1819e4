"""Adaptive selection: mixed outcomes first, no task and no prompt starved, a pure function of its inputs."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advantageflow.errors import DataError
from advantageflow.records import Prompt
from advantageflow.rollout.adaptive import BALANCED_EVERY, PRIOR, Selection, select_adaptively, upper_bounds
from advantageflow.rollout.selection import select_prompts, task_counts
from advantageflow.store.prompt_history import GroupOutcome, PromptHistory

SIZES = {"a": 30, "b": 12, "c": 3}


def make_prompts(sizes: dict[str, int]) -> list[Prompt]:
    return [Prompt(f"{task} {k}", "train", task, {}) for task, size in sizes.items() for k in range(size)]


def outcome(round_index: int, gain: float) -> GroupOutcome:
    return GroupOutcome(round=round_index, mean=0.5, std=abs(gain), gain=gain)


def extended(outcomes: PromptHistory, gains: dict[str, float]) -> PromptHistory:
    """The outcomes and one more round with these gains."""
    number = outcomes.rounds + 1
    more = {one: (*outcomes.prompts.get(one, ()), outcome(number, gain)) for one, gain in gains.items()}
    return PromptHistory(rounds=number, prompts={**outcomes.prompts, **more})


def run_rounds(
    prompts: list[Prompt], count: int, rounds: int, gain: dict[str, float], seed: int = 0
) -> list[Selection]:
    """Rounds in which each prompt always has the same gain."""
    outcomes, selections = PromptHistory(), []
    for number in range(1, rounds + 1):
        selections.append(select_adaptively(seed, number, prompts, count, outcomes, 1.0))
        outcomes = extended(outcomes, {p.prompt_id: gain[p.prompt_id] for p in selections[-1].prompts})
    return selections


@pytest.mark.parametrize("known", [{}, {"of another file": (outcome(1, 0.5),)}])
def test_without_outcomes_the_round_is_the_balanced_one(known: dict[str, tuple[GroupOutcome, ...]]) -> None:
    prompts = make_prompts(SIZES)
    selection = select_adaptively(4, 2, prompts, 9, PromptHistory(rounds=1, prompts=known), 1.0)
    assert selection.prompts == select_prompts(4, 2, prompts, 9)
    assert selection.counts == {"adaptive": 0, "unseen": 0, "balanced": 9}


kept_shares = st.sampled_from([0.0, 0.3, 1.0])
task_sizes = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 9), min_size=1)


@settings(deadline=None, max_examples=50)
@given(task_sizes, st.integers(0, 2**31), st.integers(1, 12), kept_shares, st.data())
def test_a_round_has_distinct_prompts_and_every_task_what_it_is_sure_of(
    sizes: dict[str, int], seed: int, round_index: int, kept: float, data: st.DataObject
) -> None:
    prompts = make_prompts(sizes)
    count = data.draw(st.integers(1, len(prompts)))
    seen = data.draw(st.lists(st.sampled_from(prompts), min_size=1, unique_by=lambda prompt: prompt.prompt_id))
    outcomes = extended(PromptHistory(), {prompt.prompt_id: data.draw(st.floats(-1, 1)) for prompt in seen})
    selection = select_adaptively(seed, round_index, prompts, count, outcomes, kept)
    assert len(selection.prompts) == count == len({prompt.prompt_id for prompt in selection.prompts})
    assert sum(selection.counts.values()) == count
    shares = Counter(prompt.task for prompt in selection.prompts)
    for task, share in task_counts(sizes, count, round_index).items():
        assert shares[task] == share if kept == 1 else shares[task] >= math.floor(kept * share)
    shuffled = data.draw(st.permutations(prompts))
    assert select_adaptively(seed, round_index, shuffled, count, outcomes, kept) == selection


def test_prompts_with_mixed_outcomes_come_before_those_that_teach_nothing() -> None:
    prompts = make_prompts({"a": 20})
    useful = {prompt.prompt_id for prompt in prompts[:8]}
    gains = {prompt.prompt_id: 0.5 * (prompt.prompt_id in useful) for prompt in prompts}
    outcomes = extended(PromptHistory(), gains)
    selection = select_adaptively(0, 2, prompts, 10, outcomes, 1.0)
    assert selection.counts == {"adaptive": 8, "unseen": 0, "balanced": 2}
    chosen = {prompt.prompt_id for prompt in selection.prompts}
    balanced = {prompt.prompt_id for prompt in selection.prompts[:2]}
    assert useful <= chosen, "eight adaptive choices for eight that teach, fewer for those whose turn it was anyway"
    assert len(chosen - useful - balanced) == len(useful & balanced)


def test_rounds_draw_most_of_their_prompts_from_those_that_teach() -> None:
    prompts = make_prompts({"a": 40})
    useful = {prompt.prompt_id for prompt in random.Random(1).sample(prompts, 10)}
    gains = {prompt.prompt_id: 0.5 * (prompt.prompt_id in useful) for prompt in prompts}
    selections = run_rounds(prompts, 10, 12, gains)
    share = [sum(p.prompt_id in useful for p in selection.prompts) / 10 for selection in selections[5:]]
    assert sum(share) / len(share) > 0.6, "a quarter are useful; the balanced selection would draw a quarter"


def test_what_was_never_seen_comes_before_what_is_average_and_after_what_is_clearly_better() -> None:
    gains = {"good": 0.9, "fair": 0.5, "poor": 0.1}
    bounds = upper_bounds({"new": [], **{name: [outcome(1, gain)] for name, gain in gains.items()}}, rounds=1)
    assert bounds["good"] > bounds["new"] > bounds["fair"] > bounds["poor"]


def test_bound_follows_its_formula() -> None:
    bounds = upper_bounds({"x": [outcome(1, 0.8), outcome(3, 0.2)], "y": []}, rounds=3)
    weights, gains = (0.8**2, 1.0), (0.8, 0.2)
    mean = sum(w * g for w, g in zip(weights, gains, strict=True)) / sum(weights)
    spread = (sum(w * (g - mean) ** 2 for w, g in zip(weights, gains, strict=True)) / sum(weights)) ** 0.5
    assert bounds["y"] == pytest.approx(mean + spread / PRIOR**0.5)
    assert bounds["x"] == pytest.approx(mean + spread / (PRIOR + sum(weights)) ** 0.5)


def test_old_outcomes_are_forgotten() -> None:
    history = {"once good": [outcome(1, 1.0)], "good now": [outcome(30, 0.6)], "poor": [outcome(30, 0.1)]}
    fresh, old = upper_bounds(history, 30), upper_bounds({**history, "once good": [outcome(29, 1.0)]}, 30)
    assert old["once good"] > old["good now"]
    assert fresh["once good"] < fresh["good now"]


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 15), st.integers(1, 15), st.integers(0, 100))
def test_every_prompt_is_rolled_out_in_a_bounded_number_of_rounds(size: int, share: int, seed: int) -> None:
    """Even where a few prompts look endlessly better than all others."""
    share = min(share, size)
    prompts = make_prompts({"a": size})
    rounds = 2 * (-(-BALANCED_EVERY * size // share) + 1)
    gains = {prompt.prompt_id: float(number < 2) for number, prompt in enumerate(prompts)}
    chosen = [{p.prompt_id for p in one.prompts} for one in run_rounds(prompts, share, rounds, gains, seed)]
    for prompt in prompts:
        turns = [number for number, ids in enumerate(chosen) if prompt.prompt_id in ids]
        waits = [after - before for before, after in zip([-1, *turns], [*turns, rounds], strict=True)]
        assert max(waits) <= rounds / 2, prompt.text


def test_places_leave_tasks_that_teach_nothing_but_for_their_share() -> None:
    prompts = make_prompts({"solved": 20, "mixed": 20})
    gains = {prompt.prompt_id: 0.4 * (prompt.task == "mixed") for prompt in prompts}
    outcomes = extended(PromptHistory(), gains)
    for task_share, expected in ((1.0, 10), (0.5, 5), (0.0, 2)):
        selection = select_adaptively(0, 2, prompts, 20, outcomes, task_share)
        assert sum(prompt.task == "solved" for prompt in selection.prompts) == expected
        assert len({prompt.prompt_id for prompt in selection.prompts}) == 20


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 12), min_size=2, max_size=4), st.sampled_from([0.0, 0.3]), st.integers(0, 100))
def test_no_task_and_no_prompt_is_starved_where_one_task_has_all_the_gain(
    sizes: list[int], kept: float, seed: int
) -> None:
    """The small task gets no more than its prompts, and the others are not worth less than nothing."""
    by_task = dict(zip("abcd", sizes, strict=False))
    prompts, count = make_prompts(by_task), min(sum(sizes), 2 * len(sizes))
    outcomes, turns, rounds = PromptHistory(), Counter[str](), BALANCED_EVERY * sum(sizes) + 1
    for number in range(1, rounds + 1):
        selection = select_adaptively(seed, number, prompts, count, outcomes, kept)
        assert len({prompt.prompt_id for prompt in selection.prompts}) == count
        turns.update(prompt.prompt_id for prompt in selection.prompts)
        gains = {prompt.prompt_id: 0.5 if prompt.task == "a" else -0.1 for prompt in selection.prompts}
        outcomes = extended(outcomes, gains)
    assert set(turns) == {prompt.prompt_id for prompt in prompts}


def test_free_places_are_dealt_in_proportion_to_gains() -> None:
    prompts = make_prompts({"a": 40, "b": 40, "new": 40})
    gains = {prompt.prompt_id: {"a": 0.1, "b": 0.3}[prompt.task] for prompt in prompts if prompt.task != "new"}
    selection = select_adaptively(0, 2, prompts, 60, extended(PromptHistory(), gains), task_share=0.25)
    shares = Counter(prompt.task for prompt in selection.prompts)
    # 45 free choices as 1 : 3 : 2, for of the new task's prompts the usual gain is expected.
    assert [shares[task] - 5 for task in ("a", "b", "new")] == pytest.approx([7.5, 22.5, 15], abs=1)


def test_a_task_whose_groups_are_all_equal_goes_round_its_prompts() -> None:
    prompts = make_prompts({"a": 12})
    selections = run_rounds(prompts, 4, 3, dict.fromkeys((p.prompt_id for p in prompts), 0.0))
    assert len({prompt.prompt_id for selection in selections for prompt in selection.prompts}) == 12


def test_seeds_decide_among_equals_and_nothing_else_does() -> None:
    prompts = make_prompts(SIZES)
    outcomes = extended(PromptHistory(), {prompts[0].prompt_id: 0.3})
    first = select_adaptively(0, 2, prompts, 9, outcomes, 1.0)
    assert select_adaptively(0, 2, prompts, 9, outcomes, 1.0) == first
    assert select_adaptively(1, 2, prompts, 9, outcomes, 1.0) != first
    strangers = PromptHistory(rounds=1, prompts={**outcomes.prompts, "of another file": (outcome(1, 9.0),)})
    assert select_adaptively(0, 2, prompts, 9, strangers, 1.0) == first


def test_more_prompts_than_there_are_is_refused() -> None:
    with pytest.raises(DataError, match="takes 46 prompts, but there are only 45"):
        select_adaptively(0, 1, make_prompts(SIZES), 46, PromptHistory(), 1.0)
