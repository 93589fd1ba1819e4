"""From noise to clean latents: noise levels, seeded noise, guided velocities, and how large these are."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from advantageflow.errors import PolicyError
from advantageflow.flow.samplers import Sigmas, VelocityFn, timesteps
from advantageflow.policy.conditioning import Conditioning, join
from advantageflow.policy.families import Family
from advantageflow.policy.families.base import Times
from advantageflow.policy.families.parts import Latents
from advantageflow.policy.loading import load_family, read_configs
from advantageflow.policy.location import read_file
from advantageflow.records import derive_seed
from advantageflow.settings import EvaluationSettings, ModelSettings, RolloutSettings

SCHEDULER = "scheduler/scheduler_config.json"
VelocityOf = Callable[[nn.Module, Latents, Times, Conditioning], Latents]
"""`Family.velocity`."""


def noise_levels(model: ModelSettings, how: RolloutSettings | EvaluationSettings) -> Sigmas:
    """Noise levels of sampling, from 1 to 0: an even grid with a shift, or that of the model's pipeline in diffusers.
    Raises PolicyError: the model has no configuration of its scheduler, or another scheduler.

    diffusers' scheduler starts from `num_train_timesteps` levels that have its shift, and shifts an even grid between
    the largest and the smallest of them again: Stable Diffusion 3's (s = 3) ends at .0089, then 0, with ten steps.
    Other pipelines give it an even grid to 1 / steps, and some a shift that grows with the number of tokens.
    """
    if how.grid == "even":
        return timesteps(how.steps, how.shift)
    from diffusers import FlowMatchEulerDiscreteScheduler

    family, config = load_family(model), read_file(model, SCHEDULER)
    if config.get("_class_name") != FlowMatchEulerDiscreteScheduler.__name__:
        message = f"its scheduler is {config.get('_class_name')}, not {FlowMatchEulerDiscreteScheduler.__name__}"
        raise PolicyError(message, where=f"{model.name}: {SCHEDULER}", remedy="set grid to even, and shift")
    scheduler: Any = FlowMatchEulerDiscreteScheduler.from_config(config)
    given: dict[str, Any] = {"num_inference_steps": how.steps}
    if family.even_sigmas:
        given["sigmas"] = torch.linspace(1, 1 / how.steps, how.steps).tolist()
    if scheduler.config.use_dynamic_shifting:
        sizes = family.latent_sizes(read_configs(model, ["transformer", "vae"]))
        tokens = math.prod(side // sizes.multiple for side in sizes.shape(model.image_size)[-2:])
        low, high = scheduler.config.base_image_seq_len, scheduler.config.max_image_seq_len
        slope = (scheduler.config.max_shift - scheduler.config.base_shift) / (high - low)
        given["mu"] = scheduler.config.base_shift + slope * (tokens - low)
    scheduler.set_timesteps(**given)
    sigmas: Sigmas = scheduler.sigmas.double()
    return sigmas


def initial_noise(seeds: Sequence[int], shape: tuple[int, ...]) -> Latents:
    """Standard normal noise (len(seeds), *shape), each sample from its own seed: the batch it is in does not matter."""
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def step_noise(seeds: Sequence[int], shape: tuple[int, ...], device: str) -> Callable[[int], Latents]:
    """Standard normal noise of a step of stochastic sampling, by its number; from each sample's own seed too."""
    return lambda number: initial_noise([derive_seed(seed, "step", number) for seed in seeds], shape).to(device)


def velocity_function(
    family: Family,
    transformer: nn.Module,
    conditioning: Conditioning,
    guidance_scale: float = 1.0,
    unconditional: Conditioning | None = None,
    batch: int = 0,
    sigmas: Sigmas | None = None,
) -> VelocityFn:
    """v(x, sigma) of a batch of prompts, guided as the family does.

    Args:
        guidance_scale: classifier-free guidance; 1 is none and costs no second evaluation.
        unconditional: of the family's unconditional text, one row; needed for guidance.
        batch: samples that a smaller batch is filled up to.
        sigmas: the noise levels of sampling, where the model has to know how long a step is (`Family.averages`).
    """
    steps = {} if sigmas is None or not family.averages else {a: a - b for a, b in pairwise(sigmas.tolist())}
    guided = guidance_scale != 1.0
    velocity_of = full_batches(family.velocity, 2 * batch if guided else batch)
    conditioning = conditioning.to(dtype=next(transformer.parameters()).dtype)
    if guided:
        if unconditional is None:
            raise ValueError("guidance needs the conditioning of the unconditional text")
        first = next(iter(conditioning.tensors.values()))
        repeated = unconditional.to(first.device, next(transformer.parameters()).dtype).repeat(len(conditioning))
        conditioning = join([conditioning, repeated])

    def velocity(x: Latents, sigma: float) -> Latents:
        inputs = torch.cat([x, x]) if guided else x
        # float64, because the timesteps that the transformer is given are only rounded once.
        times = torch.full((len(inputs),), sigma, device=x.device, dtype=torch.float64)
        told = conditioning.telling("interval", torch.full_like(times, steps[sigma])) if steps else conditioning
        out = velocity_of(transformer, inputs, times, told)
        if not guided:
            return out
        conditional, other = out.chunk(2)
        return family.guide(conditional, other, guidance_scale)

    return velocity


def full_batches(velocity: VelocityOf, size: int) -> VelocityOf:
    """The same velocities, computed in batches of at least `size`: a smaller one is filled up with its last sample.

    Compiled blocks are compiled again for another shape.
    """

    def filled(transformer: nn.Module, x_t: Latents, t: Times, conditioning: Conditioning) -> Latents:
        count = len(x_t)
        if count >= size:
            return velocity(transformer, x_t, t, conditioning)
        rows = torch.arange(size, device=x_t.device).clamp_max(count - 1)
        return velocity(transformer, x_t[rows], t[rows], conditioning.rows(rows))[:count]

    return filled


class VelocityNorm:
    """Root mean square of the velocities of each image, over its elements and over the model evaluations of sampling.

    With guidance it is the guided velocity, the one that the solver follows.
    """

    def __init__(self) -> None:
        self.squares: Tensor | None = None  # sum over evaluations, (batch,)
        self._evaluations = 0

    def measuring(self, velocity: VelocityFn) -> VelocityFn:
        """The same velocities, measured as they are asked for; forgets what was measured before."""
        self.squares, self._evaluations = None, 0

        def measured(x: Latents, sigma: float) -> Latents:
            out = velocity(x, sigma)
            squares = out.flatten(1).float().square().mean(1)
            self.squares = squares if self.squares is None else self.squares + squares
            self._evaluations += 1
            return out

        return measured

    def values(self) -> list[float]:
        """Of each image of the batch. Raises ValueError: nothing was measured."""
        if self.squares is None:
            raise ValueError("no velocity was measured")
        return torch.sqrt(self.squares / self._evaluations).tolist()
