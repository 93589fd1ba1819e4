"""Typed, frozen settings of every stage; a preset is a YAML file of a RunSettings."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Settings(BaseModel):
    """Base of all settings: immutable, strict about types, unknown keys rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ModelSettings(Settings):
    """The rectified-flow model being tuned."""

    name: str = Field("shapes", description="'shapes' (embedded), a local diffusers folder, or a hub id")
    revision: str | None = Field(None, description="hub revision (commit, tag or branch)")
    device: Literal["cpu", "cuda"] = Field("cpu", description="where it runs; a missing GPU is an error")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="precision of the frozen base weights")
    max_sequence_length: int = Field(10, ge=1, le=512, description="T5 tokens per prompt")


class PromptSettings(Settings):
    """Which prompts are trained on and which are held out."""

    source: str = Field("shapes", description="'shapes' (embedded), or a .jsonl / .parquet file of prompts")
    eval_prompts: int = Field(240, ge=1, description="held-out prompts used, balanced over tasks")


class RolloutSettings(Settings):
    """How a round's rollouts are generated."""

    prompts_per_round: int = Field(64, ge=1, description="groups in a round")
    group_size: int = Field(12, ge=2, description="rollouts of one prompt, normalised together")
    steps: int = Field(6, ge=1, le=1000, description="model evaluations per image")
    sampler: Literal["euler", "heun", "ab2"] = Field("ab2", description="ODE solver")
    shift: float = Field(1.0, gt=0, description="timestep shift: sigma' = s sigma / (1 + (s - 1) sigma)")
    guidance_scale: float = Field(1.0, ge=1.0, description="classifier-free guidance; 1 is none")
    batch_groups: int = Field(8, ge=1, description="groups in one forward pass; fixed: shards agree bit for bit")
    shards: int = Field(2, ge=1, le=64, description="tasks a round's rollouts are split over")
    threads: int = Field(1, ge=1, description="CPU threads of one rollout task")


class RewardSettings(Settings):
    """What rollouts are scored by."""

    name: str = Field("shapes", description="a registered reward (see `advantageflow rewards list`)")
    column: str = Field("soft", description="the reward's column that training maximises")


class LoraSettings(Settings):
    """The trained low-rank adapter (PEFT)."""

    rank: int = Field(16, ge=1)
    alpha: int = Field(16, ge=1)
    targets: tuple[str, ...] = Field(
        ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out",
         "ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2"),
        strict=False, min_length=1, description="names of the linear layers that get an adapter",
    )  # fmt: skip


class TrainingSettings(Settings):
    """The objective and its optimiser."""

    algorithm: Literal["advantage_flow"] = "advantage_flow"
    lam: float = Field(1.0, ge=0, description="rollout policy regularisation; convex for every sample when >= 1")
    advantage_scale: Literal["group", "global"] = Field("group", description="standard deviation over group or batch")
    advantage_clip: float = Field(2.0, gt=0, description="advantages are clipped at +-this, then divided by it")
    normalise_error: bool = Field(True, description="divide each squared error by its detached mean absolute error")
    gradient_steps: int = Field(4, ge=1, description="optimiser steps in a round, each over one share of the data")
    passes: int = Field(4, ge=1, description="how often each rollout is used in a round")
    timestep_sampling: Literal["uniform", "stratified", "logit_normal"] = "stratified"
    microbatch: int = Field(96, ge=1, description="samples in one forward and backward pass")
    learning_rate: float = Field(6e-3, gt=0)
    adam_betas: tuple[float, float] = Field((0.9, 0.99), strict=False)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    rollout_decay: float = Field(0.0, ge=0, le=1, description="eta: share of the old rollout policy kept after a round")
    lora: LoraSettings = Field(default_factory=lambda: LoraSettings())
    threads: int = Field(2, ge=1)

    @model_validator(mode="after")
    def _whole_shares(self) -> TrainingSettings:
        big, small = max(self.gradient_steps, self.passes), min(self.gradient_steps, self.passes)
        if big % small:
            raise ValueError("gradient_steps and passes: one must be a multiple of the other")
        return self


class EvaluationSettings(Settings):
    """How a policy is judged on held-out prompts."""

    every: int = Field(1, ge=1, description="rounds between evaluations; base and final are always evaluated")
    images: int = Field(1800, ge=1, description="images of the base and final evaluation")
    round_images: int = Field(360, ge=1, description="images of an evaluation between rounds")
    steps: int = Field(6, ge=1, le=1000)
    sampler: Literal["euler", "heun", "ab2"] = "ab2"
    shift: float = Field(1.0, gt=0, description="timestep shift, as in rollout.shift")
    guidance_scale: float = Field(1.0, ge=1.0)
    batch: int = Field(96, ge=1, description="images in one forward pass; fixed, so that results repeat bit for bit")
    sample_prompts: int = Field(12, ge=1, description="held-out prompts whose pictures are tracked every evaluation")
    threads: int = Field(2, ge=1)


class TrackingSettings(Settings):
    """Where MLflow records go."""

    experiment: str = "advantageflow"


class RunSettings(Settings):
    """One pipeline run: the whole of what a preset file may say."""

    preset: str = "custom"
    seed: int = Field(0, ge=0, lt=2**31)
    rounds: int = Field(10, ge=1, le=1000)
    init_policy: str | None = Field(None, description="policy folder to continue from; none starts at the base model")
    model: ModelSettings = Field(default_factory=lambda: ModelSettings())
    prompts: PromptSettings = Field(default_factory=lambda: PromptSettings())
    rollout: RolloutSettings = Field(default_factory=lambda: RolloutSettings())
    reward: RewardSettings = Field(default_factory=lambda: RewardSettings())
    training: TrainingSettings = Field(default_factory=lambda: TrainingSettings())
    evaluation: EvaluationSettings = Field(default_factory=lambda: EvaluationSettings())
    tracking: TrackingSettings = Field(default_factory=lambda: TrackingSettings())
