"""A model's parts on torch's meta device, made from their configurations: shapes without weights, to count with."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch
from torch import nn

from advantageflow.policy.adapters import attach_adapters
from advantageflow.policy.conditioning import Conditioning
from advantageflow.policy.configs import ModelConfigs, model_configs
from advantageflow.policy.families import Family
from advantageflow.policy.families.parts import Tokens
from advantageflow.policy.latent_sizes import LatentSizes
from advantageflow.prompts.initial_policy import write_base_policy
from advantageflow.settings import LoraSettings, ModelSettings, TrainingSettings
from advantageflow.training.policy import Inputs, Policy, make_optimiser

META = torch.device("meta")
_Module = TypeVar("_Module", bound=nn.Module)


@dataclass(frozen=True)
class Skeleton:
    """Sizes of a model, and how to make its parts."""

    configs: ModelConfigs  # of the parts
    dtype: torch.dtype  # of the frozen weights
    limit: int  # tokens of a text that the settings allow

    @property
    def family(self) -> Family:
        """Of the model."""
        return self.configs.family

    @property
    def sizes(self) -> LatentSizes:
        """Of latents."""
        return self.family.latent_sizes(self.configs.parts)

    @cached_property
    def conditioning(self) -> Conditioning:
        """Of one prompt as long as the settings allow, in the base's precision."""
        with torch.no_grad():
            encoded = {
                part: self.family.encode(part, encoder, self.tokens(part, 1)) for part, encoder in self.encoders.items()
            }
        return self.family.condition(encoded, self.configs.parts, self.limit)

    def tokens(self, part: str, texts: int) -> Tokens:
        """What a text encoder is given for texts as long as the settings allow."""
        shape = (texts, self.family.token_limit(part, self.configs.parts, self.limit))
        ids = torch.zeros(shape, dtype=torch.long, device=META)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def transformer(self) -> nn.Module:
        """The velocity model, frozen, without adapters."""
        return self._make("transformer")

    @cached_property
    def vae(self) -> nn.Module:
        """The autoencoder."""
        return self._make("vae")

    @cached_property
    def encoders(self) -> dict[str, nn.Module]:
        """Each text encoder there is, by name of the part."""
        return {part: self._make(part) for part in self.configs.text_encoders}

    def policy(self, lora: LoraSettings) -> Policy:
        """The velocity model with both adapters and their optimiser."""
        base = self.transformer()
        adapters = _attach(base, lora, self.family)
        return Policy(base, adapters, make_optimiser(adapters.parameters(), TrainingSettings()), self.family)

    def inputs(self, batch: int, height: int) -> Inputs:
        """What the velocity model takes: noisy latents of that height, times, and what conditions it."""
        shape = batch, *self.sizes.leading, height, height
        with META:
            return torch.empty(shape), torch.empty(batch), self.conditioning.rows([0] * batch)

    def _make(self, part: str) -> nn.Module:
        return frozen_module(lambda: self.configs.make(part), META, self.dtype)


def make_skeleton(model: ModelSettings) -> Skeleton:
    """The model that settings name.
    Raises PolicyError: its configuration is not here, or is of a family that is not supported.
    """
    return Skeleton(model_configs(model), getattr(torch, model.dtype), model.max_sequence_length)


def frozen_module(build: Callable[[], _Module], device: torch.device, dtype: torch.dtype) -> _Module:
    """A frozen module with random weights, made where and as it is used: no float32 copy of a large encoder."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            module = build()
    finally:
        torch.set_default_dtype(usual)
    # Not by diffusers' own `to`, which talks of modules that should be kept in float32, also where there are none.
    return nn.Module.to(module.requires_grad_(False).eval(), device, dtype)


def parameters(module: nn.Module) -> int:
    """How many parameters a module has."""
    return sum(value.numel() for value in module.parameters())


def _attach(transformer: nn.Module, lora: LoraSettings, family: Family) -> Any:
    with TemporaryDirectory() as folder, META:
        write_base_policy(Path(folder) / "policy")
        return attach_adapters(transformer, Path(folder) / "policy", lora, 0, family)
