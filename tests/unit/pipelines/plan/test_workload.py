"""What is counted from settings is what a real round evaluates, and what it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from advantageflow.flow.advantages import Term
from advantageflow.policy.text import encode_prompts
from advantageflow.prompts.initial_policy import write_base_policy
from advantageflow.settings import RunSettings
from advantageflow.store.policies import PolicyState
from advantageflow.store.prompt_history import PromptHistory
from advantageflow.training.data import RoundData
from advantageflow.training.round import round_advantages, train_round
from advantageflow.training.train import load_policy, save_policy
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.pipelines.online.definition import run_work
from advantageflow_pipelines.plan.storage import Sizes, artifacts

GROUPS, SIZE = 2, 2


def chosen(*assignments: str, rounds: int = 1) -> RunSettings:
    base = (f"rollout.prompts_per_round={GROUPS}", f"rollout.group_size={SIZE}", "training.lora.rank=2")
    return choose_settings(preset="tiny", assignments=[*base, *assignments], rounds=rounds)


def train(settings: RunSettings, folder: Path) -> tuple[dict[str, int], Any]:
    """Samples that the transformer evaluates in real rounds, without and with gradient, and the policy."""
    write_base_policy(folder / "base", {}, {})
    policy = load_policy(settings.training, settings.model, 0, folder / "base")
    conditioning = encode_prompts(settings.model, ["a red circle", "a blue star"])
    latents = torch.randn(GROUPS * SIZE, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    rewards = torch.tensor([[0.0, 1.0], [1.0, 0.5]], dtype=torch.float64)
    data = RoundData(latents, conditioning, (Term(rewards),), {})
    advantages = round_advantages(data, settings.training)
    counts = {"forwards": 0, "backwards": 0}

    def count(module: Any, args: Any, kwargs: Any) -> None:
        counts["backwards" if torch.is_grad_enabled() else "forwards"] += len(kwargs["hidden_states"])

    handle = policy.transformer.register_forward_pre_hook(count, with_kwargs=True)
    for number in range(settings.rounds):
        train_round(policy, data, advantages, settings.training, seed=0, round_index=number + 1)
    handle.remove()
    return counts, policy


@pytest.mark.parametrize(
    "assignments",
    [
        (),
        ("training.rollout_decay=0.5",),
        ("training.objective.reference_weight=0.1",),
        ("training.objective.lam=0", "training.microbatch=1"),
        ("training.objective=diffusion_nft", "training.microbatch=3"),
        ("training.objective.lam=auto", "training.gradient_steps=1"),  # of each group of two one is bad: half
    ],
)
def test_training_evaluates_the_model_as_often_as_planned(assignments: tuple[str, ...], tmp_path: Path) -> None:
    settings = chosen("training.gradient_steps=2", "training.inner_epochs=2", *assignments, rounds=2)
    counts, _ = train(settings, tmp_path)
    work = run_work(settings, texts=0)["training"]
    assert counts == {"forwards": work.forwards, "backwards": work.backwards}


def test_images_and_evaluations_are_counted_over_the_run() -> None:
    settings = choose_settings(
        preset="tiny", rounds=3,
        assignments=["rollout.guidance_scale=4.5", "rollout.steps=5", "evaluation.every=1", "rollout.shards=2"],
    )  # fmt: skip
    work = run_work(settings, texts=7)
    assert work["prompts"].texts == 7
    images = 3 * 6 * 4
    assert (work["rollout"].images, work["rollout"].tasks) == (images, 6)
    assert work["rollout"].forwards == images * 5 * 2, "guidance evaluates twice"
    assert work["reward"].scored == images
    assert work["evaluation"].images == 12 + 6 + 6 + 12
    assert work["evaluation"].forwards == 36 * 2
    assert work["evaluation"].tasks == 4


def test_flow_grpo_trains_on_its_trajectories_alone() -> None:
    flags = ("training.objective=flow_grpo", "rollout.sampler=sde", "rollout.trajectories=true")
    work = run_work(chosen(*flags, "training.inner_epochs=1"), texts=0)["training"]
    assert (work.forwards, work.backwards) == (0, GROUPS * SIZE)


def test_a_policy_takes_as_much_of_the_disk_as_planned(tmp_path: Path) -> None:
    settings = chosen()
    _, policy = train(settings, tmp_path)
    save_policy(policy, PolicyState(round=1, step=4, policy_sha256=None), PromptHistory(), tmp_path / "policy")
    written = sum(file.stat().st_size for file in (tmp_path / "policy").rglob("*.safetensors"))
    adapter = sum(value.numel() for value in policy.adapters.parameters())
    stored = artifacts(settings, Sizes(48, 288, 100, adapter), 3, run_work(settings, 3).values())
    planned = {kind: one.kept for kind, one in stored.items()}
    assert planned["policies and optimiser states (float32)"] == pytest.approx(written, rel=0.35)
    assert planned["policies and optimiser states (float32)"] == 20 * adapter
    assert planned["rollout latents (float32)"] == GROUPS * SIZE * 288 * 4
    assert planned["conditioning"] == 300
    assert planned["rollout trajectories (float32)"] == 0
