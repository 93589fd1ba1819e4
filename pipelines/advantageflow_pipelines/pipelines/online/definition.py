"""The online pipeline as the registry knows it, and what follows from settings alone: its evaluations, its tasks, what
each stage does and keeps. What defines it for Kubeflow is imported when it is built.
"""

import math

from advantageflow.objectives.base import WATCHED, Needs
from advantageflow.settings import RunSettings
from advantageflow_pipelines.pipelines.definition import (
    Evaluation,
    Output,
    Pipeline,
    Stage,
    Work,
    encoding_work,
    evaluation_work,
    evaluations_of_a_step,
    images_of_a_run,
    imported,
)
from advantageflow_pipelines.pipelines.parameters import Parameter

PARAMETERS = (
    # name in the form, section of the settings, setting in it (or in a section within it), stage that is given it
    Parameter("prompts_source", "prompts", "source", "prompts"),
    Parameter("prompts_per_round", "rollout", "prompts_per_round", "rollout"),
    Parameter("group_size", "rollout", "group_size", "rollout"),
    Parameter("rollout_guidance_scale", "rollout", "guidance_scale", "rollout"),
    Parameter("learning_rate", "training", "learning_rate", "training", "of AdamW, at the beginning"),
    Parameter("lam", "training", "lam", "training"),
    Parameter("evaluation_images", "evaluation", "images"),
    Parameter("round_images", "evaluation", "round_images"),
    Parameter("evaluation_guidance_scale", "evaluation", "guidance_scale", "evaluation", "as of rollouts"),
)
"""What a person changes from run to run, in the form's order."""


def parameters(settings: RunSettings) -> list[Parameter]:
    """Those of a run: how many images the evaluations between rounds take is none where there are no such."""
    between = evaluations(settings)[1:-1]
    return [one for one in PARAMETERS if one.name != "round_images" or between]


def evaluations(settings: RunSettings) -> list[Evaluation]:
    """The evaluations of a run, in order: base and final in full, every k rounds between them on fewer images."""
    between = range(settings.evaluation.every, settings.rounds, settings.evaluation.every)
    return [
        Evaluation(0, settings.evaluation.images),
        *(Evaluation(number, settings.evaluation.round_images) for number in between),
        Evaluation(settings.rounds, settings.evaluation.images),
    ]


def describe(settings: RunSettings) -> str:
    """A run in a few words."""
    return f"{settings.rounds} round{'s' if settings.rounds > 1 else ''} of {settings.training.objective.name}"


def run_work(settings: RunSettings, texts: int) -> dict[str, Work]:
    """The work of a run by stage; `texts` as of Pipeline.work."""
    rollout, images = settings.rollout, images_of_a_run(settings)
    shards = settings.rounds * rollout.shards
    groups, judged = settings.rounds * rollout.prompts_per_round, evaluations(settings)
    beside_start = judged[0].images if settings.init_policy else 0  # of the base model
    trained = settings.rounds - (0 if settings.init_policy else 1)  # policies that rounds begin with
    lower = "lower training.microbatch"
    if not settings.training.gradient_checkpointing:
        lower = f"set training.gradient_checkpointing=true, or {lower}"
    return {
        "prompts": encoding_work(1, texts),
        "rollout": Work(
            shards,
            images=images,
            forwards=images * rollout.steps * evaluations_of_a_step(rollout.guidance_scale),
            decodes=images,
            batch=(rollout.batch_groups * rollout.group_size, rollout.guidance_scale != 1.0),
            kept=images,
            reads_prompts=groups,
            scored=images if rollout.scored else 0,
            takes_adapters=trained * rollout.shards,
            remedy="lower rollout.batch_groups, or rollout.group_size",
        ),
        **({} if rollout.scored else {"reward": Work(shards, scored=images, takes_images=images)}),
        "training": Work(
            settings.rounds,
            forwards=_extra_forwards(settings),
            backwards=settings.rounds * _samples_of_a_round(settings),
            policies=settings.rounds,
            reads_prompts=groups,
            takes_latents=images,
            takes_policies=trained,
            remedy=lower,
        ),
        "evaluation": evaluation_work(
            settings.evaluation,
            [judged[0].images + beside_start, *(one.images for one in judged[1:])],
            settings.prompts.eval_prompts,
            len(judged) - (0 if settings.init_policy else 1),
        ),
    }


def _samples_of_a_round(settings: RunSettings) -> int:
    """Training samples: each a rollout at one time."""
    rollout, training = settings.rollout, settings.training
    return rollout.prompts_per_round * training.rollouts_trained_on(rollout.group_size) * training.inner_epochs


def _extra_forwards(settings: RunSettings) -> int:
    """Velocities without gradient in training: v_roll where a term holds it, v_ref where it has weight.

    v_roll costs nothing on a step where the policy still is the rollout policy: the first of round 1, and of every
    round if the rollout policy takes over the trained one (decay 0). Where no term holds it, as on good rollouts with
    `lam: auto`, one sample in WATCHED is evaluated to measure the deviation. v_avg is evaluated where it is needed.
    """
    training, needs = settings.training, settings.training.objective.needs
    samples = _samples_of_a_round(settings)
    reference = settings.rounds * samples * (training.objective.reads_reference + needs.average)
    if needs.trajectories:
        return reference
    takes_over = training.rollout_decay in (0.0, "nft_0") or training.sampled == "trained"
    still = settings.rounds if takes_over else 1
    moved = settings.rounds * training.gradient_steps - still
    return reference + moved * _with_rollout(needs, samples // training.gradient_steps)


def _with_rollout(needs: Needs, samples: int) -> int:
    """On how many samples of an optimiser step v_roll is evaluated, if as many rollouts are good as bad."""
    held = {"all": samples, "bad": math.ceil(samples / 2), "none": 0}[needs.rollout]
    return held + math.ceil((samples - held) / WATCHED)


ONLINE = Pipeline(
    name="online",
    summary="fine-tune a rectified-flow model by rounds of rollout, reward and training",
    stages=(
        Stage("prompts", on_model_device=True, rewards="all"),  # which it tries on golden pictures
        Stage("rollout", on_model_device=True, sharded=True),
        Stage("reward", rewards="trained on", sharded=True),
        Stage("training", on_model_device=True, over_nodes=True),
        Stage("evaluation", on_model_device=True, rewards="all"),
    ),
    build=imported(f"{__package__}.pipeline", "online_tasks"),
    inline=imported(f"{__package__}.inline", "run_online"),
    describe=describe,
    evaluations=evaluations,
    work=run_work,
    prompts=Output("prompts", "prompts"),
    policies=(Output("prompts", "policy"), Output("training", "new_policy")),
    report=Output("evaluation", "report"),
    parameters=parameters,
    handed=("prompts", "conditioning", "policy", "rollout_policy", "base"),
)
