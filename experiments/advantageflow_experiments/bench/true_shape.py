"""The benchmark's workload at the true shape of a model, with random weights: nothing to download.

Time does not depend on the values of weights, so random ones measure what real ones would.
"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from advantageflow.flow.samplers import integrate, timesteps
from advantageflow.objectives.advantage_flow import AdvantageFlow
from advantageflow.policy.adapters import attach_adapters
from advantageflow.policy.configs import ModelConfigs, known_configs
from advantageflow.policy.sampling import initial_noise, velocity_function
from advantageflow.prompts.initial_policy import write_base_policy
from advantageflow.records import ADAPTER_FOLDER, ROLLOUT_ADAPTER_FOLDER, derive_seed
from advantageflow.settings import LoraSettings, ModelSettings, TrainingSettings
from advantageflow.training.data import RoundData
from advantageflow.training.policy import Policy, make_optimiser
from advantageflow_experiments.bench.embedded import Bench
from advantageflow_experiments.bench.workload import (
    Encode,
    Workload,
    as_published,
    base_parameters,
    random_terms,
    text_encoding,
)
from advantageflow_pipelines.plan.skeleton import frozen_module

ATTENTION_PROJECTIONS = (
    "to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out",
)  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """Sizes of a model and of a round; `limit` is of the tokens of a text, `steps` are model evaluations an image."""

    name: str
    configs: ModelConfigs
    limit: int
    image_size: int
    groups: int
    group_size: int
    steps: int
    training: TrainingSettings


SD35_MEDIUM = Shape(
    name="stabilityai/stable-diffusion-3.5-medium, random weights",
    configs=known_configs("stable-diffusion-3.5-medium", ModelSettings()),
    limit=256,
    image_size=512,
    groups=2,
    group_size=8,
    steps=10,
    training=TrainingSettings(
        objective=AdvantageFlow(reference_weight=0.0),
        gradient_steps=2, inner_epochs=4, microbatch=16, learning_rate=3e-4,
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
    configs, family = shape.configs, shape.configs.family
    base = frozen_module(lambda: configs.make("transformer"), device, torch.float32)
    low = frozen_module(lambda: configs.make("transformer"), device, torch.bfloat16)
    low.load_state_dict(base.state_dict())
    encode = _random_encoders(shape, device, seed)
    vae = frozen_module(lambda: configs.make("vae"), device, torch.bfloat16)
    conditioning = encode(torch.arange(shape.groups, device=device))
    seeds = [derive_seed(seed, "bench", k) for k in range(shape.groups * shape.group_size)]
    latents = initial_noise(seeds, family.latent_sizes(configs.parts).shape(shape.image_size)).to(device)
    data = RoundData(latents, conditioning, random_terms(shape.groups, shape.group_size, seed), {})
    work = Workload(_policy(base, shape, seed), data, shape.training, encode, seed, autocast=True)
    half = Workload(_policy(low, shape, seed), data, shape.training, encode, seed)

    def generate() -> object:
        half.policy.adapters.use(ROLLOUT_ADAPTER_FOLDER)
        repeated = torch.arange(shape.groups, device=device).repeat_interleave(shape.group_size)
        with torch.inference_mode():
            velocity = velocity_function(family, low, conditioning.rows(repeated))
            pictures = family.decode(vae, integrate(velocity, latents, timesteps(shape.steps), "ab2"))
        half.policy.adapters.use(ADAPTER_FOLDER)
        return pictures

    described = {
        "model": shape.name,
        "parameters": base_parameters(base),
        "latents": list(latents.shape[1:]),
        "text_tokens": conditioning.length,
        "rollouts": len(latents),
        "sampler": f"ab2, {shape.steps} steps, guidance 1",
        "precision": f"float32 base under bfloat16 autocast (peers), bfloat16 base (last row), on {device.type}",
    }

    def peer_generate() -> object:
        with as_published(low):
            return generate()

    return Bench(described, work, half, generate, peer_generate, low)


def _policy(base: nn.Module, shape: Shape, seed: int) -> Policy:
    family = shape.configs.family
    with TemporaryDirectory() as folder:
        write_base_policy(Path(folder) / "policy")
        adapters = attach_adapters(base, Path(folder) / "policy", shape.training.lora, seed, family)
    return Policy(base, adapters, make_optimiser(adapters.parameters(), shape.training), family)


def _random_encoders(shape: Shape, device: torch.device, seed: int) -> Encode:
    """The text encoders, with random weights, on prompts of random tokens, put together as in the pipeline."""
    configs, family = shape.configs, shape.configs.family
    encoders = {
        part: frozen_module(lambda part=part: configs.make(part), device, torch.bfloat16)  # type: ignore[misc]
        for part in configs.text_encoders
    }
    generator, tokens = torch.Generator().manual_seed(seed), {}
    for part, encoder in encoders.items():
        size = shape.groups, family.token_limit(part, configs.parts, shape.limit)
        vocabulary = int(encoder.config.vocab_size)  # type: ignore[union-attr, arg-type]
        ids = torch.randint(vocabulary, size, generator=generator).to(device)
        tokens[part] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return text_encoding(family, configs.parts, shape.limit, encoders, tokens)
