"""What an objective is: options that settings name, a loss, and what it needs."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from advantageflow.objectives.batches import LossAndMetrics as LossAndMetrics
from advantageflow.objectives.batches import TransitionBatch, VelocityBatch
from advantageflow.settings_base import Settings

WATCHED = 8  # of samples whose loss does not contain v_roll, each so-many-th tells how far the policy is from it


@dataclass(frozen=True)
class Needs:
    """What has to be there for a loss to be computed.

    Attributes:
        rollout: the samples on which the loss contains v_roll. On others it is v_theta instead, and its evaluation is
            saved: 'bad' ones are those of A < 0.
        reference: whether the loss contains v_ref, whatever reference_weight.
        average: whether it contains v_avg, the velocity of a moving average that is not what generated the rollouts.
        trajectories: whether it is of the steps of stored trajectories, which samplers 'sde' and 'cps' leave, and not
            of rollouts noised to times t.
    """

    rollout: Literal["all", "bad", "none"] = "all"
    reference: bool = False
    average: bool = False
    trajectories: bool = False


class Objective(Settings, ABC):
    """What training minimises: the options of `training.objective`, and a loss that reads them.

    An objective is a subclass of VelocityObjective or TransitionObjective. Its options are its fields. It is chosen by
    its name in the registry, by an entry point of the group 'advantageflow.objectives', or as 'package.module:Class'.
    """

    name: str = Field("", description="what settings call it: a registered name, or 'package.module:Class'")
    reference_weight: float = Field(
        0.0, ge=0, description="of the KL term that holds the policy to the base model; 0 saves the base's evaluation"
    )

    @model_validator(mode="before")
    @classmethod
    def _named_by_its_path(cls, values: Any) -> Any:
        """One made in Python, without a name of its own, is called by its path."""
        if isinstance(values, dict) and "name" not in values and not cls.model_fields["name"].default:
            return {**values, "name": f"{cls.__module__}:{cls.__qualname__}"}
        return values

    @model_validator(mode="after")
    def _needs_what_it_judges(self) -> Self:
        if self.needs.trajectories != isinstance(self, TransitionObjective):
            raise ValueError("the needs of a TransitionObjective say trajectories=True, those of no other objective do")
        return self

    @model_serializer(mode="wrap")
    def _with_its_name(self, options: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Also where defaults are left out: without its name an objective would be read back as the default one."""
        return {"name": self.name, **options(self)}

    @property
    def needs(self) -> Needs:
        """What has to be there for the loss, with these options."""
        return Needs()

    @property
    def reads_reference(self) -> bool:
        """Whether the base model has to be evaluated."""
        return self.reference_weight > 0 or self.needs.reference

    @property
    def steadier(self) -> str:
        """What to do when training diverges, but for lowering the learning rate; empty: nothing else."""
        return ""

    @abstractmethod
    def loss(self, batch: Any) -> LossAndMetrics:
        """The loss of a batch, a mean over its samples.

        Returns:
            The loss, and its parts and whatever else is worth a curve, means over the batch without gradient; 'loss'
            and 'advantage_loss' among them. `loss_and_metrics` makes both. Training adds reference_weight times the
            batch's divergence, unless a part called 'reference' says that the loss has it, and norm_weight times its
            norm_excess.
        """


class VelocityObjective(Objective):
    """An objective of the forward process: it judges velocities at rollouts noised to random times."""

    timestep_sampling: Literal["uniform", "stratified", "logit_normal", "sampler"] = Field(
        "stratified",
        description="how times t in [0, 1] are drawn; 'sampler': of the noise levels at which rollouts were sampled",
    )
    timestep_fraction: float = Field(
        1.0, gt=0, le=1, description="share of the times, or of the sampler's steps, that is used, from the noise"
    )
    timestep_shift: float = Field(
        1.0, gt=0, description="of times, as rollout.shift: above 1 draws more of them near the noise; not of 'sampler'"
    )
    norm_weight: float = Field(
        0.0,
        ge=0,
        description="of the penalty on velocities whose norm exceeds the base model's on the same sample (NormGuard)",
    )

    @property
    def reads_reference(self) -> bool:
        return super().reads_reference or self.norm_weight > 0

    @model_validator(mode="after")
    def _the_sampler_has_its_own_shift(self) -> Self:
        if self.timestep_sampling == "sampler" and self.timestep_shift != 1:
            raise ValueError("timestep_sampling 'sampler' takes the shift of the rollouts: leave timestep_shift at 1")
        return self

    @abstractmethod
    def loss(self, batch: VelocityBatch) -> LossAndMetrics: ...


class TransitionObjective(Objective):
    """An objective of the reverse process: it judges the steps by which rollouts were sampled."""

    step_fraction: float = Field(0.99, gt=0, le=1, description="share of a trajectory's steps, from the first, used")

    @property
    def needs(self) -> Needs:
        return Needs(rollout="none", trajectories=True)

    @abstractmethod
    def loss(self, batch: TransitionBatch) -> LossAndMetrics: ...
