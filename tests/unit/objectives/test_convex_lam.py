"""A lam for each sample that tunes itself: convex for every sample, a fixed lam on good ones, no more than needed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from objective_losses import advantage_flow_loss, of_margin, velocity_batch
from torch import Tensor

from advantageflow.objectives.advantage_flow import TRUSTED, AdvantageFlow, convex_lam, trusted_margin
from advantageflow.objectives.diffusion_nft import DiffusionNft

MARGINS = st.floats(0.01, 2)
ADVANTAGES = st.floats(-1, 1)


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def loss_of(policy: Tensor, advantage: float, margin: float, *, v: Tensor, v_roll: Tensor) -> Tensor:
    """AdvantageFlow's loss of one sample with its own lam."""
    advantages = tensor(advantage)
    batch = velocity_batch(policy[None], v[None], v_roll[None], advantages, **of_margin(margin))
    return advantage_flow_loss(batch, lam="auto")[0]


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
    batch = velocity_batch(tensor(1000.0)[None], tensor(1.0)[None], tensor(0.0)[None], tensor(-1.0), **of_margin(0.5))
    assert advantage_flow_loss(batch, lam=0.5)[0] < -1e5
    assert advantage_flow_loss(batch, lam="auto")[0] > 1e5


@given(margin=MARGINS)
def test_on_bad_samples_it_is_diffusion_nft_and_on_good_ones_a_fixed_lam(margin: float) -> None:
    generator = torch.Generator().manual_seed(0)
    policy, v, v_roll = torch.randn(3, 6, 4, generator=generator, dtype=torch.float64)
    policy.requires_grad_()
    bad, good = tensor(-1, -0.8, -0.5, -0.3, -0.1, 0), tensor(0, 0.1, 0.3, 0.5, 0.8, 1)

    def gradient(loss: Tensor) -> Tensor:
        return torch.autograd.grad(loss, policy, retain_graph=True)[0]

    of_bad, of_good = (velocity_batch(policy, v, v_roll, a, **of_margin(margin)) for a in (bad, good))
    nft = DiffusionNft(beta=margin, adaptive_weighting=False)
    ours = gradient(advantage_flow_loss(of_bad, lam="auto")[0])
    torch.testing.assert_close(margin * ours, gradient(nft.loss(of_bad)[0]))
    ours = gradient(advantage_flow_loss(of_good, lam="auto")[0])
    torch.testing.assert_close(ours, gradient(advantage_flow_loss(of_good, lam=margin)[0]))


@given(margin=MARGINS)
def test_with_the_margin_as_flow_matching_a_good_sample_needs_no_rollout_velocity(margin: float) -> None:
    v, v_roll, elsewhere = tensor(1.0, -2.0), tensor(0.5, 0.5), tensor(-3.0, 7.0)
    advantages = tensor(0.4)
    losses = [
        advantage_flow_loss(
            velocity_batch(tensor(0.2, 0.1)[None], v[None], rollout[None], advantages, **of_margin(margin)),
            lam="auto", data_share=None,
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
        batch = velocity_batch(policy, v[None], v_roll[None], advantages, **of_margin(margin))
        loss = advantage_flow_loss(batch, lam="auto", data_share=None)[0]
        return torch.autograd.grad(loss - margin * (policy - v).square().mean(), policy)[0]

    near, far = push(v_roll.clone()), push(tensor(-30.0, 70.0))
    torch.testing.assert_close(near, (-advantage * (v - v_roll))[None])  # the mean over 2 elements of a square's
    torch.testing.assert_close(far, near)


@given(margin=MARGINS)
def test_with_the_margin_as_flow_matching_equal_groups_restore_the_mean_of_the_rollouts(margin: float) -> None:
    """Samples without advantage pull v_theta from a v_roll that has drifted to E[v | x_t]; lam alone holds it there."""
    targets = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    zero, v_roll = torch.zeros(6, dtype=torch.float64), targets.mean(0) + 0.3

    def gradient(place: Tensor, data_share: float) -> Tensor:
        policy = place.clone().requires_grad_()
        batch = velocity_batch(policy.expand(6, 4), targets, v_roll.expand(6, 4), zero, **of_margin(margin))
        return torch.autograd.grad(advantage_flow_loss(batch, lam="auto", data_share=data_share)[0], policy)[0]

    torch.testing.assert_close(gradient(targets.mean(0), 1.0), torch.zeros_like(v_roll))
    torch.testing.assert_close(gradient(v_roll, 0.0), torch.zeros_like(v_roll))
    assert gradient(v_roll, 1.0).abs().amin() > 0


def test_a_lam_for_each_sample_is_the_mean_of_each_alone() -> None:
    generator = torch.Generator().manual_seed(1)
    policy, v, v_roll = torch.randn(3, 5, 4, generator=generator, dtype=torch.float64)
    advantages = tensor(-1, -0.5, 0, 0.5, 1)
    options, auto = of_margin(0.3), {"lam": "auto", "data_share": 0.3}
    whole, metrics = advantage_flow_loss(velocity_batch(policy, v, v_roll, advantages, **options), **auto)
    parts = []
    for k in range(5):
        one = slice(k, k + 1)
        lam = max(0.0, -advantages[k].item()) + 0.3
        batch = velocity_batch(policy[one], v[one], v_roll[one], advantages[one], **options)
        parts.append(advantage_flow_loss(batch, lam=lam, data_share=0.09 / lam)[0])
    assert whole.item() == pytest.approx(sum(part.item() for part in parts) / 5)
    assert metrics["loss"] == whole


@given(seed=st.integers(0, 2**32), normalise=st.booleans())
def test_rollout_velocities_of_bad_samples_are_enough_where_the_margin_is_data(seed: int, normalise: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    policy, v, v_roll = torch.randn(3, 5, 4, generator=generator, dtype=torch.float64)
    policy.requires_grad_()
    advantages = tensor(-1, 0.5, -0.5, 0, 1)
    everywhere = velocity_batch(policy, v, v_roll, advantages)
    some = torch.tensor([0, 2, 3])  # the fourth counts for all that are not bad
    rollout = policy.detach().index_copy(0, some, v_roll[some])
    sparse = replace(everywhere, rollout=rollout, stand_for=tensor(1, 0, 1, 3, 0))
    options = {"lam": "auto", "data_share": None, "normalise_error": normalise}
    (whole, of_all), (loss, metrics) = (advantage_flow_loss(batch, **options) for batch in (everywhere, sparse))
    torch.testing.assert_close(*(torch.autograd.grad(one, policy)[0] for one in (loss, whole)), atol=1e-15, rtol=1e-12)
    torch.testing.assert_close(metrics["regulariser"], of_all["regulariser"])
    deviations = (policy - v_roll).detach().square().mean(1)
    torch.testing.assert_close(metrics["deviation"], (deviations * tensor(1, 0, 1, 3, 0)).sum() / 5)
    assert AdvantageFlow(lam="auto").needs.rollout == "bad"
    assert AdvantageFlow(lam="auto", data_share=0.9).needs.rollout == "all"


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
