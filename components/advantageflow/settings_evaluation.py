"""Settings of how a policy is judged, when an alarm is raised, and when a retrained policy becomes champion."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from advantageflow.settings_base import Settings

GRID = (
    "noise levels that the sampler steps through: 'even' and shifted by `shift`, or those of the model's own pipeline "
    "in 'diffusers'"
)


class AlarmSettings(Settings):
    """How far the held-out images may move from the base policy's own, on equal prompts and noise, without an alarm.

    Fractions may rise by so many pixels in one; the others may rise or fall by so large a part of the base's value.
    None never raises an alarm. Training that works moves all of them a little (docs/results, "What a run gains").
    """

    dark_fraction_rise: float | None = Field(0.2, gt=0, le=1, description="of the share of dark pixels")
    saturated_fraction_rise: float | None = Field(0.2, gt=0, le=1, description="of the share of saturated pixels")
    colour_entropy_drop: float | None = Field(0.3, gt=0, le=1, description="part of the base's colour entropy lost")
    sharpness_drop: float | None = Field(0.4, gt=0, le=1, description="part of the base's sharpness lost: blur")
    sharpness_rise: float | None = Field(1.0, gt=0, description="part of the base's sharpness added: texture, noise")
    diversity_drop: float | None = Field(
        0.4, gt=0, le=1, description="part of the base's difference between images of one prompt lost: collapse"
    )
    velocity_norm_drop: float | None = Field(0.2, gt=0, le=1, description="part of the base's velocity norm lost")
    velocity_norm_rise: float | None = Field(0.2, gt=0, description="part of the base's velocity norm added")
    watched_drop: float | None = Field(
        0.5, gt=0, description="of a watched reward's mean, in standard deviations over the base's images"
    )


class EvaluationSettings(Settings):
    """How a policy is judged on held-out prompts."""

    every: int = Field(1, ge=1, description="rounds between evaluations; base and final are always evaluated")
    images: int = Field(1800, ge=1, description="images of the base and final evaluation")
    round_images: int = Field(360, ge=1, description="images of an evaluation between rounds")
    steps: int = Field(6, ge=1, le=1000)
    sampler: Literal["euler", "heun", "ab2"] = "ab2"
    grid: Literal["even", "diffusers"] = Field("even", description=GRID)
    shift: float = Field(1.0, gt=0, description="timestep shift, as in rollout.shift")
    guidance_scale: float = Field(1.0, ge=1.0)
    batch: int = Field(96, ge=1, description="images in one forward pass; fixed, so that results repeat bit for bit")
    sample_prompts: int = Field(12, ge=1, description="held-out prompts whose pictures are tracked every evaluation")
    threads: int = Field(2, ge=1)
    alarms: AlarmSettings = Field(default_factory=lambda: AlarmSettings())


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
