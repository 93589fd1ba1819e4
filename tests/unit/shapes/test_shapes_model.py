"""The embedded model that is shipped: size, path, autoencoder, accuracy."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from advantageflow.policy.families.parts import decode
from advantageflow.policy.generate import load_generator
from advantageflow.policy.loading import EMBEDDED_MODEL, load_vae
from advantageflow.policy.text import encode_prompts
from advantageflow.records import derive_seed
from advantageflow.settings import EvaluationSettings, ModelSettings
from advantageflow.shapes.detector import detect, score
from advantageflow.shapes.prompts import TASKS, all_prompts
from advantageflow.shapes.scenes import CaptionNoise, render, scene_for

MODEL = ModelSettings()
IMAGES_PER_TASK = 160


def test_model_is_at_most_8_megabytes_of_safetensors_and_json() -> None:
    files = [path for path in EMBEDDED_MODEL.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 8_000_000
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".py"}


def test_model_names_no_folder_of_the_machine_that_made_it() -> None:
    for path in EMBEDDED_MODEL.rglob("*.json"):
        assert "_name_or_path" not in path.read_text(), path


def test_it_is_a_whole_stable_diffusion_3_pipeline() -> None:
    from diffusers import StableDiffusion3Pipeline

    pipeline = StableDiffusion3Pipeline.from_pretrained(EMBEDDED_MODEL, dtype=torch.float32)
    assert pipeline.text_encoder_3 is not None
    picture = pipeline(
        "a red circle left of a blue star",
        num_inference_steps=4,
        guidance_scale=3.0,
        max_sequence_length=MODEL.max_sequence_length,
        generator=torch.Generator().manual_seed(0),
    ).images[0]
    assert picture.size == (48, 48)
    assert detect(np.asarray(picture))


def test_stage_embeddings_are_those_of_the_pipeline() -> None:
    from diffusers import StableDiffusion3Pipeline

    pipeline = StableDiffusion3Pipeline.from_pretrained(EMBEDDED_MODEL, dtype=torch.float32)
    with torch.inference_mode():
        embeds, _, pooled, _ = pipeline.encode_prompt(
            "two stars", None, None, do_classifier_free_guidance=False, max_sequence_length=MODEL.max_sequence_length
        )
    ours = encode_prompts(MODEL, ["two stars", "a ring"]).rows([0]).tensors
    torch.testing.assert_close(ours, {"prompt_embeds": embeds, "pooled": pooled})


def test_detector_is_right_after_a_round_trip_through_the_autoencoder(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(11)
    prompts = all_prompts()
    scenes = [scene_for(prompts[rng.integers(len(prompts))].spec, rng, CaptionNoise()) for _ in range(1000)]
    vae = load_vae(MODEL)
    pictures = torch.from_numpy(np.stack([render(scene) for scene in scenes])).permute(0, 3, 1, 2)
    right = 0
    with torch.inference_mode():
        for start in range(0, len(scenes), 100):
            latents = vae.encode(pictures[start : start + 100].float() / 127.5 - 1).latent_dist.mean
            scaled = (latents - vae.config.shift_factor) * vae.config.scaling_factor
            for scene, image in zip(scenes[start : start + 100], decode(vae, scaled), strict=True):
                truth = Counter((o.shape, o.color) for o in scene.objects)
                right += truth == Counter((d.shape, d.color) for d in detect(image))
    with capsys.disabled():
        print(f"\nautoencoder round trip: {right} of {len(scenes)} scenes right ({right / len(scenes):.2%})")
    assert right / len(scenes) >= 0.97


def test_unguided_accuracy_leaves_room_to_learn(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = []
    for task in TASKS:
        held_out = [p for p in all_prompts() if p.split == "eval" and p.task == task]
        chosen += [(held_out[k % len(held_out)], k) for k in range(IMAGES_PER_TASK)]
    told = encode_prompts(MODEL, [prompt.text for prompt, _ in chosen])
    generator = load_generator(MODEL, None, "policy", threads=2)
    strict: dict[str, list[float]] = {task: [] for task in TASKS}
    for start in range(0, len(chosen), 96):
        batch = chosen[start : start + 96]
        rows = slice(start, start + len(batch))
        seeds = [derive_seed("accuracy", p.prompt_id, k) for p, k in batch]
        _, pictures, _ = generator.images(told.rows(rows), seeds, EvaluationSettings())
        for (prompt, _), picture in zip(batch, pictures, strict=True):
            strict[prompt.task].append(score(prompt.spec, detect(picture)).strict)
    by_task = {task: float(np.mean(values)) for task, values in strict.items()}
    overall = float(np.mean(list(by_task.values())))
    with capsys.disabled():
        print(f"\nembedded model: strict {overall:.3f}, " + ", ".join(f"{t} {v:.2f}" for t, v in by_task.items()))
    assert 0.25 <= overall <= 0.50
    assert min(by_task.values()) > 0.05
