"""Group-normalised clipped advantages: range, means, equal groups, invariances."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from advantageflow.flow.advantages import AdvantageScale, group_advantages

SCALES: tuple[AdvantageScale, ...] = ("centred", "group", "global")
NO_CLIP = 1e6


@st.composite
def rewards(draw: st.DrawFn) -> Tensor:
    """Rewards (groups, group_size) on a grid of 101 values, so that ties and equal groups are common."""
    groups, size = draw(st.integers(1, 6)), draw(st.integers(2, 8))
    spread = draw(st.sampled_from([1, 3, 101]))
    values = draw(st.lists(st.integers(0, spread - 1), min_size=groups * size, max_size=groups * size))
    return torch.tensor(values, dtype=torch.float64).reshape(groups, size) / 100


@pytest.mark.parametrize("scale", SCALES)
@given(rewards=rewards(), clip=st.floats(0.1, 5))
def test_advantages_lie_in_minus_one_to_one(scale: AdvantageScale, rewards: Tensor, clip: float) -> None:
    values = group_advantages(rewards, scale=scale, clip=clip).values
    assert values.isfinite().all()
    assert values.abs().max() <= 1


@pytest.mark.parametrize("scale", SCALES)
@given(rewards=rewards())
def test_groups_have_mean_zero_before_clipping(scale: AdvantageScale, rewards: Tensor) -> None:
    values = group_advantages(rewards, scale=scale, clip=NO_CLIP).values * NO_CLIP
    torch.testing.assert_close(values.mean(1), torch.zeros(len(rewards), dtype=torch.float64), atol=1e-9, rtol=0)


@given(rewards=rewards())
def test_group_scale_gives_groups_unit_deviation_unless_equal(rewards: Tensor) -> None:
    result = group_advantages(rewards, scale="group", clip=NO_CLIP)
    deviation = (result.values * NO_CLIP).std(1, correction=0)
    torch.testing.assert_close(deviation, (~result.equal_groups).double())


@given(rewards=rewards())
def test_global_scale_divides_by_the_deviation_of_the_batch(rewards: Tensor) -> None:
    values = group_advantages(rewards, scale="global", clip=NO_CLIP).values * NO_CLIP
    centred = rewards - rewards.mean(1, keepdim=True)
    torch.testing.assert_close(values * rewards.std(correction=0), centred, atol=1e-9, rtol=0)


@pytest.mark.parametrize("scale", SCALES)
@given(rewards=rewards(), factor=st.floats(0.01, 100), shift=st.floats(-10, 10), clip=st.floats(0.5, 3))
def test_advantages_do_not_change_when_rewards_are_shifted_and_scaled(
    scale: AdvantageScale, rewards: Tensor, factor: float, shift: float, clip: float
) -> None:
    before = group_advantages(rewards, scale=scale, clip=clip)
    after = group_advantages(factor * rewards + shift, scale=scale, clip=clip)
    torch.testing.assert_close(after.values, before.values, atol=1e-7, rtol=0)
    assert torch.equal(after.equal_groups, before.equal_groups)


@pytest.mark.parametrize("scale", SCALES)
@given(rewards=rewards(), clip=st.floats(0.5, 3))
def test_advantages_keep_the_order_of_rewards_within_a_group(
    scale: AdvantageScale, rewards: Tensor, clip: float
) -> None:
    values = group_advantages(rewards, scale=scale, clip=clip).values
    order = rewards.argsort(dim=1, stable=True)
    assert (values.gather(1, order).diff(dim=1) >= -1e-12).all()


@pytest.mark.parametrize("scale", SCALES)
def test_equal_group_teaches_nothing_and_is_reported(scale: AdvantageScale) -> None:
    rewards = torch.tensor([[0.3, 0.3, 0.3], [0.0, 0.5, 1.0]], dtype=torch.float64)
    result = group_advantages(rewards, scale=scale, clip=2.0)
    assert result.values[0].tolist() == [0, 0, 0]
    assert result.values[1].abs().max() > 0
    assert result.equal_share == 0.5


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("value", [0.0, 0.1, -3.7])
def test_batch_of_equal_rewards_gives_zeros(scale: AdvantageScale, value: float) -> None:
    result = group_advantages(torch.full((3, 7), value, dtype=torch.float64), scale=scale, clip=2.0)
    assert result.values.abs().sum() == 0
    assert result.equal_share == 1


def test_rounding_noise_does_not_become_an_advantage() -> None:
    rewards = torch.tensor([[0.1 + 0.2, 0.3, 0.3]], dtype=torch.float64)
    assert rewards[0, 0] != rewards[0, 1]
    assert group_advantages(rewards, scale="group", clip=2.0).values.abs().sum() == 0


def test_clipped_share_counts_outliers() -> None:
    rewards = torch.tensor([[0.0] * 9 + [1.0]], dtype=torch.float64)  # the winner is 3 deviations above the mean
    result = group_advantages(rewards, scale="group", clip=2.0)
    assert result.values[0, -1] == 1
    assert result.values[0, 0] == pytest.approx(-1 / 6)
    assert result.clipped_share == pytest.approx(0.1)


def test_centred_scale_leaves_differences_between_groups_out() -> None:
    rewards = torch.tensor([[0.0, 1.0], [10.0, 11.0]], dtype=torch.float64)
    advantages = group_advantages(rewards, scale="centred", clip=1.0).values
    torch.testing.assert_close(advantages, torch.tensor([[-1.0, 1.0], [-1.0, 1.0]], dtype=torch.float64))
    assert group_advantages(rewards, scale="global", clip=1.0).values.abs().max() < 0.1


@pytest.mark.parametrize("scale", SCALES)
def test_rounding_of_a_saturated_reward_teaches_nothing(scale: AdvantageScale) -> None:
    """Models score in float32: two rewards one rounding apart are equal, whatever they are kept in."""
    next_to_one = torch.nextafter(torch.ones(()), torch.zeros(())).double()
    rewards = torch.stack([torch.ones((), dtype=torch.float64), next_to_one]).repeat(3, 2)
    advantages = group_advantages(rewards, scale=scale, clip=1.0)
    assert not advantages.values.any()
    assert advantages.equal_groups.all()


@pytest.mark.parametrize("scale", SCALES)
@given(rewards=rewards(), floor=st.floats(1e-6, 1))
def test_a_floor_is_added_to_what_rewards_are_divided_by(scale: AdvantageScale, rewards: Tensor, floor: float) -> None:
    plain, floored = (
        group_advantages(rewards, scale=scale, clip=NO_CLIP, floor=one).values * NO_CLIP for one in (0.0, floor)
    )
    centred = rewards - rewards.mean(1, keepdim=True)
    # A = centred / s and B = centred / (s + f): 1 / B - 1 / A = f / centred.
    torch.testing.assert_close(floored * (centred + floor * plain), plain * centred, atol=1e-9, rtol=1e-6)
