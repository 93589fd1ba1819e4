"""What a published budget costs in runs of a preset, each continued from the last one's policy."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from advantageflow.settings import RunSettings
from advantageflow_pipelines.configuration.counts import images_of_a_run
from advantageflow_pipelines.plan.published import PUBLISHED


def chain(settings: RunSettings, gpu_hours: float | None, artifacts: int) -> dict[str, Any] | None:
    """Runs, images, GPU-hours and bytes of the published budget of these settings' preset; None if there is none.

    Args:
        settings: of one run.
        gpu_hours: of one run.
        artifacts: bytes that one run keeps.
    """
    budget = PUBLISHED.get(settings.preset)
    if budget is None:
        return None
    runs = math.ceil(budget.total / images_of_a_run(settings))
    return {
        "published": {**asdict(budget), "total": budget.total},
        "runs": runs,
        "images": runs * images_of_a_run(settings),
        "gpu_hours": None if gpu_hours is None else runs * gpu_hours,
        "bytes": runs * artifacts,
    }
