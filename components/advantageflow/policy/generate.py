"""Generates pictures with a policy: base model, one merged adapter, autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from advantageflow.flow.samplers import Sampler, VelocityFn, integrate, timesteps
from advantageflow.flow.sde import Trajectory, integrate_sde
from advantageflow.policy.adapters import add_adapter
from advantageflow.policy.conditioning import Conditioning
from advantageflow.policy.loading import latent_shape, load_family, load_transformer, load_vae
from advantageflow.policy.norm import VelocityNorm
from advantageflow.policy.sampling import initial_noise, step_noise, velocity_function
from advantageflow.policy.saved import read_policy
from advantageflow.settings import ModelSettings


def load_generator(model: ModelSettings, policy_dir: Path | None, adapter: str, threads: int) -> Generator:
    """A policy ready to draw. The adapter is merged into float32 weights, kept beside lower-precision ones.

    Args:
        model: the base model.
        policy_dir: a policy artifact, or None for the base model.
        adapter: 'policy' or 'rollout_policy'.
        threads: CPU threads; results repeat bit for bit at equal thread counts and batches.

    Raises:
        PolicyError: the model or the policy cannot be loaded; the policy's weights are not finite or not those of their
            hash, or it was trained on another base model.
    """
    torch.set_num_threads(threads)
    saved = None if policy_dir is None else read_policy(policy_dir, (adapter,))
    transformer = load_transformer(model)
    if saved is not None and saved.state.trained:
        saved.check_base(transformer, model)
        add_adapter(transformer, saved, adapter)
        if model.dtype == "float32":
            for layer in transformer.modules():
                if isinstance(layer, BaseTunerLayer):
                    layer.merge()
    return Generator(model, transformer, load_vae(model))


class Generator:
    """Draws with whatever policy the transformer has.

    Args:
        model: the base model.
        transformer: its velocity model.
        vae: its autoencoder.
    """

    def __init__(self, model: ModelSettings, transformer: nn.Module, vae: nn.Module) -> None:
        self._device = model.device
        self._family = load_family(model)
        self._shape = latent_shape(model)
        self.transformer = transformer
        self.vae = vae
        self._compiled, self._batch = model.compiled, 0
        self._decoded = model.decode_batch

    @torch.no_grad()  # not inference_mode: what the transformer keeps from one call to the next may be trained with
    def images(
        self,
        conditioning: Conditioning,
        seeds: Sequence[int],
        *,
        steps: int,
        sampler: Sampler,
        shift: float = 1.0,
        guidance_scale: float = 1.0,
        unconditional: Conditioning | None = None,
        norm: VelocityNorm | None = None,
    ) -> tuple[Tensor, NDArray[np.uint8]]:
        """One forward batch, sampled from noise by an ODE solver.

        Args:
            conditioning: of the prompt of each picture.
            seeds: of each picture's initial noise.
            steps: model evaluations per picture.
            sampler: ODE solver.
            shift: timestep shift.
            guidance_scale: classifier-free guidance; 1 is none.
            unconditional: of the family's unconditional text, needed for guidance.
            norm: measures the velocities on the way.

        Returns:
            Clean latents (B, *shape) float32 on the CPU, and pictures (B, H, W, 3) uint8.
        """
        noise = initial_noise(seeds, self._shape).to(self._device)
        velocity = self._velocity(conditioning, guidance_scale, unconditional)
        if norm is not None:
            velocity = norm.measuring(velocity)
        latents = integrate(velocity, noise, timesteps(steps, shift), sampler)
        return latents.float().cpu(), self._decode(latents)

    @torch.no_grad()
    def sde_images(
        self,
        conditioning: Conditioning,
        seeds: Sequence[int],
        *,
        steps: int,
        noise_level: float,
        shift: float = 1.0,
        guidance_scale: float = 1.0,
        unconditional: Conditioning | None = None,
        keep_trajectory: bool = False,
    ) -> tuple[Tensor, NDArray[np.uint8], Trajectory | None]:
        """One forward batch, sampled stochastically: like `images`, with fresh noise at every step.

        Args:
            conditioning: of the prompt of each picture.
            seeds: of all noise of each picture.
            steps: model evaluations per picture.
            noise_level: a; 0 is the Euler ODE.
            shift: timestep shift.
            guidance_scale: classifier-free guidance; 1 is none.
            unconditional: of the family's unconditional text, needed for guidance.
            keep_trajectory: also return all steps, on the CPU.

        Returns:
            Clean latents, pictures, and the trajectory or None.
        """
        noise = initial_noise(seeds, self._shape).to(self._device)
        latents, trajectory = integrate_sde(
            self._velocity(conditioning, guidance_scale, unconditional),
            noise,
            timesteps(steps, shift),
            noise_level=noise_level,
            step_noise=step_noise(seeds, self._shape, self._device),
            keep=keep_trajectory,
        )
        kept = trajectory.to(torch.device("cpu")) if trajectory is not None else None
        return latents.float().cpu(), self._decode(latents), kept

    def _velocity(
        self, conditioning: Conditioning, guidance_scale: float, unconditional: Conditioning | None
    ) -> VelocityFn:
        told = conditioning.to(self._device)
        if self._compiled:  # the last batch is often a smaller one
            self._batch = max(self._batch, len(told))
        return velocity_function(self._family, self.transformer, told, guidance_scale, unconditional, self._batch)

    def _decode(self, latents: Tensor) -> NDArray[np.uint8]:
        parts = latents.split(self._decoded or len(latents))
        return np.concatenate([self._family.decode(self.vae, part) for part in parts])
