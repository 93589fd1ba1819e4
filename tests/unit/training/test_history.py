"""What training writes of its prompts: the gain a group offers, and a history that grows from round to round."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from theory import expected_reward_gain

from advantageflow.errors import DataError
from advantageflow.flow.advantages import Term, group_advantages
from advantageflow.policy.conditioning import Conditioning
from advantageflow.prompts.initial_policy import copy_policy
from advantageflow.records import HISTORY_FILE, derive_seed
from advantageflow.settings import LoraSettings, ModelSettings, RewardSettings, TrainingSettings
from advantageflow.store.files import read_json, write_json
from advantageflow.store.prompt_history import PromptHistory, read_history
from advantageflow.training import stage
from advantageflow.training.data import RoundData
from advantageflow.training.metrics import group_gains, updated_history
from advantageflow.training.round import round_advantages

SETTINGS = TrainingSettings(gradient_steps=1, inner_epochs=1, threads=1, lora=LoraSettings(rank=2, alpha=2))


def make_data(*terms: Term) -> RoundData:
    nothing = torch.empty(0)
    return RoundData(nothing, Conditioning({}), terms, {"soft": terms[0].rewards})


def gains(*terms: Term | torch.Tensor, scale: str = "group", clip: float = 2.0) -> torch.Tensor:
    settings = SETTINGS.model_copy(update={"advantage_scale": scale, "advantage_clip": clip})
    data = make_data(*(term if isinstance(term, Term) else Term(term) for term in terms))
    return group_gains(data, round_advantages(data, settings))


def coins(*heads: int) -> torch.Tensor:
    """A group of ten rewards of 0 and 1 for each number of ones."""
    return torch.stack([(torch.arange(10) < number).double() for number in heads])


def test_gain_is_what_the_local_target_expects() -> None:
    rewards = torch.randn(5, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    advantages = group_advantages(rewards, scale="group", clip=1.2).values
    expected = [expected_reward_gain(r, a - a.mean(), lam=1.0) for r, a in zip(rewards, advantages, strict=True)]
    assert torch.allclose(gains(rewards, clip=1.2), torch.stack(expected) / rewards.std(correction=0))


def test_gain_of_coins_is_their_deviation_or_with_the_global_scale_their_variance() -> None:
    rewards, p = coins(0, 1, 5, 8, 10), torch.tensor([0.0, 0.1, 0.5, 0.8, 1.0]).double()
    deviation, clip = rewards.std(correction=0), 5.0
    assert torch.allclose(gains(rewards, clip=clip), (p * (1 - p)).sqrt() / deviation / clip)
    assert torch.allclose(gains(rewards, scale="global", clip=clip), p * (1 - p) / deviation**2 / clip)


def test_gain_has_no_units_and_equal_rewards_teach_nothing() -> None:
    rewards = coins(3, 7, 10)
    assert torch.allclose(gains(1e4 * rewards - 5), gains(rewards))
    assert gains(rewards)[2] == 0
    assert gains(coins(10, 10)).tolist() == [0, 0]


def test_several_terms_count_in_deviations_and_a_minimum_teaches() -> None:
    good = torch.tensor([[0.0, 1.0] * 5, [0.5] * 10]).double()
    size = torch.tensor([[9e3] * 10, [8e3, 1e4] * 5]).double()
    terms = (Term(good), Term(size))
    assert torch.allclose(*gains(*terms)), "each group is mixed in one term, and both terms count alike"
    assert gains(coins(10, 0))[0] == 0
    constant = torch.full_like(good, 0.3)
    noisy = constant.clone()
    noisy[0, ::3] = torch.nextafter(constant[0, 0], torch.tensor(1.0).double())
    of_both = [gains(good, values) for values in (constant, noisy)]
    assert torch.equal(*of_both), "rounding is no reward"
    below = torch.arange(10).repeat(2, 1).double()
    assert (gains(coins(10, 10), Term(below, minimum=5.0)) > 0).all()


@pytest.fixture
def train(model: ModelSettings) -> Any:
    def run(world: Any, out: str, round_index: int = 1, **changes: Any) -> Path:
        inputs = {**world.artifacts(), **changes}
        stage.run(SETTINGS, RewardSettings(), model, 0, round_index, **inputs, policy_out=world.root / out)
        return world.root / out

    return run


def relabel(world: Any, policy: Path) -> Any:
    """Say that the world's rollouts come from this policy."""
    for shard in world.latents:
        path = shard / "metadata.json"
        write_json(path, {**read_json(path), "policy_sha256": read_json(policy / "state.json")["policy_sha256"]})
    return world


def test_history_grows_from_round_to_round_and_over_chained_runs(train: Any, maker: Any, tmp_path: Path) -> None:
    first = train(maker.make(), "first")
    outcomes = read_history(first)
    assert outcomes.rounds == 1
    assert outcomes.prompts.keys() == {prompt.prompt_id for prompt in maker.prompts}
    prompt = maker.prompts[2]
    rewards = torch.tensor([maker.latent(seed).mean() for seed in maker_seeds(maker, prompt.text)]).double()
    (outcome,) = outcomes.prompts[prompt.prompt_id]
    assert (outcome.mean, outcome.std) == pytest.approx((rewards.mean().item(), rewards.std(correction=0).item()))

    copy_policy(first, tmp_path / "initial", {})
    second = train(relabel(maker.make(round_index=1), first), "second", policy=tmp_path / "initial")
    again = read_history(second)
    assert again.rounds == 2
    assert all([one.round for one in history] == [1, 2] for history in again.prompts.values())
    assert {prompt_id: history[:1] for prompt_id, history in again.prompts.items()} == outcomes.prompts


def maker_seeds(maker: Any, text: str) -> list[int]:
    return [derive_seed(text, k) for k in range(maker.group_size)]


def test_outcomes_that_cannot_be_continued_stop_before_training(train: Any, maker: Any) -> None:
    world = maker.make()
    (world.policy / HISTORY_FILE).write_text('{"rounds": 1, "prompts": {"x": [{}]}}')
    with pytest.raises(DataError, match=r"prompts\.x\.0\.round"):
        train(world, "trained")
    assert not (world.root / "trained").exists()


def test_data_that_no_artifact_stands_behind_has_no_prompts_to_keep() -> None:
    data = make_data(Term(coins(5, 2)))
    with pytest.raises(ValueError, match="argument"):
        updated_history(PromptHistory(), data, round_advantages(data, SETTINGS))
    named = dataclasses.replace(data, prompt_ids=("x", "y"))
    assert updated_history(PromptHistory(), named, round_advantages(named, SETTINGS)).rounds == 1
