"""Typed, frozen records of what each stage gets of a cluster; a file of them is like a file of settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, create_model, field_validator, model_validator

from advantageflow.settings import Settings
from advantageflow_pipelines.pipelines.definition import Pipeline, Stage

SERVICE_ACCOUNT = "advantageflow-runner"
GPU = "nvidia.com/gpu"
_DAY = 86_400


def _number_as_text(value: Any) -> Any:
    """YAML reads 4 as a number, and Kubernetes writes quantities as text."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Cpu = Annotated[str, BeforeValidator(_number_as_text), StringConstraints(pattern=r"^([0-9]*\.)?[0-9]+m?$")]
Bytes = Annotated[str, StringConstraints(pattern=r"^[0-9]+(E|Ei|P|Pi|T|Ti|G|Gi|M|Mi|K|Ki)$")]
_CPU = "cores, as in 4 or 500m"
_BYTES = "as in 16Gi"


class Toleration(Settings):
    """A taint of nodes that the pods may run on all the same."""

    key: str | None = Field(None, description="the taint's key; null: every taint")
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str | None = Field(None, description="the taint's value, with operator Equal; quote numbers and true")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="null: every effect"
    )

    @model_validator(mode="after")
    def _value_with_equal(self) -> Self:
        if (self.operator == "Equal") != (self.value is not None) or (self.operator == "Equal" and self.key is None):
            raise ValueError("operator Equal needs a key and a value, operator Exists takes no value")
        return self


class Environment(Settings):
    """Environment variables that come out of a secret or a config map in the run's namespace."""

    name: str = Field(description="of the secret or config map")
    keys: dict[str, str] = Field(description="environment variable by key, as in {token: HF_TOKEN}")
    optional: bool = Field(False, description="start without those that do not exist, rather than wait for them")


class Retries(Settings):
    """How often a failed task is started again, and after how long."""

    count: int = Field(0, ge=0, le=20, description="attempts after the first")
    backoff_seconds: int = Field(60, ge=0, le=3600, description="before the first retry")
    factor: int = Field(2, ge=1, le=10, description="each wait is so many times the one before; Argo takes no fraction")
    deadline_seconds: int | None = Field(
        None,
        ge=60,
        description="from the first start: no attempt begins after it, and one that runs is ended; null: what all "
        "attempts together may take",
    )

    @model_validator(mode="after")
    def _last_wait_within_a_day(self) -> Self:
        last = self.backoff_seconds * self.factor ** max(self.count - 1, 0)
        if last > _DAY:
            raise ValueError(f"the last wait would be {last} seconds, more than a day: lower count, factor or backoff")
        return self


S3_SECRET = Environment(
    name="advantageflow-s3",
    keys={"AWS_ACCESS_KEY_ID": "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY": "AWS_SECRET_ACCESS_KEY"},
    optional=True,  # where the cloud gives pods an identity there is no key; a stage without either says so itself
)
HF_SECRET = Environment(name="advantageflow-hf", keys={"HF_TOKEN": "HF_TOKEN"}, optional=True)
CONFIG_MAP = Environment(
    name="advantageflow",
    keys={
        name: name
        for name in (
            "AWS_ENDPOINT_URL_S3",  # S3's alone: a cloud identity is asked for elsewhere
            "AWS_DEFAULT_REGION",
            "ADVANTAGEFLOW_S3_ADDRESSING",
            "MLFLOW_TRACKING_URI",
            "ADVANTAGEFLOW_MLFLOW_URL",
            "ADVANTAGEFLOW_KFP_URL",
        )
    },
    optional=True,  # each key has a meaning of its own where it is left out: AWS itself, no tracking, no links
)


class StageResources(Settings):
    """What each task of a stage gets."""

    gpus: int | Literal["auto"] = Field(
        0, description="at least 0; auto: one where the run's settings put the stage on a GPU, else none"
    )
    gpu_type: str = Field(GPU, description="resource that the cluster's device plug-in names, as in nvidia.com/gpu")
    cpu: Cpu = Field("1", description=f"request; {_CPU}")
    cpu_limit: Cpu | None = Field(None, description=f"{_CPU}; null: none, so that spare cores are used")
    memory: Bytes = Field("4Gi", description=f"request; {_BYTES}")
    memory_limit: Bytes | None = Field(
        None, description=f"{_BYTES}; null: the request, so that no neighbour is evicted"
    )
    shared_memory: Bytes | None = Field(
        None,
        description=f"/dev/shm, {_BYTES}; counts as memory; null: the container runtime's 64 MiB",  # noqa: S108 - of a container, which is its own
    )
    scratch: Bytes | None = Field(
        None, description=f"limit of a disk folder for downloads, {_BYTES}; null: the container's own file system"
    )
    node_selector: dict[str, str] = Field(
        default_factory=dict, description="labels that a node must have; quote numbers and true"
    )
    tolerations: tuple[Toleration, ...] = Field((), strict=False, description="taints of nodes that are accepted")
    spot: bool = Field(False, description="the nodes may be taken away at any time")
    secrets: tuple[Environment, ...] = Field((S3_SECRET, HF_SECRET), strict=False, description="as environment")
    config_maps: tuple[Environment, ...] = Field((CONFIG_MAP,), strict=False, description="as environment")
    image_pull_secrets: tuple[str, ...] = Field((), strict=False, description="secrets of the image registry")
    timeout_seconds: int | None = Field(None, ge=60, description="of one attempt; null: none")
    retries: Retries = Field(default_factory=lambda: Retries())

    @field_validator("gpus")
    @classmethod
    def _gpus_in_range(cls, gpus: int | str) -> int | str:
        if not isinstance(gpus, str) and gpus < 0:
            raise ValueError("must be at least 0, or auto")
        return gpus


class TrainingResources(StageResources):
    """What the training task gets; of a training over several nodes, each node."""

    nodes: int = Field(1, ge=1, description="nodes; several train as a Kubeflow TrainJob")


@dataclass(frozen=True)
class Resources:
    """What a run gets of a cluster."""

    stages: Mapping[str, StageResources]  # what each stage of its pipeline gets
    preset: str = "custom"  # what to call these resources
    service_account: str = SERVICE_ACCOUNT  # that the run's pods use

    def of(self, stage: str) -> StageResources:
        """The resources of a stage."""
        return self.stages[stage]

    @property
    def trainer(self) -> str | None:
        """The stage that trains; None in a pipeline that does not."""
        return next((stage for stage, one in self.stages.items() if isinstance(one, TrainingResources)), None)

    @property
    def training(self) -> TrainingResources | None:
        """What the stage that trains gets."""
        return next((one for one in self.stages.values() if isinstance(one, TrainingResources)), None)

    @property
    def nodes(self) -> int:
        """Nodes that train."""
        return 1 if self.training is None else self.training.nodes

    def as_values(self) -> dict[str, Any]:
        """As a resources file says them."""
        stages = {stage: one.model_dump(mode="json") for stage, one in self.stages.items()}
        return {"preset": self.preset, "service_account": self.service_account, **stages}


class ResourcesFile(Settings):
    """What a person writes: what differs from a preset, for all stages, the trainer, and, in a section of
    its name, each."""

    base: str | None = Field(None, description="preset whose values hold where this file says nothing")
    preset: str = Field("custom", description="what to call these resources")
    service_account: str = Field(SERVICE_ACCOUNT, description="that the run's pods use")
    all: StageResources = Field(default_factory=lambda: StageResources(), description="what holds for every stage")
    trainer: TrainingResources = Field(
        default_factory=lambda: TrainingResources(), description="what holds for the stage that trains, by any name"
    )


def section_of(stage: Stage) -> type[StageResources]:
    """The type of a stage's resources."""
    return TrainingResources if stage.over_nodes else StageResources


def file_of(pipeline: Pipeline) -> type[ResourcesFile]:
    """The type of a resources file for a pipeline, with a section for each of its stages."""
    sections: dict[str, Any] = {
        stage.name: (section_of(stage), Field(default_factory=section_of(stage))) for stage in pipeline.stages
    }
    return create_model("ResourcesFile", __base__=ResourcesFile, **sections)
