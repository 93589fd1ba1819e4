"""Policies elsewhere: plain diffusers and PEFT load what training wrote, and paint the same pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from peft import PeftModel
from PIL import Image
from torch import Tensor

from advantageflow.policy.adapters import add_adapter, attach_adapters
from advantageflow.policy.families.stable_diffusion_3 import StableDiffusion3
from advantageflow.policy.loading import EMBEDDED_MODEL, latent_shape
from advantageflow.policy.sampling import initial_noise
from advantageflow.policy.saved import read_policy
from advantageflow.prompts.initial_policy import write_base_policy
from advantageflow.records import ADAPTER_FOLDER
from advantageflow.settings import EvaluationSettings, LoraSettings, ModelSettings
from advantageflow.shapes.architecture import build_text_encoders, build_tokenizer, build_vae
from advantageflow.store.policies import PolicyState
from advantageflow_pipelines.local.policies import draw

STEPS = 3
SIGMAS = [1.0, 2 / 3, 1 / 3]
TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "ff.net.2")


def sd35() -> DiffusionPipeline:
    """Stable Diffusion 3.5 medium in small: two attentions in the first block, the last block without a context."""
    torch.manual_seed(0)
    clip_1, clip_2, t5 = build_text_encoders()
    transformer = SD3Transformer2DModel(
        sample_size=6, in_channels=8, out_channels=8, num_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=128, caption_projection_dim=32, pooled_projection_dim=128, pos_embed_max_size=3,
        dual_attention_layers=(0,), qk_norm="rms_norm",
    )  # fmt: skip
    return StableDiffusion3Pipeline(
        transformer, FlowMatchEulerDiscreteScheduler(shift=1.0), build_vae(), clip_1, build_tokenizer(clip=True),
        clip_2, build_tokenizer(clip=True), t5, build_tokenizer(clip=False),
    )  # fmt: skip


def embedded() -> DiffusionPipeline:
    return StableDiffusion3Pipeline.from_pretrained(EMBEDDED_MODEL, dtype=torch.float32)


def z_image() -> DiffusionPipeline:
    transformer = ZImageTransformer2DModel(
        in_channels=4, dim=32, n_layers=2, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=16,
        axes_dims=[8, 4, 4], axes_lens=[256, 32, 32],
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    for parameter in transformer.parameters():
        parameter.data.normal_(std=0.2, generator=generator)
    return ZImagePipeline(FlowMatchEulerDiscreteScheduler(shift=1.0), build_vae(), None, None, transformer)


def paint(pipeline: DiffusionPipeline) -> Tensor:
    """Latents of one picture, from fixed noise and embeddings."""
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(1)
    width = 32 if isinstance(pipeline, FluxPipeline) else 128
    inputs: dict[str, Any] = {
        "prompt_embeds": torch.randn(1, 20, width, generator=generator),
        "pooled_prompt_embeds": torch.randn(1, width, generator=generator),
        "guidance_scale": 1.0, "height": 48, "width": 48, "latents": torch.randn(1, 8, 6, 6, generator=generator),
    }  # fmt: skip
    if isinstance(pipeline, FluxPipeline):
        inputs |= {"height": 16, "width": 16, "latents": torch.randn(1, 4, 16, generator=generator)}
    if isinstance(pipeline, ZImagePipeline):
        inputs |= {"prompt_embeds": [torch.randn(5, 16, generator=generator)], "guidance_scale": 0.0,
                   "latents": torch.randn(1, 4, 6, 6, generator=generator)}  # fmt: skip
        del inputs["pooled_prompt_embeds"]
    latents = pipeline(**inputs, sigmas=SIGMAS, num_inference_steps=STEPS, output_type="latent").images
    return torch.as_tensor(latents).detach()


def policy_of(transformer: Any, folder: Path, lora: LoraSettings) -> Path:
    """A policy whose adapter changes every picture."""
    write_base_policy(folder / "base")
    adapters = attach_adapters(transformer, folder / "base", lora, 0, StableDiffusion3())
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in adapters.parameters():
            parameter.normal_(std=0.1, generator=generator)
    adapters.save(folder / "policy", PolicyState(round=1, step=1, policy_sha256=None), ModelSettings())
    return folder / "policy"


@pytest.mark.parametrize(("rank", "alpha"), [(4, 8), (4, 4), (4, 3)])
@pytest.mark.parametrize("family", ["embedded", "sd35", "flux", "z_image"])
def test_diffusers_and_peft_paint_what_this_package_paints(
    tmp_path: Path, family: str, rank: int, alpha: int, flux: Callable[[], DiffusionPipeline]
) -> None:
    make = {"embedded": embedded, "sd35": sd35, "flux": flux, "z_image": z_image}[family]
    layers = [f".{name}" for name, _ in make().transformer.named_modules()]
    targets = tuple(one for one in TARGETS if any(layer.endswith(f".{one}") for layer in layers))
    folder = policy_of(make().transformer, tmp_path, LoraSettings(rank=rank, alpha=alpha, targets=targets))
    base, ours, diffusers, peft = make(), make(), make(), make()
    add_adapter(ours.transformer, read_policy(folder), ADAPTER_FOLDER)
    diffusers.load_lora_weights(folder / ADAPTER_FOLDER)
    peft.transformer = PeftModel.from_pretrained(peft.transformer, folder / ADAPTER_FOLDER)
    wanted = paint(ours)
    assert (wanted - paint(base)).abs().max() > 1e-2
    torch.testing.assert_close(paint(diffusers), wanted, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(paint(peft), wanted, atol=1e-5, rtol=1e-4)


def test_diffusers_paints_the_picture_that_the_command_writes(tmp_path: Path) -> None:
    lora = LoraSettings(rank=32, alpha=64, targets=TARGETS)
    folder = policy_of(embedded().transformer, tmp_path, lora)
    sampling = EvaluationSettings(steps=STEPS, sampler="euler", threads=1)
    draw(ModelSettings(), folder, ["a red circle"], 7, sampling)[0].save(tmp_path / "ours.png")
    draw(ModelSettings(), None, ["a red circle"], 7, sampling)[0].save(tmp_path / "base.png")
    pipeline = embedded()
    pipeline.load_lora_weights(folder / ADAPTER_FOLDER)
    pipeline.set_progress_bar_config(disable=True)
    noise = initial_noise([7], latent_shape(ModelSettings()))
    inputs = {"max_sequence_length": 10, "guidance_scale": 1.0, "sigmas": SIGMAS, "num_inference_steps": STEPS}
    theirs = np.asarray(pipeline("a red circle", latents=noise, **inputs, output_type="np").images)[0] * 255
    ours, before = (np.asarray(Image.open(tmp_path / name)).astype(float) for name in ("ours.png", "base.png"))
    assert np.abs(theirs - ours).max() <= 1
    assert np.abs(before - ours).max() > 10
