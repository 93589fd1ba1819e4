"""Typed, frozen settings of every stage; a preset is a YAML file of a RunSettings."""

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from annotated_types import Ge, Le, Lt
from pydantic import BeforeValidator, Field, SerializeAsAny, field_validator, model_validator

from advantageflow.errors import SettingsError
from advantageflow.objectives.base import Objective
from advantageflow.objectives.registry import make_objective
from advantageflow.problems import Problem, SectionError
from advantageflow.settings_base import Settings
from advantageflow.settings_stages import AlarmSettings as AlarmSettings
from advantageflow.settings_stages import EvaluationSettings as EvaluationSettings
from advantageflow.settings_stages import PromotionSettings
from advantageflow.settings_stages import RewardSettings as RewardSettings
from advantageflow.settings_stages import RewardTerm as RewardTerm
from advantageflow.settings_stages import RolloutSettings as RolloutSettings

Beta = Annotated[float, Ge(0), Lt(1)]


class ModelSettings(Settings):
    """The rectified-flow model being tuned."""

    name: str = Field(
        "shapes", description="'shapes' (embedded), a local diffusers folder, s3://bucket/prefix, or a hub id"
    )
    revision: str | None = Field(None, description="hub revision (commit, tag or branch)")
    family: str | None = Field(
        None, description="of a model that has none here: a plug-in's, or package.module:Class; null: its pipeline's"
    )
    device: Literal["cpu", "cuda"] = Field("cpu", description="where it runs; a missing GPU is an error")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="precision of the frozen base weights")
    compile: bool | None = Field(
        None, description="compile the transformer's blocks (needs a C compiler); null: on a GPU, not on the CPU"
    )
    max_sequence_length: int = Field(
        10, ge=1, le=1024, description="tokens per prompt of text encoders without a length of their own, as T5 or Qwen"
    )
    image_size: int | None = Field(
        None, ge=16, description="height and width of images in pixels; null: what the model is made for"
    )
    decode_batch: int | None = Field(
        None,
        ge=1,
        description="latents decoded to images at once; null: a whole batch, on the CPU in parts of about 32",
    )
    embedded_guidance: float = Field(
        3.5, ge=0, description="guidance that a distilled model (FLUX.1-dev) is told, in sampling and training alike"
    )

    @property
    def compiled(self) -> bool:
        """Whether the transformer's blocks are compiled."""
        return self.device == "cuda" if self.compile is None else self.compile


class PromptColumns(Settings):
    """What a file of prompts calls its fields, where it has other names for them."""

    text: str | None = Field(None, description="such as caption; null: text or prompt")
    split: str | None = Field(None, description="such as subset; null: split")
    task: str | None = Field(None, description="such as category; null: task or tag")
    spec: str | None = Field(None, description="such as metadata; null: spec")

    @property
    def renamed(self) -> dict[str, str]:
        """The file's name by ours, of those that differ."""
        return {name: value for name, value in self if value is not None}


class PromptSettings(Settings):
    """Which prompts are trained on and which are held out."""

    source: str = Field(
        "shapes",
        description="'shapes' (embedded), 'shapes-hard' (also trains on as many tasks beyond the embedded model), "
        "'geneval' or 'ocr' (generated), or a .txt / .jsonl / .csv / .tsv / .parquet file of prompts, local or "
        "s3://; or a folder of such, s3://bucket/prefix/, that grows",
    )
    columns: PromptColumns = Field(default_factory=lambda: PromptColumns())
    count: int = Field(5000, ge=1, le=100_000, description="training prompts that 'geneval' and 'ocr' generate")
    seed: int = Field(0, ge=0, lt=2**31, description="of generated training prompts; held-out ones are always the same")
    eval_prompts: int = Field(160, ge=1, description="held-out prompts used, balanced over tasks")
    replay_share: float | None = Field(
        None, ge=0, lt=1, description="share of training prompts that the registered policy it starts from knows; "
        "the others are new in the source; null: all of the source",
    )  # fmt: skip
    replay_fills: int | None = Field(None, ge=0, description="where both are fewer, more that it knows fill them up")


class LoraSettings(Settings):
    """The trained low-rank adapter (PEFT)."""

    rank: int = Field(16, ge=1)
    alpha: int = Field(16, ge=1)
    targets: tuple[str, ...] | None = Field(
        None, strict=False, min_length=1, description="linear layers that get an adapter; null: the family's usual ones"
    )


class TrainingSettings(Settings):
    """The objective and its optimiser."""

    objective: Annotated[SerializeAsAny[Objective], BeforeValidator(make_objective)] = Field(
        default_factory=lambda: make_objective({}),
        description="name of what is minimised (advantage_flow, diffusion_nft, awm, flow_grpo, or a class of your own "
        "as 'package.module:Class'), and its options",
    )
    advantage_scale: Literal["centred", "group", "global"] = Field(
        "centred",
        description="what rewards, less their group's mean, are divided by: the root mean square of all of the batch "
        "('centred'), the standard deviation of their 'group', or of all uncentred rewards of the batch ('global')",
    )
    advantage_clip: float = Field(1.0, gt=0, description="advantages are clipped at +-this, then divided by it")
    advantage_floor: float = Field(
        0.0, ge=0, description="added to what rewards are divided by: 1e-4 in code released for DiffusionNFT, Flow-GRPO"
    )
    gradient_steps: int = Field(4, ge=1, description="optimiser steps in a round, one for each minibatch")
    inner_epochs: int = Field(4, ge=1, description="how often each rollout is a sample in a round")
    sampling: Literal["uniform", "by_advantage"] = Field(
        "uniform",
        description="'by_advantage': rollouts of large |A| are drawn oftener (inner_epochs: the mean) and weigh less",
    )
    trained_share: float = Field(
        1.0, gt=0, le=1, description="share of each group that is trained on: its best and worst, of largest |A|"
    )
    microbatch: int = Field(96, ge=1, description="samples in one forward and backward pass")
    gradient_checkpointing: bool = Field(
        False, description="recompute activations in the backward pass: less memory, about a third more time"
    )
    learning_rate: float = Field(6e-3, gt=0)
    decay_rounds: Annotated[int, Ge(0)] | Literal["all"] = Field(
        0,
        description="the learning rate falls linearly, round by round, on the way to 0 after so many rounds; 'all': "
        "after the run's; 0: it is constant",
    )
    adam_betas: tuple[Beta, Beta] = Field((0.9, 0.99), strict=False)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    rollout_decay: Annotated[float, Ge(0), Le(1)] | Literal["nft_0", "nft_1", "nft_2"] = Field(
        0.9,
        description="eta: the rollout policy is a moving average of the trained one, which keeps this share of itself "
        "after each update and is sampled from in the next round; 0: the trained policy; or a schedule of "
        "DiffusionNFT, which is taken once a round",
    )
    sampled: Literal["average", "trained"] = Field(
        "average",
        description="which policy the next round samples from: the moving average; or the trained one, and the average "
        "is a third policy beside them (as in AWM)",
    )
    released: Literal["average", "trained"] = Field(
        "average",
        description="which policy a round leaves to be judged, used and registered: the moving average, or the trained "
        "one; the next round goes on training the trained one",
    )
    lora: LoraSettings = Field(default_factory=lambda: LoraSettings())
    threads: int = Field(2, ge=1, description="CPU threads of each process")
    processes: int = Field(1, ge=1, description="processes on each node that train together, one for each GPU")
    nodes: int = Field(1, ge=1, description="nodes; several train as a Kubeflow TrainJob")
    checkpoint_every: int = Field(0, ge=0, description="gradient steps between two checkpoints in store.url; 0: none")

    def of_a_run(self, rounds: int) -> Self:
        """The settings as the stages of a run of so many rounds get them: with a number for 'all' rounds of decay."""
        return self.model_copy(update={"decay_rounds": rounds}) if self.decay_rounds == "all" else self

    def rollouts_trained_on(self, group_size: int) -> int:
        """How many of a group's."""
        return max(1, round(self.trained_share * group_size))

    def learning_rate_in(self, round_index: int) -> float:
        """`learning_rate (1 - (round_index - 1) / decay_rounds)`: all of it in round 1, 1 / decay_rounds in the last.
        Raises SettingsError: the rounds of decay are 'all', or over before this round.
        """
        if self.decay_rounds == 0:
            return self.learning_rate
        if self.decay_rounds == "all" or round_index > self.decay_rounds:
            message = f"round {round_index} has no learning rate with decay_rounds {self.decay_rounds}"
            remedy = "give the number of rounds of the run, or 0 for a constant learning rate"
            raise SettingsError(message, where="training.decay_rounds", remedy=remedy)
        return self.learning_rate * (1 - (round_index - 1) / self.decay_rounds)

    @model_validator(mode="after")
    def _equal_minibatches(self) -> Self:
        big, small = max(self.gradient_steps, self.inner_epochs), min(self.gradient_steps, self.inner_epochs)
        if big % small:
            raise ValueError("gradient_steps and inner_epochs: one must be a multiple of the other")
        return self


class StoreSettings(Settings):
    """Where trainings keep what must outlive their task."""

    url: str | None = Field(
        None,
        description="s3://bucket/prefix, or a folder: where checkpoints are kept while a training goes on, and where "
        "its policy is published; null: the pipeline's own artifacts are all there is",
    )


class TrackingSettings(Settings):
    """Where MLflow records go."""

    experiment: str = "advantageflow"
    name: str = Field("", max_length=200, description="of the run there; made of model, reward and objective if empty")
    note: str = Field("", max_length=4000, description="first words of the run's description there, in Markdown")
    gpu_price: float | None = Field(
        None, ge=0, description="of an hour of one GPU, in any currency: reports then tell what a run cost"
    )
    registered_model: str | None = Field(
        None, description="of which the run's policy becomes a version; null: the preset's name; empty: of none"
    )

    @field_validator("name")
    @classmethod
    def _is_one_line(cls, name: str) -> str:
        if len(name.splitlines()) > 1 or "\t" in name:
            raise ValueError("a name is one line")
        return name


class RunSettings(Settings):
    """One pipeline run: the whole of what a preset file may say."""

    preset: str = "custom"
    pipeline: str = Field("online", description="which pipeline: a name, or where yours is, 'package.module:NAME'")
    seed: int = Field(0, ge=0, lt=2**31)
    rounds: int = Field(10, ge=1, le=10_000)
    init_policy: str | None = Field(
        None, description="policy or adapter to start from: a folder, s3:// or models:/ address; null: the base model"
    )
    model: ModelSettings = Field(default_factory=lambda: ModelSettings())
    prompts: PromptSettings = Field(default_factory=lambda: PromptSettings())
    rollout: RolloutSettings = Field(default_factory=lambda: RolloutSettings())
    reward: RewardSettings = Field(default_factory=lambda: RewardSettings())
    training: TrainingSettings = Field(default_factory=lambda: TrainingSettings())
    evaluation: EvaluationSettings = Field(default_factory=lambda: EvaluationSettings())
    store: StoreSettings = Field(default_factory=lambda: StoreSettings())
    tracking: TrackingSettings = Field(default_factory=lambda: TrackingSettings())
    promotion: PromotionSettings = Field(default_factory=lambda: PromotionSettings())

    @property
    def registered_model(self) -> str:
        """The registered model that the run's policy becomes a version of; empty: of none."""
        named = self.tracking.registered_model
        return self.preset if named is None else named

    @model_validator(mode="after")
    def _sections_fit_together(self) -> Self:
        if problems := [Problem(*misfit) for misfit in self._misfits()]:
            raise SectionError(problems)
        return self

    def _misfits(self) -> Iterator[tuple[str, str, str]]:
        """Setting, message and remedy of each that another section forbids."""
        decay, rollout, objective = self.training.decay_rounds, self.rollout, self.training.objective
        steps, epochs = self.training.gradient_steps, self.training.inner_epochs
        images = rollout.prompts_per_round * self.training.rollouts_trained_on(rollout.group_size)
        if images * epochs < steps:
            message = f"{steps} steps for {images} rollouts trained on in a round x {epochs} inner epochs"
            yield "training.gradient_steps", f"{message}: some have none", "lower it, or make more rollouts a round"
        if decay != "all" and 0 < decay < self.rounds:
            message = f"the learning rate is 0 after round {decay} of {self.rounds}"
            yield "training.decay_rounds", message, "set it to all, or to 0 for a constant one"
        if self.training.checkpoint_every and self.store.url is None:
            yield "training.checkpoint_every", "checkpoints are kept in a store", "set store.url"
        noisy = rollout.stochastic and rollout.trajectories and rollout.noise_level > 0
        if objective.needs.trajectories and not noisy:
            remedy = "set rollout.sampler to sde or cps, rollout.trajectories to true and rollout.noise_level above 0"
            yield "training.objective", f"{objective.name} learns from noisy trajectories", remedy
        if rollout.trajectories and not rollout.stochastic:
            message = "only samplers sde and cps have log-probabilities"
            yield "rollout.trajectories", message, "set rollout.sampler to sde or cps"
        if rollout.sde_window is not None and not rollout.stochastic:
            yield "rollout.sde_window", f"sampler {rollout.sampler} has no noise", "set rollout.sampler to sde or cps"
        if rollout.sampler == "cps" and rollout.noise_level > 1:
            yield "rollout.noise_level", "sampler cps puts back at most all noise", "set it to at most 1"
        (_, past), noisy_steps = rollout.window_range, rollout.sde_window or rollout.steps
        if objective.needs.trajectories and rollout.sampler == "cps" and noisy_steps == 1 and past == rollout.steps:
            message = "the last step of sampler cps has no noise, and there is no other to learn from"
            remedy = "raise rollout.steps or rollout.sde_window, or end rollout.sde_window_range before the last step"
            yield "rollout.sampler", message, remedy
        for name, section in (("rollout", rollout), ("evaluation", self.evaluation)):
            if section.grid == "diffusers" and section.shift != 1:
                yield f"{name}.shift", "the grid of diffusers has the model's own shift", f"set {name}.shift to 1"
        if rollout.trajectories and rollout.guidance_scale != 1.0:
            yield "rollout.trajectories", "log-probabilities are those without guidance", "set guidance_scale to 1"
        third = self.training.sampled == "trained"
        if third and (not isinstance(self.training.rollout_decay, float) or self.training.released == "trained"):
            remedy = "give training.rollout_decay a number, and set training.released to average, which keeps it"
            yield "training.sampled", "the average of its own needs a decay, and has to be kept", remedy
        if objective.needs.average and not (third and self.training.rollout_decay):
            remedy = "set training.sampled to trained, and training.rollout_decay above 0"
            yield "training.objective", f"{objective.name} is held to an average of its own, and there is none", remedy
        samples, held_out = self.evaluation.sample_prompts, self.prompts.eval_prompts
        if samples > held_out:
            message = f"pictures of {samples} held-out prompts are to be tracked, of {held_out} (prompts.eval_prompts)"
            yield "evaluation.sample_prompts", message, "lower it, or raise prompts.eval_prompts"
