"""Generates pictures with a policy: base model, one merged adapter, autoencoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial, wraps
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from advantageflow.errors import SettingsError
from advantageflow.flow.samplers import integrate
from advantageflow.flow.sde import Trajectory, concatenate, integrate_sde
from advantageflow.policy.adapters import add_adapter, merge_adapter
from advantageflow.policy.conditioning import Conditioning
from advantageflow.policy.divergence import check_finite
from advantageflow.policy.loading import latent_shape, load_family, load_transformer, load_vae
from advantageflow.policy.sampling import VelocityNorm, initial_noise, noise_levels, step_noise, velocity_function
from advantageflow.policy.saved import read_policy
from advantageflow.policy.text import encode_prompts
from advantageflow.records import ADAPTER_FOLDER
from advantageflow.settings import EvaluationSettings, ModelSettings, RolloutSettings
from advantageflow.tracking.journal import current_journal

_DECODED_AT_ONCE = 32  # images on the CPU, at least


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
        (merge_adapter if model.dtype == "float32" else add_adapter)(transformer, saved, adapter)
    return Generator(model, transformer, load_vae(model))


Images = tuple[Tensor, NDArray[np.uint8], Trajectory | None]


def _in_parts_that_fit(images: Callable[..., Images]) -> Callable[..., Images]:
    """Where the GPU's memory ends, a batch is halved, and no later one is larger; each picture keeps its noise."""

    @wraps(images)
    def in_parts(
        self: Generator,
        conditioning: Conditioning,
        seeds: Sequence[int],
        how: RolloutSettings | EvaluationSettings,
        unconditional: Conditioning | None = None,
        norm: VelocityNorm | None = None,
        window: tuple[int, int] | None = None,
    ) -> Images:
        made: list[Images] = []
        squares, row = [], 0
        while row < len(seeds):
            rows = range(row, min(row + (self.fits or len(seeds)), len(seeds)))
            told = conditioning if len(rows) == len(seeds) else conditioning.rows(rows)
            try:
                made.append(images(self, told, seeds[rows.start : rows.stop], how, unconditional, norm, window))
                squares += [norm.squares] if norm is not None and norm.squares is not None else []
                row = rows.stop
                continue
            except torch.OutOfMemoryError:
                if len(rows) == 1:
                    raise
            self.halve(len(rows))  # here, where the error holds no tensors any more
        if norm is not None:
            norm.squares = torch.cat(squares)
        latents, pictures, trajectories = zip(*made, strict=True)
        kept = [one for one in trajectories if one is not None]
        return torch.cat(latents), np.concatenate(pictures), concatenate(kept) if kept else None

    return in_parts


class Generator:
    """Draws with whatever policy the transformer has.

    Args:
        model: the base model.
        transformer: its velocity model.
        vae: its autoencoder.
    """

    def __init__(self, model: ModelSettings, transformer: nn.Module, vae: nn.Module) -> None:
        self._model = model
        self._family = load_family(model)
        self._shape = latent_shape(model)
        self.transformer = transformer
        self.vae = vae
        self._largest = 0  # batch so far
        self._levels = cache(partial(noise_levels, model))  # may read the model's files
        self.fits: int | None = None  # images of a batch, once the GPU's memory has ended
        self._journal = current_journal()  # which the threads that draw do not have

    def halve(self, images: int) -> None:
        """Take smaller batches than this one from now on."""
        self.fits = (images + 1) // 2
        self._largest = min(self._largest, self.fits)
        torch.cuda.empty_cache()
        self._journal.warning(
            f"the GPU's memory ended with a batch of {images} images: {self.fits} at a time from now on; lower "
            "rollout.batch_groups, rollout.group_size or evaluation.batch to have it so from the start"
        )

    @_in_parts_that_fit
    @torch.no_grad()  # not inference_mode: what the transformer keeps from one call to the next may be trained with
    def images(
        self,
        conditioning: Conditioning,
        seeds: Sequence[int],
        how: RolloutSettings | EvaluationSettings,
        unconditional: Conditioning | None = None,
        norm: VelocityNorm | None = None,
        window: tuple[int, int] | None = None,
    ) -> tuple[Tensor, NDArray[np.uint8], Trajectory | None]:
        """One forward batch, sampled from noise by an ODE solver or by the SDE.

        Args:
            conditioning: of the prompt of each picture.
            seeds: of all noise of each picture.
            how: sampler, steps and guidance.
            unconditional: of the family's unconditional text, needed for guidance.
            norm: measures the velocities on the way.
            window: which steps of a stochastic sampler are noisy, as `integrate_sde` takes it.

        Returns:
            Clean latents (B, *shape) float32 on the CPU, pictures (B, H, W, 3) uint8, and all steps on the CPU, where
            the settings ask for trajectories.

        Raises:
            PolicyError: the model has no such noise levels.
            SettingsError: the sampler is none for this model.
        """
        device = self._model.device
        noise, told = initial_noise(seeds, self._shape).to(device), conditioning.to(device)
        if self._model.compiled:  # the last batch is often a smaller one
            self._largest = max(self._largest, len(told))
        sigmas, trajectory = self._levels(how), None
        if self._family.averages and how.sampler != "euler":
            message = f"sampler {how.sampler} does not fit a model of average velocities ({self._model.name})"
            raise SettingsError(message, where="sampler", remedy="set rollout.sampler and evaluation.sampler to euler")
        velocity = velocity_function(
            self._family, self.transformer, told, how.guidance_scale, unconditional, self._largest, sigmas
        )
        if norm is not None:
            velocity = norm.measuring(velocity)
        if how.sampler == "sde" or how.sampler == "cps":
            latents, trajectory = integrate_sde(
                velocity, noise, sigmas, noise_level=how.noise_level, keep=how.trajectories,
                step_noise=step_noise(seeds, self._shape, device), sampler=how.sampler, window=window,
            )  # fmt: skip
        else:
            latents = integrate(velocity, noise, sigmas, how.sampler)
        if self._model.decode_batch is None and device == "cpu":  # equal parts that its caches hold
            parts = latents.tensor_split(max(1, len(latents) // _DECODED_AT_ONCE))
        else:
            parts = latents.split(self._model.decode_batch or len(latents))
        pictures = np.concatenate([self._family.decode(self.vae, part) for part in parts])
        return latents.float().cpu(), pictures, trajectory and trajectory.to(torch.device("cpu"))


def draw_texts(
    model: ModelSettings,
    policy: Path | None,
    texts: Sequence[str],
    seeds: Sequence[int],
    sampling: EvaluationSettings,
    generator: Generator | None = None,
) -> NDArray[np.uint8]:
    """A picture for each text.

    Args:
        model: the base model.
        policy: a policy artifact; None for the base model.
        texts: at least one.
        seeds: of each picture's initial noise.
        sampling: how pictures are made, `batch` of them at a time.
        generator: of this model and policy, loaded before; loaded here if None.

    Returns:
        Pictures (N, H, W, 3).

    Raises:
        PolicyError: the model or its policy cannot be loaded, or what they make is not finite.
    """
    encoded = encode_prompts(model, [*texts, load_family(model).unconditional])
    generator = generator or load_generator(model, policy, ADAPTER_FOLDER, sampling.threads)
    pictures = []
    for start in range(0, len(texts), sampling.batch):
        rows = list(range(start, min(start + sampling.batch, len(texts))))
        latents, images, _ = generator.images(
            encoded.rows(rows), [seeds[row] for row in rows], sampling, encoded.rows([len(texts)])
        )
        check_finite(latents, [f"'{texts[row]}'" for row in rows])
        pictures.append(images)
    return np.concatenate(pictures)
