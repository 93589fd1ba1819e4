"""lam that tunes itself: the curvature it is measured from, and what it makes of it."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from advantageflow.flow.objectives import VelocityBatch, advantage_flow_loss, curvature
from advantageflow.settings import TrainingSettings
from advantageflow.training.lam import INTERVALS, MARGIN, SAFE_LAM, ConvexLam, lam_schedule

EVERYWHERE = torch.ones(32, dtype=torch.float64)
ON_THE_BAD = torch.tensor([1.0] * 8 + [0.05] * 24, dtype=torch.float64)
MIDDLES = (torch.arange(INTERVALS, dtype=torch.float64) + 0.5) / INTERVALS


def batch(deviation_scale: Tensor, seed: int = 0, time: float = 0.5) -> VelocityBatch:
    """32 samples in float64, A from -1 to 1, whose policy deviates by noise times `deviation_scale` (32,)."""
    generator = torch.Generator().manual_seed(seed)
    target, rollout, noise = torch.randn(3, 32, 4, 3, generator=generator, dtype=torch.float64)
    advantages = torch.linspace(-1, 1, 32, dtype=torch.float64)
    times = torch.full((32,), time, dtype=torch.float64)
    return VelocityBatch(rollout + deviation_scale[:, None, None] * noise, target, rollout, advantages, times)


def lam_after(*batches: VelocityBatch, normalise_error: bool = False, least: float = 0.0) -> list[float]:
    """lam in each interval of t, after a step that saw these batches."""
    lam = ConvexLam(normalise_error=normalise_error, least=least)
    for one in batches:
        lam.observe(one)
    lam.advance()
    return lam.at(MIDDLES).tolist()


@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0, 2.5])
def test_the_curvature_is_the_second_derivative_along_the_way_from_the_rollout_policy(lam: float) -> None:
    here = batch(torch.rand(32, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))

    def loss(way: float) -> float:
        moved = dataclasses.replace(here, policy=here.rollout + way * (here.policy - here.rollout))
        return advantage_flow_loss(moved, lam=lam)[0].item()

    step = 0.5  # the loss is quadratic: the second difference is exact for any step
    measured = (loss(1 + step) - 2 * loss(1) + loss(1 - step)) / step**2
    weighted, plain = curvature(here)
    assert measured == pytest.approx(2 * (weighted + lam * plain).mean().item(), rel=1e-9)


@pytest.mark.parametrize("normalise_error", [False, True])
def test_the_next_lam_leaves_the_margin_of_curvature(normalise_error: bool) -> None:
    here = batch(torch.rand(32, dtype=torch.float64, generator=torch.Generator().manual_seed(2)))
    lam = lam_after(here, normalise_error=normalise_error)[INTERVALS // 2]
    weighted, plain = curvature(here, normalise_error=normalise_error)
    assert ((weighted + lam * plain).sum() / plain.sum()).item() == pytest.approx(MARGIN)


def test_deviating_on_bad_samples_needs_more_than_on_good_ones_and_alike_on_all_about_the_margin() -> None:
    bad, alike, good = (lam_after(batch(scale))[4] for scale in (ON_THE_BAD, EVERYWHERE, ON_THE_BAD.flip(0)))
    assert good < alike < bad
    assert alike == pytest.approx(MARGIN, abs=0.1)
    assert bad > MARGIN + 0.5
    assert lam_after(batch(1000 * ON_THE_BAD))[4] == pytest.approx(bad)


def test_every_interval_of_time_has_its_own_lam_and_one_without_samples_is_safe() -> None:
    lam = lam_after(batch(ON_THE_BAD, time=0.2), batch(EVERYWHERE, time=0.99), batch(ON_THE_BAD, time=0.0))
    assert lam[1] > lam[7]
    assert lam[0] == pytest.approx(lam[1])
    assert lam[2:7] == [SAFE_LAM] * 5
    assert ConvexLam(normalise_error=False).at(torch.tensor([0.0, 1.0])).tolist() == [SAFE_LAM] * 2


def test_batches_of_a_round_add_up_and_change_nothing_before_the_step_ends() -> None:
    lam = ConvexLam(normalise_error=False)
    whole = batch(ON_THE_BAD)
    lam.observe(whole)
    assert lam.at(MIDDLES).tolist() == [SAFE_LAM] * INTERVALS
    lam.advance()
    fields = {field.name: getattr(whole, field.name) for field in dataclasses.fields(whole)}
    halves = [
        VelocityBatch(**{name: value[part] for name, value in fields.items() if value is not None})
        for part in (slice(10), slice(10, None))
    ]
    assert lam_after(*halves)[4] == pytest.approx(lam.at(MIDDLES)[4].item(), rel=1e-12)


def test_lam_stays_safe_while_nothing_has_moved_and_never_falls_below_its_least() -> None:
    assert lam_after(batch(0 * EVERYWHERE))[4] == SAFE_LAM
    assert lam_after(batch(ON_THE_BAD.flip(0)), least=0.8)[4] == 0.8
    assert lam_after(batch(0 * EVERYWHERE), least=1.5) == [1.5] * INTERVALS


def test_settings_name_the_schedule() -> None:
    assert isinstance(lam_schedule(TrainingSettings(lam="auto")), ConvexLam)
    fixed = lam_schedule(TrainingSettings(lam=0.25))
    fixed.observe(batch(EVERYWHERE))
    fixed.advance()
    assert fixed.at(MIDDLES) == 0.25
    assert fixed.exceeds(0.2)
    assert not fixed.exceeds(0.25)
    assert lam_schedule(TrainingSettings(algorithm="advantage_weighted")).least == 0
