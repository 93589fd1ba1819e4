"""Several rewards in a round's data: their columns, directions and minima, and the advantages that come of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from advantageflow.errors import DataError
from advantageflow.flow.advantages import combined_advantages, group_advantages
from advantageflow.settings import RewardSettings, RewardTerm, TrainingSettings
from advantageflow.store.files import read_json, write_json
from advantageflow.store.rollouts import read_scores, write_scores
from advantageflow.training.data import RoundData
from advantageflow.training.metrics import data_metrics
from advantageflow.training.round import round_advantages
from advantageflow.training.shards import load_round

COLUMNS = ["soft", "strict", "size.bytes"]
REWARD = RewardSettings(others=(RewardTerm(name="size", column="bytes", weight=0.5),))


def load(world: Any, reward: RewardSettings = REWARD) -> RoundData:
    return load_round(
        world.prompts, world.conditioning, world.latents, world.scores,
        reward=reward, round_index=1, policy_sha256=None,
    )  # fmt: skip


@pytest.fixture
def world(maker: Any) -> Any:
    """Two shards scored by two rewards, of the second of which lower is better."""
    world = maker.make(shards=2)
    described = {
        "rewards": {
            "shapes": {"version": "1", "higher_is_better": True},
            "size": {"version": "1", "higher_is_better": False},
        }
    }
    for shard in world.scores:
        scores = [
            replace(score, rewards={**score.rewards, "size.bytes": 1000.0 + 100 * score.rewards["soft"] ** 2})
            for score in read_scores(shard)
        ]
        write_scores(shard, scores, COLUMNS, {"round": 1, **described})
    return world


def test_each_term_has_its_column_turned_so_that_higher_is_better(world: Any) -> None:
    data = load(world)
    assert [term.weight for term in data.terms] == [1.0, 0.5]
    assert torch.equal(data.terms[0].rewards, data.columns["soft"])
    assert torch.equal(data.terms[1].rewards, -data.columns["size.bytes"])


def test_a_minimum_is_the_worst_value_in_the_reward_s_own_units(world: Any) -> None:
    reward = RewardSettings(minimum=0.1, others=(RewardTerm(name="size", column="bytes", minimum=1005.0),))
    data = load(world, reward)
    assert [term.minimum for term in data.terms] == [0.1, -1005.0]
    wrong = (data.columns["soft"] < 0.1) | (data.columns["size.bytes"] > 1005)
    assert wrong.any()
    assert not wrong.all()
    values = round_advantages(data, TrainingSettings(advantage_clip=100.0)).values
    for group, bad in zip(values, wrong, strict=True):
        if bad.any() and not bad.all():
            assert group[bad].max() < group[~bad].min()
    metrics = data_metrics(data, round_advantages(data, TrainingSettings()))
    assert metrics["reward/below_minimum"] == pytest.approx(wrong.double().mean().item())


@pytest.mark.parametrize("combine", ["sum", "normalised_sum"])
def test_a_round_trains_on_the_terms_combined_as_settings_say(world: Any, combine: Any) -> None:
    data = load(world, REWARD.model_copy(update={"combine": combine}))
    expected = combined_advantages(data.terms, combine=combine, scale="centred", clip=1.0)
    given = round_advantages(data, TrainingSettings())
    assert torch.equal(given.values, expected.values)
    assert not torch.equal(given.values, group_advantages(data.terms[0].rewards, scale="centred", clip=1.0).values)


def test_with_one_term_the_advantages_are_those_of_its_reward(world: Any) -> None:
    data = load(world, RewardSettings(weight=3.0))
    assert len(data.terms) == 1
    expected = group_advantages(data.columns["soft"], scale="centred", clip=1.0)
    assert torch.equal(round_advantages(data, TrainingSettings()).values, expected.values)
    assert "reward/below_minimum" not in data_metrics(data, expected)


def test_scores_without_a_term_s_column_name_the_setting(world: Any) -> None:
    with pytest.raises(DataError, match=r"no column 'size\.pixels' \(found: soft, strict, size\.bytes\)") as caught:
        load(world, RewardSettings(others=(RewardTerm(name="size", column="pixels"),)))
    assert "reward.others.0.column" in caught.value.remedy
    with pytest.raises(DataError, match="no column 'sotf'") as caught:
        load(world, RewardSettings(column="sotf"))
    assert "set reward.column" in caught.value.remedy


def test_shards_that_differ_in_a_term_s_direction_are_refused(world: Any) -> None:
    path = world.scores[1] / "metadata.json"
    metadata = read_json(path)
    metadata["rewards"]["size"]["higher_is_better"] = True
    write_json(path, metadata)
    with pytest.raises(DataError, match="some say that a higher 'size' is better"):
        load(world)
