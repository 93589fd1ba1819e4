"""The Advantage Weighted Matching objective: its gradient at ratio 1, clipping, and published weightings."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from objective_losses import advantage_flow_loss, normal, uniform, velocity_batch
from torch import Tensor

from advantageflow.objectives.awm import Awm
from advantageflow.objectives.batches import VelocityBatch

SEEDS = st.integers(0, 2**32 - 1)
NO_CLIP = 1e12


def gradient_of(loss: Tensor, batch: VelocityBatch) -> Tensor:
    return torch.autograd.grad(loss, batch.policy, retain_graph=True)[0]


@given(seed=SEEDS, weight=st.floats(0, 3), clip_range=st.floats(0.01, 1))
def test_gradient_at_ratio_one_is_that_of_advantage_flow(seed: int, weight: float, clip_range: float) -> None:
    target, error = normal(seed, 2, 5, 8)
    # Errors of the same size, so the ratio is 1, though the velocities differ.
    batch = velocity_batch((target + error).requires_grad_(), target, target + error.roll(1, dims=1), uniform(seed, 5))
    loss, metrics = Awm(clip_range=clip_range, rollout_weight=weight).loss(batch)
    expected, _ = advantage_flow_loss(batch, lam=weight)
    torch.testing.assert_close(gradient_of(loss, batch), gradient_of(expected, batch))
    assert batch.deviation.mean() > 0
    assert metrics["ratio_clipped"] == 0


@pytest.mark.parametrize(("huber_power", "time_weighting"), [(None, False), (0.25, False), (None, True), (0.25, True)])
@given(seed=SEEDS)
def test_loss_is_the_ratio_of_the_weighted_likelihoods(
    seed: int, huber_power: float | None, time_weighting: bool
) -> None:
    policy, target, rollout = normal(seed, 3, 5, 8)
    a, t = uniform(seed, 5), uniform(seed + 1, 5).abs()

    def log_likelihood(velocity: Tensor) -> Tensor:
        error = (velocity - target).square().mean(1)
        if huber_power is not None:
            error = (error + 1e-10) ** huber_power / huber_power
        return -(t if time_weighting else 1.0) * error

    expected = -(a * torch.exp(log_likelihood(policy) - log_likelihood(rollout))).mean()
    batch = velocity_batch(policy, target, rollout, a, t)
    options = {"huber_power": huber_power, "time_weighting": time_weighting}
    loss, _ = Awm(clip_range=NO_CLIP, rollout_weight=0.0, **options).loss(batch)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize(
    ("nearer", "advantage", "learns"),
    [(True, 1.0, False), (True, -1.0, True), (False, 1.0, True), (False, -1.0, False)],
)
def test_ratio_beyond_the_clip_range_stops_only_what_went_the_right_way(
    nearer: bool, advantage: float, learns: bool
) -> None:
    # The policy's error is smaller (ratio above 1) or larger than the rollout policy's.
    target, near, far = torch.zeros(1, 4).double(), torch.full((1, 4), 0.1).double(), torch.ones(1, 4).double()
    policy, rollout = (near, far) if nearer else (far, near)
    batch = velocity_batch(policy.clone().requires_grad_(), target, rollout, torch.tensor([advantage]).double())
    loss, metrics = Awm(rollout_weight=0.0).loss(batch)
    assert metrics["ratio_clipped"] == 1
    assert bool(gradient_of(loss, batch).abs().max() > 0) == learns


@given(seed=SEEDS, power=st.floats(0.05, 1))
def test_generalised_huber_has_a_finite_slope_at_no_error(seed: int, power: float) -> None:
    target = normal(seed, 3, 4)
    batch = velocity_batch(target.clone().requires_grad_(), target, target.clone(), uniform(seed, 3))
    loss, _ = Awm(huber_power=power).loss(batch)
    assert gradient_of(loss, batch).isfinite().all()


def test_power_one_is_no_huber() -> None:
    policy, target, rollout = normal(0, 3, 3, 5)
    batch = velocity_batch(policy, target, rollout, uniform(0, 3))
    torch.testing.assert_close(Awm(huber_power=1.0).loss(batch)[0], Awm().loss(batch)[0])
