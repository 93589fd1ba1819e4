"""Every objective on the same round: it trains, repeats, costs no forward that it does not need, and learns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from trained_rounds import GROUPS, SIZE, metrics_of, sampled, train, weights, without_base

from advantageflow.errors import DataError, TrainingError
from advantageflow.objectives.advantage_flow import AdvantageFlow
from advantageflow.objectives.awm import Awm
from advantageflow.objectives.base import Objective
from advantageflow.objectives.diffusion_nft import DiffusionNft
from advantageflow.objectives.flow_grpo import FlowGrpo
from advantageflow.policy.families.mean_flow import MeanFlow
from advantageflow.policy.loading import load_transformer
from advantageflow.settings import ModelSettings, TrainingSettings
from advantageflow.training.policy import Policy
from advantageflow.training.round import round_advantages, train_round
from advantageflow.training.step import Step, usable_steps

OBJECTIVES: dict[str, dict[str, Any]] = {
    "advantage_flow": {"objective": AdvantageFlow()},
    "advantage_flow with a data share": {"objective": without_base(data_share=0.5)},
    "advantage_flow without regularisation": {"objective": without_base(lam=0.0)},
    "diffusion_nft": {"objective": DiffusionNft()},
    "diffusion_nft at the sampler's times": {"objective": DiffusionNft(timestep_sampling="sampler")},
    "awm within the base's norm": {"objective": Awm(reference_weight=0.1, norm_weight=1.0)},
    "awm with three policies": {"objective": Awm(held_to="average"), "sampled": "trained", "rollout_decay": 0.9},
    "flow_grpo": {"objective": FlowGrpo(reference_weight=0.04, kl="released")},
}


def forwards(policy: Policy) -> list[bool]:
    """Filled with whether each evaluation of the model has gradients, as they come."""
    seen: list[bool] = []
    policy.transformer.register_forward_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    return seen


@pytest.mark.parametrize("name", OBJECTIVES)
def test_round_changes_the_policy_with_finite_metrics_and_repeats_bit_for_bit(
    make_policy: Callable[..., Policy], settings: TrainingSettings, name: str
) -> None:
    results = []
    for _ in range(2):
        policy = make_policy()
        before = weights(policy)
        steps = train(policy, sampled(policy), settings, **OBJECTIVES[name])
        assert all(torch.tensor(list(step.values())).isfinite().all() for step in steps)
        assert all(step["gradient_norm"] > 0 for step in steps)
        after = weights(policy)
        assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
        results.append(([{k: v for k, v in step.items() if k != "seconds"} for step in steps], after))
    (steps, after), (steps_again, after_again) = results
    assert steps == steps_again
    assert all(torch.equal(one, other) for one, other in zip(after, after_again, strict=True))
    assert {"loss", "advantage_loss"} <= steps[0].keys()
    assert ("deviation" in steps[0]) == (name != "flow_grpo")


@pytest.mark.parametrize(
    ("options", "of_second_step"),
    [
        ({"objective": without_base()}, [False, True, False, True]),
        # v_roll has no weight: the deviation is measured on one sample in eight.
        ({"objective": without_base(lam=0.0)}, [False, True, False, True]),
        ({"objective": without_base(data_share=1.0)}, [False, True, False, True]),
        ({"objective": DiffusionNft()}, [False, True, False, True]),
        ({"objective": Awm(reference_weight=0.1)}, [False, False, True, False, False, True]),
        ({"objective": without_base(norm_weight=1.0)}, [False, False, True, False, False, True]),
        ({"objective": FlowGrpo()}, [True, True]),
        ({"objective": FlowGrpo(reference_weight=0.1)}, [False, True, False, True]),
    ],
)
def test_model_is_evaluated_only_for_terms_with_weight(
    make_policy: Callable[..., Policy], settings: TrainingSettings, options: dict[str, Any], of_second_step: list[bool]
) -> None:
    policy = make_policy()
    data = sampled(policy)
    seen = forwards(policy)
    steps = train(policy, data, settings, gradient_steps=2, inner_epochs=2, microbatch=GROUPS * SIZE // 2, **options)
    assert seen[-len(of_second_step) :] == of_second_step
    first = len(seen) - len(of_second_step)
    assert first == 2 * (1 + options["objective"].reads_reference)  # v_roll is v_theta on the first step
    assert options["objective"].needs.trajectories or steps[1]["deviation"] > 0 == steps[0]["deviation"]


def test_reference_is_the_base_model_with_adapters_off(
    make_policy: Callable[..., Policy], settings: TrainingSettings, model: ModelSettings
) -> None:
    policy = make_policy()
    data = sampled(policy)
    train(policy, data, settings)
    inputs = (data.latents[:GROUPS], torch.full((GROUPS,), 0.5), data.conditioning)
    reference = policy.reference_velocity(inputs)
    with torch.no_grad():
        assert torch.equal(reference, policy.family.velocity(load_transformer(model), *inputs))
    velocity = policy.velocity(inputs)
    assert not reference.requires_grad
    assert velocity.requires_grad  # the trained adapter is the active one again
    assert not torch.equal(velocity, reference)


def test_reference_weight_holds_the_policy_to_the_base(
    make_policy: Callable[..., Policy], settings: TrainingSettings
) -> None:
    distances = []
    for weight in (0.0, 100.0):
        policy = make_policy()
        data = sampled(policy)
        steps = train(
            policy,
            data,
            settings,
            objective=AdvantageFlow(lam=1.0, reference_weight=weight),
            gradient_steps=12,
            inner_epochs=12,
        )
        parts = [steps[-1].get(name, 0.0) for name in ("advantage_loss", "regulariser", "reference")]
        assert steps[-1]["loss"] == pytest.approx(sum(parts), rel=1e-4)
        assert bool(parts[-1]) == (weight > 0)
        inputs = (data.latents[:GROUPS], torch.full((GROUPS,), 0.5), data.conditioning)
        distances.append((policy.velocity(inputs) - policy.reference_velocity(inputs)).square().mean().item())
    assert distances[1] < 0.3 * distances[0]


def test_norm_weight_keeps_velocities_as_long_as_the_bases(
    make_policy: Callable[..., Policy], settings: TrainingSettings
) -> None:
    excesses = []
    for weight in (0.0, 1000.0):
        policy = make_policy()
        data = sampled(policy)
        steps = train(policy, data, settings, objective=without_base(lam=1.0, norm_weight=weight), gradient_steps=12,
                      inner_epochs=12)  # fmt: skip
        parts = [steps[-1].get(name, 0.0) for name in ("advantage_loss", "regulariser", "norm_guard")]
        assert steps[-1]["loss"] == pytest.approx(sum(parts), rel=1e-4)
        inputs = (data.latents[:GROUPS], torch.full((GROUPS,), 0.5), data.conditioning)
        own, base = (v.flatten(1).norm(dim=1) for v in (policy.velocity(inputs), policy.reference_velocity(inputs)))
        excesses.append((own / base - 1).clamp_min(0).mean().item())
    assert excesses[1] < 0.5 * excesses[0]


def test_training_at_the_samplers_times_sees_no_others(
    make_policy: Callable[..., Policy], settings: TrainingSettings
) -> None:
    policy = make_policy()
    data = sampled(policy)
    seen: list[Tensor] = []
    policy.transformer.register_forward_pre_hook(
        lambda _, args, given: seen.append(given["timestep"]), with_kwargs=True
    )
    objective = DiffusionNft(timestep_sampling="sampler", timestep_fraction=0.5)
    train(policy, data, settings, objective=objective)
    assert set(torch.cat(seen).tolist()) == {1000.0, 750.0}  # of 1, 3/4, 1/2, 1/4
    with pytest.raises(DataError, match="do not tell the noise levels"):
        train(policy, dataclasses.replace(data, levels=None), settings, objective=objective)


def test_three_policies_go_their_own_ways(make_policy: Callable[..., Policy], settings: TrainingSettings) -> None:
    policy = make_policy()
    data, decay, expected = sampled(policy), 0.9, weights(policy, "rollout_policy")
    follow = policy.adapters.follow

    def followed(given: float) -> None:
        follow(given)
        expected[:] = [decay * old + (1 - decay) * new for old, new in zip(expected, weights(policy), strict=True)]

    policy.adapters.follow = followed  # type: ignore[method-assign]
    options: dict[str, Any] = {"objective": Awm(held_to="average"), "sampled": "trained", "rollout_decay": decay}
    for _ in range(2):
        train(policy, data, settings, **options)
        assert policy.is_rollout_policy(), "the next round samples from the trained policy"
        for own, average in zip(expected, policy.adapters.average.values(), strict=True):
            torch.testing.assert_close(average, own)
    inputs = (data.latents[:GROUPS], torch.full((GROUPS,), 0.5), data.conditioning)
    assert not torch.equal(policy.average_velocity(inputs), policy.rollout_velocity(inputs))
    torch.testing.assert_close(policy.rollout_velocity(inputs), policy.velocity(inputs).detach())


@pytest.mark.parametrize(
    "name", ["advantage_flow", "awm within the base's norm", "diffusion_nft at the sampler's times"]
)
def test_a_mean_flow_is_trained_by_every_forward_objective_with_one_correction_for_all(
    make_policy: Callable[..., Policy], settings: TrainingSettings, name: str
) -> None:
    plain = make_policy()
    policy = dataclasses.replace(plain, family=MeanFlow())
    data, before = sampled(plain), weights(policy)
    steps = train(policy, data, settings, **OBJECTIVES[name])
    assert all(torch.tensor(list(step.values())).isfinite().all() for step in steps)
    assert steps[0]["deviation"] == 0 < steps[1]["deviation"]
    assert any(not torch.equal(old, new) for old, new in zip(before, weights(policy), strict=True))


def test_unmoved_policy_gives_stored_steps_their_old_probability(
    make_policy: Callable[..., Policy], settings: TrainingSettings
) -> None:
    policy = make_policy()
    data = sampled(policy)
    samples = torch.arange(GROUPS * SIZE).repeat(4)
    advantages = round_advantages(data, settings).values.flatten().float()
    settings = settings.model_copy(update={"objective": FlowGrpo(clip_range=1e-5, step_fraction=1.0)})
    step = Step(policy, data, advantages, samples, settings, False, {}, torch.Generator().manual_seed(0))
    for indices in torch.arange(len(samples)).split(7):
        metrics = metrics_of(step, indices)
        assert metrics["ratio_clipped"] == 0
        assert metrics["approximate_kl"] < 1e-10


@pytest.mark.parametrize(
    ("steps", "fraction", "usable"),
    [(10, 0.99, 9), (6, 0.99, 5), (6, 1.0, 6), (1, 0.99, 1), (100, 0.29, 29), (4, 0.1, 1)],
)
def test_usable_steps_are_the_floor_of_the_share_but_at_least_one(steps: int, fraction: float, usable: int) -> None:
    assert usable_steps(steps, fraction) == usable


def test_steps_of_trajectories_are_drawn_equally_often_without_the_last(
    make_policy: Callable[..., Policy], settings: TrainingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = make_policy()
    data = sampled(policy)
    seen: list[float] = []
    forward = policy.transformer.forward

    def spy(**inputs: Tensor) -> Any:
        seen.extend(inputs["timestep"].tolist())
        return forward(**inputs)

    monkeypatch.setattr(policy.transformer, "forward", spy)
    train(policy, data, settings, objective=FlowGrpo(), gradient_steps=1, inner_epochs=1)
    assert {time: seen.count(time) for time in seen} == {1000: 8, 750: 8, 500: 8}  # of 4 steps the last is left out


def test_flow_grpo_without_trajectories_is_refused(
    make_policy: Callable[..., Policy], settings: TrainingSettings
) -> None:
    policy = make_policy()
    data = dataclasses.replace(sampled(policy), trajectories=None)
    with pytest.raises(DataError, match="there are none") as caught:
        train(policy, data, settings, objective=FlowGrpo())
    assert "rollout.trajectories" in caught.value.remedy


def test_a_continued_run_draws_times_and_noise_as_one_long_run_does(
    make_policy: Callable[..., Policy], settings: TrainingSettings
) -> None:
    data, ends = sampled(make_policy()), []
    for before, number in ((0, 3), (2, 1), (0, 1)):
        policy = make_policy()
        advantages = round_advantages(data, settings)
        train_round(policy, data, advantages, settings, seed=0, round_index=number, rounds_before=before)
        ends.append(torch.cat([weight.flatten() for weight in weights(policy)]))
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[1], ends[2])


@pytest.mark.parametrize(
    ("objective", "remedy"),
    [
        (without_base(), "raise training.objective.lam"),
        (without_base(lam="auto"), "set training.objective.lam to 1"),
        (DiffusionNft(), "training.objective.beta"),
        (Awm(), "training.objective.rollout_weight"),
        (FlowGrpo(), "training.objective.reference_weight"),
    ],
)
def test_divergence_names_a_remedy_of_the_objective(
    make_policy: Callable[..., Policy], settings: TrainingSettings, objective: Objective, remedy: str
) -> None:
    policy = make_policy(learning_rate=1e30)
    with pytest.raises(TrainingError, match="diverged") as caught:
        train(policy, sampled(policy), settings, objective=objective)
    assert remedy in caught.value.remedy
    assert "lower training.learning_rate" in caught.value.remedy


# The published clip range is for latents of 65,536 elements; a mean over 64 moves further.
@pytest.mark.parametrize("objective", [DiffusionNft(), Awm(), FlowGrpo(clip_range=0.1)], ids=lambda one: one.name)
def test_rounds_of_rollouts_raise_the_reward(
    make_policy: Callable[..., Policy], settings: TrainingSettings, objective: Objective
) -> None:
    policy = make_policy(learning_rate=0.02)
    changes = {"objective": objective, "microbatch": 128, "gradient_steps": 4, "inner_epochs": 4}
    settings = settings.model_copy(update=changes)
    means = []
    for round_index in range(6):
        data = sampled(policy, seed=round_index, size=32)
        means.append(data.terms[0].rewards.mean().item())
        train_round(policy, data, round_advantages(data, settings), settings, seed=0, round_index=round_index)
    print(f"{objective.name}: mean reward by round {[round(mean, 3) for mean in means]}")
    assert means[-1] > means[0] + 0.1
