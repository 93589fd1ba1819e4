"""Exported policies: diffusers loads the folder and paints as this package does; the card says what is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from diffusers import DiffusionPipeline, StableDiffusion3Pipeline
from peft import PeftModel

from advantageflow.errors import PolicyError, StoreError
from advantageflow.policy.adapters import attach_adapters
from advantageflow.policy.conditioning import Conditioning
from advantageflow.policy.families.stable_diffusion_3 import StableDiffusion3
from advantageflow.policy.fingerprint import weights_sha256
from advantageflow.policy.foreign import read_foreign
from advantageflow.policy.generate import load_generator
from advantageflow.policy.loading import load_transformer
from advantageflow.policy.sampling import initial_noise
from advantageflow.prompts.initial_policy import write_base_policy
from advantageflow.settings import EvaluationSettings, LoraSettings, ModelSettings
from advantageflow.shapes.architecture import build_pipeline
from advantageflow.store.files import publish, read_json
from advantageflow.store.policies import PolicyState
from advantageflow_pipelines.local.export import call_in_python, export_policy
from advantageflow_pipelines.local.policies import find_policy

CARD = "---\nlicense: other\nlicense_name: mine\nlicense_link: https://example.org\n---\n\n# Base\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelSettings:
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    build_pipeline().save_pretrained(folder)
    (folder / "README.md").write_text(CARD)
    (folder / "LICENSE.md").write_text("do no harm")
    return ModelSettings(name=str(folder))


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory, model: ModelSettings) -> Path:
    folder = tmp_path_factory.mktemp("policies")
    write_base_policy(folder / "base")
    transformer = load_transformer(model)
    adapters = attach_adapters(transformer, folder / "base", LoraSettings(rank=4, alpha=8), 0, StableDiffusion3())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in adapters.parameters():
            parameter.normal_(std=0.1, generator=generator)
    state = PolicyState(
        round=3, step=12, policy_sha256=None, base_sha256=weights_sha256(transformer),
        settings={"model": model.model_dump(mode="json")}, provenance={"seed": 5},
    )  # fmt: skip
    with publish(folder / "trained") as partial:
        adapters.save(partial, state, model)
    return folder / "trained"


def paint(pipeline: DiffusionPipeline) -> torch.Tensor:
    pipeline.set_progress_bar_config(disable=True)
    embeds = {"prompt_embeds": torch.ones(1, 20, 128), "pooled_prompt_embeds": torch.ones(1, 128)}
    made = pipeline(
        **embeds, latents=initial_noise([1], (8, 6, 6)), sigmas=[1.0, 0.5], guidance_scale=1.0, output_type="latent"
    )
    return torch.as_tensor(made.images)


def ours(model: ModelSettings, policy: Path | None) -> torch.Tensor:
    generator = load_generator(model, policy, "policy", 1)
    told = Conditioning({"prompt_embeds": torch.ones(1, 20, 128), "pooled": torch.ones(1, 128)})
    return generator.images(told, [1], EvaluationSettings(steps=2, sampler="euler"))[0]


def test_an_adapter_and_a_fused_model_paint_what_the_policy_paints(
    model: ModelSettings, policy: Path, tmp_path: Path
) -> None:
    for name, fused in (("adapter", False), ("fused", True)):
        export_policy(find_policy(str(policy)), tmp_path / name, fused=fused)
    adapter, peft = (StableDiffusion3Pipeline.from_pretrained(model.name) for _ in range(2))
    adapter.load_lora_weights(tmp_path / "adapter")
    peft.transformer = PeftModel.from_pretrained(peft.transformer, tmp_path / "adapter")
    fused = DiffusionPipeline.from_pretrained(tmp_path / "fused")
    expected = ours(model, policy)
    assert (expected - ours(model, None)).abs().max() > 1e-2
    for pipeline in (adapter, peft, fused):
        torch.testing.assert_close(paint(pipeline), expected, atol=1e-5, rtol=1e-4)
    assert not list((tmp_path / "fused").rglob("*adapter*"))
    assert "lora" not in (tmp_path / "fused" / "transformer" / "config.json").read_text()
    again = read_foreign(tmp_path / "adapter" / "adapter_model.safetensors", model)
    assert (again.lora.rank, again.lora.alpha, again.base) == (4, 8, model.name)


def test_the_card_has_the_bases_licence_and_where_the_policy_comes_from(
    policy: Path, tmp_path: Path, advantageflow: Callable[..., tuple[int, str, str]]
) -> None:
    status, out, _ = advantageflow("export", str(policy), "-o", str(tmp_path / "out"))
    assert (status, "an adapter for diffusers and PEFT" in out) == (0, True)
    _, front, text = (tmp_path / "out" / "README.md").read_text().split("---\n", 2)
    told = yaml.safe_load(front)
    assert (told["license"], told["license_name"], told["library_name"]) == ("other", "mine", "diffusers")
    assert "base_model" not in told  # a folder of this machine is not a model of the hub
    sha256 = find_policy(str(policy)).path / "state.json"
    assert read_json(sha256)["policy_sha256"] in text
    assert "No evaluation is recorded" in text
    assert (tmp_path / "out" / "LICENSE.md").read_text() == "do no harm"
    assert read_json(tmp_path / "out" / "provenance.json")["policy"]["provenance"]["seed"] == 5


@pytest.mark.parametrize(
    ("pipeline", "told"),
    [
        ("StableDiffusion3Pipeline", "guidance_scale=4.0, max"),
        ("FluxPipeline", 'guidance_scale=3.5, true_cfg_scale=4.0, negative_prompt="", max'),
        ("QwenImagePipeline", 'true_cfg_scale=4.0, negative_prompt=" ", max'),
        ("ZImagePipeline", "guidance_scale=3.0, max"),
    ],
)
def test_the_card_calls_guidance_as_the_base_s_pipeline_does(pipeline: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(f'{{"_class_name": "{pipeline}"}}')
    called = call_in_python(ModelSettings(name=str(tmp_path)), EvaluationSettings(guidance_scale=4), [])
    assert told in called
    assert "sigmas=[k / 6 for k in range(6, 0, -1)]" in called


def test_a_folder_with_something_in_it_and_a_base_model_are_refused(policy: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(StoreError, match="not an empty folder"):
        export_policy(find_policy(str(policy)), tmp_path, fused=False)
    with pytest.raises(PolicyError, match="base model itself"):
        export_policy(find_policy(str(policy.parent / "base")), tmp_path / "out", fused=False)
    assert not (tmp_path / "out").exists()
