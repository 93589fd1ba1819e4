"""Trajectories of a round: joined in the order of the rollouts, and every way in which their files do not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from advantageflow.errors import DataError
from advantageflow.objectives.flow_grpo import FlowGrpo
from advantageflow.records import TRAJECTORIES_FILE
from advantageflow.settings import ModelSettings, RewardSettings, TrainingSettings
from advantageflow.store.files import read_json, read_tensors, write_tensors
from advantageflow.store.rollouts import read_latents
from advantageflow.training import stage
from advantageflow.training.data import RoundData
from advantageflow.training.shards import load_round

STEPS = 3


@pytest.fixture
def make(maker: Any) -> Callable[..., Any]:
    """Makes a round with trajectories that end in its latents."""

    def make(shards: int = 1) -> Any:
        world = maker.make(shards=shards)
        for shard in world.latents:
            latents = read_latents(shard)
            states = torch.stack([latents * factor for factor in (4.0, 3.0, 2.0, 1.0)], 1)
            tensors = {
                "states": states,
                "log_probabilities": states[:, :STEPS, 0, 0, 0].clone(),
                "sigmas": torch.linspace(1, 0, STEPS + 1, dtype=torch.float64),
                "noise_level": torch.tensor(0.7, dtype=torch.float64),
            }
            write_tensors(shard / TRAJECTORIES_FILE, tensors)
        return world

    return make


def load(world: Any) -> RoundData:
    return load_round(
        world.prompts, world.conditioning, world.latents, world.scores,
        reward=RewardSettings(), round_index=1, policy_sha256=None, trajectories=True,
    )  # fmt: skip


def edit(shard: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    tensors = read_tensors(shard / TRAJECTORIES_FILE)
    write_tensors(shard / TRAJECTORIES_FILE, {**tensors, **change(tensors)})


@pytest.mark.parametrize("shards", [1, 3, 5])
def test_trajectories_come_in_the_order_of_the_rollouts_however_they_are_sharded(
    make: Callable[..., Any], shards: int
) -> None:
    data = load(make(shards=shards))  # of 4 prompts: with 5 shards one is empty
    paths = data.trajectories
    assert paths is not None
    assert (paths.steps, paths.noise_level) == (STEPS, 0.7)
    for k, factor in enumerate((4.0, 3.0, 2.0, 1.0)):
        assert torch.equal(paths.states[:, k], factor * data.latents)
    assert torch.equal(paths.log_probabilities[:, 0], 4 * data.latents[:, 0, 0, 0])


def test_they_are_only_read_where_asked_for(make: Callable[..., Any]) -> None:
    world = make()
    data = load_round(
        world.prompts,
        world.conditioning,
        world.latents,
        world.scores,
        reward=RewardSettings(),
        round_index=1,
        policy_sha256=None,
    )
    assert data.trajectories is None


def test_missing_file_is_named_with_the_settings_that_write_it(make: Callable[..., Any]) -> None:
    world = make(shards=2)
    (world.latents[1] / TRAJECTORIES_FILE).unlink()
    with pytest.raises(DataError, match="without trajectories") as caught:
        load(world)
    assert caught.value.where == str(world.latents[1] / TRAJECTORIES_FILE)
    assert "rollout.trajectories" in caught.value.remedy


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {"states": t["states"][1:]}, "'states' has 11 rows, its table 12"),
        (lambda t: {"states": t["states"][:, 1:]}, "shapes do not fit each other"),
        (lambda t: {"log_probabilities": t["log_probabilities"][:, 1:]}, "shapes do not fit each other"),
        (lambda t: {"states": t["states"] / 0}, "its trajectory is not finite"),
        (lambda t: {"log_probabilities": t["log_probabilities"] * torch.nan}, "its log-probability is not finite"),
        (lambda t: {"states": t["states"] + 1}, "does not end in its latent"),
        (lambda t: {"sigmas": t["sigmas"] ** 2}, "noise levels are not those of"),
        (lambda t: {"noise_level": t["noise_level"] / 2}, "noise levels are not those of"),
    ],
)
def test_trajectories_that_do_not_fit_name_their_file(make: Callable[..., Any], change: Any, message: str) -> None:
    world = make(shards=2)
    edit(world.latents[1], change)
    with pytest.raises(DataError, match=message) as caught:
        load(world)
    files = [str(shard / TRAJECTORIES_FILE) for shard in world.latents]
    assert caught.value.where.startswith(tuple(files))


def test_stage_trains_flow_grpo_on_them(
    make: Callable[..., Any], model: ModelSettings, settings: TrainingSettings
) -> None:
    world = make(shards=2)
    settings = settings.model_copy(update={"objective": FlowGrpo()})
    arguments = (settings, RewardSettings(), model, 0, 1)
    stage.run(*arguments, **world.artifacts(), policy_out=world.root / "trained")
    assert read_json(world.root / "trained" / "state.json")["step"] == 3
    (world.latents[0] / TRAJECTORIES_FILE).unlink()
    with pytest.raises(DataError, match="without trajectories"):
        stage.run(*arguments, **world.artifacts(), policy_out=world.root / "again")
    assert not (world.root / "again").exists()
