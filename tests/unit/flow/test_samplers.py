"""ODE solvers: convergence orders, exact flows, cost in model evaluations, timestep grids."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from advantageflow.flow.samplers import Sampler, integrate, timesteps

SAMPLERS: tuple[Sampler, ...] = ("euler", "heun", "ab2")
MEAN, SPREAD = 1.5, 0.7  # of the Gaussian data whose flow is known


def gaussian_velocity(x: Tensor, sigma: float) -> Tensor:
    """`E[eps - x_0 | x_t = x]` for x_0 ~ N(MEAN, SPREAD^2): linear in x, with coefficients that change with sigma."""
    scale = (1 - sigma) ** 2 * SPREAD**2 + sigma**2
    growth = (sigma - (1 - sigma) * SPREAD**2) / scale
    return growth * (x - (1 - sigma) * MEAN) - MEAN


def sampling_error(sampler: Sampler, steps: int, shift: float) -> float:
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    samples = integrate(gaussian_velocity, noise, timesteps(steps, shift), sampler)
    return (samples - (MEAN + SPREAD * noise)).abs().max().item()


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize(("sampler", "order"), [("euler", 1), ("heun", 2), ("ab2", 2)])
def test_sampler_converges_at_its_order_on_a_linear_ode(sampler: Sampler, order: int, shift: float) -> None:
    coarse, fine = sampling_error(sampler, 256, shift), sampling_error(sampler, 512, shift)
    print(f"{sampler}, shift {shift}: error {coarse:.2e} -> {fine:.2e}, order {math.log2(coarse / fine):.3f}")
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.1)


def test_second_order_samplers_beat_euler_at_equal_cost() -> None:
    errors = {sampler: sampling_error(sampler, 12, 1.0) for sampler in SAMPLERS}
    assert errors["ab2"] < errors["euler"]
    assert errors["heun"] < errors["euler"]


@pytest.mark.parametrize("sampler", SAMPLERS)
@given(steps=st.integers(1, 9), shift=st.floats(0.2, 8), seed=st.integers(0, 2**32 - 1))
def test_straight_flow_is_exact_in_any_number_of_steps(sampler: Sampler, steps: int, shift: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    noise, x_0 = (torch.randn(2, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    samples = integrate(lambda x, sigma: noise - x_0, noise, timesteps(steps, shift), sampler)
    torch.testing.assert_close(samples, x_0)


@given(steps=st.integers(1, 9), shift=st.floats(0.2, 8))
def test_second_order_samplers_integrate_a_velocity_linear_in_sigma(steps: int, shift: float) -> None:
    # x' = 2 + 3 sigma: exact but for the Euler step that heun ends with when steps is odd, and that ab2 begins with.
    noise, sigmas = torch.zeros(1, dtype=torch.float64), timesteps(steps, shift)
    intervals = sigmas.diff()
    euler_step: dict[Sampler, float] = {"heun": intervals[-1].item() if steps % 2 else 0.0, "ab2": intervals[0].item()}
    for sampler, step in euler_step.items():
        result = integrate(lambda x, sigma: torch.full_like(x, 2 + 3 * sigma), noise, sigmas, sampler).item()
        assert result == pytest.approx(-3.5 - 1.5 * step**2, abs=1e-12)


@pytest.mark.parametrize("sampler", SAMPLERS)
@given(steps=st.integers(1, 12))
def test_steps_are_model_evaluations(sampler: Sampler, steps: int) -> None:
    evaluated: list[float] = []

    def velocity(x: Tensor, sigma: float) -> Tensor:
        evaluated.append(sigma)
        return torch.zeros_like(x)

    integrate(velocity, torch.zeros(1, 2), timesteps(steps), sampler)
    assert len(evaluated) == steps
    assert evaluated[0] == 1.0


@given(steps=st.integers(1, 100), shift=st.floats(0.05, 20))
def test_timesteps_fall_from_one_to_zero(steps: int, shift: float) -> None:
    sigmas = timesteps(steps, shift)
    assert sigmas.shape == (steps + 1,)
    assert sigmas[0] == 1.0
    assert sigmas[-1] == 0.0
    assert (sigmas.diff() < 0).all()


def test_shift_three_lifts_the_middle_to_three_quarters() -> None:
    assert timesteps(2, 3.0)[1].item() == pytest.approx(0.75)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samples_keep_the_precision_of_the_noise(sampler: Sampler) -> None:
    noise = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    assert integrate(gaussian_velocity, noise, timesteps(4), sampler).dtype == torch.float32
