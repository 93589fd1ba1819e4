"""Settings of how rollouts are generated and scored, and how a policy is judged, watched and promoted."""

from typing import Any, Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from advantageflow.settings_base import Settings

_MOST_GRADIENTS = 10  # terms whose gradients are weighed: `flow.simplex` looks at all of their subsets
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


class RolloutSettings(Settings):
    """How a round's rollouts are generated."""

    prompts_per_round: int = Field(64, ge=1, description="groups in a round")
    selection: Literal["balanced", "adaptive"] = Field(
        "balanced",
        description="'balanced': equal shares of all tasks; 'adaptive': tasks and prompts of mixed outcomes first",
    )
    task_share: float = Field(
        0.0, ge=0, le=1, description="adaptive selection: share of its equal part that a task keeps; at least a fifth"
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
    def _window_lies_in_the_steps(self) -> Self:
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


class RewardTerm(Settings):
    """One of the things that training maximises."""

    name: str = Field("shapes", description="a registered reward (see `advantageflow rewards list`)")
    column: str = Field(
        "soft", description="the reward's column that training maximises; of 'module:function' it is called so too"
    )
    weight: float = Field(1.0, gt=0, description="of this term in the sum")
    minimum: float | None = Field(None, description="worst acceptable value; images beyond it rank below all others")
    options: dict[str, JsonValue] = Field(
        default_factory=dict, description="what the reward's class is made with, such as {device: cuda}"
    )

    @model_validator(mode="before")
    @classmethod
    def _column_of_a_function(cls, values: Any) -> Any:
        function = function_in(values.get("name")) if isinstance(values, dict) and "column" not in values else None
        return {**values, "column": function} if function else values


def function_in(name: Any) -> str | None:
    """The function that a reward's name is the path of, by Python's style in names: 'module:score'; else None."""
    function = name.rpartition(":")[2].rpartition(".")[2] if isinstance(name, str) and ":" in name else ""
    return function if function[:1].islower() else None


class RewardSettings(RewardTerm):
    """What rollouts are scored by: one reward, or several at once."""

    others: tuple[RewardTerm, ...] = Field((), strict=False, description="further terms, beside the first")
    combine: Literal["sum", "normalised_sum", "gradient_aligned", "minimum_norm"] = Field(
        "normalised_sum",
        description="add the weighted values, or (GDPO) their group-normalised advantages, whatever their scales; or "
        "these with weights that follow the rewards' gradients: further terms count as far as they agree with the "
        "first (gradient_aligned), or no term is worked against (minimum_norm)",
    )
    timeout: float = Field(
        900.0, gt=0, description="seconds that a reward of one's own may take for a batch of images, loading included"
    )
    memory_gb: float = Field(
        32.0, gt=0, description="memory that its process may take, at most four fifths of what is free as it starts"
    )
    on_error: Literal["fail", "drop"] = Field(
        "fail", description="'drop': an image that a reward cannot score is left out, with an alarm; never a score of 0"
    )
    most_dropped: float = Field(0.05, gt=0, le=0.5, description="share of a task's images that may be left out")
    golden: str | None = Field(
        None, description="file of scores that `advantageflow rewards record` wrote; the run stops if they have changed"
    )
    watched: tuple[RewardTerm, ...] = Field(
        (),
        strict=False,
        description="rewards that evaluations only watch, to tell whether training games the others (no weight); "
        "a minimum is the worst mean over held-out images without an alarm",
    )

    @field_validator("watched")
    @classmethod
    def _watched_without_weight(cls, watched: tuple[RewardTerm, ...]) -> tuple[RewardTerm, ...]:
        for term in watched:
            if term.weight != 1.0:
                raise ValueError(f"'{term.name}' is only watched, so it has no weight: leave {term.weight:g} away")
        return watched

    @model_validator(mode="after")
    def _few_gradients(self) -> Self:
        count = 1 + len(self.others)
        if self.combine in ("gradient_aligned", "minimum_norm") and count > _MOST_GRADIENTS:
            raise ValueError(f"combine '{self.combine}' weighs at most {_MOST_GRADIENTS} terms, not {count}")
        return self

    @property
    def terms(self) -> tuple[RewardTerm, ...]:
        """All terms, the first one included."""
        first = RewardTerm(**{name: getattr(self, name) for name in RewardTerm.model_fields})
        return (first, *self.others)
