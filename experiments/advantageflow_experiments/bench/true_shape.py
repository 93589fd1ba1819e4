"""The benchmark's workload at the true shape of a Stable Diffusion 3 model, with random weights: nothing to download.

Time does not depend on the values of weights, so random ones measure what real ones would.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel
from torch import nn

from advantageflow.flow.samplers import integrate, timesteps
from advantageflow.policy.adapters import attach_adapters
from advantageflow.policy.configs import known_configs
from advantageflow.policy.sampling import decode, initial_noise, velocity_function
from advantageflow.prompts.initial_policy import write_base_policy
from advantageflow.records import ADAPTER_FOLDER, ROLLOUT_ADAPTER_FOLDER, derive_seed
from advantageflow.settings import LoraSettings, TrainingSettings
from advantageflow.training.data import RoundData
from advantageflow.training.optimiser import make_optimiser
from advantageflow.training.policy import Policy
from advantageflow_experiments.bench.embedded import Bench
from advantageflow_experiments.bench.random_text import RandomTextEncoders
from advantageflow_experiments.bench.workload import Workload, base_parameters, random_terms
from advantageflow_pipelines.plan.skeleton import frozen_module

ATTENTION_PROJECTIONS = (
    "to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out",
)  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """Sizes of a model and of a round.

    Attributes:
        name: of the model.
        transformer: arguments of SD3Transformer2DModel.
        autoencoder: arguments of AutoencoderKL.
        clip: arguments of CLIPTextConfig, of both CLIP text encoders.
        t5: arguments of T5Config.
        text_tokens: of the CLIP encoders and of T5.
        latent_size: height and width of a latent.
        groups: prompts of the round.
        group_size: rollouts of each.
        steps: model evaluations per image.
        training: of a round.
    """

    name: str
    transformer: dict[str, Any]
    autoencoder: dict[str, Any]
    clip: tuple[dict[str, Any], dict[str, Any]]
    t5: dict[str, Any]
    text_tokens: tuple[int, int]
    latent_size: int
    groups: int
    group_size: int
    steps: int
    training: TrainingSettings


_MEDIUM = known_configs("stable-diffusion-3.5-medium")
SD35_MEDIUM = Shape(
    name="stabilityai/stable-diffusion-3.5-medium, random weights",
    transformer=_MEDIUM.arguments("transformer"),
    autoencoder=_MEDIUM.arguments("vae"),
    clip=(_MEDIUM.arguments("text_encoder"), _MEDIUM.arguments("text_encoder_2")),
    t5=_MEDIUM.arguments("text_encoder_3"),
    text_tokens=(77, 256),
    latent_size=64,
    groups=2,
    group_size=8,
    steps=10,
    training=TrainingSettings(
        gradient_steps=2, passes=4, microbatch=16, learning_rate=3e-4,
        lora=LoraSettings(rank=32, alpha=64, targets=ATTENTION_PROJECTIONS),
    ),
)  # fmt: skip


def true_shape_bench(shape: Shape, device: torch.device, seed: int) -> Bench:
    """A round at this shape: with a float32 base under bfloat16 autocast, as peers have it, and with a bfloat16 base.

    Args:
        shape: of model and round.
        device: the GPU; on a CPU everything works too, which is how the shapes are tested.
        seed: of weights, latents and draws.
    """
    torch.manual_seed(seed)
    base = frozen_module(lambda: SD3Transformer2DModel(**shape.transformer), device, torch.float32)
    low = frozen_module(lambda: SD3Transformer2DModel(**shape.transformer), device, torch.bfloat16)
    low.load_state_dict(base.state_dict())
    encoders = RandomTextEncoders(
        [frozen_module(build, device, torch.bfloat16) for build in RandomTextEncoders.builders(shape.clip, shape.t5)],
        shape.text_tokens, shape.groups, seed, width=shape.transformer["joint_attention_dim"],
    )  # fmt: skip
    vae = frozen_module(lambda: AutoencoderKL(**shape.autoencoder), device, torch.bfloat16)
    embeds, pooled = encoders(torch.arange(shape.groups, device=device))
    channels, size = shape.transformer["in_channels"], shape.latent_size
    seeds = [derive_seed(seed, "bench", k) for k in range(shape.groups * shape.group_size)]
    latents = initial_noise(seeds, (channels, size, size)).to(device)
    data = RoundData(latents, embeds, pooled, random_terms(shape.groups, shape.group_size, seed), {})
    work = Workload(_policy(base, shape, seed), data, shape.training, encoders, seed, autocast=True)
    half = Workload(_policy(low, shape, seed), data, shape.training, encoders, seed)

    def generate() -> object:
        half.policy.adapters.use(ROLLOUT_ADAPTER_FOLDER)
        repeated = torch.arange(shape.groups, device=device).repeat_interleave(shape.group_size)
        with torch.inference_mode():
            velocity = velocity_function(low, embeds[repeated], pooled[repeated])
            pictures = decode(vae, integrate(velocity, latents, timesteps(shape.steps), "ab2"))
        half.policy.adapters.use(ADAPTER_FOLDER)
        return pictures

    described = {
        "model": shape.name,
        "parameters": base_parameters(base),
        "latents": list(latents.shape[1:]),
        "text_tokens": sum(shape.text_tokens),
        "rollouts": len(latents),
        "sampler": f"ab2, {shape.steps} steps, guidance 1",
        "precision": f"float32 base under bfloat16 autocast (peers), bfloat16 base (last row), on {device.type}",
    }
    return Bench(described, work, half, generate)


def _policy(base: nn.Module, shape: Shape, seed: int) -> Policy:
    with TemporaryDirectory() as folder:
        write_base_policy(Path(folder) / "policy")
        adapters = attach_adapters(base, Path(folder) / "policy", shape.training.lora, seed)
    return Policy(base, adapters, make_optimiser(adapters.parameters(), shape.training))
