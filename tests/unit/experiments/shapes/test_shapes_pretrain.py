"""The command that makes the embedded model: a pipeline that loads, the same bytes for the same seed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch

from advantageflow.policy.generate import load_generator
from advantageflow.policy.text import encode_prompts
from advantageflow.settings import EvaluationSettings, ModelSettings
from advantageflow.shapes.detector import score
from advantageflow.shapes.prompts import all_prompts
from advantageflow.shapes.scenes import NO_NOISE, CaptionNoise
from advantageflow_experiments.shapes.pretrain import PretrainSettings, draw, pretrain

SHORT = PretrainSettings(threads=1).scaled(0.0001)


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*.safetensors"))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_equal_seeds_make_equal_weights_and_the_pipeline_draws(tmp_path: Path) -> None:
    for name in ("first", "second"):
        pretrain(tmp_path / name, SHORT, report=lambda line: None)
    assert len(digest(tmp_path / "first")) == 5
    assert digest(tmp_path / "first") == digest(tmp_path / "second")
    model = ModelSettings(name=str(tmp_path / "first"))
    told = encode_prompts(model, ["a circle"])
    how = EvaluationSettings(steps=2, sampler="euler")
    _, pictures, _ = load_generator(model, None, "policy", threads=1).images(told, [0], how)
    assert pictures.shape == (1, 48, 48, 3)


def obeyed(noise: CaptionNoise) -> float:
    """Share of drawn pictures that obey their captions."""
    from advantageflow.shapes.detector import detect

    specs = {prompt.text: prompt.spec for prompt in all_prompts()}
    images, texts = draw(400, noise, seed=5)
    pictures = images.permute(0, 2, 3, 1).contiguous().numpy()
    return float(np.mean([score(specs[t], detect(p)).strict for t, p in zip(texts, pictures, strict=True)]))


def test_pictures_obey_their_captions_but_for_the_noise() -> None:
    assert obeyed(NO_NOISE) == 1
    assert 0.3 < obeyed(CaptionNoise()) < 0.65
    assert torch.equal(draw(8, NO_NOISE, 1)[0], draw(8, NO_NOISE, 1)[0])
