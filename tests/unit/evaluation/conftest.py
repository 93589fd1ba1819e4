"""Reports with drawn pictures, and the embedded architecture with random weights, on disk."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from evaluated import SETTINGS, held_out, write_world
from PIL import Image, ImageDraw

from advantageflow.evaluation.pictures import Sample
from advantageflow.evaluation.report import write_report
from advantageflow.evaluation.stage import run
from advantageflow.evaluation.statistics import Outcome
from advantageflow.records import Prompt
from advantageflow.settings import ModelSettings, RewardSettings

TEXTS = ("a red circle", "a blue star and a green square", "four yellow triangles", "a square left of a star")


def draw(seed: int) -> Image.Image:
    """A 48 x 48 picture of a few shapes."""
    choose = random.Random(seed)
    picture = Image.new("RGB", (48, 48), "white")
    for _ in range(3):
        x, y = choose.randrange(32), choose.randrange(32)
        ImageDraw.Draw(picture).ellipse([x, y, x + 12, y + 12], fill=choose.choice(["red", "blue", "green"]))
    return picture


@pytest.fixture
def make_report(tmp_path: Path) -> Callable[..., Path]:
    """Writes a report of four samples: make_report('before', [True, False, None, True])."""

    def make(name: str, correct: list[bool | None], first_seed: int = 0) -> Path:
        samples = [
            (Sample(f"id{k}", text, "counting", first_seed + k, 0.25 * k, right), draw(first_seed + k))
            for k, (text, right) in enumerate(zip(TEXTS, correct, strict=True))
        ]
        outcomes = [
            Outcome(f"id{k}", "counting", 0, first_seed + k, float(bool(r)), 0.5) for k, r in enumerate(correct)
        ]
        write_report(tmp_path / name, {"round": 0, "strict": 0.5}, outcomes, samples)
        return tmp_path / name

    return make


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelSettings:
    """The embedded model's transformer and autoencoder, untrained; no text encoder could be loaded."""
    from advantageflow.shapes.architecture import build_transformer, build_vae

    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    build_transformer(width=32, layers=1).save_pretrained(folder / "transformer")
    build_vae().save_pretrained(folder / "vae")
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusion3Pipeline"}')
    return ModelSettings(name=str(folder))


@pytest.fixture
def evaluate(tmp_path: Path, model: ModelSettings) -> Callable[..., Path]:
    write_world(tmp_path, [Prompt("a red star", "train", "colors"), *held_out(2)])

    def evaluate(name: str, images: int = 20, **changes: Any) -> Path:
        arguments = {
            "settings": SETTINGS, "model": model, "reward": RewardSettings(), "seed": 0, "round_index": 0,
            "images": images, "prompts": tmp_path / "prompts",
            "conditioning": tmp_path / "conditioning", "policy": tmp_path / "policy", "report_out": tmp_path / name,
        }  # fmt: skip
        run(**{**arguments, **changes})
        return tmp_path / name

    return evaluate
