"""The training stage, run for real on a tiny transformer: outputs, repeatability, continuation, failures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from advantageflow.errors import DataError, PolicyError, SettingsError, TrainingError
from advantageflow.objectives.awm import Awm
from advantageflow.policy.families import Family
from advantageflow.settings import ModelSettings, RewardSettings, TrainingSettings
from advantageflow.store.files import read_json, read_tensors, write_json, write_tensors
from advantageflow.tracking.journal import stage_journal
from advantageflow.training import stage
from advantageflow.training.train import load_policy

HashOf = Callable[[Path], str]


@pytest.fixture
def train(model: ModelSettings, settings: TrainingSettings) -> Callable[..., Path]:
    """Runs the stage on a world and gives the new policy's folder."""

    def run(world: Any, out: str = "trained", *, seed: int = 0, round_index: int = 1, **changes: Any) -> Path:
        artifacts = {**world.artifacts(), **{k: changes.pop(k) for k in list(changes) if k in ("policy", "scores")}}
        used_model = changes.pop("model", model)
        stage.run(
            settings.model_copy(update=changes),
            RewardSettings(),
            used_model,
            seed,
            round_index,
            **artifacts,
            policy_out=world.root / out,
        )
        return world.root / out

    return run


def test_first_round_writes_both_adapters_the_optimiser_and_the_state(train: Any, maker: Any) -> None:
    folder = train(maker.make())
    state = read_json(folder / "state.json")
    assert (state["round"], state["step"], state["lora"]["rank"]) == (1, 3, 2)
    assert state["provenance"] == {"seed": 0}
    assert state["settings"]["training"]["lora"]["rank"] == 2
    assert {len(state[name]) for name in ("policy_sha256", "rollout_policy_sha256", "base_sha256")} == {64}
    policy, rollout = (read_tensors(folder / n / "adapter_model.safetensors") for n in ("policy", "rollout_policy"))
    assert all(torch.equal(policy[name], rollout[name]) for name in policy)  # rollout_decay = 0
    assert any(value.abs().max() > 0 for name, value in policy.items() if "lora_B" in name)
    optimiser = read_tensors(folder / "optimizer.safetensors")
    assert {name.rpartition(".")[2] for name in optimiser} == {"exp_avg", "exp_avg_sq", "step"}
    assert len(optimiser) == 3 * len(policy)
    assert all(value == 3 for name, value in optimiser.items() if name.endswith(".step"))


def test_number_and_order_of_shards_leave_no_trace(train: Any, maker: Any, hash_of: HashOf) -> None:
    one, three = maker.make(shards=1), maker.make(shards=3)
    three.scores.reverse()
    assert hash_of(train(one)) == hash_of(train(three))


def test_same_seed_repeats_bit_for_bit_and_another_does_not(train: Any, maker: Any, hash_of: HashOf) -> None:
    world = maker.make()
    first, again, other = train(world, "a"), train(world, "b"), train(world, "c", seed=1)
    assert hash_of(first) == hash_of(again)
    assert hash_of(first / "policy") != hash_of(other / "policy")


def test_next_round_continues_with_the_optimiser(train: Any, maker: Any) -> None:
    first = train(maker.make())
    second_world = maker.make(round_index=2)
    _relabel(second_world.latents, read_json(first / "state.json")["policy_sha256"])
    second = train(second_world, policy=first, round_index=2)
    assert read_json(second / "state.json")["step"] == 6
    steps = [v for k, v in read_tensors(second / "optimizer.safetensors").items() if k.endswith(".step")]
    assert all(value == 6 for value in steps)

    # Without its moments the same policy goes elsewhere: they were really used.
    (first / "optimizer.safetensors").unlink()
    fresh = train(second_world, "fresh", policy=first, round_index=2)
    kept, lost = (read_json(folder / "state.json")["policy_sha256"] for folder in (second, fresh))
    assert kept != lost


def test_the_learning_rate_falls_from_round_to_round(
    train: Any, maker: Any, hash_of: HashOf, settings: TrainingSettings
) -> None:
    """Round 2 of 4 is trained with three quarters of it: as with that learning rate and no decay."""
    world = maker.make(round_index=2)
    decayed = train(world, "decayed", round_index=2, decay_rounds=4)
    lower = train(world, "lower", round_index=2, learning_rate=0.75 * settings.learning_rate)
    whole = train(world, "whole", round_index=2)
    assert hash_of(decayed / "policy") == hash_of(lower / "policy") != hash_of(whole / "policy")


@pytest.mark.parametrize("decay", ["all", 1])
def test_a_round_without_a_learning_rate_is_refused(train: Any, maker: Any, decay: Any) -> None:
    with pytest.raises(SettingsError, match=r"training.decay_rounds: round 2 has no learning rate"):
        train(maker.make(round_index=2), round_index=2, decay_rounds=decay)


def adapters_of(folder: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The policy that is released, and the rollout policy."""
    policy, rollout = (read_tensors(folder / n / "adapter_model.safetensors") for n in ("policy", "rollout_policy"))
    return policy, rollout


def test_rollout_decay_one_keeps_the_rollout_policy(train: Any, maker: Any) -> None:
    policy, rollout = adapters_of(train(maker.make(), rollout_decay=1.0, released="trained"))
    assert all(value.abs().max() == 0 for name, value in rollout.items() if "lora_B" in name)
    assert any(not torch.equal(policy[name], rollout[name]) for name in policy)


def test_the_average_is_released_and_training_goes_on_from_the_trained_policy(
    train: Any, maker: Any, model: ModelSettings, settings: TrainingSettings
) -> None:
    trained, _ = adapters_of(train(maker.make(), rollout_decay=0.9, released="trained"))
    folder = train(maker.make(), rollout_decay=0.9)
    policy, rollout = adapters_of(folder)
    assert all(torch.equal(policy[name], rollout[name]) for name in policy)
    assert any(not torch.equal(policy[name], trained[name]) for name in policy)
    again = load_policy(settings, model, 0, folder).adapters.named_parameters()
    assert sorted(value.sum().item() for value in again.values()) == sorted(v.sum().item() for v in trained.values())


def test_an_average_of_its_own_is_released_beside_the_policy_that_is_sampled_and_comes_back(
    train: Any, maker: Any, model: ModelSettings, settings: TrainingSettings
) -> None:
    three = {"sampled": "trained", "rollout_decay": 0.9, "objective": Awm(held_to="average")}
    folder = train(maker.make(), **three)
    policy, rollout = adapters_of(folder)
    assert any(not torch.equal(policy[name], rollout[name]) for name in policy)
    again = load_policy(settings.model_copy(update=three), model, 0, folder)
    assert again.is_rollout_policy()
    assert sorted(v.sum().item() for v in again.adapters.average.values()) == sorted(
        v.sum().item() for v in policy.values()
    )


def test_bfloat16_base_trains_a_float32_adapter(train: Any, maker: Any, model: ModelSettings) -> None:
    folder = train(maker.make(), model=model.model_copy(update={"dtype": "bfloat16"}))
    policy = read_tensors(folder / "policy" / "adapter_model.safetensors")
    assert {value.dtype for value in policy.values()} == {torch.float32}
    assert any(value.abs().max() > 0 for name, value in policy.items() if "lora_B" in name)


def test_average_velocities_are_not_trained_in_bfloat16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Family, "averages", True)
    with pytest.raises(SettingsError, match="bfloat16") as refused:
        load_policy(TrainingSettings(), ModelSettings(dtype="bfloat16"), 0, tmp_path)
    assert refused.value.where == "model.dtype"


def test_journal_tells_progress_steps_and_the_round(
    train: Any, maker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADVANTAGEFLOW_JOURNAL", str(tmp_path / "journal"))
    with stage_journal("training", 1):
        train(maker.make())
    (file,) = (tmp_path / "journal").iterdir()
    events = [json.loads(line) for line in file.read_text().splitlines()]
    assert [event["event"] for event in events].count("useful") == 1
    progress = [event for event in events if event["event"] == "progress"]
    assert (progress[-1]["done"], progress[-1]["total"]) == (72, 72)
    metrics = [event for event in events if event["event"] == "metrics"]
    by_step = {event["step"]: event["values"] for event in metrics if not event["parent"]}
    assert sorted(by_step) == [1, 2, 3]
    assert by_step[1]["training/deviation"] == 0 < by_step[2]["training/deviation"]
    (of_round,) = [event for event in metrics if event["parent"]]
    assert of_round["step"] == 1
    expected = {"reward/soft_mean", "reward/strict_std", "reward/equal_groups", "training/gradient_norm"}
    expected |= {
        "training/learning_rate",
        "training/samples_per_second",
        "training/advantage_abs",
        "training/last_deviation",
    }
    assert expected <= of_round["values"].keys()


def test_rollouts_of_another_policy_are_refused(train: Any, maker: Any) -> None:
    world = maker.make()
    _relabel(world.latents, "f" * 64)
    with pytest.raises(DataError, match="come from policy ffff"):
        train(world)


def test_unknown_reward_column_is_named_with_the_known_ones(train: Any, maker: Any, model: ModelSettings) -> None:
    world = maker.make()
    with pytest.raises(DataError, match=r"no column 'beauty'.*soft, strict"):
        stage.run(
            TrainingSettings(),
            RewardSettings(column="beauty"),
            model,
            0,
            1,
            **world.artifacts(),
            policy_out=world.root / "trained",
        )


def test_divergence_is_named_and_nothing_is_written(train: Any, maker: Any) -> None:
    world = maker.make()
    with pytest.raises(TrainingError, match=r"round 1, optimiser step 2 of 3.*diverged") as caught:
        train(world, learning_rate=1e30)
    assert "training.objective.lam" in caught.value.remedy
    assert not (world.root / "trained").exists()
    assert not list(world.root.glob(".trained*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {k: v for k, v in state.items() if "to_q" not in k or "exp_avg_sq" not in k}, "lacks a part"),
        (lambda state: {**state, "stray.exp_avg": torch.zeros(1)}, "'stray.exp_avg' is not of this adapter"),
        (lambda state: {k: v[:1] if v.ndim else v for k, v in state.items()}, "not \\("),
    ],
)
def test_optimiser_state_that_does_not_fit_is_refused(train: Any, maker: Any, change: Any, message: str) -> None:
    first = train(maker.make())
    world = maker.make(round_index=2)
    _relabel(world.latents, read_json(first / "state.json")["policy_sha256"])
    path = first / "optimizer.safetensors"
    write_tensors(path, change(read_tensors(path)))
    with pytest.raises(PolicyError, match=message):
        train(world, policy=first, round_index=2)


def _relabel(shards: list[Path], policy_sha256: str) -> None:
    """Say that the shards' rollouts come from this policy."""
    for shard in shards:
        path = shard / "metadata.json"
        write_json(path, {**read_json(path), "policy_sha256": policy_sha256})
