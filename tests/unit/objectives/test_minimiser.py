"""The velocity that minimises the AdvantageFlow loss, and the expected reward of its target."""

from __future__ import annotations

import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from objective_losses import advantage_flow_loss, normal, uniform, velocity_batch
from theory import expected_reward_gain, local_target_weights, minimiser
from torch import Tensor

from advantageflow.flow.advantages import group_advantages

SEEDS = st.integers(0, 2**32 - 1)


@given(seed=SEEDS, samples=st.integers(1, 8), margin=st.floats(0.05, 3), share=st.floats(0, 1))
def test_minimiser_has_zero_gradient_and_no_better_neighbour(
    seed: int, samples: int, margin: float, share: float
) -> None:
    targets, rollout, advantages = normal(seed, samples, 6), normal(seed + 1, 6), uniform(seed, samples)
    lam = max(0.0, -advantages.mean().item()) + margin

    def loss(velocity: Tensor) -> Tensor:
        batch = velocity_batch(velocity.expand(samples, 6), targets, rollout.expand(samples, 6), advantages)
        return advantage_flow_loss(batch, lam=lam, data_share=share)[0]

    best = minimiser(targets, rollout, advantages, lam, share * lam).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(best), best)
    torch.testing.assert_close(gradient, torch.zeros(6, dtype=torch.float64), atol=1e-9, rtol=0)
    assert loss(best + 0.1 * normal(seed + 2, 6)) > loss(best)


@given(seed=SEEDS, samples=st.integers(2, 8), lam=st.floats(1.0, 3))
def test_minimiser_is_flow_matching_to_the_reweighted_rollouts(seed: int, samples: int, lam: float) -> None:
    # With v_roll = E[v | x_t] the minimiser is the mean velocity under the local target.
    targets, advantages = normal(seed, samples, 6), uniform(seed, samples)
    weights = local_target_weights(advantages, lam)
    assume(weights.mean() > 1e-3)
    reweighted = (weights[:, None] * targets).mean(0) / weights.mean()
    torch.testing.assert_close(minimiser(targets, targets.mean(0), advantages, lam), reweighted)


@given(seed=SEEDS, size=st.integers(2, 12), lam=st.floats(1.0, 4), clip=st.floats(0.5, 4))
def test_local_target_raises_the_expected_reward_by_the_covariance(
    seed: int, size: int, lam: float, clip: float
) -> None:
    rewards = uniform(seed, 1, size)
    advantages = group_advantages(rewards, scale="group", clip=clip).values[0]
    weights = local_target_weights(advantages, lam)
    assert weights.min() >= 0
    assume(weights.mean() > 1e-3)
    rewards = rewards[0]
    raised = (weights * rewards).mean() / weights.mean() - rewards.mean()
    gain = expected_reward_gain(rewards, advantages, lam)
    torch.testing.assert_close(gain, raised, atol=1e-12, rtol=1e-9)
    assert gain > 0


@given(seed=SEEDS, lam=st.floats(1.0, 4))
def test_unclipped_gain_is_the_covariance_over_lam(seed: int, lam: float) -> None:
    rewards = uniform(seed, 1, 10)
    advantages = group_advantages(rewards, scale="group", clip=4.0).values[0]  # 10 rewards deviate by 3 at most
    covariance = torch.cov(torch.stack([rewards[0], advantages]), correction=0)[0, 1]
    torch.testing.assert_close(expected_reward_gain(rewards[0], advantages, lam), covariance / lam)
    torch.testing.assert_close(local_target_weights(advantages, lam).mean(), torch.ones((), dtype=torch.float64))
