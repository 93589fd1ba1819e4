"""What a pipeline is to those who build, place, run, plan and show it: its stages, outputs and figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from advantageflow.settings import EvaluationSettings, RunSettings
from advantageflow_pipelines.pipelines.parameters import SECTIONS, Form, Parameter

if TYPE_CHECKING:
    from advantageflow_pipelines.local.inline import Stages
    from advantageflow_pipelines.placing.placement import Placement


ROUND = "round-"  # what the name of a round's own pipeline, within another, begins with


@dataclass(frozen=True)
class Stage:
    """A stage."""

    name: str  # in the pipeline, in resources, and in the journal
    image: str | None = None  # of docker/ that it runs in, by the name in images.json; the stage's own name if None
    on_model_device: bool = False  # whether it computes on `model.device`
    rewards: Literal["none", "trained on", "all"] = "none"  # which rewards of the run it makes
    sharded: bool = False  # whether a round has several tasks of it side by side, `rollout.shards`
    # whether it trains: in `training.processes` processes, and over several nodes where resources say so
    over_nodes: bool = False

    @property
    def image_name(self) -> str:
        return self.image or self.name


def imported(module: str, name: str) -> Callable[..., Any]:
    """A function whose module is imported when it is called: what Kubeflow or torch needs takes seconds."""
    return lambda *arguments: getattr(import_module(module), name)(*arguments)


class NothingToDo(Exception):
    """A run that would do nothing new; says why."""


class Output(NamedTuple):
    """An output of a stage's tasks."""

    stage: str
    name: str


class Evaluation(NamedTuple):
    """One evaluation of a run: after which round (0: before round 1), on how many images."""

    round_index: int
    images: int


@dataclass(frozen=True)
class Work:
    """What a stage does in a whole run, all rounds and shards together."""

    tasks: int  # how many tasks of the pipeline it is
    images: int = 0  # generated
    forwards: int = 0  # velocities without gradient; guidance costs two a step
    backwards: int = 0  # training samples, forward and backward
    decodes: int = 0  # latents decoded to images
    scored: int = 0  # images scored by each reward
    encodes: bool = False  # whether prompts are encoded
    texts: int = 0  # how many; 0 where they are not known
    # images in one forward pass, and whether it is guided; None where it generates none
    batch: tuple[int, bool] | None = None
    kept: int = 0  # images that are kept with their latents
    policies: int = 0  # that are kept
    reads_prompts: int = 0  # whose conditioning its tasks read, each task's counted
    takes_images: int = 0  # that its tasks take
    takes_latents: int = 0  # likewise, trajectories included
    takes_policies: int = 0  # whole ones that its tasks take, trained and with the optimiser's state
    takes_adapters: int = 0  # trained ones that its tasks take, a policy's or its rollout policy's
    remedy: str = "use a larger GPU"  # which settings to change where it does not fit a GPU


@dataclass(frozen=True)
class Pipeline:
    """A pipeline."""

    name: str  # what a person chooses it by
    summary: str  # what it is for, in a line
    stages: tuple[Stage, ...]  # in order
    # a function that makes the tasks of a run from what its form gives, by name; `building.py` makes it a pipeline of
    # Kubeflow's
    build: Callable[[RunSettings, Placement, Form], Callable[..., Any]]
    describe: Callable[[RunSettings], str]  # a run in a few words, such as '8 rounds of advantage_flow'
    evaluations: Callable[[RunSettings], list[Evaluation]]  # of a run, in order; at least one
    # of a run by stage; takes the number of distinct prompts, 0 where it is not known
    work: Callable[[RunSettings, int], Mapping[str, Work]]
    prompts: Output  # the output that holds the run's prompts
    policies: tuple[Output, ...]  # outputs that hold a policy; those of tasks in a round end it
    report: Output  # the output that holds what an evaluation found
    # settings that the form of a run shows one by one
    parameters: Callable[[RunSettings], Sequence[Parameter]] = lambda settings: ()
    # of the settings that its stages read, which the form shows as JSON
    sections: Collection[str] = tuple(SECTIONS.values())
    # its stages as plain calls, one after the other in one process; None where there is no such form
    inline: Callable[[RunSettings, Stages], None] | None = None
    # artifacts that a segment of a run hands on to the next; empty where a run cannot be in segments
    handed: tuple[str, ...] = ()
    told: tuple[str, ...] = ()  # parameters that it hands on beside
    # settings with what this pipeline takes where a person said nothing
    complete: Callable[[RunSettings], RunSettings] = lambda settings: settings
    # settings that a run on this machine starts with, given MLflow's address; raises NothingToDo
    begin: Callable[[RunSettings, str], RunSettings] = lambda settings, tracking_uri: settings
    # what the policy that a run goes on from, and the one that it ends with, are called
    held_against: tuple[str, str] = ("start", "final")
    # name of the task that ends its work, as MLflow shows it; that of the last evaluation if None
    last_task: str | None = None

    def tasks(self, settings: RunSettings) -> dict[str, int]:
        """How many a run has of each stage."""
        return {stage: work.tasks for stage, work in self.work(settings, 0).items()}

    @property
    def stage_names(self) -> tuple[str, ...]:
        return tuple(stage.name for stage in self.stages)

    @property
    def sharded(self) -> tuple[str, ...]:
        """The stages of which a round has several tasks."""
        return tuple(stage.name for stage in self.stages if stage.sharded)

    @property
    def trainer(self) -> str | None:
        """The stage that may train over several nodes."""
        return next((stage.name for stage in self.stages if stage.over_nodes), None)


class Segment(NamedTuple):
    """Some rounds of a run, one after the other."""

    first: int  # of its rounds, from 1
    last: int  # of its rounds
    following: str = ""  # the rounds of the segment after it, as `rounds` gives them; empty for the last one

    @property
    def rounds(self) -> str:
        """Such as '6-10'."""
        return f"{self.first}-{self.last}"


def divide(rounds: int, at_most: int) -> tuple[Segment, ...]:
    """Segments of a run, of about equal length."""
    number = math.ceil(rounds / at_most)
    ends = [rounds * (one + 1) // number for one in range(number)]
    pieces = [Segment(before + 1, last) for before, last in zip([0, *ends], ends, strict=False)]
    following = [*(piece.rounds for piece in pieces[1:]), ""]
    return tuple(piece._replace(following=rounds) for piece, rounds in zip(pieces, following, strict=True))


def encoding_work(tasks: int, texts: int) -> Work:
    """The work of a prompts stage."""
    return Work(tasks, encodes=True, texts=texts, remedy="encode on a larger GPU, or on the CPU")


def evaluation_work(settings: EvaluationSettings, images: Sequence[int], prompts: int, policies: int = 0) -> Work:
    """The work of an evaluation stage: `images` that each task judges, of `prompts` at most, by `policies` trained."""
    held_out = sum(images)
    return Work(
        len(images),
        images=held_out,
        forwards=held_out * settings.steps * evaluations_of_a_step(settings.guidance_scale),
        decodes=held_out,
        scored=held_out,
        batch=(settings.batch, settings.guidance_scale != 1.0),
        reads_prompts=sum(min(prompts, one) for one in images),
        takes_adapters=policies,
        remedy="lower evaluation.batch",
    )


def evaluations_of_a_step(guidance_scale: float) -> int:
    """Of the model in one step of a sampler."""
    return 1 if guidance_scale == 1.0 else 2


def images_of_a_round(settings: RunSettings) -> int:
    """Rollouts that a round generates."""
    return settings.rollout.prompts_per_round * settings.rollout.group_size


def images_of_a_run(settings: RunSettings) -> int:
    """Rollouts that a run generates; the images of evaluations are not counted."""
    return settings.rounds * images_of_a_round(settings)
