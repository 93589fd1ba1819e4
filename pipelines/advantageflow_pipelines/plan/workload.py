"""How often each stage of a run evaluates the model: counts that follow from the settings alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from advantageflow.objectives.base import WATCHED, Needs
from advantageflow.settings import RunSettings
from advantageflow_pipelines.local.costs import images_of_a_round, images_of_a_run
from advantageflow_pipelines.pipelines.online.schedule import evaluations

STAGES = ("prompts", "rollout", "reward", "training", "evaluation")


@dataclass(frozen=True)
class Work:
    """What a stage does in a whole run, all rounds and shards together.

    Attributes:
        tasks: how many tasks of the pipeline it is.
        images: generated.
        forwards: velocities without gradient; guidance costs two a step.
        backwards: training samples, forward and backward.
        decodes: latents decoded to images.
        scored: images scored by each reward.
        texts: prompts encoded.
    """

    tasks: int
    images: int = 0
    forwards: int = 0
    backwards: int = 0
    decodes: int = 0
    scored: int = 0
    texts: int = 0


def run_work(settings: RunSettings, texts: int) -> dict[str, Work]:
    """The work of a run by stage.

    Args:
        settings: of the run.
        texts: distinct prompts, the empty one included; 0 where they are not known.
    """
    rollout, judged = settings.rollout, evaluations(settings)
    images, held_out = images_of_a_run(settings), sum(one.images for one in judged)
    shards = settings.rounds * rollout.shards
    return {
        "prompts": Work(tasks=1, texts=texts),
        "rollout": Work(
            shards, images, images * rollout.steps * _evaluations_of_a_step(rollout.guidance_scale), decodes=images
        ),
        "reward": Work(shards, scored=images),
        "training": Work(
            settings.rounds,
            forwards=_extra_forwards(settings),
            backwards=images * settings.training.passes,
        ),
        "evaluation": Work(
            len(judged),
            held_out,
            held_out * settings.evaluation.steps * _evaluations_of_a_step(settings.evaluation.guidance_scale),
            decodes=held_out,
            scored=held_out,
        ),
    }


def _evaluations_of_a_step(guidance_scale: float) -> int:
    return 1 if guidance_scale == 1.0 else 2


def _extra_forwards(settings: RunSettings) -> int:
    """Velocities without gradient in training: v_roll where a term holds it, v_ref where it has weight.

    v_roll costs nothing on a step where the policy still is the rollout policy: the first of round 1, and of every
    round if the rollout policy takes over the trained one (decay 0). Where no term holds it, as on good rollouts with
    `lam: auto`, one sample in WATCHED is evaluated to measure the deviation.
    """
    training, needs = settings.training, settings.training.objective.needs
    samples = images_of_a_round(settings) * training.passes
    reference = settings.rounds * samples if training.reference_weight > 0 or needs.reference else 0
    if needs.trajectories:
        return reference
    takes_over = training.rollout_decay in (0.0, "nft_0")
    still = settings.rounds if takes_over else 1
    moved = settings.rounds * training.gradient_steps - still
    return reference + moved * _with_rollout(needs, samples // training.gradient_steps)


def _with_rollout(needs: Needs, samples: int) -> int:
    """On how many samples of an optimiser step v_roll is evaluated, if as many rollouts are good as bad."""
    held = {"all": samples, "bad": math.ceil(samples / 2), "none": 0}[needs.rollout]
    return held + math.ceil((samples - held) / WATCHED)
