"""Where a retraining on this machine starts: at the champion, unless it would repeat what was done."""

from __future__ import annotations

from advantageflow.errors import SettingsError
from advantageflow.prompts.changes import made_from
from advantageflow.settings import RunSettings
from advantageflow.tracking.mlflow_store import open_client
from advantageflow.tracking.promotion import inputs_sha256, look
from advantageflow_pipelines.pipelines.definition import NothingToDo


def begin_at_champion(settings: RunSettings, tracking_uri: str) -> RunSettings:
    """The settings of a run that starts from the champion; as they are where there is none.

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
