"""Distils the embedded model into a mean flow, which makes a picture in one to four steps."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from diffusers import StableDiffusion3Pipeline
from torch import Tensor

from advantageflow.flow.samplers import timesteps
from advantageflow.policy.conditioning import Conditioning
from advantageflow.policy.families.mean_flow import MeanFlow
from advantageflow.policy.families.stable_diffusion_3 import StableDiffusion3
from advantageflow.policy.location import EMBEDDED_MODEL, INDEX
from advantageflow.policy.sampling import initial_noise, velocity_function
from advantageflow.records import derive_seed
from advantageflow.shapes import architecture
from advantageflow.shapes.prompts import all_prompts
from advantageflow_experiments.shapes.pretrain import Report, accuracies, embed, schedule, tokenise


@dataclass(frozen=True)
class DistilSettings:
    """How the mean flow is made."""

    seed: int = 0
    paths: int = 4096  # of the embedded model's own ODE, from noise to latents of training prompts
    levels: int = 8  # steps of a path, any two of whose states give an average velocity
    steps: int = 1000  # optimiser steps, of `batch` pairs each
    batch: int = 128
    learning_rate: float = 1e-3
    judged_images: int = 480  # held-out images that the reported accuracies are of
    threads: int = 2

    def scaled(self, effort: float) -> DistilSettings:
        """The same with all steps and paths multiplied by `effort`, for a quick try."""
        steps, paths = (max(1, round(effort * count)) for count in (self.steps, self.paths))
        return replace(self, steps=steps, paths=paths)


def distil(out: Path, settings: DistilSettings, report: Report = print) -> None:
    """Fits `u(x_t, t, h)` to `(x_t - x_(t-h)) / h` of the embedded model's paths, and writes the model in its layout.

    Args:
        out: new folder.
        report: told how it goes, and accuracies at 1, 2 and 4 steps before (Euler's) and after.
    """
    torch.set_num_threads(settings.threads)
    torch.manual_seed(derive_seed(settings.seed, "distil"))
    pipeline = StableDiffusion3Pipeline.from_pretrained(EMBEDDED_MODEL, dtype=torch.float32)
    tell_accuracies(pipeline, settings, report, "embedded model", StableDiffusion3())
    texts = sorted({prompt.text for prompt in all_prompts() if prompt.split == "train"})
    with torch.no_grad():
        told = embed(pipeline, tokenise(pipeline, texts), torch.arange(len(texts)))
    told = Conditioning({name: tensor.detach() for name, tensor in told.tensors.items()})
    rows = torch.randint(len(texts), (settings.paths,))
    sigmas = timesteps(settings.levels)
    states = _paths(pipeline, told, rows, sigmas, settings)
    report(f"{settings.paths} paths of {settings.levels} steps")
    transformer, family, started = pipeline.transformer.train(), MeanFlow(), time.monotonic()
    optimiser = torch.optim.AdamW(transformer.parameters(), lr=settings.learning_rate, betas=(0.9, 0.98), fused=True)
    for step, _ in schedule(optimiser, settings.steps, settings.learning_rate):
        path = torch.randint(settings.paths, (settings.batch,))
        first = torch.randint(settings.levels, (settings.batch,))
        last = first + 1 + (torch.rand(settings.batch) * (settings.levels - first)).long()
        t, length = sigmas[first], sigmas[first] - sigmas[last]
        x_t, end = states[path, first], states[path, last]
        target = (x_t - end) / length.float()[:, None, None, None]
        u = family.velocity(transformer, x_t, t, told.rows(rows[path]).telling("interval", length))
        loss = (u - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(transformer.parameters(), 1.0)
        optimiser.step()
        if step % 100 == 0:
            report(f"mean flow {step}/{settings.steps}: loss {loss.item():.4f}, {time.monotonic() - started:.0f} s")
    transformer.eval()
    tell_accuracies(pipeline, settings, report, "mean flow", family)
    shutil.copytree(EMBEDDED_MODEL, out)
    transformer.half().save_pretrained(out / "transformer")
    index = json.loads((out / INDEX).read_text())
    (out / INDEX).write_text(json.dumps({**index, "_class_name": family.pipeline}, indent=2))


def tell_accuracies(
    pipeline: StableDiffusion3Pipeline, settings: DistilSettings, report: Report, name: str, family: StableDiffusion3
) -> None:
    """Strict accuracy at 1, 2 and 4 steps."""
    for steps in (1, 2, 4):
        found = accuracies(pipeline, settings.judged_images, steps, "euler", family)
        report(f"{name} at {steps} steps: {found}")


@torch.no_grad()
def _paths(
    pipeline: StableDiffusion3Pipeline, told: Conditioning, rows: Tensor, sigmas: Tensor, settings: DistilSettings
) -> Tensor:
    """States (paths, levels + 1, *shape) at the noise levels, each interval solved by Heun's method."""
    shape = (architecture.LATENT_CHANNELS, *2 * (architecture.LATENT_SIZE,))
    noise = initial_noise([derive_seed(settings.seed, "path", k) for k in range(settings.paths)], shape)
    found = []
    for part, of_part in zip(noise.split(256), rows.split(256), strict=True):
        velocity = velocity_function(StableDiffusion3(), pipeline.transformer, told.rows(of_part))
        states = [part]
        for sigma, following in zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True):
            x, step = states[-1], following - sigma
            slope = velocity(x, sigma)
            states.append(x + step / 2 * (slope + velocity(x + step * slope, following)))
        found.append(torch.stack(states, 1))
    return torch.cat(found)
