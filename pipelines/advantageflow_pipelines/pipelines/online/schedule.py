"""What follows from a run's settings alone: its evaluations, how many tasks it has, and what it is called."""

from __future__ import annotations

from advantageflow.settings import RunSettings
from advantageflow_pipelines.pipelines.definition import Evaluation


def evaluations(settings: RunSettings) -> list[Evaluation]:
    """The evaluations of a run, in order: base and final in full, every k rounds between them on fewer images."""
    between = range(settings.evaluation.every, settings.rounds, settings.evaluation.every)
    return [
        Evaluation(0, settings.evaluation.images),
        *(Evaluation(number, settings.evaluation.round_images) for number in between),
        Evaluation(settings.rounds, settings.evaluation.images),
    ]


def count_tasks(settings: RunSettings) -> dict[str, int]:
    """Tasks of a run by stage."""
    shards = settings.rounds * settings.rollout.shards
    return {
        "prompts": 1,
        "rollout": shards,
        "reward": 0 if settings.rollout.scored else shards,
        "training": settings.rounds,
        "evaluation": len(evaluations(settings)),
    }


def describe(settings: RunSettings) -> str:
    """A run in a few words."""
    return f"{settings.rounds} round{'s' if settings.rounds > 1 else ''} of {settings.training.objective.name}"
