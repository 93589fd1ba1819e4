"""How many images the settings of a run have it generate to train on."""

from __future__ import annotations

from advantageflow.settings import RunSettings


def images_of_a_round(settings: RunSettings) -> int:
    """Rollouts that a round generates."""
    return settings.rollout.prompts_per_round * settings.rollout.group_size


def images_of_a_run(settings: RunSettings) -> int:
    """Rollouts that a run generates; the images of evaluations are not counted."""
    return settings.rounds * images_of_a_round(settings)
