"""Generates pictures with a policy: base model, one merged adapter, autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor

from advantageflow.flow.samplers import Sampler, VelocityFn, integrate, timesteps
from advantageflow.flow.sde import Trajectory, integrate_sde
from advantageflow.policy.adapters import add_adapter
from advantageflow.policy.conditioning import Conditioning
from advantageflow.policy.loading import latent_shape, load_family, load_transformer, load_vae
from advantageflow.policy.norm import VelocityNorm
from advantageflow.policy.sampling import initial_noise, step_noise, velocity_function
from advantageflow.policy.saved import read_policy
from advantageflow.settings import ModelSettings


class Generator:
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

    def __init__(self, model: ModelSettings, policy_dir: Path | None, adapter: str, threads: int) -> None:
        torch.set_num_threads(threads)
        saved = None if policy_dir is None else read_policy(policy_dir, (adapter,))
        self._device = model.device
        self._family = load_family(model)
        self._shape = latent_shape(model)
        self.transformer = load_transformer(model)
        self.vae = load_vae(model)
        if saved is not None and saved.state.trained:
            saved.check_base(self.transformer, model)
            add_adapter(self.transformer, saved, adapter)
            if model.dtype == "float32":
                for layer in self.transformer.modules():
                    if isinstance(layer, BaseTunerLayer):
                        layer.merge()

    @torch.inference_mode()
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
        return latents.float().cpu(), self._family.decode(self.vae, latents)

    @torch.inference_mode()
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
        return latents.float().cpu(), self._family.decode(self.vae, latents), kept

    def _velocity(
        self, conditioning: Conditioning, guidance_scale: float, unconditional: Conditioning | None
    ) -> VelocityFn:
        told = conditioning.to(self._device)
        return velocity_function(self._family, self.transformer, told, guidance_scale, unconditional)
