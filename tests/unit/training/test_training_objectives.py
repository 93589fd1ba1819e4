"""Every objective on the same round: it trains, repeats, costs no forward that it does not need, and learns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from advantageflow.errors import DataError, TrainingError
from advantageflow.flow.advantages import Term
from advantageflow.flow.moving_average import decay_after
from advantageflow.flow.regularisation import TRUSTED
from advantageflow.flow.samplers import timesteps
from advantageflow.flow.sde import integrate_sde
from advantageflow.objectives.advantage_flow import MARGIN, AdvantageFlow
from advantageflow.objectives.awm import Awm
from advantageflow.objectives.base import WATCHED, Objective
from advantageflow.objectives.diffusion_nft import DiffusionNft
from advantageflow.objectives.flow_grpo import FlowGrpo
from advantageflow.policy.conditioning import Conditioning
from advantageflow.policy.loading import load_transformer
from advantageflow.policy.sampling import step_noise, velocity_function
from advantageflow.settings import ModelSettings, TrainingSettings
from advantageflow.training.data import RoundData
from advantageflow.training.forward import velocity_batches
from advantageflow.training.policy import Policy
from advantageflow.training.reverse import transition_batches, usable_steps
from advantageflow.training.round import round_advantages, train_round
from advantageflow.training.step import Step
from advantageflow.training.train import load_policy

without_base = partial(AdvantageFlow, reference_weight=0.0)
without_base = partial(AdvantageFlow, reference_weight=0.0)
GROUPS, SIZE, SHAPE = 4, 6, (4, 4, 4)
LEVEL = 0.7
OBJECTIVES: dict[str, dict[str, Any]] = {
    "advantage_flow": {"objective": AdvantageFlow()},
    "advantage_flow with a data share": {"objective": without_base(data_share=0.5)},
    "advantage_flow without regularisation": {"objective": without_base(lam=0.0)},
    "diffusion_nft": {"objective": DiffusionNft()},
    "diffusion_nft without adaptive weighting": {"objective": DiffusionNft(adaptive_weighting=False)},
    "awm": {"objective": Awm(reference_weight=0.1)},
    "flow_grpo": {"objective": FlowGrpo(reference_weight=0.04)},
}


@pytest.fixture
def make_policy(maker: Any, model: ModelSettings, settings: TrainingSettings) -> Callable[..., Policy]:
    folder = maker.make().policy
    return lambda **changes: load_policy(settings.model_copy(update=changes), model, 0, folder)


def sampled(policy: Policy, seed: int = 0, size: int = SIZE) -> RoundData:
    """A round that the policy has rolled out stochastically; the reward is the mean of the latent."""
    generator = torch.Generator().manual_seed(0)
    embeds, pooled = torch.randn(GROUPS, 3, 32, generator=generator), torch.randn(GROUPS, 16, generator=generator)
    told = Conditioning({"prompt_embeds": embeds, "pooled": pooled})
    repeated = told.rows(torch.arange(GROUPS).repeat_interleave(size))
    velocity = velocity_function(policy.family, policy.transformer, repeated)
    noise = torch.randn(GROUPS * size, *SHAPE, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        latents, trajectories = integrate_sde(
            velocity,
            noise,
            timesteps(4),
            noise_level=LEVEL,
            step_noise=step_noise(range(1000 * seed, 1000 * seed + len(noise)), SHAPE, "cpu"),
            keep=True,
        )
    rewards = latents.flatten(1).mean(1).double().reshape(GROUPS, size)
    return RoundData(latents, told, (Term(rewards),), {"soft": rewards}, trajectories=trajectories)


def weights(policy: Policy, adapter: str = "policy") -> list[Tensor]:
    return [value.detach().clone() for value in policy.adapters.named_parameters(adapter).values()]


def train(policy: Policy, data: RoundData, settings: TrainingSettings, **changes: Any) -> list[dict[str, float]]:
    settings = settings.model_copy(update=changes)
    return train_round(policy, data, round_advantages(data, settings), settings, seed=0, round_index=1)


def metrics_of(step: Step, indices: Tensor) -> dict[str, float]:
    """Of a microbatch."""
    objective = step.settings.objective
    batches_of = transition_batches if objective.needs.trajectories else velocity_batches
    batch = batches_of(step)(indices)
    return {name: value.item() for name, value in (objective.loss(batch)[1] | batch.measures()).items()}


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
    assert first == 2 * (1 + (options["objective"].reference_weight > 0))  # v_roll is v_theta on the first step
    assert options["objective"].needs.trajectories or steps[1]["deviation"] > 0 == steps[0]["deviation"]


@pytest.mark.parametrize("lam", ["auto", 0.0])
def test_rollout_policy_is_evaluated_where_it_has_a_weight_and_on_an_eighth_of_the_rest(
    make_policy: Callable[..., Policy], settings: TrainingSettings, lam: str | float
) -> None:
    """Whatever the microbatches, and it makes no difference to the policy."""
    data, steps, inner_epochs = sampled(make_policy()), 3, 4
    bad = int((round_advantages(data, settings).values < 0).sum()) if lam == "auto" else 0
    results, ends = [], []
    for microbatch in (1, 5, 1000):
        policy, seen = make_policy(), []
        policy.transformer.register_forward_hook(
            lambda _, args, out, seen=seen: seen.append((torch.is_grad_enabled(), len(out[0])))
        )
        options = {
            "objective": without_base(lam=lam),
            "gradient_steps": steps,
            "inner_epochs": inner_epochs,
            "microbatch": microbatch,
        }
        results.append(train(policy, data, settings, **options))
        ends.append(torch.cat([weight.flatten() for weight in weights(policy)]))
        samples = GROUPS * SIZE * inner_epochs
        assert sum(count for gradient, count in seen if gradient) == samples
        without = sum(count for gradient, count in seen if not gradient)
        bad_samples = inner_epochs * bad
        of_all_steps = bad_samples + (samples - bad_samples) / WATCHED  # the first of three steps costs nothing
        assert 0.4 * of_all_steps < without < 0.9 * of_all_steps + steps
    for result, end in zip(results[1:], ends[1:], strict=True):
        torch.testing.assert_close(end, ends[0], atol=1e-4, rtol=0)
        for one, other in zip(results[0], result, strict=True):
            assert without_seconds(one) == pytest.approx(without_seconds(other), rel=1e-3, abs=1e-7)


def test_the_deviation_of_all_is_estimated_from_some(
    make_policy: Callable[..., Policy], settings: TrainingSettings
) -> None:
    policy, data = make_policy(), sampled(make_policy())
    train(policy, data, settings.model_copy(update={"rollout_decay": 1.0}), gradient_steps=4, inner_epochs=4)
    advantages = round_advantages(data, settings).values.flatten().to(data.latents)
    generator = torch.Generator().manual_seed(0)
    samples = torch.arange(len(advantages)).repeat(400)[torch.randperm(400 * len(advantages), generator=generator)]

    def deviation(lam: Any) -> float:
        changed = settings.model_copy(update={"objective": without_base(lam=lam)})
        step = Step(policy, data, advantages, samples, changed, True, {}, torch.Generator().manual_seed(0))
        return metrics_of(step, torch.arange(len(samples)))["deviation"]

    assert deviation("auto") == pytest.approx(deviation(1.0), rel=0.05)
    assert deviation(0.0) == pytest.approx(deviation(1.0), rel=0.05)


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


def test_automatic_lam_is_what_each_sample_needs_and_a_margin_of_flow_matching(
    make_policy: Callable[..., Policy], settings: TrainingSettings
) -> None:
    """Rewards of two values give advantages of +-a: the regulariser then weighs bad samples a times, and only these."""
    policy = make_policy()
    data = sampled(policy)
    halves = torch.arange(SIZE) % 2
    data = dataclasses.replace(data, terms=(Term(halves.expand(GROUPS, SIZE).double()),))
    size = round_advantages(data, settings).values.abs().amax().item()
    assert 0 < size < 1
    automatic = train(policy, data, settings, objective=without_base(lam="auto"), gradient_steps=2)
    assert 0.2 * size < automatic[1]["regulariser"] / automatic[1]["deviation"] < 0.8 * size
    same_data = without_base(lam=0.5, data_share=least_margin(settings) / 0.5)
    fixed = train(make_policy(), data, settings, objective=same_data, gradient_steps=2)[0]
    assert without_seconds(automatic[0]) == without_seconds(fixed), "where v_theta is v_roll, lam has no effect"


def test_data_share_of_automatic_lam_is_all_of_its_margin_unless_another_is_given(
    make_policy: Callable[..., Policy], settings: TrainingSettings
) -> None:
    def loss(**options: Any) -> float:
        changes = {"objective": without_base(**options), "gradient_steps": 2}
        return train(make_policy(), sampled(make_policy()), settings, **changes)[0]["loss"]

    margin = least_margin(settings)
    assert loss(lam="auto") == loss(lam="auto", data_share=1.0) == loss(lam=1.0, data_share=margin)
    assert loss(lam="auto", data_share=0.0) == loss(lam=1.0) != loss(lam="auto")


def test_automatic_lam_holds_a_policy_that_runs_ahead_and_leaves_others_alone(
    make_policy: Callable[..., Policy], settings: TrainingSettings
) -> None:
    """The margin of a step goes by the step before: far ahead, it weighs more than on a step that was near."""
    far, near = {"deviation": 0.02, "error": 0.1}, {"deviation": 0.002, "error": 0.1}
    policy, data = make_policy(), sampled(make_policy())
    advantages = round_advantages(data, settings).values.flatten().to(data.latents)

    def metrics(before: dict[str, float], **options: Any) -> dict[str, float]:
        changed = settings.model_copy(update={"objective": without_base(**{"lam": "auto", **options})})
        samples, generator = torch.arange(len(advantages)), torch.Generator().manual_seed(0)
        step = Step(policy, data, advantages, samples, changed, True, before, generator)
        return metrics_of(step, torch.arange(len(advantages)))

    assert metrics({}) == metrics(near)
    ahead = (0.2 / TRUSTED) ** 2
    pulled = metrics(far)["advantage_loss"] - metrics(near)["advantage_loss"]
    weight = metrics(near, lam=10.0, data_share=0.1)["advantage_loss"] - metrics(near, lam=10.0)["advantage_loss"]
    assert pulled == pytest.approx((ahead - 1) * least_margin(settings) * weight, rel=1e-4)


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


def least_margin(settings: TrainingSettings) -> float:
    return MARGIN / settings.advantage_clip


def without_seconds(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name != "seconds"}


def test_decay_schedule_counts_the_gradient_steps_of_the_whole_run(
    make_policy: Callable[..., Policy], settings: TrainingSettings
) -> None:
    policy = make_policy()
    before = weights(policy, "rollout_policy")
    settings = settings.model_copy(update={"rollout_decay": "nft_2"})
    data = sampled(policy)
    train_round(policy, data, round_advantages(data, settings), settings, seed=0, round_index=1, steps_before=172)
    assert decay_after("nft_2", 175) == 0.75
    for old, new, rollout in zip(before, weights(policy), weights(policy, "rollout_policy"), strict=True):
        torch.testing.assert_close(rollout, 0.75 * old + 0.25 * new)


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
