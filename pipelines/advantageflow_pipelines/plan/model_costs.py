"""What a model costs: operations and memory of each thing that stages do with it, counted on the meta device."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from advantageflow.policy.sampling import velocity_function
from advantageflow.policy.text import batch_size
from advantageflow.records import ROLLOUT_ADAPTER_FOLDER
from advantageflow.settings import TrainingSettings
from advantageflow_pipelines.plan.counts import Operations
from advantageflow_pipelines.plan.flops import count_flops
from advantageflow_pipelines.plan.footprint import footprint, tensor_bytes
from advantageflow_pipelines.plan.skeleton import META, Skeleton, parameters

_FLOAT32 = 4


@dataclass(frozen=True)
class Memory:
    """Bytes on the GPU at the peak of a stage, by what they hold."""

    parts: Mapping[str, int]

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.parts.values())


def count_parameters(skeleton: Skeleton, training: TrainingSettings) -> dict[str, int]:
    """Parameters of each part of the model, and of one adapter."""
    policy = skeleton.policy(training)
    adapter = sum(value.numel() for value in policy.adapters.parameters())
    counts = {"transformer": parameters(policy.transformer) - 2 * adapter, "adapter": adapter}
    counts["vae"] = parameters(skeleton.vae())
    return counts | {part: parameters(build()) for part, build in skeleton.encoders().items()}


def count_operations(skeleton: Skeleton, training: TrainingSettings) -> Operations:
    """Count operations by running one sample through each part."""
    vae = skeleton.vae()
    latents = torch.empty(1, *skeleton.latents, dtype=skeleton.dtype, device=META)
    return Operations(
        velocity=count_flops(skeleton.policy(training), skeleton.inputs(1)),
        decode=operations(lambda: vae.decode(latents)),  # type: ignore[operator]
        encode={part: _encode_operations(skeleton, part, build) for part, build in skeleton.encoders().items()},
    )


def operations(compute: Callable[[], object]) -> float:
    """Operations of a computation without gradients."""
    with sdpa_kernel(SDPBackend.MATH), torch.no_grad(), FlopCounterMode(display=False) as counter:
        compute()
    return float(counter.get_total_flops())


def training_memory(skeleton: Skeleton, training: TrainingSettings, groups: int, group_size: int) -> Memory:
    """Memory of the training stage: one microbatch forward and backward, beside all that stays from step to step.

    The stage keeps the base, the trained and the rollout adapter in float32 with the gradient and AdamW's two moments
    of the former, the round's latents in float32 and its text embeddings in the base's precision. Losses are smaller
    than any layer's output and are stood in for by a squared error; velocities without gradient (v_roll, v_ref) need
    less than the pass itself.

    Args:
        skeleton: of the model.
        training: microbatch, adapters, recomputation.
        groups: prompts in a round.
        group_size: rollouts of each.
    """
    policy = skeleton.policy(training)
    transformer, adapter = policy.transformer, policy.adapters.parameters()
    if training.gradient_checkpointing:
        transformer.enable_gradient_checkpointing()  # type: ignore[operator]
    inputs = skeleton.inputs(min(training.microbatch, groups * group_size))
    for parameter in adapter:  # from the second microbatch on they are there
        parameter.grad = torch.zeros_like(parameter)
    gradients = [parameter.grad for parameter in adapter if parameter.grad is not None]
    x, t, conditioning = inputs
    given = [x, t, *conditioning.tensors.values()]
    resident = [*transformer.parameters(), *transformer.buffers(), *given, *gradients]

    def step() -> None:
        torch.autograd.backward(functional.mse_loss(policy.velocity(inputs), x))

    one = tensor_bytes(adapter)
    both = 2 * one
    sample = _FLOAT32 * group_size * math.prod(skeleton.latents) + skeleton.conditioning.nbytes
    return Memory(
        {
            "base weights": tensor_bytes([*transformer.parameters(), *transformer.buffers()]) - both,
            "adapters": both,
            "gradients": one,
            "optimiser moments": 2 * one,
            "round's data": groups * sample,
            "activations": tensor_bytes(given) + footprint(step, resident).peak,
        }
    )


def generation_memory(
    skeleton: Skeleton, training: TrainingSettings, batch: int, guided: bool, decoded: int | None = None
) -> Memory:
    """Memory of making images (rollouts, evaluation): velocities of a forward batch, then its decoding.

    Args:
        skeleton: of the model.
        training: adapters.
        batch: images in one forward batch.
        guided: whether guidance doubles it.
        decoded: images decoded at once; None: all of the batch.
    """
    policy, vae = skeleton.policy(training), skeleton.vae()
    policy.adapters.use(ROLLOUT_ADAPTER_FOLDER)
    x, _, conditioning = skeleton.inputs(batch)
    given, scale = [x, *conditioning.tensors.values()], 2.0 if guided else 1.0
    weights = [*policy.transformer.parameters(), *policy.transformer.buffers()]
    velocity = velocity_function(skeleton.family, policy.transformer, conditioning, scale, conditioning.rows(slice(1)))
    resident = [*weights, *vae.parameters(), *vae.buffers(), *given]
    one = tensor_bytes(policy.adapters.parameters())
    with torch.no_grad():
        sampling = footprint(lambda: velocity(x, 0.5), resident).peak
        decoding = footprint(lambda: _decode(vae, x[:decoded]), resident).peak
    return Memory(
        {
            "base weights": tensor_bytes(weights) - 2 * one,
            "adapters": one,
            "autoencoder": tensor_bytes([*vae.parameters(), *vae.buffers()]),
            "activations": tensor_bytes(given) + max(sampling, decoding),
        }
    )


def encoding_memory(skeleton: Skeleton, texts: int) -> dict[str, Memory]:
    """Memory of the prompts stage by text encoder: they run one after the other, so the largest counts."""
    return {part: _encoder_memory(skeleton, part, build, texts) for part, build in skeleton.encoders().items()}


def _encoder_memory(skeleton: Skeleton, part: str, build: Callable[[], nn.Module], texts: int) -> Memory:
    length = skeleton.tokens(part, 1)["input_ids"].shape[1]
    encoder, tokens = build(), skeleton.tokens(part, min(texts, batch_size(length)))
    weights = [*encoder.parameters(), *encoder.buffers()]
    with torch.no_grad():
        peak = footprint(lambda: skeleton.family.encode(part, encoder, tokens), [*weights, *tokens.values()]).peak
    return Memory({"text encoder": tensor_bytes(weights), "activations": peak})


def _encode_operations(skeleton: Skeleton, part: str, build: Callable[[], nn.Module]) -> float:
    encoder, tokens = build(), skeleton.tokens(part, 1)
    return operations(lambda: skeleton.family.encode(part, encoder, tokens))


def _decode(vae: nn.Module, latents: Tensor) -> Tensor:
    pictures: Tensor = vae.decode(latents.to(next(vae.parameters()).dtype), return_dict=False)[0]  # type: ignore[operator]
    return pictures.float().clamp(-1, 1)
