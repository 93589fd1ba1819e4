"""One round in memory: what its samples are, what it costs, that microbatches do not matter, and that it learns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from advantageflow.errors import SettingsError, TrainingError
from advantageflow.flow.advantages import Term
from advantageflow.flow.importance_sampling import most_telling
from advantageflow.flow.samplers import integrate, timesteps
from advantageflow.objectives.advantage_flow import AdvantageFlow
from advantageflow.policy.sampling import velocity_function
from advantageflow.settings import ModelSettings, RewardSettings, TrainingSettings
from advantageflow.training.data import RoundData
from advantageflow.training.round import Policy, _minibatches, round_advantages, train_round
from advantageflow.training.shards import load_round
from advantageflow.training.step import seeded_noise
from advantageflow.training.train import load_policy


@pytest.fixture
def data(maker: Any) -> RoundData:
    world = maker.make()
    reward = RewardSettings(column="soft")
    return load_round(
        world.prompts, world.conditioning, world.latents, world.scores,
        reward=reward, round_index=1, policy_sha256=None,
    )  # fmt: skip


@pytest.fixture
def policy(maker: Any, model: ModelSettings, settings: TrainingSettings) -> Policy:
    return load_policy(settings, model, 0, maker.make().policy)


def weights(policy: Policy) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in policy.adapters.named_parameters().items()}


def train(policy: Policy, data: RoundData, settings: TrainingSettings, **changes: Any) -> list[dict[str, float]]:
    settings = settings.model_copy(update=changes)
    return train_round(policy, data, round_advantages(data, settings), settings, seed=0, round_index=1)


def test_every_rollout_is_a_sample_in_each_inner_epoch(
    policy: Policy, data: RoundData, settings: TrainingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    forward = policy.transformer.forward

    def spy(**inputs: Tensor) -> Any:
        # The text embedding tells the group, and on the first step each is a sample of v_theta.
        rows = [
            data.conditioning.tensors["pooled"].eq(row).all(1).nonzero().item() for row in inputs["pooled_projections"]
        ]
        seen.extend(int(row) for row in rows)
        return forward(**inputs)

    monkeypatch.setattr(policy.transformer, "forward", spy)
    train(policy, data, settings, gradient_steps=1, inner_epochs=3, microbatch=7)
    assert {group: seen.count(group) for group in range(4)} == dict.fromkeys(range(4), 3 * data.group_size)


def test_more_steps_than_samples_are_refused(policy: Policy, data: RoundData, settings: TrainingSettings) -> None:
    with pytest.raises(SettingsError, match="48 gradient steps for 24 rollouts x 1 inner epochs"):
        train(policy, data, settings, gradient_steps=48, inner_epochs=1)


def test_first_step_needs_no_second_forward_and_later_ones_do(
    policy: Policy, data: RoundData, settings: TrainingSettings
) -> None:
    gradients: list[bool] = []
    policy.transformer.register_forward_hook(lambda *_: gradients.append(torch.is_grad_enabled()))
    train(policy, data, settings, gradient_steps=2, inner_epochs=2, microbatch=100)
    assert gradients == [True, False, True]


def test_rollout_policy_that_lags_behind_is_evaluated_from_the_first_step(
    policy: Policy, data: RoundData, settings: TrainingSettings
) -> None:
    train(policy, data, settings, rollout_decay=1.0)
    steps = train(policy, data, settings)
    assert steps[0]["deviation"] > 0


def test_deviation_starts_at_zero_and_grows(policy: Policy, data: RoundData, settings: TrainingSettings) -> None:
    steps = train(policy, data, settings)
    assert steps[0]["deviation"] == steps[0]["regulariser"] == 0
    assert steps[1]["deviation"] > 0


def test_size_of_microbatches_does_not_matter(
    maker: Any, model: ModelSettings, data: RoundData, settings: TrainingSettings
) -> None:
    results = []
    for size in (5, 1000):
        policy = load_policy(settings, model, 0, maker.make().policy)
        steps = train(policy, data, settings, microbatch=size, gradient_steps=1)
        moments = [policy.optimiser.state[p]["exp_avg"] for p in policy.adapters.parameters()]
        results.append((steps[0]["loss"], steps[0]["gradient_norm"], moments))
    (loss, norm, moments), (other_loss, other_norm, other_moments) = results
    assert loss == pytest.approx(other_loss, rel=1e-4)
    assert norm == pytest.approx(other_norm, rel=1e-4)
    torch.testing.assert_close(moments, other_moments, rtol=1e-3, atol=1e-7)


def test_only_the_trained_adapter_changes(policy: Policy, data: RoundData, settings: TrainingSettings) -> None:
    before = {name: value.detach().clone() for name, value in policy.transformer.named_parameters()}
    train(policy, data, settings, rollout_decay=1.0)
    changed = {name for name, value in policy.transformer.named_parameters() if not torch.equal(value, before[name])}
    assert changed
    assert all(".policy." in name for name in changed)


def test_equal_rewards_leave_the_policy_where_it_is(
    policy: Policy, data: RoundData, settings: TrainingSettings
) -> None:
    before = weights(policy)
    flat = replace(data, terms=(Term(torch.ones_like(data.terms[0].rewards)),))
    train(policy, flat, settings)
    assert all(torch.equal(value, before[name]) for name, value in weights(policy).items())


def test_weight_that_overflows_in_the_last_step_is_not_passed_on(
    policy: Policy, data: RoundData, settings: TrainingSettings
) -> None:
    weight = policy.adapters.parameters()[0]

    def overflow(*_: Any) -> None:
        weight.data[0, 0] = float("inf")

    policy.optimiser.register_step_post_hook(overflow)
    with pytest.raises(TrainingError, match=r"round 1, last optimiser step.*largest_weight not finite"):
        train(policy, data, settings, gradient_steps=1)
    rollout = policy.adapters.named_parameters("rollout_policy").values()
    assert all(value.isfinite().all() for value in rollout)


@pytest.mark.parametrize("sampling", ["uniform", "stratified", "logit_normal"])
def test_rounds_of_rollouts_raise_the_reward(
    policy: Policy, data: RoundData, settings: TrainingSettings, sampling: str
) -> None:
    """Reward: the mean of the latent. Each round rolls out the policy it has, as a run does."""
    groups, size = 4, 32
    repeated = data.conditioning.rows(torch.arange(groups).repeat_interleave(size))
    settings = settings.model_copy(
        update={
            "objective": AdvantageFlow(timestep_sampling=sampling),
            "microbatch": 128,
            "gradient_steps": 4,
            "inner_epochs": 4,
            "learning_rate": 0.02,
        }
    )
    means = []
    for round_index in range(7):
        generator = torch.Generator().manual_seed(round_index)
        with torch.no_grad():
            velocity = velocity_function(policy.family, policy.transformer, repeated)
            noise = torch.randn(groups * size, 4, 4, 4, generator=generator)
            latents = integrate(velocity, noise, timesteps(4), "euler")
        rewards = latents.flatten(1).mean(1).double().reshape(groups, size)
        means.append(rewards.mean().item())
        batch = RoundData(latents, data.conditioning, (Term(rewards),), {"soft": rewards})
        train_round(policy, batch, round_advantages(batch, settings), settings, seed=0, round_index=round_index)
    print(f"{sampling}: mean reward by round {[round(mean, 3) for mean in means]}, spread {rewards.std():.3f}")
    assert means[-1] > means[0] + 0.1


def test_rollouts_drawn_by_advantage_are_weighted_by_the_inverse(
    policy: Policy, data: RoundData, settings: TrainingSettings
) -> None:
    """One gradient step of many inner epochs: its gradient is about that of uniform draws, and more of it is told."""
    norms, before = {}, weights(policy)
    for sampling in ("uniform", "by_advantage"):
        for name, parameter in policy.adapters.named_parameters().items():
            parameter.data.copy_(before[name])
        (step,) = train(policy, data, settings, sampling=sampling, gradient_steps=1, inner_epochs=64, microbatch=512)
        norms[sampling] = step["gradient_norm"]
        assert step["samples"] == 64 * len(data.latents)
    assert norms["by_advantage"] == pytest.approx(norms["uniform"], rel=0.25)


@pytest.mark.parametrize("sampling", ["uniform", "by_advantage"])
def test_the_middle_of_a_group_may_be_left_out(
    policy: Policy, data: RoundData, settings: TrainingSettings, sampling: str
) -> None:
    changed = settings.model_copy(update={"trained_share": 0.5, "sampling": sampling})
    advantages = round_advantages(data, settings).values
    minibatches, weights = _minibatches(advantages, changed, torch.Generator().manual_seed(0))
    drawn, kept = torch.cat(list(minibatches)), most_telling(advantages, data.group_size // 2)
    assert len(drawn) == len(kept) * changed.inner_epochs
    assert torch.isin(drawn, kept).all()
    assert weights is None or torch.equal(weights.nonzero().flatten(), kept)
    (step,) = train(policy, data, settings, sampling=sampling, gradient_steps=1, trained_share=0.5)
    assert step["samples"] == len(drawn)


def test_noise_of_a_sample_does_not_depend_on_its_microbatch() -> None:
    noise = seeded_noise([5, 6, 7], torch.Size([2, 3]), torch.device("cpu"))
    together = noise(torch.tensor([0, 1, 2]))
    assert torch.equal(together[[2, 0]], noise(torch.tensor([2, 0])))
    assert together.unique().numel() == 18
