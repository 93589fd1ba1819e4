"""Weights of rewards from the gradients that each of them alone gives."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from trained_rounds import sampled

from advantageflow.flow.advantages import Combination, Term
from advantageflow.flow.simplex import LARGEST
from advantageflow.settings import RewardSettings, TrainingSettings
from advantageflow.training.data import RoundData
from advantageflow.training.group import ALONE
from advantageflow.training.policy import Policy
from advantageflow.training.reward_weights import weigh_rewards

SETTINGS = {"microbatch": 12, "inner_epochs": 1, "gradient_steps": 1}


@pytest.fixture
def policy(make_policy: object) -> Policy:
    return make_policy()  # type: ignore[operator,no-any-return]


def rewarded(policy: Policy, combine: Combination, *others: tuple[float, float]) -> RoundData:
    """A round whose further rewards are (sign, weight): the first one, turned round or not, or noise for 0."""
    data = sampled(policy)
    first = data.terms[0].rewards
    noise = torch.randn(first.shape, generator=torch.Generator().manual_seed(1), dtype=first.dtype)
    terms = [Term(sign * 7 * first if sign else noise, weight) for sign, weight in others]
    return replace(data, terms=(data.terms[0], *terms), combine=combine)


def weigh(policy: Policy, data: RoundData, settings: TrainingSettings) -> list[float]:
    before = [value.detach().clone() for value in policy.adapters.parameters()]
    weighed, told = weigh_rewards(policy, data, settings.model_copy(update=SETTINGS), 0, 1, ALONE)
    assert all(map(torch.equal, before, policy.adapters.parameters()))
    assert all(parameter.grad is None for parameter in policy.adapters.parameters())
    assert weighed.combine == "normalised_sum"
    return list(told.values())


def test_auxiliaries_share_their_weight_by_how_they_agree_with_the_first(
    policy: Policy, settings: TrainingSettings
) -> None:
    data = rewarded(policy, "gradient_aligned", (1, 0.5), (-1, 0.5))
    assert weigh(policy, data, settings) == pytest.approx([1, 1, 0], abs=1e-6)


def test_opposed_rewards_weigh_the_same_at_minimum_norm(policy: Policy, settings: TrainingSettings) -> None:
    data = rewarded(policy, "minimum_norm", (-1, 3.0))
    assert weigh(policy, data, settings) == pytest.approx([2, 2], rel=1e-4)


def test_a_reward_that_is_all_the_same_has_no_weight_at_minimum_norm(
    policy: Policy, settings: TrainingSettings
) -> None:
    data = rewarded(policy, "minimum_norm", (-1, 3.0))
    data = replace(data, terms=(*data.terms, Term(torch.ones_like(data.terms[0].rewards), 2.0)))
    assert weigh(policy, data, settings) == pytest.approx([3, 3, 0], rel=1e-4)


def test_more_terms_than_are_weighed_are_refused_by_the_settings() -> None:
    many = {"others": [{"name": f"mine:r{number}"} for number in range(LARGEST)]}
    with pytest.raises(ValidationError, match=f"at most {LARGEST} terms, not {LARGEST + 1}"):
        RewardSettings(combine="minimum_norm", **many)
    assert len(RewardSettings(combine="normalised_sum", **many).terms) == LARGEST + 1


def test_unlike_rewards_all_count_at_minimum_norm(policy: Policy, settings: TrainingSettings) -> None:
    data = rewarded(policy, "minimum_norm", (0, 1.0))
    first, second = weigh(policy, data, settings)
    assert first + second == pytest.approx(2)
    assert min(first, second) > 0.5


def test_fixed_weights_and_a_single_reward_stay_as_they_are(policy: Policy, settings: TrainingSettings) -> None:
    for data in (rewarded(policy, "normalised_sum", (0, 1.0)), rewarded(policy, "minimum_norm")):
        assert weigh_rewards(policy, data, settings, 0, 1, ALONE) == (data, {})
