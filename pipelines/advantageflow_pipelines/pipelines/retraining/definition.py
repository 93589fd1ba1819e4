"""The retraining pipeline as the registry knows it: the online one, from the champion on, with a gate at its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from advantageflow.settings import RunSettings
from advantageflow_pipelines.pipelines.online.definition import ONLINE
from advantageflow_pipelines.pipelines.work import Work, evaluation_work

if TYPE_CHECKING:
    from advantageflow_pipelines.local.inline import Stages
    from advantageflow_pipelines.pipelines.parameters import Form
    from advantageflow_pipelines.placing.placement import Placement

_REPLAY_SHARE = 0.5  # of the training prompts, where a person said nothing


def _build(settings: RunSettings, placement: Placement, form: Form, in_order: bool) -> Callable[..., None]:
    from advantageflow_pipelines.pipelines.retraining.pipeline import retraining_tasks

    return retraining_tasks(settings, placement, form, in_order=in_order)


def _inline(settings: RunSettings, stages: Stages) -> None:
    from advantageflow_pipelines.pipelines.retraining.inline import run_retraining

    run_retraining(settings, stages)


def _begin(settings: RunSettings, tracking_uri: str) -> RunSettings:
    from advantageflow_pipelines.pipelines.retraining.start import begin_at_champion

    return begin_at_champion(settings, tracking_uri)


def _complete(settings: RunSettings) -> RunSettings:
    if settings.prompts.replay_share is not None:
        return settings
    return settings.model_copy(update={"prompts": settings.prompts.model_copy(update={"replay_share": _REPLAY_SHARE})})


def _tasks(settings: RunSettings) -> dict[str, int]:
    tasks = dict(ONLINE.tasks(settings))
    return {**tasks, "evaluation": tasks["evaluation"] + 1}


def _work(settings: RunSettings, texts: int) -> Mapping[str, Work]:
    """The promotion's is in that of evaluations: both policies, on each seed beyond the run's own.

    It is that of a run from a champion, beside which the base model is judged.
    """
    work = ONLINE.work(settings, texts)
    images = [one.images for one in ONLINE.evaluations(settings)]
    images[0] *= 2
    images += [settings.evaluation.images] * 2 * (settings.promotion.seeds - 1)
    judged = evaluation_work(
        settings.evaluation, images, settings.prompts.eval_prompts, work["evaluation"].takes_policies + 2
    )
    return {**work, "evaluation": replace(judged, tasks=_tasks(settings)["evaluation"])}


RETRAINING = replace(
    ONLINE,
    name="retraining",
    summary="train the champion on new prompts, and promote what comes of it where it is better beyond doubt",
    build=_build,
    describe=lambda settings: f"retraining of {settings.registered_model}, {ONLINE.describe(settings)}",
    tasks=_tasks,
    work=_work,
    complete=_complete,
    begin=_begin,
    held_against=("champion", "candidate"),
    last_task="promotion",
    handed=(),
    inline=_inline,
)
