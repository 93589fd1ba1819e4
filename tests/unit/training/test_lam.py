"""lam that tunes itself: the curvature it is measured from, and what it makes of it."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from advantageflow.flow.objectives import VelocityBatch, advantage_flow_loss
from advantageflow.settings import TrainingSettings
from advantageflow.training.lam import SAFE_LAM, STIFFNESS, CubicLam, lam_schedule


def batch(deviation_scale: torch.Tensor, seed: int = 0) -> VelocityBatch:
    """32 samples in float64 whose policy deviates by noise times `deviation_scale` (32,)."""
    generator = torch.Generator().manual_seed(seed)
    target, rollout, noise = torch.randn(3, 32, 4, 3, generator=generator, dtype=torch.float64)
    advantages = torch.linspace(-1, 1, 32, dtype=torch.float64)
    return VelocityBatch(rollout + deviation_scale[:, None, None] * noise, target, rollout, advantages)


def rho(deviation_scale: torch.Tensor) -> float:
    _, metrics = advantage_flow_loss(batch(deviation_scale), lam=1.0)
    return (metrics["advantage_deviation"] / metrics["weighted_deviation"]).item()


def lam_after(deviation_scale: torch.Tensor) -> float:
    lam = CubicLam()
    _, metrics = advantage_flow_loss(batch(deviation_scale), lam=lam.value)
    lam.observe({name: value.item() for name, value in metrics.items()})
    return lam.value


@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0, 2.5])
def test_the_reported_curvature_is_the_second_derivative_along_the_way_from_the_rollout_policy(lam: float) -> None:
    here = batch(torch.rand(32, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))

    def loss(way: float) -> tuple[float, dict[str, torch.Tensor]]:
        moved = dataclasses.replace(here, policy=here.rollout + way * (here.policy - here.rollout))
        value, metrics = advantage_flow_loss(moved, lam=lam)
        return value.item(), metrics

    step = 0.5  # the loss is quadratic: the second difference is exact for any step
    measured = (loss(1 + step)[0] - 2 * loss(1)[0] + loss(1 - step)[0]) / step**2
    metrics = loss(1)[1]
    reported = 2 * (metrics["advantage_deviation"] + lam * metrics["weighted_deviation"])
    assert measured == pytest.approx(reported.item(), rel=1e-9)


def test_the_next_lam_leaves_curvature_in_proportion_to_the_distance() -> None:
    scale = torch.rand(32, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for way in (0.01, 0.1, 1.0):
        here = batch(way * scale)
        _, metrics = advantage_flow_loss(here, lam=1.0)
        curvature = metrics["advantage_deviation"] + lam_after(way * scale) * metrics["weighted_deviation"]
        moved = (here.policy - here.rollout).square().mean() if here.rollout is not None else 0
        noise = (here.policy - here.target).square().mean()
        assert (curvature / metrics["weighted_deviation"]).item() == pytest.approx(
            STIFFNESS * (moved / noise).sqrt().item(), rel=1e-9
        )


def test_near_the_rollout_policy_lam_is_what_convexity_needs_and_no_more() -> None:
    bad = torch.tensor([1.0] * 8 + [0.05] * 24, dtype=torch.float64)
    assert lam_after(1e-6 * bad) == pytest.approx(-rho(1e-6 * bad), abs=1e-4)
    assert lam_after(1e-6 * bad) > 0.5
    assert lam_after(1e-6 * bad.flip(0)) == 0  # convex without any


def test_deviating_on_bad_samples_needs_more_than_on_good_ones_and_far_more_than_near() -> None:
    bad = torch.tensor([1.0] * 8 + [0.05] * 24, dtype=torch.float64)
    assert lam_after(bad) > lam_after(torch.ones(32, dtype=torch.float64)) > lam_after(bad.flip(0))
    assert lam_after(bad) > lam_after(0.1 * bad)


def test_the_objective_is_bounded_below_along_any_ray_however_bad_the_samples() -> None:
    """With lam following the distance, the gradient far out points back, as it does not for a small constant lam."""
    worst = torch.tensor([1.0] * 4 + [0.0] * 28, dtype=torch.float64)

    def outward(way: float, lam: float | None) -> float:
        here = batch(way * worst)
        policy = here.policy.clone().requires_grad_()
        loss, _ = advantage_flow_loss(
            dataclasses.replace(here, policy=policy), lam=lam_after(way * worst) if lam is None else lam
        )
        loss.backward()
        assert policy.grad is not None
        assert here.rollout is not None
        return -(policy.grad * (here.policy - here.rollout)).sum().item()

    assert outward(1000.0, 0.5) > 0, "a constant lam below 1 lets the policy run away from bad samples"
    assert outward(1000.0, None) < 0


def test_lam_starts_safe_stays_there_while_nothing_has_moved_and_never_falls_below_its_least() -> None:
    lam = CubicLam(least=0.8)
    lam.observe({"weighted_deviation": 0.0, "advantage_deviation": 0.0, "weighted_error": 1.0})
    assert lam.value == SAFE_LAM
    lam.observe({"weighted_deviation": 2.0, "advantage_deviation": 2.0, "weighted_error": 2.0})
    assert lam.value == 0.8


def test_settings_name_the_schedule() -> None:
    assert isinstance(lam_schedule(TrainingSettings(lam="auto")), CubicLam)
    fixed = lam_schedule(TrainingSettings(lam=0.25))
    fixed.observe({"weighted_deviation": 1.0, "advantage_deviation": -1.0})
    assert fixed.value == 0.25
