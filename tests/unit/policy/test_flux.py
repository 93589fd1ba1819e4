"""FLUX.1 through the family's interface: velocities, pictures and adapters are those of diffusers' own pipeline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from advantageflow.errors import SettingsError
from advantageflow.policy.adapters import attach_adapters
from advantageflow.policy.conditioning import Conditioning
from advantageflow.policy.families.flux import Flux
from advantageflow.policy.families.parts import pack, unpack
from advantageflow.policy.generate import load_generator
from advantageflow.policy.loading import latent_shape, load_family, load_transformer
from advantageflow.policy.sampling import initial_noise
from advantageflow.policy.text import encode_prompts
from advantageflow.prompts.initial_policy import write_base_policy
from advantageflow.settings import EvaluationSettings, LoraSettings, ModelSettings

SHAPE = (4, 4, 4)
STEPS = 3


@pytest.fixture(params=["dev", "schnell"])
def model(request: pytest.FixtureRequest) -> ModelSettings:
    settings: ModelSettings = request.getfixturevalue(request.param)
    return settings


def test_pictures_are_those_of_the_pipeline(model: ModelSettings) -> None:
    told = encode_prompts(model, ["a red star", "two"])
    how = EvaluationSettings(steps=STEPS, sampler="euler", grid="diffusers")
    latents, pictures, _ = load_generator(model, None, "policy", 1).images(told, [1, 2], how)
    pipeline = FluxPipeline.from_pretrained(model.name)
    pipeline.set_progress_bar_config(disable=True)
    inputs = {
        "prompt_embeds": told.tensors["prompt_embeds"], "pooled_prompt_embeds": told.tensors["pooled"],
        "height": 16, "width": 16,
        "latents": pack(initial_noise([1, 2], SHAPE)), "num_inference_steps": STEPS,
        **load_family(model).told_of_guidance(1.0),
    }  # fmt: skip
    theirs = pipeline(**inputs, output_type="latent").images
    torch.testing.assert_close(latents, unpack(theirs, 4, 4), atol=1e-5, rtol=1e-4)
    shown = np.asarray(pipeline(**inputs, output_type="np").images) * 255
    assert np.abs(shown - pictures).max() <= 1


def test_embedded_guidance_moves_the_distilled_model_alone(dev: ModelSettings, schnell: ModelSettings) -> None:
    def change(model: ModelSettings) -> float:
        transformer = load_transformer(model)
        x = initial_noise([1], SHAPE)
        told = Conditioning({"prompt_embeds": torch.ones(1, 3, 32), "pooled": torch.ones(1, 32)})
        inputs = (x, torch.tensor([0.5]), told)
        low, high = (Flux(guidance).velocity(transformer, *inputs) for guidance in (1.0, 6.0))
        return (high - low).abs().max().item()

    assert change(dev) > 1e-4
    assert change(schnell) == 0.0


def test_the_family_comes_from_the_model_and_its_size_from_the_settings(dev: ModelSettings) -> None:
    assert load_family(dev) == Flux(guidance=2.5)
    assert latent_shape(dev) == SHAPE
    assert latent_shape(dev.model_copy(update={"image_size": None})) == (4, 128, 128)
    with pytest.raises(SettingsError, match="no images of 20 pixels") as caught:
        latent_shape(dev.model_copy(update={"image_size": 20}))
    assert "multiple of 8" in caught.value.remedy


def test_usual_adapters_reach_both_kinds_of_blocks(dev: ModelSettings, tmp_path: Path) -> None:
    write_base_policy(tmp_path / "policy", {}, {})
    adapters = attach_adapters(
        load_transformer(dev), tmp_path / "policy", LoraSettings(rank=2), seed=0, family=load_family(dev)
    )
    names = list(adapters.named_parameters())
    for layer in ("transformer_blocks.0.attn.add_q_proj", "transformer_blocks.0.ff_context.net.2"):
        assert any(name.startswith(layer) for name in names)
    assert any(name.startswith("single_transformer_blocks.0.attn.to_q") for name in names)
    assert not any(name.startswith("proj_out") for name in names)


@given(rows=st.integers(1, 4), columns=st.integers(1, 4), channels=st.integers(1, 3))
def test_packing_is_undone_and_is_the_pipelines(rows: int, columns: int, channels: int) -> None:
    latents: Tensor = torch.randn(2, channels, 2 * rows, 2 * columns)
    packed = pack(latents)
    theirs = FluxPipeline._pack_latents(latents, 2, channels, 2 * rows, 2 * columns)
    assert torch.equal(packed, theirs)
    assert torch.equal(unpack(packed, 2 * rows, 2 * columns), latents)
