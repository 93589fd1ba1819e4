"""The rectified-flow path, its velocity, and random training times."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from advantageflow.flow.path import TimeSampling, interpolate, sample_times, velocity_target
from advantageflow.flow.samplers import timesteps

SAMPLINGS: tuple[TimeSampling, ...] = ("uniform", "stratified", "logit_normal")


@given(seed=st.integers(0, 2**32 - 1), time=st.floats(0, 1))
def test_path_joins_data_and_noise_at_the_constant_target_velocity(seed: int, time: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    x_0, noise = (torch.randn(3, 2, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    t = torch.full((3,), time, dtype=torch.float64)
    x_t, velocity = interpolate(x_0, noise, t), velocity_target(x_0, noise)
    torch.testing.assert_close(interpolate(x_0, noise, torch.zeros_like(t)), x_0)
    torch.testing.assert_close(interpolate(x_0, noise, torch.ones_like(t)), noise)
    torch.testing.assert_close(x_t - time * velocity, x_0)
    torch.testing.assert_close(x_t + (1 - time) * velocity, noise)


def test_each_sample_has_its_own_time() -> None:
    x_t = interpolate(torch.zeros(2, 3), torch.ones(2, 3), torch.tensor([0.25, 0.75]))
    assert x_t[:, 0].tolist() == [0.25, 0.75]


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_times_lie_in_the_unit_interval_and_repeat_with_the_seed(sampling: TimeSampling) -> None:
    first, again, other = (sample_times(1000, sampling, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.min() >= 0
    assert first.max() <= 1


@pytest.mark.parametrize(
    ("sampling", "distribution"), [("uniform", "uniform"), ("stratified", "uniform"), ("logit_normal", "norm")]
)
def test_times_follow_their_distribution(sampling: TimeSampling, distribution: str) -> None:
    times = sample_times(4000, sampling, torch.Generator().manual_seed(0)).double()
    values = torch.logit(times) if sampling == "logit_normal" else times
    assert stats.kstest(values.numpy(), distribution).pvalue > 0.01


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 300))
def test_stratified_times_put_one_sample_into_each_interval(seed: int, count: int) -> None:
    times = sample_times(count, "stratified", torch.Generator().manual_seed(seed))
    # Rounding may lift a time onto the edge of the next interval, never beyond.
    position = times.sort().values.double() * count - torch.arange(count)
    assert position.min() >= -1e-4
    assert position.max() <= 1 + 1e-4


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 200), fraction=st.floats(0.05, 1))
def test_times_of_the_sampler_are_its_first_levels_each_as_often_as_the_others(
    seed: int, count: int, fraction: float
) -> None:
    levels = timesteps(10, 3.0)[:-1]
    times = sample_times(count, "sampler", torch.Generator().manual_seed(seed), levels=levels, fraction=fraction)
    usable = levels[: max(1, math.floor(fraction * 10 + 1e-9))].float()
    often = (times[:, None] == usable).sum(0)
    assert often.sum() == count
    assert often.max() - often.min() <= 1


@given(seed=st.integers(0, 2**32 - 1), fraction=st.floats(0.05, 1), shift=st.floats(0.2, 5))
def test_times_leave_out_those_near_the_data_and_are_shifted_as_a_samplers(
    seed: int, fraction: float, shift: float
) -> None:
    plain, times = (
        sample_times(50, "stratified", torch.Generator().manual_seed(seed), **options).double()
        for options in ({}, {"fraction": fraction, "shift": shift})
    )
    t = 1 - fraction * (1 - plain)
    assert t.min() >= 1 - fraction
    torch.testing.assert_close(times, shift * t / (1 + (shift - 1) * t), atol=1e-6, rtol=1e-5)


def test_stratified_times_come_in_random_order() -> None:
    times = sample_times(1000, "stratified", torch.Generator().manual_seed(0))
    correlation = torch.corrcoef(torch.stack([times, torch.arange(1000.0)]))[0, 1]
    assert abs(correlation) < 0.15
