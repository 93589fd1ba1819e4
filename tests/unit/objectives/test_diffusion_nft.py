"""The DiffusionNFT objective: it is AdvantageFlow with a regularisation of its own, and its published weighting."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from objective_losses import normal, uniform, velocity_batch
from torch import Tensor

from advantageflow.flow.path import interpolate, velocity_target
from advantageflow.objectives.diffusion_nft import DiffusionNft

SEEDS = st.integers(0, 2**32 - 1)
BETAS = st.floats(0.05, 4)


def plain(beta: float) -> DiffusionNft:
    return DiffusionNft(beta=beta, adaptive_weighting=False)


def square(difference: Tensor) -> Tensor:
    return difference.square().mean(1)


@given(seed=SEEDS, beta=BETAS)
def test_each_sample_is_advantage_flow_with_lam_beta_minus_advantage(seed: int, beta: float) -> None:
    policy, target, rollout = normal(seed, 3, 6, 8)
    a = uniform(seed, 6)
    identity = beta * (a * square(policy - target) + (beta - a) * square(policy - rollout))
    identity += (1 - beta * a) * square(rollout - target)
    for k in range(6):
        one = velocity_batch(policy[k : k + 1], target[k : k + 1], rollout[k : k + 1], a[k : k + 1])
        torch.testing.assert_close(plain(beta).loss(one)[0], identity[k])
    batch = velocity_batch(policy, target, rollout, a)
    loss, _ = plain(beta).loss(batch)
    torch.testing.assert_close(loss, identity.mean())
    torch.testing.assert_close(batch.measures()["deviation"], square(policy - rollout).mean())


@given(seed=SEEDS, beta=BETAS, samples=st.integers(1, 8))
def test_minimiser_steps_from_the_rollout_velocity_by_the_mean_over_beta(seed: int, beta: float, samples: int) -> None:
    targets, rollout, advantages = normal(seed, samples, 6), normal(seed + 1, 6), uniform(seed, samples)

    def loss(velocity: Tensor) -> Tensor:
        batch = velocity_batch(velocity.expand(samples, 6), targets, rollout.expand(samples, 6), advantages)
        return plain(beta).loss(batch)[0]

    best = rollout + (advantages[:, None] * (targets - rollout)).mean(0) / beta
    best.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(best), best)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-9, rtol=0)
    assert loss(best + 0.1 * normal(seed + 2, 6)) > loss(best)


@given(seed=SEEDS, beta=BETAS)
def test_adaptive_weighting_divides_errors_of_x_0_by_their_own_constant_size(seed: int, beta: float) -> None:
    x_0, noise, policy, rollout = normal(seed, 4, 5, 7)
    a, t = uniform(seed, 5), 0.05 + 0.9 * uniform(seed + 1, 5).abs()
    policy.requires_grad_()
    x_t = interpolate(x_0, noise, t)
    expected = torch.zeros(5, dtype=torch.float64)
    for sign, share in ((1, (1 + a) / 2), (-1, (1 - a) / 2)):
        predicted = x_t - t[:, None] * (rollout + sign * beta * (policy - rollout))
        size = (predicted - x_0).abs().mean(1).detach()
        expected = expected + share * square(predicted - x_0) / size / beta
    batch = velocity_batch(policy, velocity_target(x_0, noise), rollout, a, t)
    loss, metrics = DiffusionNft(beta=beta).loss(batch)
    torch.testing.assert_close(loss, expected.mean())
    gradient, by_hand = (torch.autograd.grad(value, policy)[0] for value in (loss, expected.mean()))
    torch.testing.assert_close(gradient, by_hand)
    assert not any(value.requires_grad for value in metrics.values())


def test_exact_prediction_meets_the_error_floor() -> None:
    target = torch.zeros(1, 4, dtype=torch.float64)
    one = torch.ones(1, dtype=torch.float64)
    batch = velocity_batch(target.clone().requires_grad_(), target, target, one, one)
    loss, _ = DiffusionNft().loss(batch)
    (gradient,) = torch.autograd.grad(loss, batch.policy)
    assert loss == 0
    assert gradient.isfinite().all()
