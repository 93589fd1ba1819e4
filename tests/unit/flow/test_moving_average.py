"""The rollout policy as a moving average of the trained policy, and the schedules of its decay."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from advantageflow.flow.moving_average import DecaySchedule, decay_after, move_toward


def parameters(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(3, 2, generator=generator, requires_grad=True), torch.randn(4, generator=generator)]


@given(decay=st.floats(0, 1))
def test_rollout_policy_moves_by_one_minus_decay(decay: float) -> None:
    rollout, policy = parameters(0), parameters(1)
    expected = [decay * old.detach() + (1 - decay) * new.detach() for old, new in zip(rollout, policy, strict=True)]
    move_toward(rollout, policy, decay)
    torch.testing.assert_close([tensor.detach() for tensor in rollout], expected)


def test_decay_zero_copies_bit_for_bit() -> None:
    rollout, policy = parameters(0), parameters(1)
    move_toward(rollout, policy, 0.0)
    assert all(torch.equal(old, new) for old, new in zip(rollout, policy, strict=True))


def test_decay_one_keeps_the_rollout_policy() -> None:
    rollout = parameters(0)
    move_toward(rollout, parameters(1), 1.0)
    assert all(torch.equal(old, new) for old, new in zip(rollout, parameters(0), strict=True))


def test_policy_is_left_alone() -> None:
    policy = parameters(1)
    move_toward(parameters(0), policy, 0.3)
    assert all(torch.equal(old, new) for old, new in zip(policy, parameters(1), strict=True))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("nft_0", {0: 0, 1: 0, 74: 0, 1000: 0}),
        ("nft_1", {0: 0, 1: 0.001, 75: 0.075, 499: 0.499, 500: 0.5, 10_000: 0.5}),
        ("nft_2", {0: 0, 74: 0, 75: 0, 76: 0.0075, 100: 0.1875, 208: 0.9975, 209: 0.999, 10_000: 0.999}),
    ],
)
def test_schedules_of_diffusion_nft_grow_with_the_gradient_step(
    schedule: DecaySchedule, expected: dict[int, float]
) -> None:
    assert {step: decay_after(schedule, step) for step in expected} == pytest.approx(expected)


def test_constant_decay_does_not_depend_on_the_step() -> None:
    assert [decay_after(0.3, step) for step in (0, 1, 1000)] == [0.3] * 3
