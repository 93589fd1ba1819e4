"""What rollout policy regularisation does to training: less gradient noise, and no divergence."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from objective_losses import advantage_flow_loss, velocity_batch
from theory import minimiser
from torch import Tensor

from advantageflow.flow.advantages import group_advantages
from advantageflow.flow.path import interpolate, velocity_target

MEAN, SPREAD = 1.5, 0.7  # Gaussian data, so that v_roll = E[v | x_t] is known in closed form


def gaussian_rollouts(seed: int, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x_t, target v, exact v_roll = E[v | x_t], and the clean samples, each (count, 1)."""
    generator = torch.Generator().manual_seed(seed)
    noise, unit = (torch.randn(count, 1, generator=generator, dtype=torch.float64) for _ in range(2))
    t = 0.05 + 0.9 * torch.rand(count, generator=generator, dtype=torch.float64)
    x_0 = MEAN + SPREAD * unit
    x_t, sigma = interpolate(x_0, noise, t), t[:, None]
    growth = (sigma - (1 - sigma) * SPREAD**2) / ((1 - sigma) ** 2 * SPREAD**2 + sigma**2)
    return x_t, velocity_target(x_0, noise), growth * (x_t - (1 - sigma) * MEAN) - MEAN, x_0


def gradients_per_sample(v_roll: Tensor, target: Tensor, regressed: Tensor, advantages: Tensor, lam: float) -> Tensor:
    """Gradient of each sample's loss in the policy v_theta = v_roll + delta, at delta = 0.1."""
    policy = (v_roll + 0.1).requires_grad_()
    loss, _ = advantage_flow_loss(velocity_batch(policy, target, regressed, advantages), lam=lam)
    (gradient,) = torch.autograd.grad(loss * len(policy), policy)
    return gradient[:, 0]


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), lam=st.floats(0.5, 2))
def test_regressing_on_the_rollout_velocity_keeps_the_expected_gradient_and_removes_its_noise(
    seed: int, lam: float
) -> None:
    count = 20_000
    _, target, v_roll, _ = gaussian_rollouts(seed, count)
    nothing = torch.zeros(count, dtype=torch.float64)
    noisy = gradients_per_sample(v_roll, target, target, nothing, lam)
    quiet = gradients_per_sample(v_roll, target, v_roll, nothing, lam)
    standard_error = (noisy - quiet).std() / count**0.5
    assert abs(noisy.mean() - quiet.mean()) < 5 * standard_error
    assert quiet.var() < 1e-20 < noisy.var()  # this policy's regulariser has no other source of noise
    torch.testing.assert_close(noisy.var(), 4 * lam**2 * (target - v_roll).var(), rtol=0.05, atol=0)


def test_variance_of_the_whole_gradient_falls_by_a_measured_factor() -> None:
    count, group, lam = 240_000, 12, 1.0
    _, target, v_roll, x_0 = gaussian_rollouts(0, count)
    rewards = x_0.reshape(-1, group)  # bigger is better
    advantages = group_advantages(rewards, scale="group", clip=2.0).values.flatten()
    noisy, quiet = (gradients_per_sample(v_roll, target, v, advantages, lam) for v in (target, v_roll))
    factor = (noisy.var() / quiet.var()).item()
    standard_error = ((noisy - quiet).std() / count**0.5).item()
    print(f"variance of the gradient: {noisy.var():.3f} with v, {quiet.var():.3f} with v_roll: {factor:.2f} x less")
    assert abs(noisy.mean() - quiet.mean()) < 5 * standard_error
    assert factor > 3


class BinnedFlow:
    """Two-mode data at one t with x_t cut into bins: a table of velocities is a policy that can fit anything."""

    def __init__(self, bins: int = 12, count: int = 6000, group: int = 12) -> None:
        generator = torch.Generator().manual_seed(0)
        modes = torch.randint(2, (count,), generator=generator) * 2.0 - 1
        x_0 = (modes + 0.2 * torch.randn(count, generator=generator)).double()[:, None]
        noise = torch.randn(count, 1, generator=generator).double()
        x_t = interpolate(x_0, noise, torch.full((count,), 0.5, dtype=torch.float64))
        edges = torch.quantile(x_t[:, 0], torch.linspace(0, 1, bins + 1, dtype=torch.float64)[1:-1])
        self.bin = torch.bucketize(x_t[:, 0], edges)
        self.target = velocity_target(x_0, noise)
        self.advantages = group_advantages(x_0.reshape(-1, group), scale="group", clip=2.0).values.flatten()
        self.v_roll = torch.stack([self.target[self.bin == k].mean(0) for k in range(bins)])

    def train(self, lam: float, steps: int) -> tuple[Tensor, float]:
        """Gradient descent from v_roll: the table of velocities, and the last loss."""
        table = self.v_roll.clone().requires_grad_()
        for _ in range(steps):
            batch = velocity_batch(table[self.bin], self.target, self.v_roll[self.bin], self.advantages)
            loss, _ = advantage_flow_loss(batch, lam=lam)
            (gradient,) = torch.autograd.grad(loss, table)
            table = (table - 2.0 * gradient).detach().requires_grad_()
        return table.detach(), loss.item()

    def minimiser(self, lam: float) -> Tensor:
        return torch.stack(
            [
                minimiser(self.target[self.bin == k], self.v_roll[k], self.advantages[self.bin == k], lam)
                for k in range(len(self.v_roll))
            ]
        )


@pytest.fixture(scope="module")
def binned_flow() -> BinnedFlow:
    return BinnedFlow()


def test_without_regularisation_training_diverges_though_the_mean_advantage_is_zero(binned_flow: BinnedFlow) -> None:
    assert abs(binned_flow.advantages.mean()) < 0.02
    deviations, losses = [], []
    for steps in (50, 100, 200):
        table, loss = binned_flow.train(lam=0.0, steps=steps)
        deviations.append((table - binned_flow.v_roll).abs().max().item())
        losses.append(loss)
    print(f"lam 0: largest deviation {deviations}, loss {losses} after 50, 100, 200 steps")
    assert deviations[2] > 10 * deviations[1] > 100 * deviations[0]
    assert losses[2] < 50 * losses[1] < 0  # below any bound


def test_with_lam_one_training_converges_to_the_minimiser(binned_flow: BinnedFlow) -> None:
    table, _ = binned_flow.train(lam=1.0, steps=200)
    torch.testing.assert_close(table, binned_flow.minimiser(1.0), atol=1e-6, rtol=0)
    assert (table - binned_flow.v_roll).abs().max() < 2


def test_smaller_lam_steps_further(binned_flow: BinnedFlow) -> None:
    near, far = (binned_flow.minimiser(lam) - binned_flow.v_roll for lam in (4.0, 1.0))
    assert far.abs().mean() > 2 * near.abs().mean()
