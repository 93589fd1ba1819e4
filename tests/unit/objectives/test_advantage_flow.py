"""The AdvantageFlow objective: its value, convexity, minimiser, first step and the local target that it fits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from objective_losses import advantage_flow_loss, normal, uniform, velocity_batch
from pydantic import ValidationError
from theory import minimiser
from torch import Tensor

from advantageflow.objectives.advantage_flow import AdvantageFlow
from advantageflow.objectives.base import VelocityObjective
from advantageflow.objectives.batches import VelocityBatch
from advantageflow.objectives.diffusion_nft import DiffusionNft

SEEDS = st.integers(0, 2**32 - 1)


@given(seed=SEEDS, lam=st.floats(0, 3))
def test_loss_is_the_formula_and_its_parts_add_up(seed: int, lam: float) -> None:
    policy, target, rollout = normal(seed, 3, 5, 2, 2)
    advantages = uniform(seed, 5)
    loss, metrics = advantage_flow_loss(velocity_batch(policy, target, rollout, advantages), lam=lam)
    by_hand = sum(
        a * (p - t).square().mean() + lam * (p - r).square().mean()
        for p, t, r, a in zip(policy, target, rollout, advantages, strict=True)
    )
    torch.testing.assert_close(loss, by_hand / 5)
    torch.testing.assert_close(metrics["advantage_loss"] + metrics["regulariser"], loss)
    torch.testing.assert_close(metrics["deviation"], (policy - rollout).square().mean())


def test_metrics_carry_no_gradient() -> None:
    policy = normal(0, 2, 3).requires_grad_()
    loss, metrics = advantage_flow_loss(
        velocity_batch(policy, normal(1, 2, 3), normal(2, 2, 3), uniform(3, 2)), lam=1.0
    )
    assert loss.requires_grad
    assert not any(value.requires_grad for value in metrics.values())


@given(seed=SEEDS, lam=st.floats(0.1, 3))
def test_normalised_samples_are_the_plain_ones_over_their_mean_absolute_error(seed: int, lam: float) -> None:
    policy, target, rollout = normal(seed, 3, 1, 6)
    batch = velocity_batch(policy.clone().requires_grad_(), target, rollout, uniform(seed, 1))
    error = (policy - target).abs().mean()
    plain, normalised = (advantage_flow_loss(batch, lam=lam, normalise_error=flag)[0] for flag in (False, True))
    torch.testing.assert_close(normalised, plain / error)
    plain_gradient, gradient = (
        torch.autograd.grad(loss, batch.policy, retain_graph=True)[0] for loss in (plain, normalised)
    )
    torch.testing.assert_close(gradient, plain_gradient / error)  # the weight is constant to the gradient


def test_exact_prediction_meets_the_error_floor() -> None:
    target = torch.zeros(1, 4, dtype=torch.float64)
    batch = velocity_batch(target.clone().requires_grad_(), target, target + 1, torch.ones(1, dtype=torch.float64))
    loss, _ = advantage_flow_loss(batch, lam=1.0, normalise_error=True)
    assert loss.item() == pytest.approx(1e5)


def loss_along_a_line(batch: VelocityBatch, direction: Tensor, lam: float) -> Tensor:
    """Second derivative of the loss along `direction`, by autograd."""

    def loss(step: Tensor) -> Tensor:
        moved = velocity_batch(batch.policy + step * direction, batch.target, batch.rollout, batch.advantages)
        return advantage_flow_loss(moved, lam=lam)[0]

    return torch.autograd.functional.hessian(loss, torch.zeros((), dtype=torch.float64))


@given(seed=SEEDS, advantage=st.floats(-1, 1), lam=st.floats(0, 2))
def test_sample_is_convex_exactly_when_lam_exceeds_minus_advantage(seed: int, advantage: float, lam: float) -> None:
    assume(abs(lam + advantage) > 1e-9)
    policy, target, rollout, direction = normal(seed, 4, 1, 5)
    advantages = torch.tensor([advantage], dtype=torch.float64)
    curvature = loss_along_a_line(velocity_batch(policy, target, rollout, advantages), direction, lam)
    assert (curvature > 0) == (lam > -advantage)
    torch.testing.assert_close(curvature, 2 * (advantage + lam) * direction.square().mean(), atol=1e-12, rtol=1e-9)


@given(seed=SEEDS, advantage=st.floats(-1, 1), lam=st.floats(0, 2), normalise=st.booleans())
def test_hessian_eigenvalues_have_the_sign_of_lam_plus_advantage(
    seed: int, advantage: float, lam: float, normalise: bool
) -> None:
    assume(abs(lam + advantage) > 1e-9)
    policy, target, rollout = normal(seed, 3, 1, 4)
    advantages = torch.tensor([advantage], dtype=torch.float64)
    hessian = torch.autograd.functional.hessian(
        lambda v: advantage_flow_loss(
            velocity_batch(v, target, rollout, advantages), lam=lam, normalise_error=normalise
        )[0],
        policy,
    ).reshape(4, 4)
    eigenvalues = torch.linalg.eigvalsh(hessian)
    assert (eigenvalues > 0).all() if lam > -advantage else (eigenvalues < 0).all()


@given(seed=SEEDS)
def test_batch_with_lam_one_is_convex_whatever_the_advantages(seed: int) -> None:
    policy, target, rollout, direction = normal(seed, 4, 7, 3)
    assert loss_along_a_line(velocity_batch(policy, target, rollout, uniform(seed, 7)), direction, 1.0) >= 0


@given(seed=SEEDS, lam=st.floats(0, 5), normalise=st.booleans())
def test_regulariser_has_no_gradient_on_the_first_step_of_a_round(seed: int, lam: float, normalise: bool) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.SiLU(), torch.nn.Linear(8, 4)).double()
    x_t, target, advantages = normal(seed, 6, 4), normal(seed + 1, 6, 4), uniform(seed, 6)
    policy = network(x_t)  # theta = theta_roll, so v_roll is the detached v_theta
    batch = velocity_batch(policy, target, policy.detach(), advantages)
    gradients = []
    for weight in (lam, 0.0):
        loss, metrics = advantage_flow_loss(batch, lam=weight, normalise_error=normalise)
        assert metrics["deviation"] == 0
        gradients.append(torch.autograd.grad(loss, list(network.parameters()), retain_graph=True))
    assert all(torch.equal(with_lam, without) for with_lam, without in zip(*gradients, strict=True))


@given(seed=SEEDS)
def test_without_regularisation_the_rollout_velocity_has_no_part_in_the_loss(seed: int) -> None:
    policy, target, rollout, elsewhere = normal(seed, 4, 4, 5)
    policy.requires_grad_()
    losses = [
        advantage_flow_loss(velocity_batch(policy, target, v, uniform(seed, 4)), lam=0.0)[0]
        for v in (rollout, elsewhere)
    ]
    assert torch.equal(*losses)
    assert torch.equal(*(torch.autograd.grad(loss, policy)[0] for loss in losses))
    assert AdvantageFlow(lam=0.0).needs.rollout == AdvantageFlow(data_share=1.0).needs.rollout == "none"
    assert AdvantageFlow().needs.rollout == "all"


@given(seed=SEEDS, lam=st.floats(0.2, 3), share=st.floats(0, 1), normalise=st.booleans())
def test_data_share_moves_the_minimum_but_not_the_curvature(
    seed: int, lam: float, share: float, normalise: bool
) -> None:
    policy, target, rollout, direction = normal(seed, 4, 5, 6)
    batch = velocity_batch(policy, target, rollout, uniform(seed, 5))
    options = {"lam": lam, "normalise_error": normalise}

    def curvature(data_share: float) -> Tensor:
        def loss(step: Tensor) -> Tensor:
            moved = velocity_batch(policy + step * direction, target, rollout, batch.advantages)
            return advantage_flow_loss(moved, lam=lam, data_share=data_share)[0]

        return torch.autograd.functional.hessian(loss, torch.zeros((), dtype=torch.float64))

    torch.testing.assert_close(curvature(share), curvature(0.0))
    with_data, without = (advantage_flow_loss(batch, data_share=c, **options)[0] for c in (share, 0.0))
    weight = 1 / (policy - target).abs().mean(1) if normalise else torch.ones(5, dtype=torch.float64)
    moved = (policy - target).square().mean(1) - (policy - rollout).square().mean(1)
    torch.testing.assert_close(with_data - without, (weight * share * lam * moved).mean(), atol=1e-12, rtol=1e-7)


@pytest.mark.parametrize("options", [{"data_share": -0.1}, {"data_share": 1.1}, {"lam": -0.5}, {"lam": "much"}])
def test_options_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(options))):
        AdvantageFlow(**options)


def test_divergence_from_the_base_model_is_the_mean_square() -> None:
    policy, target, rollout, reference = normal(0, 4, 3, 5)
    batch = velocity_batch(policy, target, rollout, uniform(0, 3), reference=reference)
    torch.testing.assert_close(batch.divergence, (policy - reference).square().mean(1))
    with pytest.raises(ValueError, match=r"Needs\(reference=True\)"):
        _ = velocity_batch(policy, target, rollout, uniform(0, 3)).divergence


def one_sample(policy: float, rollout: float, advantage: float, **more: Tensor) -> VelocityBatch:
    """Of x_0 = 0 and noise 1, so v = 1, at t = 1/2."""
    ones = torch.ones(1, 1, dtype=torch.float64)
    return velocity_batch(policy * ones, ones, rollout * ones, advantage * ones[0], **more)


def test_the_paper_s_loss_of_one_sample() -> None:
    loss, _ = AdvantageFlow(reference_weight=0.0).loss(one_sample(1.5, 1.0, 0.5))
    assert loss.item() == pytest.approx(0.4)  # (.5 |-.25|^2 + 1.1 |-.25|^2) / .25


@given(seed=SEEDS, normalise=st.booleans())
def test_one_scale_and_the_space_are_factors_of_all_three_terms(seed: int, normalise: bool) -> None:
    policy, target, rollout, reference = normal(seed, 4, 5, 6)
    times = uniform(seed, 5).abs()
    batch = velocity_batch(policy, target, rollout, uniform(seed, 5), times, reference=reference)
    _, found = AdvantageFlow(lam=1.3, reference_weight=0.2, normalise_error=normalise).loss(batch)
    clean = [v * times[:, None] for v in (policy - target, policy - rollout, policy - reference)]  # errors of x_0
    weight = 1 / clean[0].abs().mean(1).clamp_min(1e-5) if normalise else torch.ones(5, dtype=torch.float64)
    expected = [
        (weight * factor * error.square().mean(1)).mean()
        for factor, error in zip((batch.advantages, 1.3, 0.2), clean, strict=True)
    ]
    for name, value in zip(("advantage_loss", "regulariser", "reference"), expected, strict=True):
        torch.testing.assert_close(found[name], value)
    torch.testing.assert_close(found["loss"], sum(expected))


@given(seed=SEEDS, beta=st.floats(0.1, 2))
def test_with_the_advantage_off_lam_it_is_diffusion_nft_as_long_as_the_scale_is_shared(seed: int, beta: float) -> None:
    policy, target, rollout = normal(seed, 3, 5, 6)

    def gradient(objective: VelocityObjective) -> Tensor:
        moved = policy.clone().requires_grad_()
        batch = velocity_batch(moved, target, rollout, uniform(seed, 5))
        return torch.autograd.grad(objective.loss(batch)[0], moved)[0]

    plain = {"space": "velocity", "reference_weight": 0.0, "lam": beta, "less_advantage": True}
    nft = gradient(DiffusionNft(beta=beta, adaptive_weighting=False))
    torch.testing.assert_close(beta * gradient(AdvantageFlow(normalise_error=False, **plain)), nft)
    # A scale of each sample's own keeps the directions; the released two scales do not.
    shared = gradient(AdvantageFlow(**plain))
    torch.testing.assert_close(torch.nn.functional.cosine_similarity(shared, nft), torch.ones(5, dtype=torch.float64))
    assert not torch.allclose(gradient(DiffusionNft(beta=beta)) * nft.norm() / nft.norm(), nft)


@given(seed=SEEDS, samples=st.integers(2, 8), gamma=st.floats(1.1, 3), beta=st.floats(1.1, 3))
def test_its_step_is_diffusion_nft_s_with_another_gain(seed: int, samples: int, gamma: float, beta: float) -> None:
    targets, advantages = normal(seed, samples, 6), uniform(seed, samples)
    v_old = targets.mean(0)  # calibrated: E[v | x_t]
    covariance = ((advantages - advantages.mean())[:, None] * (targets - v_old)).mean(0)
    step = minimiser(targets, v_old, advantages, gamma) - v_old
    torch.testing.assert_close(step, covariance / (gamma + advantages.mean()))
    # DiffusionNFT's lam of a sample is beta - A: E[A (v - v_old)] / beta.
    nft = (advantages[:, None] * (targets - v_old)).mean(0) / beta
    torch.testing.assert_close(nft, covariance / beta)


@given(seed=SEEDS, advantage=st.floats(-1, 1))
def test_equal_advantages_move_nothing(seed: int, advantage: float) -> None:
    targets = normal(seed, 5, 6)
    equal = torch.full((5,), advantage, dtype=torch.float64)
    v_old = targets.mean(0)
    torch.testing.assert_close(minimiser(targets, v_old, equal, 1.1), v_old)


def test_the_advantage_is_taken_off_a_number_alone() -> None:
    for lam in ("auto", 0.0):
        with pytest.raises(ValidationError, match="less_advantage"):
            AdvantageFlow(lam=lam, less_advantage=True)
