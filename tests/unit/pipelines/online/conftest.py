"""The compiled online pipeline."""

from __future__ import annotations

from typing import Any

import pytest
from online_ir import compiled

from advantageflow_pipelines.pipelines.online.definition import ONLINE


@pytest.fixture(scope="session")
def spec(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return compiled(tmp_path_factory.mktemp("ir"), images=dict.fromkeys(ONLINE.stage_names, "registry.example/stage:1"))
