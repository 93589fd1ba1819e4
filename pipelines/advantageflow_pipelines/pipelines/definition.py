"""What a pipeline is to those who build, place, run, plan and show it: its stages, outputs and figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from advantageflow.settings import RunSettings
from advantageflow_pipelines.pipelines.parameters import SECTIONS, Form, Parameter
from advantageflow_pipelines.pipelines.work import Work

if TYPE_CHECKING:
    from advantageflow_pipelines.local.inline import Stages
    from advantageflow_pipelines.placing.placement import Placement


ROUND = "round-"  # what the name of a round's own pipeline, within another, begins with


@dataclass(frozen=True)
class Stage:
    """A stage.

    Attributes:
        name: in the pipeline, in resources, and in the journal.
        image: of docker/ that it runs in, by the name in images.json; the stage's own name if None.
        on_model_device: whether it computes on `model.device`.
        rewards: which rewards of the run it makes.
        sharded: whether a round has several tasks of it side by side, `rollout.shards`.
        over_nodes: whether it trains: in `training.processes` processes, and over several nodes where resources say so.
    """

    name: str
    image: str | None = None
    on_model_device: bool = False
    rewards: Literal["none", "trained on", "all"] = "none"
    sharded: bool = False
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
class Pipeline:
    """A pipeline.

    Attributes:
        name: what a person chooses it by.
        summary: what it is for, in a line.
        stages: in order.
        build: a function that makes the tasks of a run from what its form gives, by name; `building.py` makes it a
            pipeline of Kubeflow's. With `in_order`, as on one machine, which stops at the first failure this way,
            nothing runs beside a round.
        describe: a run in a few words, such as '8 rounds of advantage_flow'.
        evaluations: of a run, in order; at least one.
        tasks: of a run by stage.
        work: of a run by stage; takes the number of distinct prompts, 0 where it is not known.
        prompts: the output that holds the run's prompts.
        policies: outputs that hold a policy; those of tasks in a round end it.
        report: the output that holds what an evaluation found.
        inline: its stages as plain calls, one after the other in one process; None where there is no such form.
        parameters: settings that the form of a run shows one by one.
        sections: of the settings that its stages read, which the form shows as JSON.
        handed: artifacts that a segment of a run hands on to the next; empty where a run cannot be in segments.
        resources: folder of presets of resources for its stages, beside those for any pipeline.
        complete: settings with what this pipeline takes where a person said nothing.
        begin: settings that a run on this machine starts with, given MLflow's address; raises NothingToDo.
        held_against: what the policy that a run goes on from, and the one that it ends with, are called.
        last_task: name of the task that ends its work, as MLflow shows it; that of the last evaluation if None.
    """

    name: str
    summary: str
    stages: tuple[Stage, ...]
    build: Callable[[RunSettings, Placement, Form, bool], Callable[..., Any]]
    describe: Callable[[RunSettings], str]
    evaluations: Callable[[RunSettings], list[Evaluation]]
    tasks: Callable[[RunSettings], Mapping[str, int]]
    work: Callable[[RunSettings, int], Mapping[str, Work]]
    prompts: Output
    policies: tuple[Output, ...]
    report: Output
    parameters: Callable[[RunSettings], Sequence[Parameter]] = lambda settings: ()
    sections: Collection[str] = tuple(SECTIONS.values())
    inline: Callable[[RunSettings, Stages], None] | None = None
    handed: tuple[str, ...] = ()
    resources: Traversable | None = None
    complete: Callable[[RunSettings], RunSettings] = lambda settings: settings
    begin: Callable[[RunSettings, str], RunSettings] = lambda settings, tracking_uri: settings
    held_against: tuple[str, str] = ("start", "final")
    last_task: str | None = None

    @property
    def stage_names(self) -> tuple[str, ...]:
        return tuple(stage.name for stage in self.stages)

    @property
    def sharded(self) -> tuple[str, ...]:
        """The stages of which a round has several tasks."""
        return tuple(stage.name for stage in self.stages if stage.sharded)

    @property
    def making_rewards(self) -> tuple[str, ...]:
        """The stages that make rewards."""
        return tuple(stage.name for stage in self.stages if stage.rewards != "none")

    @property
    def trainer(self) -> str | None:
        """The stage that may train over several nodes."""
        return next((stage.name for stage in self.stages if stage.over_nodes), None)


class Segment(NamedTuple):
    """Some rounds of a run, one after the other.

    Attributes:
        first: of its rounds, from 1.
        last: of its rounds.
        following: the rounds of the segment after it, as `rounds` gives them; empty for the last one.
    """

    first: int
    last: int
    following: str = ""

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
