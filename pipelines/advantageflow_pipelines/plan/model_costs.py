"""What a model costs: parameters, operations, and memory of each thing that stages do with it, on the meta device.

The model has its true shape there, made from its configuration, and no weights.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers.utils import logging
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from advantageflow.policy.sampling import velocity_function
from advantageflow.policy.text import batch_size
from advantageflow.records import ADAPTER_FOLDER, ROLLOUT_ADAPTER_FOLDER
from advantageflow.settings import LoraSettings, ModelSettings, RunSettings
from advantageflow.training.policy import Inputs, Policy
from advantageflow_pipelines.plan.counts import Figures, Memory, ModelCounts
from advantageflow_pipelines.plan.footprint import footprint, tensor_bytes
from advantageflow_pipelines.plan.skeleton import Skeleton, make_skeleton, parameters
from advantageflow_pipelines.say import quiet

BATCHES = (24, 96)  # two give the line through them; large, so that what tensors of the batch take is the most


@dataclass(frozen=True)
class Flops:
    """Operations of matrix products, two for each multiply-add."""

    forward: float  # of one velocity
    # of one training sample: v_theta forward and backward, and nothing else. Old and reference forwards and recomputed
    # activations are not useful work: a loop that does them has a lower share of the peak.
    training: float


def count_run(settings: RunSettings) -> ModelCounts:
    """Count what one run's plan needs. Raises PolicyError, see `count`."""
    skeleton = make_skeleton(settings.model)
    height = skeleton.sizes.shape(settings.model.image_size)[-1]
    return count(skeleton, settings.training.lora.targets, (settings.training.lora.rank,), (height,))


def count_known(model: ModelSettings, targets: tuple[str, ...] | None) -> ModelCounts:
    """Count so that figures of all ranks and image sizes follow: linear in the one, quadratic in the latents' area."""
    skeleton = make_skeleton(model)
    usual, multiple = skeleton.sizes.usual, skeleton.sizes.multiple
    heights = tuple(quarters * usual // 4 // multiple * multiple or multiple for quarters in (2, 3, 4))
    return count(skeleton, targets, (16, 64), heights)


def count(
    skeleton: Skeleton, targets: tuple[str, ...] | None, ranks: tuple[int, ...], heights: tuple[int, ...]
) -> ModelCounts:
    """Count by building each part on torch's meta device and running samples through it.

    Args:
        targets: linear layers that get an adapter; None: the family's usual ones.
        ranks, heights: of adapters and of latents, to count at.
    """
    quiet()
    logging.set_verbosity_error()  # diffusers warns of every cast, and nothing here is computed with
    memory = encoding_memory(skeleton)
    figures: list[Figures] = []
    for rank in ranks:
        lora = LoraSettings(rank=rank, alpha=rank, targets=targets)
        policy = skeleton.policy(lora)
        for height in heights:
            figures += count_figures(skeleton, policy, height)
    adapters, transformer = policy.adapters.parameters(), policy.transformer
    adapter = sum(value.numel() for value in adapters)
    return ModelCounts(
        sizes=skeleton.sizes,
        text_tokens=skeleton.conditioning.length,
        conditioning=skeleton.conditioning.nbytes,
        parts=list(skeleton.configs.parts),
        parameters={
            "transformer": parameters(transformer) - 2 * adapter,
            "adapter": adapter // rank,
            "vae": parameters(skeleton.vae),
            **{part: parameters(encoder) for part, encoder in skeleton.encoders.items()},
        },
        weights={
            "transformer": module_bytes(transformer) - 2 * tensor_bytes(adapters),
            "vae": module_bytes(skeleton.vae),
        },
        encode={part: encode_flops(skeleton, part) for part in skeleton.encoders},
        encoding=max(memory.values(), key=lambda encoder: sum(encoder.values()), default={}),  # they run in turn
        ranks=list(ranks),
        heights=list(heights),
        batches=list(BATCHES),
        figures=figures,
    )


def count_figures(skeleton: Skeleton, policy: Policy, height: int) -> list[Figures]:
    """Count at the policy's rank and each batch, by running samples through the transformer and the autoencoder."""
    sample, vae = skeleton.inputs(1, height), skeleton.vae
    flops = count_flops(policy, sample)
    decode = operations(lambda: _decode(vae, sample[0]))

    def at(batch: int) -> Figures:
        inputs, transformer = skeleton.inputs(batch, height), policy.transformer
        trained = training_peak(policy, inputs)
        transformer.enable_gradient_checkpointing()  # type: ignore[operator]
        recomputed = training_peak(policy, inputs)
        transformer.disable_gradient_checkpointing()  # type: ignore[operator]
        sampled, guided = (sampling_peak(policy, inputs, scale) for scale in (1.0, 2.0))
        with torch.no_grad():
            decoded = footprint(lambda: _decode(vae, inputs[0]), [*module_tensors(vae), inputs[0]])
        given = tensor_bytes(given_tensors(inputs))
        return Figures(flops.forward, flops.training, decode, given, trained, recomputed, sampled, guided, decoded)

    return [at(batch) for batch in BATCHES]


def count_flops(policy: Policy, sample: Inputs) -> Flops:
    """Count by running one sample through the model; activations must not be recomputed meanwhile.

    Attention is counted as the two products that it consists of, whichever kernel would compute it.
    """
    with sdpa_kernel(SDPBackend.MATH), _counter() as training:
        policy.velocity(sample).square().mean().backward()
    policy.optimiser.zero_grad()
    return Flops(operations(lambda: policy.velocity(sample)), float(training.get_total_flops()))


def encode_flops(skeleton: Skeleton, part: str) -> float:
    """Operations of encoding one text."""
    return operations(lambda: skeleton.family.encode(part, skeleton.encoders[part], skeleton.tokens(part, 1)))


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


def training_peak(policy: Policy, inputs: Inputs) -> int:
    """Bytes of activations at the peak of a microbatch's forward and backward.

    Losses are smaller than any layer's output and are stood in for by a squared error; velocities without gradient
    (v_roll, v_ref) need less than the pass itself.
    """
    adapter = policy.adapters.parameters()
    for parameter in adapter:  # from the second microbatch on they are there
        parameter.grad = torch.zeros_like(parameter)
    gradients = [parameter.grad for parameter in adapter if parameter.grad is not None]
    resident = [*module_tensors(policy.transformer), *given_tensors(inputs), *gradients]

    def step() -> None:
        torch.autograd.backward(functional.mse_loss(policy.velocity(inputs), inputs[0]))

    peak = footprint(step, resident)
    policy.optimiser.zero_grad()
    return peak


def sampling_peak(policy: Policy, inputs: Inputs, guidance_scale: float) -> int:
    """Bytes of activations at the peak of a batch's velocities by the rollout policy; any scale but 1 guides."""
    x, _, conditioning = inputs
    velocity = velocity_function(
        policy.family, policy.transformer, conditioning, guidance_scale, conditioning.rows(slice(1))
    )
    policy.adapters.use(ROLLOUT_ADAPTER_FOLDER)
    with torch.no_grad():
        resident = [*module_tensors(policy.transformer), *given_tensors(inputs)]
        peak = footprint(lambda: velocity(x, 0.5), resident)
    policy.adapters.use(ADAPTER_FOLDER)
    return peak


def encoding_memory(skeleton: Skeleton) -> dict[str, Memory]:
    """Of the prompts stage with as many texts as it encodes at once, by text encoder."""

    def measure(part: str, encoder: nn.Module) -> Memory:
        length = skeleton.tokens(part, 1)["input_ids"].shape[1]
        tokens = skeleton.tokens(part, batch_size(length))
        resident = [*module_tensors(encoder), *tokens.values()]
        with torch.no_grad():
            peak = footprint(lambda: skeleton.family.encode(part, encoder, tokens), resident)
        return {"text encoder": module_bytes(encoder), "activations": peak}

    return {part: measure(part, encoder) for part, encoder in skeleton.encoders.items()}


def given_tensors(inputs: Inputs) -> list[Tensor]:
    """What the model is given, without times, which are few numbers."""
    x, _, conditioning = inputs
    return [x, *conditioning.tensors.values()]


def module_tensors(module: nn.Module) -> list[Tensor]:
    """Parameters and buffers."""
    return [*module.parameters(), *module.buffers()]


def module_bytes(module: nn.Module) -> int:
    """Bytes of parameters and buffers."""
    return tensor_bytes(module_tensors(module))


def _decode(vae: nn.Module, latents: Tensor) -> Tensor:
    pictures: Tensor = vae.decode(latents.to(next(vae.parameters()).dtype), return_dict=False)[0]  # type: ignore[operator]
    return pictures.float().clamp(-1, 1)
