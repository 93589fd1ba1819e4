"""A lam for each sample that tunes itself: convex for every sample, a fixed lam on good ones, no more than needed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from advantageflow.flow.objectives import (
    VelocityBatch,
    advantage_flow_loss,
    convex_lam,
    diffusion_nft_loss,
    trusted_margin,
)
from advantageflow.flow.objectives.advantage_flow import TRUSTED
from advantageflow.flow.objectives.common import SomeSamples

MARGINS = st.floats(0.01, 2)
ADVANTAGES = st.floats(-1, 1)


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def loss_of(policy: Tensor, advantage: float, margin: float, *, v: Tensor, v_roll: Tensor) -> Tensor:
    """AdvantageFlow's loss of one sample with its own lam."""
    advantages = tensor(advantage)
    batch = VelocityBatch(policy[None], v[None], v_roll[None], advantages)
    return advantage_flow_loss(batch, lam=convex_lam(advantages, margin))[0]


@given(advantage=ADVANTAGES, margin=MARGINS)
def test_every_sample_keeps_the_margin_of_curvature_and_bad_ones_no_more(advantage: float, margin: float) -> None:
    curvature = (tensor(advantage) + convex_lam(tensor(advantage), margin)).item()
    assert curvature == pytest.approx(margin + max(advantage, 0))


@given(advantage=ADVANTAGES, margin=MARGINS)
def test_the_minimum_is_towards_a_good_sample_and_away_from_a_bad_one(advantage: float, margin: float) -> None:
    v, v_roll = tensor(1.0, -2.0), tensor(0.5, 0.5)
    expected = v_roll + advantage / (margin + max(advantage, 0)) * (v - v_roll)
    policy = expected.clone().requires_grad_()
    loss = loss_of(policy, advantage, margin, v=v, v_roll=v_roll)
    (gradient,) = torch.autograd.grad(loss, policy)
    torch.testing.assert_close(gradient, torch.zeros(2, dtype=torch.float64), atol=1e-9, rtol=0)
    beside = loss_of(expected + tensor(0.1, -0.1), advantage, margin, v=v, v_roll=v_roll)
    assert beside > loss, "a minimum, not a saddle"


def test_one_lam_below_the_largest_advantage_leaves_a_bad_sample_without_a_minimum() -> None:
    batch = VelocityBatch(tensor(1000.0)[None], tensor(1.0)[None], tensor(0.0)[None], tensor(-1.0))
    assert advantage_flow_loss(batch, lam=0.5)[0] < -1e5
    assert advantage_flow_loss(batch, lam=convex_lam(batch.advantages, 0.5))[0] > 1e5


@given(margin=MARGINS)
def test_on_bad_samples_it_is_diffusion_nft_and_on_good_ones_a_fixed_lam(margin: float) -> None:
    generator = torch.Generator().manual_seed(0)
    policy, v, v_roll = torch.randn(3, 6, 4, generator=generator, dtype=torch.float64)
    policy.requires_grad_()
    bad, good = tensor(-1, -0.8, -0.5, -0.3, -0.1, 0), tensor(0, 0.1, 0.3, 0.5, 0.8, 1)

    def gradient(loss: Tensor) -> Tensor:
        return torch.autograd.grad(loss, policy)[0]

    of_bad, of_good = (VelocityBatch(policy, v, v_roll, advantages) for advantages in (bad, good))
    ours = gradient(advantage_flow_loss(of_bad, lam=convex_lam(bad, margin))[0])
    torch.testing.assert_close(margin * ours, gradient(diffusion_nft_loss(of_bad, beta=margin)[0]))
    ours = gradient(advantage_flow_loss(of_good, lam=convex_lam(good, margin))[0])
    torch.testing.assert_close(ours, gradient(advantage_flow_loss(of_good, lam=margin)[0]))


@given(margin=MARGINS)
def test_with_the_margin_as_flow_matching_a_good_sample_needs_no_rollout_velocity(margin: float) -> None:
    v, v_roll, elsewhere = tensor(1.0, -2.0), tensor(0.5, 0.5), tensor(-3.0, 7.0)
    advantages = tensor(0.4)
    losses = [
        advantage_flow_loss(
            VelocityBatch(tensor(0.2, 0.1)[None], v[None], rollout[None], advantages),
            lam=convex_lam(advantages, margin), data_weight=margin,
        )[0]
        for rollout in (v_roll, elsewhere)
    ]  # fmt: skip
    assert losses[0] == losses[1]


@given(margin=MARGINS, advantage=st.floats(-1, 0))
def test_with_the_margin_as_flow_matching_a_bad_sample_pushes_equally_hard_wherever_the_policy_is(
    margin: float, advantage: float
) -> None:
    v, v_roll, advantages = tensor(1.0, -2.0), tensor(0.5, 0.5), tensor(advantage)

    def push(place: Tensor) -> Tensor:
        """The gradient without that of flow matching."""
        policy = place[None].requires_grad_()
        batch = VelocityBatch(policy, v[None], v_roll[None], advantages)
        loss = advantage_flow_loss(batch, lam=convex_lam(advantages, margin), data_weight=margin)[0]
        return torch.autograd.grad(loss - margin * (policy - v).square().mean(), policy)[0]

    near, far = push(v_roll.clone()), push(tensor(-30.0, 70.0))
    torch.testing.assert_close(near, (-advantage * (v - v_roll))[None])  # the mean over 2 elements of a square's
    torch.testing.assert_close(far, near)


@given(margin=MARGINS)
def test_with_the_margin_as_flow_matching_equal_groups_restore_the_mean_of_the_rollouts(margin: float) -> None:
    """Samples without advantage pull v_theta from a v_roll that has drifted to E[v | x_t]; lam alone holds it there."""
    targets = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    zero, v_roll = torch.zeros(6, dtype=torch.float64), targets.mean(0) + 0.3

    def gradient(place: Tensor, data_weight: float) -> Tensor:
        policy = place.clone().requires_grad_()
        batch = VelocityBatch(policy.expand(6, 4), targets, v_roll.expand(6, 4), zero)
        return torch.autograd.grad(
            advantage_flow_loss(batch, lam=convex_lam(zero, margin), data_weight=data_weight)[0], policy
        )[0]

    torch.testing.assert_close(gradient(targets.mean(0), margin), torch.zeros_like(v_roll))
    torch.testing.assert_close(gradient(v_roll, 0.0), torch.zeros_like(v_roll))
    assert gradient(v_roll, margin).abs().amin() > 0


def test_a_lam_for_each_sample_is_the_mean_of_each_alone() -> None:
    generator = torch.Generator().manual_seed(1)
    policy, v, v_roll = torch.randn(3, 5, 4, generator=generator, dtype=torch.float64)
    advantages = tensor(-1, -0.5, 0, 0.5, 1)
    lams = convex_lam(advantages, 0.3)
    whole, metrics = advantage_flow_loss(VelocityBatch(policy, v, v_roll, advantages), lam=lams, data_weight=0.1)
    parts = [
        advantage_flow_loss(
            VelocityBatch(policy[k : k + 1], v[k : k + 1], v_roll[k : k + 1], advantages[k : k + 1]),
            lam=lams[k].item(), data_weight=0.1,
        )[0]
        for k in range(5)
    ]  # fmt: skip
    assert whole.item() == pytest.approx(sum(part.item() for part in parts) / 5)
    assert metrics["loss"] == whole


@given(seed=st.integers(0, 2**32), normalise=st.booleans())
def test_rollout_velocities_of_bad_samples_are_enough_where_the_margin_is_data(seed: int, normalise: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    policy, v, v_roll = torch.randn(3, 5, 4, generator=generator, dtype=torch.float64)
    policy.requires_grad_()
    advantages = tensor(-1, 0.5, -0.5, 0, 1)
    some = SomeSamples(torch.tensor([0, 2, 3]), tensor(1, 1, 3))  # the fourth counts for all that are not bad
    options = {"lam": convex_lam(advantages, 0.2), "data_weight": 0.2, "normalise_error": normalise}
    whole, of_all = advantage_flow_loss(VelocityBatch(policy, v, v_roll, advantages), **options)
    batch = VelocityBatch(policy, v, v_roll[some.rows], advantages, rollout_samples=some)
    loss, metrics = advantage_flow_loss(batch, **options)
    torch.testing.assert_close(*(torch.autograd.grad(one, policy)[0] for one in (loss, whole)), atol=1e-15, rtol=1e-12)
    torch.testing.assert_close(metrics["regulariser"], of_all["regulariser"])
    deviations = (policy - v_roll).detach().square().mean(1)
    torch.testing.assert_close(metrics["deviation"], (deviations * tensor(1, 0, 1, 3, 0)).sum() / 5)


def test_where_it_is_needed_the_rollout_velocity_may_not_be_missing() -> None:
    batch = VelocityBatch(tensor(1.0)[None], tensor(1.0)[None], None, tensor(0.5))
    with pytest.raises(ValueError, match=r"VelocityBatch\.rollout"):
        advantage_flow_loss(batch, lam=convex_lam(batch.advantages, 0.5))


@given(least=MARGINS, deviation=st.floats(0, 1), error=st.floats(0.01, 1))
def test_the_margin_is_the_least_within_the_trust_region_and_grows_with_the_square_beyond(
    least: float, deviation: float, error: float
) -> None:
    margin = trusted_margin(least, deviation, error)
    if deviation <= TRUSTED * error:
        assert margin == least
    else:
        assert margin == pytest.approx(least * (deviation / error / TRUSTED) ** 2)
        assert trusted_margin(least, 2 * deviation, error) == pytest.approx(4 * margin)


def test_without_error_there_is_no_noise_floor_to_compare_with() -> None:
    assert trusted_margin(0.1, 0.0, 0.0) == 0.1
