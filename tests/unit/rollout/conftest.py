"""The embedded model's architecture with random weights, prompts with embeddings, and policies for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from advantageflow.policy.adapters import attach_adapters
from advantageflow.policy.families.stable_diffusion_3 import StableDiffusion3
from advantageflow.policy.loading import load_transformer
from advantageflow.policy.text import encode_prompts
from advantageflow.prompts.initial_policy import write_base_policy
from advantageflow.records import Prompt
from advantageflow.settings import LoraSettings, ModelSettings
from advantageflow.shapes.architecture import build_pipeline
from advantageflow.shapes.prompts import all_prompts
from advantageflow.store.conditioning import write_conditioning
from advantageflow.store.files import publish
from advantageflow.store.policies import read_policy_state
from advantageflow.store.prompts import write_prompts


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelSettings:
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    build_pipeline().save_pretrained(folder)
    return ModelSettings(name=str(folder))


@pytest.fixture(scope="session")
def train() -> list[Prompt]:
    """Seven training prompts of three tasks."""
    every = [prompt for prompt in all_prompts() if prompt.split == "train"]
    tasks = {"colors": 3, "counting": 2, "position": 2}
    return [prompt for task, count in tasks.items() for prompt in [p for p in every if p.task == task][:count]]


@pytest.fixture(scope="session")
def prompts(tmp_path_factory: pytest.TempPathFactory, model: ModelSettings, train: list[Prompt]) -> Path:
    folder = tmp_path_factory.mktemp("artifacts") / "prompts"
    held_out = next(prompt for prompt in all_prompts() if prompt.split == "eval")
    every = [held_out, *train]
    told = encode_prompts(model, [*(prompt.text for prompt in every), ""])
    write_prompts(folder, every, {})
    write_conditioning(folder.parent / "conditioning", every, told.rows, {})
    return folder


@pytest.fixture(scope="session")
def conditioning(prompts: Path) -> Path:
    return prompts.parent / "conditioning"


@pytest.fixture(scope="session")
def base_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("policies") / "base"
    write_base_policy(folder, {}, {})
    return folder


@pytest.fixture(scope="session")
def tuned_policy(tmp_path_factory: pytest.TempPathFactory, model: ModelSettings, base_policy: Path) -> Path:
    """A policy whose two adapters differ: the rollout policy is moved, the policy is not."""
    folder = tmp_path_factory.mktemp("policies") / "tuned"
    adapters = attach_adapters(
        load_transformer(model), base_policy, LoraSettings(rank=2, alpha=8), 0, StableDiffusion3()
    )
    generator = torch.Generator().manual_seed(0)
    for parameter in adapters.named_parameters("rollout_policy").values():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    with publish(folder) as partial:
        adapters.save(partial, read_policy_state(base_policy).model_copy(update={"round": 1}), model)
    return folder
