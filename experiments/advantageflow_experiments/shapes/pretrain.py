"""Pretrains the embedded model on deliberately noisy captions, so that reinforcement learning has something to win."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel, StableDiffusion3Pipeline
from torch import Tensor

from advantageflow.flow.samplers import Sampler, integrate, timesteps
from advantageflow.policy.conditioning import Conditioning
from advantageflow.policy.families.stable_diffusion_3 import StableDiffusion3
from advantageflow.policy.sampling import initial_noise, velocity_function
from advantageflow.records import Prompt, derive_seed
from advantageflow.shapes import architecture
from advantageflow.shapes.detector import detect, score
from advantageflow.shapes.prompts import all_prompts
from advantageflow.shapes.scenes import NO_NOISE, CaptionNoise, render, scene_for

Report = Callable[[str], None]
_FAMILY = StableDiffusion3()


@dataclass(frozen=True)
class Phase:
    """A part of the transformer's training: optimiser steps on scenes with so much caption noise."""

    steps: int
    noise: CaptionNoise


@dataclass(frozen=True)
class PretrainSettings:
    """How the embedded model is made; the defaults are the recipe of the one that is shipped.

    Captions are obeyed in the first phase, where the model learns what the words mean. The second makes them
    unreliable, more than is wanted, so the weights end `blur` of the way from before it to after it. In the other
    order the words of relations are never learned: noise hides the little that they say about a picture.
    """

    seed: int = 0
    scenes: int = 100_000  # captioned pictures that are drawn for each phase
    autoencoder_steps: int = 2400  # optimiser steps of the autoencoder, 32 pictures each
    # of text encoders and transformer together, `flow_batch` pictures a step
    phases: tuple[Phase, ...] = (Phase(5400, NO_NOISE), Phase(600, CaptionNoise()))
    flow_batch: int = 128
    caption_dropout: float = 0.1  # share of empty captions, for classifier-free guidance
    # of the normal logits of the noise level t. Above 0, because what stands where is decided early, at t above .75, in
    # a latent of 9 tokens.
    time_logit_mean: float = 0.5
    time_logit_std: float = 1.4  # of the same
    blur: float = 0.55  # weight of the last phase's outcome in the final weights, in [0, 1]
    judged_images: int = 960  # held-out images that the reported accuracies are of
    threads: int = 2

    def scaled(self, effort: float) -> Self:
        """The same with all steps and scenes multiplied by `effort`, for a quick try."""
        return replace(
            self,
            scenes=max(64, round(self.scenes * effort)),
            judged_images=max(6, round(self.judged_images * effort)),
            autoencoder_steps=max(1, round(self.autoencoder_steps * effort)),
            phases=tuple(replace(phase, steps=max(1, round(phase.steps * effort))) for phase in self.phases),
        )


def pretrain(out: Path, settings: PretrainSettings, report: Report = print) -> StableDiffusion3Pipeline:
    """Draws scenes, trains autoencoder, text encoders and transformer; saves the pipeline in half precision."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(derive_seed(settings.seed, "pretrain"))
    pipeline = architecture.build_pipeline()
    for number, phase in enumerate(settings.phases):
        report(f"phase {number + 1} of {len(settings.phases)}: drawing {settings.scenes} scenes")
        seed = derive_seed(settings.seed, "phase", number)
        images, texts = draw(settings.scenes, phase.noise, seed)
        if number == 0:
            train_autoencoder(pipeline.vae, images, settings, report)
            normalise_latents(pipeline.vae, images[:4096])
        before = [parameter.detach().clone() for parameter in flow_parameters(pipeline)]
        train_flow(pipeline, encode_all(pipeline.vae, images), texts, phase.steps, seed, settings, report)
        report(f"phase {number + 1}: held-out accuracy {accuracies(pipeline, settings.judged_images)}")
    with torch.no_grad():
        for parameter, earlier in zip(flow_parameters(pipeline), before, strict=True):
            parameter.lerp_(earlier, 1 - settings.blur)
    save(pipeline, out)
    report(f"saved in {out}: held-out accuracy {accuracies(pipeline, settings.judged_images)}")
    return pipeline


def flow_parameters(pipeline: StableDiffusion3Pipeline) -> list[torch.nn.Parameter]:
    """What velocity matching trains: the transformer and the text encoders."""
    modules = (pipeline.transformer, pipeline.text_encoder, pipeline.text_encoder_2, pipeline.text_encoder_3)
    return [parameter for module in modules for parameter in module.parameters()]


def draw(count: int, noise: CaptionNoise, seed: int) -> tuple[Tensor, list[str]]:
    """Pictures (count, 3, 48, 48) uint8 with their captions, which the noise makes partly wrong."""
    rng = np.random.default_rng(derive_seed(seed, "scenes"))
    by_task: dict[str, list[Any]] = {}
    for prompt in all_prompts():
        by_task.setdefault(prompt.task, []).append(prompt)
    tasks = list(by_task)
    # Harder tasks are seen more often: their captions hold more to learn.
    weight = np.array([{"single_object": 0.6, "color_attr": 2.2, "position": 2.6}.get(t, 1.0) for t in tasks])
    images = np.empty((count, 48, 48, 3), dtype=np.uint8)
    texts = []
    for k in range(count):
        prompt, shown = (
            by_task[task][rng.integers(len(by_task[task]))] for task in rng.choice(tasks, 2, p=weight / weight.sum())
        )
        mismatch = rng.random() < noise.mismatch
        images[k] = render(scene_for((shown if mismatch else prompt).spec, rng, noise))
        texts.append(prompt.text)
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), texts


def to_model_range(images: Tensor) -> Tensor:
    """uint8 (N, 3, H, W) to float in [-1, 1]."""
    return images.float() / 127.5 - 1


def train_autoencoder(vae: AutoencoderKL, images: Tensor, settings: PretrainSettings, report: Report) -> None:
    """Reconstruction by L1 and L2 with a light KL term."""
    vae.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(vae.parameters(), lr=3e-3, betas=(0.9, 0.95), weight_decay=1e-3)
    generator = torch.Generator().manual_seed(derive_seed(settings.seed, "autoencoder"))
    for step, rate in schedule(optimiser, settings.autoencoder_steps, 3e-3):
        batch = to_model_range(images[torch.randint(len(images), (32,), generator=generator)])
        batch = batch.contiguous(memory_format=torch.channels_last)
        posterior = vae.encode(batch).latent_dist
        error = vae.decode(posterior.sample(generator)).sample - batch
        loss = error.abs().mean() + error.square().mean() + 3e-4 * posterior.kl().mean() / 288
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        if step % 100 == 0:
            report(f"autoencoder {step}/{settings.autoencoder_steps}: loss {loss.item():.4f}, rate {rate:.1e}")


@torch.no_grad()
def normalise_latents(vae: AutoencoderKL, images: Tensor) -> None:
    """Folds each latent channel's standard deviation into the convolutions around it; the mean becomes shift_factor."""
    latents = vae.encode(to_model_range(images)).latent_dist.mean
    std = latents.std(dim=(0, 2, 3))
    channels = len(std)
    head, tail = vae.encoder.conv_out, vae.decoder.conv_in
    head.weight[:channels] /= std[:, None, None, None]
    head.bias[:channels] /= std
    head.bias[channels:] -= 2 * std.log()
    tail.weight *= std[None, :, None, None]
    vae.register_to_config(shift_factor=float((latents / std[:, None, None]).mean()), scaling_factor=1.0)


@torch.no_grad()
def encode_all(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """Latents (N, 8, 6, 6) as the transformer sees them: (mean - shift) * scale."""
    parts = [vae.encode(to_model_range(chunk)).latent_dist.mean for chunk in images.split(512)]
    return (torch.cat(parts) - vae.config.shift_factor) * vae.config.scaling_factor


def train_flow(
    pipeline: StableDiffusion3Pipeline,
    latents: Tensor,
    texts: list[str],
    steps: int,
    seed: int,
    settings: PretrainSettings,
    report: Report,
) -> None:
    """Velocity matching of transformer and text encoders together."""
    transformer: SD3Transformer2DModel = pipeline.transformer
    encoders = [pipeline.text_encoder, pipeline.text_encoder_2, pipeline.text_encoder_3]
    for encoder in encoders:
        encoder.train()
    transformer.train()
    distinct = [*sorted(set(texts)), ""]
    row = {text: k for k, text in enumerate(distinct)}
    rows = torch.tensor([row[text] for text in texts])
    tokens = tokenise(pipeline, distinct)
    parameters = flow_parameters(pipeline)
    optimiser = torch.optim.AdamW(parameters, lr=2e-3, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    generator = torch.Generator().manual_seed(derive_seed(seed, "flow"))
    started, running = time.monotonic(), 0.0
    for step, _ in schedule(optimiser, steps, 2e-3):
        pick = torch.randint(len(latents), (settings.flow_batch,), generator=generator)
        clean, caption = latents[pick], rows[pick]
        dropped = torch.rand(len(pick), generator=generator) < settings.caption_dropout
        caption = torch.where(dropped, len(distinct) - 1, caption)
        noise = torch.randn(clean.shape, generator=generator)
        t = torch.sigmoid(
            settings.time_logit_mean + settings.time_logit_std * torch.randn(len(pick), generator=generator)
        )
        mixed = (1 - t)[:, None, None, None] * clean + t[:, None, None, None] * noise
        velocity = _FAMILY.velocity(transformer, mixed, t, embed(pipeline, tokens, caption))
        loss = (velocity - (noise - clean)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        running = loss.item() if step == 1 else 0.98 * running + 0.02 * loss.item()
        if step % 100 == 0:
            report(f"flow {step}/{steps}: loss {running:.4f}, {time.monotonic() - started:.0f} s")
    for module in (transformer, *encoders):
        module.eval()


@torch.inference_mode()
def accuracies(
    pipeline: StableDiffusion3Pipeline,
    images: int,
    steps: int = 6,
    sampler: Sampler = "ab2",
    family: StableDiffusion3 = _FAMILY,
) -> dict[str, float]:
    """Strict accuracy on held-out prompts without guidance, by task and their mean as 'all'; tasks share `images`."""
    pipeline.transformer.eval()
    by_task: dict[str, list[Prompt]] = {}
    for prompt in all_prompts():
        if prompt.split == "eval":
            by_task.setdefault(prompt.task, []).append(prompt)
    result, count = {}, images // len(by_task)
    for task, prompts in by_task.items():
        chosen = [prompts[k % len(prompts)] for k in range(count)]
        tokens = tokenise(pipeline, [prompt.text for prompt in chosen])
        told, sigmas = embed(pipeline, tokens, torch.arange(count)), timesteps(steps)
        velocity = velocity_function(family, pipeline.transformer, told, sigmas=sigmas)
        noise = initial_noise(range(count), (architecture.LATENT_CHANNELS, *2 * (architecture.LATENT_SIZE,)))
        pictures = _FAMILY.decode(pipeline.vae, integrate(velocity, noise, sigmas, sampler))
        scores = [score(p.spec, detect(picture)).strict for p, picture in zip(chosen, pictures, strict=True)]
        result[task] = round(float(np.mean(scores)), 3)
    return {**result, "all": round(float(np.mean(list(result.values()))), 3)}


def tokenise(pipeline: StableDiffusion3Pipeline, texts: list[str]) -> tuple[Tensor, Tensor]:
    """Token ids (N, 10) of the CLIP tokenizers (which are equal) and of T5's."""
    sizes: dict[str, Any] = {"padding": "max_length", "max_length": architecture.TEXT_TOKENS, "return_tensors": "pt"}
    return pipeline.tokenizer(texts, **sizes).input_ids, pipeline.tokenizer_3(texts, **sizes).input_ids


def embed(pipeline: StableDiffusion3Pipeline, tokens: tuple[Tensor, Tensor], rows: Tensor) -> Conditioning:
    """What `StableDiffusion3Pipeline.encode_prompt` computes, with gradients and each distinct prompt once."""
    distinct, place = rows.unique(return_inverse=True)
    ids = dict(zip(_FAMILY.text_encoders, (tokens[0], tokens[0], tokens[1]), strict=True))
    encoded = {
        part: _FAMILY.encode(part, getattr(pipeline, part), {"input_ids": of_part[distinct]})
        for part, of_part in ids.items()
    }
    configs = {"transformer": pipeline.transformer.config}
    return _FAMILY.condition(encoded, configs, tokens[1].shape[1]).rows(place)


def schedule(optimiser: torch.optim.Optimizer, steps: int, peak: float) -> Iterator[tuple[int, float]]:
    """Steps 1 .. n with the learning rate set: linear warm-up over 2 %, then a cosine to 1 % of the peak."""
    warm_up = max(1, steps // 50)
    for step in range(1, steps + 1):
        progress = max(0.0, (step - warm_up) / max(1, steps - warm_up))
        rate = peak * min(1.0, step / warm_up) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        yield step, rate


def save(pipeline: StableDiffusion3Pipeline, out: Path) -> None:
    """Writes the pipeline in half precision (safetensors), in diffusers' folder layout."""
    pipeline.to(dtype=torch.float16)
    pipeline.save_pretrained(out)
    pipeline.to(dtype=torch.float32)
