"""Means over tasks and images, their intervals against simulation, and paired differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from advantageflow.errors import DataError
from advantageflow.evaluation.statistics import (
    Estimate,
    Outcome,
    difference,
    image_mean,
    mean_of_task_means,
    task_estimates,
)

TASKS = {"colors": (0.6, 20, 3), "counting": (0.3, 30, 2), "position": (0.1, 12, 5)}  # mean, prompts, images of each
REPEATS = 600


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


def coverage(estimates: Sequence[Estimate], truth: float) -> float:
    return float(np.mean([low <= truth <= high for low, high in (estimate.ci95 for estimate in estimates)]))


@pytest.mark.parametrize("overall", [mean_of_task_means, image_mean])
def test_the_interval_holds_the_truth_as_often_as_it_says(
    overall: Callable[[Sequence[Outcome], str], Estimate],
) -> None:
    random = np.random.default_rng(5)
    sizes = {task: prompts * images for task, (_, prompts, images) in TASKS.items()}
    means = {task: mean for task, (mean, _, _) in TASKS.items()}
    equal = sum(means.values()) / len(means)
    by_size = sum(means[task] * size for task, size in sizes.items()) / sum(sizes.values())
    truth = equal if overall is mean_of_task_means else by_size
    estimates = [overall(simulate(random)[0], "strict") for _ in range(REPEATS)]
    spread = float(np.std([estimate.mean for estimate in estimates]))
    assert np.mean([estimate.mean for estimate in estimates]) == pytest.approx(truth, abs=4 * spread / REPEATS**0.5)
    assert np.mean([estimate.standard_error for estimate in estimates]) == pytest.approx(spread, rel=0.1)
    assert 0.92 <= coverage(estimates, truth) <= 0.975


def test_the_paired_interval_holds_the_true_gain_and_is_narrower_than_unpaired() -> None:
    random = np.random.default_rng(6)
    gain = 0.2
    truth = sum(gain * (1 - mean) for mean, _, _ in TASKS.values()) / len(TASKS)
    pairs = [simulate(random, gain) for _ in range(REPEATS)]
    paired = [difference(before, after, "strict") for before, after in pairs]
    assert 0.92 <= coverage(paired, truth) <= 0.975
    unpaired = [
        math.hypot(*(mean_of_task_means(outcomes, "strict").standard_error for outcomes in pair)) for pair in pairs
    ]
    assert np.mean([estimate.standard_error for estimate in paired]) < 0.7 * np.mean(unpaired)


def test_tasks_weigh_equally_or_by_their_images() -> None:
    outcomes = [outcome("a", prompt, 0, 1.0) for prompt in range(9)] + [outcome("b", 0, 0, 0.0)]
    assert mean_of_task_means(outcomes, "strict").mean == pytest.approx(0.5)
    assert image_mean(outcomes, "strict").mean == pytest.approx(0.9)
    assert {task: estimate.mean for task, estimate in task_estimates(outcomes, "strict").items()} == {"a": 1, "b": 0}


def test_repeating_images_of_the_same_prompts_adds_no_certainty_if_they_are_alike() -> None:
    once = [outcome("a", prompt, 0, float(prompt % 2)) for prompt in range(10)]
    ten_times = [outcome("a", prompt, k, float(prompt % 2)) for prompt in range(10) for k in range(10)]
    assert mean_of_task_means(ten_times, "strict").standard_error == pytest.approx(
        mean_of_task_means(once, "strict").standard_error
    )


def test_one_image_of_each_prompt_gives_the_textbook_standard_error() -> None:
    values = np.random.default_rng(0).random(50)
    outcomes = [outcome("a", prompt, 0, 0.0, soft=value) for prompt, value in enumerate(values)]
    estimate = mean_of_task_means(outcomes, "soft")
    assert estimate.mean == pytest.approx(values.mean())
    assert estimate.standard_error == pytest.approx(values.std(ddof=1) / math.sqrt(50))
    assert estimate.ci95[1] - estimate.ci95[0] == pytest.approx(2 * 1.96 * estimate.standard_error, rel=1e-4)


def test_a_task_of_a_single_prompt_counts_its_images_apart() -> None:
    outcomes = [outcome("a", 0, k, float(k % 2)) for k in range(10)]
    assert mean_of_task_means(outcomes, "strict").standard_error == pytest.approx(
        np.std([0, 1] * 5, ddof=1) / math.sqrt(10)
    )


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4), st.booleans()), min_size=1, max_size=60))
def test_an_estimate_is_finite_and_no_change_is_exactly_zero(draws: list[tuple[str, int, bool]]) -> None:
    outcomes = [outcome(task, prompt, k, float(strict)) for k, (task, prompt, strict) in enumerate(draws)]
    estimate = mean_of_task_means(outcomes, "strict")
    assert 0 <= estimate.mean <= 1
    assert math.isfinite(estimate.standard_error)
    assert difference(outcomes, outcomes, "strict") == Estimate(0.0, 0.0)


def test_evaluations_of_different_images_cannot_be_compared() -> None:
    outcomes = [outcome("a", prompt, 0, 1.0) for prompt in range(3)]
    with pytest.raises(DataError, match="1 images are in only one"):
        difference(outcomes, outcomes[:2], "strict")
