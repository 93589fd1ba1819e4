"""The command that distils the embedded model: a model that the pipeline samples from in few steps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from advantageflow.errors import SettingsError
from advantageflow.policy.families.mean_flow import MeanFlow
from advantageflow.policy.generate import load_generator
from advantageflow.policy.loading import load_family
from advantageflow.policy.text import encode_prompts
from advantageflow.settings import EvaluationSettings, ModelSettings
from advantageflow_experiments.shapes.distil import DistilSettings, distil

TINY = DistilSettings(paths=8, levels=2, steps=2, batch=4, judged_images=6, threads=1)


def test_the_distilled_model_is_loaded_by_its_family_and_sampled_by_eulers_method(tmp_path: Path) -> None:
    told: list[str] = []
    distil(tmp_path / "model", TINY, told.append)
    assert [line.partition(":")[0] for line in told if " at " in line] == [
        f"{name} at {steps} steps" for name in ("embedded model", "mean flow") for steps in (1, 2, 4)
    ]
    model = ModelSettings(name=str(tmp_path / "model"))
    assert type(load_family(model)) is MeanFlow
    prompt, generator = encode_prompts(model, ["a circle"]), load_generator(model, None, "policy", 1)
    latents, pictures, _ = generator.images(prompt, [0], EvaluationSettings(steps=2, sampler="euler"))
    assert latents.isfinite().all()
    assert pictures.shape == (1, 48, 48, 3)
    plain = load_generator(ModelSettings(), None, "policy", 1)
    base, _, _ = plain.images(prompt, [0], EvaluationSettings(steps=2, sampler="euler"))
    assert not torch.allclose(latents, base, atol=1e-2), "it is told how long its steps are"
    with pytest.raises(SettingsError, match="ab2 does not fit a model of average velocities"):
        generator.images(prompt, [0], EvaluationSettings(steps=2))
