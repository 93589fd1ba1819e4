"""A policy of random adapters, as training writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from advantageflow.policy.adapters import attach_adapters
from advantageflow.policy.families.stable_diffusion_3 import StableDiffusion3
from advantageflow.policy.loading import load_transformer
from advantageflow.prompts.initial_policy import write_base_policy
from advantageflow.settings import LoraSettings, ModelSettings
from advantageflow.store.files import publish
from advantageflow.store.policies import PolicyState


def write_policy(folder: Path, model: ModelSettings, settings: dict[str, Any], size: float = 0.3) -> None:
    """Write a policy of the third round; `size` is the standard deviation of its weights."""
    transformer = load_transformer(model)
    write_base_policy(folder)
    adapters = attach_adapters(transformer, folder, LoraSettings(rank=2), 0, StableDiffusion3())
    with torch.no_grad():
        for parameter in adapters.parameters():
            parameter.normal_(std=size, generator=torch.Generator().manual_seed(0))
    with publish(folder) as partial:
        adapters.save(partial, PolicyState(round=3, step=12, policy_sha256=None, settings=settings), model)
