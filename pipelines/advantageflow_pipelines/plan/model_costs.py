"""What a model costs: parameters, operations, and memory of each thing that stages do with it, on the meta device.

The model has its true shape there, made from its configuration, and no weights.
"""

import math
from collections.abc import Callable, Mapping

import torch
from diffusers.utils import logging
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from advantageflow.policy.configs import model_configs
from advantageflow.policy.sampling import velocity_function
from advantageflow.policy.text import batch_size
from advantageflow.records import ROLLOUT_ADAPTER_FOLDER
from advantageflow.settings import RunSettings, TrainingSettings
from advantageflow.training.policy import Inputs, Policy
from advantageflow_pipelines.pipelines.work import Work
from advantageflow_pipelines.plan.counts import Counts, Flops, Memory, Operations, batches, counted_alone
from advantageflow_pipelines.plan.footprint import footprint, tensor_bytes
from advantageflow_pipelines.plan.rewards import reward_cost
from advantageflow_pipelines.plan.skeleton import META, Skeleton, make_skeleton, parameters
from advantageflow_pipelines.say import quiet


def count(settings: RunSettings, work: Mapping[str, Work], progress: Callable[[str], None]) -> Counts:
    """Count by building each part on torch's meta device and running one sample through it.
    Raises PolicyError: the model's configuration is not here, or is of a family that is not supported.
    """
    quiet()
    logging.set_verbosity_error()  # diffusers warns of every cast, and nothing here is computed with
    settings = counted_alone(settings)
    configs = model_configs(settings.model)
    skeleton = make_skeleton(settings.model, configs)
    progress("parameters")
    parameters = count_parameters(skeleton, settings.training)
    progress("operations of the model")
    operations = count_operations(skeleton, settings.training)
    progress("operations of the rewards")
    rewards = {term.name: reward_cost(term) for term in settings.reward.terms}
    progress("memory")
    encoders: list[Memory] = [*encoding_memory(skeleton).values()]
    largest: Memory = max(encoders, key=lambda encoder: sum(encoder.values()), default={})  # they run in turn
    decoded = settings.model.decode_batch
    return Counts(
        image_size=skeleton.image_size,
        latent=math.prod(skeleton.latents),
        text_tokens=skeleton.conditioning.length,
        conditioning=skeleton.conditioning.nbytes,
        parts=list(configs.parts),
        parameters=parameters,
        operations=operations,
        encoding=largest,
        generation={
            name: generation_memory(skeleton, settings.training, *batch, decoded)
            for name, batch in batches(work).items()
        },
        training=training_memory(skeleton, settings.training),
        rewards=rewards,
    )


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

    def encode(part: str, build: Callable[[], nn.Module]) -> float:
        encoder, tokens = build(), skeleton.tokens(part, 1)
        return operations(lambda: skeleton.family.encode(part, encoder, tokens))

    return Operations(
        velocity=count_flops(skeleton.policy(training), skeleton.inputs(1)),
        decode=operations(lambda: vae.decode(latents)),  # type: ignore[operator]
        encode={part: encode(part, build) for part, build in skeleton.encoders().items()},
    )


def count_flops(policy: Policy, sample: Inputs) -> Flops:
    """Count by running one sample through the model; activations must not be recomputed meanwhile.

    Attention is counted as the two products that it consists of, whichever kernel would compute it.
    """
    with sdpa_kernel(SDPBackend.MATH), _counter() as training:
        policy.velocity(sample).square().mean().backward()
    policy.optimiser.zero_grad()
    return Flops(operations(lambda: policy.velocity(sample)), float(training.get_total_flops()))


def _counter() -> FlopCounterMode:
    """torch's, which does not know the product that is added in place."""

    def flops(added_to: torch.Size, a: torch.Size, b: torch.Size, **options: object) -> int:
        return 2 * a[0] * a[1] * b[1]

    return FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: flops})


def operations(compute: Callable[[], object]) -> float:
    """Operations of a computation without gradients."""
    with sdpa_kernel(SDPBackend.MATH), torch.no_grad(), _counter() as counter:
        compute()
    return float(counter.get_total_flops())


def training_memory(skeleton: Skeleton, training: TrainingSettings) -> Memory:
    """Of the training stage: one microbatch forward and backward, beside all that stays from step to step.

    The stage keeps the base, the trained and the rollout adapter in float32 with the gradient and AdamW's two moments
    of the former; and the round's data, which are not in this. Losses are smaller
    than any layer's output and are stood in for by a squared error; velocities without gradient (v_roll, v_ref) need
    less than the pass itself.

    Args:
        training: microbatch, adapters, recomputation.
    """
    policy = skeleton.policy(training)
    transformer, adapter = policy.transformer, policy.adapters.parameters()
    if training.gradient_checkpointing:
        transformer.enable_gradient_checkpointing()  # type: ignore[operator]
    inputs = skeleton.inputs(training.microbatch)
    for parameter in adapter:  # from the second microbatch on they are there
        parameter.grad = torch.zeros_like(parameter)
    gradients = [parameter.grad for parameter in adapter if parameter.grad is not None]
    x, t, conditioning = inputs
    given = [x, t, *conditioning.tensors.values()]
    resident = [*transformer.parameters(), *transformer.buffers(), *given, *gradients]

    def step() -> None:
        torch.autograd.backward(functional.mse_loss(policy.velocity(inputs), x))

    one = tensor_bytes(adapter)
    return {
        "base weights": tensor_bytes([*transformer.parameters(), *transformer.buffers()]) - 2 * one,
        "adapters": 2 * one,
        "gradients": one,
        "optimiser moments": 2 * one,
        "activations": tensor_bytes(given) + footprint(step, resident).peak,
    }


def generation_memory(
    skeleton: Skeleton, training: TrainingSettings, batch: int, guided: bool, decoded: int | None = None
) -> Memory:
    """Of making images (rollouts, evaluation): velocities of a forward batch, then its decoding.

    Args:
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
    return {
        "base weights": tensor_bytes(weights) - 2 * one,
        "adapters": one,
        "autoencoder": tensor_bytes([*vae.parameters(), *vae.buffers()]),
        "activations": tensor_bytes(given) + max(sampling, decoding),
    }


def encoding_memory(skeleton: Skeleton) -> dict[str, Memory]:
    """Of the prompts stage with as many texts as it encodes at once, by text encoder."""

    def measure(part: str, build: Callable[[], nn.Module]) -> Memory:
        length = skeleton.tokens(part, 1)["input_ids"].shape[1]
        encoder, tokens = build(), skeleton.tokens(part, batch_size(length))
        weights = [*encoder.parameters(), *encoder.buffers()]
        with torch.no_grad():
            peak = footprint(lambda: skeleton.family.encode(part, encoder, tokens), [*weights, *tokens.values()]).peak
        return {"text encoder": tensor_bytes(weights), "activations": peak}

    return {part: measure(part, build) for part, build in skeleton.encoders().items()}


def _decode(vae: nn.Module, latents: Tensor) -> Tensor:
    pictures: Tensor = vae.decode(latents.to(next(vae.parameters()).dtype), return_dict=False)[0]  # type: ignore[operator]
    return pictures.float().clamp(-1, 1)
