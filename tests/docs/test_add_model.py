"""docs/add/model.md, followed: its family's pictures are the diffusers pipeline's, and a tiny model is trained."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import commands
import numpy as np
import pages
import pytest
import torch
from diffusers import AuraFlowPipeline, AuraFlowTransformer2DModel, FlowMatchEulerDiscreteScheduler
from PIL import Image
from tiny_parts import T5_TOKENS, autoencoder, t5_tokenizer
from transformers import UMT5Config, UMT5EncoderModel

from advantageflow.errors import PolicyError, SettingsError
from advantageflow.flow.samplers import timesteps
from advantageflow.policy.families import find_family
from advantageflow.policy.generate import load_generator
from advantageflow.policy.loading import latent_shape
from advantageflow.policy.sampling import initial_noise
from advantageflow.policy.text import encode_prompts
from advantageflow.settings import EvaluationSettings, ModelSettings

STEPS, WIDTH, GUIDANCE = 3, 32, 4.0
FAMILY = "my_family:AuraFlow"
NAMED = ("--set", f"model.family={FAMILY}")
advantageflow = partial(commands.advantageflow, longest=600)


def write_model(folder: Path) -> None:
    torch.manual_seed(0)
    tokenizer = t5_tokenizer()
    encoder = UMT5Config(vocab_size=len(tokenizer), d_model=WIDTH, d_kv=16, d_ff=WIDTH, num_layers=1, num_heads=2)
    AuraFlowPipeline(
        tokenizer=tokenizer,
        text_encoder=UMT5EncoderModel(encoder),
        vae=autoencoder(shift=None),
        transformer=AuraFlowTransformer2DModel(
            sample_size=4, num_mmdit_layers=1, num_single_dit_layers=1, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=WIDTH, caption_projection_dim=WIDTH, pos_embed_max_size=16,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
    ).save_pretrained(folder)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a person works: the page's file, and a model."""
    shutil.copy(pages.ROOT / "docs" / "examples" / "my_family.py", tmp_path)
    write_model(tmp_path / "auraflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def settings(**given: Any) -> ModelSettings:
    return ModelSettings(name="auraflow", max_sequence_length=T5_TOKENS, **{"family": FAMILY, **given})


def test_the_page_shows_the_file_that_is_tested() -> None:
    page = (pages.ROOT / "docs" / "add" / "model.md").read_text()
    assert '--8<-- "my_family.py"' in page
    assert " ".join(NAMED) in page


@pytest.mark.usefixtures("folder")
def test_its_pictures_are_those_of_the_pipeline() -> None:
    model, texts = settings(), ["a red star", "two"]
    told = encode_prompts(model, [*texts, ""])
    how = EvaluationSettings(steps=STEPS, sampler="euler", guidance_scale=GUIDANCE)
    latents, pictures, _ = load_generator(model, None, "policy", 1).images(
        told.rows([0, 1]), [1, 2], how, told.rows([2])
    )
    pipeline: Any = AuraFlowPipeline.from_pretrained("auraflow")
    pipeline.set_progress_bar_config(disable=True)
    inputs: dict[str, Any] = {
        "prompt": texts, "height": 16, "width": 16, "max_sequence_length": T5_TOKENS, "guidance_scale": GUIDANCE,
        "sigmas": timesteps(STEPS).tolist()[:-1], "num_inference_steps": STEPS,
        "latents": initial_noise([1, 2], latent_shape(model)),
    }  # fmt: skip
    torch.testing.assert_close(latents, pipeline(**inputs, output_type="latent").images, atol=2e-5, rtol=1e-3)
    shown = np.asarray(pipeline(**inputs, output_type="np").images) * 255
    assert np.abs(shown - pictures).max() <= 1


@pytest.mark.usefixtures("folder")
def test_a_family_that_cannot_be_is_refused() -> None:
    with pytest.raises(PolicyError, match="its pipeline is AuraFlowPipeline, which is not supported"):
        latent_shape(settings(family=None))
    with pytest.raises(PolicyError, match=r"model\.family names AuraFlow, which is of AuraFlowPipeline"):
        find_family("FluxPipeline", settings(), "here")
    with pytest.raises(SettingsError, match="is not a model family"):
        latent_shape(settings(family="my_family:Conditioning"))
    with pytest.raises(SettingsError, match="did you mean") as caught:
        latent_shape(settings(family="my_family:AuraFlwo"))
    assert caught.value.where == "model.family"


def test_what_a_model_says_of_itself_is_never_imported() -> None:
    with pytest.raises(PolicyError, match="not supported"):
        find_family("json:JSONDecoder", ModelSettings(), "here")


@pytest.mark.slow
def test_a_run_trains_it(folder: Path) -> None:
    model = (*NAMED, "--set", "model.name=auraflow", "--set", f"model.max_sequence_length={T5_TOKENS}")
    reward = ("--set", "reward.name=jpeg", "--set", "reward.column=compressibility")
    planned = advantageflow("plan", "--preset", "tiny", *model, *reward, cwd=folder)
    assert planned.status == 0, planned.output
    done = advantageflow("run", "--preset", "tiny", *model, *reward, "--rounds", "1", "--workdir", "run", cwd=folder)
    assert done.status == 0, done.output
    assert json.loads((folder / "run" / "summary.json").read_text())["final"]
    drawn = advantageflow("generate", "a red star", "--model", "run", "-o", "star.png", cwd=folder)
    assert drawn.status == 0, drawn.output
    assert Image.open(folder / "star.png").size == (16, 16)
