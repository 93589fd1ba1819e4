"""Means over tasks, their intervals against simulation, paired differences, and win rates with ties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advantageflow.errors import DataError
from advantageflow.evaluation.statistics import Interval, Outcome, difference, task_means, win_rate

TASKS = {"colors": (0.6, 20, 3), "counting": (0.3, 30, 2), "position": (0.1, 12, 5)}  # mean, prompts, images of each
REPEATS = 300


def outcome(task: str, prompt: int, repetition: int, strict: float, soft: float = 0.0) -> Outcome:
    return Outcome(f"{task}-{prompt}", task, repetition, 1000 * prompt + repetition, strict, soft)


def simulate(random: np.random.Generator, gain: float = 0.0) -> tuple[list[Outcome], list[Outcome]]:
    """Fresh prompts of uneven difficulty (beta-distributed about the task's mean), judged before and after a gain."""
    before, after = [], []
    for task, (mean, prompts, images) in TASKS.items():
        for prompt in range(prompts):
            chance = random.beta(3 * mean, 3 * (1 - mean))
            for repetition in range(images):
                draw = random.random()  # the same noise before and after
                before.append(outcome(task, prompt, repetition, float(draw < chance)))
                after.append(outcome(task, prompt, repetition, float(draw < chance + gain * (1 - chance))))
    return before, after


def with_soft(outcomes: list[Outcome], values: list[float]) -> list[Outcome]:
    return [
        Outcome(one.prompt_id, one.task, one.repetition, one.seed, one.strict, value, {"x.y": -value})
        for one, value in zip(outcomes, values, strict=True)
    ]


def width(interval: Interval) -> float:
    return interval.high - interval.low


def coverage(intervals: list[Interval], truth: float) -> float:
    return float(np.mean([one.low <= truth <= one.high for one in intervals]))


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(5)
    truth = float(np.mean([mean for mean, _, _ in TASKS.values()]))
    overall = [task_means(simulate(random)[0], "strict", seed=number).overall for number in range(REPEATS)]
    means = [one.mean for one in overall]
    assert np.mean(means) == pytest.approx(truth, abs=4 * float(np.std(means)) / REPEATS**0.5)
    assert np.mean([width(one) for one in overall]) == pytest.approx(2 * 1.96 * float(np.std(means)), rel=0.15)
    assert 0.9 <= coverage(overall, truth) <= 0.985


def test_the_paired_interval_holds_the_true_gain_and_is_narrower_than_unpaired() -> None:
    random = np.random.default_rng(6)
    gain = 0.2
    truth = sum(gain * (1 - mean) for mean, _, _ in TASKS.values()) / len(TASKS)
    pairs = [simulate(random, gain) for _ in range(REPEATS)]
    paired = [difference(before, after, "strict").overall for before, after in pairs]
    assert 0.9 <= coverage(paired, truth) <= 0.985
    unpaired = [np.hypot(*(width(task_means(one, "strict").overall) for one in pair)) for pair in pairs]
    assert np.mean([width(one) for one in paired]) < 0.7 * np.mean(unpaired)


def test_tasks_weigh_equally_however_many_images_they_have() -> None:
    means = task_means([*(outcome("b", prompt, 0, 1.0) for prompt in range(9)), outcome("a", 0, 0, 0.0)], "strict")
    assert means.overall.mean == pytest.approx(0.5)
    assert [(task, one.mean) for task, one in means.tasks.items()] == [("a", 0.0), ("b", 1.0)]


def test_repeating_images_of_the_same_prompts_adds_no_certainty_if_they_are_alike() -> None:
    once = [outcome("a", prompt, 0, float(prompt % 2)) for prompt in range(10)]
    ten_times = [outcome("a", prompt, k, float(prompt % 2)) for prompt in range(10) for k in range(10)]
    assert task_means(ten_times, "strict").overall == task_means(once, "strict").overall


def test_one_image_of_each_prompt_gives_the_textbook_interval() -> None:
    values = np.random.default_rng(0).random(50)
    overall = task_means([outcome("a", k, 0, 0.0, soft=value) for k, value in enumerate(values)], "soft").overall
    assert overall.mean == pytest.approx(values.mean())
    assert width(overall) == pytest.approx(2 * 1.96 * values.std(ddof=1) / 50**0.5, rel=0.1)


def test_a_task_of_a_single_prompt_has_its_images_as_draws() -> None:
    overall = task_means([outcome("a", 0, k, float(k % 2)) for k in range(12)], "strict").overall
    assert overall.low < overall.mean < overall.high


def test_equal_seeds_give_equal_intervals_and_other_seeds_others() -> None:
    outcomes = [outcome("a", k, 0, 0.0, soft=value) for k, value in enumerate(np.random.default_rng(6).random(10))]
    assert task_means(outcomes, "soft", seed=1) == task_means(outcomes, "soft", seed=1)
    assert task_means(outcomes, "soft", seed=1) != task_means(outcomes, "soft", seed=2)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4), st.booleans()), min_size=1, max_size=60))
def test_an_interval_lies_within_the_values_and_no_change_is_exactly_zero(draws: list[tuple[str, int, bool]]) -> None:
    outcomes = [outcome(task, prompt, k, float(strict)) for k, (task, prompt, strict) in enumerate(draws)]
    overall = task_means(outcomes, "strict").overall
    assert 0 <= overall.low <= overall.mean + 1e-12
    assert overall.mean - 1e-12 <= overall.high <= 1
    assert difference(outcomes, outcomes, "strict").overall == Interval(0.0, 0.0, 0.0)


def test_wins_ties_and_losses_are_counted_with_ties_as_halves() -> None:
    before = with_soft([outcome("a", prompt, 0, 0.0) for prompt in range(10)], [0.5] * 10)
    after = with_soft(before, [0.7] * 4 + [0.5] * 3 + [0.3] * 3)
    wins = win_rate(before, after, "soft")
    rate = wins.pop("rate")
    assert wins == pytest.approx({"wins": 0.4, "ties": 0.3, "losses": 0.3})
    assert rate["mean"] == pytest.approx(0.4 + 0.3 / 2)
    assert rate["ci95"][0] < rate["mean"] < rate["ci95"][1]
    back = win_rate(after, before, "soft")
    assert (back["wins"], back["losses"]) == (wins["losses"], wins["wins"])
    assert back["rate"]["mean"] == pytest.approx(1 - rate["mean"])


def test_where_lower_is_better_the_smaller_value_wins_also_of_a_term() -> None:
    before = with_soft([outcome("a", prompt, 0, 0.0) for prompt in range(6)], [0.5] * 6)
    after = with_soft(before, [0.25] * 6)
    assert win_rate(before, after, "soft", higher_is_better=False)["wins"] == 1.0
    assert win_rate(before, after, "x.y", higher_is_better=False)["losses"] == 1.0
    assert difference(before, after, "x.y").overall.mean == pytest.approx(0.25)


@pytest.mark.parametrize("compare", [difference, win_rate])
def test_evaluations_of_different_images_cannot_be_compared(compare: object) -> None:
    outcomes = [outcome("a", prompt, 0, 1.0) for prompt in range(3)]
    with pytest.raises(DataError, match="1 images are in only one"):
        compare(outcomes, outcomes[:2], "strict")  # type: ignore[operator]
