"""Joining the shards of a round: order, direction of the reward, and every way in which shards do not fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from advantageflow.errors import DataError
from advantageflow.records import Rollout, Score
from advantageflow.settings import RewardSettings
from advantageflow.store.files import read_json, write_json
from advantageflow.store.rollouts import read_index, read_latents, read_scores, write_latents, write_scores
from advantageflow.training.data import RoundData
from advantageflow.training.shards import load_round


def load(world: Any, round_index: int = 1) -> RoundData:
    reward = RewardSettings(column="soft")
    return load_round(
        world.prompts, world.conditioning, world.latents, world.scores,
        reward=reward, round_index=round_index, policy_sha256=None,
    )  # fmt: skip


def edit_scores(world: Any, change: Callable[[list[Score]], list[Score]]) -> None:
    write_scores(world.scores[0], change(read_scores(world.scores[0])), ["soft", "strict"], {"round": 1})


def edit_rollouts(world: Any, change: Callable[[list[Rollout]], list[Rollout]]) -> None:
    rollouts = change(read_index(world.latents[0]))
    latents = torch.zeros(len(rollouts), *read_latents(world.latents[0]).shape[1:])
    write_latents(world.latents[0], rollouts, latents, {"policy_sha256": None})


def test_rollouts_come_by_prompt_and_index_with_their_own_reward_and_text(maker: Any) -> None:
    data = load(maker.make(shards=3))
    assert data.latents.shape == (24, 4, 4, 4)
    assert data.terms[0].rewards.shape == (4, 6)
    torch.testing.assert_close(
        data.latents.flatten(1).mean(1).double(), data.terms[0].rewards.flatten(), atol=1e-6, rtol=0
    )
    whole = load(maker.make(shards=1))
    assert torch.equal(data.latents, whole.latents)
    assert torch.equal(data.terms[0].rewards, whole.terms[0].rewards)
    told = data.conditioning.tensors
    assert all(torch.equal(tensor, whole.conditioning.tensors[name]) for name, tensor in told.items())
    assert len({tuple(row.flatten().tolist()) for row in told["prompt_embeds"]}) == 4


def test_empty_shard_is_no_obstacle(maker: Any) -> None:
    world = maker.make(shards=5)  # of 4 prompts
    assert load(world).terms[0].rewards.shape == (4, 6)


def test_lower_is_better_turns_the_reward_round(maker: Any) -> None:
    world = maker.make()
    metadata = world.scores[0] / "metadata.json"
    write_json(metadata, {**read_json(metadata), "rewards": {"shapes": {"higher_is_better": False}}})
    data = load(world)
    assert torch.equal(data.terms[0].rewards, -data.columns["soft"])


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda scores: scores[1:], "has no score"),
        (lambda scores: [*scores, scores[3]], "two scores"),
        (lambda scores: [*scores, replace(scores[3], rollout_id="1-ffffffffffffffff-0")], "no such rollout"),
        (lambda scores: [replace(scores[0], rewards={"soft": float("nan"), "strict": 0.0}), *scores[1:]], "not finite"),
    ],
)
def test_scores_that_do_not_fit_name_the_rollout(maker: Any, edit: Any, message: str) -> None:
    world = maker.make(shards=2)
    before = {score.rollout_id for score in read_scores(world.scores[0])} | {"1-ffffffffffffffff-0"}
    edit_scores(world, edit)
    with pytest.raises(DataError, match=message) as caught:
        load(world)
    assert caught.value.where.rpartition(" ")[2] in before


@pytest.mark.fault
def test_group_with_a_hole_names_the_missing_rollout(maker: Any) -> None:
    world = maker.make()
    lost = read_index(world.latents[0])[8]
    edit_rollouts(world, lambda rollouts: [r for r in rollouts if r != lost])
    edit_scores(world, lambda scores: [s for s in scores if s.rollout_id != lost.rollout_id])
    with pytest.raises(DataError, match="missing from its group of 6") as caught:
        load(world)
    assert caught.value.where.endswith(lost.rollout_id)


def test_rollout_of_another_round_is_named(maker: Any) -> None:
    with pytest.raises(DataError, match="belongs to round 1, not 2"):
        load(maker.make(), round_index=2)


def test_shard_given_twice_is_named(maker: Any) -> None:
    world = maker.make(shards=2)
    world.latents.append(world.latents[0])
    with pytest.raises(DataError, match="is a duplicate"):
        load(world)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("lost", "message"),
    [
        (["latents"], "missing: shard 1 of the round's 3"),
        (["scores"], "has no score"),
        (["latents", "scores"], "missing: shard 1 of the round's 3"),
    ],
)
def test_a_lost_shard_is_named(maker: Any, lost: list[str], message: str) -> None:
    world = maker.make(shards=3)
    for part in lost:
        getattr(world, part).pop(1)
    with pytest.raises(DataError, match=message) as caught:
        load(world)
    assert "run a shard's task again" in str(caught.value.remedy)


def test_rollout_of_an_unknown_prompt_is_named(maker: Any) -> None:
    world = maker.make()
    lost = maker.prompts.pop()
    maker.write_prompts(world.prompts, world.conditioning)
    with pytest.raises(DataError, match="prompt is not in the prompts artifact") as caught:
        load(world)
    assert lost.prompt_id in caught.value.where


def test_latent_that_is_not_finite_is_named(maker: Any) -> None:
    world = maker.make()
    rollouts, latents = read_index(world.latents[0]), read_latents(world.latents[0])
    latents[5, 0, 0, 0] = float("inf")
    write_latents(world.latents[0], rollouts, latents, {"policy_sha256": None})
    with pytest.raises(DataError, match="latent is not finite") as caught:
        load(world)
    assert caught.value.where.endswith(rollouts[5].rollout_id)


def test_round_without_rollouts_is_refused(maker: Any) -> None:
    maker.prompts = []
    with pytest.raises(DataError, match="there are no rollouts"):
        load(maker.make())


def test_a_rollout_that_was_left_out_gets_its_groups_mean_and_so_no_advantage(maker: Any) -> None:
    world = maker.make(shards=2)
    scores = read_scores(world.scores[0])
    whole_group = [
        one.rollout_id for one in scores if one.rollout_id.split("-")[1] == scores[0].rollout_id.split("-")[1]
    ]
    dropped = [*whole_group, next(one.rollout_id for one in scores if one.rollout_id not in whole_group)]
    kept = [one for one in scores if one.rollout_id not in dropped]
    write_scores(world.scores[0], kept, ["soft", "strict"], {"round": 1, "dropped": dropped})
    rewards = load(world).columns["soft"]
    every = torch.tensor([one.rewards["soft"] for one in [*kept, *read_scores(world.scores[1])]]).double()
    without = [group for group in rewards if group.std() == 0]
    assert len(without) == 1
    torch.testing.assert_close(without[0], every.mean().expand(6), atol=1e-6, rtol=0)
    row = next(group for group in rewards if len({round(float(value), 9) for value in group}) == 6 and
               any(abs(value - (group.sum() - value) / 5) < 1e-9 for value in group))  # fmt: skip
    assert row.std() > 0
