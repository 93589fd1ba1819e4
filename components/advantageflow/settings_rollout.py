"""Settings of how a round's rollouts are generated."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from advantageflow.settings_base import Settings
from advantageflow.settings_evaluation import GRID


class RolloutSettings(Settings):
    """How a round's rollouts are generated."""

    prompts_per_round: int = Field(64, ge=1, description="groups in a round")
    selection: Literal["balanced", "adaptive"] = Field(
        "balanced",
        description="'balanced': equal shares of all tasks; 'adaptive': tasks and prompts of mixed outcomes first",
    )
    task_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="adaptive selection: share of its equal part that a task keeps; at least a fifth",
    )
    group_size: int = Field(12, ge=2, description="rollouts of one prompt, normalised together")
    steps: int = Field(6, ge=1, le=1000, description="model evaluations per image")
    sampler: Literal["euler", "heun", "ab2", "sde", "cps"] = Field(
        "ab2", description="ODE solver, Flow-GRPO's SDE, or coefficients-preserving sampling"
    )
    noise_level: float = Field(
        0.7, ge=0, description="of samplers 'sde' (Flow-GRPO's a) and 'cps' (at most 1); 0 makes them the Euler ODE"
    )
    sde_window: int | None = Field(
        None,
        ge=1,
        description="how many steps of samplers 'sde' and 'cps', one after the other, are noisy and kept as "
        "trajectory; the others are Euler's (Flow-GRPO-Fast); null: all",
    )
    sde_window_range: tuple[int, int] | None = Field(
        None,
        strict=False,
        description="among which steps each round draws its window: the first, from 0, and the one after the last; "
        "null: all",
    )
    trajectories: bool = Field(False, description="keep each step's latent and log-probability (which flow_grpo needs)")
    grid: Literal["even", "diffusers"] = Field("even", description=GRID)
    shift: float = Field(1.0, gt=0, description="of an even grid: sigma' = s sigma / (1 + (s - 1) sigma)")
    guidance_scale: float = Field(1.0, ge=1.0, description="classifier-free guidance; 1 is none")
    batch_groups: int = Field(8, ge=1, description="groups in one forward pass; fixed: shards agree bit for bit")
    shards: int = Field(2, ge=1, le=64, description="tasks a round's rollouts are split over")
    threads: int = Field(1, ge=1, description="CPU threads of one rollout task")
    scored: bool = Field(
        False, description="on a cluster, score images in the task that makes them, beside it, not in one of their own"
    )

    @model_validator(mode="after")
    def _window_lies_in_the_steps(self) -> RolloutSettings:
        if self.sde_window is None and self.sde_window_range is not None:
            raise ValueError("sde_window_range is of a window: set sde_window, or leave the range away")
        first, past = self.window_range
        if self.sde_window is not None and not 0 <= first <= first + self.sde_window <= past <= self.steps:
            raise ValueError(f"sde_window {self.sde_window} does not fit into steps {first} to {past} of {self.steps}")
        if self.sampler == "cps" and self.trajectories and (self.sde_window or self.steps) == 1 and past == self.steps:
            raise ValueError("the last step of sampler cps has no noise to learn from, and no other is sure to be kept")
        return self

    @property
    def stochastic(self) -> bool:
        """Whether the sampler draws noise at its steps."""
        return self.sampler in ("sde", "cps")

    @property
    def window_range(self) -> tuple[int, int]:
        """The steps among which a window of noisy ones is drawn: the first, and the one after the last."""
        return self.sde_window_range or (0, self.steps)
