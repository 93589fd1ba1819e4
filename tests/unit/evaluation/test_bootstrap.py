"""Bootstrap intervals against simulation, and win rates with ties."""

from __future__ import annotations

import numpy as np
import pytest

from advantageflow.errors import DataError
from advantageflow.evaluation.bootstrap import bootstrap_change, bootstrap_means, win_rate
from advantageflow.evaluation.statistics import Outcome, mean_of_task_means


def images(random: np.random.Generator, prompts: int, each: int, spread: float, task: str = "a") -> list[Outcome]:
    """Images whose prompts differ by `spread` and which differ by 0.1 within a prompt."""
    levels = random.normal(0.5, spread, prompts)
    return [
        Outcome(f"{task}{number}", task, repetition, 100 * number + repetition, 0.0, random.normal(level, 0.1))
        for number, level in enumerate(levels)
        for repetition in range(each)
    ]


def with_soft(outcomes: list[Outcome], values: list[float]) -> list[Outcome]:
    return [
        Outcome(one.prompt_id, one.task, one.repetition, one.seed, one.strict, value, {"x.y": -value})
        for one, value in zip(outcomes, values, strict=True)
    ]


def test_the_interval_holds_the_truth_nearly_as_often_as_it_says() -> None:
    random = np.random.default_rng(3)
    held = 0
    for number in range(300):
        overall = bootstrap_means(images(random, 25, 6, 0.2), "soft", seed=number, replicates=300).overall
        held += overall.low <= 0.5 <= overall.high
    assert 0.88 <= held / 300 <= 0.985


def test_it_agrees_with_the_linearised_standard_error() -> None:
    random = np.random.default_rng(4)
    outcomes = images(random, 40, 3, 0.2, "a") + images(random, 30, 5, 0.1, "b")
    means = bootstrap_means(outcomes, "soft", seed=1)
    estimate = mean_of_task_means(outcomes, "soft")
    low, high = estimate.ci95
    assert means.overall.mean == pytest.approx(estimate.mean)
    assert means.overall.high - means.overall.low == pytest.approx(high - low, rel=0.15)
    assert list(means.tasks) == ["a", "b"]


def test_prompts_are_drawn_not_images_so_more_images_of_few_prompts_do_not_feign_certainty() -> None:
    random = np.random.default_rng(5)
    few, many = (bootstrap_means(images(random, 8, each, 0.3), "soft").overall for each in (2, 40))
    assert many.high - many.low > 0.5 * (few.high - few.low)


def test_equal_seeds_give_equal_intervals_and_other_seeds_others() -> None:
    outcomes = images(np.random.default_rng(6), 10, 2, 0.2)
    assert bootstrap_means(outcomes, "soft", seed=1) == bootstrap_means(outcomes, "soft", seed=1)
    assert bootstrap_means(outcomes, "soft", seed=1) != bootstrap_means(outcomes, "soft", seed=2)


def test_pairing_takes_out_what_prompts_and_noise_have_in_common() -> None:
    before = images(np.random.default_rng(7), 20, 3, 0.3)
    after = with_soft(before, [one.soft + 0.1 for one in before])
    change = bootstrap_change(before, after, "soft").overall
    assert (change.mean, change.low, change.high) == (pytest.approx(0.1), pytest.approx(0.1), pytest.approx(0.1))


def test_wins_ties_and_losses_are_counted_with_ties_as_halves() -> None:
    before = images(np.random.default_rng(8), 10, 1, 0.0)
    values = [one.soft + (0.2 if number < 4 else 0.0 if number < 7 else -0.2) for number, one in enumerate(before)]
    after = with_soft(before, values)
    wins = win_rate(before, after, "soft")
    assert (wins.wins, wins.ties, wins.losses) == (pytest.approx(0.4), pytest.approx(0.3), pytest.approx(0.3))
    assert wins.rate.mean == pytest.approx(0.4 + 0.3 / 2)
    assert wins.rate.low < wins.rate.mean < wins.rate.high
    back = win_rate(after, before, "soft")
    assert (back.wins, back.losses) == (wins.losses, wins.wins)
    assert back.rate.mean == pytest.approx(1 - wins.rate.mean)


def test_where_lower_is_better_the_smaller_value_wins_also_of_a_term() -> None:
    before = with_soft(images(np.random.default_rng(9), 6, 1, 0.1), [0.5] * 6)
    after = with_soft(before, [0.25] * 6)
    assert win_rate(before, after, "soft", higher_is_better=False).wins == 1.0
    assert win_rate(before, after, "x.y", higher_is_better=False).losses == 1.0
    assert bootstrap_change(before, after, "x.y").overall.mean == pytest.approx(0.25)


def test_a_task_of_a_single_prompt_has_its_images_as_draws() -> None:
    outcomes = images(np.random.default_rng(10), 1, 12, 0.0)
    overall = bootstrap_means(outcomes, "soft").overall
    assert overall.low < overall.mean < overall.high


def test_evaluations_of_other_images_are_refused() -> None:
    outcomes = images(np.random.default_rng(11), 3, 2, 0.1)
    with pytest.raises(DataError, match="1 images are in only one of them"):
        win_rate(outcomes, outcomes[1:], "soft")
