"""A model's parts on torch's meta device, made from their configurations: shapes without weights, to count with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel
from torch import nn

from advantageflow.errors import PolicyError
from advantageflow.policy.adapters import attach_adapters
from advantageflow.policy.configs import ENCODERS, ModelConfigs
from advantageflow.prompts.initial_policy import write_base_policy
from advantageflow.settings import LoraSettings, ModelSettings, TrainingSettings
from advantageflow.training.optimiser import make_optimiser
from advantageflow.training.policy import Inputs, Policy

META = torch.device("meta")
_Module = TypeVar("_Module", bound=nn.Module)
_CLIP_TOKENS = 77


@dataclass(frozen=True)
class Skeleton:
    """Sizes of a model, and how to make its parts.

    Attributes:
        configs: of the parts.
        dtype: of the frozen weights.
        latents: (channels, height, width) of a sample.
        text_tokens: of CLIP and of T5 (0 where there is none).
    """

    configs: ModelConfigs
    dtype: torch.dtype
    latents: tuple[int, int, int]
    text_tokens: tuple[int, int]

    @property
    def image_size(self) -> int:
        """Height and width of images, in pixels."""
        return self.latents[1] * pixels_per_latent(self.configs)

    @property
    def text_width(self) -> int:
        """Width of a token's embedding."""
        return int(self.configs.parts["transformer"]["joint_attention_dim"])

    @property
    def pooled_width(self) -> int:
        """Width of a prompt's pooled embedding."""
        return int(self.configs.parts["transformer"]["pooled_projection_dim"])

    @property
    def text_bytes(self) -> int:
        """Bytes of a prompt's embeddings, in the base's precision."""
        return (sum(self.text_tokens) * self.text_width + self.pooled_width) * self.dtype.itemsize

    def transformer(self) -> nn.Module:
        """The velocity model, frozen, without adapters."""
        arguments = self.configs.arguments("transformer")
        return frozen_module(lambda: SD3Transformer2DModel(**arguments), META, self.dtype)

    def vae(self) -> nn.Module:
        """The autoencoder."""
        arguments = self.configs.arguments("vae")
        return frozen_module(lambda: AutoencoderKL(**arguments), META, self.dtype)

    def encoders(self) -> dict[str, Callable[[], nn.Module]]:
        """What makes each text encoder there is, by name of the part."""
        return {part: self._encoder_builder(part) for part in ENCODERS if part in self.configs.parts}

    def policy(self, training: TrainingSettings) -> Policy:
        """The velocity model with both adapters, and their optimiser."""
        base = self.transformer()
        adapters = _attach(base, training.lora)
        return Policy(base, adapters, make_optimiser(adapters.parameters(), training))

    def inputs(self, batch: int) -> Inputs:
        """What the velocity model takes: noisy latents, times, text embeddings and pooled ones."""
        with META:
            return (
                torch.empty(batch, *self.latents),
                torch.empty(batch),
                torch.empty(batch, sum(self.text_tokens), self.text_width),
                torch.empty(batch, self.pooled_width),
            )

    def _encoder_builder(self, part: str) -> Callable[[], nn.Module]:
        from transformers import CLIPTextConfig, CLIPTextModelWithProjection, T5Config, T5EncoderModel

        arguments = self.configs.arguments(part)
        if part == "text_encoder_3":
            return lambda: frozen_module(lambda: T5EncoderModel(T5Config(**arguments)), META, self.dtype)
        return lambda: frozen_module(lambda: CLIPTextModelWithProjection(CLIPTextConfig(**arguments)), META, self.dtype)


def make_skeleton(model: ModelSettings, configs: ModelConfigs) -> Skeleton:
    """The sizes that a model has in a run.

    Raises:
        PolicyError: it is of a family whose sizes cannot be counted yet.
    """
    config = configs.parts["transformer"]
    family = config.get("_class_name", "SD3Transformer2DModel")
    if family != "SD3Transformer2DModel":
        message = f"its transformer is a {family}; costs are counted for Stable Diffusion 3 models only"
        raise PolicyError(message, where=f"model.name: {model.name}", remedy="start with a short run, and measure")
    size = int(config["sample_size"]) if model.image_size is None else model.image_size // pixels_per_latent(configs)
    t5 = model.max_sequence_length if "text_encoder_3" in configs.parts else 0
    return Skeleton(
        configs, getattr(torch, model.dtype), (int(config["in_channels"]), size, size), (_clip_tokens(configs), t5)
    )


def frozen_module(build: Callable[[], _Module], device: torch.device, dtype: torch.dtype) -> _Module:
    """A frozen module with random weights, made where and as it is used: no float32 copy of a large encoder."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            module = build()
    finally:
        torch.set_default_dtype(usual)
    return module.requires_grad_(False).eval().to(device, dtype)


def pixels_per_latent(configs: ModelConfigs) -> int:
    """How many pixels high and wide a latent is: the autoencoder halves at each block but its last."""
    return int(2 ** (len(configs.parts["vae"]["block_out_channels"]) - 1))


def parameters(module: nn.Module) -> int:
    """How many parameters a module has."""
    return sum(value.numel() for value in module.parameters())


def _clip_tokens(configs: ModelConfigs) -> int:
    return int(configs.parts.get("text_encoder", {}).get("max_position_embeddings", _CLIP_TOKENS))


def _attach(transformer: nn.Module, lora: LoraSettings) -> Any:
    with TemporaryDirectory() as folder, META:
        write_base_policy(Path(folder) / "policy")
        return attach_adapters(transformer, Path(folder) / "policy", lora, seed=0)
