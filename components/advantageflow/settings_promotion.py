"""Settings of the gate that a retrained policy passes to become champion."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from advantageflow.settings_base import Settings


class PromotionSettings(Settings):
    """When a candidate replaces the champion; both are judged on equal held-out prompts and noise."""

    measure: Literal["strict", "soft"] = Field("strict", description="what must improve: the mean of the task means")
    seeds: int = Field(2, ge=2, le=16, description="evaluation seeds on each of which it must improve")
    confidence: float = Field(
        0.95, gt=0.5, lt=1, description="one-sided, that the paired difference is positive, on each seed"
    )
    task_drop: float = Field(0.05, ge=0, description="most that a task's mean over the seeds may fall")
    watched_must_hold: bool = Field(
        True, description="keep a candidate that raises an alarm, or on which a watched reward falls beyond doubt"
    )
