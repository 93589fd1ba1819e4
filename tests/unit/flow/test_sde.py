"""Stochastic sampling: its step against the reverse SDE of a known flow, its marginals, and the ODE as its limit."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal

from advantageflow.flow.samplers import integrate, timesteps
from advantageflow.flow.sde import StochasticSampler, Trajectory, Transition, concatenate, integrate_sde, transition

MEAN, SPREAD = 1.5, 0.7  # of Gaussian data, whose marginals, score and velocity are known
SEEDS = st.integers(0, 2**32 - 1)


def marginal(sigma: float | Tensor) -> Normal:
    """Of x_sigma = (1 - sigma) x_0 + sigma eps."""
    sigma = torch.as_tensor(sigma, dtype=torch.float64)
    return Normal((1 - sigma) * MEAN, ((1 - sigma) ** 2 * SPREAD**2 + sigma**2).sqrt())


def gaussian_velocity(x: Tensor, sigma: float | Tensor) -> Tensor:
    """`E[eps - x_0 | x]`, from the joint Gaussian of eps - x_0 and x."""
    law = marginal(sigma)
    covariance = sigma - (1 - sigma) * SPREAD**2
    return -MEAN + covariance / law.variance * (x - law.mean)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def noise_of(seed: int, *shape: int) -> tuple[Tensor, list[Tensor]]:
    """Initial noise, and that of ten steps."""
    first, *others = normal(seed, 11, *shape)
    return first, others


@given(seed=SEEDS, sigma=st.floats(0.05, 0.95), fraction=st.floats(0, 0.95), level=st.floats(0.05, 1.5))
def test_step_is_euler_maruyama_of_the_reverse_sde_with_the_exact_score(
    seed: int, sigma: float, fraction: float, level: float
) -> None:
    following = fraction * sigma
    x, x_next = normal(seed, 2, 3, 4)
    v = gaussian_velocity(x, sigma)
    diffusion = level * math.sqrt(sigma / (1 - sigma))
    # The ODE dx = v dt has the marginals of the forward SDE dx = (v + g^2 score / 2) dt + g dw; Anderson's reverse of
    # that SDE subtracts g^2 score from the drift. The score is that of the known marginal, not one made from v.
    score = -(x - marginal(sigma).mean) / marginal(sigma).variance
    drift = (v + diffusion**2 / 2 * score) - diffusion**2 * score
    expected = Normal(x + drift * (following - sigma), diffusion * math.sqrt(sigma - following))

    at, to = torch.tensor([[sigma] * 3, [following] * 3], dtype=torch.float64)
    step = transition(x, v, at, to, level)
    torch.testing.assert_close(step.mean, expected.mean)
    torch.testing.assert_close(step.std, expected.stddev[:, 0])
    torch.testing.assert_close(step.log_probability(x_next), expected.log_prob(x_next).mean(1))


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_first_step_takes_the_next_noise_level_inside_the_root(shift: float) -> None:
    first, second = timesteps(10, shift)[:2]
    step = transition(normal(0, 1, 3), normal(1, 1, 3), first[None], second[None], 0.7)
    assert step.std.item() == pytest.approx(0.7 * math.sqrt(1 / (1 - second)) * math.sqrt(1 - second))


def test_steps_of_one_batch_may_be_at_different_levels() -> None:
    x, v = normal(0, 3, 2, 2), normal(1, 3, 2, 2)
    sigma, following = torch.tensor([1.0, 0.5, 0.25]).double(), torch.tensor([0.5, 0.25, 0.0]).double()
    together = transition(x, v, sigma, following, 0.7)
    for k in range(3):
        row = slice(k, k + 1)
        alone = transition(x[row], v[row], sigma[row], following[row], 0.7)
        assert torch.equal(together.mean[row], alone.mean)
        assert torch.equal(together.std[row], alone.std)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_noise_level_zero_is_the_euler_ode_bit_for_bit(shift: float) -> None:
    noise = normal(0, 4, 3, 2).float()

    def velocity(x: Tensor, sigma: float) -> Tensor:
        return torch.sin(3 * x) - sigma * x

    def no_noise(number: int) -> Tensor:
        raise AssertionError("the ODE draws no noise")

    samples, trajectory = integrate_sde(velocity, noise, timesteps(7, shift), noise_level=0.0, step_noise=no_noise)
    assert torch.equal(samples, integrate(velocity, noise, timesteps(7, shift), "euler"))
    assert trajectory is None


@pytest.mark.parametrize("level", [0.3, 0.7])
def test_samples_have_the_data_distribution_whatever_the_noise_level(level: float) -> None:
    count, steps = 20_000, 200
    generator = torch.Generator().manual_seed(0)

    def step_noise(number: int) -> Tensor:
        return torch.randn(count, 1, generator=generator, dtype=torch.float64)

    x, _ = integrate_sde(gaussian_velocity, step_noise(0), timesteps(steps), noise_level=level, step_noise=step_noise)
    print(f"noise level {level}: mean {x.mean():.4f} (true {MEAN}), deviation {x.std():.4f} (true {SPREAD})")
    assert x.mean().item() == pytest.approx(MEAN, abs=0.03)
    assert x.std().item() == pytest.approx(SPREAD, abs=0.03)


@given(seed=SEEDS)
def test_trajectory_holds_every_state_and_what_its_probability_was(seed: int) -> None:
    noise, steps = noise_of(seed, 2, 3)
    sigmas = timesteps(5, 2.0)
    arguments = {"noise_level": 0.7, "step_noise": steps.__getitem__}
    x, trajectory = integrate_sde(gaussian_velocity, noise, sigmas, **arguments, keep=True)
    assert torch.equal(x, integrate_sde(gaussian_velocity, noise, sigmas, **arguments)[0])
    assert trajectory is not None
    assert trajectory.steps == 5
    assert torch.equal(trajectory.states[:, 0], noise)
    assert torch.equal(trajectory.states[:, -1], x)
    assert torch.equal(trajectory.sigmas, sigmas)
    for k in range(5):
        here, after = trajectory.states[:, k], trajectory.states[:, k + 1]
        at, to = sigmas[k].expand(2), sigmas[k + 1].expand(2)
        step = transition(here, gaussian_velocity(here, sigmas[k]), at, to, 0.7)
        torch.testing.assert_close(after, step.mean + step.std[:, None] * steps[k])
        torch.testing.assert_close(trajectory.log_probabilities[:, k], step.log_probability(after))


@given(seed=SEEDS, sigma=st.floats(0.05, 1), fraction=st.floats(0, 0.95), level=st.floats(0, 1))
def test_cps_gives_data_and_noise_their_shares_at_the_following_level(
    seed: int, sigma: float, fraction: float, level: float
) -> None:
    x_0, eps, fresh = normal(seed, 3, 2, 5)
    following = fraction * sigma
    at, to = torch.tensor([[sigma] * 2, [following] * 2], dtype=torch.float64)
    step = transition((1 - sigma) * x_0 + sigma * eps, eps - x_0, at, to, level, "cps")
    angle = level * math.pi / 2
    torch.testing.assert_close(step.mean, (1 - following) * x_0 + following * math.cos(angle) * eps)
    torch.testing.assert_close(step.std, torch.full((2,), following * math.sin(angle), dtype=torch.float64))
    # Kept and fresh noise together have the variance of the level: no more and no less than the ODE's.
    torch.testing.assert_close(step.std**2 + (following * math.cos(angle)) ** 2, to**2)
    torch.testing.assert_close(step.log_probability(fresh), -(fresh - step.mean).square().mean(1))


@pytest.mark.parametrize("sampler", ["sde", "cps"])
@given(seed=SEEDS, first=st.integers(0, 4), size=st.integers(1, 3))
def test_steps_outside_the_window_are_eulers_and_those_inside_are_the_trajectory(
    sampler: StochasticSampler, seed: int, first: int, size: int
) -> None:
    noise, steps = noise_of(seed, 2, 3)
    sigmas, past = timesteps(7), first + size
    drawn: list[int] = []

    def step_noise(number: int) -> Tensor:
        drawn.append(number)
        return steps[number]

    x, path = integrate_sde(
        gaussian_velocity, noise, sigmas,
        noise_level=0.7, step_noise=step_noise, keep=True, sampler=sampler, window=(first, past),
    )  # fmt: skip
    assert path is not None
    assert drawn == list(range(first, past))
    assert torch.equal(path.sigmas, sigmas[first : past + 1])
    before = integrate(gaussian_velocity, noise, sigmas[: first + 1], "euler") if first else noise
    torch.testing.assert_close(path.states[:, 0], before)
    torch.testing.assert_close(integrate(gaussian_velocity, path.states[:, -1], sigmas[past:], "euler"), x)
    for k in range(size):
        at, to = path.sigmas[k].expand(2), path.sigmas[k + 1].expand(2)
        here = path.states[:, k]
        step = transition(here, gaussian_velocity(here, path.sigmas[k]), at, to, 0.7, path.sampler)
        torch.testing.assert_close(path.log_probabilities[:, k], step.log_probability(path.states[:, k + 1]))


def test_trajectory_without_noise_is_refused() -> None:
    with pytest.raises(ValueError, match="no log-probabilities"):
        integrate_sde(
            gaussian_velocity, normal(0, 1, 1), timesteps(2), noise_level=0.0, step_noise=lambda _: normal(0), keep=True
        )


def test_rows_and_parts_keep_paths_whole() -> None:
    states, log_probabilities = normal(0, 4, 3, 2), normal(1, 4, 2)
    whole = Trajectory(states, log_probabilities, timesteps(2), 0.7)
    parts = [whole.rows(torch.tensor([2, 0])), whole.rows(torch.tensor([3, 1]))]
    again = concatenate(parts).rows(torch.tensor([1, 3, 0, 2]))
    assert torch.equal(again.states, states)
    assert torch.equal(again.log_probabilities, log_probabilities)


def test_single_step_from_noise_to_data_is_finite() -> None:
    noise, steps = noise_of(0, 2, 1)
    x, trajectory = integrate_sde(
        gaussian_velocity, noise, timesteps(1), noise_level=0.7, step_noise=steps.__getitem__, keep=True
    )
    assert x.isfinite().all()
    assert trajectory is not None
    assert trajectory.log_probabilities.isfinite().all()


def test_divergence_of_a_transition_from_itself_is_zero() -> None:
    step = Transition(normal(0, 2, 3), torch.ones(2).double(), torch.ones(2).double())
    assert step.divergence(step).tolist() == [0, 0]
