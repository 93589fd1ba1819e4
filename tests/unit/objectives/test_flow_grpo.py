"""The Flow-GRPO objective: PPO's ratio, its clip, and the KL to the reference."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from objective_losses import normal
from torch.distributions import Normal, kl_divergence

from advantageflow.flow.sde import Transition
from advantageflow.objectives.batches import TransitionBatch
from advantageflow.objectives.flow_grpo import FlowGrpo

SEEDS = st.integers(0, 2**32 - 1)


def make_batch(seed: int, shift: float) -> TransitionBatch:
    """Three transitions whose means the policy has moved by `shift` toward what was drawn."""
    mean, noise = normal(seed, 2, 3, 6)
    std = 0.1 + normal(seed + 1, 3).abs()
    length = 0.01 + normal(seed + 3, 3).abs()
    old = Transition(mean, std, length)
    following = old.sample(noise)
    moved = (mean + shift * (following - mean)).requires_grad_()
    advantages = torch.tensor([1.0, -0.5, 0.25], dtype=torch.float64)
    return TransitionBatch(Transition(moved, std, length), following, old.log_probability(following), advantages)


@given(seed=SEEDS)
def test_unmoved_policy_has_ratio_one_and_the_policy_gradient(seed: int) -> None:
    batch = make_batch(seed, 0.0)
    loss, metrics = FlowGrpo(clip_range=1e-4).loss(batch)
    torch.testing.assert_close(loss, -batch.advantages.mean())
    assert metrics["ratio_clipped"] == metrics["approximate_kl"] == 0
    weighted = -(batch.advantages * batch.policy.log_probability(batch.following)).mean()
    gradient, expected = (torch.autograd.grad(value, batch.policy.mean)[0] for value in (loss, weighted))
    torch.testing.assert_close(gradient, expected)


@given(seed=SEEDS, shift=st.floats(-0.2, 0.2))
def test_ratio_is_that_of_the_geometric_mean_densities(seed: int, shift: float) -> None:
    batch = make_batch(seed, shift)
    density = Normal(batch.policy.mean, batch.policy.std[:, None]).log_prob(batch.following).mean(1)
    ratio = torch.exp(density - batch.rollout_log_probability)
    loss, metrics = FlowGrpo(clip_range=100.0).loss(batch)
    torch.testing.assert_close(loss, -(batch.advantages * ratio).mean())
    torch.testing.assert_close(metrics["approximate_kl"], ratio.log().square().mean() / 2)


@pytest.mark.parametrize(("shift", "learning"), [(0.5, [False, True, False]), (-0.5, [True, False, True])])
def test_clip_stops_what_has_gone_far_enough_in_the_direction_of_its_advantage(
    shift: float, learning: list[bool]
) -> None:
    batch = make_batch(0, shift)
    loss, metrics = FlowGrpo(clip_range=1e-4).loss(batch)
    (gradient,) = torch.autograd.grad(loss, batch.policy.mean)
    assert metrics["ratio_clipped"] == 1
    assert gradient.abs().amax(1).gt(0).tolist() == learning


@given(seed=SEEDS)
def test_divergence_from_the_base_model_is_the_kl_of_the_gaussians(seed: int) -> None:
    plain, mean = make_batch(seed, 0.1), normal(seed + 2, 3, 6)
    batch = replace(plain, reference=replace(plain.policy, mean=mean))
    std = batch.policy.std[:, None]
    kl = kl_divergence(Normal(batch.policy.mean, std), Normal(mean, std)).mean(1)
    torch.testing.assert_close(batch.divergence, kl)


@given(seed=SEEDS)
def test_the_released_kl_divides_by_the_squared_rate_of_the_noise_alone(seed: int) -> None:
    plain = make_batch(seed, 0.1)
    batch = replace(plain, reference=replace(plain.policy, mean=normal(seed + 2, 3, 6)))
    assert batch.reference is not None
    _, metrics = FlowGrpo(kl="released", reference_weight=0.04).loss(batch)
    rate = batch.policy.std / batch.policy.length.sqrt()  # g, of std = g sqrt(-dt)
    squares = (batch.policy.mean - batch.reference.mean).square().mean(1)
    torch.testing.assert_close(metrics["reference"], 0.04 * (squares / (2 * rate**2)).mean())
    assert "reference" not in FlowGrpo(reference_weight=0.04).loss(batch)[1], "the paper's is added in training"
