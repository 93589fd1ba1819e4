"""The regularisation by the rollout policy in training: where it is evaluated, automatic lam, and its decay."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from trained_rounds import GROUPS, SIZE, metrics_of, sampled, train, weights, without_base

from advantageflow.flow.advantages import Term
from advantageflow.flow.moving_average import decay_after
from advantageflow.objectives.advantage_flow import MARGIN, TRUSTED
from advantageflow.objectives.base import WATCHED
from advantageflow.settings import TrainingSettings
from advantageflow.training.policy import Policy
from advantageflow.training.round import round_advantages, train_round
from advantageflow.training.step import Step


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
