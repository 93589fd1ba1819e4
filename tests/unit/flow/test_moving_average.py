"""The rollout policy as a moving average of the trained policy."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from advantageflow.flow.moving_average import move_toward


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
