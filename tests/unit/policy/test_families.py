"""Qwen-Image and Z-Image through the family's interface: texts, velocities and pictures are the pipeline's own."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from advantageflow.errors import PolicyError
from advantageflow.flow.samplers import timesteps
from advantageflow.policy.adapters import attach_adapters
from advantageflow.policy.conditioning import Conditioning
from advantageflow.policy.families import BUILT_IN, find_family
from advantageflow.policy.families.parts import pack, unpack
from advantageflow.policy.generate import load_generator
from advantageflow.policy.loading import latent_shape, load_family, load_transformer
from advantageflow.policy.sampling import initial_noise
from advantageflow.policy.text import encode_prompts
from advantageflow.prompts.initial_policy import write_base_policy
from advantageflow.settings import EvaluationSettings, LoraSettings, ModelSettings

TEXTS = ["a red star", "two", ""]
STEPS = 3
SHAPES = {"QwenImagePipeline": (4, 1, 4, 4), "ZImagePipeline": (4, 4, 4)}


@pytest.fixture(params=["qwen_image", "z_image"])
def model(request: pytest.FixtureRequest) -> ModelSettings:
    settings: ModelSettings = request.getfixturevalue(request.param)
    return settings


def pipeline_of(model: ModelSettings) -> Any:
    pipeline = DiffusionPipeline.from_pretrained(model.name)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def told_texts(told: Conditioning) -> list[Tensor]:
    """What is told of each text, without padding."""
    return [row[mask] for row, mask in zip(told.tensors["prompt_embeds"], told.tensors["mask"], strict=True)]


def by_the_pipeline(model: ModelSettings, texts: list[str]) -> list[Tensor]:
    pipeline = pipeline_of(model)
    with torch.no_grad():
        if "qwen" in model.name:
            encoded = [pipeline.encode_prompt(text)[0][0] for text in texts]
        else:
            encoded = pipeline.encode_prompt(list(texts), do_classifier_free_guidance=False)[0]
    return list(encoded)


def test_texts_are_told_as_the_pipeline_tells_them(model: ModelSettings) -> None:
    told = encode_prompts(model, TEXTS)
    assert told.length == max(len(text) for text in told_texts(told)), "padded to the longest"
    for ours, theirs in zip(told_texts(told), by_the_pipeline(model, TEXTS), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    padding = told.tensors["prompt_embeds"][~told.tensors["mask"]]
    assert len(padding) > 0
    assert not padding.any()


@pytest.mark.parametrize(("scale", "grid"), [(1.0, "diffusers"), (4.0, "even")])
def test_pictures_are_those_of_the_pipeline(
    model: ModelSettings, scale: float, grid: Literal["even", "diffusers"]
) -> None:
    family, texts = load_family(model), TEXTS[:2]
    told, empty = encode_prompts(model, [*texts, family.unconditional]).rows([0, 1]), None
    if scale != 1.0:
        empty = encode_prompts(model, [*texts, family.unconditional]).rows([2])
    how = EvaluationSettings(steps=STEPS, sampler="euler", guidance_scale=scale, grid=grid)
    latents, pictures, _ = load_generator(model, None, "policy", 1).images(told, [1, 2], how, empty)
    pipeline, noise = pipeline_of(model), initial_noise([1, 2], latent_shape(model))
    inputs: dict[str, Any] = {
        "prompt": texts, "height": 16, "width": 16, "num_inference_steps": STEPS, **family.told_of_guidance(scale),
        "negative_prompt": [family.unconditional] * 2,
    }  # fmt: skip
    if grid == "even":
        pipeline.scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)
        inputs["sigmas"] = timesteps(STEPS).tolist()[:-1]
    inputs["latents"] = pack(noise.squeeze(2)) if "qwen" in model.name else noise
    theirs = pipeline(**copy.deepcopy(inputs), output_type="latent").images  # it writes into lists of texts
    theirs = unpack(theirs, 4, 4).unsqueeze(2) if "qwen" in model.name else theirs
    torch.testing.assert_close(latents, theirs, atol=2e-5, rtol=1e-3)
    shown = np.asarray(pipeline(**inputs, output_type="np").images) * 255
    assert pictures.shape == (2, 16, 16, 3)
    assert np.abs(shown - pictures).max() <= 1


def test_padding_makes_no_difference(model: ModelSettings) -> None:
    family, transformer = load_family(model), load_transformer(model)
    alone = encode_prompts(model, ["two"])
    padded = encode_prompts(model, ["two", "a much longer text"]).rows([0])
    assert alone.length < padded.length
    x, t = initial_noise([1], latent_shape(model)), torch.tensor([0.3])
    with torch.no_grad():
        ours, theirs = (family.velocity(transformer, x, t, told) for told in (alone, padded))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_latents_have_the_familys_shape_and_usual_adapters_reach_every_block(
    model: ModelSettings, tmp_path: Path
) -> None:
    family = load_family(model)
    assert latent_shape(model) == SHAPES[family.pipeline]
    assert latent_shape(model.model_copy(update={"image_size": None}))[-2:] == (128, 128)
    write_base_policy(tmp_path / "policy")
    adapters = attach_adapters(load_transformer(model), tmp_path / "policy", LoraSettings(rank=2), 0, family)
    names = " ".join(adapters.named_parameters())
    for block in ("transformer_blocks.1.attn.to_q", "transformer_blocks.1.txt_mlp.net.2") if "qwen" in model.name else (
        "layers.1.attention.to_out.0", "layers.1.feed_forward.w2", "context_refiner.0",
    ):  # fmt: skip
        assert block in names


def test_every_family_is_found_by_its_pipeline_and_others_are_refused() -> None:
    for name in BUILT_IN:
        assert find_family(name, ModelSettings(), "here").pipeline == name
    with pytest.raises(PolicyError, match="StableDiffusionPipeline, which is not supported") as caught:
        find_family("StableDiffusionPipeline", ModelSettings(), "here")
    assert "ZImagePipeline" in caught.value.remedy
