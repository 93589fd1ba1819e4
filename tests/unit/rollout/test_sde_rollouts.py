"""Stochastic rollouts: shards leave no trace, trajectories only where asked for, probabilities found again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from rolled_out import outputs_in

from advantageflow.flow.advantages import Term
from advantageflow.flow.samplers import timesteps
from advantageflow.objectives.flow_grpo import FlowGrpo
from advantageflow.records import TRAJECTORIES_FILE
from advantageflow.rollout.selection import noisy_window
from advantageflow.rollout.stage import run
from advantageflow.settings import LoraSettings, ModelSettings, RolloutSettings, TrainingSettings
from advantageflow.store.conditioning import open_conditioning
from advantageflow.store.files import read_metadata
from advantageflow.store.prompts import read_prompts
from advantageflow.store.rollouts import read_images, read_index, read_latents, read_trajectories
from advantageflow.training.data import RoundData
from advantageflow.training.step import Step, transition_batches
from advantageflow.training.train import load_policy

SDE = RolloutSettings(
    prompts_per_round=5, group_size=3, steps=3, batch_groups=2, shards=1, threads=1,
    sampler="sde", trajectories=True, shift=2.0,
)  # fmt: skip


@pytest.fixture
def arguments(model: ModelSettings, prompts: Path, conditioning: Path, tuned_policy: Path) -> dict[str, Any]:
    read = {"prompts": prompts, "conditioning": conditioning, "rollout_policy": tuned_policy}
    return {"model": model, "seed": 3, "round_index": 1, **read}


def rolled_out(folder: Path, settings: RolloutSettings, shards: int, **arguments: Any) -> dict[str, tuple[bytes, ...]]:
    """Image, latent, states and log-probabilities by rollout id, of all shards."""
    settings = settings.model_copy(update={"shards": shards})
    found: dict[str, tuple[bytes, ...]] = {}
    for shard in range(shards):
        out = folder / f"{shard}-of-{shards}"
        run(settings, **arguments, shard=shard, **outputs_in(out))
        rollouts, latents = read_index(out / "latents"), read_latents(out / "latents")
        images = [image for _, image in read_images(out / "rollouts")]
        paths = read_trajectories(out / "latents", rows=len(rollouts))
        assert torch.equal(paths.sigmas, timesteps(3, 2.0)[-(settings.sde_window or 3) - 1 :])
        assert paths.sampler == settings.sampler
        assert read_metadata(out / "latents")["noise_levels"] == timesteps(3, 2.0).tolist()[:-1]
        for k, rollout in enumerate(rollouts):
            tensors = (latents[k], paths.states[k], paths.log_probabilities[k])
            found[rollout.rollout_id] = (images[k], *(tensor.numpy().tobytes() for tensor in tensors))
    return found


@pytest.mark.parametrize("changes", [{}, {"sampler": "cps", "sde_window": 2, "sde_window_range": (1, 3)}])
def test_any_number_of_shards_makes_the_same_trajectories_bit_for_bit(
    changes: dict[str, Any], tmp_path: Path, arguments: dict[str, Any]
) -> None:
    settings = SDE.model_copy(update=changes)
    whole = rolled_out(tmp_path, settings, 1, **arguments)
    assert len(whole) == 15
    assert len(set(whole.values())) == 15
    assert rolled_out(tmp_path, settings, 5, **arguments) == whole  # 3 chunks: two of the shards are empty


def test_trajectories_are_written_only_where_asked_for_and_change_no_image(
    tmp_path: Path, arguments: dict[str, Any]
) -> None:
    for trajectories in (True, False):
        settings = SDE.model_copy(update={"trajectories": trajectories, "prompts_per_round": 1})
        run(settings, **arguments, shard=0, **outputs_in(tmp_path / str(trajectories)))
        assert (tmp_path / str(trajectories) / "latents" / TRAJECTORIES_FILE).exists() == trajectories
    assert torch.equal(*(read_latents(tmp_path / name / "latents") for name in ("True", "False")))
    assert list(read_images(tmp_path / "True" / "rollouts")) == list(read_images(tmp_path / "False" / "rollouts"))


def test_noise_level_reaches_the_sampler_and_zero_is_the_euler_ode(tmp_path: Path, arguments: dict[str, Any]) -> None:
    latents = {}
    for name, changes in {
        "sde": {}, "quiet": {"noise_level": 0.0}, "euler": {"sampler": "euler"},
    }.items():  # fmt: skip
        settings = SDE.model_copy(update={"trajectories": False, "prompts_per_round": 1, **changes})
        run(settings, **arguments, shard=0, **outputs_in(tmp_path / name))
        latents[name] = read_latents(tmp_path / name / "latents")
    assert torch.equal(latents["quiet"], latents["euler"])
    assert not torch.allclose(latents["sde"], latents["euler"], atol=0.1)


def test_the_window_of_noisy_steps_is_drawn_by_round_within_its_range() -> None:
    settings = SDE.model_copy(update={"steps": 10, "sde_window": 2, "sde_window_range": (1, 6)})
    drawn = {noisy_window(settings, 3, number) for number in range(1, 200)}
    assert drawn == {(1, 3), (2, 4), (3, 5), (4, 6)}
    assert noisy_window(SDE, 3, 1) is None
    with pytest.raises(ValidationError, match="sde_window 4 does not fit into steps 0 to 3 of 3"):
        RolloutSettings(**{**SDE.model_dump(), "sde_window": 4})
    with pytest.raises(ValidationError, match="sde_window_range is of a window"):
        RolloutSettings(**{**SDE.model_dump(), "sde_window_range": (0, 2)})
    alone = {**SDE.model_dump(), "sampler": "cps", "sde_window": 1}
    with pytest.raises(ValidationError, match="the last step of sampler cps has no noise to learn from"):
        RolloutSettings(**alone)
    RolloutSettings(**{**alone, "sde_window_range": (0, 2)})


@pytest.mark.parametrize("changes", [{}, {"sampler": "cps"}, {"sde_window": 1}])
def test_training_finds_the_probabilities_of_an_unchanged_policy_again(
    changes: dict[str, Any],
    tmp_path: Path,
    arguments: dict[str, Any],
    model: ModelSettings,
    prompts: Path,
    tuned_policy: Path,
) -> None:
    """Rollouts come from merged weights in batches of 6, training runs the adapter beside them in batches of 15."""
    run(SDE.model_copy(update=changes), **arguments, shard=0, **outputs_in(tmp_path / "out"))
    rollouts, known = read_index(tmp_path / "out" / "latents"), read_prompts(prompts)
    row = {prompt.prompt_id: number for number, prompt in enumerate(known)}
    rows = [row[rollout.prompt_id] for rollout in rollouts[::3]]
    objective = FlowGrpo(clip_range=1e-5, step_fraction=1.0)
    settings = TrainingSettings(objective=objective, lora=LoraSettings(rank=2, alpha=8), threads=1)
    policy = load_policy(settings, model, 0, tuned_policy)
    for name, value in policy.adapters.named_parameters().items():
        value.data.copy_(policy.adapters.named_parameters("rollout_policy")[name])
    data = RoundData(
        read_latents(tmp_path / "out" / "latents"),
        open_conditioning(arguments["conditioning"], known).rows(rows),
        (Term(torch.zeros(5, 3, dtype=torch.float64)),),
        {},
        trajectories=read_trajectories(tmp_path / "out" / "latents"),
    )
    samples = torch.arange(15).repeat(3)
    step = Step(policy, data, torch.zeros(15), samples, settings, False, {}, torch.Generator().manual_seed(0))
    make_batch = transition_batches(step)
    for indices in torch.arange(45).split(15):
        _, metrics = settings.objective.loss(make_batch(indices))
        assert metrics["ratio_clipped"] == 0
