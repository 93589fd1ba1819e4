"""Loading parts of a Stable Diffusion 3 pipeline: folders without T5, folders that are no pipeline, missing GPUs."""

from __future__ import annotations

import gc
import shutil
import tracemalloc
from pathlib import Path

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from advantageflow.errors import PolicyError, SettingsError
from advantageflow.policy.generate import load_generator
from advantageflow.policy.loading import latent_shape, load_transformer, load_vae
from advantageflow.policy.sampling import noise_levels
from advantageflow.policy.text import encode_prompts
from advantageflow.settings import EvaluationSettings, ModelSettings
from advantageflow.shapes.architecture import TEXT_TOKENS, build_pipeline
from advantageflow.store.files import read_tensors, write_tensors


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("pipeline")
    build_pipeline().save_pretrained(folder)
    return folder


def test_parts_load_from_a_local_folder_frozen(whole: Path) -> None:
    model = ModelSettings(name=str(whole))
    assert latent_shape(model) == (8, 6, 6)
    for part in (load_transformer(model), load_vae(model)):
        assert not part.training
        assert not any(parameter.requires_grad for parameter in part.parameters())


def test_without_a_t5_encoder_its_tokens_are_zeros_as_in_diffusers(whole: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    pipeline = build_pipeline()
    pipeline.register_modules(text_encoder_3=None, tokenizer_3=None)
    pipeline.save_pretrained(tmp_path)
    told, told_without = (
        encode_prompts(ModelSettings(name=str(folder)), ["a circle", "two stars"]).tensors
        for folder in (whole, tmp_path)
    )
    with_t5, without = told["prompt_embeds"], told_without["prompt_embeds"]
    assert with_t5.shape == (2, 2 * TEXT_TOKENS, 128)
    torch.testing.assert_close(without[:, :TEXT_TOKENS], with_t5[:, :TEXT_TOKENS])
    assert without.shape == with_t5.shape
    assert not without[:, TEXT_TOKENS:].any()
    torch.testing.assert_close(told_without["pooled"], told["pooled"])


def test_images_may_be_smaller_than_the_models_own_but_not_larger(whole: Path) -> None:
    small, large = (ModelSettings(name=str(whole), image_size=size) for size in (32, 64))
    told = encode_prompts(small, ["a circle"])
    how = EvaluationSettings(steps=1, sampler="euler")
    latents, images, _ = load_generator(small, None, "policy", 1).images(told, [0], how)
    assert latents.shape == (1, 8, 4, 4)
    assert images.shape == (1, 32, 32, 3)
    with pytest.raises(SettingsError, match="no images of 64 pixels") as caught:
        latent_shape(large)
    assert "multiple of 16, at most 48" in caught.value.remedy


def test_the_grid_of_diffusers_shifts_stable_diffusion_3s_levels_twice(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "model")
    model, how = ModelSettings(name=str(tmp_path / "model")), EvaluationSettings(steps=10, grid="diffusers")
    FlowMatchEulerDiscreteScheduler(shift=3.0).save_pretrained(tmp_path / "model" / "scheduler")
    sigmas = noise_levels(model, how)
    assert len(sigmas) == 11
    assert sigmas[0] == 1
    assert sigmas[-2:].tolist() == pytest.approx([0.0089, 0], abs=1e-4)
    assert noise_levels(model, EvaluationSettings(steps=10, shift=3.0))[-2].item() == pytest.approx(0.25)
    (tmp_path / "model" / "scheduler" / "scheduler_config.json").write_text('{"_class_name": "DDIMScheduler"}')
    with pytest.raises(PolicyError, match="its scheduler is DDIMScheduler"):
        noise_levels(model, how)


def test_a_folder_that_holds_no_pipeline_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="model_index") as caught:
        load_transformer(ModelSettings(name=str(tmp_path)))
    assert caught.value.where == str(tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu_is_an_error_and_never_a_silent_cpu_run(whole: Path) -> None:
    with pytest.raises(PolicyError, match="GPU"):
        load_transformer(ModelSettings(name=str(whole), device="cuda"))


@pytest.mark.parametrize("what", ["tensors", "model"])
def test_nothing_is_kept_of_what_was_read_and_let_go(tmp_path: Path, what: str) -> None:
    write_tensors(tmp_path / "many.safetensors", {f"{number}": torch.ones(300) for number in range(300)})

    def read() -> None:
        read_tensors(tmp_path / "many.safetensors") if what == "tensors" else load_vae(ModelSettings())

    def kept() -> int:
        """Bytes, by what reads such files; what else a process keeps meanwhile is not asked about."""
        gc.collect()
        found = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/safetensors/*")])
        return sum(one.size for one in found.statistics("filename"))

    read()
    tracemalloc.start()
    try:
        for _ in range(4):
            read()
        before = kept()
        for _ in range(4):
            read()
        assert kept() - before < 25_000  # a mapped file keeps 56 bytes a tensor and reading
    finally:
        tracemalloc.stop()
