"""The critical path of a run on a cluster, by a simulation of its tasks with the durations of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from advantageflow.settings import RunSettings
from advantageflow_pipelines.pipelines import pipeline_of
from advantageflow_pipelines.placing.cluster import TASK_SECONDS

UPLOAD = 100e6  # bytes a second to a store: assumed
OVERLAPS = ("evaluations beside the next round", "rewards beside rollouts", "checkpoint uploads beside training")
_HOUR = 3600.0
_AROUND = 2  # tasks of each pipeline run: the first opens the run in MLflow, the last ends it, or starts the next one


@dataclass
class Task:
    """A task of a simulated run."""

    name: str  # unique
    stage: str  # of the pipeline
    seconds: float  # that it holds its GPUs
    gpus: int  # that it holds
    after: list[str] = field(default_factory=list)  # tasks that have to end before it
    start: float = 0.0  # seconds from the run's start, once it is placed
    end: float = 0.0
    # the task whose end it began after: one of `after`, or one that held a GPU; None for the first
    waited_for: Task | None = None


@dataclass(frozen=True)
class CriticalPath:
    """How long a run takes by the clock, and why."""

    in_line: float  # hours if nothing ran beside anything but shards beside shards
    hours: float  # as it runs
    saved: Mapping[str, float]  # hours that each overlap saves, one after the other
    parts: Mapping[str, float]  # hours of each stage on the path; 'Kubeflow' between them


def critical_path(
    settings: RunSettings, hours: Mapping[str, float | None], gpus: int, checkpoint: int, segments: int = 1
) -> CriticalPath:
    """The critical path of a run.

    Args:
        hours: GPU-hours of each stage, all its tasks together; what is not known is taken for none.
        gpus: that the run may hold at once; where training takes more, as many as that.
        segments: pipeline runs that it is on Kubeflow, each with a task before the others and one after them.
    """
    known = {stage: value or 0.0 for stage, value in hours.items()}
    gpus = max(gpus, settings.training.processes * settings.training.nodes)
    ended = [simulate(_tasks(settings, known, checkpoint, beside), gpus) for beside in range(len(OVERLAPS) + 1)]
    took = [tasks[-1].end / _HOUR for tasks in ended]
    saved = {overlap: before - after for overlap, before, after in zip(OVERLAPS, took, took[1:], strict=False)}
    around = segments * _AROUND * TASK_SECONDS / _HOUR
    parts = {"Kubeflow": around}
    task: Task | None = ended[-1][-1]
    while task is not None:
        before = task.waited_for
        waited = task.start - (before.end if before else 0.0)
        for part, seconds in ((task.stage, task.seconds), ("Kubeflow", waited)):
            parts[part] = parts.get(part, 0.0) + seconds / _HOUR
        task = before
    return CriticalPath(took[0] + around, took[-1] + around, saved, parts)


def simulate(tasks: list[Task], gpus: int) -> list[Task]:
    """Give each task its start and end, on so many GPUs; in the order that they end.

    A task is ready when those before it have ended and Kubeflow has started it, and holds its GPUs from when there are
    enough; of those that are ready the first one in the list goes first.
    """
    left, ended, now = list(tasks), dict[str, Task](), 0.0
    running: list[Task] = []
    freed: Task | None = None
    while left or running:
        free = gpus - sum(task.gpus for task in running)
        for task in [one for one in left if ended.keys() >= set(one.after)]:
            if task.gpus <= free:
                last = max((ended[name] for name in task.after), key=lambda one: one.end, default=None)
                ready = (last.end if last else 0.0) + TASK_SECONDS
                task.start, task.waited_for = (now, freed) if ready < now else (ready, last)
                task.end = task.start + task.seconds
                running.append(task)
                left.remove(task)
                free -= task.gpus
        freed = min(running, key=lambda task: task.end)
        running.remove(freed)
        ended[freed.name], now = freed, freed.end
    return list(ended.values())


def _tasks(settings: RunSettings, hours: Mapping[str, float], checkpoint: int, beside: int) -> list[Task]:
    """Of a run with the first so many of the overlaps; what the next round waits for comes first."""
    pipeline, training = pipeline_of(settings), settings.training
    counts, judged = pipeline.tasks(settings), pipeline.evaluations(settings)
    each = {stage: value * _HOUR / counts[stage] for stage, value in hours.items()}
    first, report, trainer = pipeline.prompts.stage, pipeline.report.stage, str(pipeline.trainer)
    trainers = training.processes * training.nodes
    sharded = [stage for stage in pipeline.sharded if stage in hours]
    images = {one.round_index: one.images for one in judged}
    images[0] = images.get(0, 0) * (2 if settings.init_policy else 1)  # the base model's, beside the start's

    made, later, before = [Task(first, first, each[first], 1)], list[Task](), first
    ends = range(settings.rounds + 1) if sharded else [one.round_index for one in judged]  # rounds at a task's end
    for began, number in zip([0, *ends], ends, strict=False):
        if number:
            names = [before, *([later[-1].name] if not beside else [])]
            after = [names] * settings.rollout.shards
            for stage in sharded:
                names = [f"{stage} {number} {shard}" for shard in range(settings.rollout.shards)]
                made += [Task(name, stage, each[stage], 1, one) for name, one in zip(names, after, strict=True)]
                after = [[name] if beside > 1 else names for name in names]
            before, steps = f"{trainer} {number}", (number - began) * training.gradient_steps
            uploads = steps // training.checkpoint_every if training.checkpoint_every else 0
            upload = 0.0 if beside == len(OVERLAPS) else uploads * checkpoint / UPLOAD
            made.append(Task(before, trainer, each[trainer] / trainers + upload, trainers, names))
        for one in judged:
            if one.round_index == number:
                seconds = images[number] / sum(images.values()) * hours[report] * _HOUR
                later.append(Task(f"{report} {number}", report, seconds, 1, [before]))
    return made + later
