"""The embedded model's architecture with random weights, as a local diffusers folder."""

from __future__ import annotations

import pytest
import torch

from advantageflow.settings import ModelSettings
from advantageflow.shapes.architecture import build_pipeline


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelSettings:
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    build_pipeline().save_pretrained(folder)
    return ModelSettings(name=str(folder))
