"""Figures over seeds, held to Student's t as SciPy has it, and to what pairing is for."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from advantageflow_experiments.compare.statistics import curve_mean, estimate, first_reached, mean_curve, paired

accuracies = st.integers(0, 360).map(lambda correct: correct / 360)


@settings(deadline=None, max_examples=50)
@given(st.lists(accuracies, min_size=2, max_size=8))
def test_the_interval_is_student_s_t(values: list[float]) -> None:
    found = estimate(values)
    assert found.ci95 is not None
    if len(set(values)) == 1:
        assert found.ci95 == pytest.approx((values[0], values[0]))
    else:
        assert found.ci95 == pytest.approx(tuple(stats.ttest_1samp(values, 0.0).confidence_interval(0.95)), abs=1e-9)
    assert found.mean == pytest.approx(sum(values) / len(values))


def test_one_seed_has_no_interval() -> None:
    found = estimate([0.5])
    assert (found.mean, found.ci95, found.seeds) == (0.5, None, 1)


@settings(deadline=None, max_examples=50)
@given(st.lists(accuracies, min_size=2, max_size=6), st.floats(-0.5, 0.5))
def test_what_seeds_have_in_common_drops_out_of_a_paired_difference(values: list[float], offset: float) -> None:
    reference = dict(enumerate(values))
    found = paired({seed: value + offset for seed, value in reference.items()}, reference)
    assert found is not None
    assert found.mean == pytest.approx(offset, abs=1e-12)
    assert found.ci95 == pytest.approx((offset, offset), abs=1e-9)


def test_pairs_are_by_seed_whatever_the_order_of_the_seeds_that_both_have() -> None:
    found = paired({2: 0.7, 1: 0.5, 3: 0.9}, {1: 0.4, 2: 0.6})
    assert found is not None
    assert (found.mean, found.seeds) == (pytest.approx(0.1), 2)
    assert paired({1: 0.5}, {2: 0.6}) is None


def test_a_mean_curve_has_the_mean_place_and_the_mean_accuracy_of_each_evaluation() -> None:
    curve = mean_curve([[(0, 0.2), (10, 0.4)], [(0, 0.4), (30, 0.8)]], [True, True])
    assert [(point.x, point.accuracy.mean) for point in curve] == [(0, pytest.approx(0.3)), (20, pytest.approx(0.6))]


def test_a_run_that_was_cut_short_keeps_its_last_accuracy_and_its_times_do_not_count() -> None:
    curve = mean_curve([[(0, 0.2), (10, 0.4), (20, 0.6)], [(0, 0.2), (90, 0.3)]], [True, False])
    assert [point.x for point in curve] == [0, 10, 20]
    assert curve[-1].accuracy.mean == pytest.approx((0.6 + 0.3) / 2)
    assert curve[-1].accuracy.seeds == 2


def test_runs_that_were_all_cut_short_reach_as_far_as_the_longest() -> None:
    curve = mean_curve([[(0, 0.2)], [(0, 0.2), (9, 0.3)]], [False, False])
    assert [point.x for point in curve] == [0, 9]


@pytest.mark.parametrize(("target", "place"), [(0.2, 0), (0.3, 5), (0.4, 10), (0.65, 37.5), (0.9, None)])
def test_a_target_is_reached_between_two_evaluations(target: float, place: float | None) -> None:
    curve = [(0.0, 0.2), (10.0, 0.4), (20.0, 0.3), (30.0, 0.5), (40.0, 0.7)]
    assert first_reached(curve, target) == (None if place is None else pytest.approx(place))


@pytest.mark.parametrize(
    ("curve", "end", "mean"),
    [
        ([(0, 0.4), (100, 0.8)], 100, 0.6),
        ([(0, 0.4), (50, 0.8), (100, 0.8)], 100, 0.7),
        ([(0, 0.4), (50, 0.8)], 100, 0.7),  # cut short: the policy that it had is still there
        ([(0, 0.4), (10, 0.8), (100, 0.8)], 100, 0.78),  # unequal distances
        ([(0, 0.4)], 0, 0.4),
    ],
)
def test_the_mean_of_a_curve_is_the_area_under_it(curve: list[tuple[float, float]], end: float, mean: float) -> None:
    assert curve_mean(curve, end) == pytest.approx(mean)
