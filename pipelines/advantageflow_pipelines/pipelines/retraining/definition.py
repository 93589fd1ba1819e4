"""The retraining pipeline as the registry knows it: the online one, from the champion on, with a gate at its end."""

from collections.abc import Mapping
from dataclasses import replace

from advantageflow.errors import SettingsError
from advantageflow.prompts.changes import made_from
from advantageflow.settings import RunSettings
from advantageflow.tracking.mlflow_store import open_client
from advantageflow.tracking.promotion import inputs_sha256, look
from advantageflow_pipelines.pipelines.definition import NothingToDo, Work, evaluation_work, imported
from advantageflow_pipelines.pipelines.online.definition import ONLINE

_REPLAY_SHARE = 0.5  # of the training prompts, where a person said nothing


def begin_at_champion(settings: RunSettings, tracking_uri: str) -> RunSettings:
    """The settings of a run on this machine, which starts from the champion; as they are where there is none.

    Raises:
        NothingToDo: prompts, rewards and settings are those that a version was made from.
        SettingsError: the run registers no policy.
        UserError: the prompts or MLflow cannot be read.
    """
    if not settings.registered_model:
        remedy = "name a registered model, or leave it away for the preset's name"
        raise SettingsError("a retraining needs a registered model", where="tracking.registered_model", remedy=remedy)
    inputs = inputs_sha256(settings.model_dump(mode="json"), made_from(settings.prompts, settings.reward))
    start = look(open_client(tracking_uri), settings.registered_model, inputs)
    if start.unchanged:
        raise NothingToDo(start.unchanged)
    return settings.model_copy(update={"init_policy": start.parent}) if start.parent else settings


def _complete(settings: RunSettings) -> RunSettings:
    """What a person did not say: that old prompts are replayed, and that they fill up what a round takes."""
    prompts = settings.prompts
    replay = {"replay_share": _REPLAY_SHARE, "replay_fills": settings.rollout.prompts_per_round}
    left = {name: value for name, value in replay.items() if getattr(prompts, name) is None}
    return settings.model_copy(update={"prompts": prompts.model_copy(update=left)}) if left else settings


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
    return {**work, "evaluation": replace(judged, tasks=work["evaluation"].tasks + 1)}


RETRAINING = replace(
    ONLINE,
    name="retraining",
    summary="train the champion on new prompts, and promote what comes of it where it is better beyond doubt",
    build=imported(f"{__package__}.pipeline", "retraining_tasks"),
    describe=lambda settings: f"retraining of {settings.registered_model}, {ONLINE.describe(settings)}",
    work=_work,
    complete=_complete,
    begin=begin_at_champion,
    held_against=("champion", "candidate"),
    last_task="promotion",
    handed=(*ONLINE.handed, "start"),
    told=("inputs_sha256",),
    inline=imported(f"{__package__}.inline", "run_retraining"),
)
